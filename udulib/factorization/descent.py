"""The one loop: projected gradient descent on the factors of X, for a whole batch of runs at once."""

import math
from collections.abc import Mapping

import numpy as np
import torch

from udulib import kernels
from udulib.checks import broadcast_shape, finite_array, positive_array, torch_device, torch_dtype, whole_number
from udulib.errors import InputError
from udulib.factorization import engines
from udulib.factorization.models import Model
from udulib.factorization.trace import Recorder, numpy_of, recorded_iterations
from udulib.problems.base import Problem
from udulib.seeds import generator, jittered, seeds_array


def descend(
    problem,
    model,
    *,
    step_size,
    iterations,
    init_scale=1e-2,
    d_init=1.0,
    seed=0,
    start=None,
    record_at=None,
    record=(),
    monitor=None,
    stop_when_stalled=False,
    device="auto",
    dtype="float64",
    engine="auto",
):
    r"""Minimise :math:`f(X) = \tfrac12\|\mathcal A(X) - b\|^2` over the factors of X by projected gradient descent.

    Each update is :math:`\theta \leftarrow \Pi(\theta - \eta\,\nabla_\theta f)` for all factors
    :math:`\theta` of the model at once, with the gradients of the paper (equations 3 to 5). ``step_size``,
    ``init_scale``, ``d_init``, ``seed``, the model's ``radius``, the leading dimensions of ``start`` and those of a
    stacked problem broadcast like NumPy arrays; their common shape \* is the batch, and each run gives what it would
    give alone.

    Parameters
    ----------
    problem : Problem
        What f is.
    model : BM, UDU, UV or UDV
        How X is made.
    step_size : float or array
        :math:`\eta`, positive.
    iterations : int
        Number of updates, at least 1.
    init_scale : float or array, default 1e-2
        :math:`\xi = \|U_0\|_F`, positive: U (and V) start as i.i.d. standard normal numbers, rescaled. They are not
        projected before the first update.
    d_init : float or array, default 1.0
        D starts as ``d_init`` in every entry, at least 0. Models without D have no use for it.
    seed : int or array of int, default 0
        Of the start. Runs of one seed start in the same direction, whatever their other settings.
    start : dict of array, optional
        Factors to start from, ``{"U": (*, d, r), ...}``, instead of the three settings above: exactly those that
        ``model.names`` lists.
    record_at : sequence of int, optional
        How many updates to record after, increasing, from 0 (the start) to ``iterations``; an empty one records
        nothing. Left out: the start, the state before the last update, and 12 a decade between.
    record : tuple of {"columns", "shrink"}, default ()
        What to record beside objective and spectra.
    monitor : dict of Problem, optional
        Other problems whose objective is recorded too, for instance ``{"validation": held_out}``.
    stop_when_stalled : bool, default False
        End early, at a recorded iteration, once every run has diverged or stalled.
    device : {"auto", "cpu", "cuda"}, default "auto"
        ``"auto"`` takes a GPU if there is one, but leaves to the CPU a completion that its kernel does in two seconds.
    dtype : {"float64", "float32", "complex128", "complex64"}, default "float64"
        Precision of the factors. For a complex problem a real name means the complex type of that precision.
    engine : {"auto", "loop", "numba", "fused", "graph"}, default "auto"
        What does the updates: PyTorch; kernels for :class:`Completion` on the CPU, which need numba, or on a GPU, which
        need CuPy; or, on a GPU too, CUDA graphs of PyTorch's operations. ``"auto"`` takes what is fastest and there.
        All give the same result up to round-off. ``Trace.engine`` says which it was.

    Returns
    -------
    Trace

    Raises
    ------
    InputError
        Any argument that is not as said above. A run that diverges is no error: see ``Trace.status``.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_completion(d=30, rank=3, observed=400, spectrum=(3.0, 2.0, 1.0), seed=0)
    >>> trace = ul.descend(problem, ul.UDU(rank=30), step_size=[0.1, 0.05], iterations=3000)
    >>> trace.status.tolist(), ul.numerical_rank(trace.singular_values, rtol=1e-3).tolist()
    (['finished', 'finished'], [3, 3])
    """
    if not isinstance(problem, Problem) or not isinstance(model, Model):
        raise InputError(
            "descend takes a problem and a model of it, such as Completion(...) and UDU(rank=20); got "
            f"{_described(problem)} and {_described(model)}"
        )
    model.check(problem)
    iterations = whole_number("iterations", iterations, 1)
    free = isinstance(device, str) and device == "auto"
    device, dtype = torch_device(device), torch_dtype(dtype, problem.is_complex)
    settings = {
        "step_size": positive_array("step_size", step_size),
        "init_scale": positive_array("init_scale", init_scale),
        "d_init": positive_array("d_init", d_init, allow_zero=True),
        "seed": seeds_array(seed),
        "radius": np.asarray(model.radius),
    }
    start = None if start is None else _checked_start(start, model, problem)
    monitor = _checked_monitor({} if monitor is None else monitor, problem)
    batch = broadcast_shape(
        **{name: value.shape for name, value in settings.items()},
        problem=problem.batch_shape,
        start=()
        if start is None
        else broadcast_shape(**{name: a.shape[: a.ndim - len(size)] for name, (a, size) in start.items()}),
        **{name: other.batch_shape for name, other in monitor.items()},
    )
    if free and engine == "auto" and engines.small(problem, model, iterations, runs=math.prod(batch)):
        device = torch.device("cpu")
    first = (
        _random_start(model, problem, batch, settings, dtype)
        if start is None
        else {k: a for k, (a, _) in start.items()}
    )
    sizes = model.sizes(problem)
    factors = {name: _tensor(first[name], batch + sizes[name], dtype, device, real=name == "D") for name in model.names}
    eta = _tensor(settings["step_size"], batch, dtype, device, real=True)
    radius = _tensor(settings["radius"], batch, dtype, device, real=True)
    recorder = Recorder(record, {name: other.to(device, dtype) for name, other in monitor.items()})
    grid = recorded_iterations(record_at, iterations)
    engine = engines.chosen(engine, problem, model, device, iterations, runs=math.prod(batch))
    problem = problem.to(device, dtype)
    if engine == "numba":
        stepper = kernels.FusedSteps(problem, model, eta, radius, iterations)
    elif engine == "fused":
        stepper = kernels.fused_steps(problem, model, eta, radius, iterations)
    else:
        stepper = _Loop(problem, model, eta, radius)
        stepper = kernels.GraphSteps(stepper) if engine == "graph" else stepper

    def take():
        recorder.take(done, problem.objective(*(factors.get(name) for name in "UDV")), factors, shrink)

    shrink, done = torch.zeros(batch, dtype=radius.dtype, device=device), 0
    with torch.no_grad():
        for k in sorted(grid - {iterations} | {iterations - 1}):
            factors, shrunk = stepper.advance(factors, k - done)
            shrink, done = shrink + shrunk, k
            if k in grid:
                take()
            if stop_when_stalled or k == iterations - 1:  # one update by itself, to see whether it moves anything
                previous, (factors, shrunk) = factors, stepper.advance(factors, 1)
                shrink, done = shrink + shrunk, k + 1
                if bool((_stands_still(previous, factors) | _broken(factors)).all()):
                    break
        if done == iterations and iterations in grid:
            take()
        final = problem.objective(*(factors.get(name) for name in "UDV"))
        status = _status(final, previous, factors, problem)
    return recorder.trace(final, factors, status, stepper.engine)


def _described(value):
    return f"the class {value.__name__}" if isinstance(value, type) else f"one of type {type(value).__name__}"


class _Loop:
    """The updates as the paper writes them, in PyTorch: any problem, any model, any device."""

    engine = "loop"

    def __init__(self, problem, model, step_size, radius):
        self.problem, self.model, self.radius = problem, model, radius
        self.step_size = {name: step_size[(..., *[None] * len(size))] for name, size in model.sizes(problem).items()}

    def advance(self, factors, count):
        """The factors ``count`` steps on, and the sum of log(1/c) over these steps."""
        shrink = 0.0
        for _ in range(count):
            _, gradients = self.model.gradient(self.problem, factors)
            moved = {
                name: torch.addcmul(factors[name], gradients[name], self.step_size[name], value=-1.0)
                for name in factors
            }
            factors, shrunk = self.model.project(moved, self.radius)
            shrink = shrink + shrunk
        return factors, shrink


def _status(final, previous, factors, problem):
    eps = torch.finfo(final.dtype).eps
    misfit = final > 0.5 * eps * torch.linalg.vecdot(problem.b, problem.b).real
    status = np.where(numpy_of(_stands_still(previous, factors) & misfit), "stalled", "finished")
    return np.where(numpy_of(_broken(factors) | ~torch.isfinite(final)), "diverged", status)


def _stands_still(previous, factors):
    """Whether the last update moved no factor by more than 4 units of round-off of its largest entry, shape (*,)."""
    still = True
    for name, new in factors.items():
        dims = (-1,) if name == "D" else (-2, -1)
        moved, largest = (new - previous[name]).abs().amax(dims), new.abs().amax(dims)
        still = still & (moved <= 4 * torch.finfo(new.dtype).eps * largest)
    return still


def _broken(factors):
    broken = False
    for name, value in factors.items():
        broken = (
            broken | ~torch.isfinite(value).all(-1)
            if name == "D"
            else broken | ~torch.isfinite(value).flatten(-2).all(-1)
        )
    return broken


def _checked_start(start, model, problem):
    sizes = model.sizes(problem)
    if not isinstance(start, Mapping) or set(start) != set(sizes):
        came = list(start) if isinstance(start, Mapping) else type(start).__name__
        raise InputError(f"start for {type(model).__name__} is a dict that holds exactly {list(sizes)}; got {came}")
    checked = {}
    for name, size in sizes.items():
        array = finite_array(f"start[{name!r}]", start[name])
        if array.shape[array.ndim - len(size) :] != size:
            raise InputError(f"start[{name!r}] has shape (*, {', '.join(map(str, size))}); got {array.shape}")
        if array.dtype.kind == "c" and (name == "D" or not problem.is_complex):
            raise InputError(f"start[{name!r}] is real here; got a complex array")
        if name == "D" and (array < 0).any():
            raise InputError(f"start['D'] is at least zero; got a smallest entry of {array.min()}")
        checked[name] = array, size
    return checked


def _checked_monitor(monitor, problem):
    if not isinstance(monitor, Mapping) or not all(isinstance(other, Problem) for other in monitor.values()):
        raise InputError(f'monitor is a dict of problems, such as {{"validation": held_out}}; got {monitor!r}')
    for name, other in monitor.items():
        if (other.shape, other.symmetric, other.is_complex) != (problem.shape, problem.symmetric, problem.is_complex):
            raise InputError(
                f"monitor {name!r} is a problem about the same X as the one descended; got another shape or kind"
            )
    return monitor


def _random_start(model, problem, batch, settings, dtype):
    """i.i.d. normal factors of Frobenius norm ``init_scale``, one direction a seed; D constant."""
    scale = np.broadcast_to(settings["init_scale"], batch)
    smallest = torch.finfo(dtype).tiny * np.sqrt(max(problem.shape) * model.rank)
    if (scale < smallest).any():
        raise InputError(
            f"init_scale is at least {smallest:.1e} in {dtype}, or the start underflows to zero; got {scale.min()}"
        )
    sizes, start = model.sizes(problem), {}
    for name in sizes.keys() - {"D"}:

        def direction(seed, name=name):
            rng = generator(f"start {name}", seed)
            Z = rng.standard_normal(sizes[name])
            Z = Z + 1j * rng.standard_normal(sizes[name]) if problem.is_complex else Z
            return jittered(Z / np.linalg.norm(Z), seed)

        seeds, where = np.unique(settings["seed"], return_inverse=True)
        directions = np.stack([direction(s) for s in seeds])[where.reshape(settings["seed"].shape)]  # (*, d, r)
        start[name] = directions * scale[..., None, None]
    if "D" in sizes:
        start["D"] = np.broadcast_to(settings["d_init"], batch)[..., None] * np.ones(sizes["D"])
    return start


def _tensor(array, shape, dtype, device, real):
    dtype = dtype.to_real() if real else dtype
    return torch.from_numpy(np.broadcast_to(array, shape).copy()).to(device, dtype)
