"""A convolution cut to two: one with few channels, and one of 1 × 1 behind it; or to one, where that is smaller."""

import numpy as np
import torch
from torch import nn

from udulib.compress.ranking import break_even, ranked, width
from udulib.nn import UDVConv2d


def cut_convolution(layer, rank, tol, energy, method):
    """The plain convolution, the neurons kept in each group, and the rank up to which two are smaller."""
    factors = ranked(*_factors(layer), method)  # (g, d, m), (g, m), (g, c, m)
    many = np.max if energy is None else np.linalg.norm  # neuron j of all groups together
    k = width(many(factors.scores, axis=0), rank, tol, energy)
    first = np.swapaxes(factors.U * factors.D[:, None], 1, 2)[:, : max(k, 1)]  # (g, k, d)
    second = factors.V[:, :, : max(k, 1)] * (k > 0)  # (g, c, k); one neuron of zeros where none is kept
    limit = break_even(factors.U.shape[1], factors.V.shape[1])
    if k > limit:
        return _convolution(layer, second @ first, layer.bias), k, limit
    return nn.Sequential(_convolution(layer, first), _pointwise(layer, second)), k, limit


def _factors(layer):
    if isinstance(layer, UDVConv2d):
        parts = (factor.detach().unflatten(-1, (layer.groups, -1)) for factor in (layer.U, layer.D, layer.V))
        return [part.movedim(-2, 0).double().cpu().numpy() for part in parts]
    matrices = layer.weight.detach().flatten(1).unflatten(0, (layer.groups, -1)).double().cpu().numpy()  # (g, c, d)
    g, c, _ = matrices.shape
    return np.swapaxes(matrices, 1, 2), np.ones((g, c)), np.broadcast_to(np.eye(c), (g, c, c))


def _convolution(layer, matrices, bias=None):
    """One with the geometry of a layer, from the matrices (g, c, d) of its groups."""
    channels = matrices.shape[0] * matrices.shape[1]
    names = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    geometry = {name: getattr(layer, name) for name in names}
    plain = nn.Conv2d(layer.in_channels, channels, bias=bias is not None, **geometry)
    return _filled(plain, matrices, bias, next(layer.parameters()))


def _pointwise(layer, matrices):
    g, c, k = matrices.shape
    plain = nn.Conv2d(g * k, g * c, 1, groups=g, bias=layer.bias is not None)
    return _filled(plain, matrices, layer.bias, next(layer.parameters()))


def _filled(plain, matrices, bias, like):
    numbers = torch.from_numpy(np.ascontiguousarray(matrices)).reshape(plain.weight.shape)
    plain.weight = nn.Parameter(numbers.to(like))
    if bias is not None:
        plain.bias = nn.Parameter(bias.detach().clone())
    return plain
