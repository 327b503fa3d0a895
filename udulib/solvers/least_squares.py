"""Alternating least squares on the observed entries.

We know no maintained package of it, nor of soft-impute, for real-valued entries that installs beside today's NumPy
(``implicit`` counts what is missing as zero).
"""

import numpy as np

from udulib.checks import finite_array, positive_number, whole_number
from udulib.errors import InputError
from udulib.seeds import generator
from udulib.solvers.fit import Fit, one_problem

EXACT = 1e-22  # misfit over the data's square that counts as zero
DENSE_UP_TO = 100_000  # entries of X up to which least squares works on the whole matrix, not row by row
TINY_RIDGE = 1e-12  # of a row's mean squared weight, so that a row with few entries still has one answer


def als(problem, rank, ridge=0.0, weighted=False, sweeps=100, tol=1e-6, start=None, seed=0, watch=None):
    r"""Alternating (ridge) least squares: each factor in turn is the best for the other.

    .. math:: \min_{U, V} \tfrac12\|\mathcal A(UV^\top) - b\|^2
              + \tfrac\rho2 \Big(\sum_i w_i \|u_i\|^2 + \sum_j w_j \|v_j\|^2\Big)

    with :math:`w = 1`, or, ``weighted``, the number of entries of each row and column (Zhou et al. 2008). The entries
    of a symmetric problem are used at (i, j) and (j, i).

    Parameters
    ----------
    problem : Completion
        One problem, not a stack.
    rank : int
        Columns of U and V.
    ridge : float, default 0
        :math:`\rho`, at least 0. A row with fewer entries than columns gets its smallest solution.
    weighted : bool, default False
        Count-weighted ridge.
    sweeps : int, default 100
        At most; each updates both factors.
    tol : float, default 1e-6
        Stop when a sweep lowers the misfit by less than this share, or when it is round-off. Zero: never.
    start : array, shape (c, rank), optional
        V to start from; random if left out.
    seed : int, default 0
        Of the random start.
    watch : callable, optional
        Called with the :class:`Fit` so far after each sweep; a true answer stops.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        A stack, or numbers and shapes that are not as said above.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_completion(d=(30, 40), rank=2, observed=700, spectrum=(2.0, 1.0), seed=0)
    >>> bool(truth.relative_error(als(problem, rank=2)) < 1e-8)
    True
    """
    one_problem(problem)
    rank, ridge = whole_number("rank", rank, 1), positive_number("ridge", ridge, allow_zero=True)
    tol = positive_number("tol", tol, allow_zero=True)
    rows, cols, values = problem.rows.numpy(), problem.cols.numpy(), problem.b.numpy()
    if problem.symmetric:
        off = rows != cols
        rows, cols = np.append(rows, cols[off]), np.append(cols, rows[off])
        values = np.append(values, values[off])
    d, c = problem.shape
    by_row, by_col = _Grouped(rows, cols, values, (d, c)), _Grouped(cols, rows, values, (c, d))
    V = (
        generator("als", seed).standard_normal((c, rank)) / np.sqrt(c)
        if start is None
        else finite_array("start", start)
    )
    if V.shape != (c, rank):
        raise InputError(f"start is V, of shape {(c, rank)}; got {V.shape}")
    objective, converged = [], False
    for _ in range(whole_number("sweeps", sweeps, 1)):
        U = by_row.solve(V, ridge, weighted)
        V = by_col.solve(U, ridge, weighted)
        fit = Fit({"U": U, "V": V}, np.array(objective))
        misfit = fit.entries(problem.rows.numpy(), problem.cols.numpy()) - problem.b.numpy()
        objective.append(0.5 * float(misfit @ misfit))
        if watch is not None and watch(fit):
            break
        slow = len(objective) > 1 and objective[-2] - objective[-1] < tol * objective[-2]
        converged = bool(tol) and (slow or objective[-1] < EXACT * float(values @ values))
        if converged:
            break
    return Fit({"U": U, "V": V}, np.array(objective), converged)


class _Grouped:
    """Entries by row, and the least-squares problem of each row."""

    def __init__(self, rows, cols, values, shape):
        self.counts = np.bincount(rows, minlength=shape[0])
        self.dense = shape[0] * shape[1] <= DENSE_UP_TO
        if self.dense:
            self.seen, self.filled = np.zeros(shape), np.zeros(shape)
            np.add.at(self.seen, (rows, cols), 1.0)
            np.add.at(self.filled, (rows, cols), values)
            return
        order = np.argsort(rows, kind="stable")
        ends = np.cumsum(self.counts)
        self.slices = [slice(e - n, e) for n, e in zip(self.counts, ends, strict=True)]
        self.cols, self.values = cols[order], values[order]

    def solve(self, V, ridge, weighted):
        r = V.shape[1]
        gram, right = self._dense(V) if self.dense else self._row_by_row(V)
        weight = ridge * (self.counts if weighted else np.ones_like(self.counts))
        diagonal = np.arange(r)
        least = TINY_RIDGE * np.trace(gram, axis1=1, axis2=2) / r
        gram[:, diagonal, diagonal] += np.where(self.counts > 0, weight + least, 1.0)[:, None]
        empty = ~gram.any(axis=(1, 2))  # a row whose entries meet nothing but zeros of V
        gram[empty] = np.eye(r)
        return np.linalg.solve(gram, right[..., None])[..., 0]

    def _dense(self, V):
        r = V.shape[1]
        squares = (V[:, :, None] * V[:, None, :]).reshape(len(V), r * r)
        return (self.seen @ squares).reshape(-1, r, r), self.filled @ V

    def _row_by_row(self, V):
        r = V.shape[1]
        gram, right = np.empty((len(self.slices), r, r)), np.empty((len(self.slices), r))
        gathered = V[self.cols]  # (n, r)
        for i, own in enumerate(self.slices):
            gram[i] = gathered[own].T @ gathered[own]
            right[i] = gathered[own].T @ self.values[own]
        return gram, right
