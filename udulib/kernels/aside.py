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

    def kept(self, factors):
        """The columns that a step must move, shape (r,), for factors with D as a matrix of one row."""
        if "D" not in factors:
            return np.ones(factors["U"].shape[1], bool)
        kept = _nonzero(factors)
        slowest = self.rate * float(factors["D"].min()) * self.gradient * self.left
        if slowest <= GROWTH:  # or every column may grow, however small
            kept &= ~self._without_future(factors)
        kept[np.argmax(kept)] = True  # the kernels want at least one
        return kept

    @np.errstate(over="ignore", invalid="ignore")  # what is NaN or inf has a future
    def _without_future(self, factors):
        share, squares = self._sizes(factors)
        small = SMALL * np.finfo(factors["U"].dtype).eps
        unseen = (share <= small * share.max()) & (squares <= small * squares.sum(-1, keepdims=True)).all(0)
        growth = self._reach(factors, squares) * self.gradient * self.left
        return unseen & (self.mistaken + growth <= GROWTH)

    @np.errstate(over="ignore", invalid="ignore")
    def account(self, factors, kept, steps, gradients, gradient):
        """Note what ``steps`` steps with the columns ``kept`` met: the sum of the norms of G, and the last of them."""
        aside = ~kept & _nonzero(factors)
        if aside.any():
            _, squares = self._sizes(factors)
            self.mistaken += float(self._reach(factors, squares)[aside].max()) * gradients
        self.left, self.gradient = self.left - steps, gradient

    def _reach(self, factors, squares):
        """What times the norm of G bounds the exponent of growth a step: D may grow too, by less than the column."""
        return self.rate * (factors["D"][0] + np.sqrt(squares.max(0)))

    @staticmethod
    def _sizes(factors):
        """Each column's share of X, shape (r,), and its squared norm in each factor, shape (factors, r)."""
        squares = np.stack([np.sum(np.square(factors[name], dtype=float), axis=0) for name in factors if name != "D"])
        return factors["D"][0] * squares.max(0), squares


def _nonzero(factors):
    return factors["U"].any(0) | factors.get("V", factors["U"]).any(0)
