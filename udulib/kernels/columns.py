r"""Columns that no longer matter, and the certificate that they never will again.

UDU lets the columns that X has no use for decay without end. One whose share of X and of the norms is far below
round-off changes nothing as long as it stays there, but a bare threshold is wrong: on a plateau of too low a rank a
column of size 1e-60 can be the seed of the singular value that is still missing. A step multiplies :math:`u_j` by
:math:`c\,(I - 2\eta\lambda_j G)`, so over the remaining steps it grows, beside the c that all columns share, by no more
than the exponential of :math:`2\eta\lambda_j\sum_t\|G_t\|_F`. Only where that exponent is negligible too is the column
set aside and merely shrunk with the ball. The sum ahead is estimated by :math:`\|G\|_F` now; the sum behind is
measured, and once it has used up what is allowed the column comes back.
"""

import numpy as np

SMALL = 1e-3  # of the unit round-off: the share of X and of the squared norms below which a column is not seen
GROWTH = 1e-3  # exponent by which a column set aside may be mistaken


class Aside:
    """Which columns of a run are set aside; those that are exactly zero always are.

    Parameters
    ----------
    step_size : float
    iterations : int
        How many steps the run has.
    """

    def __init__(self, step_size, iterations):
        self.rate, self.left = 2.0 * float(step_size), iterations
        self.gradient = np.inf  # Frobenius norm of G at the last step
        self.mistaken = 0.0  # exponent used up by columns set aside

    @np.errstate(over="ignore", invalid="ignore")  # what is NaN or inf is kept
    def kept(self, factors):
        """The columns that a step must move, shape (r,), for factors with D as a matrix of one row."""
        if "D" not in factors:
            return np.ones(factors["U"].shape[1], bool)
        share, squares = self._sizes(factors)
        small = SMALL * np.finfo(factors["U"].dtype).eps
        unseen = (share <= small * share.max()) & (squares <= small * squares.sum(-1, keepdims=True)).all(0)
        growth = self._reach(factors, squares) * self.gradient * self.left
        aside = unseen & (self.mistaken + growth <= GROWTH)
        kept = ~(aside | ~factors["U"].any(0) & ~factors.get("V", factors["U"]).any(0))
        kept[np.argmax(kept)] = True  # the kernels want at least one
        return kept

    @np.errstate(over="ignore", invalid="ignore")
    def account(self, factors, kept, steps, gradients, gradient):
        """Note that ``steps`` steps were made without the others, in which the norms of G summed to ``gradients``."""
        if not kept.all():
            _, squares = self._sizes(factors)
            self.mistaken += float(self._reach(factors, squares)[~kept].max()) * gradients
        self.left, self.gradient = self.left - steps, gradient

    def _reach(self, factors, squares):
        """What times the norm of G bounds the exponent of growth a step: D may grow too, by less than the column."""
        return self.rate * (factors["D"][0] + np.sqrt(squares.max(0)))

    @staticmethod
    def _sizes(factors):
        """Each column's share of X, shape (r,), and its squared norm in each factor, shape (factors, r)."""
        squares = np.stack([np.sum(np.square(factors[name], dtype=float), axis=0) for name in factors if name != "D"])
        return factors["D"][0] * squares.max(0), squares
