"""The spectrum of each adapter, and cutting it to what it needs."""

import contextlib

import numpy as np
import torch

from udulib.checks import whole_number
from udulib.compress import width
from udulib.errors import InputError
from udulib.factorization.spectra import singular_values
from udulib.lora.adapt import adapted_layers, adapters_of
from udulib.lora.layers import factors_of

_CUTS = ("product", "factor")


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
    >>> from torch import nn
    >>> from udulib.lora import add
    >>> model = nn.Sequential(nn.Linear(8, 6))
    >>> _ = add(model, ["0"], rank=4)
    >>> spectra(model)["0"]
    array([0., 0., 0., 0.])
    """
    _check_of(of)
    found = {}
    for layer, adapter in adapters_of(model, name).items():
        U, D, V = (factor.cpu().double().numpy() for factor in factors_of(adapter))
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
    >>> from torch import nn
    >>> from udulib.lora import add
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
        adapter.fill_(*cut_factors(adapter, rank, energy, of))
        kept[layer] = adapter.rank if rank != 0 else 0
    return kept


@contextlib.contextmanager
def restored(model, name="default"):
    """Inside the block an adapter may be cut; behind it the factors are as before.

    Examples
    --------
    >>> from torch import nn
    >>> from udulib.lora import add
    >>> model = nn.Sequential(nn.Linear(8, 6))
    >>> _ = add(model, ["0"], rank=4)
    >>> with restored(model):
    ...     _ = cut(model, rank=1)
    >>> adapted_layers(model)["0"].adapters["default"].rank
    4
    """
    before = {adapter: [f.clone() for f in factors_of(adapter)] for adapter in adapters_of(model, name).values()}
    try:
        yield
    finally:
        for adapter, factors in before.items():
            adapter.fill_(*factors)


@torch.no_grad()
def cut_factors(adapter, rank, energy, of):
    """The factors cut, with rank 0 as one column that is zero; in float64 where the device has it."""
    U, D, V = (factor.double() for factor in factors_of(adapter))
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


def _check_of(of):
    if of not in _CUTS:
        raise InputError(f"of is one of {', '.join(map(repr, _CUTS))}; got {of!r}")
