r"""A UDV adapter for linear layers: :math:`W_0 + s\,U\,\mathrm{diag}(D)\,V^\top` with the two matrices in balls.

LoRA (Hu and others 2022) leaves the weight :math:`W_0` of a pretrained layer as it is and learns a low-rank change of
it. Here the change is the paper's model (Hou and others, appendix B.7):

.. math::

   \Delta W = s\,U\,\mathrm{diag}(D)\,V^\top, \qquad
   \|U\|_F \le R,\quad \|V\|_F \le R,\quad D \ge 0,

with U (out, r) random, D (r,) of ones and V (in, r) zero at the start, so that the adapted model begins as the base.
Three lines adapt a model::

    lora.add(model, ["q_proj", "v_proj"], rank=64)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    nn.attach(optimizer, model)  # every step ends with the projection

`save` and `load` keep the factors. `export` writes an ordinary LoRA adapter, which the peft library loads without
udulib; `merge` adds the change to the weights, and `remove` leaves the plain layers behind.

**The same map in other letters.** ``udulib.nn`` follows the paper's network :math:`V\,\mathrm{diag}(D)\,U^\top x`: its
U is this module's V and the other way round. LoRA's :math:`\Delta W = (\alpha_{\mathrm{LoRA}}/r)\,B A` has
:math:`A = V^\top` and, where :math:`\alpha_{\mathrm{LoRA}} = r`, :math:`B = s\,U\,\mathrm{diag}(D)`.
"""

import contextlib
import difflib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from numbers import Real
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from udulib.checks import whole_number
from udulib.compress import width
from udulib.errors import InputError
from udulib.factorization.spectra import singular_values
from udulib.nn import UDVFactors

INIT_STD = 1e-2  # of the entries of U at the start, as in the paper's code
FORMAT = "udulib-udv-adapter-1"
TAKEN = ("adapter_model.safetensors", "model.safetensors")  # names that other libraries look for

_CUTS = ("product", "factor")


# The layer ------------------------------------------------------------------------------------------------------------


class _Change:
    """What both kinds of adapter do with their factors."""

    def forward(self, x):
        """The change of the output, for x of shape (\\*, in)."""
        return F.linear(x @ self.V, self.U * (self.scaling * self.D))  # (*, out)

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


class UDVAdapter(_Change, UDVFactors):
    """The factors of one layer: ``U`` (out, r), ``D`` (r,), ``V`` (in, r), with ``project_()``. `add` makes it."""

    def __init__(self, layer, rank, radius, scaling):
        super().__init__(layer.out_features, layer.in_features, rank, radius, **_kind(layer))  # U has a row an output
        self.scaling = float(scaling)


class PlainAdapter(_Change, nn.Module):
    """Ordinary LoRA in the same letters: no balls, and ``D`` is held at one. `add` makes it for ``radius=None``."""

    radius = None

    def __init__(self, layer, rank, scaling):
        super().__init__()
        self.U = nn.Parameter(torch.empty(layer.out_features, rank, **_kind(layer)))  # (out, r)
        self.register_buffer("D", torch.empty(rank, **_kind(layer)))  # (r,)
        self.V = nn.Parameter(torch.empty(layer.in_features, rank, **_kind(layer)))  # (in, r)
        self.scaling = float(scaling)


class AdaptedLinear(nn.Module):
    """A linear layer with adapters, in the place of the layer. `add` makes it.

    Attributes
    ----------
    base : torch.nn.Linear
        The layer itself; while adapters are merged its weight holds their changes.
    adapters : torch.nn.ModuleDict
        By name. All of them count.
    merged : tuple of str
    """

    def __init__(self, base):
        super().__init__()
        self.base = base
        self.adapters = nn.ModuleDict()
        self.merged = ()
        self.register_buffer("original", None, persistent=False)  # the weight without its adapters, while merged
        self.train(base.training)

    def forward(self, x):
        y = self.base(x)
        for name, adapter in self.adapters.items():
            if name not in self.merged:
                y = y + adapter(x)
        return y

    @property
    def weight(self):
        """The adapted weight, (out, in): for modules that read it themselves, as ``nn.MultiheadAttention`` does."""
        return self.base.weight + sum(a.delta() for name, a in self.adapters.items() if name not in self.merged)

    @property
    def bias(self):
        return self.base.bias

    @property
    def in_features(self):
        return self.base.in_features

    @property
    def out_features(self):
        return self.base.out_features

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


def _kind(layer):
    return {"device": layer.weight.device, "dtype": layer.weight.dtype}


# On a model -----------------------------------------------------------------------------------------------------------


def add(model, targets, rank, radius=1.0, scaling=1.0, *, name="default", seed=0):
    r"""Put an adapter on linear layers of a model, in place, and freeze everything that is not an adapter.

    Parameters
    ----------
    model : torch.nn.Module
    targets : str or sequence of str
        Names of layers, whole (``"encoder.layer.5.attention.self.query"``: that layer alone) or, where no part of the
        model has this whole name, their end (``"query"``: all of them).
    rank : int, from 1 to the smaller side of each layer
        Columns r of U and V. The paper takes 64.
    radius : float, above 0, or None, default 1.0
        R of both balls. None is ordinary LoRA, the paper's baseline: no balls, and D stays at one.
    scaling : float, above 0, default 1.0
        The s of :math:`\Delta W`, and part of it.
    name : str, default "default"
        Of the adapter. A model may have several; their changes add up.
    seed : int, default 0
        Of the start of U: Gaussian with standard deviation 0.01, as in the paper. V starts at zero.

    Returns
    -------
    tuple of str
        The full names of the adapted layers.

    Raises
    ------
    InputError
        A target that fits no layer, or something that is not a linear layer of floating-point weights (a quantised
        one); a weight that is shared with another layer; a rank of zero or above the layer's sides; a second adapter
        of the same name; or other bad input. The model is then left as it was.

    Notes
    -----
    Parameters to train besides the adapters, such as a new head, are made trainable after this call. While it has
    adapters, ``save_pretrained`` of a transformers model refuses.

    Source: Hou and others, arXiv 2501.16322, appendix B.7.

    Examples
    --------
    >>> import torch
    >>> from udulib import lora, nn
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2))
    >>> x = torch.ones(1, 8)
    >>> before = model(x)
    >>> lora.add(model, ["0"], rank=4)
    ('0',)
    >>> bool((model(x) == before).all())
    True
    >>> optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    >>> projection = nn.attach(optimizer, model)
    """
    _check_name(name)
    check_settings(rank, 1.0 if radius is None else radius, scaling)
    layers = {layer: _checked(model, layer, rank, name) for layer in _found(model, targets)}
    generator = torch.Generator().manual_seed(whole_number("seed", seed, 0))
    for layer, linear in layers.items():
        adapter = _new(linear, rank, radius, scaling)
        U = INIT_STD * torch.randn(linear.out_features, rank, generator=generator)
        adapter.fill_(U, torch.ones(rank), torch.zeros(linear.in_features, rank))
        _place(model, layer, linear, name, adapter)
    _freeze(model)
    _guard(model)
    return tuple(layers)


def merge(model, name="default"):
    """Add an adapter's change to the weights of its layers, in place: the model then costs what the base costs.

    The weights before are kept beside, so that `unmerge` gives them back bit by bit; `remove` drops them. Until one of
    the two is called, the model refuses ``state_dict`` and ``load_state_dict``, which do not know of the merge.

    Parameters
    ----------
    model : torch.nn.Module
    name : str, default "default"

    Raises
    ------
    InputError
        No such adapter, or one that is merged already.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(8, 6))
    >>> _ = add(model, ["0"], rank=4)
    >>> merge(model)
    >>> model[0].merged
    ('default',)
    """
    for layer, adapted in adapted_layers(model, name).items():
        if name in adapted.merged:
            raise InputError(
                f"an adapter that is not merged was wanted; {name!r} is merged into {layer}: unmerge first"
            )
        adapted.set_merged((*adapted.merged, name))


def unmerge(model, name="default"):
    """Take an adapter's change out of the weights again, in place; what `merge` found is restored bit by bit.

    Parameters
    ----------
    model : torch.nn.Module
    name : str, default "default"

    Raises
    ------
    InputError
        No such adapter, or one that is not merged.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(8, 6))
    >>> before = model[0].weight.clone()
    >>> _ = add(model, ["0"], rank=4)
    >>> merge(model)
    >>> unmerge(model)
    >>> bool((model[0].weight == before).all())
    True
    """
    for layer, adapted in adapted_layers(model, name).items():
        if name not in adapted.merged:
            raise InputError(f"a merged adapter was wanted; {name!r} is not merged into {layer}")
        adapted.set_merged(tuple(other for other in adapted.merged if other != name))


def remove(model, name="default"):
    """Take an adapter off a model, in place; layers without any adapter are plain linear layers again.

    A merged adapter leaves its change in the weights, for good: merge and remove make an ordinary model.

    Parameters
    ----------
    model : torch.nn.Module
    name : str, default "default"

    Raises
    ------
    InputError
        No such adapter; or a merged one while the layer has others, whose changes could no longer be told apart.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(8, 6))
    >>> _ = add(model, ["0"], rank=4)
    >>> remove(model)
    >>> model
    Sequential(
      (0): Linear(in_features=8, out_features=6, bias=True)
    )
    """
    layers = adapted_layers(model, name)
    for layer, adapted in layers.items():
        if name in adapted.merged and len(adapted.adapters) > 1:
            raise InputError(f"{layer} has other adapters beside the merged {name!r}: unmerge it, or remove them first")
    for layer, adapted in layers.items():
        del adapted.adapters[name]
        if not adapted.adapters:
            _put(model, layer, adapted.base)
    _guard(model)


def adapted_layers(model, name="default"):
    """The adapted layers of a model that carry an adapter of this name, as a dict by the layers' full names.

    Raises
    ------
    InputError
        There are none.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(8, 6))
    >>> _ = add(model, ["0"], rank=4)
    >>> adapted_layers(model)["0"].adapters["default"]
    UDVAdapter(rank=4, radius=1, scaling=1)
    """
    every = {layer: module for layer, module in _modules(model).items() if isinstance(module, AdaptedLinear)}
    found = {layer: module for layer, module in every.items() if name in list(module.adapters)}  # a list: for any name
    if not found:
        there = sorted({other for module in every.values() for other in module.adapters})
        raise InputError(f"the model has no adapter {name!r}; it has {', '.join(there) or 'none'}: see lora.add")
    return found


def groups(model, learning_rate, factor=1.0, weight_decay=0.0, *, name="default"):
    """Parameter groups of an adapter for an optimizer, one of them faster.

    Parameters
    ----------
    model : torch.nn.Module
    learning_rate : float
    factor : float, default 1.0
        The rate of D is so many times larger. D starts at one and must reach the size of the change over R squared,
        which takes long at the rate of the matrices. For ordinary LoRA, whose D is fixed, V is the faster one, as in
        LoRA+ (Hayou and others 2024).
    weight_decay : float, default 0.0
    name : str, default "default"

    Returns
    -------
    list of dict

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(8, 6))
    >>> _ = add(model, ["0"], rank=4)
    >>> [(len(group["params"]), group["lr"]) for group in groups(model, 0.1, factor=10.0)]
    [(2, 0.1), (1, 1.0)]
    """
    found = {False: [], True: []}
    for adapter in _adapters(model, name).values():
        for letter, parameter in adapter.named_parameters():
            found[letter == ("V" if adapter.radius is None else "D")].append(parameter)
    return [
        {"params": found[fast], "lr": learning_rate * (factor if fast else 1.0), "weight_decay": weight_decay}
        for fast in (False, True)
    ]


# Spectra and cuts -----------------------------------------------------------------------------------------------------


def spectra(model, name="default", of="product"):
    r"""Singular values of each layer's change, without forming it.

    Parameters
    ----------
    model : torch.nn.Module
    name : str, default "default"
    of : {"product", "factor"}
        Of :math:`\Delta W = s\,U\,\mathrm{diag}(D)\,V^\top`, or of :math:`U\,\mathrm{diag}(D)`, the paper's spectrum.

    Returns
    -------
    dict of str to array, shape (r,), descending
        By the layers' full names; float64.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(8, 6))
    >>> _ = add(model, ["0"], rank=4)
    >>> spectra(model)["0"]
    array([0., 0., 0., 0.])
    """
    _check_of(of)
    found = {}
    for layer, adapter in _adapters(model, name).items():
        U, D, V = (factor.cpu().double().numpy() for factor in _factors(adapter))
        left = adapter.scaling * U * D if of == "product" else U * D
        right = V if of == "product" else np.eye(len(D))
        found[layer] = singular_values(left, V=right)
    return found


def cut(model, *, rank=None, energy=None, of="product", name="default"):
    r"""Cut every layer's change to its leading singular directions, in place, without training again.

    Parameters
    ----------
    model : torch.nn.Module
    rank : int, from 0
        Directions to keep in each layer; 0 takes the change away.
    energy : float, from 0 to 1
        In place of ``rank``: the share of :math:`\sum_i\sigma_i^2` to keep in each layer, at least one direction; 1
        keeps all that are not zero.
    of : {"product", "factor"}
        By the singular values of :math:`\Delta W`, which is the best cut (Eckart and Young), or by those of
        :math:`U\,\mathrm{diag}(D) = \mathsf U\mathsf S\mathsf V^\top`, which is the paper's: V becomes
        :math:`V\mathsf V`.
    name : str, default "default"

    Returns
    -------
    dict of str to int
        The rank kept in each layer.

    Raises
    ------
    InputError
        No such adapter, a merged one, or bad input.

    Notes
    -----
    A cut UDV adapter keeps to its balls: what U and V have too much of goes into D.

    To train on, make a new optimizer, and attach it again: an old one has averages of the old shapes and would fail.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(8, 6))
    >>> _ = add(model, ["0"], rank=4)
    >>> cut(model, rank=1)
    {'0': 1}
    """
    _check_of(of)
    if (rank is None) == (energy is None):
        raise InputError(f"either rank or energy is wanted; got rank={rank!r}, energy={energy!r}")
    if rank is not None:
        whole_number("rank", rank, 0)
    kept = {}
    for layer, adapted in adapted_layers(model, name).items():
        if name in adapted.merged:
            raise InputError(f"{name!r} is merged into {layer}: unmerge it before it is cut")
        adapter = adapted.adapters[name]
        adapter.fill_(*_cut(adapter, rank, energy, of))
        kept[layer] = adapter.rank if rank != 0 else 0
    return kept


@contextlib.contextmanager
def restored(model, name="default"):
    """Inside the block an adapter may be cut; behind it the factors are as before.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(8, 6))
    >>> _ = add(model, ["0"], rank=4)
    >>> with restored(model):
    ...     _ = cut(model, rank=1)
    >>> adapted_layers(model)["0"].adapters["default"].rank
    4
    """
    before = {adapter: [f.clone() for f in _factors(adapter)] for adapter in _adapters(model, name).values()}
    try:
        yield
    finally:
        for adapter, factors in before.items():
            adapter.fill_(*factors)


@torch.no_grad()
def _cut(adapter, rank, energy, of):
    """The factors cut, with rank 0 as one column that is zero; in float64 where the device has it."""
    U, D, V = (factor.double() for factor in _factors(adapter))
    if of == "product":
        (QU, RU), (QV, RV) = torch.linalg.qr(U * D), torch.linalg.qr(V)
        P, S, Qh = torch.linalg.svd(RU @ RV.T)
        U, V = QU @ P, QV @ Qh.T
    else:
        U, S, Qh = torch.linalg.svd(U * D, full_matrices=False)
        V = V @ Qh.T
    k = max(1, width(S, energy=energy)) if rank is None else min(rank, len(S))
    D = S[:k] if k else S[:1] * 0
    U, V = U[:, : len(D)], V[:, : len(D)]
    if adapter.radius is not None:
        for factor in (U, V):
            excess = (torch.linalg.vector_norm(factor) / adapter.radius).clamp(min=1.0)
            factor /= excess
            D = D * excess
    return U, D, V


# Files ----------------------------------------------------------------------------------------------------------------


def save(model, file, name="default"):
    """Write an adapter's factors and settings to a safetensors file, for `load`.

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
        tensors |= {f"{layer}.{letter}": _plain(f) for letter, f in zip("UDV", _factors(adapter), strict=True)}
        said[layer] = {"radius": adapter.radius, "scaling": adapter.scaling, "base": _probe(adapted)}
    save_file(tensors, file, {"format": FORMAT, "layers": json.dumps(said)})


def load(model, file, name="default"):
    """Put an adapter that `save` wrote on a model, in place.

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
    _check_name(name)
    layers, factors = {}, {}
    for layer, said in json.loads(metadata["layers"]).items():
        U, D, V = factors[layer] = tuple(tensors[f"{layer}.{letter}"] for letter in "UDV")
        if (found := _found(model, [layer])) != [layer]:
            raise InputError(
                f"{layer!r} is wanted under its whole name; here it is the end of {', '.join(found)}: give the part of "
                "the model that the adapter was saved from"
            )
        linear = layers[layer] = _checked(model, layer, len(D), name)
        if (len(U), len(V)) != (linear.out_features, linear.in_features):
            raise InputError(
                f"{layer} was {len(U)} x {len(V)}; here it is {linear.out_features} x {linear.in_features}"
            )
        if abs(_probe(linear) - said["base"]) > 1e-2:
            raise InputError(
                f"the base of the adapter is wanted, unmerged; the weight of {layer} is not the one it was trained on"
            )
    for layer, said in json.loads(metadata["layers"]).items():
        adapter = _new(layers[layer], len(factors[layer][1]), said["radius"], said["scaling"]).fill_(*factors[layer])
        _place(model, layer, layers[layer], name, adapter)
    _freeze(model)
    _guard(model)
    return tuple(layers)


def export(model, folder, name="default", *, rank=None, energy=None):
    r"""Write an ordinary LoRA adapter, which ``peft.PeftModel.from_pretrained(base, folder)`` loads without udulib.

    :math:`A = V^\top` and :math:`B = s\,U\,\mathrm{diag}(D)`, optionally cut as by `cut`, each layer with
    a rank of its own. The model itself stays as it is.

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
        No such adapter, or bad input.

    Examples
    --------
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
    pairs = {}
    for layer, adapter in _adapters(model, name).items():
        cuts = rank is not None or energy is not None
        U, D, V = _cut(adapter, rank, energy, "product") if cuts else _factors(adapter)
        dtype = adapter.V.dtype
        pairs[layer] = V.T.to(dtype), (adapter.scaling * U * D).to(dtype)  # A (r, in), B (out, r)
    write_lora(pairs, folder, base=getattr(getattr(model, "config", None), "name_or_path", None))
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


# Parts ----------------------------------------------------------------------------------------------------------------


def _adapters(model, name):
    return {layer: adapted.adapters[name] for layer, adapted in adapted_layers(model, name).items()}


def _factors(adapter):
    return tuple(getattr(adapter, letter).detach() for letter in "UDV")


def _plain(tensor):
    return tensor.detach().cpu().contiguous()


def _new(layer, rank, radius, scaling):
    return PlainAdapter(layer, rank, scaling) if radius is None else UDVAdapter(layer, rank, radius, scaling)


def _place(model, layer, linear, name, adapter):
    if not isinstance(linear, AdaptedLinear):
        linear = AdaptedLinear(linear)
        _put(model, layer, linear)
    linear.adapters[name] = adapter.train(linear.training)


def _put(model, layer, module):
    parent, _, last = layer.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def _freeze(model):
    free = {id(p) for m in model.modules() if isinstance(m, AdaptedLinear) for p in m.adapters.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in free:
            parameter.requires_grad_(False)


def _guard(model):
    """Refuse transformers' ``save_pretrained`` while there are adapters: what it writes is read as random weights."""
    for module in model.modules():
        if hasattr(type(module), "save_pretrained"):
            if any(isinstance(part, AdaptedLinear) for part in module.modules()):
                module.save_pretrained = _refuse_to_save
            else:
                vars(module).pop("save_pretrained", None)


def _refuse_to_save(*args, **kwargs):
    raise InputError(
        "save_pretrained would write adapted layers under names that from_pretrained replaces by random weights. Use "
        "lora.save or lora.export for the adapter; or merge and remove it, and save the whole model"
    )


def _probe(layer):
    """One number that tells bases apart, also after a change of precision: the weight seen from a fixed direction."""
    W = layer.base.weight if isinstance(layer, AdaptedLinear) else layer.weight
    if isinstance(layer, AdaptedLinear) and layer.original is not None:
        W = layer.original
    W = W.detach().cpu().double()
    fixed = torch.cos(torch.arange(W.numel(), dtype=torch.float64)).reshape(W.shape)
    return float((W * fixed).sum() / torch.linalg.vector_norm(W).clamp(min=1e-300))


def _modules(model):
    if not isinstance(model, nn.Module):
        raise InputError(f"a torch.nn.Module was wanted; got {type(model).__name__}")
    return dict(model.named_modules())


def _places(model):
    """The parts of a model by their names, without what is inside adapted layers."""
    modules = _modules(model)
    inside = tuple(f"{name}.".lstrip(".") for name, module in modules.items() if isinstance(module, AdaptedLinear))
    return {name: module for name, module in modules.items() if name and not name.startswith(inside)}


def _found(model, targets):
    places = _places(model)
    names = [targets] if isinstance(targets, str) or not isinstance(targets, Iterable) else list(targets)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"targets are names of layers, or their ends; got {targets!r}")
    found = {}
    for target in names:
        fits = [target] if target in places else [place for place in places if place.endswith(f".{target}")]
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


def _checked(model, layer, rank, name):
    """The linear layer of this name, if an adapter of this rank and name can go there."""
    linear = model.get_submodule(layer)
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


def check_settings(rank, radius, scaling):
    """Refuse a rank, a radius or a scaling that no adapter can have."""
    whole_number("rank", rank, 1)
    for name, value in (("radius", radius), ("scaling", scaling)):
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < math.inf:
            raise InputError(f"{name} is a number above zero; got {value!r}")


def _check_name(name):
    if not isinstance(name, str) or not name or "." in name:
        raise InputError(f"an adapter's name is a word without dots; got {name!r}")
    if hasattr(nn.ModuleDict(), name):
        raise InputError(f"an adapter's name is none of a ModuleDict's own; {name!r} is one: give it another")


def _check_of(of):
    if of not in _CUTS:
        raise InputError(f"of is one of {', '.join(map(repr, _CUTS))}; got {of!r}")
