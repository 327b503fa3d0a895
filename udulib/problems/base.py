"""What every problem answers: how X is measured, and how the gradient acts on a factor."""

import copy
from abc import ABC, abstractmethod

import torch

from udulib.checks import COMPLEX_OF, REAL_OF
from udulib.errors import InputError


class Problem(ABC):
    r"""Recover :math:`X` from :math:`b = \mathcal A(X)`, by :math:`f(X) = \tfrac12 \|\mathcal A(X) - b\|_2^2`.

    A problem answers two questions about :math:`X = L R^{\mathsf H}` without being told how :math:`X` is made:
    ``measure(L, R)`` is :math:`\mathcal A(L R^{\mathsf H})`, and ``adjoint(residual) @ R`` is
    :math:`\mathcal A^*(\text{residual})\, R`. ``gradient`` answers both at once; a problem overrides it where that
    saves work. Batch dimensions lead and broadcast.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns of X.
    symmetric : bool
        Whether the measurements see only the symmetric (Hermitian) part of X, as the symmetric models need.
    is_complex : bool
        Whether the factors are complex.
    b : torch.Tensor, shape (*, n)
        The data.
    """

    arrays = ("b",)  # the tensors that travel to a device, and that stack() stacks
    shared = ()  # tensors that travel too, but are one and the same for all problems of a stack

    @abstractmethod
    def measure(self, L, R):
        r""":math:`\mathcal A(L R^{\mathsf H})` for L (\*, d, r) and R (\*, c, r): shape (\*, n)."""

    @abstractmethod
    def adjoint(self, residual):
        r""":math:`\mathcal A^*(\text{residual})`, something with ``@`` and ``.mH``; residual has shape (\*, n)."""

    @property
    def batch_shape(self):
        """The leading dimensions: ``()`` for one problem, ``(p,)`` for a stack of p."""
        return tuple(self.b.shape[:-1])

    def gradient(self, U, D=None, V=None):
        r"""The objective, :math:`GV` and :math:`G^{\mathsf H}U`, with :math:`G = \nabla f(X)`.

        X is :math:`U\,\mathrm{diag}(D)\,V^{\mathsf H}`; ``D`` left out means ones, ``V`` left out means ``U``.
        """
        left, right = scaled(U, D), U if V is None else V
        residual = self.measure(left, right) - self.b  # (*, n)
        G = self.adjoint(residual)
        GV = G @ right  # (*, d, r)
        return half_square(residual), GV, GV if V is None else G.mH @ U

    def gradient_at(self, X):
        r""":math:`f(X)`, shape (\*,), and :math:`\nabla f(X)` as a matrix, shape (\*, d, c)."""
        objective, G, _ = self.gradient(X, None, torch.eye(self.shape[1], dtype=X.dtype, device=X.device))
        return objective, G

    def objective(self, U, D=None, V=None):
        r""":math:`f(U\,\mathrm{diag}(D)\,V^{\mathsf H})`, shape (\*,)."""
        return half_square(self.measure(scaled(U, D), U if V is None else V) - self.b)

    def to(self, device=None, dtype=None):
        """A copy on ``device`` whose real arrays have the precision of ``dtype``."""
        real = REAL_OF.get(dtype, dtype)

        def move(tensor):
            if not (tensor.is_floating_point() or tensor.is_complex()):
                return tensor.to(device)
            return tensor.to(device, COMPLEX_OF.get(real, real) if tensor.is_complex() else real)

        return self._mapped(lambda name: move(getattr(self, name)), self.arrays + self.shared)

    def _mapped(self, tensor_of, names):
        new = copy.copy(self)
        for name in names:
            setattr(new, name, tensor_of(name))
        return new


def scaled(U, D):
    """U diag(D), without building the diagonal matrix."""
    return U if D is None else U * D[..., None, :]


def half_square(residual):
    """Half the squared norm over the last dimension."""
    return 0.5 * torch.linalg.vecdot(residual, residual).real


def stack(problems):
    """Several problems of one kind and shape as one batched problem.

    Parameters
    ----------
    problems : sequence of Problem
        All of one class, shape, symmetry and number of measurements.

    Returns
    -------
    Problem
        Its ``batch_shape`` is ``(len(problems),)`` followed by theirs.

    Raises
    ------
    InputError
        If there is none, or if they differ.

    Examples
    --------
    >>> import udulib as ul
    >>> one, _ = ul.planted_completion(d=10, rank=2, observed=60, spectrum=(2.0, 1.0), seed=1)
    >>> two, _ = ul.planted_completion(d=10, rank=2, observed=60, spectrum=(2.0, 1.0), seed=2)
    >>> ul.stack([one, two]).batch_shape
    (2,)
    """
    try:
        problems = list(problems)
    except TypeError:
        problems = [problems]
    if not problems or not all(isinstance(problem, Problem) for problem in problems):
        came = ", ".join(sorted({type(problem).__name__ for problem in problems})) or "none"
        raise InputError(f"stack wants at least one problem, in a sequence; got {came}")

    def kind(problem):
        shapes = {name: tuple(getattr(problem, name).shape) for name in problem.arrays}
        return type(problem).__name__, problem.shape, problem.symmetric, shapes

    first = kind(problems[0])
    for k, problem in enumerate(problems):
        if kind(problem) != first:
            raise InputError(
                f"stacked problems agree in class, shape and size; number 0 is {first}, number {k} is {kind(problem)}"
            )
        for name in problem.shared:
            if not torch.equal(getattr(problem, name), getattr(problems[0], name)):
                raise InputError(
                    f"stacked problems have the same {name}; those of number {k} are not those of number 0"
                )
    return problems[0]._mapped(lambda name: torch.stack([getattr(p, name) for p in problems]), problems[0].arrays)
