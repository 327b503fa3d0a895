"""What a descent did, and how it is recorded."""

from dataclasses import dataclass, field

import numpy as np

from udulib.errors import InputError
from udulib.factorization.spectra import singular_values
from udulib.factors import product

RECORDS = ("columns", "shrink")
PER_DECADE = 12


@dataclass(frozen=True)
class Trace:
    r"""What a descent did, as NumPy arrays on the CPU.

    Below \* stands for the batch shape, T for the number of recorded iterations, r for the columns of U.

    Attributes
    ----------
    iteration : array of int, shape (T,)
        Recorded iterations: how many updates were done; 0 is the start.
    objective : array, shape (\*, T)
    spectra : array, shape (\*, T, r)
        Singular values of X, descending, as ``singular_values`` gives them.
    final_objective : array, shape (\*,)
        After the last update.
    singular_values : array, shape (\*, r)
        After the last update.
    factors : dict of array
        After the last update.
    status : array of str, shape (\*,)
        ``"diverged"``: the objective or a factor is NaN or inf at the end. ``"stalled"``: the last update moved no
        factor by more than 4 units of round-off of its largest entry, while :math:`\|\mathcal A(X)-b\|` is still above
        the square root of the unit round-off times :math:`\|b\|`: a saddle, a wrong rank, or the best fit to noisy
        data. ``"finished"``: all else.
    column_norms, diagonal : array, shape (\*, T, r)
        :math:`\|u_j\|` and D (ones for models without it), with ``record=("columns",)``.
    log_shrink : array, shape (\*, T)
        :math:`\sum \log(1/c_t)` over the updates so far, with ``record=("shrink",)``; c is the factor by which the
        projection shrinks U (for UDV, U and V).
    monitor : dict of array, shape (\*, T)
        The objective of the other problems that ``descend`` was asked to watch.
    engine : str
        What did the updates: ``"loop"``, ``"numba"``, ``"fused"`` or ``"graph"``.
    """

    iteration: np.ndarray
    objective: np.ndarray
    spectra: np.ndarray
    final_objective: np.ndarray
    singular_values: np.ndarray
    factors: dict
    status: np.ndarray
    monitor: dict
    engine: str
    optional: dict = field(repr=False)

    def product(self):
        r"""X after the last update, shape (\*, d, c)."""
        return product(self.factors)

    @property
    def column_norms(self):
        return self._recorded("column_norms", "columns")

    @property
    def diagonal(self):
        return self._recorded("diagonal", "columns")

    @property
    def log_shrink(self):
        return self._recorded("log_shrink", "shrink")

    def _recorded(self, name, kind):
        if name not in self.optional:
            raise InputError(f"{name} was not recorded; pass record=({kind!r},) to descend")
        return self.optional[name]

    def __repr__(self):
        kinds, counts = np.unique(self.status, return_counts=True)
        states = ", ".join(f"{count} {kind}" for kind, count in zip(kinds, counts, strict=True))
        return (
            f"Trace(runs={self.status.size} ({states}), recorded={len(self.iteration)}, factors={sorted(self.factors)})"
        )


class Recorder:
    """Collects what a trace holds, on the CPU."""

    def __init__(self, record, monitor):
        if not isinstance(record, (tuple, list, set)) or set(record) - set(RECORDS):
            raise InputError(f"record is a tuple out of {RECORDS}; got {record!r}")
        self.record, self.watched = record, monitor
        self.iteration, self.rows = [], []

    def take(self, k, objective, factors, shrink):
        arrays = {name: numpy_of(value) for name, value in factors.items()}
        row = {"objective": numpy_of(objective), "spectra": singular_values(**arrays)}
        if "columns" in self.record:
            row["column_norms"] = np.linalg.norm(arrays["U"], axis=-2)
            row["diagonal"] = arrays.get("D", np.ones_like(row["column_norms"]))
        if "shrink" in self.record:
            row["log_shrink"] = numpy_of(shrink)
        for name, other in self.watched.items():
            row["monitor", name] = numpy_of(other.objective(*(factors.get(n) for n in "UDV")))
        self.iteration.append(k)
        self.rows.append(row)

    def trace(self, final, factors, status, engine):
        arrays = {name: numpy_of(value) for name, value in factors.items()}
        batch, s = status.shape, singular_values(**arrays)
        series = {
            name: np.stack([row[name] for row in self.rows], axis=len(batch))
            for name in (self.rows[0] if self.rows else ())
        }
        objective = series.pop("objective", np.empty((*batch, 0)))
        spectra = series.pop("spectra", np.empty((*batch, 0, s.shape[-1])))
        monitor = {name: series.pop(("monitor", name), np.empty((*batch, 0))) for name in self.watched}
        return Trace(
            np.array(self.iteration, dtype=int),
            objective,
            spectra,
            numpy_of(final),
            s,
            arrays,
            status,
            monitor,
            engine,
            series,
        )


def recorded_iterations(record_at, iterations):
    """The numbers of updates to record after, as a set."""
    if record_at is None:
        count = max(2, int(PER_DECADE * np.log10(iterations)) + 1)
        return frozenset((np.unique(np.geomspace(1, iterations, count).round().astype(int)) - 1).tolist())
    grid = np.asarray(record_at, dtype=None if np.size(record_at) else int)
    if (
        grid.ndim != 1
        or grid.dtype.kind not in "iu"
        or (np.diff(grid) <= 0).any()
        or (grid < 0).any()
        or (grid > iterations).any()
    ):
        raise InputError(f"record_at is increasing whole numbers from 0 to {iterations}; got {record_at!r}")
    return frozenset(grid.tolist())


def numpy_of(tensor):
    """A tensor as an array on the CPU."""
    return tensor.detach().cpu().numpy()
