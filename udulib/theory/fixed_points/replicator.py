"""How columns compete: shares that grow with their fitness, and what the flow conserves."""

from dataclasses import dataclass

import numpy as np

from udulib.checks import positive_array
from udulib.errors import InputError
from udulib.theory.fixed_points.points import checked_factors
from udulib.theory.fixed_points.residuals import Point


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
    point = Point(problem, U, D, 1.0, 1.0)
    size = np.sum(np.abs(point.U) ** 2, axis=-2)  # (*, r)
    total = size.sum(-1, keepdims=True)
    if (total == 0).any():
        raise InputError("shares of U need a U that is not zero; got U = 0, which is a fixed point")
    shares = size / total
    fitness = (0.0 - point.D * point.slope) / np.where(size > 0, size, 1.0)
    mean = np.sum(shares * fitness, axis=-1, keepdims=True)
    return Replicator(shares, fitness, 4 * shares * (fitness - mean))


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
    U, D = checked_factors(U, D)
    return np.sum(np.abs(U) ** 2, axis=-2) - 2 * D**2


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
