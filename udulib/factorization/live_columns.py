r"""Columns that have died: going on without them, and when that is not safe.

A column whose share of X is :math:`10^{-30}` costs as much as any other. Leaving such columns out makes the rest of a
run cheaper, but it also takes away what the run could still have become: where X has collapsed to a wrong point of
low rank, a dead column is the only way out of it.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from udulib.checks import positive_number
from udulib.errors import InputError


@dataclass(frozen=True)
class LiveColumns:
    r"""The columns of a run that are alive, and whether the others may be forgotten.

    Attributes
    ----------
    rank : int
        How many columns to go on with: those that are alive in some run of the batch.
    start : dict of array
        The factors without the others, largest column first: what ``descend`` takes as ``start``.
    dropped : int
        How many were left out.
    escape : array of float, shape (\*,)
        How strongly a new column would be pulled away from zero: :math:`-\lambda_{\min}(\nabla f(X))` over
        :math:`\|\mathcal A^*(b)\|`, the pull at X = 0. Zero or less means that no column is missing.
    safe : array of bool, shape (\*,)
        Whether ``escape`` is at most the tolerance.
    """

    rank: int
    start: dict = field(repr=False)
    dropped: int
    escape: np.ndarray
    safe: np.ndarray


def live_columns(problem, trace, rtol=1e-30, tol=1e-2, steps=40):
    r"""Find the columns of a finished run that are alive, to go on with them alone.

    Parameters
    ----------
    problem : Problem
        What was descended.
    trace : Trace
        Of ``BM`` or ``UDU``.
    rtol : float, default 1e-30
        A column is dead if :math:`d_j \|u_j\|^2` is at most this fraction of the largest.
    tol : float, default 1e-2
        The largest ``escape`` that passes for safe. At the wrong rank-one points of notebook 03 it is 0.04 and more,
        on the way to the right one 0.005 and falling; at the best rank-one fit to noisy data it stays at the noise.
    steps : int, default 40
        Of the Lanczos method that bounds the eigenvalues.

    Returns
    -------
    LiveColumns

    Raises
    ------
    InputError
        A trace with NaN or with a factor V, a tolerance that is not positive.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_completion(d=20, rank=1, observed=200, spectrum=(6.0,), seed=0)
    >>> trace = ul.descend(problem, ul.UDU(rank=5), step_size=0.01, iterations=3000)
    >>> live = live_columns(problem, trace, rtol=1e-12)
    >>> live.rank, live.dropped, bool(live.safe)
    (1, 4, True)
    >>> more = ul.descend(problem, ul.UDU(rank=live.rank), step_size=0.01, iterations=1000, start=live.start)
    >>> bool(truth.relative_error(more) < truth.relative_error(trace) / 10)
    True
    """
    rtol, tol = positive_number("rtol", rtol), positive_number("tol", tol)
    factors = trace.factors
    if "V" in factors or not all(np.isfinite(a).all() for a in factors.values()):
        raise InputError("live_columns wants the finite factors of BM or UDU; got a factor V, NaN or inf")
    U, D = factors["U"], factors.get("D", np.ones(factors["U"].shape[:-2] + factors["U"].shape[-1:]))
    share = D * np.sum(np.abs(U) ** 2, axis=-2)  # (*, r)
    order = np.argsort(-share, axis=-1)
    share = np.take_along_axis(share, order, axis=-1)
    rank = max(1, int(np.max(np.sum(share > rtol * share[..., :1], axis=-1))))
    order = order[..., :rank]
    start = {"U": np.take_along_axis(U, order[..., None, :], axis=-1)}
    if "D" in factors:
        start["D"] = np.take_along_axis(D, order, axis=-1)
    escape = _escape(problem, U, D, steps)
    return LiveColumns(rank, start, U.shape[-1] - rank, escape, escape <= tol)


def _escape(problem, U, D, steps):
    dtype = torch.complex128 if problem.is_complex else torch.float64
    U, D = torch.from_numpy(U).to(problem.b.device, dtype), torch.from_numpy(D).to(problem.b.device, torch.float64)
    residual = problem.measure(U * D[..., None, :], U) - problem.b
    lowest = _ritz_values(problem.adjoint(residual), U[..., :1], steps)[..., 0]
    pull = _ritz_values(problem.adjoint(problem.b), U[..., :1], steps).abs().amax(-1)
    return (-lowest / pull).numpy(force=True)


def _ritz_values(operator, like, steps):
    """Eigenvalues of the Lanczos matrix of a Hermitian operator, ascending: the outermost are nearly its own."""
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(like.shape, dtype=like.dtype, generator=generator).to(like.device)  # (*, d, 1)
    basis, diagonal, beside = [], [], []
    for _ in range(min(steps, like.shape[-2])):
        basis.append(v / torch.linalg.vector_norm(v, dim=(-2, -1), keepdim=True))
        v = operator @ basis[-1]
        diagonal.append((basis[-1].conj() * v).sum((-2, -1)).real)
        Q = torch.cat(basis, dim=-1)
        for _ in range(2):  # once leaves round-off in the directions already taken
            v = v - Q @ (Q.mH @ v)
        beside.append(torch.linalg.vector_norm(v, dim=(-2, -1)))
        if bool((beside[-1] <= 1e-13 * torch.stack(diagonal).abs().amax(0)).any()):
            break
    off = torch.stack(beside, dim=-1)[..., :-1]
    return torch.linalg.eigvalsh(
        torch.diag_embed(torch.stack(diagonal, dim=-1)) + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    )
