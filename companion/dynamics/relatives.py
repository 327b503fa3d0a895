r"""UDU with one part changed at a time, and chains of plain factors: to find out which part does what.

Is it only depth three? Would weight decay do? The models here run in :func:`udulib.descend`; :func:`chain` and
:func:`greedy` are descents of their own, for small d.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from udulib.checks import broadcast_shape, finite_array, positive_array, positive_number, whole_number
from udulib.errors import InputError
from udulib.factorization.descent import descend
from udulib.factorization.models import BM, UDU
from udulib.theory.deep.chain import products, updated
from udulib.theory.fixed_points import gradient

BALLS = ("frobenius", "spectral", "none")


@dataclass(frozen=True)
class Relative(UDU):
    r"""UDU with another ball, with weight decay on U, or with a D that moves at another speed.

    The step is :math:`U \leftarrow \Pi(U - 2\eta\,G U D - \eta\,w\,U)`,
    :math:`D \leftarrow \max(D - \eta\,s\,\mathrm{diag}(U^\top G U), 0)`; with the defaults it is :class:`udulib.UDU`.

    Parameters
    ----------
    rank, radius
        As in :class:`udulib.UDU`.
    ball : {"frobenius", "spectral", "none"}
        What :math:`\Pi` rescales U for: :math:`\|U\|_F \le \alpha`, :math:`\|U\|_2 \le \alpha`, or nothing.
    decay : float or array, default 0.0
        :math:`w`, at least 0: weight decay on U, the gradient of :math:`\tfrac w2 \|U\|_F^2`.
    speed : float or array, default 1.0
        :math:`s`, at least 0, the step size of D over that of U. Zero keeps D where it starts.

        Arrays of ``decay`` and ``speed`` have the shape of the batch, which the settings of ``descend`` make.

    Raises
    ------
    InputError
        An unknown ball, a negative decay or speed, and what :class:`udulib.UDU` refuses.

    Examples
    --------
    >>> Relative(rank=5, ball="none").ball
    'none'
    """

    ball: str = "frobenius"
    decay: float = 0.0
    speed: float = 1.0

    names: ClassVar[tuple] = ("U", "D")

    def __post_init__(self):
        super().__post_init__()
        if self.ball not in BALLS:
            raise InputError(f"ball is one of {', '.join(BALLS)}; got {self.ball!r}")
        for name in ("decay", "speed"):
            object.__setattr__(self, name, positive_array(name, getattr(self, name), allow_zero=True))

    def gradient(self, problem, factors):
        objective, gradients = super().gradient(problem, factors)
        decay, speed = (torch.as_tensor(value).to(gradients["D"]) for value in (self.decay, self.speed))
        U = gradients["U"] + decay[..., None, None] * factors["U"]
        return objective, {"U": U, "D": speed[..., None] * gradients["D"]}

    def project(self, factors, radius):
        if self.ball == "frobenius":
            return super().project(factors, radius)
        factors["D"].clamp_(min=0.0)
        U = factors["U"]
        size = _spectral_norm(U) if self.ball == "spectral" else torch.zeros_like(U[..., 0, 0].real)
        c = radius / torch.maximum(size, radius)
        factors["U"] = U * c[..., None, None]
        return factors, -torch.log(c)


@dataclass(frozen=True)
class Chain:
    r"""What a descent on a chain of factors did. T recorded iterations, batch shape \*.

    Attributes
    ----------
    iteration : array of int, shape (T,)
        Updates done.
    objective : array, shape (\*, T)
    product : array, shape (\*, T, d, d)
        :math:`X = W_1 W_2 \cdots W_N`.
    norms : array, shape (\*, T, N)
        :math:`\|W_j\|_F`.
    """

    iteration: np.ndarray
    objective: np.ndarray
    product: np.ndarray
    norms: np.ndarray


def chain(problem, start, *, step_size, record_at, ball="none", radius=1.0):
    r"""Gradient descent on :math:`X = W_1 W_2 \cdots W_N`, for any N; N = 1 is descent on X itself.

    .. math:: W_j \leftarrow W_j - \eta\,(W_1 \cdots W_{j-1})^\top\, G\, (W_{j+1} \cdots W_N)^\top

    With a ball, the first and the last factor are rescaled to its radius after each update where they are longer; the
    factors between are free. That is UDV with a full matrix in place of its diagonal.

    Parameters
    ----------
    problem : Problem
        A real one, small enough for d x d matrices.
    start : sequence of N arrays, shape (\*, rows, columns)
        The factors at the start; their product has the problem's shape.
    step_size : float
        :math:`\eta`, positive.
    record_at : sequence of int
        Numbers of updates to record after, increasing; 0 is the start. The last ends the run.
    ball : {"none", "frobenius", "spectral"}
    radius : float, default 1.0

    Returns
    -------
    Chain

    Raises
    ------
    InputError
        Factors that cannot be multiplied to the problem's shape, an unknown ball, a grid that does not increase.

    Examples
    --------
    >>> import udulib as ul
    >>> problem = ul.Completion([0, 1], [0, 1], [1.0, 2.0], shape=(2, 2))
    >>> run = chain(problem, [0.5 * np.eye(2)] * 3, step_size=0.1, record_at=[0, 500])
    >>> np.round(run.product[-1], 6)
    array([[1., 0.],
           [0., 2.]])
    """
    if ball not in BALLS:
        raise InputError(f"ball is one of {', '.join(BALLS)}; got {ball!r}")
    eta, radius = positive_number("step_size", step_size), positive_number("radius", radius)
    grid = np.asarray(record_at)
    if grid.ndim != 1 or grid.dtype.kind not in "iu" or not grid.size or grid[0] < 0 or (np.diff(grid) <= 0).any():
        raise InputError(f"record_at is increasing whole numbers from 0 on; got {record_at!r}")
    factors = [torch.from_numpy(finite_array(f"start[{j}]", W)) for j, W in enumerate(start)]
    batch = broadcast_shape(problem=problem.batch_shape, **{f"W{j}": W.shape[:-2] for j, W in enumerate(factors)})
    inner = [side for W in factors for side in W.shape[-2:]]
    if not factors or (inner[0], inner[-1]) != problem.shape or inner[1:-1:2] != inner[2:-1:2]:
        raise InputError(f"the product of start has shape {problem.shape}; got {[tuple(W.shape) for W in factors]}")
    problem = problem.to("cpu", torch.float64)
    factors = [W.expand(*batch, -1, -1).clone() for W in factors]
    rows, done, last = [], 0, len(factors) - 1
    for until in grid:
        for _ in range(int(until) - done):
            sides = products(factors)
            factors = updated(factors, sides, problem.gradient_at(sides[0][-1])[1], eta)
            for j in {0, last} if ball != "none" else ():
                norm = _spectral_norm if ball == "spectral" else _frobenius_norm
                factors[j] = factors[j] * (radius / norm(factors[j]).clamp(min=radius))[..., None, None]
        done = int(until)
        X = products(factors)[0][-1]
        norms = torch.stack([_frobenius_norm(W) for W in factors], -1)
        rows.append((problem.gradient_at(X)[0].expand(batch), X, norms))
    objective, product, norms = (torch.stack(column, len(batch)).numpy() for column in zip(*rows, strict=True))
    return Chain(grid.astype(int), objective, product, norms)


def greedy(problem, rank, *, step_size, iterations, seed_size=1e-3):
    r"""Greedy low-rank learning: Burer-Monteiro, one column at a time.

    Starting from X = 0, each stage adds the eigenvector of the lowest eigenvalue of :math:`\nabla f(X)` as a new
    column of length ``seed_size``, and descends. It is what Burer-Monteiro does from an infinitely small start
    (Li, Luo and Lyu 2021).

    Parameters
    ----------
    problem : Problem
        A symmetric one.
    rank : int
        Number of stages.
    step_size : float or array
        :math:`\eta`, positive.
    iterations : int
        Updates in each stage.
    seed_size : float, default 1e-3

    Returns
    -------
    products : array, shape (\*, rank, d, d)
        X after each stage.
    objective : array, shape (\*, rank)

    Raises
    ------
    InputError
        As in ``descend``.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_completion(d=10, rank=2, observed=80, spectrum=(2.0, 1.0))
    >>> X, f = greedy(problem, 2, step_size=0.05, iterations=1500)
    >>> bool(truth.relative_error(X[1]) < 1e-4)
    True
    """
    rank, d = whole_number("rank", rank, 1), problem.shape[0]
    seed_size = positive_number("seed_size", seed_size)
    W = np.zeros((*problem.batch_shape, d, rank))
    products, objective = [], []
    for k in range(rank):
        _, Q = np.linalg.eigh(gradient(problem, W, np.ones((*W.shape[:-2], rank))))
        W[..., k] = seed_size * Q[..., 0]
        on = {"iterations": iterations, "record_at": [], "device": "cpu"}
        run = descend(problem, BM(rank), step_size=step_size, start={"U": W}, **on)
        W = run.factors["U"].copy()
        products.append(run.product())
        objective.append(run.final_objective)
    return np.stack(products, -3), np.stack(objective, -1)


def _frobenius_norm(W):
    return torch.linalg.vector_norm(W, dim=(-2, -1))


def _spectral_norm(W):
    return torch.linalg.eigvalsh(W.mH @ W)[..., -1].clamp(min=0.0).sqrt()
