"""The methods that are compared on the ratings: how each draws its settings, and how it fits them.

Each has ``draw``, the settings of its 20 runs, relative to the data's own scale where one is needed, and ``fit``, which
fits a problem and, given a problem to watch, also returns when to stop and the misfit there.
"""

from dataclasses import dataclass

import numpy as np

from udulib import solvers
from udulib.factorization.descent import descend
from udulib.factorization.models import UDV, UV
from udulib.factorization.radius import estimated_spectrum
from udulib.seeds import generator

COLUMNS = 40  # of U and V, where the rank is to be found and not given


@dataclass(frozen=True)
class Scale:
    """What the settings of a method are measured in; see :func:`udulib.factorization.radius.estimated_spectrum`.

    Attributes
    ----------
    norm : float
        Estimated largest singular value of the missing-free matrix.
    noise : float
        Operator norm of the observed entries with random signs: the smallest penalty that removes pure noise.
    density : float
        Share of the entries known in the fullest row or column.
    """

    norm: float
    noise: float
    density: float


def scale_of(problem):
    """The scale of a problem's settings, from its entries.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_completion(d=(30, 40), rank=2, observed=600, spectrum=(2.0, 1.0), seed=0)
    >>> 1.5 < scale_of(problem).norm < 2.5
    True
    """
    spectrum, edge, density = estimated_spectrum(problem)
    share = problem.b.shape[-1] / (problem.shape[0] * problem.shape[1])
    return Scale(float(spectrum[0]), float(edge * share / np.sqrt(1 - share)), density)


class _Method:
    word: str  # that its settings are drawn by: the committed tuning rests on it, whatever the class is called
    centred = True  # whether row and column means can be taken out first

    def draws(self, budget, scale):
        rng = generator(self.word, 0)
        return [self.draw(rng, k / max(budget - 1, 1), scale) for k in range(budget)]


def _log_uniform(rng, low, high):
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


class _Descended(_Method):
    longest, every, dtype = 1000, 10, "float64"

    def fit(self, problem, settings, watch=None):
        long = watch is not None
        iterations = self.longest if long else settings["iterations"]
        trace = descend(
            problem,
            self.model(settings),
            step_size=settings["step_size"],
            init_scale=settings["init_scale"],
            d_init=settings.get("d_init", 1.0),
            iterations=iterations,
            record_at=range(self.every - 1, iterations, self.every) if long else [],
            monitor={"watch": watch} if long else None,
            dtype=self.dtype,
            device="cpu",
        )
        factors = trace.factors
        fit = solvers.Fit({"U": factors["U"] * factors.get("D", 1.0), "V": factors["V"]}, trace.objective)
        if not long:
            return fit, None, None
        misfit = np.nan_to_num(trace.monitor["watch"], nan=np.inf)
        misfit = np.maximum(misfit, np.maximum(np.roll(misfit, 1), np.roll(misfit, -1)))[1:-1]  # no lucky moment counts
        best = int(np.argmin(misfit))
        return fit, {"iterations": int(trace.iteration[best + 1])}, float(misfit[best])


class _UDV(_Descended):
    word = "_UDV"
    longest = 3000

    def draw(self, rng, _, scale):
        radius = (scale.norm * _log_uniform(rng, 0.1, 1.0)) ** (1 / 3)
        d_init = radius * _log_uniform(rng, 0.1, 4.0)
        steepest = scale.density * scale.norm * max(d_init, scale.norm / radius**2)  # as in largest_step
        return {
            "radius": radius,
            "d_init": d_init,
            "init_scale": radius * _log_uniform(rng, 0.1, 1.0),
            "step_size": _log_uniform(rng, 0.2, 1.0) / steepest,
        }

    def model(self, settings):
        return UDV(rank=COLUMNS, radius=settings["radius"])


class _UV(_Descended):
    word = "_UV"

    def draw(self, rng, _, scale):
        return {
            "init_scale": scale.norm**0.5 * _log_uniform(rng, 1e-3, 1.0),
            "step_size": _log_uniform(rng, 0.1, 1.0) / (scale.density * scale.norm),
        }

    def model(self, settings):
        return UV(rank=COLUMNS)


class _DecayedUV(_UV):
    word = "_DecayedUV"
    dtype = "float32"  # no fused kernel for this model: half the time

    def draw(self, rng, part, scale):
        settings = super().draw(rng, part, scale)
        return settings | {"weight_decay": scale.noise * _log_uniform(rng, 0.1, 1.0)}

    def model(self, settings):
        return solvers.DecayedUV(rank=COLUMNS, weight_decay=settings["weight_decay"])


class _SoftImpute(_Method):
    word = "_SoftImpute"

    def draw(self, rng, part, scale):
        return {"penalty": float(scale.noise * 0.15 ** (1 - part))}

    def fit(self, problem, settings, watch=None):
        fit = solvers.soft_impute(problem, settings["penalty"], rank=COLUMNS, sweeps=100, tol=1e-3)
        return fit, {} if watch else None, _misfit(fit, watch) if watch else None


class _ALS(_Method):
    word = "_ALS"
    longest = 20

    def __init__(self, given):
        self.given = given  # whether the rank is one of the settings

    def draw(self, rng, part, scale):
        weighted = bool(rng.random() < 0.5)
        return {
            "rank": int(2 ** rng.integers(1, 5)) if self.given else COLUMNS,
            "ridge": _log_uniform(rng, 0.03, 0.6) if weighted else _log_uniform(rng, 1.0, 40.0),
            "weighted": weighted,
        }

    def fit(self, problem, settings, watch=None):
        given = dict(rank=settings["rank"], ridge=settings["ridge"], weighted=settings["weighted"])
        if watch is None:
            return solvers.als(problem, sweeps=settings["sweeps"], tol=0.0, **given), None, None
        misfits = []
        fit = solvers.als(
            problem, sweeps=self.longest, tol=0.0, watch=lambda f: misfits.append(_misfit(f, watch)), **given
        )
        best = int(np.argmin(misfits))
        return fit, {"sweeps": best + 1}, misfits[best]


class _Biased(_Method):
    word = "_Biased"
    centred = False  # it has means of its own
    longest, every = 200, 10

    def draw(self, rng, part, scale):
        return {
            "rank": int(rng.choice([5, 20, 50, 100])),
            "ridge": _log_uniform(rng, 0.02, 0.2),
            "step_size": _log_uniform(rng, 0.003, 0.03),
        }

    def fit(self, problem, settings, watch=None):
        if watch is None:
            return solvers.biased_factorization(problem, **settings), None, None
        fit, misfits = None, []
        for _ in range(self.longest // self.every):
            fit = solvers.biased_factorization(problem, epochs=self.every, start=fit, **settings)
            misfits.append(_misfit(fit, watch))
        best = int(np.argmin(misfits))
        return fit, {"epochs": self.every * (best + 1)}, misfits[best]


METHODS = {
    "UDV": _UDV(),
    "UV": _UV(),
    "UV with weight decay": _DecayedUV(),
    "soft-impute": _SoftImpute(),
    "ALS": _ALS(given=True),
    "ALS, 40 columns": _ALS(given=False),
    "biased factorization": _Biased(),
}


def _misfit(fit, watch):
    residual = fit.entries(watch.rows.numpy(), watch.cols.numpy()) - watch.b.numpy()
    return 0.5 * float(residual @ residual)
