"""A table's means: the prediction without any factor."""

from dataclasses import dataclass, field

import numpy as np

from udulib.checks import positive_array, whole_number
from udulib.errors import InputError
from udulib.solvers.fit import one_problem

MOVED = 1e-3  # of the spread of the values: a last change of a mean that counts as none


@dataclass(frozen=True)
class Means:
    """A mean for everything, and one for each row and column on top of it: the prediction without any factor.

    Attributes
    ----------
    overall : float
    rows : array, shape (d,)
    cols : array, shape (c,)
    converged : bool
        Whether the last sweep moved no mean by more than 1e-3 of the values' spread.
    """

    overall: float
    rows: np.ndarray = field(repr=False)
    cols: np.ndarray = field(repr=False)
    converged: bool = True

    def at(self, rows, cols):
        """The sum of the three at (rows[i], cols[i])."""
        return self.overall + self.rows[rows] + self.cols[cols]


def means(problem, ridge=(10.0, 5.0), sweeps=15):
    r"""Row and column means by ridge least squares, alternating (Koren 2010).

    Parameters
    ----------
    problem : Completion
        One problem, not a stack.
    ridge : (float, float), default (10, 5)
        For rows (users) and columns (items); a mean over n entries is shrunk by :math:`n/(n + \text{ridge})`.
    sweeps : int, default 15

    Returns
    -------
    Means

    Raises
    ------
    InputError
        A stack, or numbers that are not positive.

    Examples
    --------
    >>> import udulib as ul
    >>> problem = ul.Completion([0, 0, 1], [0, 1, 0], [5.0, 3.0, 4.0], shape=(2, 2))
    >>> round(float(means(problem, ridge=(1e-9, 1e-9), sweeps=200).at(1, 1)), 6)
    2.0
    """
    one_problem(problem)
    ridges = positive_array("ridge", ridge)
    if ridges.shape != (2,):
        raise InputError(f"ridge is two numbers, for rows and for columns; got {ridge!r}")
    row_ridge, col_ridge = ridges
    i, j, values = problem.rows.numpy(), problem.cols.numpy(), problem.b.numpy()
    (d, c), overall = problem.shape, float(values.mean())
    n_rows, n_cols = np.bincount(i, minlength=d), np.bincount(j, minlength=c)
    rows = np.zeros(d)
    for _ in range(whole_number("sweeps", sweeps, 1)):
        cols = np.bincount(j, values - overall - rows[i], c) / (n_cols + col_ridge)
        before, rows = rows, np.bincount(i, values - overall - cols[j], d) / (n_rows + row_ridge)
    return Means(overall, rows, cols, bool(np.abs(rows - before).max() <= MOVED * values.std()))
