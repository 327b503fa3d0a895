"""Adapters put on a model, merged into it, taken off it."""

from contextlib import contextmanager

import torch

from udulib.checks import whole_number
from udulib.errors import InputError
from udulib.lora.layers import INIT_STD, AdaptedLinear, check_settings, new_adapter
from udulib.lora.targets import check_name, checked_layer, find_targets, modules_of, put_module
from udulib.nn.hosts import refuse_saving

SAVING = "Use lora.save or lora.export for the adapter; or merge and remove it, and save the whole model"


def add(model, targets, rank, radius=1.0, scaling=1.0, *, name="default", seed=0):
    r"""Put an adapter on linear layers of a model, in place, and freeze everything that is not an adapter.

    Parameters
    ----------
    model : torch.nn.Module
    targets : str or sequence of str
        Names of layers, whole (``"encoder.layer.5.attention.self.query"``: that layer alone) or, where no part of the
        model has this whole name, their end (``"query"``: all of them); patterns (``"*.attention.*.query"``); or
        ``"all-linear"``.
    rank : int, from 1 to the smaller side of each layer
        Columns r of U and V. The paper takes 64.
    radius : float, above 0, or None, default 1.0
        R of both balls. None is ordinary LoRA, the paper's baseline: no balls, and D stays at one.
    scaling : float, above 0, default 1.0
        The s of :math:`\Delta W`, and part of it.
    name : str, default "default"
        Of the adapter. A model may have several; their changes add up, unless `activate` chooses among them.
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
    adapters, ``save_pretrained`` of a transformers model refuses. The factors are of at least float32, whatever the
    base has.

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
    check_name(name)
    check_settings(rank, 1.0 if radius is None else radius, scaling)
    layers = {layer: checked_layer(model, layer, rank, name) for layer in find_targets(model, targets)}
    generator = torch.Generator().manual_seed(whole_number("seed", seed, 0))
    for layer, linear in layers.items():
        adapter = new_adapter(linear, rank, radius, scaling)
        U = INIT_STD * torch.randn(linear.out_features, rank, generator=generator)
        adapter.fill_(U, torch.ones(rank), torch.zeros(linear.in_features, rank))
        place(model, layer, linear, name, adapter)
    freeze(model)
    guard(model)
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
    >>> from torch import nn
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
    >>> from torch import nn
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
    >>> from torch import nn
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
            put_module(model, layer, adapted.base)
    guard(model)


def activate(model, *names):
    """Choose which adapters of a model count, until the next call; without a name all of them.

    Parameters
    ----------
    model : torch.nn.Module
    *names : str

    Raises
    ------
    InputError
        A name that no adapter has, or an adapter that is merged into the weights.

    Examples
    --------
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(8, 6))
    >>> _ = add(model, ["0"], rank=4, name="one"), add(model, ["0"], rank=4, name="two")
    >>> activate(model, "two")
    >>> model[0].active
    ('two',)
    """
    for name in names:
        adapted_layers(model, name)  # refuses one that is not there
    _choose(model, names or None)


@contextmanager
def disabled(model):
    """Inside the block no adapter counts, and the model is its base.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(8, 6))
    >>> _ = add(model, ["0"], rank=4)
    >>> x, base = torch.ones(1, 8), model[0].base
    >>> with torch.no_grad(), disabled(model):
    ...     bool((model(x) == base(x)).all())
    True
    """
    before = {layer: adapted.active for layer, adapted in _adapted(model).items()}
    _choose(model, ())
    try:
        yield
    finally:
        for layer, adapted in _adapted(model).items():
            adapted.active = before.get(layer)


def adapted_layers(model, name="default"):
    """The adapted layers of a model that carry an adapter of this name, as a dict by the layers' full names.

    Raises
    ------
    InputError
        There are none.

    Examples
    --------
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(8, 6))
    >>> _ = add(model, ["0"], rank=4)
    >>> adapted_layers(model)["0"].adapters["default"]
    UDVAdapter(rank=4, radius=1, scaling=1)
    """
    every = _adapted(model)
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
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(8, 6))
    >>> _ = add(model, ["0"], rank=4)
    >>> [(len(group["params"]), group["lr"]) for group in groups(model, 0.1, factor=10.0)]
    [(2, 0.1), (1, 1.0)]
    """
    found = {False: [], True: []}
    for adapter in adapters_of(model, name).values():
        for letter, parameter in adapter.named_parameters():
            found[letter == ("V" if adapter.radius is None else "D")].append(parameter)
    return [
        {"params": found[fast], "lr": learning_rate * (factor if fast else 1.0), "weight_decay": weight_decay}
        for fast in (False, True)
    ]


def adapters_of(model, name):
    """The adapters of this name by the full names of their layers."""
    return {layer: adapted.adapters[name] for layer, adapted in adapted_layers(model, name).items()}


def place(model, layer, linear, name, adapter):
    """Hang an adapter on a layer."""
    if not isinstance(linear, AdaptedLinear):
        linear = AdaptedLinear(linear)
        put_module(model, layer, linear)
    linear.adapters[name] = adapter.train(linear.training)


def freeze(model):
    """Have only adapters trained."""
    free = {id(p) for m in model.modules() if isinstance(m, AdaptedLinear) for p in m.adapters.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in free:
            parameter.requires_grad_(False)


def guard(model):
    """Refuse transformers' ``save_pretrained`` while there are adapters."""
    refuse_saving(model, AdaptedLinear, SAVING)


def _adapted(model):
    return {layer: module for layer, module in modules_of(model).items() if isinstance(module, AdaptedLinear)}


def _choose(model, names):
    for layer, adapted in _adapted(model).items():
        if adapted.merged:
            raise InputError(f"{', '.join(adapted.merged)} is merged into {layer} and counts there: unmerge it first")
        adapted.active = names
