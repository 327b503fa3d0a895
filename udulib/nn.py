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

import weakref
from collections import defaultdict

import torch
from torch import nn
from torch.nn import functional as F

from udulib.errors import InputError
from udulib.inputs import positive_array, whole_number

__all__ = ["VARIANTS", "Projection", "UDVFactors", "UDVLinear", "attach", "feasible", "project_", "udv_modules"]

BALLS = ("frobenius", "columns")
ACTIVATIONS = (None, "relu")

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
        self.radius = _radius(radius)
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


class Projection:
    """What `attach` returns: the projection behind every step of one optimizer. ``remove()`` takes it away again."""

    def __init__(self, optimizer, modules):
        self.modules = modules
        self._handle = optimizer.register_step_post_hook(self._after_step)

    def _after_step(self, optimizer, *_):
        project_(self.modules)
        if isinstance(optimizer, torch.optim.LBFGS):
            optimizer.state.clear()

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
        parametrized one); a factor that is not real floating point.

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
    if not isinstance(model, nn.Module):
        raise InputError(f"a torch.nn.Module was wanted; got {type(model).__name__}")
    return {
        name: module
        for name, module in model.named_modules()
        if callable(getattr(module, "project_", None)) and all(hasattr(module, letter) for letter in "UDV")
    }


def project_(model):
    """Put the factors of all UDV layers back into their sets, in place; the explicit form of `attach`.

    Parameters
    ----------
    model : torch.nn.Module, or an iterable of UDV modules

    Examples
    --------
    >>> layer = UDVLinear(40, 20, hidden=30)
    >>> feasible(layer)
    False
    >>> project_(layer)
    >>> feasible(layer)
    True
    """
    modules = udv_modules(model).values() if isinstance(model, nn.Module) else model
    ours, others = [], []
    for module in modules:
        (ours if _plain(module) else others).append(module)
    _project_all(ours)
    for module in others:
        module.project_()


def feasible(model, tol=1e-6):
    r"""Whether all `UDVFactors` of a model are in their sets: norms at most :math:`R(1 + tol)`, D at least 0, no NaN.

    Examples
    --------
    >>> feasible(UDVLinear(40, 20, hidden=30))  # the start is outside
    False
    """
    return all(_inside(module, tol) for module in model.modules() if isinstance(module, UDVFactors))


def _plain(module):
    """Whether a module is projected by this file's method, and so together with others."""
    return getattr(type(module), "project_", None) is UDVFactors.project_


@torch.no_grad()
def _project_all(modules):
    """Project modules of this file, those with the same settings together."""
    groups = defaultdict(list)
    for module in modules:
        groups[module.ball, module.radius, module.U.device, module.U.dtype].append(module)
    for (ball, radius, *_), members in groups.items():
        matrices = [matrix for module in members for matrix in (module.U, module.V)]
        if ball == "frobenius":
            norms = torch.stack([_norm(matrix) for matrix in matrices])
            torch._foreach_mul_(matrices, list(_shrink(norms, radius).to(matrices[0].dtype)))
        else:
            norms = [torch.linalg.vector_norm(matrix, dim=0, keepdim=True) for matrix in matrices]  # (1, hidden)
            torch._foreach_mul_(matrices, [_shrink(each, radius) for each in norms])
    diagonals = [module.D for module in modules if module.nonnegative]
    if diagonals:
        torch._foreach_clamp_min_(diagonals, 0.0)


def _norm(matrix):
    """Frobenius norm, by rows first: a float32 sum over a million squares at once is off by 1e-5 and more."""
    wide = torch.promote_types(matrix.dtype, torch.float32)
    return torch.linalg.vector_norm(torch.linalg.vector_norm(matrix, dim=1, dtype=wide))


def _shrink(norms, radius):
    """What to multiply by: R over the norm where it is outside, else exactly 1."""
    return (radius / norms).clamp(max=1.0)


def _inside(module, tol):
    U, D, V = (getattr(module, letter).detach().double() for letter in "UDV")
    dims = (0, 1) if module.ball == "frobenius" else 0
    norms = [torch.linalg.vector_norm(matrix, dim=dims) for matrix in (U, V)]
    inside = all(bool((norm <= module.radius * (1 + tol)).all()) for norm in norms)
    return inside and bool(D.isfinite().all()) and not (module.nonnegative and bool((D < 0).any()))


# Checks --------------------------------------------------------------------------------------------------------------


def _radius(radius):
    value = positive_array("radius", radius)
    if value.ndim:
        raise InputError(f"radius is one number above zero; got an array of shape {value.shape}")
    return float(value)


def _real_dtype(dtype):
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise InputError(f"dtype is a real floating-point torch dtype, such as torch.float32; got {dtype!r}")
    return dtype


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
