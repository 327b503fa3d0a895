"""How large a step may be."""

import numpy as np

from udulib.checks import finite_array
from udulib.errors import InputError
from udulib.theory.deep.arguments import checked_settings


def step_bound(target, depth, scale):
    r"""The largest step size at which the recursion runs monotonically to its limit.

    From :math:`d(0) = \alpha` the limit is :math:`c = \lambda_+^{1/N}`, and with :math:`m = \max(\alpha, c)` no step
    passes it if and only if

    .. math::

       \eta \le \Big( m^{N-1} \sum_{j=0}^{N-1} m^{N-1-j} c^j \Big)^{-1} \;(\lambda \ge 0), \qquad
       \eta \le \big( \alpha^{2N-2} + |\lambda| \alpha^{N-2} \big)^{-1} \;(\lambda < 0).

    For :math:`\lambda \ge \alpha^N` the first is :math:`1 / (N \lambda^{2-2/N})`. One step size for all eigenvalues is
    :math:`1 / (N M^{2N-2})` with :math:`M = \max(\alpha, \|\widehat W\|^{1/N})`, which is never above them.

    Parameters
    ----------
    target : float or array
        Eigenvalues :math:`\lambda`.
    depth : int, at least 2
    scale : float, above 0

    Returns
    -------
    float or array, of the shape of ``target``

    Raises
    ------
    InputError
        For bad input.

    Notes
    -----
    Derived for this project (in the book: the theorem on convergence); not the constants of Chou et al. (2024).

    Examples
    --------
    >>> import udulib as ul
    >>> float(ul.deep.step_bound(4.0, depth=2, scale=0.1))
    0.125
    """
    target = finite_array("target", target)
    depth, scale, _ = checked_settings(depth, scale, 1.0)
    c = np.maximum(target, 0.0) ** (1 / depth)
    m = np.maximum(c, scale)
    curvature = sum(m ** (2 * depth - 2 - j) * c**j for j in range(depth))
    curvature = np.where(target < 0, scale ** (2 * depth - 2) + np.abs(target) * scale ** (depth - 2), curvature)
    return (1 / curvature)[()]


def check_step(target, depth, scale, step_size):
    bound = np.min(step_bound(target, depth, scale))
    if step_size > bound * (1 + 1e-12):
        raise InputError(
            f"step_size is at most {bound:.6g} here (step_bound); above it steps pass the limit; got {step_size}"
        )
