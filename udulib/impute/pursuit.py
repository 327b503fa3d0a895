"""Rank by pursuit: the leading directions of what is not explained join, least squares refits all."""

import math
from dataclasses import dataclass, field

import torch

from udulib.impute.refit import NO_RIDGE, Work, refit

POWER_STEPS = 15
EXPLAINED = 1e-14  # root of misfit over data: nothing is left to explain
GAIN = 3e-3  # share by which the held-out misfit falls, or the larger rank is not worth it
SHARE = 0.25  # directions that join at once under a ridge, as a share of those that are there


@dataclass(frozen=True)
class Fold:
    """Entries to fit, and entries held out."""

    seen: object
    rows: torch.Tensor = field(repr=False)
    cols: torch.Tensor = field(repr=False)
    values: torch.Tensor = field(repr=False)

    def errors(self, fit):
        """Squared errors on what is held out."""
        return (fit.at(self.rows, self.cols) - self.values) ** 2


@dataclass(frozen=True)
class Stage:
    """One rank, refitted on every fold.

    Attributes
    ----------
    fits : list of Factors
    ridge : float
    rank : int
    errors : torch.Tensor
        Squared errors on all that was held out.
    explained : bool
        Whether no fold leaves anything of its entries.
    """

    fits: list = field(repr=False)
    ridge: float
    rank: int
    errors: torch.Tensor = field(repr=False)
    explained: bool = False

    @property
    def score(self):
        """Mean squared error on what was held out."""
        return float(self.errors.mean())


def begin(folds, fits, ridge=0.0, mean_ridge=NO_RIDGE, tol=1e-3, work=None):
    """The fits, refitted: each on what its fold has to be seen."""
    done = [refit(fold.seen, fit, ridge, mean_ridge, tol=tol, work=work) for fold, fit in zip(folds, fits, strict=True)]
    return _stage(folds, done, ridge)


def pursue(folds, stage, limit, patience, mean_ridge=NO_RIDGE, tol=1e-3, work=None, report=None):
    """The best stage from ``stage`` on: ranks grow until ``patience`` of them in succession gain nothing held out."""
    best, ridge, waited, work = stage, stage.ridge, 0, work or Work()
    while stage.rank < limit and waited < patience and not stage.explained:
        count = min(limit - stage.rank, max(1, int(SHARE * stage.rank)) if ridge else 1)
        grown, top = [], 0.0
        for fold, fit in zip(folds, stage.fits, strict=True):
            u, v, size = leading_residual(fold.seen, fit, count)
            grown.append(fit.grown(u, v))
            top = max(top, size)
        if top <= ridge:  # then no direction lowers the penalised misfit
            break
        stage = begin(folds, grown, ridge, mean_ridge, tol, work)
        if report is not None:
            report(stage)
        if stage.score < (1 - GAIN) * best.score or (stage.explained and stage.score <= best.score):
            best, waited = stage, 0
        else:
            waited += 1
    return best


def leading_residual(entries, fit, count=1):
    """The leading ``count`` directions of what a fit leaves, scaled to lower the misfit most, and the largest size.

    Returns
    -------
    u : torch.Tensor, shape (d, count)
    v : torch.Tensor, shape (c, count)
    size : float
        The largest singular value of the residual.
    """
    _, G = entries.misfit(fit.L, fit.R)
    draw = torch.Generator().manual_seed(fit.rank)
    v = torch.randn(entries.shape[1], count, generator=draw, dtype=torch.float64).to(fit.R)
    for _ in range(POWER_STEPS):
        u = torch.linalg.qr(G @ v)[0]
        v = torch.linalg.qr(G.mH @ u)[0]
    P, s, Q = torch.linalg.svd(u.mT @ (G @ v))
    u, v = -(u @ P) * s.sqrt(), v @ Q.mT * s.sqrt()
    along = entries.product(u, v)
    length = -entries.inner(along, G) / max(entries.inner(along, along), math.ulp(0.0))
    root = math.sqrt(max(length, 0.0))
    return u * root, v * root, float(s[0])


def _stage(folds, done, ridge):
    fits = [fit for fit, _ in done]
    errors = torch.cat([fold.errors(fit) for fold, fit in zip(folds, fits, strict=True)])
    left = max(
        math.sqrt(2 * misfit / max(fold.seen.square, math.ulp(0.0)))
        for fold, (_, misfit) in zip(folds, done, strict=True)
    )
    return Stage(fits, ridge, fits[0].rank, errors, left <= EXPLAINED)
