"""A linear layer with adapters beside it."""

import math
from numbers import Real

import torch
from torch import nn
from torch.nn import functional as F

from udulib.checks import whole_number
from udulib.errors import InputError
from udulib.nn import UDVFactors, notice_steps

INIT_STD = 1e-2  # of the entries of U at the start, as in the paper's code


class Change:
    """What both kinds of adapter do with their factors."""

    def forward(self, x):
        """The change of the output, for x of shape (\\*, in), in the precision of x."""
        wide = x.to(torch.promote_types(x.dtype, self.V.dtype))
        return F.linear(wide @ self.V.to(wide.dtype), (self.U * (self.scaling * self.D)).to(wide.dtype)).to(x.dtype)

    def delta(self):
        """The change of the weight, (out, in)."""
        return (self.U * (self.scaling * self.D)) @ self.V.T

    def fill_(self, U, D, V):
        """Put in other factors, of the same or another rank."""
        with torch.no_grad():
            for letter, factor in (("U", U), ("D", D), ("V", V)):
                old = getattr(self, letter)
                old.data = factor.detach().to(old.device, old.dtype).clone()
                old.grad = None
        self.hidden = self.rank  # what `udulib.nn` calls it
        return self

    @property
    def rank(self):
        return len(self.D)

    def extra_repr(self):
        radius = "" if self.radius is None else f", radius={self.radius:g}"
        return f"rank={self.rank}{radius}, scaling={self.scaling:g}"


class UDVAdapter(Change, UDVFactors):
    """The factors of one layer: ``U`` (out, r), ``D`` (r,), ``V`` (in, r), with ``project_()``. `add` makes it."""

    def __init__(self, layer, rank, radius, scaling):
        super().__init__(layer.out_features, layer.in_features, rank, radius, **kind_of(layer))  # U has a row an output
        self.scaling = float(scaling)

    def forward(self, x):
        notice_steps(self)
        return super().forward(x)

    def delta(self):
        notice_steps(self)
        return super().delta()


class PlainAdapter(Change, nn.Module):
    """Ordinary LoRA in the same letters: no balls, and ``D`` is held at one. `add` makes it for ``radius=None``."""

    radius = None

    def __init__(self, layer, rank, scaling):
        super().__init__()
        self.U = nn.Parameter(torch.empty(layer.out_features, rank, **kind_of(layer)))  # (out, r)
        self.register_buffer("D", torch.empty(rank, **kind_of(layer)))  # (r,)
        self.V = nn.Parameter(torch.empty(layer.in_features, rank, **kind_of(layer)))  # (in, r)
        self.scaling = float(scaling)


class AdaptedLinear(nn.Module):
    """A linear layer with adapters, in the place of the layer. `add` makes it.

    Attributes
    ----------
    base : torch.nn.Linear
        The layer itself; while adapters are merged its weight holds their changes.
    adapters : torch.nn.ModuleDict
        By name.
    active : None or tuple of str
        The adapters that count; None means all of them. See `activate`.
    merged : tuple of str
    """

    def __init__(self, base):
        super().__init__()
        self.base = base
        self.adapters = nn.ModuleDict()
        self.active, self.merged = None, ()
        self.register_buffer("original", None, persistent=False)  # the weight without its adapters, while merged
        self.train(base.training)

    def forward(self, x):
        y = self.base(x)
        for adapter in self._beside():
            y = y + adapter(x).to(y.dtype)
        return y

    @property
    def weight(self):
        """The adapted weight, (out, in): for modules that read it themselves, as ``nn.MultiheadAttention`` does."""
        weight = self.base.weight
        return (
            weight + sum(adapter.delta() for adapter in self._beside()).to(weight.dtype) if self._beside() else weight
        )

    @property
    def bias(self):
        return self.base.bias

    @property
    def in_features(self):
        return self.base.in_features

    @property
    def out_features(self):
        return self.base.out_features

    def _beside(self):
        """The adapters that count and are not in the weight already."""
        counted = self.adapters if self.active is None else self.active
        return [adapter for name, adapter in self.adapters.items() if name in counted and name not in self.merged]

    @torch.no_grad()
    def set_merged(self, names):
        """Have the changes of just these adapters in the base's weight."""
        original = self.base.weight.clone() if self.original is None else self.original
        wide = torch.promote_types(original.dtype, torch.float32)
        changes = (self.adapters[name].delta().to(wide) for name in names)
        self.base.weight.copy_(sum(changes, original.to(wide)))
        self.merged, self.original = tuple(names), original if names else None

    def _save_to_state_dict(self, destination, prefix, *rest):
        self._refuse_merged(prefix)
        super()._save_to_state_dict(destination, prefix, *rest)

    def _load_from_state_dict(self, state_dict, prefix, *rest):
        self._refuse_merged(prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _refuse_merged(self, prefix):
        """A state dict does not say whether the weights hold the changes."""
        if self.merged:
            raise InputError(
                f"a state dict keeps adapters beside the weights; {', '.join(map(repr, self.merged))} is merged into "
                f"{prefix.rstrip('.') or 'the layer'}: unmerge or remove it first"
            )


def kind_of(layer):
    """Device and dtype of the factors: of at least float32, since half a precision loses the small steps of D."""
    return {"device": layer.weight.device, "dtype": torch.promote_types(layer.weight.dtype, torch.float32)}


def new_adapter(layer, rank, radius, scaling):
    return PlainAdapter(layer, rank, scaling) if radius is None else UDVAdapter(layer, rank, radius, scaling)


def factors_of(adapter):
    return tuple(getattr(adapter, letter).detach() for letter in "UDV")


def check_settings(rank, radius, scaling):
    """Refuse a rank, a radius or a scaling that no adapter can have."""
    whole_number("rank", rank, 1)
    for name, value in (("radius", radius), ("scaling", scaling)):
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < math.inf:
            raise InputError(f"{name} is a number above zero; got {value!r}")
