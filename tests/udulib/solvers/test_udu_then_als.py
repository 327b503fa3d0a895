"""UDU, then least squares, on tables that it was not tuned to: the right answer, or a warning."""

import warnings

import numpy as np
import pytest

import udulib as ul
from udulib.factorization import IndefiniteWarning
from udulib.solvers import OverfitWarning, udu_then_als


def seen(X, share, seed=0, symmetric=False):
    """A problem of a random share of the entries."""
    i, j = np.nonzero(np.random.default_rng(seed).random(X.shape) < share)
    keep = i <= j if symmetric else slice(None)
    return ul.Completion(i[keep], j[keep], X[i[keep], j[keep]], X.shape, symmetric=symmetric)


def error(done, X):
    return np.linalg.norm(done.product() - X) / np.linalg.norm(X)


def spread(ratio, rank=3, shape=(80, 60), seed=0):
    """A table whose neighbouring singular values are apart by a ratio."""
    rng = np.random.default_rng(seed)
    P, Q = (np.linalg.qr(rng.standard_normal((n, rank)))[0] for n in shape)
    return P * (100.0 * ratio ** -np.arange(rank)) @ Q.T


TABLES = {
    "non-negative": np.random.default_rng(0).random((100, 3)) @ np.random.default_rng(1).random((3, 80)),
    "values apart by 3": spread(3.0),
    "values apart by 10": spread(10.0),
    "a constant on top": spread(1.5) + 20.0,
}


@pytest.mark.parametrize("name", TABLES)
def test_exact_tables_of_uneven_spectrum(name):
    X = TABLES[name]
    rank = np.linalg.matrix_rank(X)
    done = udu_then_als(seen(X, 0.5))
    assert done.fit.rank == rank
    assert error(done, X) < 1e-5


def test_without_growing_the_rank_is_udus():
    problem = seen(TABLES["values apart by 10"], 0.5)
    plain, grown = (udu_then_als(problem, grow=grow) for grow in (False, True))
    assert plain.fit.rank == plain.rank == grown.rank < grown.fit.rank


@pytest.mark.parametrize("left_out", [0, 1, 20])
def test_tables_that_are_complete_or_nearly(left_out):
    X = np.random.default_rng(0).standard_normal((60, 3)) @ np.random.default_rng(1).standard_normal((3, 40))
    mask = np.ones(X.size, bool)
    mask[np.random.default_rng(2).choice(X.size, left_out, replace=False)] = False
    i, j = np.divmod(np.flatnonzero(mask), 40)
    problem = ul.Completion(i, j, X[i, j], X.shape)
    assert len(ul.suggest_radius(problem).spectrum) == 3
    done = udu_then_als(problem, iterations=2000)
    assert done.fit.rank == 3 and error(done, X) < 1e-6


def test_noise_is_not_taken_for_directions():
    problem, truth = ul.planted_completion((60, 50), 2, 1200, spectrum=(2.0, 1.0), noise=0.1, seed=0)
    done = udu_then_als(problem)
    assert done.fit.rank == done.rank == 2
    assert truth.relative_error(done) < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_a_fit_that_follows_heavy_noise_says_so(seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((120, 5)) @ rng.standard_normal((5, 80))
    with pytest.warns(OverfitWarning, match=r"udulib\.impute chooses rank and ridge"):
        done = udu_then_als(seen(X + 2.0 * X.std() * rng.standard_normal(X.shape), 0.3, seed), iterations=3000)
    assert error(done, X) > 1


# Negative eigenvalues ------------------------------------------------------------------------------------------------


def signed(values, side, seed=0):
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((side, len(values))))[0]
    return Q * np.array(values) @ Q.T


@pytest.mark.parametrize("values", [(3.0, -2.0), (-1.0,), (3.0, 2.0, -3.0)])
def test_symmetric_data_with_negative_eigenvalues_are_said(values):
    problem = seen(signed(values, side=120), 0.9, symmetric=True)
    with pytest.warns(IndefiniteWarning, match="symmetric=False"):
        ul.suggest_radius(problem)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5])
def test_positive_ones_are_not(noise):
    """Over sides, ranks and shares seen, with noise."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(12):
            rng = np.random.default_rng(seed)
            side, rank = int(rng.integers(20, 120)), int(rng.integers(1, 6))
            n = int(rng.uniform(2, 5) * side * rank)
            n = min(n, side * (side + 1) // 2)
            problem, _ = ul.planted_completion(side, rank, n, noise=noise, seed=seed)
            ul.suggest_radius(problem)
