"""A scikit-learn transformer that completes tables by low rank."""

import warnings

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from udulib.checks import whole_number, yes_or_no
from udulib.errors import InputError
from udulib.impute.entries import Entries
from udulib.impute.refit import complete_rows
from udulib.impute.reports import LowRankWarning, method_name, relative_error, warn_of
from udulib.impute.scales import column_scales
from udulib.impute.search import search

MEAN_RIDGE = (3.0, 0.0)  # row means of a row with n entries are shrunk by n / (n + 3); column means are not


class LowRankImputer(TransformerMixin, BaseEstimator):
    r"""Fill in the missing entries of a table with those of a matrix of low rank, whose rank is found.

    Each column is divided by its scale; then :math:`X \approx 1 m^\top + a 1^\top + U V^\top` is fitted to the known
    entries :math:`\Omega`, with or without the means m and a,

    .. math:: \min \tfrac12\|(X - T)_\Omega\|_F^2 + \tfrac\rho2\big(\|U\|_F^2 + \|V\|_F^2\big) ,

    where means, rank and :math:`\rho` are those that predict best the entries that were held out. Rank by pursuit: the
    leading direction of what is not explained joins, least squares refits all, as long as it helps. Where no low rank
    predicts better than the column means, these are the answer, with a warning.

    Parameters
    ----------
    missing_values : float, default nan
        What marks a missing entry. Entries that a NumPy masked array hides are missing too.
    max_rank : int, optional
        At most this rank; 40, one less than the shorter side, or what the number of entries allows, if left out.
    scale : bool, default True
        Whether columns are divided by their standard deviation (of few entries: drawn towards the other columns').
    keep_empty_features : bool, default False
        Whether a column without a known entry is filled with zeros, or left out as scikit-learn's imputers do.
    random_state : int, RandomState or None, default 0
        Of what is held out.

    Attributes
    ----------
    rank_ : int
        Of :math:`U V^\top`, beside the means.
    singular_values_ : array, shape (rank\_,)
        Of :math:`U V^\top`, in the columns' scales.
    components_ : array, shape (rank\_, n_features_in\_)
        Its row space, in the columns' own units; zero for columns left out.
    noise_ : float
        Root mean square error on held-out entries, in the columns' scales.
    validation_error_ : float
        The same, over that of the column means: 0 is perfect, 1 is no better.
    method_ : str
        ``"low rank"``, ``"low rank with ridge"`` or ``"means"``.
    n_iter_ : int
        Gauss-Newton steps of all refits.

    Warns
    -----
    LowRankWarning
        Held-out entries are predicted hardly better than by the means; the rank met its limit; rows or columns with
        fewer entries than the rank; columns without any, rows without any.

    Raises
    ------
    InputError
        No known entry; parameters that are not as said above. What is no table of real numbers, is infinite, or has
        one row, is refused by scikit-learn's own checks, with ``ValueError``.

    Examples
    --------
    >>> import numpy as np
    >>> from udulib.impute import LowRankImputer
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 40))
    >>> table = np.where(rng.random(truth.shape) < 0.5, truth, np.nan)
    >>> imputer = LowRankImputer()
    >>> filled = imputer.fit_transform(table)
    >>> imputer.rank_, bool(np.abs(filled - truth).max() < 1e-8)
    (2, True)
    """

    def __init__(self, *, missing_values=np.nan, max_rank=None, scale=True, keep_empty_features=False, random_state=0):
        self.missing_values = missing_values
        self.max_rank = max_rank
        self.scale = scale
        self.keep_empty_features = keep_empty_features
        self.random_state = random_state

    def fit(self, X, y=None):
        """Learn means, rank and row space from the known entries of X, shape (n, n_features)."""
        if self.max_rank is not None:
            whole_number("max_rank", self.max_rank, 1)
        yes_or_no("scale", self.scale), yes_or_no("keep_empty_features", self.keep_empty_features)
        X = self._read(X, reset=True)
        known = ~np.isnan(X)
        if not known.any():
            raise InputError("a table to complete has at least one known entry; got none: every entry is missing")
        self._known_columns = known.any(0)
        if not self._known_columns.all():
            fate = "filled with zeros" if self.keep_empty_features else "left out"
            self._say(f"{np.sum(~self._known_columns)} column(s) without any known entry are {fate}")
        X = X[:, self._known_columns]
        self._scales = column_scales(X) if self.scale else np.ones(X.shape[1])
        entries = _entries(X / self._scales)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        found = search(entries, mean_ridge=MEAN_RIDGE, max_rank=self.max_rank, seed=seed)
        warn_of(found, entries, stacklevel=2)
        self._found = found
        _, V = found.fit.low_rank
        s = torch.linalg.vector_norm(V, dim=0) ** 2  # the factors are balanced: V is Q √s
        self.rank_, self.singular_values_ = found.fit.rank, s.numpy()
        self.components_ = np.zeros((self.rank_, self.n_features_in_))
        self.components_[:, self._known_columns] = (V / s.sqrt().clamp(min=1e-300)).T.numpy() * self._scales
        self.noise_, self.validation_error_ = found.error, relative_error(found)
        self.method_, self.n_iter_ = method_name(found), found.work.outer
        return self

    def transform(self, X):
        """X with its missing entries filled in; each row by ridge regression on the learnt row space."""
        check_is_fitted(self)
        X = self._read(X, reset=False)
        shown = self._known_columns
        scaled = X[:, shown] / self._scales
        if np.isnan(X).all(1).any():
            self._say(f"{np.isnan(X).all(1).sum()} row(s) without any known entry are filled with the means")
        found = self._found
        entries = _entries(scaled).shifted(found.offset)
        fit = complete_rows(entries, found.fit, found.ridge, found.mean_ridge)
        filled = ((fit.L @ fit.R.mT).numpy() + found.offset) * self._scales
        answer = np.zeros_like(X)
        answer[:, shown] = np.where(np.isnan(X[:, shown]), filled, X[:, shown])
        return answer if self.keep_empty_features else answer[:, shown]

    def get_feature_names_out(self, input_features=None):
        """Names of the columns that ``transform`` returns."""
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        return names if self.keep_empty_features else names[self._known_columns]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _read(self, X, reset):
        if np.ma.isMA(X):
            X = X.astype(float).filled(self.missing_values)
        marked = isinstance(self.missing_values, float) and np.isnan(self.missing_values)
        X = validate_data(
            self,
            X,
            reset=reset,
            dtype=np.float64,
            ensure_all_finite="allow-nan" if marked else True,
            ensure_min_samples=2 if reset else 1,
            copy=True,
        )
        if not marked:
            X[self.missing_values == X] = np.nan
        return X

    @staticmethod
    def _say(text):
        warnings.warn(text, LowRankWarning, stacklevel=3)


def _entries(X):
    rows, cols = np.nonzero(~np.isnan(X))
    return Entries(*(torch.from_numpy(np.ascontiguousarray(a)) for a in (rows, cols, X[rows, cols])), X.shape)
