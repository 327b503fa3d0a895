r"""How X is made: Burer-Monteiro and UDU for symmetric X, UV and UDV for rectangular X.

Each model knows its factors, where they start, their gradient (from the problem's two verbs) and their projection. The
updates are those of the paper, equations 3 to 5: all gradients are taken at the same point, then every factor moves by
the same step size and is projected.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from udulib.checks import positive_array, whole_number
from udulib.errors import InputError


@dataclass(frozen=True)
class Model:
    """What the four models have in common."""

    rank: int

    names: ClassVar[tuple]  # the factors, in the order of the problem's gradient(U, D, V)
    symmetric: ClassVar[bool]
    radius: ClassVar[float] = np.inf

    def __post_init__(self):
        whole_number("rank", self.rank, 1)

    def sizes(self, problem):
        """The shape of each factor, batch dimensions left out."""
        d, c = problem.shape
        every = {"U": (d, self.rank), "D": (self.rank,), "V": (c, self.rank)}
        return {name: every[name] for name in self.names}

    def check(self, problem):
        """Refuse a problem that this model cannot solve."""
        if self.symmetric and not problem.symmetric:
            raise InputError(
                f"{type(self).__name__} makes a symmetric X, but the problem is not symmetric; "
                "pass symmetric=True to the problem if X is, or use UV or UDV"
            )

    def gradient(self, problem, factors):
        """The objective and the gradient of each factor, as the paper writes them (no factor 2 for D)."""
        U, D = factors["U"], factors.get("D")
        objective, GV, GhU = problem.gradient(U, D, factors.get("V"))
        times = (2.0 if self.symmetric else 1.0) * (torch.ones_like(U[..., :1, :]) if D is None else D[..., None, :])
        gradients = {"U": GV * times}
        if D is not None:
            gradients["D"] = (U.conj() * GV).sum(-2).real
        if "V" in factors:
            gradients["V"] = GhU * times
        return objective, gradients

    def project(self, factors, radius):
        r"""Put factors back in their balls and D above zero, in place; also the shrink :math:`\sum \log(1/c)`."""
        if "D" not in factors:
            return factors, 0.0
        factors["D"].clamp_(min=0.0)
        shrink = 0.0
        for name in factors.keys() - {"D"}:
            size = _frobenius(factors[name])  # (*,)
            c = torch.where(size.isfinite(), radius / torch.maximum(size, radius), torch.nan)  # an overflow shows
            factors[name] *= c[..., None, None]
            shrink = shrink - torch.log(c)
        return factors, shrink

    def is_feasible(self, factors, tol=1e-9):
        r"""Whether factors lie in the model's set: norms at most ``radius * (1 + tol)`` and D at least 0, all finite.

        Parameters
        ----------
        factors : dict of array
            As in ``trace.factors``.
        tol : float, default 1e-9

        Returns
        -------
        array of bool, shape (\*,)

        Examples
        --------
        >>> bool(UDU(rank=2, radius=1.0).is_feasible({"U": np.eye(2), "D": np.ones(2)}))
        False
        """
        inside = True
        for name in self.names:
            dims = -1 if name == "D" else (-2, -1)
            inside = inside & np.isfinite(factors[name]).all(axis=dims)
            if name == "D":
                inside = inside & (factors["D"] >= 0).all(axis=dims)
            else:
                inside = inside & (np.linalg.norm(factors[name], axis=dims) <= np.asarray(self.radius) * (1 + tol))
        return inside


@dataclass(frozen=True)
class BM(Model):
    r"""Burer-Monteiro: :math:`\min_U \tfrac12\|\mathcal A(U U^\top) - b\|^2` over :math:`U \in \mathbb R^{d \times r}`.

    X is positive semidefinite: data of a matrix with negative eigenvalues cannot be fitted (take UV for those).

    The step is :math:`U \leftarrow U - 2\eta\,\nabla f(UU^\top)\,U` (paper, equations 2 and 3). For complex problems
    :math:`\top` is the conjugate transpose.

    Parameters
    ----------
    rank : int
        Columns r of U, an upper bound on the rank of X.

    Raises
    ------
    InputError
        If ``rank`` is below 1.

    Examples
    --------
    >>> BM(rank=5).names
    ('U',)
    """

    names = ("U",)
    symmetric = True


@dataclass(frozen=True)
class UV(Model):
    r"""Two factors: :math:`\min_{U,V} \tfrac12\|\mathcal A(U V^\top) - b\|^2`, the rectangular Burer-Monteiro.

    The step is :math:`U \leftarrow U - \eta\,G V`, :math:`V \leftarrow V - \eta\,G^\top U` with
    :math:`G = \nabla f(UV^\top)`.

    Parameters
    ----------
    rank : int
        Columns r of U (d x r) and V (c x r).

    Raises
    ------
    InputError
        If ``rank`` is below 1.

    Examples
    --------
    >>> UV(rank=5).names
    ('U', 'V')
    """

    names = ("U", "V")
    symmetric = False


@dataclass(frozen=True)
class _Balls(Model):
    radius: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        radius = positive_array("radius", self.radius)
        object.__setattr__(self, "radius", float(radius) if radius.ndim == 0 else radius)


@dataclass(frozen=True)
class UDU(_Balls):
    r"""U in a ball, D free: :math:`X = U D U^\top` with :math:`\|U\|_F \le \alpha` and diagonal :math:`D \ge 0`.

    X is positive semidefinite: data of a matrix with negative eigenvalues cannot be fitted (take UDV for those).

    The problem is :math:`\min_{U, D} \tfrac12\|\mathcal A(U D U^\top) - b\|^2` over that set, and the step (paper,
    equations 4 and 5) is :math:`U \leftarrow \Pi_\alpha(U - 2\eta\,G U D)`,
    :math:`D \leftarrow \max(D - \eta\,\mathrm{diag}(U^\top G U),\, 0)`, with :math:`G = \nabla f(UDU^\top)` at the old
    point in both; :math:`\Pi_\alpha` rescales U to norm :math:`\alpha` when it is longer.

    Parameters
    ----------
    rank : int
        Columns r of U; D is stored as its diagonal, shape (r,).
    radius : float or array, default 1.0
        :math:`\alpha`, positive; an array broadcasts with the other batch settings of ``descend``. The paper uses 1
        for data of order one and never varies it; what matters is :math:`\|X\|/\alpha^3`.

    Raises
    ------
    InputError
        If ``rank`` is below 1 or ``radius`` is not positive.

    Examples
    --------
    >>> UDU(rank=100, radius=1.0)
    UDU(rank=100, radius=1.0)
    """

    names = ("U", "D")
    symmetric = True


@dataclass(frozen=True)
class UDV(_Balls):
    r"""U and V in balls, D free: :math:`X = U D V^\top`, :math:`\|U\|_F, \|V\|_F \le \alpha`, diagonal :math:`D \ge 0`.

    The step is :math:`U \leftarrow \Pi_\alpha(U - \eta\,G V D)`, :math:`V \leftarrow \Pi_\alpha(V - \eta\,G^\top U D)`,
    :math:`D \leftarrow \max(D - \eta\,\mathrm{diag}(U^\top G V),\, 0)` with :math:`G = \nabla f(UDV^\top)`.

    Parameters
    ----------
    rank : int
        Columns r of U (d x r) and V (c x r).
    radius : float or array, default 1.0
        :math:`\alpha` of both balls, as in :class:`UDU`.

    Raises
    ------
    InputError
        If ``rank`` is below 1 or ``radius`` is not positive.

    Examples
    --------
    >>> UDV(rank=20, radius=1.5).names
    ('U', 'D', 'V')
    """

    names = ("U", "D", "V")
    symmetric = False


def _frobenius(A):
    """The Frobenius norm over the last two dimensions; torch takes 30 times longer on complex numbers than on parts."""
    parts, dims = (torch.view_as_real(A), (-3, -2, -1)) if A.is_complex() else (A, (-2, -1))
    return torch.linalg.vector_norm(parts, dim=dims)
