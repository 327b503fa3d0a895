"""LowRankImputer is a scikit-learn transformer, and honest."""

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

from udulib import InputError  # noqa: E402
from udulib.impute import LowRankImputer, LowRankWarning  # noqa: E402


@pytest.fixture
def table():
    """A table of rank 2 with columns of very different units, and the same with holes."""
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((60, 2)) @ rng.standard_normal((2, 20)) + 3) * 10.0 ** rng.integers(-4, 5, 20)
    return X, np.where(rng.random(X.shape) < 0.6, X, np.nan)


@pytest.mark.slow  # minutes
@pytest.mark.filterwarnings("ignore")  # its tables are of noise, and it gives some that are no tables
def test_scikit_learns_own_checks():
    results = check_estimator(LowRankImputer(), on_skip=None)
    assert {r["check_name"] for r in results if r["status"] != "passed"} <= {"check_array_api_input"}


def test_units_do_not_matter(table):
    X, holed = table
    imputer = LowRankImputer()
    filled = imputer.fit_transform(holed)
    assert (np.abs(filled - X) / np.abs(X).max(0)).max() < 1e-6
    assert imputer.rank_ in (2, 3)
    assert imputer.components_.shape == (imputer.rank_, 20)


def test_new_rows_are_completed_by_the_learnt_row_space(table):
    X, holed = table
    filled = LowRankImputer().fit(holed[:40]).transform(holed[40:])
    assert (np.abs(filled - X[40:]) / np.abs(X).max(0)).max() < 1e-6


def test_known_entries_stay_as_they_are(table):
    _, holed = table
    noisy = holed * (1 + 0.3 * np.random.default_rng(1).standard_normal(holed.shape))
    filled = LowRankImputer().fit_transform(noisy)
    known = ~np.isnan(noisy)
    np.testing.assert_array_equal(filled[known], noisy[known])
    assert np.isfinite(filled).all()


def test_empty_columns_and_rows_are_told(table):
    _, holed = table
    holed[:, 3] = np.nan
    with pytest.warns(LowRankWarning, match="1 column"):
        imputer = LowRankImputer().fit(holed)
    assert imputer.transform(holed).shape == (60, 19)
    assert "x3" not in imputer.get_feature_names_out()
    with pytest.warns(LowRankWarning, match=r"1 row\(s\) without any"):
        imputer.transform(np.full((1, 20), np.nan))
    with pytest.warns(LowRankWarning, match="zeros"):
        filled = LowRankImputer(keep_empty_features=True).fit_transform(holed)
    assert (filled[:, 3] == 0).all()


def test_masked_and_marked_entries_are_missing(table):
    _, holed = table
    filled = LowRankImputer().fit_transform(holed)
    hidden = np.ma.array(np.nan_to_num(holed, nan=1e6), mask=np.isnan(holed))
    np.testing.assert_allclose(LowRankImputer().fit_transform(hidden), filled)
    marked = np.nan_to_num(holed, nan=-1e9)
    np.testing.assert_allclose(LowRankImputer(missing_values=-1e9).fit_transform(marked), filled)


@pytest.mark.parametrize(
    ("X", "kind"),
    [
        (np.full((3, 3), np.nan), InputError),
        (np.ones((1, 3)), ValueError),
        (np.array([[1.0, np.inf], [2.0, 3.0]]), ValueError),
        (np.array([["a", "b"], ["c", "d"]]), ValueError),
        (np.ones((2, 2)) * 1j, ValueError),
    ],
)
def test_bad_input(X, kind):
    with pytest.raises(kind):
        LowRankImputer().fit(X)
