"""The projection behind every step of an optimizer, or by hand."""

import warnings
import weakref

import torch
from torch import nn

from udulib.checks import instance
from udulib.errors import InputError
from udulib.nn.balls import inside, project_all
from udulib.nn.layer import UDVFactors
from udulib.nn.shards import is_sharded
from udulib.nn.watch import UnprojectedWarning, watch_of

HARSH = 0.5  # a projection that multiplies by less than this in one step is warned of
WATCHED = 100  # steps between two looks at it: each look waits for the device
_attached = weakref.WeakKeyDictionary()  # optimizer -> its projection


class CollapseWarning(UserWarning):
    """The learning rate is so large that the projection kills neurons."""


class PrecisionWarning(UserWarning):
    """Factors are of so few digits that small steps are lost."""


class Projection:
    """What `attach` returns: the projection behind every step of one optimizer. ``remove()`` takes it away again."""

    def __init__(self, optimizer, model):
        owned = _owned(optimizer)
        self.modules = [m for m in udv_modules(model).values() if any(id(f) in owned for f in _factors(m))]
        for module in self.modules:
            watch_of(module).projected()
        self._model, self._owned = model, _count(optimizer)
        self._steps = 0
        self._shrinks = []  # what the balls multiplied by, since the last look
        self._warned = False
        self._handle = optimizer.register_step_post_hook(self._after_step)

    def _after_step(self, optimizer, *_):
        shrinks = project_(self.modules)
        if isinstance(optimizer, torch.optim.LBFGS):
            optimizer.state.clear()
        if self._owned != (owned := _count(optimizer)):
            self._owned = owned
            self._look_for_new(optimizer)
        if self._steps and not self._warned:  # the first step only brings the start into its balls
            self._shrinks += shrinks
            if self._steps % WATCHED == 0:
                self._look()
        self._steps += 1

    def _look(self):
        smallest = min((float(shrink.min()) for shrink in self._shrinks), default=1.0)
        self._shrinks.clear()
        if smallest < HARSH:
            self._warned = True
            warnings.warn(
                f"in one step a factor grew to {1 / smallest:.1f} times its ball, and the projection multiplied all "
                f"its neurons by {smallest:.2f}: those that do not grow die within a few such steps. Lower the "
                "learning rate or raise the radius; udulib.nn.diagnose says how many neurons are left",
                CollapseWarning,
                stacklevel=4,
            )

    def _look_for_new(self, optimizer):
        """Layers that the optimizer has been given since `attach`: they are not projected, and it is said once."""
        known, owned = {id(module) for module in self.modules}, _owned(optimizer)
        new = {n: m for n, m in udv_modules(self._model).items() if id(m) not in known and id(m.D) in owned}
        for module in new.values():
            watch_of(module).said = True
        if new:
            warnings.warn(
                f"{', '.join(new)} came to model and optimizer after attach, and is not projected. Call "
                "udulib.nn.attach(optimizer, model) again: it takes the place of the first",
                UnprojectedWarning,
                stacklevel=4,
            )

    def remove(self):
        """Stop projecting behind the steps of the optimizer."""
        self._handle.remove()


def attach(optimizer, model):
    r"""Make every ``optimizer.step()`` end with the projection of all UDV layers of a model.

    "Update, then apply the constraints", as the paper's networks do; the optimizer's state is left as it is. Only
    LBFGS is made to forget its curvature after each ``step()``: it speaks of points before the projection, and steps
    that trust it run off to infinity.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer, or a list of such
        Any of PyTorch's, or a wrapper around one, as accelerate makes it. It must own all factors; where several share
        them, give all in one list. With LBFGS the projection comes once behind each ``step()``, which may hold several
        inner iterations.
    model : torch.nn.Module
        With at least one module that has parameters ``U``, ``D``, ``V`` and a method ``project_()``, at any depth;
        wrapped by ``DistributedDataParallel`` or ``torch.compile`` or not. Factors may be sharded over processes, by
        ``fully_shard`` or otherwise, as ``DTensor``: the norms of all then are summed over the processes in one go.

    Returns
    -------
    Projection, or a list of such
        Its ``remove()`` undoes it. A second ``attach`` on the same optimizer takes the place of the first. For a list
        of optimizers one for each, behind whose steps come the layers of which it owns a factor.

    Raises
    ------
    InputError
        No such module; a factor that is frozen, not owned by the optimizer, laid flat by ``FullyShardedDataParallel``,
        or no parameter (a parametrized one); a factor that is not real floating point, or that layers of different
        balls share.

    Notes
    -----
    PyTorch stores hooks neither in ``optimizer.state_dict()`` nor in copies of an optimizer: call `attach` again after
    copying, and after adding layers. Where that is forgotten an `UnprojectedWarning` says so within ten steps: the hook
    sees what the optimizer has been given, and a layer sees in ``forward``, unless it is compiled or sharded, that it
    is trained outside its set.

    With sharded factors every process has to make the same steps, and to call `feasible` when the others do.

    Examples
    --------
    >>> from udulib.nn import UDVLinear
    >>> import torch
    >>> model = torch.nn.Sequential(UDVLinear(4, 2, hidden=3), torch.nn.ReLU())
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    >>> projection = attach(optimizer, model)
    >>> model(torch.ones(1, 4)).sum().backward()
    >>> optimizer.step()
    >>> feasible(model)
    True
    """
    optimizers = [_unwrapped(one) for one in (optimizer if isinstance(optimizer, (list, tuple)) else [optimizer])]
    found = udv_modules(model)
    if not found:
        raise InputError("the model has no UDV layer (a module with U, D, V and project_()); nothing to attach")
    owned = set().union(*map(_owned, optimizers))
    for name, module in found.items():
        for letter in "UDV":
            _check_factor(f"{name}.{letter}".lstrip("."), getattr(module, letter), owned, _plain(module))
    _check_shared(found)
    _check_precision(found)
    projections = [_attach(one, model) for one in optimizers]
    return projections if isinstance(optimizer, (list, tuple)) else projections[0]


def _attach(optimizer, model):
    new = Projection(optimizer, model)
    if optimizer in _attached:
        _attached[optimizer].remove()
    _attached[optimizer] = new
    return new


def udv_modules(model):
    """The modules of a model that keep the protocol (``U``, ``D``, ``V``, ``project_()``), by their names in it.

    Examples
    --------
    >>> from udulib.nn import UDVLinear
    >>> list(udv_modules(nn.Sequential(nn.ReLU(), UDVLinear(4, 2, hidden=3))))
    ['1']
    """
    return {
        name: module
        for name, module in instance("model", model, nn.Module).named_modules()
        if callable(getattr(module, "project_", None)) and all(hasattr(module, letter) for letter in "UDV")
    }


def project_(model):
    """Put the factors of all UDV layers back into their sets, in place; the explicit form of `attach`.

    Parameters
    ----------
    model : torch.nn.Module, or an iterable of UDV modules

    Returns
    -------
    list of torch.Tensor
        What the Frobenius balls of `UDVFactors` multiplied U and V by, for each group of equal settings.

    Examples
    --------
    >>> from udulib.nn import UDVLinear
    >>> layer = UDVLinear(40, 20, hidden=30)
    >>> feasible(layer)
    False
    >>> _ = project_(layer)
    >>> feasible(layer)
    True
    """
    modules = udv_modules(model).values() if isinstance(model, nn.Module) else model
    ours, others = [], []
    for module in modules:
        (ours if _plain(module) else others).append(module)
    shrinks = project_all(ours)
    for module in others:
        module.project_()
    return shrinks


def feasible(model, tol=1e-6):
    r"""Whether all `UDVFactors` of a model are in their sets: norms at most :math:`R(1 + tol)`, D at least 0, no NaN.

    Examples
    --------
    >>> from udulib.nn import UDVLinear
    >>> feasible(UDVLinear(40, 20, hidden=30))  # the start is outside
    False
    """
    modules = instance("model", model, nn.Module).modules()
    return all(inside(module, tol) for module in modules if isinstance(module, UDVFactors))


def _plain(module):
    """Whether a module is projected by this file's method, and so together with others."""
    return getattr(type(module), "project_", None) is UDVFactors.project_


def _owned(optimizer):
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


def _count(optimizer):
    return sum(len(group["params"]) for group in optimizer.param_groups)


def _factors(module):
    return [getattr(module, letter) for letter in "UDV"]


def _unwrapped(optimizer):
    """The optimizer that takes hooks: itself, or what a framework has wrapped."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InputError(f"attach wants a torch.optim.Optimizer, then the model; got {type(optimizer).__name__} first")
    outer = optimizer
    while not hasattr(optimizer, "_optimizer_step_post_hooks"):  # which PyTorch's own constructor makes
        optimizer = getattr(optimizer, "optimizer", None)
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise InputError(
                f"{type(outer).__name__} wraps an optimizer and cannot take a hook: call attach on the optimizer "
                "itself, before the framework wraps it"
            )
    return optimizer


def _check_precision(modules):
    half = [name for name, module in modules.items() if torch.finfo(module.D.dtype).bits < 32]
    if half:
        dtype = modules[half[0]].D.dtype
        warnings.warn(
            f"the factors of {', '.join(half)} are {dtype}: an entry of D near one cannot move by less than "
            f"{torch.finfo(dtype).eps:.0e}. Keep UDV layers in float32 (under torch.autocast, say)",
            PrecisionWarning,
            stacklevel=3,
        )


def _check_shared(modules):
    balls = {}  # of each matrix
    for name, module in modules.items():
        if isinstance(module, UDVFactors):
            ball = module.ball, module.radius
            for letter in "UV":
                if balls.setdefault(id(getattr(module, letter)), ball) != ball:
                    raise InputError(
                        f"{name}.{letter} is shared by layers of different radius or ball, and can be in one ball "
                        "only: make these layers with the same"
                    )


def _check_factor(name, factor, owned, ours):
    if not isinstance(factor, nn.Parameter):
        raise InputError(f"{name} is no parameter of its module (parametrized?); only a plain factor can be projected")
    if not factor.is_floating_point():
        raise InputError(f"{name} is real floating point; got {factor.dtype}")
    if is_sharded(factor) and not ours:
        raise InputError(
            f"{name} is sharded over devices, and its module projects itself, not knowing of the other parts: use "
            "UDVLinear, UDVConv2d or udulib.lora, which do, or DistributedDataParallel"
        )
    if ours and factor.ndim != (1 if name.endswith("D") else 2):
        raise InputError(
            f"{name} has shape {tuple(factor.shape)} here: it is laid flat (by FullyShardedDataParallel?), and its "
            "norm is not known; shard with torch.distributed.fsdp.fully_shard, or use DistributedDataParallel"
        )
    if not factor.requires_grad:
        raise InputError(f"{name} is frozen; the projection would change it: call requires_grad_(True) on all factors")
    if id(factor) not in owned:
        raise InputError(
            f"the optimizer does not own {name}; make it from model.parameters() after all layers are in place, or, "
            "where several optimizers share the factors, give them all: attach([first, second], model)"
        )
