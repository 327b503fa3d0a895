"""Linear layers of a model, replaced by UDV layers."""

import torch
from torch import nn

from udulib.checks import instance
from udulib.errors import InputError
from udulib.nn.hosts import refuse_saving, unfuse
from udulib.nn.layer import UDVLinear

STARTS = ("paper", "svd")
SAVING = (
    "Save model.state_dict(), and load it into a model converted alike; or put what udulib.compress.compress gives in "
    "the place of the UDV layers, and save that"
)


def convert(model, hidden, start="paper", skip=(), **settings):
    r"""Replace the linear layers of a model by UDV layers, in place.

    Only plain ``nn.Linear`` layers whose weight is trainable are replaced; biases (the parameters themselves), devices
    and dtypes are kept. Make the optimizer afterwards. While it has UDV layers, ``save_pretrained`` of a transformers
    model refuses: what it would write is read back as random weights.

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
    if any(layer.activation is not None for layer in new.values()):
        unfuse(model, UDVLinear)  # such a layer has no weight to read
    refuse_saving(model, UDVLinear, SAVING)
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
