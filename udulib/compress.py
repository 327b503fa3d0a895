r"""Pruning of UDV and UV blocks without retraining, to plain linear layers, and what it saves.

A block :math:`\varphi(x) = V\,\mathrm{diag}(D)\,U^\top x` with m neurons can be cut to k in three ways:

``"svd"``
    the paper's (equations 8 and 9): :math:`U\,\mathrm{diag}(D) = \mathsf P\,\mathsf S\,\mathsf Q^\top`, of which the
    first k terms are kept: :math:`U' = \mathsf P_k`, :math:`D' = \mathsf S_k`, :math:`V' = V\mathsf Q_k`;
``"neurons"``
    whole neurons, the k largest by :math:`|D_j|\,\|u_j\|\,\|v_j\|`; the only one that a ReLU block allows;
``"product"``
    the SVD of the matrix :math:`V\,\mathrm{diag}(D)\,U^\top`: the best k-term approximation of the map.

A linear block of any width equals one matrix of shape (out, in). This *collapsed* layer is the yardstick: k neurons are
smaller only below the `break_even` rank. `compress` returns whichever is smaller.
"""

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from udulib.checks import finite_array, instance, numeric_array, positive_number, whole_number
from udulib.errors import InputError
from udulib.nn import UDVLinear
from udulib.nn.hosts import read_layers

__all__ = ["Compressed", "Cost", "Ranked", "break_even", "compress", "compress_all", "costs", "ranked", "width"]

METHODS = ("product", "svd", "neurons")
REPEATS = 10  # of a timing; the shortest counts


class Ranked(NamedTuple):
    r"""What `ranked` returns: factors whose first k columns are the block pruned to k neurons.

    Attributes
    ----------
    U : array, shape (\*, d, m')
    D : array, shape (\*, m')
    V : array, shape (\*, c, m')
    scores : array, shape (\*, m'), descending
        What the columns were ordered by: singular values, or :math:`|D_j|\,\|u_j\|\,\|v_j\|`.
    """

    U: np.ndarray
    D: np.ndarray
    V: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Cost:
    """What a block costs.

    Attributes
    ----------
    parameters : int
    bytes : int
        Of the parameters.
    flops : int
        Floating-point operations for one input, additions and multiplications counted apart.
    seconds : float
        Measured: the shortest forward pass of a batch.
    """

    parameters: int
    bytes: int
    flops: int
    seconds: float


@dataclass(frozen=True)
class Compressed:
    """What `compress` returns.

    Attributes
    ----------
    layer : nn.Module
        One ``nn.Linear``, or an ``nn.Sequential`` of two (with a ReLU between them, where the block has one).
    rank : int
        Neurons kept. Where `layer` is one matrix, its rank is at most this.
    before, after : Cost
    """

    layer: nn.Module
    rank: int
    before: Cost
    after: Cost


def ranked(U, D, V, method="product"):
    r"""Order a block's neurons for pruning: one decomposition for all widths.

    Parameters
    ----------
    U : array, shape (\*, d, m)
    D : array, shape (\*, m), or None
        Ones if None (a UV network).
    V : array, shape (\*, c, m)
    method : {"product", "svd", "neurons"}
        See the top of this page.

    Returns
    -------
    Ranked
        With m' = m for "neurons", min(d, m) for "svd", min(d, m, c) for "product".

    Raises
    ------
    InputError
        An unknown method, shapes that do not fit, NaN or infinite entries.

    Examples
    --------
    >>> import numpy as np
    >>> U, D, V = np.eye(3)[:, :2], np.array([1.0, 4.0]), np.array([[2.0, 1.0]])
    >>> ranked(U, D, V, "neurons").scores
    array([4., 2.])
    >>> ranked(U, D, V, "product").scores.round(3)
    array([4.472])
    """
    U, V = numeric_array("U", U, real=True), numeric_array("V", V, real=True)
    D = np.ones(U.shape[:-2] + U.shape[-1:], U.dtype) if D is None else numeric_array("D", D, real=True)
    _check_factors(U, D, V)
    if not isinstance(method, str) or method not in METHODS:
        raise InputError(f"method is one of {', '.join(map(repr, METHODS))}; got {method!r}")
    if method == "neurons":
        scores = np.abs(D) * np.linalg.norm(U, axis=-2) * np.linalg.norm(V, axis=-2)  # (*, m)
        order = np.argsort(-scores, axis=-1, kind="stable")
        U, V = (np.take_along_axis(factor, order[..., None, :], -1) for factor in (U, V))
        D, scores = (np.take_along_axis(numbers, order, -1) for numbers in (D, scores))
        return Ranked(U, D, V, scores)
    if method == "svd":
        P, S, Qh = np.linalg.svd(U * D[..., None, :], full_matrices=False)
        return Ranked(P, S, V @ np.swapaxes(Qh, -1, -2), S)
    weight = (V * D[..., None, :]) @ np.swapaxes(U, -1, -2)  # (*, c, d)
    P, S, Qh = np.linalg.svd(weight, full_matrices=False)
    m = min(U.shape[-1], S.shape[-1])
    S = S[..., :m]
    return Ranked(np.swapaxes(Qh, -1, -2)[..., :m], S, P[..., :m], S)


def width(scores, rank=None, tol=None, energy=None):
    r"""How many neurons to keep, by exactly one of three rules.

    Parameters
    ----------
    scores : array, shape (m,), descending, at least zero
    rank : int, from 0 to m
        This many.
    tol : float, in [0, 1)
        Those above ``tol`` times the largest.
    energy : float, in [0, 1]
        The fewest whose squares add up to this share of all squares, up to round-off; for 1, all that are not zero.

    Returns
    -------
    int

    Raises
    ------
    InputError
        None or several rules, or one out of range; scores that are no finite numbers in one row.

    Examples
    --------
    >>> width([4.0, 2.0, 1.0, 0.0], tol=0.3), width([4.0, 2.0, 1.0, 0.0], energy=0.9)
    (2, 2)
    """
    scores = finite_array("scores", scores, ndim=1, real=True)
    given = [name for name, value in (("rank", rank), ("tol", tol), ("energy", energy)) if value is not None]
    if len(given) != 1:
        raise InputError(f"exactly one of rank, tol and energy says what to keep; got {', '.join(given) or 'none'}")
    if rank is not None:
        if whole_number("rank", rank, 0) > len(scores):
            raise InputError(f"rank is at most {len(scores)}, the number of terms there are; got {rank}")
        return int(rank)
    if tol is not None:
        if not (share := positive_number("tol", tol, allow_zero=True)) < 1:
            raise InputError(f"tol is a share of the largest value, from 0 to below 1; got {tol!r}")
        return int(np.sum(scores > share * scores[:1]))
    if not positive_number("energy", energy, allow_zero=True) <= 1:
        raise InputError(f"energy is a share of the sum of squares, from 0 to 1; got {energy!r}")
    left = np.append(np.cumsum(scores[::-1] ** 2)[::-1], 0.0)  # (m + 1,): what pruning to 0, 1, ..., m loses
    spare = 1 - float(energy)
    spare += min(spare, len(scores) * np.finfo(float).eps)  # for the round-off of the sums
    return int(np.argmax(left <= spare * left[0]))


def break_even(in_features, out_features):
    r"""The largest rank at which two layers are smaller than the one matrix: :math:`k\,(d + c) < d\,c`.

    Examples
    --------
    >>> break_even(2520, 100), break_even(1280, 10), break_even(79, 1)
    (96, 9, 0)
    """
    d = whole_number("in_features", in_features, 1)
    c = whole_number("out_features", out_features, 1)
    return (d * c - 1) // (d + c)


def compress(layer, rank=None, tol=None, energy=None, method="product", batch=256):
    r"""Prune a block and return plain linear layers, one or two, whichever is smaller.

    Nothing is trained. With everything kept (``tol=0``) the outputs are those of the block up to rounding.

    Parameters
    ----------
    layer : UDVLinear, nn.Linear or nn.Sequential
        A UDV layer; a plain one; or the UV block ``Linear, Linear`` or ``Linear, ReLU, Linear``, the first ``Linear``
        without bias. For all layers of a model see `compress_all`.
    rank, tol, energy
        What to keep; see `width`. One of them. ``tol`` is relative to the largest singular value (or neuron). Rank 0
        leaves the bias, or zero.
    method : {"product", "svd", "neurons"}
        See the top of this page. A ReLU block allows "neurons" only: no other basis of the hidden space passes a ReLU.
        A plain layer has no hidden space, and so no neurons to lose.
    batch : int, default 256
        Inputs of a timed forward pass.

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
    U, D, V, bias, relu = _parts(layer)
    if isinstance(layer, nn.Linear) and method == "neurons":
        raise InputError("a plain Linear has no hidden neurons: pass method='product'")
    if relu and method != "neurons":
        raise InputError(f"a ReLU block can only lose whole neurons: pass method='neurons'; got {method!r}")
    factors = ranked(*(factor.detach().double().cpu().numpy() for factor in (U, D, V)), method)
    k = width(factors.scores, rank, tol, energy)
    first = (factors.U[:, :k] * factors.D[:k]).T  # (k, in)
    second = factors.V[:, :k]  # (out, k)
    if relu:
        parts = [_linear(first, None, U), nn.ReLU(), _linear(second, bias, U)]
    elif k <= break_even(U.shape[0], V.shape[0]):
        parts = [_linear(first, None, U), _linear(second, bias, U)]
    else:
        parts = [_linear(second @ first, bias, U)]
    small = (nn.Sequential(*parts) if len(parts) > 1 else parts[0]).train(layer.training)
    before, after = costs([layer, small], batch)
    return Compressed(small, k, before, after)


def compress_all(model, rank=None, tol=None, energy=None, method="product", batch=256, plain=False):
    r"""Prune all UDV layers of a model, each by the rules of `compress`, in place.

    A layer whose parent reads its weight instead of calling it (attention's output projection, the linear layers of an
    encoder layer) becomes one plain layer whatever its rank, since there is one matrix to read.

    Parameters
    ----------
    model : torch.nn.Module
    rank, tol, energy, method, batch
        As in `compress`.
    plain : bool, default False
        Whether plain ``nn.Linear`` layers are pruned too. Those whose weight is shared with another layer never are.

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
    wanted = (UDVLinear, nn.Linear) if plain else UDVLinear
    found = {
        name: module
        for name, module in model.named_modules()
        if name and isinstance(module, wanted) and all(parameters[id(p)] == 1 for p in module.parameters())
    }
    read = read_layers(model)
    small = {name: compress(layer, rank, tol, energy, method, batch) for name, layer in found.items()}
    for name, one in small.items():
        if name in read and isinstance(one.layer, nn.Sequential) and len(one.layer) == 2:
            first, second = one.layer
            matrix = (second.weight @ first.weight).detach().cpu().numpy()
            whole = _linear(matrix, second.bias, first.weight).train(one.layer.training)
            small[name] = replace(one, layer=whole, after=costs([whole], batch)[0])
        model.set_submodule(name, small[name].layer)
    return small


def costs(layers, batch=256):
    """Parameters, bytes, operations and measured time of blocks, timed in turn so that drift hits all alike.

    Parameters
    ----------
    layers : list of the kinds that `compress` takes or returns
    batch : int, default 256

    Returns
    -------
    list of Cost

    Examples
    --------
    >>> costs([nn.Linear(20, 3, bias=False)])[0].flops
    120
    """
    whole_number("batch", batch, 1)
    shortest = [np.inf] * len(layers)
    for _ in range(REPEATS):
        for i, layer in enumerate(layers):
            shortest[i] = min(shortest[i], _seconds(layer, batch))
    return [
        Cost(
            parameters=sum(p.numel() for p in layer.parameters()),
            bytes=sum(p.numel() * p.element_size() for p in layer.parameters()),
            flops=_flops(layer),
            seconds=seconds,
        )
        for layer, seconds in zip(layers, shortest, strict=True)
    ]


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
            "a UDVLinear, a Linear or an nn.Sequential of Linear, Linear or Linear, ReLU, Linear was wanted; "
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


@torch.no_grad()
def _seconds(layer, batch):
    like = next(layer.parameters())
    inputs = layer.in_features if hasattr(layer, "in_features") else layer[0].in_features
    x = like.new_ones(batch, inputs)
    wait = torch.cuda.synchronize if like.is_cuda else (lambda: None)
    wait()
    begin = time.perf_counter()
    layer(x)
    wait()
    return time.perf_counter() - begin


def _flops(layer):
    if isinstance(layer, nn.Sequential):
        return sum(_flops(part) for part in layer if isinstance(part, nn.Linear))
    if isinstance(layer, UDVLinear):
        products = layer.hidden * (2 * layer.in_features + 2 * layer.out_features + 1)
    else:
        products = 2 * layer.in_features * layer.out_features
    return products + (0 if layer.bias is None else layer.out_features)


def _check_factors(U, D, V):
    fits = U.ndim >= 2 and V.ndim >= 2 and U.shape[-1:] == D.shape[-1:] == V.shape[-1:]
    if not fits or not U.shape[:-2] == D.shape[:-1] == V.shape[:-2]:
        raise InputError(f"U (*, d, m), D (*, m) and V (*, c, m) were wanted; got {U.shape}, {D.shape}, {V.shape}")
    if not all(np.isfinite(factor).all() for factor in (U, D, V)):
        raise InputError("a factor holds NaN or infinite values: this network diverged, there is nothing to prune")
