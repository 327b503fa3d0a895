"""Known entries of a matrix, laid out for least squares on two factors."""

import math
import warnings

import torch

DENSE_UP_TO = 4_000_000  # entries of X up to which the whole matrix is worked on
DENSE_PER_ENTRY = 16  # and how many of them, at most, for each known one
FULL = torch.float64


class Entries:
    r"""The set :math:`\Omega` of known entries and their values: what the fits of this room read.

    A small or well-filled matrix is held whole, with a weight of zero or one for each entry. A large one is held as
    two compressed sparse matrices, by rows and by columns, so that memory is linear in the entries.

    Parameters
    ----------
    rows, cols : torch.Tensor of int64, shape (n,)
        Each place once.
    values : torch.Tensor of float64, shape (n,)
    shape : (int, int)
    """

    def __init__(self, rows, cols, values, shape):
        self.shape, self.count = tuple(shape), len(values)
        self.dense = math.prod(shape) <= min(DENSE_UP_TO, DENSE_PER_ENTRY * len(values))
        order = torch.argsort(rows * shape[1] + cols)
        self.rows, self.cols, self.values = rows[order], cols[order], values[order]
        if self.dense:
            self.weights = torch.zeros(shape, dtype=FULL, device=values.device)
            self.weights[self.rows, self.cols] = 1.0
        else:
            self.by_col = torch.argsort(self.cols, stable=True)
            self.layouts = (
                _compressed(self.rows, self.cols, shape[0]),
                _compressed(self.cols[self.by_col], self.rows[self.by_col], shape[1]),
            )
        self.square = float(self.values @ self.values)

    def weighted(self, values):
        """The matrix that holds ``values`` at the known entries and zero elsewhere: it has ``@`` and ``.mH``."""
        if self.dense:
            return torch.zeros_like(self.weights).index_put_((self.rows, self.cols), values)
        return _Sparse(self, values)

    def ones(self):
        """The matrix of ones at the known entries."""
        return self.weights if self.dense else self.weighted(torch.ones_like(self.values))

    def product(self, L, R):
        r""":math:`L R^\top` at the known entries, zero elsewhere; as :meth:`weighted` returns it."""
        return self.weights * (L @ R.mT) if self.dense else self.weighted(self._sampled(L, R))

    def misfit(self, L, R):
        r"""Half the squared misfit of :math:`L R^\top`, and the matrix of differences at the known entries."""
        if not self.dense:
            left = self._sampled(L, R).sub_(self.values)
            return 0.5 * float(left @ left), self.weighted(left)
        if not hasattr(self, "targets"):
            self.targets = self.weighted(self.values)
        left = self.weights * (L @ R.mT - self.targets)
        return 0.5 * float(torch.sum(left * left)), left

    @staticmethod
    def inner(A, B):
        """The inner product of two matrices that vanish outside the known entries."""
        return float(torch.sum(A * B) if isinstance(A, torch.Tensor) else torch.sum(A.values * B.values))

    def shifted(self, offset):
        """The same entries less a number."""
        return Entries(self.rows, self.cols, self.values - offset, self.shape) if offset else self

    def _sampled(self, L, R):
        crow, col = self.layouts[0]
        zero = _csr(crow, col, torch.zeros_like(self.values), self.shape)
        return torch.sparse.sampled_addmm(zero, L.contiguous(), R.mT.contiguous(), beta=0.0).values()


class _Sparse:
    """A sparse matrix on the places of ``entries``, which multiplies from either side."""

    def __init__(self, entries, values, transposed=False):
        self.entries, self.values, self.transposed = entries, values, transposed

    @property
    def mH(self):
        return _Sparse(self.entries, self.values, not self.transposed)

    def __matmul__(self, M):
        entries, flip = self.entries, self.transposed
        values = self.values[entries.by_col] if flip else self.values
        shape = entries.shape[::-1] if flip else entries.shape
        return _csr(*entries.layouts[flip], values, shape) @ M


def _compressed(major, minor, size):
    ends = torch.bincount(major, minlength=size).cumsum(0)
    kind = torch.int32 if len(major) < 2**31 else torch.int64
    return torch.cat([ends.new_zeros(1), ends]).to(kind), minor.to(kind)


def _csr(crow, col, values, shape):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)
        return torch.sparse_csr_tensor(crow, col, values, shape, check_invariants=False)
