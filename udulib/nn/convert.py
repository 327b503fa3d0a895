"""Layers of a model, replaced by UDV layers."""

from functools import partial

import torch
from torch import nn

from udulib.checks import instance
from udulib.errors import InputError
from udulib.nn.attention import UDVAttention, factor, factored
from udulib.nn.conv import UDVConv2d
from udulib.nn.hosts import refuse_saving, unfuse
from udulib.nn.layer import UDVLinear

KINDS = (nn.Linear, nn.Conv2d, nn.MultiheadAttention)
STARTS = ("paper", "svd")
SAVING = (
    "Save model.state_dict(), and load it into a model converted alike; or put what udulib.compress.compress gives in "
    "the place of the UDV layers, and save that"
)


def convert(model, hidden, start="paper", skip=(), kinds=nn.Linear, **settings):
    r"""Replace the linear layers of a model by UDV layers, in place; its convolutions and attentions on demand.

    Only plain layers whose weight is trainable are replaced; biases (the parameters themselves), devices
    and dtypes are kept. Make the optimizer afterwards. While it has UDV layers, ``save_pretrained`` of a transformers
    model refuses: what it would write is read back as random weights.

    Parameters
    ----------
    model : torch.nn.Module
        A single ``nn.Linear`` is returned as a new layer; anything else is changed and returned.
    hidden : int, or callable from (in, out) to int
        Neurons of each new layer; of a convolution, for each group of channels. The callable is given the sides of
        the matrix there: for a convolution in/groups · height · width, and out/groups.
    start : {"paper", "svd"}
        "paper" starts the new layers anew: what the old ones had learned is lost, and the bias towards few neurons is
        that of the paper. "svd" keeps the map, or its best approximation of rank ``hidden``, in factors on the balls;
        such a start is already ordered and large, and the bias towards few neurons was not studied from there.
    skip : str, or collection of str
        Names of layers to leave, as ``model.named_modules()`` gives them.
    kinds : class, or collection of classes, default ``nn.Linear``
        Of ``nn.Linear``, ``nn.Conv2d`` and ``nn.MultiheadAttention`` those to replace. Attention reads the weights of
        its projections: with UDV inside it trains as UDV does and costs what it cost.
    **settings
        Of `UDVLinear` (or `UDVConv2d`): ``radius``, ``nonnegative``, ``ball``, ``activation``, ``generator``.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    InputError
        Nothing to replace, a name in ``skip`` that is no such layer, a weight shared with another layer, "svd"
        with ``hidden`` above the rank there can be or with an activation, or an activation where there is none.

    Examples
    --------
    >>> model = convert(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)), hidden=4, skip=["0"])
    >>> model[2]
    UDVLinear(6, 3, hidden=4, radius=1, nonnegative=True, ball='frobenius', bias=True)
    """
    if start not in STARTS:
        raise InputError(f"start is one of {', '.join(map(repr, STARTS))}; got {start!r}")
    kinds = _checked_kinds(kinds)
    places = list(instance("model", model, nn.Module).named_modules(remove_duplicate=False))
    found = {name: module for name, module in places if type(module) in kinds}
    skip = {skip} if isinstance(skip, str) else set(skip)
    words = ", ".join(f"nn.{kind.__name__}" for kind in kinds)
    if unknown := skip - found.keys():
        raise InputError(f"skip names layers of the model ({words}); {', '.join(sorted(map(str, unknown)))} is none")
    chosen = {n: m for n, m in found.items() if n not in skip and all(w.requires_grad for w in _weights(m))}
    if not chosen:
        raise InputError(f"the model has no trainable {words} beside those to skip; nothing to convert (see kinds)")
    _check_shared(chosen, places)
    make = partial(_converted, hidden=hidden, start=start, settings=settings)
    if settings.get("activation") is not None and nn.MultiheadAttention in kinds:
        raise InputError("attention reads the weights of its projections; they can have no activation")
    attentions = {id(m): m for m in chosen.values() if isinstance(m, nn.MultiheadAttention)}
    new = {id(m): make(m) for m in chosen.values() if id(m) not in attentions}  # all, before any is put in its place
    inner = {key: factored(attention, make) for key, attention in attentions.items()}
    for key, layers in inner.items():
        factor(attentions[key], layers)
    if "" in chosen:
        return new.get(id(model), model)
    for name, module in chosen.items():
        if id(module) in new:
            model.set_submodule(name, new[id(module)])
    if settings.get("activation") is not None:
        unfuse(model, UDVLinear)  # such a layer has no weight to read
    unfuse(model, UDVAttention)
    refuse_saving(model, (UDVLinear, UDVConv2d), SAVING)
    return model


@torch.no_grad()
def _converted(plain, hidden, start, settings):
    """A UDV layer in the place of a plain one, which is one matrix for each group of channels."""
    groups = getattr(plain, "groups", 1)
    matrices = plain.weight.detach().flatten(1).unflatten(0, (groups, -1))  # (g, c, d)
    _, c, d = matrices.shape
    width = hidden(d, c) if callable(hidden) else hidden
    layer = _new(plain, width, settings)
    layer.bias = plain.bias
    if start == "svd":
        if width > min(d, c) or getattr(layer, "activation", None) is not None:
            raise InputError(
                f"start='svd' wants hidden of at most {min(d, c)} and no activation; got {width} and "
                f"{settings.get('activation')!r}: use start='paper'"
            )
        P, S, Qh = torch.linalg.svd(matrices.double(), full_matrices=False)
        share = S[:, :width] ** (1 / 3)  # (g, m)
        size = layer.radius / (share.norm() if layer.ball == "frobenius" else share.max()).clamp_min(1e-300)
        U, V = Qh[:, :width].mT * share[:, None], P[..., :width] * share[:, None]  # (g, d, m), (g, c, m)
        layer.U.copy_(U.transpose(0, 1).flatten(1) * size)
        layer.V.copy_(V.transpose(0, 1).flatten(1) * size)
        layer.D.copy_(share.flatten() / size**2)
    return layer.train(plain.training)


def _new(plain, width, settings):
    more = {"bias": plain.bias is not None, "device": plain.weight.device, "dtype": plain.weight.dtype} | settings
    if isinstance(plain, nn.Linear):
        return UDVLinear(plain.in_features, plain.out_features, width, **more)
    if more.pop("activation", None) is not None:
        raise InputError("a UDV convolution has no activation; leave it out, or convert linear layers only")
    geometry = ("stride", "padding", "dilation", "groups", "padding_mode")
    more |= {name: getattr(plain, name) for name in geometry}
    return UDVConv2d(plain.in_channels, plain.out_channels, plain.kernel_size, width, **more)


def _weights(module):
    """The matrices of a layer, without its biases."""
    return [parameter for parameter in module.parameters() if parameter.ndim > 1]


def _check_shared(chosen, places):
    for name, module in chosen.items():
        own = {id(weight) for weight in _weights(module)}
        parts = {id(part) for part in module.modules()}
        if any(id(p) in own for _, other in places if id(other) not in parts for p in other._parameters.values()):
            raise InputError(f"the weight of {name} is shared with another layer; leave it with skip=[{name!r}]")


def _checked_kinds(kinds):
    kinds = (kinds,) if isinstance(kinds, type) else tuple(kinds)
    if not kinds or not set(kinds) <= set(KINDS):
        raise InputError(f"kinds are of nn.Linear, nn.Conv2d and nn.MultiheadAttention; got {kinds!r}")
    return kinds
