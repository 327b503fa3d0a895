"""How far a point is from the conditions of Lemma 1 and Proposition 1."""

from dataclasses import dataclass, fields

import numpy as np
import torch

from udulib.checks import broadcast_shape, positive_array
from udulib.factors import product
from udulib.theory.fixed_points.points import checked_point


@dataclass(frozen=True)
class Residuals:
    r"""How far a point is from a fixed point, condition by condition. Each is an array of the batch shape.

    At a fixed point all vanish; conversely :attr:`U_step` and :attr:`D_step` vanish together only there. The others
    say which condition of Lemma 1 fails.

    Attributes
    ----------
    U_step : array
        :math:`\|U - c\,\bar U\|_F`: the definition of a fixed point, first half.
    D_step : array
        :math:`\|D - \max(\bar D, 0)\|_2`: the definition, second half.
    gradient : array
        :math:`\max_j \|\lambda_j G u_j\|`: Lemma 1 (a).
    multiplier : array
        :math:`\max_j \|\lambda_j G u_j + \beta u_j\|` with :math:`\beta = (1/c - 1) / (2\eta)`: Lemma 1 (b). Column by
        column this is the U-step divided by :math:`2\eta c`; where :math:`c = 1` it is :attr:`gradient`.
    dead_slope : array
        :math:`\max_{\lambda_j = 0} \max(-q_j, 0)`: Lemma 1 (c). A dead column with a negative slope revives.
    live_slope : array
        :math:`\max_{\lambda_j > 0} |q_j|`: Lemma 1 (d).
    pressure : array
        :math:`1/c - 1`: Proposition 1. How hard :math:`\bar U` presses on the ball from outside.
    """

    U_step: np.ndarray
    D_step: np.ndarray
    gradient: np.ndarray
    multiplier: np.ndarray
    dead_slope: np.ndarray
    live_slope: np.ndarray
    pressure: np.ndarray

    def __iter__(self):
        """Pairs of name and array, in the order above."""
        return ((f.name, getattr(self, f.name)) for f in fields(self))

    @property
    def largest(self):
        """The largest of all, shape of the batch."""
        return np.max([value for _, value in self], axis=0)


def step(problem, U, D, radius=1.0, step_size=0.1):
    r"""One update of UDU (paper, equation 5).

    Parameters
    ----------
    problem, U, D, radius, step_size
        As in :func:`residuals`.

    Returns
    -------
    U, D : array, shape (\*, d, r) and (\*, r)
        After the update.
    c : array, shape (\*,)
        The factor by which the projection shrank :math:`\bar U`; 1 if it did not.

    Raises
    ------
    InputError
        As in :func:`residuals`.

    Examples
    --------
    >>> import udulib as ul
    >>> problem = ul.Sensing(np.diag([1.0, 0.0])[None], [2.0])
    >>> U, D, c = step(problem, np.array([[1.0], [0.0]]), np.array([1.0]), radius=1.0, step_size=0.1)
    >>> U.tolist(), D.tolist(), round(float(c), 4)
    ([[1.0], [0.0]], [1.1], 0.8333)
    """
    point = Point(problem, U, D, radius, step_size)
    return point.U_next, point.D_next, point.c


def residuals(problem, U, D, radius=1.0, step_size=0.1):
    r"""The conditions of Lemma 1 and Proposition 1 at (U, D), each as a number that is zero where it holds.

    (U, D) is a fixed point for one step size, and then for every step size, exactly if

    .. math:: \|U\|_F \le \alpha, \qquad \lambda_j > 0 \Rightarrow G u_j = 0, \qquad
              \lambda_j = 0 \Rightarrow u_j^{\mathsf H} G u_j \ge 0 .

    Parameters
    ----------
    problem : Problem
        A symmetric one.
    U : array, shape (\*, d, r)
        Real or complex, in the ball or not: a point outside shows as ``pressure``.
    D : array, shape (\*, r), non-negative
    radius : float or array, default 1.0
        :math:`\alpha`, positive; broadcasts with the leading dimensions.
    step_size : float or array, default 0.1
        :math:`\eta`, positive. It scales the two steps; where they vanish does not depend on it.

    Returns
    -------
    Residuals

    Raises
    ------
    InputError
        A problem that is not symmetric, shapes that do not fit it, NaN or inf, a negative entry of D, a radius or step
        size that is not positive.

    Notes
    -----
    Paper, Lemma 1 and Proposition 1. The residuals are absolute; divide by the norm of :func:`gradient` at the start
    for a scale.

    Examples
    --------
    >>> import udulib as ul
    >>> problem = ul.Sensing(np.diag([1.0, 0.0])[None], [2.0])  # f = (X_11 - 2)^2 / 2
    >>> fitted = residuals(problem, np.array([[1.0], [0.0]]), np.array([2.0]))
    >>> float(fitted.largest)
    0.0
    >>> short = residuals(problem, np.array([[1.0], [0.0]]), np.array([1.0]))  # on the ball, and pressed against it
    >>> float(short.live_slope), round(float(short.pressure), 12)
    (1.0, 0.2)
    """
    point = Point(problem, U, D, radius, step_size)
    beta = (1 / point.c - 1) / (2 * point.step_size)
    live = point.D > 0
    return Residuals(
        U_step=np.linalg.norm(point.U - point.U_next, axis=(-2, -1)),
        D_step=np.linalg.norm(point.D - point.D_next, axis=-1),
        gradient=np.linalg.norm(point.GUD, axis=-2).max(-1),
        multiplier=np.linalg.norm(point.GUD + beta[..., None, None] * point.U, axis=-2).max(-1),
        dead_slope=np.where(live, 0.0, np.maximum(-point.slope, 0.0)).max(-1),
        live_slope=np.where(live, np.abs(point.slope), 0.0).max(-1),
        pressure=1 / point.c - 1,
    )


def gradient(problem, U, D):
    r""":math:`G = \nabla f(X)` as a matrix, for looking at its eigenvalues: a negative one is a way down.

    Parameters
    ----------
    problem, U, D
        As in :func:`residuals`. The matrix has :math:`d^2` entries.

    Returns
    -------
    array, shape (\*, d, d), Hermitian

    Raises
    ------
    InputError
        As in :func:`residuals`.

    Examples
    --------
    >>> import udulib as ul
    >>> gradient(ul.Sensing(np.diag([1.0, 0.0])[None], [2.0]), np.eye(2), np.ones(2))
    array([[-1.,  0.],
           [ 0.,  0.]])
    """
    problem, U, D = checked_point(problem, U, D)
    X = torch.from_numpy(product({"U": U, "D": D}))
    _, G, _ = problem.gradient(X, None, torch.eye(X.shape[-1], dtype=X.dtype))
    return G.numpy()


class Point:
    """A point, its gradients, and the point after one update; everything NumPy."""

    def __init__(self, problem, U, D, radius, step_size):
        problem, self.U, self.D = checked_point(problem, U, D)
        self.radius, self.step_size = positive_array("radius", radius), positive_array("step_size", step_size)
        batch = broadcast_shape(
            problem=problem.batch_shape,
            U=self.U.shape[:-2],
            D=self.D.shape[:-1],
            radius=self.radius.shape,
            step_size=self.step_size.shape,
        )
        self.U = np.broadcast_to(self.U, (*batch, *self.U.shape[-2:]))
        self.D = np.broadcast_to(self.D, (*batch, self.D.shape[-1]))
        _, GU, _ = problem.gradient(torch.from_numpy(self.U.copy()), torch.from_numpy(self.D.copy()))
        GU = GU.numpy()
        self.GUD = GU * self.D[..., None, :]  # (*, d, r)
        self.slope = np.sum(self.U.conj() * GU, axis=-2).real  # (*, r)
        moved = self.U - 2 * self.step_size[..., None, None] * self.GUD
        size = np.linalg.norm(moved, axis=(-2, -1))
        self.c = self.radius / np.maximum(size, self.radius)  # (*,)
        self.U_next = self.c[..., None, None] * moved
        self.D_next = np.maximum(self.D - self.step_size[..., None] * self.slope, 0.0)
