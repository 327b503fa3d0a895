"""Every method tuned with the same number of runs, and scored on the five splits."""

import json
import time
from dataclasses import asdict, dataclass

import numpy as np

from companion.completion.ratings.methods import METHODS, scale_of
from companion.completion.ratings.table import split
from companion.ledger import home
from udulib import solvers
from udulib.checks import whole_number
from udulib.errors import InputError
from udulib.factorization.descent import descend
from udulib.factorization.spectra import effective_rank, numerical_rank, singular_values
from udulib.problems import Completion

BUDGET = 20  # runs for each method


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
    >>> from companion.completion.ratings import from_arrays
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
    >>> from companion.completion.ratings import from_arrays
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
    >>> from companion.completion.ratings import from_arrays
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
    >>> from companion.completion.ratings import from_arrays
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
    at = range(every - 1, iterations, every)
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
    >>> from companion.completion.ratings import from_arrays
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
