"""A completed matrix, as all solvers of completion return it."""

from dataclasses import dataclass, field

import numpy as np

from udulib.errors import InputError
from udulib.factors import product
from udulib.problems import Completion


@dataclass(frozen=True)
class Fit:
    r"""A completed matrix, as factors: :math:`X = U V^\top`.

    Attributes
    ----------
    factors : dict of array
        ``"U"`` (d, r) and ``"V"`` (c, r).
    objective : array, shape (sweeps,)
        :math:`\tfrac12\|\mathcal A(X) - b\|^2` after each sweep, without the penalty.
    converged : bool or None
        Whether the method stopped because nothing moved any more, and not because its sweeps were used up. None where
        it has no such test: it does as many as it is told.
    """

    factors: dict
    objective: np.ndarray = field(repr=False)
    converged: bool | None = None

    @property
    def rank(self):
        """Columns of the factors."""
        return self.factors["U"].shape[-1]

    def product(self):
        """X itself, shape (d, c)."""
        return product(self.factors)

    def entries(self, rows, cols):
        """X at (rows[i], cols[i]), without forming the rest."""
        return np.einsum("ij,ij->i", self.factors["U"][rows], self.factors["V"][cols])


def one_problem(problem):
    """Refuse what is not one :class:`udulib.Completion`."""
    if not isinstance(problem, Completion) or problem.batch_shape:
        raise InputError("the solvers want one Completion problem; got another kind or a stack (take one by one)")
