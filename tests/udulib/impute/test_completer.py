"""Triplets: what is refused, what is averaged, what is predicted."""

import numpy as np
import pytest

from udulib import InputError
from udulib.impute import LowRankCompleter

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 2)) @ RNG.standard_normal((2, 30))
ROWS, COLS = np.nonzero(RNG.random(X.shape) < 0.6)
VALUES = X[ROWS, COLS]


@pytest.mark.parametrize(
    ("rows", "cols", "values", "shape", "message"),
    [
        ([], [], [], (3, 3), "at least one known entry"),
        ([0, 3], [0, 0], [1.0, 2.0], (3, 3), "lie between 0 and 2"),
        ([0, 0], [1, 1], [1.0, 2.0], (3, 3), r"entry \(0, 1\) is given 2 times"),
        ([0, 1], [0, 1], [1.0, np.inf], (3, 3), "infinite"),
        ([0, 1], [0, 1], ["a", "b"], (3, 3), "numbers"),
        ([0, 1], [0, 1], [1j, 2.0], (3, 3), "real"),
        ([0, 1], [0, 1], np.ma.array([1.0, 2.0], mask=[0, 1]), (3, 3), "masked"),
        ([0, 1], [0, 1], [1.0, 2.0], (2**33, 2**33), "fewer than 2"),
        ([0, 0], [0, 1], [1.0, 2.0], (1, 3), "at least 2"),
        ([0, 1], [0], [1.0, 2.0], (3, 3), "one length"),
    ],
)
def test_bad_input(rows, cols, values, shape, message):
    with pytest.raises(InputError, match=message):
        LowRankCompleter().fit(rows, cols, values, shape)


def test_repeated_entries_are_averaged_where_asked():
    twice = np.append(VALUES + 1, VALUES - 1)
    done = LowRankCompleter(repeated="mean").fit(np.tile(ROWS, 2), np.tile(COLS, 2), twice, X.shape)
    np.testing.assert_allclose(done.predict(ROWS, COLS), VALUES, atol=1e-8)


def test_stored_zeros_of_a_sparse_matrix_are_values():
    sparse = pytest.importorskip("scipy.sparse")
    values = np.where(ROWS == 0, 0.0, VALUES)
    matrix = sparse.coo_array((values, (ROWS, COLS)), shape=X.shape)
    done = LowRankCompleter().fit_sparse(matrix)
    np.testing.assert_allclose(done.predict(ROWS, COLS), values, atol=1e-8)


def test_top_leaves_out_what_is_known():
    done = LowRankCompleter().fit(ROWS, COLS, VALUES, X.shape)
    best = np.argsort(-X[5])
    columns, values = done.top(5, 3, known=best[:2])
    assert columns.tolist() == best[2:5].tolist()
    np.testing.assert_allclose(values, X[5, columns], atol=1e-8)
    assert len(done.top(5, 100)[0]) == 30


def test_to_predict_wants_a_fit():
    with pytest.raises(InputError, match="call fit first"):
        LowRankCompleter().predict([0], [0])
