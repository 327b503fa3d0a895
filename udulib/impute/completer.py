"""Complete a large matrix that is given by triplets."""

import math
import sys

import numpy as np
import torch

from udulib.checks import finite_array, index_array, torch_device, whole_number, yes_or_no
from udulib.errors import InputError
from udulib.impute.entries import Entries
from udulib.impute.reports import method_name, relative_error, warn_of
from udulib.impute.search import search

MEAN_RIDGE = (10.0, 5.0)  # a mean over n entries is shrunk by n / (n + ridge); rows (users) and columns (items)
CHUNK = 2**20  # entries predicted at once
REPEATED = ("error", "mean")


class LowRankCompleter:
    r"""Complete a matrix from triplets: :math:`X_{ij} \approx \mu + a_i + m_j + u_i^\top v_j`, whose rank is found.

    The same choices as :class:`LowRankImputer` makes, without scales; memory is linear in entries and factors.

    Parameters
    ----------
    max_rank : int, optional
        At most this rank; 40, or what the number of entries allows, if left out.
    repeated : {"error", "mean"}, default "error"
        What a place that is given twice means.
    device : str, default "auto"
        ``"cuda"`` where there is a GPU, else ``"cpu"``.
    seed : int, default 0
        Of what is held out.
    verbose : bool, default False
        Whether each rank that was tried is told on standard error.

    Attributes
    ----------
    rank_, singular_values_, noise_, validation_error_, method_, n_iter_
        As :class:`LowRankImputer` has them, in the unit of the values.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.standard_normal((80, 2)) @ rng.standard_normal((2, 50))
    >>> rows, cols = np.nonzero(rng.random(truth.shape) < 0.5)
    >>> completer = LowRankCompleter().fit(rows, cols, truth[rows, cols], truth.shape)
    >>> completer.rank_, bool(abs(completer.predict([3], [4])[0] - truth[3, 4]) < 1e-8)
    (2, True)
    """

    def __init__(self, max_rank=None, repeated="error", device="auto", seed=0, verbose=False):
        self.max_rank = None if max_rank is None else whole_number("max_rank", max_rank, 1)
        if repeated not in REPEATED:
            raise InputError(f"repeated is one of {', '.join(REPEATED)}; got {repeated!r}")
        self.repeated, self.device = repeated, torch_device(device)
        self.seed, self.verbose = whole_number("seed", seed, 0), yes_or_no("verbose", verbose)

    def fit(self, rows, cols, values, shape):
        """Learn from ``values[k]`` at (``rows[k]``, ``cols[k]``), counted from zero, of a matrix of ``shape``.

        Raises
        ------
        InputError
            No entry, places out of range or given twice, values that are NaN, infinite, complex or hidden by a mask,
            lengths that differ, a shape of one row or column, or of 2**63 entries and more.
        """
        if np.shape(shape) != (2,):
            raise InputError(f"shape is (rows, columns); got {shape!r}")
        shape = tuple(whole_number("each side of shape", side, 2) for side in shape)
        if math.prod(shape) > np.iinfo(np.int64).max:
            raise InputError(f"a matrix has fewer than 2**63 entries in all; got shape {shape}")
        values = finite_array("values", values, ndim=1, real=True)
        if not len(values):
            raise InputError("a matrix to complete has at least one known entry; got none")
        rows, cols = index_array("rows", rows, shape[0]), index_array("cols", cols, shape[1])
        if not len(rows) == len(cols) == len(values):
            raise InputError(f"rows, cols and values have one length; got {len(rows)}, {len(cols)} and {len(values)}")
        rows, cols, values = self._each_once(rows, cols, values, shape)
        entries = Entries(*(torch.from_numpy(a).to(self.device) for a in (rows, cols, values)), shape)
        found = search(entries, ("", "cr"), MEAN_RIDGE, self.max_rank, self.seed, self._tell if self.verbose else None)
        warn_of(found, entries, stacklevel=2)
        self._found, self.shape_ = found, shape
        self.rank_, self.method_, self.n_iter_ = found.fit.rank, method_name(found), found.work.outer
        self.singular_values_ = (torch.linalg.vector_norm(found.fit.low_rank[1], dim=0) ** 2).cpu().numpy()
        self.noise_, self.validation_error_ = found.error, relative_error(found)
        return self

    def fit_sparse(self, matrix):
        """Learn from a ``scipy.sparse`` matrix: what it stores is known, zeros that it stores too; all else is missing.

        Places that are stored twice are what :class:`LowRankCompleter` says of ``repeated``: scipy would add them.
        """
        if not all(hasattr(matrix, name) for name in ("tocoo", "shape")):
            raise InputError(f"fit_sparse wants a scipy.sparse matrix; got {type(matrix).__name__} (see fit)")
        found = matrix.tocoo()
        return self.fit(found.row, found.col, found.data, found.shape)

    def predict(self, rows, cols):
        """X at (``rows[k]``, ``cols[k]``), shape (n,)."""
        fit, shape = self._fitted().fit, self.shape_
        rows, cols = index_array("rows", rows, shape[0]), index_array("cols", cols, shape[1])
        if len(rows) != len(cols):
            raise InputError(f"rows and cols have one length; got {len(rows)} and {len(cols)}")
        answer = np.empty(len(rows))
        for first in range(0, len(rows), CHUNK):
            part = slice(first, first + CHUNK)
            places = (torch.from_numpy(index[part]).to(self.device) for index in (rows, cols))
            answer[part] = fit.at(*places).cpu().numpy()
        return answer + self._found.offset

    def top(self, row, n, known=()):
        """The ``n`` columns of a row that have the largest values, but for those in ``known``, and these values."""
        fit, n = self._fitted().fit, whole_number("n", n, 1)
        row = index_array("row", [row], self.shape_[0])[0]
        left_out = index_array("known", np.asarray(known, dtype=np.int64), self.shape_[1])
        values = (fit.R @ fit.L[row]).cpu().numpy() + self._found.offset
        values[left_out] = -np.inf
        order = np.argsort(-values, kind="stable")[: min(n, len(values) - len(np.unique(left_out)))]
        return order, values[order]

    def _fitted(self):
        if not hasattr(self, "_found"):
            raise InputError("this LowRankCompleter has learnt nothing yet; call fit first")
        return self._found

    def _each_once(self, rows, cols, values, shape):
        places, index, counts = np.unique(rows * shape[1] + cols, return_inverse=True, return_counts=True)
        if len(places) == len(values):
            return rows, cols, values
        if self.repeated == "error":
            i, j = divmod(int(places[counts.argmax()]), shape[1])
            raise InputError(f"entry ({i}, {j}) is given {counts.max()} times; repeated='mean' takes their mean")
        return *np.divmod(places, shape[1]), np.bincount(index, values) / counts

    @staticmethod
    def _tell(candidate):
        stage = candidate.stage
        print(
            f"rank {stage.rank}, ridge {stage.ridge:.3g}: held-out error {math.sqrt(stage.score):.4g}", file=sys.stderr
        )
