"""Layers cut to plain ones, one by one or all of a model."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from udulib.checks import instance
from udulib.compress.convolutions import cut_convolution
from udulib.compress.costs import Cost, costs
from udulib.compress.ranking import break_even, ranked, width
from udulib.errors import InputError
from udulib.nn import UDVConv2d, UDVLinear
from udulib.nn.attention import UDVAttention, unfactor
from udulib.nn.hosts import read_layers


@dataclass(frozen=True)
class Compressed:
    """What `compress` returns.

    Attributes
    ----------
    layer : nn.Module
        One ``nn.Linear`` or ``nn.Conv2d``, or an ``nn.Sequential`` of two (with a ReLU between them, where the block
        has one).
    rank : int
        Neurons kept, in each group of channels. Where `layer` is one matrix, its rank is at most this.
    break_even : int
        The largest rank at which two layers are smaller than one.
    before, after : Cost
    """

    layer: nn.Module
    rank: int
    break_even: int
    before: Cost
    after: Cost


def compress(layer, rank=None, tol=None, energy=None, method="product", batch=256, image=(16, 16)):
    r"""Prune a block and return plain layers, one or two, whichever is smaller.

    Nothing is trained. With everything kept (``tol=0``) the outputs are those of the block up to rounding.

    Parameters
    ----------
    layer : UDVLinear, UDVConv2d, nn.Linear, nn.Conv2d or nn.Sequential
        A UDV layer; a plain one; or the UV block ``Linear, Linear`` or ``Linear, ReLU, Linear``, the first ``Linear``
        without bias. For all layers of a model see `compress_all`.
    rank, tol, energy
        What to keep; see `width`. One of them. ``tol`` is relative to the largest singular value (or neuron). Rank 0
        leaves the bias, or zero. A convolution keeps as many neurons in each of its groups: ``tol`` those that are
        above it in any of them, ``energy`` the fewest that leave this share of all groups together. It becomes
        a convolution with these neurons for channels and one of 1 × 1 behind it.
    method : {"product", "svd", "neurons"}
        See the top of this page. A ReLU block allows "neurons" only: no other basis of the hidden space passes a ReLU.
        A plain layer has no hidden space, and so no neurons to lose.
    batch, image
        Of a timed forward pass; see `costs`.

    Returns
    -------
    Compressed
        Its ``layer`` has the device and dtype of the block and never more parameters.

    Raises
    ------
    InputError
        Another kind of layer, a bias in the hidden space, "product" or "svd" with ReLU, and what `width` refuses.

    Examples
    --------
    >>> import torch
    >>> from udulib.nn import UDVLinear
    >>> block = UDVLinear(100, 60, hidden=80, generator=torch.Generator().manual_seed(0))
    >>> small = compress(block, rank=5)
    >>> small.layer
    Sequential(
      (0): Linear(in_features=100, out_features=5, bias=False)
      (1): Linear(in_features=5, out_features=60, bias=False)
    )
    >>> small.before.parameters, small.after.parameters
    (12880, 800)
    >>> compress(block, tol=0).layer
    Linear(in_features=100, out_features=60, bias=False)
    """
    if isinstance(layer, (nn.Linear, nn.Conv2d)) and method == "neurons":
        raise InputError(f"a plain {type(layer).__name__} has no hidden neurons: pass method='product'")
    if isinstance(layer, (UDVConv2d, nn.Conv2d)):
        small, k, limit = cut_convolution(layer, rank, tol, energy, method)
    else:
        small, k, limit = _cut(layer, rank, tol, energy, method)
    before, after = costs([layer, small.train(layer.training)], batch, image)
    return Compressed(small, k, limit, before, after)


def _cut(layer, rank, tol, energy, method):
    U, D, V, bias, relu = _parts(layer)
    if relu and method != "neurons":
        raise InputError(f"a ReLU block can only lose whole neurons: pass method='neurons'; got {method!r}")
    factors = ranked(*(factor.detach().double().cpu().numpy() for factor in (U, D, V)), method)
    k = width(factors.scores, rank, tol, energy)
    first = (factors.U[:, :k] * factors.D[:k]).T  # (k, in)
    second = factors.V[:, :k]  # (out, k)
    limit = break_even(U.shape[0], V.shape[0])
    if relu:
        parts = [_linear(first, None, U), nn.ReLU(), _linear(second, bias, U)]
    elif k <= limit:
        parts = [_linear(first, None, U), _linear(second, bias, U)]
    else:
        parts = [_linear(second @ first, bias, U)]
    return nn.Sequential(*parts) if len(parts) > 1 else parts[0], k, limit


def compress_all(model, rank=None, tol=None, energy=None, method="product", batch=256, plain=False, image=(16, 16)):
    r"""Prune all UDV layers of a model, each by the rules of `compress`, in place.

    A layer whose parent reads its weight instead of calling it (attention's output projection, the linear layers of an
    encoder layer) becomes one plain layer whatever its rank, since there is one matrix to read; attention that
    `convert` made is plain ``nn.MultiheadAttention`` again.

    Parameters
    ----------
    model : torch.nn.Module
    rank, tol, energy, method, batch, image
        As in `compress`.
    plain : bool, default False
        Whether plain ``nn.Linear`` and ``nn.Conv2d`` layers are pruned too. Those whose weight is shared with another
        layer never are.

    Returns
    -------
    dict of str to Compressed
        By the layers' names. With no layer to prune it is empty, and the model as it was.

    Raises
    ------
    InputError
        As `compress`, for any of the layers: the model is then as it was.

    Examples
    --------
    >>> from udulib.nn import UDVLinear
    >>> model = nn.Sequential(UDVLinear(100, 60, hidden=80), nn.ReLU(), nn.Linear(60, 2))
    >>> small = compress_all(model, rank=5)
    >>> small["0"].rank, model[0][0]
    (5, Linear(in_features=100, out_features=5, bias=False))
    """
    parameters = Counter(id(p) for _, p in instance("model", model, nn.Module).named_parameters(remove_duplicate=False))
    wanted = (UDVLinear, UDVConv2d, *((nn.Linear, nn.Conv2d) if plain else ()))
    found = {
        name: module
        for name, module in model.named_modules()
        if name and isinstance(module, wanted) and all(parameters[id(p)] == 1 for p in module.parameters())
    }
    read = read_layers(model)
    small = {name: compress(layer, rank, tol, energy, method, batch, image) for name, layer in found.items()}
    for name, one in small.items():
        if name in read and isinstance(one.layer, nn.Sequential) and len(one.layer) == 2:
            first, second = one.layer
            matrix = (second.weight @ first.weight).detach().cpu().numpy()
            whole = _linear(matrix, second.bias, first.weight).train(one.layer.training)
            small[name] = replace(one, layer=whole, after=costs([whole], batch)[0])
        model.set_submodule(name, small[name].layer)
    for module in model.modules():
        if isinstance(module, UDVAttention):
            unfactor(module)
    return small


def _parts(layer):
    """U, D, V, the output's bias, and whether there is a ReLU."""
    if isinstance(layer, nn.Linear):
        c = layer.out_features
        return layer.weight.T, layer.weight.new_ones(c), torch.eye(c).to(layer.weight), layer.bias, False
    if isinstance(layer, UDVLinear):
        return layer.U, layer.D, layer.V, layer.bias, layer.activation == "relu"
    kinds = [type(part) for part in layer] if isinstance(layer, nn.Sequential) else None
    if kinds not in ([nn.Linear, nn.Linear], [nn.Linear, nn.ReLU, nn.Linear]):
        raise InputError(
            "a UDVLinear, a UDVConv2d, a Linear, a Conv2d or an nn.Sequential of Linear, Linear or Linear, ReLU, "
            "Linear was wanted; "
            f"got {type(layer).__name__}" + (f" of {', '.join(k.__name__ for k in kinds)}" if kinds is not None else "")
        )
    first, last = layer[0], layer[-1]
    if first.bias is not None:
        raise InputError("a bias in the hidden space is not pruned here; make the first Linear with bias=False")
    U = first.weight.T
    return U, U.new_ones(U.shape[1]), last.weight, last.bias, len(kinds) == 3


def _linear(weight, bias, like):
    """A plain layer with these weights, on the device and in the dtype of ``like``."""
    rows, columns = weight.shape
    layer = nn.Linear(1, 1, bias=bias is not None)  # PyTorch warns when it makes an empty one, as rank 0 needs
    layer.in_features, layer.out_features = columns, rows
    layer.weight = nn.Parameter(torch.from_numpy(np.ascontiguousarray(weight)).to(like))
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer
