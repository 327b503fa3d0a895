r"""UDV as a layer of a PyTorch network, and the projection that belongs to it.

The layer of the paper is linear, diagonal, linear, without activation and without bias (equations 6 and 7):

.. math::

   \varphi(x) = V\,\mathrm{diag}(D)\,U^\top x = \sum_{j=1}^m D_j\,v_j\,(u_j^\top x), \qquad
   \|U\|_F \le R,\quad \|V\|_F \le R,\quad D \ge 0 .

A *neuron* j is the column :math:`u_j`, the number :math:`D_j` (the paper's :math:`w_j`) and the column :math:`v_j`. The
set is kept by projection: the optimizer moves the factors as it likes, then U and V are rescaled into their balls and D
is clipped at zero. Two lines make a network of it::

    model = nn.Sequential(backbone, UDVLinear(1280, 10, hidden=427))
    attach(optimizer, model)  # from now on optimizer.step() ends with the projection

`attach` serves any module that keeps a simple protocol: it has factors ``U``, ``D`` and ``V`` as parameters of its own,
and a method ``project_()`` that puts them back into their set in place. Classes derived from `UDVFactors` have it all.

Letters: ``in_features`` is d, ``out_features`` is c, ``hidden`` is m, ``radius`` is R.
"""

import warnings
import weakref
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from udulib.checks import finite_array, instance, numeric_array, positive_number, whole_number
from udulib.errors import InputError
from udulib.factorization.spectra import effective_rank

__all__ = [
    "VARIANTS",
    "CollapseWarning",
    "Diagnosis",
    "Projection",
    "UDVFactors",
    "UDVLinear",
    "attach",
    "convert",
    "diagnose",
    "feasible",
    "project_",
    "radius_of",
    "retraction_experiment",
    "suggest_radius",
    "udv_modules",
]

BALLS = ("frobenius", "columns")
ACTIVATIONS = (None, "relu")
STARTS = ("paper", "svd")
HARSH = 0.5  # a projection that multiplies by less than this in one step is warned of
WATCHED = 100  # steps between two looks at it: each look waits for the device

#: The four variants of the paper's appendix B.1, as arguments of `UDVLinear`.
VARIANTS = {
    "UDV": {"ball": "frobenius", "nonnegative": True},
    "UDV-s": {"ball": "frobenius", "nonnegative": False},
    "UDV-v1": {"ball": "columns", "nonnegative": True},
    "UDV-v2": {"ball": "columns", "nonnegative": False},
}


class UDVFactors(nn.Module):
    r"""Three factors and the set they live in: :math:`\|U\|_F \le R`, :math:`\|V\|_F \le R`, :math:`D \ge 0`.

    The base of `UDVLinear` and of adapters. It has no ``forward`` and leaves the factors as they are allocated; derived
    classes fill them.

    Parameters
    ----------
    in_features, out_features, hidden : int, at least 1
        U is (in, hidden), D is (hidden,), V is (out, hidden).
    radius : float, above 0, default 1.0
        R of both balls. The paper uses 1; classification needs 2 to 3.
    nonnegative : bool, default True
        Whether D is kept at or above zero.
    ball : {"frobenius", "columns"}
        One ball for the whole of U and one for V, or one for each of their columns, :math:`\|u_j\|, \|v_j\| \le R`.
    device, dtype
        As in any PyTorch layer; a real floating-point dtype.

    Raises
    ------
    InputError
        For bad input.

    Examples
    --------
    >>> UDVFactors(3, 2, hidden=4).U.shape
    torch.Size([3, 4])
    """

    def __init__(
        self,
        in_features,
        out_features,
        hidden,
        radius=1.0,
        nonnegative=True,
        ball="frobenius",
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.in_features = whole_number("in_features", in_features, 1)
        self.out_features = whole_number("out_features", out_features, 1)
        self.hidden = whole_number("hidden", hidden, 1)
        self.radius = positive_number("radius", radius)
        self.nonnegative = bool(nonnegative)
        if ball not in BALLS:
            raise InputError(f"ball is one of {', '.join(map(repr, BALLS))}; got {ball!r}")
        self.ball = ball
        kind = {"device": device, "dtype": _real_dtype(dtype)}
        self.U = nn.Parameter(torch.empty(in_features, hidden, **kind))  # (in, hidden)
        self.D = nn.Parameter(torch.empty(hidden, **kind))  # (hidden,)
        self.V = nn.Parameter(torch.empty(out_features, hidden, **kind))  # (out, hidden)

    def project_(self):
        """Put the factors back into their set, in place; for training loops that cannot use `attach`."""
        _project_all([self])
        return self

    def extra_repr(self):
        settings = f"{self.in_features}, {self.out_features}, hidden={self.hidden}, radius={self.radius:g}"
        return f"{settings}, nonnegative={self.nonnegative}, ball={self.ball!r}"


class UDVLinear(UDVFactors):
    r"""The layer :math:`\varphi(x) = V\,\mathrm{diag}(D)\,U^\top x` in the place of a linear layer.

    Parameters
    ----------
    in_features, out_features, hidden, radius, nonnegative, ball, device, dtype
        As in `UDVFactors`. `VARIANTS` has the paper's four choices of ``nonnegative`` and ``ball``.
    bias : bool, default False
        Adds a bias to the output. The paper has none.
    activation : None or "relu", default None
        "relu" applies :math:`\max(\cdot, 0)` behind the diagonal (the paper's UDV-ReLU, appendix B.4). With
        :math:`D \ge 0` it is the same before it.
    generator : torch.Generator, optional
        Of the start; PyTorch's global one if left out, as for other layers.

    Raises
    ------
    InputError
        For bad input, here and in ``forward``.

    Notes
    -----
    The start is the paper's, which is PyTorch's own for linear layers: entries uniform in :math:`\pm 1/\sqrt d` for U,
    in :math:`\pm 1/\sqrt m` for D and V. It is not projected: the first step does that. About half of the entries of D
    start negative, and the first projection sets them to zero.

    Examples
    --------
    >>> import torch
    >>> layer = UDVLinear(8, 3, hidden=5, generator=torch.Generator().manual_seed(0))
    >>> x = torch.ones(2, 8)
    >>> bool(torch.allclose(layer(x), x @ layer.weight().T, atol=1e-6))
    True
    >>> UDVLinear(8, 3, hidden=5, **VARIANTS["UDV-v1"])
    UDVLinear(8, 3, hidden=5, radius=1, nonnegative=True, ball='columns')
    """

    def __init__(
        self,
        in_features,
        out_features,
        hidden,
        radius=1.0,
        nonnegative=True,
        ball="frobenius",
        bias=False,
        activation=None,
        generator=None,
        device=None,
        dtype=None,
    ):
        super().__init__(in_features, out_features, hidden, radius, nonnegative, ball, device, dtype)
        if activation not in ACTIVATIONS:
            raise InputError(f"activation is None or 'relu'; got {activation!r}")
        self.activation = activation
        self.bias = nn.Parameter(self.V.new_empty(out_features)) if bias else None
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator=None):
        """Start anew, as the paper does."""
        widths = {"U": self.in_features, "D": self.hidden, "V": self.hidden, "bias": self.hidden}
        for name, parameter in self.named_parameters(recurse=False):
            bound = widths[name] ** -0.5
            parameter.uniform_(-bound, bound, generator=generator)

    def forward(self, x):
        """The output for inputs of shape (\\*, in_features): shape (\\*, out_features)."""
        instance("the input", x, torch.Tensor)
        if x.shape[-1:] != (self.in_features,) or not x.is_floating_point():
            raise InputError(
                f"the input is real floating point with last dimension {self.in_features}; "
                f"got {x.dtype} of shape {tuple(x.shape)}"
            )
        inner = (x @ self.U) * self.D  # (*, hidden)
        if self.activation == "relu":
            inner = F.relu(inner)
        return F.linear(inner, self.V, self.bias)  # (*, out)

    def weight(self):
        r"""The one matrix :math:`V\,\mathrm{diag}(D)\,U^\top`, shape (out, in), that the layer equals without ReLU."""
        if self.activation is not None:
            raise InputError("a layer with an activation equals no single matrix; use its factors U, D and V")
        return (self.V * self.D) @ self.U.T

    def extra_repr(self):
        more = "" if self.bias is None else ", bias=True"
        return super().extra_repr() + more + ("" if self.activation is None else f", activation={self.activation!r}")


# Projection ----------------------------------------------------------------------------------------------------------


class CollapseWarning(UserWarning):
    """The learning rate is so large that the projection kills neurons."""


class Projection:
    """What `attach` returns: the projection behind every step of one optimizer. ``remove()`` takes it away again."""

    def __init__(self, optimizer, modules):
        self.modules = modules
        self._steps = 0
        self._shrinks = []  # what the balls multiplied by, since the last look
        self._warned = False
        self._handle = optimizer.register_step_post_hook(self._after_step)

    def _after_step(self, optimizer, *_):
        shrinks = project_(self.modules)
        if isinstance(optimizer, torch.optim.LBFGS):
            optimizer.state.clear()
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

    def remove(self):
        """Stop projecting behind the steps of the optimizer."""
        self._handle.remove()


_attached = weakref.WeakKeyDictionary()  # optimizer -> its projection


def attach(optimizer, model):
    r"""Make every ``optimizer.step()`` end with the projection of all UDV layers of a model.

    "Update, then apply the constraints", as the paper's networks do; the optimizer's state is left as it is. Only
    LBFGS is made to forget its curvature after each ``step()``: it speaks of points before the projection, and steps
    that trust it run off to infinity.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Any of PyTorch's. It must own all factors. With LBFGS the projection comes once behind each ``step()``, which
        may hold several inner iterations.
    model : torch.nn.Module
        With at least one module that has parameters ``U``, ``D``, ``V`` and a method ``project_()``, at any depth;
        wrapped by ``DistributedDataParallel`` or ``torch.compile`` or not.

    Returns
    -------
    Projection
        Its ``remove()`` undoes it. A second ``attach`` on the same optimizer takes the place of the first.

    Raises
    ------
    InputError
        No such module; a factor that is frozen, not owned by the optimizer, sharded over devices, or no parameter (a
        parametrized one); a factor that is not real floating point, or that layers of different balls share.

    Notes
    -----
    PyTorch stores hooks neither in ``optimizer.state_dict()`` nor in copies of an optimizer: call `attach` again after
    loading or copying.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(UDVLinear(4, 2, hidden=3), torch.nn.ReLU())
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    >>> projection = attach(optimizer, model)
    >>> model(torch.ones(1, 4)).sum().backward()
    >>> optimizer.step()
    >>> feasible(model)
    True
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InputError(f"attach wants a torch.optim.Optimizer, then the model; got {type(optimizer).__name__} first")
    found = udv_modules(model)
    if not found:
        raise InputError("the model has no UDV layer (a module with U, D, V and project_()); nothing to attach")
    owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for name, module in found.items():
        for letter in "UDV":
            _check_factor(f"{name}.{letter}".lstrip("."), getattr(module, letter), owned)
    _check_shared(found)
    if optimizer in _attached:
        _attached[optimizer].remove()
    _attached[optimizer] = projection = Projection(optimizer, list(found.values()))
    return projection


def udv_modules(model):
    """The modules of a model that keep the protocol (``U``, ``D``, ``V``, ``project_()``), by their names in it.

    Examples
    --------
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
    shrinks = _project_all(ours)
    for module in others:
        module.project_()
    return shrinks


def feasible(model, tol=1e-6):
    r"""Whether all `UDVFactors` of a model are in their sets: norms at most :math:`R(1 + tol)`, D at least 0, no NaN.

    Examples
    --------
    >>> feasible(UDVLinear(40, 20, hidden=30))  # the start is outside
    False
    """
    modules = instance("model", model, nn.Module).modules()
    return all(_inside(module, tol) for module in modules if isinstance(module, UDVFactors))


def _plain(module):
    """Whether a module is projected by this file's method, and so together with others."""
    return getattr(type(module), "project_", None) is UDVFactors.project_


@torch.no_grad()
def _project_all(modules):
    """Project modules of this file, those with the same settings together; what their balls multiplied by."""
    groups, shrinks = defaultdict(list), []
    for module in modules:
        groups[module.ball, module.radius, module.U.device, module.U.dtype].append(module)
    for (ball, radius, *_), members in groups.items():
        factors = (matrix for module in members for matrix in (module.U, module.V))
        matrices = list({id(matrix): matrix for matrix in factors}.values())  # one that layers share: once
        if ball == "frobenius":
            shrinks.append(_shrink(torch.stack([_norm(matrix) for matrix in matrices]), radius))
            torch._foreach_mul_(matrices, list(shrinks[-1].to(matrices[0].dtype)))
        else:
            norms = [torch.linalg.vector_norm(matrix, dim=0, keepdim=True) for matrix in matrices]  # (1, hidden)
            torch._foreach_mul_(matrices, [_shrink(each, radius) for each in norms])
    diagonals = [module.D for module in modules if module.nonnegative]
    if diagonals:
        torch._foreach_clamp_min_(diagonals, 0.0)
    return shrinks


def _norm(matrix):
    """Frobenius norm, by rows first: a float32 sum over a million squares at once is off by 1e-5 and more."""
    wide = torch.promote_types(matrix.dtype, torch.float32)
    return torch.linalg.vector_norm(torch.linalg.vector_norm(matrix, dim=1, dtype=wide))


def _shrink(norms, radius):
    """What to multiply by: R over the norm where it is outside, else exactly 1; NaN, not 0, where it overflowed."""
    return (radius / norms).clamp(max=1.0).masked_fill(norms.isinf(), torch.nan)


def _inside(module, tol):
    U, D, V = (getattr(module, letter).detach().double() for letter in "UDV")
    dims = (0, 1) if module.ball == "frobenius" else 0
    norms = [torch.linalg.vector_norm(matrix, dim=dims) for matrix in (U, V)]
    inside = all(bool((norm <= module.radius * (1 + tol)).all()) for norm in norms)
    return inside and bool(D.isfinite().all()) and not (module.nonnegative and bool((D < 0).any()))


# Diagnostics ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Diagnosis:
    r"""The state of one UDV module; see `diagnose`.

    Attributes
    ----------
    hidden : int
        Neurons there are, m.
    contributions : array, shape (m,), descending
        :math:`|D_j|\,\|u_j\|\,\|v_j\|`, the norm of what neuron j adds to the map.
    alive : int
        Neurons that contribute more than ``tol`` times the largest.
    zeros : int
        Neurons that contribute exactly nothing.
    spectrum : array, descending
        Singular values of :math:`U\,\mathrm{diag}(D)`, which the paper shows.
    map_spectrum : array, descending
        Singular values of :math:`V\,\mathrm{diag}(D)\,U^\top`.
    pressure : tuple of two floats
        :math:`\|U\|/R` and :math:`\|V\|/R` in the norm of the ball (of the largest column): 1 where it is active.
    bottleneck : bool
        Whether so few neurons are alive that the map cannot have full rank: fewer than both inputs and outputs.
    """

    hidden: int
    contributions: np.ndarray = field(repr=False)
    alive: int
    zeros: int
    spectrum: np.ndarray = field(repr=False)
    map_spectrum: np.ndarray = field(repr=False)
    pressure: tuple
    bottleneck: bool

    @property
    def effective_rank(self):
        """Effective rank of ``spectrum``, by entropy."""
        return float(effective_rank(self.spectrum))


def diagnose(model, tol=1e-2):
    r"""Which neurons of each UDV module are alive, its spectra, and whether its balls are active.

    A neuron whose u and v are zero, or far below the others, hardly comes back: the balls only shrink it, and what it
    would learn is proportional to itself. With a radius or a learning rate that does not fit, too few are left:
    ``bottleneck`` says that the map has lost rank. That may be what the data want, or a collapse; compare the loss with
    that of a larger radius or a smaller learning rate.

    Parameters
    ----------
    model : torch.nn.Module
    tol : float, in (0, 1), default 1e-2
        What counts as alive, relative to the largest neuron.

    Returns
    -------
    dict of str to Diagnosis
        By the modules' names in the model.

    Raises
    ------
    InputError
        No UDV module in the model, a ``tol`` out of range, factors with NaN.

    Examples
    --------
    >>> import torch
    >>> layer = UDVLinear(20, 10, hidden=16, generator=torch.Generator().manual_seed(0)).project_()
    >>> found = diagnose(layer)[""]
    >>> found.zeros == int((layer.D == 0).sum()), found.alive < found.hidden
    (True, True)
    """
    if not positive_number("tol", tol) < 1:
        raise InputError(f"tol is a share of the largest neuron, between 0 and 1; got {tol!r}")
    found = {name: module for name, module in udv_modules(model).items() if isinstance(module, UDVFactors)}
    if not found:
        raise InputError("the model has no UDV layer (UDVLinear or another of UDVFactors); nothing to diagnose")
    return {name: _diagnosis(module, tol) for name, module in found.items()}


def _diagnosis(module, tol):
    U, D, V = (finite_array(letter, getattr(module, letter).double()) for letter in "UDV")
    contributions = np.sort(np.abs(D) * np.linalg.norm(U, axis=0) * np.linalg.norm(V, axis=0))[::-1]
    alive = int(np.sum(contributions > tol * contributions[0]))
    axis = None if module.ball == "frobenius" else 0
    return Diagnosis(
        hidden=module.hidden,
        contributions=contributions,
        alive=alive,
        zeros=int(np.sum(contributions == 0)),
        spectrum=np.linalg.svd(U * D, compute_uv=False),
        map_spectrum=np.linalg.svd((V * D) @ U.T, compute_uv=False),
        pressure=tuple(float(np.max(np.linalg.norm(matrix, axis=axis)) / module.radius) for matrix in (U, V)),
        bottleneck=alive < min(module.in_features, module.out_features),
    )


# Radius --------------------------------------------------------------------------------------------------------------


def radius_of(reference):
    r"""A radius for a map whose size is known: :math:`R = \|W\|_F^{1/3}`.

    Only :math:`\|W\|/R^3` matters for how strongly UDV prefers few neurons, as for UDU.
    With this radius it is 1. The rule is a conjecture of this project; the book's notebook on pruning tests it.

    Parameters
    ----------
    reference : array or tensor, shape (out, in), or a trained nn.Linear
        The map, for instance the product of the layers of a short plain run.

    Returns
    -------
    float

    Raises
    ------
    InputError
        A reference that is no finite real matrix, or is zero.

    Examples
    --------
    >>> import numpy as np
    >>> radius_of(np.diag([8.0, 0.0]))
    2.0
    """
    weight = reference.weight if isinstance(reference, nn.Linear) else reference
    size = float(np.linalg.norm(finite_array("reference", weight, ndim=2, real=True)))
    if not size:
        raise InputError("reference is a matrix that is not zero; give the map of a short run, not its start")
    return size ** (1 / 3)


def suggest_radius(inputs, targets, iterations=20):
    r"""A radius from the data: `radius_of` the plain linear map that a short run fits to them.

    The map is fitted by LBFGS from zero, by squared errors for real targets and by cross-entropy for classes. On
    separable classes its norm grows with the iterations, without end, and so does the radius, by the cube root.

    A conjecture, and a first guess only: in the book's notebook on pruning the radius has about the right size on house
    prices and on principal components of pictures, and is half of what is needed on features of pictures as they are.

    Parameters
    ----------
    inputs : tensor or array, shape (n, d)
        As the layer will see them.
    targets : tensor or array, shape (n,) or (n, c)
        Real numbers; or classes, integers of shape (n,) counted from zero.
    iterations : int, default 20

    Returns
    -------
    float

    Raises
    ------
    InputError
        Shapes that do not fit or are empty, complex numbers, NaN, negative classes, targets that are all zero.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    >>> round(suggest_radius(x, x @ torch.diag(torch.tensor([8.0, 0, 0, 0, 0]))), 2)
    2.0
    """
    iterations = whole_number("iterations", iterations, 1)
    x = torch.from_numpy(finite_array("inputs", inputs, ndim=2, real=True)).float()
    targets = numeric_array("targets", targets, real=True)
    classes = targets.dtype.kind != "f"
    y = torch.from_numpy(finite_array("targets", targets, ndim=1 if classes else None))
    if not x.numel() or not y.numel():
        raise InputError(f"inputs and targets are not empty; got shapes {tuple(x.shape)} and {tuple(y.shape)}")
    if y.shape[:1] != x.shape[:1] or y.ndim not in (1, 2) or (classes and bool((y < 0).any())):
        raise InputError(
            "targets are numbers of shape (n,) or (n, c), or classes from 0 of shape (n,), for inputs (n, d); "
            f"got {tuple(y.shape)} for {tuple(x.shape)}" + (f" and a smallest class of {y.min():g}" if classes else "")
        )
    y = y.long() if classes else y.float().reshape(len(y), -1)
    weight = torch.zeros(int(y.max()) + 1 if classes else y.shape[1], x.shape[1], requires_grad=True)  # (c, d)
    optimizer = torch.optim.LBFGS([weight], max_iter=iterations, line_search_fn="strong_wolfe")
    loss = F.cross_entropy if classes else F.mse_loss

    def evaluate():
        optimizer.zero_grad()
        value = loss(F.linear(x, weight), y)
        value.backward()
        return value

    optimizer.step(evaluate)
    return radius_of(weight)


# Conversion ----------------------------------------------------------------------------------------------------------


def convert(model, hidden, start="paper", skip=(), **settings):
    r"""Replace the linear layers of a model by UDV layers, in place.

    Only plain ``nn.Linear`` layers whose weight is trainable are replaced; biases (the parameters themselves), devices
    and dtypes are kept. Make the optimizer afterwards.

    Parameters
    ----------
    model : torch.nn.Module
        A single ``nn.Linear`` is returned as a new layer; anything else is changed and returned.
    hidden : int, or callable from (in, out) to int
        Neurons of each new layer.
    start : {"paper", "svd"}
        "paper" starts the new layers anew: what the old ones had learned is lost, and the bias towards few neurons is
        that of the paper. "svd" keeps the map, or its best approximation of rank ``hidden``, in factors on the balls;
        such a start is already ordered and large, and the bias towards few neurons was not studied from there.
    skip : str, or collection of str
        Names of layers to leave, as ``model.named_modules()`` gives them.
    **settings
        Of `UDVLinear`: ``radius``, ``nonnegative``, ``ball``, ``activation``, ``generator``.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    InputError
        Nothing to replace, a name in ``skip`` that is no linear layer, a weight shared with another layer, or "svd"
        with ``hidden`` above the rank there can be or with an activation.

    Examples
    --------
    >>> model = convert(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)), hidden=4, skip=["0"])
    >>> model[2]
    UDVLinear(6, 3, hidden=4, radius=1, nonnegative=True, ball='frobenius', bias=True)
    """
    if start not in STARTS:
        raise InputError(f"start is one of {', '.join(map(repr, STARTS))}; got {start!r}")
    places = list(instance("model", model, nn.Module).named_modules(remove_duplicate=False))
    linear = {name: module for name, module in places if type(module) is nn.Linear}
    skip = {skip} if isinstance(skip, str) else set(skip)
    if unknown := skip - linear.keys():
        raise InputError(f"skip names linear layers of the model; {', '.join(sorted(map(str, unknown)))} is none")
    chosen = {n: module for n, module in linear.items() if n not in skip and module.weight.requires_grad}
    if not chosen:
        raise InputError("the model has no trainable nn.Linear beside those to skip; nothing to convert")
    for name, module in chosen.items():
        if any(p is module.weight for _, other in places if other is not module for p in other._parameters.values()):
            raise InputError(f"the weight of {name} is shared with another layer; leave it with skip=[{name!r}]")
    new = {id(module): _converted(module, hidden, start, settings) for module in chosen.values()}
    if "" in chosen:
        return new[id(model)]
    for name, module in chosen.items():
        model.set_submodule(name, new[id(module)])
    return model


@torch.no_grad()
def _converted(linear, hidden, start, settings):
    d, c = linear.in_features, linear.out_features
    width = hidden(d, c) if callable(hidden) else hidden
    place = {"device": linear.weight.device, "dtype": linear.weight.dtype}
    layer = UDVLinear(d, c, width, bias=linear.bias is not None, **settings, **place)
    layer.bias = linear.bias
    if start == "svd":
        if width > min(d, c) or layer.activation is not None:
            raise InputError(
                f"start='svd' wants hidden of at most {min(d, c)} and no activation; got {width} and "
                f"{layer.activation!r}: use start='paper'"
            )
        P, S, Qh = torch.linalg.svd(linear.weight.double(), full_matrices=False)
        share = S[:width] ** (1 / 3)
        size = layer.radius / (share.norm() if layer.ball == "frobenius" else share[0]).clamp_min(1e-300)
        layer.U.copy_(Qh[:width].T * share * size)
        layer.V.copy_(P[:, :width] * share * size)
        layer.D.copy_(share / size**2)
    return layer.train(linear.training)


# An experiment -------------------------------------------------------------------------------------------------------


class _Retraction(nn.Module):
    def __init__(self, radius, dim):
        super().__init__()
        self.radius, self.dim = radius, dim

    def forward(self, matrix):
        norms = torch.linalg.vector_norm(matrix, dim=self.dim, keepdim=True)
        return matrix / (norms / self.radius).clamp(min=1.0)


class _Magnitude(nn.Module):
    def forward(self, numbers):
        return numbers.abs()


def retraction_experiment(layer):
    r"""An experiment, not the paper's method: keep the set by the formula instead of by projection.

    U and V are computed as :math:`W/\max(1, \|W\|/R)` from free parameters, D as :math:`|\cdot|`, and gradients pass
    through. The optimizer then sees another landscape: what it ends at differs from the projected method.

    Parameters
    ----------
    layer : UDVLinear
        Changed in place (by ``torch.nn.utils.parametrize``).

    Returns
    -------
    UDVLinear
        It is feasible at all times; `attach` refuses it, as there is nothing to project.

    Examples
    --------
    >>> feasible(retraction_experiment(UDVLinear(40, 20, hidden=30)))
    True
    """
    if not isinstance(layer, UDVFactors) or parametrize.is_parametrized(layer):
        raise InputError(f"a plain UDV layer was wanted; got {type(layer).__name__}")
    dim = (0, 1) if layer.ball == "frobenius" else 0
    for letter in "UV":
        parametrize.register_parametrization(layer, letter, _Retraction(layer.radius, dim))
    if layer.nonnegative:
        parametrize.register_parametrization(layer, "D", _Magnitude())
    return layer


# Checks --------------------------------------------------------------------------------------------------------------


def _real_dtype(dtype):
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise InputError(f"dtype is a real floating-point torch dtype, such as torch.float32; got {dtype!r}")
    return dtype


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


def _check_factor(name, factor, owned):
    if not isinstance(factor, nn.Parameter):
        raise InputError(f"{name} is no parameter of its module (parametrized?); only a plain factor can be projected")
    if not factor.is_floating_point():
        raise InputError(f"{name} is real floating point; got {factor.dtype}")
    if hasattr(factor, "device_mesh"):
        raise InputError(f"{name} is sharded over devices: its norm is not known here; use DistributedDataParallel")
    if not factor.requires_grad:
        raise InputError(f"{name} is frozen; the projection would change it: call requires_grad_(True) on all factors")
    if id(factor) not in owned:
        raise InputError(
            f"the optimizer does not own {name}; make it from model.parameters() after all layers are in place"
        )
