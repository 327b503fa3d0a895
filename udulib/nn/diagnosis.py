"""What a trained layer has come to need: ranks, neurons that are alive, balls that are active."""

from dataclasses import dataclass, field

import numpy as np

from udulib.checks import finite_array, positive_number
from udulib.errors import InputError
from udulib.factorization.spectra import effective_rank
from udulib.nn.layer import UDVFactors
from udulib.nn.projection import udv_modules


@dataclass(frozen=True)
class Diagnosis:
    r"""The state of one UDV module; see `diagnose`.

    Attributes
    ----------
    hidden : int
        Neurons there are, m.
    contributions : array, shape (m,), descending
        :math:`|D_j|\,\|u_j\|\,\|v_j\|`, the norm of what neuron j adds to the map.
    alive : int
        Neurons that contribute more than ``tol`` times the largest.
    zeros : int
        Neurons that contribute exactly nothing.
    spectrum : array, descending
        Singular values of :math:`U\,\mathrm{diag}(D)`, which the paper shows.
    map_spectrum : array, descending
        Singular values of :math:`V\,\mathrm{diag}(D)\,U^\top`; of a convolution, those of all its groups.
    pressure : tuple of two floats
        :math:`\|U\|/R` and :math:`\|V\|/R` in the norm of the ball (of the largest column): 1 where it is active.
    bottleneck : bool
        Whether so few neurons are alive that the map cannot have full rank: fewer than both inputs and outputs.
    """

    hidden: int
    contributions: np.ndarray = field(repr=False)
    alive: int
    zeros: int
    spectrum: np.ndarray = field(repr=False)
    map_spectrum: np.ndarray = field(repr=False)
    pressure: tuple
    bottleneck: bool

    @property
    def effective_rank(self):
        """Effective rank of ``spectrum``, by entropy."""
        return float(effective_rank(self.spectrum))


def diagnose(model, tol=1e-2):
    r"""Which neurons of each UDV module are alive, its spectra, and whether its balls are active.

    A neuron whose u and v are zero, or far below the others, hardly comes back: the balls only shrink it, and what it
    would learn is proportional to itself. With a radius or a learning rate that does not fit, too few are left:
    ``bottleneck`` says that the map has lost rank. That may be what the data want, or a collapse; compare the loss with
    that of a larger radius or a smaller learning rate.

    Parameters
    ----------
    model : torch.nn.Module
    tol : float, in (0, 1), default 1e-2
        What counts as alive, relative to the largest neuron.

    Returns
    -------
    dict of str to Diagnosis
        By the modules' names in the model.

    Raises
    ------
    InputError
        No UDV module in the model, a ``tol`` out of range, factors with NaN.

    Examples
    --------
    >>> from udulib.nn import UDVLinear, project_
    >>> import torch
    >>> layer = UDVLinear(20, 10, hidden=16, generator=torch.Generator().manual_seed(0)).project_()
    >>> found = diagnose(layer)[""]
    >>> found.zeros == int((layer.D == 0).sum()), found.alive < found.hidden
    (True, True)
    """
    if not positive_number("tol", tol) < 1:
        raise InputError(f"tol is a share of the largest neuron, between 0 and 1; got {tol!r}")
    found = {name: module for name, module in udv_modules(model).items() if isinstance(module, UDVFactors)}
    if not found:
        raise InputError("the model has no UDV layer (UDVLinear or another of UDVFactors); nothing to diagnose")
    return {name: _diagnosis(module, tol) for name, module in found.items()}


def _diagnosis(module, tol):
    U, D, V = (finite_array(letter, getattr(module, letter).double()) for letter in "UDV")
    contributions = np.sort(np.abs(D) * np.linalg.norm(U, axis=0) * np.linalg.norm(V, axis=0))[::-1]
    alive = int(np.sum(contributions > tol * contributions[0]))
    axis = None if module.ball == "frobenius" else 0
    return Diagnosis(
        hidden=module.hidden,
        contributions=contributions,
        alive=alive,
        zeros=int(np.sum(contributions == 0)),
        spectrum=np.linalg.svd(U * D, compute_uv=False),
        map_spectrum=_map_spectrum(U, D, V, getattr(module, "groups", 1)),
        pressure=tuple(float(np.max(np.linalg.norm(matrix, axis=axis)) / module.radius) for matrix in (U, V)),
        bottleneck=alive < getattr(module, "groups", 1) * min(module.in_features, module.out_features),
    )


def _map_spectrum(U, D, V, groups):
    U, V = (np.stack(np.split(factor, groups, axis=1)) for factor in (U, V * D))  # (g, d, m), (g, c, m)
    return np.sort(np.linalg.svd(V @ np.swapaxes(U, 1, 2), compute_uv=False).ravel())[::-1]
