"""UDV projections inside ``nn.MultiheadAttention``, which reads the weights of its projections and calls none."""

import torch
from torch import nn

PROJECTIONS = ("q_proj", "k_proj", "v_proj")


class UDVAttention(nn.MultiheadAttention):
    """Attention whose three input projections are layers, read through their ``weight``; `convert` makes it.

    As before it computes with whole matrices: UDV changes how it is trained, and what rank its weights have, not what
    it costs.
    """

    q_proj_weight = property(lambda self: self.q_proj.weight)
    k_proj_weight = property(lambda self: self.k_proj.weight)
    v_proj_weight = property(lambda self: self.v_proj.weight)


def factored(attention, make):
    """What ``make`` makes of the projections of an attention, given plain layers of the same weights; by name."""
    if attention._qkv_same_embed_dim:
        weights = attention.in_proj_weight.detach().chunk(3)
    else:
        weights = [getattr(attention, f"{name}_weight").detach() for name in PROJECTIONS]
    layers = {name: make(_layer(weight, attention)) for name, weight in zip(PROJECTIONS, weights, strict=True)}
    return layers | {"out_proj": make(attention.out_proj)}


def factor(attention, layers):
    """Put such projections into an attention, in the place of its weights."""
    for name in ("in_proj_weight", *(f"{name}_weight" for name in PROJECTIONS)):
        attention.register_parameter(name, None)
    attention._qkv_same_embed_dim = False  # PyTorch then asks for the three weights, and fuses nothing
    attention.__class__ = UDVAttention
    for name, layer in layers.items():
        setattr(attention, name, layer)


def unfactor(attention):
    """Make a plain ``nn.MultiheadAttention`` of one whose projections are plain layers by now, in place."""
    weights = {f"{name}_weight": getattr(attention, name).weight for name in PROJECTIONS}
    for name in PROJECTIONS:
        delattr(attention, name)
    attention.__class__ = nn.MultiheadAttention
    attention._qkv_same_embed_dim = attention.kdim == attention.vdim == attention.embed_dim
    if attention._qkv_same_embed_dim:
        whole = torch.cat([weight.detach() for weight in weights.values()])
        weights = {"in_proj_weight": nn.Parameter(whole)}
    for name, weight in weights.items():
        attention.register_parameter(name, weight)


def _layer(weight, attention):
    layer = nn.Linear(*reversed(weight.shape), bias=False, device=weight.device, dtype=weight.dtype)
    layer.weight = nn.Parameter(weight.clone())
    return layer.train(attention.training)
