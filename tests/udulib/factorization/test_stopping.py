"""The criterion that chooses a plateau, against its definition."""

from types import SimpleNamespace

import numpy as np
import pytest

import udulib as ul
from udulib.factorization import stopping


def entries(count, shape=(20, 30), symmetric=False):
    rows, cols = np.divmod(np.arange(count), shape[1])
    return ul.Completion(rows, cols, np.ones(count), shape, symmetric)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_degrees_of_freedom_are_the_dimension_of_the_matrices_of_that_rank(rank):
    """The rank of the map from a small move of the factors to the move of the product."""
    rng = np.random.default_rng(rank)
    for d, c, symmetric in [(7, 9, False), (8, 8, True)]:
        U, V = rng.standard_normal((d, rank)), rng.standard_normal((c, rank))
        if symmetric:
            moves = [(E @ U.T + U @ E.T).ravel() for E in np.eye(d * rank).reshape(-1, d, rank)]
        else:
            moves = [(E @ V.T).ravel() for E in np.eye(d * rank).reshape(-1, d, rank)]
            moves += [(U @ E.T).ravel() for E in np.eye(c * rank).reshape(-1, c, rank)]
        assert stopping.freedom(rank, entries(d * c, (d, c), symmetric)) == np.linalg.matrix_rank(np.array(moves))


@pytest.mark.parametrize(("count", "rank", "objective"), [(400, 2, 3.0), (500, 5, 1e-3), (300, 1, 40.0)])
def test_the_criterion_is_schwarz_s(count, rank, objective):
    """-2 times the largest Gaussian log-likelihood, less what ranks share, plus log n for each degree of freedom."""
    problem, residual = entries(count), np.full(count, np.sqrt(2 * objective / count))
    variance = np.mean(residual**2)
    likelihood = -0.5 * count * np.log(variance)
    expected = -2 * likelihood + np.log(count) * stopping.freedom(rank, problem)
    assert stopping.information(objective, rank, problem) == pytest.approx(expected)


@pytest.mark.parametrize(("factor", "better"), [(0.9, False), (1.1, True)])
def test_a_column_pays_when_it_gains_log_n_for_each_degree_of_freedom(factor, better):
    """2 for each, which another criterion asks, would take the column of noise as well."""
    n, problem = 400, entries(400)
    more = stopping.freedom(3, problem) - stopping.freedom(2, problem)
    gained = np.exp(-factor * more * np.log(n) / n)  # of the misfit
    two, three = stopping.information(10.0, 2, problem), stopping.information(10.0 * gained, 3, problem)
    assert (three < two) == better
    assert 2 * more < factor * more * np.log(n), "at 2 for each the column would pay in both cases"


def test_a_fit_with_as_many_degrees_of_freedom_as_entries_says_nothing():
    problem = entries(96)  # of rank 2: 2 (20 + 30 - 2) = 96
    assert stopping.freedom(2, problem) == 96
    assert np.isinf(stopping.information(0.0, 2, problem)) and np.isfinite(stopping.information(0.0, 1, problem))


def test_a_plateau_is_judged_by_its_last_point():
    """That is where the run would be stopped, though the misfit was lower a moment before."""
    spectra = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    trace = SimpleNamespace(iteration=np.array([1, 2, 4]), spectra=spectra, objective=np.array([3.0, 1.0, 1.1]))
    plateau = stopping.rank_plateau(trace, entries(400))
    assert (plateau.rank, plateau.first, plateau.last, plateau.index) == (2, 1, 4, 2)
