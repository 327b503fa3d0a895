r"""Real ratings: MovieLens 100K, its splits, and every method tuned with the same number of runs.

The protocol. 8,000 ratings are set aside once, for validation. Of the other 92,000 a split takes 20,000 for its test.
Each method gets :data:`BUDGET` runs on the training part of split 0, scored on the validation ratings; iterations are
chosen by validation too, at no extra cost. The best run's settings are then fitted on training and validation ratings
together, split by split, and tested once. No test rating is ever scored while tuning.
"""

import json
import time
from dataclasses import asdict, dataclass, field

import numpy as np

from companion import data
from companion.ledger import home
from udulib import solvers
from udulib.checks import whole_number
from udulib.errors import InputError
from udulib.factorization.descent import descend
from udulib.factorization.models import UDV, UV
from udulib.factorization.radius import estimated_spectrum
from udulib.factorization.spectra import effective_rank, numerical_rank, singular_values
from udulib.problems import Completion
from udulib.seeds import generator

BUDGET = 20  # runs for each method
COLUMNS = 40  # of U and V, where the rank is to be found and not given
CORE = (200, 300)  # most active users and most rated films of the small version


@dataclass(frozen=True)
class Ratings:
    """Who rated what, and how.

    Attributes
    ----------
    users, items : array of int, shape (n,)
        Counted from zero.
    values : array of float, shape (n,)
        1 to 5.
    shape : (int, int)
        Numbers of users and items.
    """

    users: np.ndarray = field(repr=False)
    items: np.ndarray = field(repr=False)
    values: np.ndarray = field(repr=False)
    shape: tuple

    def problem(self, index, means=None):
        """The ratings at ``index`` as a completion problem, less ``means`` (None: nothing) where given."""
        i, j, values = self.users[index], self.items[index], self.values[index]
        return Completion(i, j, values if means is None else values - means.at(i, j), self.shape)


def load(core=False, folder=None):
    """MovieLens 100K through ``companion.data``.

    Parameters
    ----------
    core : bool, default False
        Only the 200 most active users and the 300 most rated films: seconds instead of minutes.
    folder : path, optional
        As in ``companion.data.fetch``.

    Returns
    -------
    Ratings

    Examples
    --------
    >>> load()  # doctest: +SKIP
    Ratings(shape=(943, 1682))
    """
    table = np.loadtxt(data.fetch("movielens-100k", folder), dtype=int)
    users, items, values = table[:, 0] - 1, table[:, 1] - 1, table[:, 2].astype(float)
    return from_arrays(users, items, values, CORE if core else None)


def from_arrays(users, items, values, core=None):
    """Ratings from three arrays; with ``core`` only those of the most active users and the most rated items.

    Examples
    --------
    >>> from_arrays(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([5.0, 3.0, 4.0]), core=(1, 2)).shape
    (1, 2)
    """
    if core is not None:
        keep = []
        for who, size in zip((users, items), core, strict=True):
            keep.append(np.argsort(-np.bincount(who), kind="stable")[:size])
        place = [np.full(who.max() + 1, -1) for who in (users, items)]
        for where, kept in zip(place, keep, strict=True):
            where[kept] = np.arange(len(kept))
        users, items = place[0][users], place[1][items]
        inside = (users >= 0) & (items >= 0)
        users, items, values = users[inside], items[inside], values[inside]
    return Ratings(users, items, values, (int(users.max()) + 1, int(items.max()) + 1))


@dataclass(frozen=True)
class Split:
    """Indices of a split's ratings: 72 % for training, 8 % for validation (the same in every split), 20 % for test."""

    train: np.ndarray = field(repr=False)
    validation: np.ndarray = field(repr=False)
    test: np.ndarray = field(repr=False)
    seed: int


def split(ratings, seed):
    """Split ``seed`` of the protocol.

    Parameters
    ----------
    ratings : Ratings
    seed : int

    Returns
    -------
    Split

    Examples
    --------
    >>> ratings = from_arrays(np.arange(100), np.arange(100), np.ones(100))
    >>> one, two = split(ratings, 0), split(ratings, 1)
    >>> len(one.train), len(one.test), bool((one.validation == two.validation).all())
    (72, 20, True)
    """
    n = len(ratings.values)
    order = generator("validation", 0).permutation(n)
    validation, rest = np.sort(order[: n * 8 // 100]), order[n * 8 // 100 :]
    rest = generator("test", seed).permutation(rest)
    return Split(np.sort(rest[n // 5 :]), validation, np.sort(rest[: n // 5]), seed)


# Methods -------------------------------------------------------------------------------------------------------------
# Each has `draw`, the settings of its 20 runs, relative to the data's own scale where one is needed, and `fit`, which
# fits a problem and, given a problem to watch, also returns when to stop and the misfit there.


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
    centred = True  # whether row and column means can be taken out first

    def draws(self, budget, scale):
        rng = generator(type(self).__name__, 0)
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
            record_at=range(self.every, iterations + 1, self.every) if long else [],
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
        return fit, {"iterations": int(trace.iteration[best + 1]) - 1}, float(misfit[best])


class _UDV(_Descended):
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
    def draw(self, rng, _, scale):
        return {
            "init_scale": scale.norm**0.5 * _log_uniform(rng, 1e-3, 1.0),
            "step_size": _log_uniform(rng, 0.1, 1.0) / (scale.density * scale.norm),
        }

    def model(self, settings):
        return UV(rank=COLUMNS)


class _DecayedUV(_UV):
    dtype = "float32"  # no fused kernel for this model: half the time

    def draw(self, rng, part, scale):
        settings = super().draw(rng, part, scale)
        return settings | {"weight_decay": scale.noise * _log_uniform(rng, 0.1, 1.0)}

    def model(self, settings):
        return solvers.DecayedUV(rank=COLUMNS, weight_decay=settings["weight_decay"])


class _SoftImpute(_Method):
    def draw(self, rng, part, scale):
        return {"penalty": float(scale.noise * 0.15 ** (1 - part))}

    def fit(self, problem, settings, watch=None):
        fit = solvers.soft_impute(problem, settings["penalty"], rank=COLUMNS, sweeps=100, tol=1e-3)
        return fit, {} if watch else None, _misfit(fit, watch) if watch else None


class _ALS(_Method):
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


def prepared(ratings, index, method, centred=True, explained=0.0):
    """A training problem, and the means that were taken out of it.

    Parameters
    ----------
    ratings : Ratings
    index : array of int
        Which ratings.
    method : str
        One of ``METHODS``.
    centred : bool, default True
        Take user and item means out; else only the overall mean. A method with means of its own gets the ratings.
    explained : array, default 0
        What factors explain already of these ratings: the means are those of the rest.

    Returns
    -------
    problem : Completion
    means : Means or None

    Examples
    --------
    >>> ratings = from_arrays(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([5.0, 3.0, 4.0]))
    >>> prepared(ratings, np.arange(3), "ALS", centred=False)[1].overall
    4.0
    """
    raw = ratings.problem(index)
    if not METHODS[method].centred:
        return raw, None
    overall = float(ratings.values[index].mean())
    if not centred:
        means = solvers.Means(overall, *(np.zeros(n) for n in ratings.shape))
    else:
        i, j, values = ratings.users[index], ratings.items[index], ratings.values[index]
        means = solvers.means(Completion(i, j, values - explained, ratings.shape))
    return ratings.problem(index, means), means


def tune(method, ratings, centred=True, budget=BUDGET):
    """The runs of one method on split 0, each with its settings, validation RMSE and time.

    Parameters
    ----------
    method : str
        One of ``METHODS``.
    ratings : Ratings
    centred : bool, default True
        Take user and item means out first; else only the overall mean.
    budget : int, default 20

    Returns
    -------
    dict
        ``method``, ``centred``, ``runs`` (settings, validation, seconds), and ``chosen``, the settings of the best.

    Raises
    ------
    InputError
        An unknown method.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> pairs = rng.choice(600, 400, replace=False)
    >>> ratings = from_arrays(pairs // 30, pairs % 30, rng.integers(1, 6, 400).astype(float))
    >>> log = tune("ALS", ratings, budget=2)
    >>> len(log["runs"]), sorted(log["chosen"])
    (2, ['rank', 'ridge', 'sweeps', 'weighted'])
    """
    if method not in METHODS:
        raise InputError(f"method is one of {', '.join(METHODS)}; got {method!r}")
    parts = split(ratings, 0)
    problem, means = prepared(ratings, parts.train, method, centred)
    watch = ratings.problem(parts.validation, means)
    runs = []
    for settings in METHODS[method].draws(budget, scale_of(problem)):
        start = time.process_time()
        _, stop, misfit = METHODS[method].fit(problem, settings, watch)
        rmse = np.sqrt(2 * misfit / len(parts.validation))
        runs.append(
            {
                "settings": settings | stop,
                "validation": float(rmse) if np.isfinite(rmse) else None,
                "seconds": round(time.process_time() - start, 2),
            }
        )
    best = min((run for run in runs if run["validation"] is not None), key=lambda run: run["validation"])
    return {"method": method, "centred": centred, "runs": runs, "chosen": best["settings"]}


def log_path(core=False):
    """Where the committed tuning log lies: beside the published results, in the checkout or in the package."""
    return home() / "results" / "tuning" / ("movielens-100k-core.json" if core else "movielens-100k.json")


def read_logs(core=False):
    """The committed tuning logs.

    Parameters
    ----------
    core : bool, default False
        Those of the small version.

    Returns
    -------
    list of dict
        As :func:`tune` returns them, each with its ``scores`` on the five splits.

    Examples
    --------
    >>> logs = read_logs()
    >>> all(len(log["runs"]) == BUDGET for log in logs)
    True
    """
    return json.loads(log_path(core).read_text(encoding="utf-8"))["logs"]


@dataclass(frozen=True)
class Score:
    """One method on one split.

    Attributes
    ----------
    rmse : float
        On the test ratings; predictions are cut to 1 ... 5.
    seconds : float
        Processor time of the fit.
    rank : int
        Singular values above 1 % of the largest.
    columns : int
        Of the factors.
    effective_rank : float
        Entropy effective rank.
    """

    rmse: float
    seconds: float
    rank: int
    columns: int
    effective_rank: float


def score(method, settings, ratings, parts, centred=True, rounds=1):
    """Fit with the chosen settings on training and validation ratings, and test.

    Parameters
    ----------
    method : str
        One of ``METHODS``.
    settings : dict
        As ``tune`` chose them.
    ratings : Ratings
    parts : Split
    centred : bool, default True
        As in ``tune``.
    rounds : int, default 1
        How often means and factors are fitted in turn, each to what the other leaves.

    Returns
    -------
    Score

    Raises
    ------
    InputError
        An unknown method.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> pairs = rng.choice(600, 400, replace=False)
    >>> ratings = from_arrays(pairs // 30, pairs % 30, rng.integers(1, 6, 400).astype(float))
    >>> settings = {"rank": 1, "ridge": 5.0, "weighted": False, "sweeps": 5}
    >>> bool(score("ALS", settings, ratings, split(ratings, 0)).rmse > 1)
    True
    """
    if method not in METHODS:
        raise InputError(f"method is one of {', '.join(METHODS)}; got {method!r}")
    index, explained = np.append(parts.train, parts.validation), 0.0
    seconds = 0.0
    for _ in range(whole_number("rounds", rounds, 1)):
        problem, means = prepared(ratings, index, method, centred, explained)
        start = time.process_time()
        fit, _, _ = METHODS[method].fit(problem, settings)
        seconds += time.process_time() - start
        explained = fit.entries(ratings.users[index], ratings.items[index])
    i, j = ratings.users[parts.test], ratings.items[parts.test]
    predicted = fit.entries(i, j) + (0.0 if means is None else means.at(i, j))
    error = np.clip(predicted, 1.0, 5.0) - ratings.values[parts.test]
    s = singular_values(fit.factors["U"], V=fit.factors["V"])
    return Score(
        float(np.sqrt(np.mean(error**2))),
        seconds,
        int(numerical_rank(s, rtol=1e-2)),
        fit.rank,
        float(effective_rank(s)),
    )


def follow(settings, ratings, parts, iterations, centred=True):
    """A UDV run on the training part of a split, with the validation and test ratings watched.

    Parameters
    ----------
    settings : dict
        As ``tune`` chose them for UDV.
    ratings : Ratings
    parts : Split
    iterations : int
    centred : bool, default True
        As in ``tune``.

    Returns
    -------
    Trace
        Its ``monitor`` holds half the squared errors on ``"validation"`` and ``"test"``.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> pairs = rng.choice(600, 400, replace=False)
    >>> ratings = from_arrays(pairs // 30, pairs % 30, rng.integers(1, 6, 400).astype(float))
    >>> settings = {"radius": 1.0, "d_init": 1.0, "init_scale": 0.1, "step_size": 0.01}
    >>> sorted(follow(settings, ratings, split(ratings, 0), iterations=50).monitor)
    ['test', 'validation']
    """
    problem, means = prepared(ratings, parts.train, "UDV", centred)
    watched = {name: ratings.problem(getattr(parts, name), means) for name in ("validation", "test")}
    given = {name: settings[name] for name in ("step_size", "init_scale", "d_init")}
    every = max(1, iterations // 120)
    at = range(every, iterations + 1, every)
    model = METHODS["UDV"].model(settings)
    return descend(problem, model, iterations=iterations, record_at=at, monitor=watched, device="cpu", **given)


def log_all(ratings, methods=METHODS, budget=BUDGET):
    """Tune every method, with and without means taken out first, and score it on five splits: what is committed.

    Parameters
    ----------
    ratings : Ratings
    methods : sequence of str
        All of ``METHODS`` if left out.
    budget : int, default 20
        Runs of each.

    Yields
    ------
    dict
        As :func:`tune` returns it, with ``scores``, one :class:`Score` a split.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> pairs = rng.choice(600, 400, replace=False)
    >>> ratings = from_arrays(pairs // 30, pairs % 30, rng.integers(1, 6, 400).astype(float))
    >>> [(log["centred"], len(log["scores"])) for log in log_all(ratings, ["ALS"], budget=2)]
    [(True, 5), (False, 5)]
    """
    for method in methods:
        for centred in (True, False) if METHODS[method].centred else (True,):
            log = tune(method, ratings, centred, budget)
            scores = [score(method, log["chosen"], ratings, split(ratings, seed), centred) for seed in range(5)]
            yield log | {"scores": [asdict(one) for one in scores]}
