"""How long the product stays at a rank: certified, and measured."""

import math
from dataclasses import dataclass

import numpy as np

from udulib.checks import finite_array, whole_number
from udulib.errors import InputError
from udulib.theory.deep.arguments import checked_settings, checked_targets, positive_scalar
from udulib.theory.deep.largest_step import check_step
from udulib.theory.deep.recovery_times import flow_speed, flow_time, turning_level


@dataclass(frozen=True)
class Plateau:
    r"""What :func:`plateau` returns.

    Attributes
    ----------
    start, stop : int
        The effective rank is within ``bound`` of ``level`` at each number of updates from ``start`` to ``stop``, both
        included. ``stop`` is ``math.inf`` where nothing more is to come. The interval is empty where it is less than
        ``start``.
    level : float
        Effective rank of the best approximation of rank ``upto``: :math:`\sum_{i \le L} \lambda_i / \lambda_1`.
    bound : float
        How far from ``level`` the effective rank may be inside the interval.
    """

    start: int
    stop: int | float
    level: float
    bound: float

    @property
    def empty(self):
        """Whether the interval holds no step."""
        return self.stop < self.start


def plateau(targets, upto, depth, scale, step_size, error, leak):
    r"""When the effective rank is close to that of the best approximation of rank ``upto``, and how close.

    Let :math:`\lambda_1 \ge \dots \ge \lambda_n`, :math:`L` = ``upto``, :math:`\varepsilon` = ``error``,
    :math:`\delta` = ``leak``, and :math:`r(W) = \|W\|_* / \|W\|`. While the first L eigenvalues of W are below their
    targets by at most :math:`\varepsilon` and the others in :math:`[0, \delta]`,

    .. math::

       \Big| r(W) - \sum_{i \le L} \frac{\lambda_i}{\lambda_1} \Big|
       \le \frac{L \varepsilon + (n - L) \delta}{\lambda_1 - \varepsilon} .

    The interval is certain, not approximate. Gradient descent lags behind the flow while it speeds up and leads while
    it slows down, so eigenvalue :math:`\lambda_{L+1}` stays below :math:`\delta` for at least the flow's time, and
    :math:`\lambda_L` is within :math:`\varepsilon` after at most the flow's time plus
    :math:`\ln(\max F / F(\alpha)) + 2` steps.

    Parameters
    ----------
    targets : array, shape (n,)
        Eigenvalues of the target, of any sign, in any order.
    upto : int, from 1 to n
        L. The L-th largest eigenvalue must be above ``scale**depth``, or it never grows.
    depth : int, at least 2
    scale : float, above 0
    step_size : float, above 0
        At most the least of :func:`step_bound` over the targets.
    error : float, above 0, below the largest target
        :math:`\varepsilon`, absolute.
    leak : float, at least ``scale**depth``, at most the largest target
        :math:`\delta`, absolute.

    Returns
    -------
    Plateau

    Raises
    ------
    InputError
        For bad input.

    Notes
    -----
    The statement is that of the abstract of Chou et al. (2024); interval and bound are derived for this project (in the
    book: the theorem on plateaus).

    Examples
    --------
    >>> import udulib as ul
    >>> step = ul.deep.plateau([10.0, 5.0, 0.0], upto=1, depth=4, scale=0.1, step_size=1e-3, error=0.1, leak=0.1)
    >>> step.start, step.stop, step.level
    (5041, 9689, 1.0)
    >>> round(step.bound, 4)
    0.0303
    """
    targets = np.sort(checked_targets(targets))[::-1]
    depth, scale, step_size = checked_settings(depth, scale, step_size)
    n, kept = len(targets), whole_number("upto", upto, least=1)
    start = scale**depth
    if kept > n:
        raise InputError(f"upto is at most the number of targets, {n}; got {kept}")
    if not targets[kept - 1] > start:
        raise InputError(
            f"the first upto = {kept} targets are above scale**depth = {start:.6g}, or they never grow; "
            f"number {kept} is {targets[kept - 1]:.6g}; take fewer or a smaller scale"
        )
    error, leak = positive_scalar("error", error), positive_scalar("leak", leak)
    if error >= targets[0]:
        raise InputError(f"error is below the largest target, {targets[0]:.6g}; got {error:.6g}")
    if not start <= leak <= targets[0]:
        raise InputError(f"leak lies between scale**depth = {start:.6g} and the largest target; got {leak:.6g}")
    check_step(targets, depth, scale, step_size)
    signal, rest = targets[:kept], targets[kept:]

    rising = signal[signal - error > start]
    first = 0
    if rising.size:
        late = flow_time(rising, rising - error, depth, scale) / step_size
        fastest = np.clip(turning_level(rising, depth), start, rising - error)
        lag = np.log(flow_speed(fastest, rising, depth) / flow_speed(np.full_like(rising, start), rising, depth))
        first = math.ceil(np.max(late + lag + 2))
    rest = rest[rest > leak]
    last = math.inf
    if rest.size:
        watched = np.maximum(np.minimum(leak, turning_level(rest, depth)), start)
        early = flow_time(rest, watched, depth, scale) / step_size
        last = math.floor(np.min(np.where(turning_level(rest, depth) > start, early, 0.0)))

    total, top = signal.sum(), signal[0]
    bound = (kept * error + (n - kept) * leak) / (top - error)
    return Plateau(start=first, stop=last, level=float(total / top), bound=float(bound))


def longest_plateau(iteration, rank, width):
    r"""Where an effective rank stands still longest, on a logarithmic axis: a stopping rule that knows no truth.

    Of all stretches of records on which ``rank`` varies by at most ``width``, that reach past its lowest point, and
    above which it rises by more than another ``width`` by the last record, the one with the largest ratio of last to
    first iteration. So neither the start, where all eigenvalues are equal, nor the end, where everything has been
    fitted, counts. Stop at the geometric mean of the two.

    As an eigenvalue is recovered after a time proportional to its inverse, the rule finds the widest relative gap in
    the spectrum of the target. That is the gap between signal and noise only if no gap within the signal is wider.

    Parameters
    ----------
    iteration : array of int, shape (T,), increasing
    rank : array, shape (T,)
        Effective rank at those iterations.
    width : float, above 0

    Returns
    -------
    (int, int)
        First and last iteration of the stretch.

    Raises
    ------
    InputError
        For bad input, and where there is no such stretch: the run is too short, or never leaves its last plateau.

    Examples
    --------
    >>> import numpy as np
    >>> import udulib as ul
    >>> k = np.arange(1, 11)
    >>> ul.deep.longest_plateau(k, np.array([9, 4, 1, 1.5, 1.6, 1.6, 1.6, 1.6, 1.6, 3]), width=0.2)
    (4, 9)
    """
    iteration, rank = finite_array("iteration", iteration, ndim=1), finite_array("rank", rank, ndim=1)
    width = positive_scalar("width", width)
    if iteration.shape != rank.shape or (np.diff(iteration) <= 0).any():
        raise InputError(
            f"iteration increases and has the shape of rank; got shapes {iteration.shape} and {rank.shape}"
        )
    lowest = int(np.argmin(rank))
    best, found = 0.0, None
    for first in np.flatnonzero(iteration > 0):
        last = first + int(np.sum(_spread(rank[first:]) <= width)) - 1
        length = math.log(iteration[last] / iteration[first])
        if last >= lowest and length > best and rank[-1] - rank[first : last + 1].max() > width:
            best, found = length, (int(iteration[first]), int(iteration[last]))
    if found is None:
        raise InputError("the rank never stands still and rises by width again; make the run longer, or change width")
    return found


def _spread(values):
    """Largest minus smallest of the first 1, 2, 3, ... values."""
    return np.maximum.accumulate(values) - np.minimum.accumulate(values)
