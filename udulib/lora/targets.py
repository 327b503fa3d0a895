"""Which layers of a model are meant, and where they hang."""

import difflib
import fnmatch
from collections import Counter
from collections.abc import Iterable

import torch
from torch import nn

from udulib.errors import InputError
from udulib.lora.layers import AdaptedLinear

ALL = "all-linear"
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def find_targets(model, targets):
    """The full names of the layers that ``targets`` mean."""
    places = _places(model)
    names = [targets] if isinstance(targets, str) or not isinstance(targets, Iterable) else list(targets)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"targets are names of layers, or their ends; got {targets!r}")
    found = {}
    for target in names:
        fits = _fitting(target, places)
        if not fits:
            linear = (place for place, module in places.items() if isinstance(module, nn.Linear | AdaptedLinear))
            ends = sorted({place.rpartition(".")[2] for place in linear})
            near = difflib.get_close_matches(target, [*places, *ends], n=3)
            hint = f"; near it are {', '.join(near)}" if near else ""
            raise InputError(
                f"no layer is called {target!r}{hint}. The linear layers end in {', '.join(ends) or 'none'}"
            )
        found |= dict.fromkeys(fits)
    return list(found)


def unwrapped(model):
    """The model itself, without what torch.compile and data parallelism put around it."""
    while isinstance(model, WRAPPERS) or hasattr(model, "_orig_mod"):
        model = model.module if isinstance(model, WRAPPERS) else model._orig_mod
    return model


def modules_of(model):
    """All modules of a model by their names in it, without wrappers around it."""
    if not isinstance(model, nn.Module):
        raise InputError(f"a torch.nn.Module was wanted; got {type(model).__name__}")
    return dict(unwrapped(model).named_modules())


def _fitting(target, places):
    """The layers that a target names: one, those of an end, those of a pattern, or all linear ones."""
    if target in places:
        return [target]
    linear = [place for place, module in places.items() if isinstance(module, nn.Linear | AdaptedLinear)]
    if target == ALL:
        return linear
    if set(target) & set("*?["):
        return [place for place in linear if fnmatch.fnmatchcase(place, target)]
    return [place for place in places if place.endswith(f".{target}")]


def _places(model):
    """The parts of a model by their names, without what is inside adapted layers."""
    modules = modules_of(model)
    inside = tuple(f"{name}.".lstrip(".") for name, module in modules.items() if isinstance(module, AdaptedLinear))
    return {name: module for name, module in modules.items() if name and not name.startswith(inside)}


def put_module(model, layer, module):
    """Hang a module where a layer was."""
    parent, _, last = layer.rpartition(".")
    setattr(unwrapped(model).get_submodule(parent), last, module)


def probe(layer):
    """One number that tells bases apart, also after a change of precision: the weight seen from a fixed direction."""
    W = layer.base.weight if isinstance(layer, AdaptedLinear) else layer.weight
    if isinstance(layer, AdaptedLinear) and layer.original is not None:
        W = layer.original
    W = W.detach().cpu().double()
    fixed = torch.cos(torch.arange(W.numel(), dtype=torch.float64)).reshape(W.shape)
    return float((W * fixed).sum() / torch.linalg.vector_norm(W).clamp(min=1e-300))


def check_name(name):
    if not isinstance(name, str) or not name or "." in name:
        raise InputError(f"an adapter's name is a word without dots; got {name!r}")
    if hasattr(nn.ModuleDict(), name):
        raise InputError(f"an adapter's name is none of a ModuleDict's own; {name!r} is one: give it another")


def checked_layer(model, layer, rank, name):
    """The linear layer of this name, if an adapter of this rank and name can go there."""
    linear = unwrapped(model).get_submodule(layer)
    if isinstance(linear, AdaptedLinear):
        if name in linear.adapters:
            raise InputError(f"{layer} has an adapter {name!r} already; give this one another name, or remove that one")
        if linear.merged:
            raise InputError(f"{', '.join(linear.merged)} is merged into {layer}: unmerge or remove it first")
        base = linear.base
    elif isinstance(linear, nn.Linear):
        base = linear
    else:
        raise InputError(f"targets are nn.Linear layers; {layer} is a {type(linear).__name__}")
    if not base.weight.is_floating_point() or base.weight.ndim != 2:
        raise InputError(
            f"{layer} has weights of {base.weight.dtype} and shape {tuple(base.weight.shape)}, quantised perhaps; load "
            "the model in a floating-point type such as torch.float16"
        )
    if rank > min(base.in_features, base.out_features):
        raise InputError(
            f"rank is at most the smaller side of each layer; got {rank}, and {layer} is "
            f"{base.out_features} x {base.in_features}"
        )
    if Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))[id(base.weight)] > 1:
        raise InputError(
            f"the weight of {layer} is shared with another layer, which would be changed too; leave it out"
        )
    return linear
