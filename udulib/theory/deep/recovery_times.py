"""How long an eigenvalue takes to come, or to go."""

import math

import numpy as np

from udulib.checks import broadcast_shape, finite_array
from udulib.errors import InputError
from udulib.theory.deep.arguments import checked_settings
from udulib.theory.deep.largest_step import check_step

NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)  # on [-1, 1]


def recovery_steps(target, level, depth, scale, step_size):
    r"""Number of updates until the product's eigenvalue reaches ``level``.

    The gradient flow :math:`\dot x = F(x) = x^{N-1} (\lambda - x^N)` takes the time

    .. math::

       t = \int_\alpha^y \frac{dx}{F(x)}
         = \frac1\lambda \Big[ \int_\alpha^y x^{1-N} dx + \int_\alpha^y \frac{x\,dx}{\lambda - x^N} \Big], \qquad
         y^N = \text{level},

    and gradient descent :math:`t / \eta + \tfrac12 \ln \big( F(y) / F(\alpha) \big)` steps, up to :math:`O(\eta)`. The
    first term is the waiting time: :math:`\ln(y/\alpha) / \lambda` for N = 2, about
    :math:`\alpha^{2-N} / ((N-2) \lambda)` beyond. The integrals are elementary functions for N = 2, 3, 4, and done by
    quadrature to about 1e-13 beyond, and where the eigenvalue falls instead of growing.

    Parameters
    ----------
    target : float or array
        Eigenvalue :math:`\lambda` of the target.
    level : float or array
        Value of the product's eigenvalue, strictly between :math:`\alpha^N` (or there) and the limit
        :math:`\max(\lambda, 0)`, which is not reached in finite time.
    depth : int, at least 2
    scale : float, above 0
    step_size : float, above 0
        At most what :func:`step_bound` gives.

    Returns
    -------
    float or array
        Not rounded; a run is first at or beyond the level at about the next whole number.

    Raises
    ------
    InputError
        For bad input, a level that is never reached, and a step size above :func:`step_bound`.

    Notes
    -----
    Derived for this project (in the book: the proposition on recovery times).

    Examples
    --------
    >>> import udulib as ul
    >>> round(float(ul.deep.recovery_steps(1.0, 0.95, depth=2, scale=0.01, step_size=0.01)), 1)
    608.5
    >>> run = ul.deep.eigenvalues(1.0, depth=2, scale=0.01, step_size=0.01, iterations=700)
    >>> int((run.values[:, 0] < 0.95).sum())
    609
    """
    target, level = finite_array("target", target, real=True), finite_array("level", level, real=True)
    if not math.prod(broadcast_shape(target=target.shape, level=level.shape)):
        raise InputError("recovery_steps wants at least one target and one level; got none")
    target, level = np.broadcast_arrays(target, level)
    depth, scale, step_size = checked_settings(depth, scale, step_size)
    start, limit = scale**depth, np.maximum(target, 0.0)
    between = ((start <= level) & (level < limit)) | ((limit < level) & (level <= start))
    if not between.all():
        raise InputError(
            f"level lies between the start scale**depth = {start:.6g} and the limit max(target, 0), excluded; "
            f"got target {target[~between].flat[0]:.6g} with level {level[~between].flat[0]:.6g}"
        )
    check_step(target, depth, scale, step_size)
    correction = 0.5 * np.log(flow_speed(level, target, depth) / flow_speed(np.full_like(level, start), target, depth))
    steps = flow_time(target, level, depth, scale) / step_size + correction
    return np.where(level == start, 0.0, steps)[()]


def flow_speed(level, target, depth):
    """|F| where the product's eigenvalue is ``level``."""
    return level ** ((depth - 1) / depth) * np.abs(target - level)


def turning_level(target, depth):
    """The level at which F is largest, for a positive target: the flow speeds up below and slows down above."""
    return target * (depth - 1) / (2 * depth - 1)


def flow_time(target, level, depth, scale):
    """Time of the flow from scale to level**(1/depth); the caller has checked that it gets there."""
    target, level = np.broadcast_arrays(np.asarray(target, float), np.asarray(level, float))
    grows = level >= scale**depth
    grows &= target > scale**depth
    time = np.empty(target.shape)
    for kind, formula in ((grows, _rising_time), (~grows, _falling_time)):
        if kind.any():
            time[kind] = formula(target[kind], level[kind], depth, scale)
    return time


def _rising_time(target, level, depth, scale):
    start = np.full_like(level, scale**depth)
    y = level ** (1 / depth)
    wait = np.log(y / scale) if depth == 2 else (scale ** (2 - depth) - y ** (2 - depth)) / (depth - 2)
    antiderivative = {2: _H2, 3: _H3, 4: _H4}.get(depth, _H)
    return (wait + antiderivative(level, target, depth) - antiderivative(start, target, depth)) / target


def _H2(level, target, depth):
    return -0.5 * np.log(target - level)


def _H3(level, target, depth):
    x, c = np.cbrt(level), np.cbrt(target)
    log = 1.5 * np.log(x * x + c * x + c * c) - np.log(target - level)
    return (log - math.sqrt(3) * np.arctan((2 * x + c) / (math.sqrt(3) * c))) / (3 * c)


def _H4(level, target, depth):
    root = np.sqrt(target)
    return (2 * np.log(root + np.sqrt(level)) - np.log(target - level)) / (4 * root)


def _H(level, target, depth):
    """Antiderivative of x / (target - x^N), for any N: the pole by hand, the smooth rest by Gauss-Legendre.

    With u = x / c: u / (1 - u^N) = 1 / (N (1 - u)) + (N u - s) / (N (1 - u^N)), s = 1 + ... + u^(N-1). Both N u - s and
    1 - u^N = (1 - u) s vanish at u = 1; the factor 1 - u is divided out. From N u - s = sum_j (u - u^j) the quotient is
    -1 for j = 0 and u (1 + ... + u^(j-2)) for j >= 2.
    """
    u = (level / target) ** (1 / depth)
    s_end = sum(u**j for j in range(depth))
    nodes = u[..., None] * (NODES + 1) / 2  # (*, 64)
    powers = nodes[..., None] ** np.arange(depth)  # (*, 64, N)
    quotient = sum(powers[..., 1:j].sum(-1) for j in range(2, depth)) - 1
    smooth = (quotient / (depth * powers.sum(-1))) @ WEIGHTS * u / 2
    pole = (np.log(s_end) - np.log1p(-level / target)) / depth  # -ln(1 - u) / N
    return target ** (2 / depth - 1) * (pole + smooth)


def _falling_time(target, level, depth, scale):
    """Integral of dx / (x^(N-1) (x^N - target)) from y up to scale, with x = c + e^v: no pole, no cancellation."""
    time = np.zeros(target.shape)
    for i in np.ndindex(target.shape):
        c = max(target[i], 0.0) ** (1 / depth)
        y = level[i] ** (1 / depth)
        low = math.log((level[i] - max(target[i], 0.0)) / sum(y ** (depth - 1 - j) * c**j for j in range(depth)))
        high = math.log(scale - c) if scale > c else low
        edges = np.linspace(low, max(high, low), 1 + max(1, math.ceil(high - low)))
        half = np.diff(edges)[:, None] / 2
        x = c + np.exp(edges[:-1, None] + half * (NODES + 1))  # (panels, 64)
        if target[i] < 0:
            integrand = x ** (2 - depth) / (x**depth - target[i])
        else:
            integrand = 1 / (x ** (depth - 1) * sum(x ** (depth - 1 - j) * c**j for j in range(depth)))
        time[i] = np.sum(half * integrand * WEIGHTS)
    return time
