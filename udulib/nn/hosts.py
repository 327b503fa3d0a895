"""Modules around a layer that do not call it, but read its weight, or write it to files of their own."""

from functools import partial

from torch import nn

from udulib.errors import InputError
from udulib.nn.attention import PROJECTIONS, UDVAttention


def read_layers(model):
    """The linear layers whose parents read their weights instead of calling them, by name, with when they do so.

    ``nn.MultiheadAttention`` reads its output projection always; ``nn.TransformerEncoderLayer`` hands the weights of
    its linear layers to a fused routine where it is in eval mode and no gradient is wanted.

    Examples
    --------
    >>> list(read_layers(nn.Sequential(nn.MultiheadAttention(8, 2))))
    ['0.out_proj']
    """
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            parts = ("out_proj", *(PROJECTIONS if isinstance(module, UDVAttention) else ()))
            found |= {f"{name}.{part}".lstrip("."): "always" for part in parts}
        elif isinstance(module, nn.TransformerEncoderLayer):
            found |= {f"{name}.{part}".lstrip("."): "in eval mode" for part in ("linear1", "linear2")}
    return found


def unfuse(model, kinds):
    """Have encoder layers call their parts always, where these are of the given classes."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer) and _holds(module, kinds):
            module.activation_relu_or_gelu = 0  # which PyTorch reads as: no fused routine knows this activation
        elif isinstance(module, nn.TransformerEncoder) and any(_holds(layer, kinds) for layer in module.layers):
            module.use_nested_tensor = False


def refuse_saving(model, kinds, advice):
    """Have transformers' ``save_pretrained`` refuse while a part is of the given classes, which it could not read back.

    Examples
    --------
    >>> refuse_saving(nn.Linear(2, 1), nn.Linear, "save the state dict")  # nothing here has save_pretrained
    """
    for module in model.modules():
        if hasattr(type(module), "save_pretrained"):
            module.save_pretrained = partial(_save, module, kinds, advice)


def _holds(layer, kinds):
    return any(isinstance(part, kinds) for part in (layer.linear1, layer.linear2, layer.self_attn))


def _save(module, kinds, advice, *arguments, **settings):
    if any(isinstance(part, kinds) for part in module.modules()):
        raise InputError(
            "save_pretrained would write parts of this model under names that from_pretrained replaces by random "
            f"weights. {advice}"
        )
    return type(module).save_pretrained(module, *arguments, **settings)
