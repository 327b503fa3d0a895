r"""Deep matrix factorization: gradient descent on a product of N square factors, and what can be said about it exactly.

The setting of Chou, Gieshoff, Maly and Rauhut (2024), *Gradient descent for deep matrix factorization*. For a symmetric
target :math:`\widehat W \in \mathbb R^{n \times n}` and a depth :math:`N \ge 2`,

.. math::

   \min_{W_1, \dots, W_N} \tfrac12 \|W_N \cdots W_1 - \widehat W\|_F^2, \qquad
   W_j \leftarrow W_j - \eta\, (W_N \cdots W_{j+1})^\top (W - \widehat W) (W_{j-1} \cdots W_1)^\top,

with :math:`W = W_N \cdots W_1` and all factors started at :math:`\alpha I` (*identical* initialisation). Then the
eigenvalues evolve one by one. Every formula here was derived for this project; the derivations are on the page *Deep
matrix factorization: the theory* of the book. The constants of the paper were not at hand and may differ.

Letters: ``target`` is an eigenvalue :math:`\lambda` of :math:`\widehat W`, ``depth`` is :math:`N`, ``scale`` is
:math:`\alpha`, ``step_size`` is :math:`\eta`, and ``level`` is a value of :math:`d^N`, the product's eigenvalue.
"""

import math
from dataclasses import dataclass

import numpy as np

from udulib.checks import finite_array, whole_number
from udulib.errors import InputError

__all__ = [
    "Descent",
    "Eigenvalues",
    "Plateau",
    "descend",
    "eigenvalues",
    "longest_plateau",
    "plateau",
    "recovery_steps",
    "step_bound",
]

INITS = ("identical", "perturbed", "random")
NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)  # on [-1, 1]


@dataclass(frozen=True)
class Eigenvalues:
    """What :func:`eigenvalues` returns.

    Attributes
    ----------
    iteration : array of int, shape (T,)
        Number of updates made at each record; 0 is the start.
    values : array, shape (T, n)
        Eigenvalues of the product, in the order of the targets.
    factor_values : array, shape (T, n)
        Eigenvalues of the N - 1 equal factors (of all N, where nothing is perturbed).
    odd_values : array, shape (T, n)
        Eigenvalues of the remaining factor; the same as ``factor_values`` where nothing is perturbed.
    """

    iteration: np.ndarray
    values: np.ndarray
    factor_values: np.ndarray
    odd_values: np.ndarray


@dataclass(frozen=True)
class Descent:
    r"""What :func:`descend` returns. Below \* stands for the batch shape of the target, ``()`` for a single one.

    Attributes
    ----------
    iteration : array of int, shape (T,)
        Number of updates made at each record; 0 is the start.
    products : array, shape (\*, T, n, n)
        :math:`W = W_N \cdots W_1` at each record.
    objective : array, shape (\*, T)
        :math:`f(W)` at each record.
    factors : array, shape (\*, N, n, n)
        The factors after the last update, :math:`W_1` first.
    """

    iteration: np.ndarray
    products: np.ndarray
    objective: np.ndarray
    factors: np.ndarray

    @property
    def singular_values(self):
        r"""Singular values of the products, descending: shape (\*, T, n)."""
        return np.linalg.svd(self.products, compute_uv=False)

    def along(self, basis):
        r""":math:`q_i^\top W q_i` for the columns :math:`q_i` of ``basis`` (\*, n, k): shape (\*, T, k)."""
        return np.einsum("...ai,...tab,...bi->...ti", basis, self.products, basis)


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


def eigenvalues(target, depth, scale, step_size, iterations, perturbation=0.0, record_at=None):
    r"""Eigenvalues of the product under gradient descent from :math:`\alpha I`, by the scalar recursion.

    With all factors started at :math:`\alpha I`, all factors stay equal, share the eigenvectors of the target, and each
    eigenvalue :math:`d` of a factor follows

    .. math:: d \leftarrow d - \eta\, d^{N-1} (d^N - \lambda), \qquad d(0) = \alpha .

    With ``perturbation`` :math:`\beta > 0` one factor starts at :math:`(\alpha - \beta) I` instead. The N - 1 equal
    factors have eigenvalue :math:`a` and the odd one :math:`b`:

    .. math:: a \leftarrow a - \eta\, a^{N-2} b\, (a^{N-1} b - \lambda), \qquad
              b \leftarrow b - \eta\, a^{N-1} (a^{N-1} b - \lambda) .

    Parameters
    ----------
    target : float or array, shape (n,)
        Eigenvalues of the target matrix, of any sign, in any order.
    depth : int, at least 2
        Number of factors N.
    scale : float, above 0
        :math:`\alpha`; the product starts at :math:`\alpha^N I`.
    step_size : float, above 0
        :math:`\eta`; see :func:`step_bound` for how large it may be.
    iterations : int, at least 0
        Number of updates.
    perturbation : float, in [0, scale), default 0
        :math:`\beta`.
    record_at : array of int, optional
        The numbers of updates to record at; the last one is always recorded. All of them by default.

    Returns
    -------
    Eigenvalues
        The last row holds the state after ``iterations`` updates.

    Raises
    ------
    InputError
        For bad input, and where the step size is so large that the run leaves the floating-point numbers.

    Notes
    -----
    Identical initialisation: abstract of Chou et al. (2024). The perturbed start is theirs too, as far as we recall;
    both recursions are derived in the book.

    Examples
    --------
    A negative eigenvalue is lost from identical starts and found from perturbed ones:

    >>> import udulib as ul
    >>> run = ul.deep.eigenvalues([2.0, -1.0], depth=2, scale=0.1, step_size=0.05, iterations=400)
    >>> run.values[-1].round(6) + 0.0
    array([2., 0.])
    >>> run = ul.deep.eigenvalues([2.0, -1.0], depth=2, scale=0.1, step_size=0.05, iterations=400, perturbation=0.05)
    >>> run.values[-1].round(6)
    array([ 2., -1.])
    """
    target = _targets(target)
    depth, scale, step_size = _settings(depth, scale, step_size)
    iterations = whole_number("iterations", iterations, least=0)
    perturbation = _perturbation(perturbation, scale)
    steps = _grid(record_at, iterations, default=np.arange(iterations + 1))
    a = np.full(target.shape, scale)
    b = a - perturbation
    shape = (len(steps), len(target))
    common, odd = np.empty(shape), np.empty(shape)
    done = 0
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for row, step in enumerate(steps):
            for _ in range(step - done):
                power = a ** (depth - 2)  # (n,)
                pull = step_size * power * (power * a * b - target)  # (n,)
                a, b = a - pull * b, b - pull * a
            done = step
            if not (np.isfinite(a).all() and np.isfinite(b).all()):
                raise _diverged(step, step_size, f"step_bound gives {np.min(step_bound(target, depth, scale)):.3g}")
            common[row], odd[row] = a, b
        values = common ** (depth - 1) * odd
    return Eigenvalues(iteration=steps, values=values, factor_values=common, odd_values=odd)


def descend(target, depth, scale, step_size, iterations, init="identical", perturbation=None, rng=None, record_at=None):
    r"""Gradient descent on all N factors, as matrices.

    Minimises :math:`f(W_N \cdots W_1)` for :math:`f(W) = \tfrac12 \|W - \widehat W\|_F^2`, or for the :math:`f` of a
    problem of this package, such as matrix sensing. All factors are updated at once:

    .. math:: W_j \leftarrow W_j - \eta\, (W_N \cdots W_{j+1})^\top \nabla f(W)\, (W_{j-1} \cdots W_1)^\top .

    Parameters
    ----------
    target : array, shape (\*, n, n), or a square problem
        A symmetric matrix :math:`\widehat W`, or a real problem such as :class:`udulib.Sensing`. Several matrices, or a
        stack of problems, are several runs in one call.
    depth : int, at least 2
        Number of factors N.
    scale : float, above 0
        :math:`\alpha`: the size of the factors at the start.
    step_size : float, above 0
    iterations : int, at least 0
        Number of updates.
    init : {"identical", "perturbed", "random"}
        All factors :math:`\alpha I`; or :math:`W_N = (\alpha - \beta) I` and the others :math:`\alpha I`; or
        independent Gaussian entries of variance :math:`\alpha^2 / n`, so that
        :math:`\mathbb E \|W_j\|_F^2 = \|\alpha I\|_F^2`.
    perturbation : float, in (0, scale), for "perturbed" only
        :math:`\beta`.
    rng : numpy.random.Generator, or a list of them, one for each of several runs; for "random" only
    record_at : array of int, optional
        The numbers of updates to record at; the last one is always recorded. By default 0 and about 200 on a
        logarithmic grid.

    Returns
    -------
    Descent

    Raises
    ------
    InputError
        For bad input, and where the step size is so large that the run leaves the floating-point numbers.

    Notes
    -----
    With identical initialisation the factors are equal in exact arithmetic, but not in floating point: differences
    between them grow by :math:`1 + \eta |\lambda|` a step (N = 2) along each negative eigenvalue, and in the end the
    run learns what the theory says it cannot. :func:`eigenvalues` is free of that.

    Examples
    --------
    >>> import numpy as np
    >>> import udulib as ul
    >>> target = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> run = ul.deep.descend(target, depth=3, scale=0.1, step_size=0.02, iterations=2000)
    >>> bool(np.abs(run.products[-1] - target).max() < 1e-10)
    True
    >>> twin = ul.deep.eigenvalues([3.0, 1.0], 3, scale=0.1, step_size=0.02, iterations=2000, record_at=run.iteration)
    >>> bool(np.abs(run.singular_values - twin.values).max() < 1e-12)
    True
    """
    objective_of, gradient, shape = _objective(target)
    depth, scale, step_size = _settings(depth, scale, step_size)
    iterations = whole_number("iterations", iterations, least=0)
    factors = _start(shape, depth, scale, init, perturbation, rng)  # (N, *, n, n)
    default = np.unique(np.concatenate([[0], np.geomspace(1, max(iterations, 1), 200).round().astype(int)]))
    steps = _grid(record_at, iterations, default=default[default <= iterations])
    products, objective = np.empty((len(steps), *shape)), np.empty((len(steps), *shape[:-2]))
    done = 0
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for row, step in enumerate(steps):
            for _ in range(step - done):
                factors = _update(factors, gradient, step_size)
            done = step
            W = _running_products(factors)[-1]
            if not np.isfinite(W).all():
                raise _diverged(step, step_size, "nothing else is wrong with the input")
            products[row], objective[row] = W, objective_of(W)
    last = len(shape) - 2  # the axis behind the batch
    products, objective, factors = (np.moveaxis(array, 0, last) for array in (products, objective, factors))
    return Descent(iteration=steps, products=products, objective=objective, factors=factors)


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
    depth, scale, _ = _settings(depth, scale, 1.0)
    c = np.maximum(target, 0.0) ** (1 / depth)
    m = np.maximum(c, scale)
    curvature = sum(m ** (2 * depth - 2 - j) * c**j for j in range(depth))
    curvature = np.where(target < 0, scale ** (2 * depth - 2) + np.abs(target) * scale ** (depth - 2), curvature)
    return (1 / curvature)[()]


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
    target, level = np.broadcast_arrays(finite_array("target", target), finite_array("level", level))
    depth, scale, step_size = _settings(depth, scale, step_size)
    start, limit = scale**depth, np.maximum(target, 0.0)
    between = ((start <= level) & (level < limit)) | ((limit < level) & (level <= start))
    if not between.all():
        raise InputError(
            f"level lies between the start scale**depth = {start:.6g} and the limit max(target, 0), excluded; "
            f"got target {target[~between].flat[0]:.6g} with level {level[~between].flat[0]:.6g}"
        )
    _check_step(target, depth, scale, step_size)
    correction = 0.5 * np.log(_speed(level, target, depth) / _speed(np.full_like(level, start), target, depth))
    steps = _flow_time(target, level, depth, scale) / step_size + correction
    return np.where(level == start, 0.0, steps)[()]


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
    targets = np.sort(_targets(targets))[::-1]
    depth, scale, step_size = _settings(depth, scale, step_size)
    n, kept = len(targets), whole_number("upto", upto, least=1)
    start = scale**depth
    if kept > n:
        raise InputError(f"upto is at most the number of targets, {n}; got {kept}")
    if not targets[kept - 1] > start:
        raise InputError(
            f"the first upto = {kept} targets are above scale**depth = {start:.6g}, or they never grow; "
            f"number {kept} is {targets[kept - 1]:.6g}; take fewer or a smaller scale"
        )
    error, leak = _positive("error", error), _positive("leak", leak)
    if error >= targets[0]:
        raise InputError(f"error is below the largest target, {targets[0]:.6g}; got {error:.6g}")
    if not start <= leak <= targets[0]:
        raise InputError(f"leak lies between scale**depth = {start:.6g} and the largest target; got {leak:.6g}")
    _check_step(targets, depth, scale, step_size)
    signal, rest = targets[:kept], targets[kept:]

    rising = signal[signal - error > start]
    first = 0
    if rising.size:
        late = _flow_time(rising, rising - error, depth, scale) / step_size
        fastest = np.clip(_turning(rising, depth), start, rising - error)
        lag = np.log(_speed(fastest, rising, depth) / _speed(np.full_like(rising, start), rising, depth))
        first = math.ceil(np.max(late + lag + 2))
    rest = rest[rest > leak]
    last = math.inf
    if rest.size:
        watched = np.maximum(np.minimum(leak, _turning(rest, depth)), start)
        early = _flow_time(rest, watched, depth, scale) / step_size
        last = math.floor(np.min(np.where(_turning(rest, depth) > start, early, 0.0)))

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
    width = _positive("width", width)
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


# --- gradient descent on matrices -------------------------------------------------------------------------------------


def _running_products(factors):
    """W_1, W_2 W_1, ..., W_N ... W_1."""
    products = [factors[0]]
    for W in factors[1:]:
        products.append(W @ products[-1])
    return products


def _update(factors, gradient, step_size):
    below = _running_products(factors)
    G = gradient(below[-1])
    moved = np.empty_like(factors)
    above = None  # W_N ... W_{j+1}
    for j in range(len(factors) - 1, -1, -1):
        slope = G if above is None else above.swapaxes(-1, -2) @ G
        moved[j] = factors[j] - step_size * (slope if j == 0 else slope @ below[j - 1].swapaxes(-1, -2))
        above = factors[j] if above is None else above @ factors[j]
    return moved


def _objective(target):
    """f, its gradient, and the shape (*, n, n) of what they take."""
    if hasattr(target, "measure"):
        return _problem_objective(target)
    target = finite_array("target", target)
    square = target.ndim >= 2 and target.shape[-1] == target.shape[-2]
    if not square or target.size == 0 or np.iscomplexobj(target):
        raise InputError(f"target is a real square matrix or a problem; got shape {target.shape}, dtype {target.dtype}")
    gap = np.abs(target - target.swapaxes(-1, -2)).max()
    if gap > 1e-12 * max(np.abs(target).max(), np.finfo(float).tiny):
        raise InputError(f"target is symmetric; it differs from its transpose by {gap:.3g}; pass (A + A.T) / 2")
    return lambda W: 0.5 * np.sum((W - target) ** 2, axis=(-2, -1)), lambda W: W - target, target.shape


def _problem_objective(problem):
    import torch

    n = problem.shape[0]
    if problem.shape != (n, n) or problem.is_complex:
        raise InputError(f"a real problem with square X is wanted; got shape {problem.shape}")
    problem = problem.to("cpu", torch.float64)
    eye = torch.eye(n, dtype=torch.float64)

    def both(W):
        f, G, _ = problem.gradient(torch.from_numpy(W), None, eye)
        return f.numpy(), G.numpy()

    return lambda W: both(W)[0], lambda W: both(W)[1], (*problem.batch_shape, n, n)


def _start(shape, depth, scale, init, perturbation, rng):
    if init not in INITS:
        raise InputError(f"init is one of {', '.join(INITS)}; got {init!r}")
    if (perturbation is not None) != (init == "perturbed"):
        raise InputError(f"perturbation goes with init='perturbed', and only there; got {perturbation!r} with {init!r}")
    if (rng is not None) != (init == "random"):
        raise InputError(f"rng goes with init='random', and only there; got {rng!r} with {init!r}")
    if init == "random":
        return scale / math.sqrt(shape[-1]) * _normal(shape, depth, rng)
    factors = np.tile(scale * np.eye(shape[-1]), (depth, *shape[:-2], 1, 1))
    if init == "perturbed":
        beta = _perturbation(perturbation, scale)
        if beta == 0:
            raise InputError("perturbation lies strictly between 0 and scale; got 0; use init='identical' for none")
        factors[-1] -= beta * np.eye(shape[-1])
    return factors


def _normal(shape, depth, rng):
    """Standard normal factors (N, *, n, n), from one generator or from one for each run."""
    single = isinstance(rng, np.random.Generator)
    rngs = [rng] if single else list(rng) if isinstance(rng, list | tuple) else []
    if not rngs or not all(isinstance(one, np.random.Generator) for one in rngs):
        raise InputError(f"rng is a numpy.random.Generator, or a list of one for each run; got {rng!r}")
    if single:
        return rng.standard_normal((depth, *shape))
    if (len(rngs),) != shape[:-2]:
        raise InputError(f"a list of rng has one generator for each run; got {len(rngs)} for batch shape {shape[:-2]}")
    return np.stack([one.standard_normal((depth, *shape[-2:])) for one in rngs], axis=1)


# --- times of the flow ------------------------------------------------------------------------------------------------


def _speed(level, target, depth):
    """|F| where the product's eigenvalue is ``level``."""
    return level ** ((depth - 1) / depth) * np.abs(target - level)


def _turning(target, depth):
    """The level at which F is largest, for a positive target: the flow speeds up below and slows down above."""
    return target * (depth - 1) / (2 * depth - 1)


def _flow_time(target, level, depth, scale):
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


# --- arguments --------------------------------------------------------------------------------------------------------


def _positive(name, value):
    number = finite_array(name, value)
    if number.ndim or np.iscomplexobj(number) or number <= 0:
        raise InputError(f"{name} is one number above zero; got {value!r}")
    return float(number)


def _settings(depth, scale, step_size):
    return whole_number("depth", depth, least=2), _positive("scale", scale), _positive("step_size", step_size)


def _perturbation(value, scale):
    number = finite_array("perturbation", value)
    if number.ndim or np.iscomplexobj(number) or not 0 <= number < scale:
        raise InputError(f"perturbation is at least 0 and below scale = {scale:.6g}; got {value!r}")
    return float(number)


def _targets(target):
    target = np.atleast_1d(finite_array("target", target))
    if target.ndim != 1 or target.size == 0 or np.iscomplexobj(target):
        raise InputError(
            f"target is a real eigenvalue or a one-dimensional array of them; got shape {target.shape}, "
            f"dtype {target.dtype}; for a matrix take numpy.linalg.eigvalsh of it"
        )
    return target


def _grid(record_at, iterations, default):
    if record_at is None:
        return default
    steps = np.asarray(record_at)
    whole = steps.ndim == 1 and steps.size > 0 and steps.dtype.kind in "iu"
    if not whole or steps.min() < 0 or steps.max() > iterations:
        raise InputError(f"record_at holds whole numbers from 0 to iterations = {iterations}; got {record_at!r}")
    return np.union1d(steps, [iterations]).astype(int)


def _check_step(target, depth, scale, step_size):
    bound = np.min(step_bound(target, depth, scale))
    if step_size > bound * (1 + 1e-12):
        raise InputError(
            f"step_size is at most {bound:.6g} here (step_bound); above it steps pass the limit; got {step_size}"
        )


def _diverged(step, step_size, hint):
    return InputError(f"the run diverged within {step} updates at step_size {step_size}; take a smaller one ({hint})")


def _spread(values):
    """Largest minus smallest of the first 1, 2, 3, ... values."""
    return np.maximum.accumulate(values) - np.minimum.accumulate(values)
