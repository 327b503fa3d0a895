"""Adapters in files: our own format, and ordinary LoRA for other libraries."""

import json
import re
import warnings
from pathlib import Path

import torch

from udulib.checks import whole_number
from udulib.errors import InputError
from udulib.files import replacing
from udulib.lora.adapt import adapted_layers, adapters_of, freeze, guard, place
from udulib.lora.cuts import cut_factors
from udulib.lora.layers import AdaptedLinear, check_settings, factors_of, new_adapter
from udulib.lora.targets import check_name, checked_layer, find_targets, probe, unwrapped
from udulib.nn.hosts import read_layers

FORMAT = "udulib-udv-adapter-1"
BESIDE = "beside the adapters: "  # before the names of what else was trained
TAKEN = ("adapter_model.safetensors", "model.safetensors")  # names that other libraries look for


def save(model, file, name="default"):
    """Write an adapter's factors and settings to a safetensors file, for `load`.

    What else the model trains beside its adapters, such as a head, is written too, and `load` puts it back. Buffers,
    such as running means, are not.

    Other libraries cannot take the file for one of theirs: for them, use `export`.

    Parameters
    ----------
    model : torch.nn.Module
    file : path
        Ends in ``.safetensors``.
    name : str, default "default"

    Raises
    ------
    InputError
        No such adapter, or a name of a file that other libraries would open as their own.

    Examples
    --------
    >>> from torch import nn
    >>> from udulib.lora import add
    >>> import copy, tempfile
    >>> model = nn.Sequential(nn.Linear(8, 6))
    >>> base = copy.deepcopy(model)
    >>> _ = add(model, ["0"], rank=4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(model, f"{folder}/mine.safetensors")
    ...     load(base, f"{folder}/mine.safetensors")
    ('0',)
    """
    from safetensors.torch import save_file

    file = Path(file)
    if file.suffix != ".safetensors" or file.name in TAKEN:
        raise InputError(f"a file name that ends in .safetensors, other than {', '.join(TAKEN)}, is wanted; got {file}")
    tensors, said = {}, {}
    for layer, adapted in adapted_layers(model, name).items():
        adapter = adapted.adapters[name]
        tensors |= {f"{layer}.{letter}": _plain(f) for letter, f in zip("UDV", factors_of(adapter), strict=True)}
        said[layer] = {"radius": adapter.radius, "scaling": adapter.scaling, "base": probe(adapted)}
    tensors |= {BESIDE + place: _plain(parameter) for place, parameter in trained_beside(model).items()}
    with replacing(file) as draft:
        save_file(tensors, draft, {"format": FORMAT, "layers": json.dumps(said)})


def load(model, file, name="default"):
    """Put an adapter that `save` wrote on a model, in place, and what was trained beside it.

    Parameters
    ----------
    model : torch.nn.Module
        The same base, in any floating-point type.
    file : path
    name : str, default "default"
        The name it gets here.

    Returns
    -------
    tuple of str
        The full names of the adapted layers.

    Raises
    ------
    InputError
        Not a file of `save`; a model without these layers or with layers of other sizes; weights that are not those of
        the base the adapter was trained on; or an adapter of this name that is there already.

    Examples
    --------
    See `save`.
    """
    layers_said, factors, beside = _read(file)
    check_name(name)
    there = dict(unwrapped(model).named_parameters())
    for place_of, tensor in beside.items():
        if place_of not in there or there[place_of].shape != tensor.shape:
            raise InputError(
                f"{place_of}, of shape {tuple(tensor.shape)}, was trained beside the adapter; the model has "
                + (f"{tuple(there[place_of].shape)} there" if place_of in there else "no such parameter")
            )
    layers = {}
    for layer, said in layers_said.items():
        U, D, V = factors[layer]
        if (found := find_targets(model, [layer])) != [layer]:
            raise InputError(
                f"{layer!r} is wanted under its whole name; here it is the end of {', '.join(found)}: give the part of "
                "the model that the adapter was saved from"
            )
        linear = layers[layer] = checked_layer(model, layer, len(D), name)
        if (len(U), len(V)) != (linear.out_features, linear.in_features):
            raise InputError(
                f"{layer} was {len(U)} x {len(V)}; here it is {linear.out_features} x {linear.in_features}"
            )
        if abs(probe(linear) - said["base"]) > 1e-2:
            raise InputError(
                f"the base of the adapter is wanted, unmerged; the weight of {layer} is not the one it was trained on"
            )
    for layer, said in layers_said.items():
        adapter = new_adapter(layers[layer], len(factors[layer][1]), said["radius"], said["scaling"]).fill_(
            *factors[layer]
        )
        place(model, layer, layers[layer], name, adapter)
    freeze(model)
    for place_of, tensor in beside.items():
        there[place_of].data.copy_(tensor)
        there[place_of].requires_grad_(True)
    guard(model)
    return tuple(layers)


def _read(file):
    """What a file of `save` says of each layer, the layers' factors, and what was trained beside them."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise InputError(f"a file written by lora.save was wanted; {file} cannot be read: {error}") from None
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"a file written by lora.save was wanted ({FORMAT}); {file} says {metadata.get('format')!r}. "
            "An ordinary LoRA adapter is loaded by peft"
        )
    try:
        layers = json.loads(metadata["layers"])
        factors = {layer: tuple(tensors.pop(f"{layer}.{letter}") for letter in "UDV") for layer in layers}
        whole = bool(layers) and all(_agree(*factors[layer], **said) for layer, said in layers.items())
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        whole = False
    if not whole or not all(key.startswith(BESIDE) and tensor.is_floating_point() for key, tensor in tensors.items()):
        raise InputError(f"a file written by lora.save was wanted; settings and factors in {file} do not fit together")
    return layers, factors, {key.removeprefix(BESIDE): tensor for key, tensor in tensors.items()}


def _agree(U, D, V, *, radius, scaling, base):
    """Whether a layer's factors are those of an adapter with these settings."""
    check_settings(len(D), 1.0 if radius is None else radius, scaling)
    shapes = (U.ndim, D.shape, V.ndim) == (2, U.shape[1:], 2) and U.shape[1] == V.shape[1]
    return shapes and isinstance(base, float) and all(map(torch.is_floating_point, (U, D, V)))


def export(model, folder, name="default", *, rank=None, energy=None):
    r"""Write an ordinary LoRA adapter, which ``peft.PeftModel.from_pretrained(base, folder)`` loads without udulib.

    :math:`A = V^\top` and :math:`B = s\,U\,\mathrm{diag}(D)`, optionally cut as by `cut`, each layer with
    a rank of its own. The model itself stays as it is. What was trained beside the adapters is not in the file: a
    warning names it.

    Parameters
    ----------
    model : torch.nn.Module
    folder : path
        Made if it is not there; gets ``adapter_config.json`` and ``adapter_model.safetensors``.
    name : str, default "default"
    rank : int, at least 1, optional
        Keep at most so many directions in each layer.
    energy : float, from 0 to 1, optional
        Or so large a share of :math:`\sum_i\sigma_i^2`.

    Returns
    -------
    dict of str to int
        The rank written for each layer.

    Raises
    ------
    InputError
        No such adapter; bad input; or a layer whose parent reads its weight without calling it, so that the adapter
        would be ignored where peft has loaded it: attention's output projection, an encoder layer's linear layers.

    Examples
    --------
    >>> from torch import nn
    >>> from udulib.lora import add
    >>> import tempfile
    >>> model = nn.Sequential(nn.Linear(8, 6))
    >>> _ = add(model, ["0"], rank=4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(model, folder, rank=2)
    {'0': 2}
    """
    if rank is not None:
        whole_number("rank", rank, 1)
    if rank is not None and energy is not None:
        raise InputError(f"rank or energy is wanted, not both; got rank={rank!r}, energy={energy!r}")
    check_called(unwrapped(model), adapters_of(model, name))
    if beside := trained_beside(model):
        warnings.warn(
            f"{', '.join(beside)} was trained beside the adapter and is not in {folder}: save it yourself", stacklevel=2
        )
    pairs = {}
    for layer, adapter in adapters_of(model, name).items():
        cuts = rank is not None or energy is not None
        U, D, V = cut_factors(adapter, rank, energy, "product") if cuts else factors_of(adapter)
        dtype = adapter.V.dtype
        pairs[layer] = V.T.to(dtype), (adapter.scaling * U * D).to(dtype)  # A (r, in), B (out, r)
    write_lora(pairs, folder, base=getattr(getattr(unwrapped(model), "config", None), "name_or_path", None))
    return {layer: len(A) for layer, (A, _) in pairs.items()}


def write_lora(pairs, folder, base=None):
    r"""Write :math:`\Delta W = B A` of each layer as an adapter in peft's format.

    Parameters
    ----------
    pairs : dict of str to (tensor, tensor)
        A (r, in) and B (out, r) by the layers' full names.
    folder : path
    base : str, optional
        Name or path of the base model, for the reader of the file.

    Examples
    --------
    >>> import torch
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_lora({"0": (torch.ones(1, 8), torch.zeros(6, 1))}, folder)
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['adapter_config.json', 'adapter_model.safetensors']
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    ranks = {layer: len(A) for layer, (A, _) in pairs.items()}
    patterns = {f"^{re.escape(layer)}": rank for layer, rank in ranks.items()}  # whole names: peft would take ends
    tensors = {}
    for layer, (A, B) in pairs.items():
        tensors[f"base_model.model.{layer}.lora_A.weight"] = _plain(A)
        tensors[f"base_model.model.{layer}.lora_B.weight"] = _plain(B)
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base or None,
        "target_modules": "|".join(map(re.escape, pairs)),
        "r": max(ranks.values()),
        "lora_alpha": max(ranks.values()),  # so that its scaling alpha / r is 1
        "rank_pattern": patterns,
        "alpha_pattern": patterns,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")


def trained_beside(model):
    """Trainable parameters of a model that belong to no adapter, by their names."""
    of_adapters = {id(p) for m in model.modules() if isinstance(m, AdaptedLinear) for p in m.adapters.parameters()}
    named = unwrapped(model).named_parameters()
    return {name: p for name, p in named if p.requires_grad and id(p) not in of_adapters}


def check_called(model, layers):
    """Refuse layers whose parents read their weights: a plain model of peft would not see their adapters."""
    for layer, when in read_layers(model).items():
        if layer in layers:
            raise InputError(
                f"the module around {layer} reads its weight {when} instead of calling it, so that an ordinary LoRA "
                "adapter there is ignored without a word. Leave this layer out; or merge and remove the adapter, and "
                "save the whole model"
            )


def _plain(tensor):
    return tensor.detach().cpu().contiguous()
