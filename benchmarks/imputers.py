"""Tables with holes, completed by ``LowRankImputer`` and others: ``OMP_NUM_THREADS=1 python benchmarks/imputers.py``.

Planted tables over noise and entries for each degree of freedom, and three tables of scikit-learn. Errors are
those of the entries that are hidden, over the errors of the column means. ``LowRankImputer``, the means, the nearest
neighbours and ``IterativeImputer`` run at their defaults. Soft-impute and least squares choose among twenty settings
each, by a tenth of the entries that they hold out, and are fitted again; so does descent on the manifold of a fixed
rank, where pymanopt is there, among five ranks. ``planted``, ``real`` or ``further`` measures one part.
"""

import importlib.util
import sys
import time
import warnings

import numpy as np
import torch
from _timing import write
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

import udulib as ul
from udulib import solvers
from udulib.impute import LowRankImputer, LowRankWarning

SIDES, RANK = (60, 40), 3
NOISES, OVERSAMPLING = (0.0, 0.1, 0.5), (1.5, 2.0, 3.0)
SEEDS = range(5)
REAL_SEEDS, SEEN = range(3), 0.5
FURTHER = 40
RANKS, RIDGES, RESTARTS = (1, 2, 3, 5, 8), (0.0, 0.1, 1.0, 3.0), 3
MANIFOLD_STEPS = 300
PENALTIES = np.geomspace(0.5, 1e-4, 20)  # over the largest singular value


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    asked = sys.argv[1:] or ("planted", "real", "further")
    for part in (part for part in (planted, real, further) if part.__name__ in asked):
        write(**{f"imputers_{part.__name__}": part()})


def planted():
    """By noise in per cent and entries for ten degrees of freedom: each method's median error, and the share solved."""
    freedom = RANK * (sum(SIDES) - RANK)
    found = {}
    for noise in NOISES:
        for times in OVERSAMPLING:
            tables = [table_of_rank(RANK, SIDES, int(times * freedom) / np.prod(SIDES), noise, s) for s in SEEDS]
            found[f"noise{100 * noise:.0f}_at{10 * times:.0f}"] = compared(tables)
    return found


def table_of_rank(rank, sides, seen, noise, seed):
    """(table with holes, what is sought): Gaussian factors, noise relative to the entries."""
    rng = np.random.default_rng([seed, 7])
    truth = rng.standard_normal((sides[0], rank)) @ rng.standard_normal((rank, sides[1]))
    observed = truth + noise * truth.std() * rng.standard_normal(sides)
    return holes(observed, seen, rng), truth


def holes(table, seen, rng):
    """The table with a random share of its entries, at least one in each row and column."""
    kept = rng.random(table.shape) < seen
    kept[np.arange(len(table)), rng.integers(table.shape[1], size=len(table))] = True
    kept[rng.integers(len(table), size=table.shape[1]), np.arange(table.shape[1])] = True
    return np.where(kept, table, np.nan)


def real():
    """Small tables of scikit-learn, columns in units of their spread."""
    found = {}
    for name in ("wine", "breast_cancer", "diabetes"):
        table = np.asarray(getattr(datasets, f"load_{name}")().data, float)
        table = table[:, table.std(0) > 0]
        table = (table - table.mean(0)) / table.std(0)
        rngs = [np.random.default_rng([seed, 8]) for seed in REAL_SEEDS]
        found[name] = compared([(holes(table, SEEN, rng), table) for rng in rngs])
    return found


def further():
    """Planted tables of many shapes: how far ours is ever behind the means, and where it warns."""
    rows = []
    for seed in range(FURTHER):
        rng = np.random.default_rng([seed, 9])
        sides = tuple(int(side) for side in rng.integers(20, 501, 2))
        rank, seen = int(rng.integers(1, 11)), float(rng.uniform(0.1, 0.7))
        noise = float(rng.choice([0.0, 0.01, 0.1, 0.3, 0.5]))
        table, truth = table_of_rank(rank, sides, seen, noise, 1000 + seed)
        error, warned = ours_over_means(table, truth)
        rows.append({"sides": sides, "rank": rank, "seen": seen, "noise": noise, "error": error, "warned": warned})
    poor = [row for row in rows if row["error"] > 0.9]
    worst = max(row["error"] for row in rows)
    return {"tables": rows, "worst": worst, "poor": len(poor), "poor_warned": sum(row["warned"] for row in poor)}


def ours_over_means(table, truth):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        guess = LowRankImputer().fit_transform(table)
    hidden = np.isnan(table)
    error = np.linalg.norm((guess - truth)[hidden]) / np.linalg.norm((means(table) - truth)[hidden])
    return float(error), any(issubclass(one.category, LowRankWarning) for one in said)


def compared(tables):
    """Median error over that of the means, share solved and seconds of each method."""
    found = {}
    for name, method in METHODS.items():
        errors, begin = [], time.process_time()
        for table, truth in tables:
            hidden = np.isnan(table)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LowRankWarning)
                guess = method(table)
            errors.append(np.linalg.norm((guess - truth)[hidden]) / np.linalg.norm((means(table) - truth)[hidden]))
        seconds = (time.process_time() - begin) / len(tables)
        solved = float(np.mean(np.array(errors) < 1e-6))
        found[name] = {"error": float(np.median(errors)), "solved": solved, "seconds": seconds}
        print(f"  {name:20} {np.median(errors):9.2e}  solved {solved:4.0%}  {seconds:6.2f} s", flush=True)
    return found


def means(table):
    return SimpleImputer().fit_transform(table)


def tuned(settings, fit, path=False):
    """A method that chooses its settings by a tenth of the entries, and is fitted again to all; on a path from the
    first setting to the one chosen, where each starts from the one before."""

    def method(table):
        problem, held_out, places = parts(table)
        place = int(np.argmin([rms(guess[*places] - held_out) for guess in fit(problem, settings)]))
        *_, best = fit(completion(table), settings[: place + 1] if path else [settings[place]])
        return np.where(np.isnan(table), best, table)

    return method


def parts(table):
    """Nine tenths of what is known as a problem; the values and places of the rest."""
    rows, cols = np.nonzero(~np.isnan(table))
    out = np.random.default_rng(0).random(len(rows)) < 0.1
    left = table.copy()
    left[rows[out], cols[out]] = np.nan
    return completion(left), table[rows[out], cols[out]], (rows[out], cols[out])


def completion(table):
    rows, cols = np.nonzero(~np.isnan(table))
    return ul.Completion(rows, cols, table[rows, cols], table.shape)


def rms(values):
    return float(np.sqrt(np.mean(values**2)))


def soft_imputed(problem, penalties):
    """Answers along the path of penalties; each starts from the one before."""
    largest = torch.linalg.matrix_norm(problem.adjoint(problem.b).to_dense(), 2).item()
    fit = None
    for penalty in penalties:
        fit = solvers.soft_impute(problem, penalty * largest, rank=min(problem.shape), start=fit)
        yield fit.product()


def least_squares(problem, settings):
    for rank, ridge in settings:
        fits = [solvers.als(problem, min(rank, *problem.shape), ridge, seed=seed) for seed in range(RESTARTS)]
        yield min(fits, key=lambda fit: fit.objective[-1]).product()


def fixed_rank(problem, ranks):
    """Conjugate gradients on the manifold of matrices of a rank, by pymanopt, from the zero-filled table."""
    import pymanopt

    rows, cols, b = problem.rows.numpy(), problem.cols.numpy(), problem.b.numpy()
    filled = np.zeros(problem.shape)
    filled[rows, cols] = b
    u, s, vt = np.linalg.svd(filled * filled.size / len(b), full_matrices=False)
    for rank in (min(rank, *problem.shape) for rank in ranks):
        manifold = pymanopt.manifolds.FixedRankEmbedded(*problem.shape, rank)

        def misfit(u, s, vt):
            off = np.zeros(problem.shape)
            off[rows, cols] = ((u * s) @ vt)[rows, cols] - b
            return off

        @pymanopt.function.numpy(manifold)
        def cost(u, s, vt, misfit=misfit):
            return 0.5 * np.sum(misfit(u, s, vt) ** 2)

        @pymanopt.function.numpy(manifold)
        def gradient(u, s, vt, misfit=misfit):
            G = misfit(u, s, vt)
            return G @ (s[:, None] * vt).T, np.diag(u.T @ G @ vt.T).copy(), (u * s).T @ G

        descent = pymanopt.optimizers.ConjugateGradient(max_iterations=MANIFOLD_STEPS, verbosity=0)
        start = (u[:, :rank], s[:rank], vt[:rank])
        u_, s_, vt_ = descent.run(
            pymanopt.Problem(manifold, cost, euclidean_gradient=gradient), initial_point=start
        ).point
        yield (u_ * s_) @ vt_


METHODS = {
    "LowRankImputer": lambda table: LowRankImputer().fit_transform(table),
    "means": means,
    "KNNImputer": lambda table: KNNImputer().fit_transform(table),
    "IterativeImputer": lambda table: IterativeImputer(random_state=0).fit_transform(table),
    "soft-impute": tuned(list(PENALTIES), soft_imputed, path=True),
    "least squares": tuned([(rank, ridge) for rank in RANKS for ridge in RIDGES], least_squares),
}
if importlib.util.find_spec("pymanopt"):  # no part of the locked environment: pip install pymanopt
    METHODS["fixed rank"] = tuned(list(RANKS), fixed_rank)

if __name__ == "__main__":
    main()
