r"""Columns that no longer matter, and the certificate that they never will again.

UDU lets the columns that X has no use for decay without end. One whose share of X and of the norms is far below
round-off changes nothing as long as it stays there, but a bare threshold is wrong: on a plateau of too low a rank a
column of size 1e-60 can be the seed of the singular value that is still missing. A step multiplies :math:`u_j` by
:math:`c\,(I - 2\eta\lambda_j G)`, so over the remaining steps it grows, beside the c that all columns share, by no more
than the exponential of :math:`2\eta\lambda_j\sum_t\|G_t\|_F`. Only where that exponent is negligible too is the column
set aside and merely shrunk with the ball. The sum ahead is estimated by :math:`\|G\|_F` now; the sum behind is
measured, and once it has used up what is allowed the column comes back.
"""

import math

import torch

SMALL = 1e-3  # of the unit round-off: the share of X and of the squared norms below which a column is not seen
GROWTH = 1e-3  # exponent by which a column set aside may be mistaken


class Aside:
    r"""Which columns of runs are set aside; those that are exactly zero always are.

    Parameters
    ----------
    step_size : float or torch.Tensor, shape (\*,)
    iterations : int
        How many steps the runs have.
    """

    def __init__(self, step_size, iterations):
        self.rate, self.left = 2.0 * torch.as_tensor(step_size, dtype=torch.float64), iterations
        self.gradient = torch.full_like(self.rate, math.inf)  # Frobenius norm of G at the last step
        self.mistaken = torch.zeros_like(self.rate)  # exponent used up by columns set aside

    def kept(self, factors):
        r"""The columns that a step must move, shape (\*, r), for factors with D as a matrix of one row."""
        kept = _nonzero(factors)
        if "D" not in factors:
            return torch.ones_like(kept)
        slowest = self.rate * factors["D"].amin((-2, -1)) * self.gradient * self.left
        if not bool((slowest > GROWTH).all()):  # or every column may grow, however small
            kept &= ~self._without_future(factors)
        first = kept.to(torch.uint8).argmax(-1, keepdim=True)
        return kept.scatter(-1, first, True)  # the kernels want at least one

    def _without_future(self, factors):
        share, squares = self._sizes(factors)
        small = SMALL * torch.finfo(factors["U"].dtype).eps
        unseen = share <= small * share.amax(-1, keepdim=True)
        unseen &= (squares <= small * squares.sum(-1, keepdim=True)).all(0)
        growth = self._reach(factors, squares) * (self.gradient * self.left)[..., None]
        return unseen & (self.mistaken[..., None] + growth <= GROWTH)  # what is NaN or inf has a future

    def account(self, factors, kept, steps, gradients, gradient):
        """Note what ``steps`` steps with the columns ``kept`` met: the sum of the norms of G, and the last of them."""
        aside = ~kept & _nonzero(factors)
        if bool(aside.any()):
            _, squares = self._sizes(factors)
            reach = torch.where(aside, self._reach(factors, squares), 0.0).amax(-1)
            self.mistaken = self.mistaken + reach * gradients
        self.left, self.gradient = self.left - steps, torch.as_tensor(gradient, dtype=torch.float64)

    def _reach(self, factors, squares):
        """What times the norm of G bounds the exponent of growth a step: D may grow too, by less than the column."""
        return self.rate[..., None] * (factors["D"][..., 0, :] + squares.amax(0).sqrt())

    @staticmethod
    def _sizes(factors):
        r"""Each column's share of X, shape (\*, r), and its squared norm in each factor, shape (factors, \*, r)."""
        squares = torch.stack([factors[name].double().square().sum(-2) for name in factors if name != "D"])
        return factors["D"][..., 0, :] * squares.amax(0), squares


def _nonzero(factors):
    return (factors["U"] != 0).any(-2) | (factors.get("V", factors["U"]) != 0).any(-2)
