"""Matrix sensing: inner products of X with given matrices are known."""

import torch

from udulib.checks import finite_array, yes_or_no
from udulib.errors import InputError
from udulib.problems.base import Problem


class Sensing(Problem):
    r"""Linear measurements: :math:`f(X) = \tfrac12 \sum_i (\mathrm{Re}\langle A_i, X\rangle - b_i)^2`.

    Parameters
    ----------
    matrices : array, shape (n, d, c)
        The :math:`A_i`, real or complex. Complex ones make the factors complex.
    b : array of float, shape (n,)
        The data.
    symmetric : bool, optional
        Whether X is symmetric (Hermitian). Left out: whether every :math:`A_i` is, up to round-off. When true, each is
        replaced by its symmetric part, which measures a symmetric X alike.

    Raises
    ------
    InputError
        Shapes that do not fit, no measurement, NaN or inf, complex data, a symmetric problem that is not square.

    Examples
    --------
    >>> import numpy as np
    >>> problem = Sensing(np.eye(3)[None], [6.0])
    >>> problem.symmetric, float(problem.objective(torch.eye(3, dtype=torch.float64)))
    (True, 4.5)
    """

    arrays = ("matrices", "b")

    def __init__(self, matrices, b, symmetric=None):
        matrices, b = finite_array("matrices", matrices, ndim=3), finite_array("b", b, ndim=1)
        if not len(b) or len(matrices) != len(b):
            raise InputError(
                f"there is one number in b for each matrix, and at least one; got {len(matrices)} and {len(b)}"
            )
        if not matrices.size:
            raise InputError(f"the matrices have rows and columns; got shape {matrices.shape}")
        if b.dtype.kind == "c":
            raise InputError("b is real: the measurements are real parts of inner products; got complex data")
        matrices, self.shape = torch.from_numpy(matrices), matrices.shape[1:]
        square = self.shape[0] == self.shape[1]
        symmetric = None if symmetric is None else yes_or_no("symmetric", symmetric)
        if symmetric and not square:
            raise InputError(f"a symmetric problem is square; got matrices of shape {self.shape}")
        self.symmetric = square and _hermitian(matrices) if symmetric is None else symmetric
        self.matrices = (matrices + matrices.mH) / 2 if self.symmetric else matrices
        self.b = torch.from_numpy(b)
        self.is_complex = matrices.is_complex()

    def measure(self, L, R):
        X = (L @ R.mH).flatten(-2)[..., None]  # (*, d c, 1)
        return (self.matrices.flatten(-2).conj() @ X)[..., 0].real

    def adjoint(self, residual):
        rows = residual.to(self.matrices.dtype)[..., None, :]  # (*, 1, n)
        return (rows @ self.matrices.flatten(-2))[..., 0, :].unflatten(-1, self.shape)  # (*, d, c)


def _hermitian(matrices):
    return bool((matrices - matrices.mH).abs().max() <= 1e-14 * matrices.abs().max())
