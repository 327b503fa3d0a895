"""UDU for the rank, then least squares for the matrix: ``OMP_NUM_THREADS=1 python benchmarks/rank_discovery.py``.

Ten planted problems of side 1000, rank 5 and 100,000 entries. UDU gets radius, start and step from the data alone; its
rank plateau goes to alternating least squares. Beside it, on the first three problems: least squares that is told the
rank, least squares with 32 columns, and soft-impute with 32 columns and a falling penalty. Processor seconds until the
relative error is 1e-6.
"""

import time

import numpy as np
import torch
from _timing import write

import udulib as ul
from udulib import solvers
from udulib.factorization import radius, stopping

D, RANK, OBSERVED, COLUMNS = 1000, 5, 100_000, 32
SEEDS, TIMED = range(10), 3  # problems, and of these those that the rivals run on
ITERATIONS = 1000  # of UDU
SWEEPS = 100  # of least squares, at most
PENALTIES, PENALTY_SWEEPS = np.geomspace(0.1, 1e-7, 13), 40  # over the largest singular value; sweeps at each
TARGET = 1e-6


def main():
    torch.set_num_threads(1)
    result = discover()
    show(result)
    write(rank_discovery_right=result["right"], rank_discovery=result)


def discover():
    """Ranks found, and for each method seconds to the target and the error it ended with, one a problem."""
    found, rows = [], {}
    for seed in SEEDS:
        problem, truth = ul.planted_completion(d=D, rank=RANK, observed=OBSERVED, seed=seed)
        for name, method in METHODS.items():
            if name == OURS or seed < TIMED:
                clock = Clock(truth)
                rank = method(problem, clock)
                rows.setdefault(name, []).append({"seed": seed, "seconds": clock.arrived, "error": clock.error})
                found += [rank] if name == OURS else []
    setting = {"d": D, "rank": RANK, "entries": OBSERVED, "columns": COLUMNS, "target": TARGET}
    medians = {name: median(runs) for name, runs in rows.items()}
    right = sum(rank == RANK for rank in found)
    return setting | {"found": found, "right": right, "median": medians, "methods": rows}


def median(runs):
    """Of seconds (None: at least half never arrive) and of errors."""
    seconds = np.median([np.inf if run["seconds"] is None else run["seconds"] for run in runs])
    arrived = float(seconds) if np.isfinite(seconds) else None
    return {"seconds": arrived, "error": float(np.median([run["error"] for run in runs])), "problems": len(runs)}


class Clock:
    """Processor time of a method without that of looking at its error."""

    def __init__(self, truth):
        self.X, self.arrived, self.error, self.looking = truth.product(), None, np.inf, 0.0
        self.norm, self.began = np.linalg.norm(self.X), time.thread_time()

    def __call__(self, fit):
        """Note the error of the fit so far; whether the target is reached."""
        looked = time.thread_time()
        self.error = float(np.linalg.norm(fit.product() - self.X) / self.norm)
        if self.arrived is None and self.error <= TARGET:
            self.arrived = looked - self.began - self.looking
        self.looking += time.thread_time() - looked
        return self.arrived is not None


def udu_then_als(problem, clock):
    chosen = radius.suggest_radius(problem)
    model = ul.UDU(rank=COLUMNS, radius=chosen.radius)
    trace = ul.descend(problem, model, iterations=ITERATIONS, device="cpu", **chosen.settings)
    rank = int(stopping.rank_plateau(trace, problem).rank)
    start = solvers.leading_directions(trace.factors, rank)
    solvers.als(problem, rank, sweeps=SWEEPS, tol=0.0, start=start, watch=clock)
    return rank


def als(columns):
    def run(problem, clock):
        solvers.als(problem, columns, sweeps=SWEEPS, tol=0.0, watch=clock)

    return run


def soft_impute(problem, clock):
    largest, fit = radius.estimated_spectrum(problem)[0][0], None
    for penalty in largest * PENALTIES:
        fit = solvers.soft_impute(problem, penalty, rank=COLUMNS, sweeps=PENALTY_SWEEPS, tol=TARGET, start=fit)
        if clock(fit):
            break


OURS = "udu_then_als"
METHODS = {OURS: udu_then_als, "als_told_rank": als(RANK), "als_32": als(COLUMNS), "soft_impute": soft_impute}


def show(result):
    print(f"d = {D}, {OBSERVED} entries, rank {RANK}: UDU found it on {result['right']} of {len(result['found'])}")
    print(f"{'':20}{'seconds to 1e-6':>18}{'error at the end':>18}{'problems':>10}")
    for name, middle in result["median"].items():
        arrived = "not reached" if middle["seconds"] is None else f"{middle['seconds']:.2f}"
        print(f"{name:20}{arrived:>18}{middle['error']:18.1e}{middle['problems']:10}")


if __name__ == "__main__":
    main()
