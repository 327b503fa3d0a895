r"""Where UDU can stop, and how it moves: residuals of Lemma 1 and Proposition 1, and the laws of the dynamics.

Throughout, :math:`X = U\,\mathrm{diag}(D)\,U^{\mathsf H}`, :math:`G = \nabla f(X)`, :math:`u_j` is a column of U and
:math:`\lambda_j` its entry of D, :math:`q_j = u_j^{\mathsf H} G u_j` its *slope*, and the update is

.. math:: U^+ = c\,\bar U, \quad \bar U = U - 2\eta\,G U D, \quad c = \min(1, \alpha / \|\bar U\|_F), \qquad
          \lambda_j^+ = \max(\bar\lambda_j, 0), \quad \bar\lambda_j = \lambda_j - \eta\,q_j .

A column is *live* if :math:`\lambda_j > 0`, *dead* if :math:`\lambda_j = 0`, and *zero* if :math:`u_j = 0`.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch

from udulib.checks import broadcast_shape, finite_array, positive_array
from udulib.errors import InputError
from udulib.factors import product


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


@dataclass(frozen=True)
class Replicator:
    r"""The competition of the columns. Arrays of shape (\*, r).

    Attributes
    ----------
    shares : array
        :math:`p_j = \|u_j\|^2 / \|U\|_F^2`.
    fitness : array
        :math:`\varphi_j = -\lambda_j q_j / \|u_j\|^2`; zero for a zero column, which has no share to change.
    velocity : array
        :math:`\dot p_j = 4\,p_j (\varphi_j - \sum_k p_k \varphi_k)`; one update changes :math:`p_j` by
        :math:`\eta\,\dot p_j + O(\eta^2)`.
    """

    shares: np.ndarray
    fitness: np.ndarray
    velocity: np.ndarray


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
    point = _Point(problem, U, D, radius, step_size)
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
    point = _Point(problem, U, D, radius, step_size)
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
    problem, U, D = _checked(problem, U, D)
    X = torch.from_numpy(product({"U": U, "D": D}))
    _, G, _ = problem.gradient(X, None, torch.eye(X.shape[-1], dtype=X.dtype))
    return G.numpy()


def conserved(U, D):
    r""":math:`\|u_j\|^2 - 2\lambda_j^2`, which gradient flow keeps in every column while the ball is not reached.

    With step size :math:`\eta` it drifts by exactly
    :math:`\eta^2 \sum_t (4\lambda_j^2 \|G u_j\|^2 - 2 q_j^2)`, unless :math:`\lambda_j` is clipped: of order
    :math:`\eta` over a given time :math:`\eta t`.

    Parameters
    ----------
    U : array, shape (\*, d, r)
    D : array, shape (\*, r)

    Returns
    -------
    array, shape (\*, r)

    Raises
    ------
    InputError
        Shapes that do not fit each other, NaN or inf.

    Examples
    --------
    >>> conserved(np.array([[3.0, 0.0], [4.0, 0.0]]), np.array([2.0, 1.0]))
    array([17., -2.])
    """
    U, D = _factors(U, D)
    return np.sum(np.abs(U) ** 2, axis=-2) - 2 * D**2


def replicator(problem, U, D):
    r"""The replicator equation of the columns' shares of :math:`\|U\|_F^2`, at (U, D).

    Whatever common factor rescales U (the ball, or weight decay, or nothing), the shares move by

    .. math:: \dot p_j = 4\,p_j \Big(\varphi_j - \sum_k p_k \varphi_k\Big), \qquad
              \varphi_j = -\lambda_j\,\frac{u_j^{\mathsf H} G u_j}{\|u_j\|^2} .

    Parameters
    ----------
    problem, U, D
        As in :func:`residuals`; U is not zero.

    Returns
    -------
    Replicator

    Raises
    ------
    InputError
        As in :func:`residuals`, or U = 0, where there are no shares.

    Examples
    --------
    >>> import udulib as ul
    >>> problem = ul.Sensing(np.diag([1.0, 0.0])[None], [2.0])
    >>> now = replicator(problem, np.eye(2), np.ones(2))  # the second column sees no gradient
    >>> now.shares, now.fitness, now.velocity
    (array([0.5, 0.5]), array([1., 0.]), array([ 1., -1.]))
    """
    point = _Point(problem, U, D, 1.0, 1.0)
    size = np.sum(np.abs(point.U) ** 2, axis=-2)  # (*, r)
    total = size.sum(-1, keepdims=True)
    if (total == 0).any():
        raise InputError("shares of U need a U that is not zero; got U = 0, which is a fixed point")
    shares = size / total
    fitness = (0.0 - point.D * point.slope) / np.where(size > 0, size, 1.0)
    mean = np.sum(shares * fitness, axis=-1, keepdims=True)
    return Replicator(shares, fitness, 4 * shares * (fitness - mean))


def shrink_law(trace, radius=1.0):
    r"""What the shrink law predicts for ``trace.log_shrink``.

    Gradient flow keeps :math:`\|U\|_F^2 - 2\|D\|^2 + 2\alpha^2 \sum_t \log(1/c_t)`, whether or not the ball is active,
    as long as no entry of D is clipped. So from the start on

    .. math:: \sum_t \log\frac1{c_t} = \frac{1}{\alpha^2}\Big(\Delta\|D\|^2 - \tfrac12\,\Delta\|U\|_F^2\Big) + O(\eta),

    and once U lies on the sphere the last term rests.

    Parameters
    ----------
    trace : Trace
        Of UDU, with ``record=("columns", "shrink")``, from a start inside the ball.
    radius : float or array, default 1.0
        :math:`\alpha` of the run.

    Returns
    -------
    array, shape (\*, T)

    Raises
    ------
    InputError
        If the trace lacks the records or starts outside the ball, where the first projection is no small step.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, _ = ul.planted_completion(d=20, rank=2, observed=200, spectrum=(2.0, 1.0))
    >>> trace = ul.descend(problem, ul.UDU(20), step_size=0.01, iterations=3000, record=("columns", "shrink"))
    >>> bool(abs(trace.log_shrink[-1] / shrink_law(trace)[-1] - 1) < 0.01)
    True
    """
    trace.log_shrink  # noqa: B018 - says what to record if it is missing
    radius = positive_array("radius", radius)[..., None]  # (*, 1)
    U_square = np.sum(trace.column_norms**2, axis=-1)  # (*, T)
    D_square = np.sum(trace.diagonal**2, axis=-1)
    if (U_square[..., :1] > (radius * (1 + 1e-9)) ** 2).any():
        raise InputError(
            f"the shrink law counts from a start inside the ball; got ||U|| = {np.sqrt(U_square[..., 0].max()):.3g} "
            "first; pass init_scale up to the radius, and the radius of the run"
        )
    return (D_square - D_square[..., :1] - (U_square - U_square[..., :1]) / 2) / radius**2


def represent(X, radius=1.0):
    r"""U and D with :math:`X = U\,\mathrm{diag}(D)\,U^{\mathsf H}`, U in the ball, and D as small as can be.

    Every positive semidefinite X is reached, however large: D takes its size. With eigenvalues :math:`\sigma_j`, the
    smallest D gives column j the share :math:`p_j \propto \sigma_j^{2/3}` of U, and has

    .. math:: \|D\|^2 = \frac{1}{\alpha^4} \Big(\sum_j \sigma_j^{2/3}\Big)^3
              = \frac{1}{\alpha^4} \|X\|_{S_{2/3}}^2 .

    Parameters
    ----------
    X : array, shape (\*, d, d), Hermitian and positive semidefinite
        Eigenvalues down to :math:`-10^{-12}` of the largest count as zero.
    radius : float or array, default 1.0
        :math:`\alpha`, positive.

    Returns
    -------
    U, D : array, shape (\*, d, d) and (\*, d)
        Columns in descending order of :math:`\sigma_j`; :math:`\|U\|_F = \alpha` unless X = 0.

    Raises
    ------
    InputError
        X is not square, not Hermitian, or has a negative eigenvalue.

    Examples
    --------
    >>> U, D = represent(np.diag([8.0, 1.0, 0.0]))
    >>> round(float(np.linalg.norm(U)), 12), np.round(D, 12)
    (1.0, array([10.,  5.,  0.]))
    """
    X, radius = finite_array("X", X), positive_array("radius", radius)
    if X.ndim < 2 or X.shape[-1] != X.shape[-2]:
        raise InputError(f"X is square, shape (*, d, d); got {X.shape}")
    broadcast_shape(X=X.shape[:-2], radius=radius.shape)
    scale = np.abs(X).max(axis=(-2, -1), initial=0.0)
    skew = np.abs(X - np.swapaxes(X, -1, -2).conj()).max(axis=(-2, -1), initial=0.0)
    if (skew > 1e-12 * scale).any():
        raise InputError(f"X is Hermitian; got one that differs from its transpose by {skew.max():.1e}")
    sigma, Q = np.linalg.eigh(X)
    sigma, Q = sigma[..., ::-1], Q[..., ::-1]
    largest = np.abs(sigma).max(-1, keepdims=True)
    if (sigma < -1e-12 * largest).any():
        raise InputError(f"X is positive semidefinite; got a smallest eigenvalue of {sigma.min():.3g}")
    sigma = np.where(sigma > 1e-15 * largest, sigma, 0.0)
    weight = np.cbrt(sigma) ** 2
    total = weight.sum(-1, keepdims=True)
    p = weight / np.where(total > 0, total, 1.0)  # (*, d)
    D = np.cbrt(sigma) * total / radius[..., None] ** 2  # sigma / (alpha^2 p)
    return Q * (radius[..., None] * np.sqrt(p))[..., None, :], D


def from_burer_monteiro(W, radius=1.0):
    r"""The point (U, D) with :math:`U D U^{\mathsf H} = W W^{\mathsf H}` and equal entries of D, U in the ball.

    If W is a critical point of Burer-Monteiro, :math:`\nabla f(WW^{\mathsf H})\,W = 0`, this is a fixed point of UDU;
    and if (U, D) is a fixed point of UDU, :math:`W = U\sqrt D` is such a critical point. So both can stop at the same
    X, and at no other.

    Parameters
    ----------
    W : array, shape (\*, d, r)
    radius : float or array, default 1.0
        :math:`\alpha`, positive.

    Returns
    -------
    U, D : array, shape (\*, d, r) and (\*, r)
        :math:`U = W / s` and :math:`D = s^2`, with :math:`s = \max(\|W\|_F / \alpha, 1)`.

    Raises
    ------
    InputError
        NaN or inf, a shape without two dimensions, a radius that is not positive.

    Examples
    --------
    >>> from_burer_monteiro(np.array([[3.0], [4.0]]), radius=1.0)
    (array([[0.6],
           [0.8]]), array([25.]))
    """
    W, radius = finite_array("W", W), positive_array("radius", radius)
    if W.ndim < 2:
        raise InputError(f"W has shape (*, d, r); got {W.shape}")
    batch = broadcast_shape(W=W.shape[:-2], radius=radius.shape)
    s = np.maximum(np.linalg.norm(W, axis=(-2, -1)) / radius, 1.0)  # (*,)
    return W / s[..., None, None], np.broadcast_to(s[..., None] ** 2, (*batch, W.shape[-1])).copy()


class _Point:
    """A point, its gradients, and the point after one update; everything NumPy."""

    def __init__(self, problem, U, D, radius, step_size):
        problem, self.U, self.D = _checked(problem, U, D)
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


def _factors(U, D):
    U, D = finite_array("U", U), finite_array("D", D)
    if U.ndim < 2 or D.ndim < 1 or U.shape[-1] != D.shape[-1]:
        raise InputError(f"U has shape (*, d, r) and D (*, r); got {U.shape} and {D.shape}")
    if np.iscomplexobj(D):
        raise InputError("D is real; got complex numbers")
    broadcast_shape(U=U.shape[:-2], D=D.shape[:-1])
    return U, D


def _checked(problem, U, D):
    """The problem in double precision on the CPU, and factors that fit it."""
    if not problem.symmetric:
        raise InputError("the fixed points are those of UDU, which needs a symmetric problem; got a rectangular one")
    U, D = _factors(U, D)
    if U.shape[-2] != problem.shape[0]:
        raise InputError(f"U has {problem.shape[0]} rows for this problem; got shape {U.shape}")
    if np.iscomplexobj(U) and not problem.is_complex:
        raise InputError("U is real for a real problem; got complex numbers")
    if (D < 0).any():
        raise InputError(f"D is at least zero; got a smallest entry of {D.min()}")
    return problem.to("cpu", torch.float64), U.astype(np.complex128) if problem.is_complex else U, D
