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

from udulib.lora.adapt import activate, adapted_layers, add, disabled, groups, merge, remove, unmerge
from udulib.lora.cuts import cut, restored, spectra
from udulib.lora.files import export, load, save, write_lora
from udulib.lora.layers import AdaptedLinear, PlainAdapter, UDVAdapter

__all__ = [
    "AdaptedLinear",
    "PlainAdapter",
    "UDVAdapter",
    "activate",
    "adapted_layers",
    "add",
    "cut",
    "disabled",
    "export",
    "groups",
    "load",
    "merge",
    "remove",
    "restored",
    "save",
    "spectra",
    "unmerge",
    "write_lora",
]
