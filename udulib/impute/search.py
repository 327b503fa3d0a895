"""Which means, which rank, which ridge: what predicts entries that were held out."""

import math
from dataclasses import dataclass, field, replace

import torch

from udulib.impute.entries import Entries
from udulib.impute.factors import Factors
from udulib.impute.pursuit import GAIN, Fold, Stage, begin, leading_residual, pursue
from udulib.impute.refit import NO_RIDGE, Work, refit
from udulib.seeds import generator

SCOUTED = (0.05, 10, 200_000)  # held out to see whether the entries are exact: share, least and most of them
EXACT = 1e-4  # held-out misfit over that of the means, squares: then no ridge is asked for
FOLD_SHARE, HELD, MOST_FOLDS = 0.1, 2000, 10  # held out in each fold, and entries held out in all
LARGE = 1_000_000  # entries beyond which ridges are tried around what was found without one, from the smallest up
RIDGES = tuple(2.0**-k for k in range(1, 9))  # over the largest singular value that the means leave
FEW_RIDGES = (2.0**-9, 2.0**-7, 2.0**-5)
PATIENCE, WORTH = (2, 10), 200_000  # ranks without gain before a pursuit ends: 200,000 over the entries, within 2 to 10
RIDGE_PATIENCE = 4
MOST = 40  # the limit of the rank, where none is given
WORSE = 2  # ridges in succession that gain nothing before the others are left out
FINISH = 1e-4  # the last refit stops when a step lowers the objective by less than this share


@dataclass(frozen=True)
class Candidate:
    """A stage of a pursuit, and the kind of model that it is of.

    Attributes
    ----------
    stage : Stage
    means : str
        As :class:`Factors` has them.
    offset : float
        Taken from all entries before.
    mean_ridge : (float, float)
    """

    stage: Stage
    means: str
    offset: float
    mean_ridge: tuple = NO_RIDGE


@dataclass(frozen=True)
class Found:
    """A completed matrix, and how it was chosen.

    Attributes
    ----------
    fit : Factors
        Of all entries, less ``offset``.
    offset, ridge : float
    mean_ridge : (float, float)
    error, means_error : float
        Root mean square error on what was held out: of this model, and of column means.
    exact : bool
        Whether what was held out came out so nearly that no ridge was asked for.
    limited : bool
        Whether the rank met the one that was asked for, or :data:`MOST`.
    work : Work
    """

    fit: Factors = field(repr=False)
    offset: float
    ridge: float
    mean_ridge: tuple
    error: float
    means_error: float
    exact: bool
    limited: bool
    work: Work


def search(entries, kinds=("", "c", "cr"), mean_ridge=NO_RIDGE, max_rank=None, seed=0, report=None):
    """Choose means, rank and ridge by what was held out, then refit on all entries.

    Parameters
    ----------
    entries : Entries
    kinds : sequence of str
        Kinds of means to try, as :class:`Factors` has them.
    mean_ridge : (float, float)
        Of row and column means, wherever the factors have a ridge.
    max_rank : int, optional
    seed : int
        Of what is held out.
    report : callable, optional
        Called with each :class:`Candidate`.

    Returns
    -------
    Found
    """
    run = _Search(entries, mean_ridge, max_rank, seed, report or (lambda candidate: None))
    scouted, baseline, folds = run.scout(kinds)
    chosen = scouted
    exact = chosen.stage.score <= EXACT * baseline.stage.score
    if not exact:
        if entries.count <= LARGE:
            folds = run.folds(math.ceil(FOLD_SHARE * entries.count), run.fold_count)
            baseline = run.means_alone(folds, "c")
            scouted = run.again(folds, scouted)
        chosen = run.with_small_ridges(folds, scouted)
        if entries.count <= LARGE:
            chosen = min(chosen, run.with_large_ridges(folds, kinds), key=_score)
        chosen = chosen if _clearly_better(chosen.stage, baseline.stage) else baseline
    stage, work = chosen.stage, run.work
    fit, _ = refit(
        entries.shifted(chosen.offset), stage.fits[0], stage.ridge, chosen.mean_ridge, steps=200, tol=FINISH, work=work
    )
    return Found(
        fit=fit,
        offset=chosen.offset,
        ridge=stage.ridge,
        mean_ridge=chosen.mean_ridge,
        error=math.sqrt(stage.score),
        means_error=math.sqrt(baseline.stage.score),
        exact=exact,
        limited=stage.rank >= run.asked,
        work=work,
    )


class _Search:
    def __init__(self, entries, mean_ridge, max_rank, seed, report):
        self.entries, self.mean_ridge, self.seed, self.report = entries, mean_ridge, seed, report
        self.asked = MOST if max_rank is None else max_rank
        self.limit = _rank_within(entries, min(self.asked, max(1, min(entries.shape) - 1)))
        self.work = Work()

    def scout(self, kinds):
        """Pursuits without a ridge on one fold, until one is exact; and the column means on that fold."""
        share, least, most = SCOUTED
        count = min(max(least, math.ceil(share * self.entries.count)), most, self.entries.count // 2)
        folds = self.folds(count, 1)
        baseline = self.means_alone(folds, "c")
        best = baseline
        for kind in kinds:
            start = baseline if kind == "c" else self.means_alone(folds, kind)
            found = self.pursued(folds, start, self.patience, self.limit)
            best = min(best, found, key=_score)
            if best.stage.score <= EXACT * baseline.stage.score:
                break
        return best, baseline, folds

    def again(self, folds, scouted):
        """What the scout found, on other folds: up to its rank, or one less or more."""
        start = self.means_alone(folds, scouted.means)
        return self.pursued(folds, start, self.patience, min(scouted.stage.rank + 1, self.limit))

    def with_small_ridges(self, folds, found):
        """What was found without a ridge, and what small ones make of it, as long as they help."""
        best = found
        for share in FEW_RIDGES:
            here = self.refitted(folds, best, share * self.top(folds, found), self.mean_ridge)
            if here.stage.score >= best.stage.score:
                break
            best = here
        return best

    def with_large_ridges(self, folds, kinds):
        """The best of pursuits from a large ridge down, each from the best of the one before, as long as they help.

        A kind of means is left as soon as it is behind the best one at the same ridge.
        """
        best, ahead = None, {}
        for kind in kinds:
            here = here_best = self.means_alone(folds, kind)
            top, waited = self.top(folds, here), 0
            for share in RIDGES:
                here = self.pursued(
                    folds, self.refitted(folds, here, share * top, self.mean_ridge), RIDGE_PATIENCE, self.limit
                )
                helped = here.stage.score < (1 - GAIN) * here_best.stage.score
                behind = here.stage.score > ahead.setdefault(share, here.stage.score)
                ahead[share] = min(ahead[share], here.stage.score)
                waited = 0 if helped and not behind else waited + bool(here.stage.rank)
                here_best = min(here_best, here, key=_score)
                if waited == WORSE:
                    break
            best = here_best if best is None else min(best, here_best, key=_score)
        return best

    def top(self, folds, candidate):
        """The largest singular value of what the means of a candidate's kind leave."""
        alone = self.means_alone(folds, candidate.means)
        folds = self.shifted(folds, alone.offset)
        return max(leading_residual(fold.seen, fit)[2] for fold, fit in zip(folds, alone.stage.fits, strict=True))

    @property
    def patience(self):
        least, most = PATIENCE
        return min(max(WORTH // self.entries.count, least), most)

    @property
    def fold_count(self):
        return min(max(math.ceil(HELD / (FOLD_SHARE * self.entries.count)), 1), MOST_FOLDS)

    def folds(self, held, count):
        """``count`` folds, each with its own ``held`` entries left out."""
        entries = self.entries
        order = generator("held out", self.seed).permutation(entries.count)
        order = torch.from_numpy(order).to(entries.rows.device)
        made = []
        for k in range(count):
            out = order[k * held : (k + 1) * held]
            seen = torch.ones(entries.count, dtype=torch.bool, device=out.device)
            seen[out] = False
            parts = entries.rows, entries.cols, entries.values
            made.append(Fold(Entries(*(p[seen] for p in parts), entries.shape), *(p[out] for p in parts)))
        return [fold for fold in made if len(fold.values)]

    def shifted(self, folds, offset):
        return [replace(f, seen=f.seen.shifted(offset), values=f.values - offset) for f in folds] if offset else folds

    def means_alone(self, folds, means):
        offset = float(self.entries.values.mean()) if means else 0.0
        start = [Factors.without_rank(self.entries.shape, means, self.entries.values)] * len(folds)
        return Candidate(begin(self.shifted(folds, offset), start, work=self.work), means, offset)

    def refitted(self, folds, candidate, ridge, mean_ridge):
        folds = self.shifted(folds, candidate.offset)
        stage = begin(folds, candidate.stage.fits, ridge, mean_ridge, work=self.work)
        return replace(candidate, stage=stage, mean_ridge=mean_ridge)

    def pursued(self, folds, candidate, patience, limit):
        def report(stage):
            self.report(replace(candidate, stage=stage))

        folds = self.shifted(folds, candidate.offset)
        stage = pursue(folds, candidate.stage, limit, patience, candidate.mean_ridge, work=self.work, report=report)
        return replace(candidate, stage=stage)


def _score(candidate):
    return candidate.stage.score


def _rank_within(entries, limit):
    """The largest rank, up to the limit, that has fewer unknowns than there are entries."""
    d, c = entries.shape
    return max((k for k in range(1, limit + 1) if k * (d + c - k) < entries.count), default=1)


def _clearly_better(stage, baseline):
    """Whether the held-out errors are lower by more than one standard error of the difference."""
    gain = baseline.errors - stage.errors
    return float(gain.mean()) > float(gain.std()) / math.sqrt(len(gain)) if len(gain) > 1 else False
