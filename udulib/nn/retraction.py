"""The layer with its constraint inside its parametrization instead of behind the step: an experiment."""

import torch
from torch import nn
from torch.nn.utils import parametrize

from udulib.errors import InputError
from udulib.nn.layer import UDVFactors


class _Retraction(nn.Module):
    def __init__(self, radius, dim):
        super().__init__()
        self.radius, self.dim = radius, dim

    def forward(self, matrix):
        norms = torch.linalg.vector_norm(matrix, dim=self.dim, keepdim=True)
        return matrix / (norms / self.radius).clamp(min=1.0)


class _Magnitude(nn.Module):
    def forward(self, numbers):
        return numbers.abs()


def retraction_experiment(layer):
    r"""An experiment, not the paper's method: keep the set by the formula instead of by projection.

    U and V are computed as :math:`W/\max(1, \|W\|/R)` from free parameters, D as :math:`|\cdot|`, and gradients pass
    through. The optimizer then sees another landscape: what it ends at differs from the projected method.

    Parameters
    ----------
    layer : UDVLinear
        Changed in place (by ``torch.nn.utils.parametrize``).

    Returns
    -------
    UDVLinear
        It is feasible at all times; `attach` refuses it, as there is nothing to project.

    Examples
    --------
    >>> from udulib.nn import UDVLinear, feasible
    >>> feasible(retraction_experiment(UDVLinear(40, 20, hidden=30)))
    True
    """
    if not isinstance(layer, UDVFactors) or parametrize.is_parametrized(layer):
        raise InputError(f"a plain UDV layer was wanted; got {type(layer).__name__}")
    dim = (0, 1) if layer.ball == "frobenius" else 0
    for letter in "UV":
        parametrize.register_parametrization(layer, letter, _Retraction(layer.radius, dim))
    if layer.nonnegative:
        parametrize.register_parametrization(layer, "D", _Magnitude())
    return layer
