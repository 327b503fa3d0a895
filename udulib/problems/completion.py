"""Matrix completion: some entries of X are known."""

import math

import numpy as np
import torch

from udulib.checks import finite_array, index_array, whole_number, yes_or_no
from udulib.errors import InputError
from udulib.problems.base import Problem, half_square, scaled

DENSE_UP_TO = 2000  # rows or columns beyond which no d x c workspace is made
DENSE_PER_ENTRY = 32  # nor where it would hold more than this many numbers an entry
CHUNK = 2**22  # numbers gathered at once where no workspace is made


class Completion(Problem):
    r"""Known entries: :math:`f(X) = \tfrac12 \sum_{(i,j)\in\Omega} (X_{ij} - v_{ij})^2`.

    Parameters
    ----------
    rows, cols : array of int, shape (n,)
        Where the entries are, counted from zero. (i, j) and (j, i) are two entries; the same (i, j) twice is an error.
    values : array of float, shape (n,)
        What they are.
    shape : tuple of two int
        Rows and columns of X.
    symmetric : bool, default False
        Whether X is symmetric. Then each entry is measured as :math:`\tfrac12(X_{ij} + X_{ji})`, which is the same
        number for a symmetric X and makes the gradient symmetric; the observed set itself need not be.

    Raises
    ------
    InputError
        Empty or twice given entries, NaN or inf, indices out of range, lengths that differ, a symmetric problem that
        is not square.

    Notes
    -----
    A d x c workspace is used while it holds at most 32 numbers an entry and neither side exceeds 2000; beyond that
    memory is linear in entries and factors. The paper's setting is section 2.2: 900 of :math:`100^2` entries, drawn
    without regard to symmetry.

    Examples
    --------
    >>> problem = Completion([0, 1, 1], [0, 0, 1], [4.0, 2.0, 1.0], shape=(2, 2), symmetric=True)
    >>> float(problem.objective(torch.tensor([[2.0], [1.0]], dtype=torch.float64)))
    0.0
    """

    is_complex = False

    def __init__(self, rows, cols, values, shape, symmetric=False):
        if np.shape(shape) != (2,):
            raise InputError(f"shape is (rows, columns); got {shape!r}")
        self.shape = tuple(whole_number("each side of shape", side, 1) for side in shape)
        if math.prod(self.shape) > np.iinfo(np.int64).max:
            raise InputError(f"a matrix has fewer than 2**63 entries in all; got shape {self.shape}")
        self.symmetric = yes_or_no("symmetric", symmetric)
        if self.symmetric and self.shape[0] != self.shape[1]:
            raise InputError(f"a symmetric problem is square; got shape {self.shape} (leave out symmetric=True)")
        rows, cols = index_array("rows", rows, self.shape[0]), index_array("cols", cols, self.shape[1])
        values = finite_array("values", values, ndim=1)
        _check_entries(rows, cols, values, self.shape)
        self.rows, self.cols, self.b = torch.from_numpy(rows), torch.from_numpy(cols), torch.from_numpy(values)
        self.arrays = ("rows", "cols", "b")
        self.dense = max(self.shape) <= DENSE_UP_TO and math.prod(self.shape) <= DENSE_PER_ENTRY * len(values)
        if self.dense:
            self.weights, self.targets, self.offset = _merged(self.adjoint, self.b)
            self.arrays += ("weights", "targets", "offset")

    def measure(self, L, R):
        entries = self._entries(L, R)
        return (entries + self._entries(R, L)) / 2 if self.symmetric else entries

    def adjoint(self, residual):
        residual = residual.to(self.b)
        if not self.dense:
            return EntryMatrix(self.rows, self.cols, residual, self.shape, self.symmetric)
        flat = torch.zeros(*residual.shape[:-1], math.prod(self.shape), dtype=residual.dtype, device=residual.device)
        flat.scatter_(-1, self._flat.expand(residual.shape), residual)
        G = flat.unflatten(-1, self.shape)  # (*, d, c)
        return (G + G.mT) / 2 if self.symmetric else G

    def gradient(self, U, D=None, V=None):
        left, right = scaled(U, D), U if V is None else V
        if self.dense:
            X = left @ right.mT  # (*, d, c)
            if self.symmetric and V is not None:
                X = (X + X.mT) / 2
            misfit = X - self.targets
            G = self.weights * misfit
            objective = half_square_of(G, misfit) + self.offset
        else:
            residual = (self._entries(left, right) if V is None else self.measure(left, right)) - self.b
            G, objective = self.adjoint(residual), half_square(residual)
        GV = G @ right
        return objective, GV, GV if V is None else G.mH @ U

    @property
    def _flat(self):
        return self.rows * self.shape[1] + self.cols  # (*, n)

    def _entries(self, L, R):
        """(L Rᵀ)_ij at the entries, a chunk of them at a time where nothing dense is made."""
        if self.dense:
            return _rows_of((L @ R.mT).flatten(-2)[..., None], self._flat)[..., 0]
        step = max(1, CHUNK // (math.prod(L.shape[:-2]) * L.shape[-1]))
        parts = zip(self.rows.split(step, -1), self.cols.split(step, -1), strict=True)
        return torch.cat([torch.linalg.vecdot(_rows_of(L, i), _rows_of(R, j)) for i, j in parts], dim=-1)


class EntryMatrix:
    """A matrix given by its entries, which multiplies factors without being formed; symmetrised where asked."""

    def __init__(self, rows, cols, values, shape, symmetric):
        self.rows, self.cols, self.values, self.shape, self.symmetric = rows, cols, values, shape, symmetric

    @property
    def mH(self):
        return EntryMatrix(self.cols, self.rows, self.values, self.shape[::-1], self.symmetric)

    def __matmul__(self, R):
        out = self._times(self.rows, self.cols, self.shape[0], R)
        return (out + self._times(self.cols, self.rows, self.shape[0], R)) / 2 if self.symmetric else out

    def _times(self, rows, cols, size, R):
        batch = torch.broadcast_shapes(self.values.shape[:-1], R.shape[:-2])
        out = torch.zeros(*batch, size, R.shape[-1], dtype=R.dtype, device=R.device)  # (*, size, r)
        step = max(1, CHUNK // (math.prod(batch) * R.shape[-1]))
        for i, j, g in zip(rows.split(step, -1), cols.split(step, -1), self.values.split(step, -1), strict=True):
            terms = (g[..., None] * _rows_of(R, j)).expand(*batch, -1, -1)  # (*, chunk, r)
            if rows.ndim == 1:
                out.index_add_(-2, i, terms)
            else:
                out.scatter_add_(-2, i[..., None].expand(terms.shape), terms)
        return out


def half_square_of(G, misfit):
    """Half the inner product of two matrices over their last two dimensions."""
    return 0.5 * torch.linalg.vecdot(G.flatten(-2), misfit.flatten(-2))


def _rows_of(L, index):
    """Rows of L (*, d, r) at index (*, n), batches broadcast: (*, n, r)."""
    if index.ndim == 1:
        return L[..., index, :]
    batch = torch.broadcast_shapes(L.shape[:-2], index.shape[:-1])
    return torch.take_along_dim(L.expand(*batch, -1, -1), index.expand(*batch, -1)[..., None], dim=-2)


def _check_entries(rows, cols, values, shape):
    if not len(rows) == len(cols) == len(values):
        raise InputError(f"rows, cols and values have one length; got {len(rows)}, {len(cols)} and {len(values)}")
    if np.iscomplexobj(values):
        raise InputError("values are real numbers; got complex ones (complete real and imaginary parts apart)")
    if not len(values):
        raise InputError("a completion problem has at least one entry; got none")
    places, counts = np.unique(rows * shape[1] + cols, return_counts=True)
    if counts.max() > 1:
        i, j = divmod(int(places[counts.argmax()]), shape[1])
        raise InputError(
            f"entry ({i}, {j}) is given {counts.max()} times; combine repeated entries first, by their mean say"
        )


def _merged(adjoint, values):
    r"""W, T and an offset such that :math:`f(X) = \tfrac12\sum W (X - T)^2 + \text{offset}` and :math:`G = W (X - T)`.

    Mirrored entries of a symmetric problem are merged here once: (i, j) and (j, i) get one target, their mean.
    """
    weights = adjoint(torch.ones_like(values))
    targets = torch.where(weights > 0, adjoint(values) / weights.clamp(min=0.5), 0.0)
    offset = 0.5 * (adjoint(values**2) - weights * targets**2).sum()  # exactly zero unless mirrored entries disagree
    return weights, targets, offset
