"""Classification by a matrix: a logistic loss on separable data, which no finite X minimises."""

import torch

from udulib.checks import whole_number
from udulib.errors import InputError
from udulib.problems.base import scaled, stack
from udulib.problems.sensing import Sensing
from udulib.seeds import generator, seeds_array


class Logistic(Sensing):
    r"""Labelled matrices: :math:`f(X) = \tfrac1n \sum_i \log\big(1 + \exp(-y_i \langle A_i, X\rangle)\big)`.

    If some X has :math:`y_i \langle A_i, X \rangle > 0` for all i, the data are *separable*: f has no minimiser, and
    descent runs to infinity. What it does there is a matter of direction only.

    Parameters
    ----------
    matrices : array, shape (n, d, c)
        The :math:`A_i`, real.
    labels : array of -1 and 1, shape (n,)
        The :math:`y_i`.
    symmetric : bool, optional
        As in :class:`udulib.Sensing`.

    Raises
    ------
    InputError
        Labels that are not -1 or 1, complex matrices, and what :class:`udulib.Sensing` refuses.

    Examples
    --------
    >>> import numpy as np
    >>> problem = Logistic(np.eye(2)[None], [1.0])
    >>> round(float(problem.objective(torch.zeros(2, 1, dtype=torch.float64))), 6)
    0.693147
    """

    def __init__(self, matrices, labels, symmetric=None):
        super().__init__(matrices, labels, symmetric)
        if self.is_complex:
            raise InputError("a logistic problem is real; got complex matrices")
        if (self.b.abs() != 1).any():
            raise InputError(f"labels are -1 or 1; got {labels!r}")

    def margins(self, L, R):
        r""":math:`y_i \langle A_i, L R^\top \rangle`, shape (\*, n); all above zero where X separates the data."""
        return self.b * self.measure(L, R)

    def gradient(self, U, D=None, V=None):
        left, right = scaled(U, D), U if V is None else V
        margins = self.margins(left, right)
        G = self.adjoint(-self.b * torch.sigmoid(-margins) / self.b.shape[-1])
        GV = G @ right
        return _loss(margins), GV, GV if V is None else G.mH @ U

    def objective(self, U, D=None, V=None):
        return _loss(self.margins(scaled(U, D), U if V is None else V))


def planted_classification(d, rank, samples, seed=0):
    r"""Gaussian matrices, labelled by a positive semidefinite matrix of low rank, so that they are separable.

    Parameters
    ----------
    d : int
    rank : int
        Of the matrix that labels them, :math:`Q Q^\top` with orthonormal columns.
    samples : int
    seed : int or sequence of int, default 0
        One seed for one problem; several for a stack.

    Returns
    -------
    Logistic

    Raises
    ------
    InputError
        Sizes below one, or a rank above d.

    Examples
    --------
    >>> planted_classification(d=6, rank=2, samples=30, seed=[0, 1]).batch_shape
    (2,)
    """
    d, samples = whole_number("d", d, 1), whole_number("samples", samples, 1)
    if whole_number("rank", rank, 1) > d:
        raise InputError(f"rank is at most d = {d}; got {rank}")

    def one(rng):
        Q = torch.linalg.qr(torch.from_numpy(rng.standard_normal((d, rank))))[0]
        A = torch.from_numpy(rng.standard_normal((samples, d, d)))
        A = (A + A.mT) / 2
        labels = torch.where((Q.mT @ A @ Q).diagonal(dim1=-2, dim2=-1).sum(-1) > 0, 1.0, -1.0)
        return Logistic(A, labels, symmetric=True)

    seeds = seeds_array(seed)
    made = [one(generator("classification", s)) for s in seeds.reshape(-1)]
    return made[0] if seeds.ndim == 0 else stack(made)


def _loss(margins):
    return torch.nn.functional.softplus(-margins).mean(-1)
