r"""The UDV adapter inside the peft library, for tools that train a ``PeftModel``.

peft has no place for a third factor. This is a LoRA layer of our own, registered through an interface that peft calls
experimental; hence two rules. The module works with the versions of peft that it was tested with, and refuses others.
And what peft would save is refused as well: without this module peft would load the factors as ordinary LoRA, drop D
without an error, and compute something else. All of peft's ways to save pass through ``state_dict()``, which raises.
`export` writes an ordinary LoRA adapter with D folded in, which loads everywhere.

To stop and resume a training, use `udulib.lora`, which needs no peft.
"""

import peft
import torch
from torch import nn

from udulib.errors import InputError
from udulib.lora.files import check_called, write_lora
from udulib.lora.layers import INIT_STD, check_settings
from udulib.lora.targets import find_targets
from udulib.nn.hosts import read_layers, unfuse
from udulib.nn.watch import Watch, notice_steps

TESTED = ("0.21.2",)

if peft.__version__ not in TESTED:
    raise ImportError(
        f"udulib.lora.peft uses private parts of peft, tested with {', '.join(TESTED)}; peft {peft.__version__} "
        "is installed. Install a tested version, or use udulib.lora, which needs no peft"
    )

from peft.tuners.lora.layer import Linear, LoraVariant  # noqa: E402 (private, so only after the check)


class UDVLoraLinear(Linear):
    r"""peft's LoRA layer with :math:`s\,B\,\mathrm{diag}(D)\,A`: U is B, and V the transpose of A. `wrap` makes it."""

    adapter_layer_names = (*Linear.adapter_layer_names, "lora_udv_D")
    radius = 1.0  # until `wrap` sets it
    ball, nonnegative = "frobenius", True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.watch = Watch()
        self.register_state_dict_pre_hook(_refuse)

    def resolve_lora_variant(self, **kwargs):
        return _UDVVariant()

    @property
    def name(self):
        """Of the adapter; a layer has one."""
        return next(iter(self.lora_udv_D))

    @property
    def U(self):
        return self.lora_B[self.name].weight  # (out, r)

    @property
    def D(self):
        return self.lora_udv_D[self.name]  # (r,)

    @property
    def V(self):
        return self.lora_A[self.name].weight  # (r, in), as peft keeps it

    @torch.no_grad()
    def project_(self):
        """Put the factors back into their set, in place; `udulib.nn.attach` calls it behind every step."""
        for factor in (self.U, self.V):
            factor *= (self.radius / torch.linalg.vector_norm(factor)).clamp(max=1.0)
        self.D.clamp_(min=0.0)
        self.watch.projected()
        return self

    def get_delta_weight(self, adapter):
        """The change of the weight, (out, in)."""
        return (self.U * (self.D * self.scaling[adapter])) @ self.V


class _UDVVariant(LoraVariant):
    """What peft calls in the place of its own arithmetic, by keyword: the names of the arguments are peft's."""

    @staticmethod
    def init(module, adapter_name, **kwargs):
        if hasattr(module, "lora_udv_D"):
            raise InputError(f"a UDV layer of peft holds one adapter; got a second, {adapter_name!r}. See udulib.lora")
        U, V = module.lora_B[adapter_name].weight, module.lora_A[adapter_name].weight
        module.lora_udv_D = nn.ParameterDict({adapter_name: nn.Parameter(U.new_ones(module.r[adapter_name]))})
        nn.init.normal_(U, std=INIT_STD)
        nn.init.zeros_(V)

    @staticmethod
    def forward(module, active_adapter, x, result, **kwargs):
        notice_steps(module)
        inner = module.lora_dropout[active_adapter](x) @ module.V.T
        return result + nn.functional.linear(inner, module.U * (module.D * module.scaling[active_adapter]))

    @staticmethod
    def merge_safe(module, active_adapter, orig_weight):
        return orig_weight + module.get_delta_weight(active_adapter).to(orig_weight.dtype)

    @staticmethod
    def merge_unsafe(module, active_adapter, orig_weight):
        orig_weight.data += module.get_delta_weight(active_adapter).to(orig_weight.dtype)

    @staticmethod
    def unmerge(module, active_adapter, orig_weight):
        return orig_weight - module.get_delta_weight(active_adapter).to(orig_weight.dtype)


def _refuse(module, prefix, keep_vars):
    raise InputError(
        f"{prefix.rstrip('.') or 'this layer'} is a UDV adapter, which peft would load as ordinary LoRA, without D and "
        "without an error. Use udulib.lora.peft.export(model, folder), or merge_and_unload()"
    )


def wrap(model, targets, rank, radius=1.0, scaling=1.0, task_type=None):
    """A ``PeftModel`` with UDV adapters; train it with any optimizer after ``udulib.nn.attach(optimizer, model)``.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place, as peft does.
    targets : str or sequence of str
        As in `udulib.lora.add`.
    rank, radius, scaling
        As in `udulib.lora.add`; the start is the same, from PyTorch's global generator.
    task_type : str, optional
        peft's, such as ``"CAUSAL_LM"``.

    Returns
    -------
    peft.PeftModel

    Raises
    ------
    InputError
        Bad input, or a target whose parent reads its weight without calling it (attention's output projection).

    Examples
    --------
    >>> base = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    >>> model = wrap(base, ["0"], rank=4)
    >>> model.get_nb_trainable_parameters()
    (60, 128)
    """
    check_settings(rank, radius, scaling)
    layers, read = find_targets(model, targets), read_layers(model)
    check_called(model, [layer for layer in layers if read.get(layer) == "always"])
    config = peft.LoraConfig(r=rank, lora_alpha=rank * scaling, target_modules=layers, task_type=task_type)
    config._register_custom_module({nn.Linear: UDVLoraLinear})
    wrapped = peft.get_peft_model(model, config)
    unfuse(model, UDVLoraLinear)
    for layer in _layers(wrapped).values():
        layer.radius = float(radius)
    return wrapped


def export(model, folder):
    r"""Write an ordinary LoRA adapter, which ``peft.PeftModel.from_pretrained(base, folder)`` loads without udulib.

    :math:`A = V^\top` and :math:`B = s\,U\,\mathrm{diag}(D)`.

    Parameters
    ----------
    model : peft.PeftModel
        As `wrap` made it.
    folder : path

    Raises
    ------
    InputError
        A model without UDV layers.

    Examples
    --------
    >>> import tempfile
    >>> model = wrap(nn.Sequential(nn.Linear(8, 6)), ["0"], rank=4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(model, folder)
    ...     again = peft.PeftModel.from_pretrained(nn.Sequential(nn.Linear(8, 6)), folder)
    """
    layers = _layers(model)
    pairs = {
        layer.removeprefix("base_model.model."): (m.V, m.U * (m.D * m.scaling[m.name])) for layer, m in layers.items()
    }
    check_called(model.get_base_model(), pairs)
    write_lora(pairs, folder, base=getattr(getattr(model, "config", None), "name_or_path", None))


def _layers(model):
    found = {name: module for name, module in model.named_modules() if isinstance(module, UDVLoraLinear)}
    if not found:
        raise InputError("a model wrapped by udulib.lora.peft.wrap was wanted; this one has no UDV layer of peft")
    return found
