"""What a block costs: parameters, bytes, operations, measured time."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from udulib.checks import whole_number
from udulib.nn import UDVConv2d, UDVLinear

REPEATS = 10  # of a timing; the shortest counts


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


def costs(layers, batch=256, image=(16, 16)):
    """Parameters, bytes, operations and measured time of blocks, timed in turn so that drift hits all alike.

    Parameters
    ----------
    layers : list of the kinds that `compress` takes or returns
    batch : int, default 256
    image : tuple of two ints, default (16, 16)
        Height and width of the pictures that a convolution is counted and timed for.

    Returns
    -------
    list of Cost

    Examples
    --------
    >>> costs([nn.Linear(20, 3, bias=False)])[0].flops
    120
    """
    whole_number("batch", batch, 1)
    height, wide = (whole_number("image (height, width)", side, 1) for side in image)
    inputs = [_inputs(layer, batch, (height, wide)) for layer in layers]
    shortest = [np.inf] * len(layers)
    for _ in range(REPEATS):
        for i, layer in enumerate(layers):
            shortest[i] = min(shortest[i], _seconds(layer, inputs[i]))
    return [
        Cost(
            parameters=sum(p.numel() for p in layer.parameters()),
            bytes=sum(p.numel() * p.element_size() for p in layer.parameters()),
            flops=_flops(layer, x[:1]),
            seconds=seconds,
        )
        for layer, x, seconds in zip(layers, inputs, shortest, strict=True)
    ]


def _inputs(layer, batch, image):
    like = next(layer.parameters())
    first = layer[0] if isinstance(layer, nn.Sequential) else layer
    shape = (first.in_channels, *image) if hasattr(first, "in_channels") else (first.in_features,)
    return like.new_ones(batch, *shape)


@torch.no_grad()
def _seconds(layer, x):
    wait = torch.cuda.synchronize if x.is_cuda else (lambda: None)
    wait()
    begin = time.perf_counter()
    layer(x)
    wait()
    return time.perf_counter() - begin


@torch.no_grad()
def _flops(layer, x):
    """For one input: two for each number of a matrix and each place where it is used, and one for each of a bias."""
    if isinstance(layer, nn.Sequential):
        total = 0
        for part in layer:
            total += _flops(part, x) if isinstance(part, (nn.Linear, nn.Conv2d)) else 0
            x = part(x)
        return total
    y = layer(x)
    places = y[0, 0].numel() if y.ndim == 4 else 1
    if isinstance(layer, UDVConv2d):  # the diagonal is multiplied into V once for all places
        numbers = 2 * places * (layer.U.numel() + layer.V.numel()) + layer.V.numel()
    elif isinstance(layer, UDVLinear):
        numbers = layer.hidden * (2 * layer.in_features + 2 * layer.out_features + 1)
    else:
        numbers = 2 * places * layer.weight.numel()
    return numbers + (0 if layer.bias is None else y.numel())
