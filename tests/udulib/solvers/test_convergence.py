"""Iterative solvers say whether they converged."""

import numpy as np
import pytest

import udulib as ul
from udulib import solvers


@pytest.fixture(scope="module")
def problem():
    return ul.planted_completion((40, 30), 2, 700, spectrum=(2.0, 1.0), seed=0)[0]


def test_soft_impute_that_stops_early_says_so(problem):
    """200 sweeps at a small penalty are far from the limit."""
    early, late = (solvers.soft_impute(problem, 1e-3, rank=10, sweeps=n) for n in (50, 20_000))
    assert (early.converged, late.converged) == (False, True)
    moved = np.linalg.norm(early.product() - late.product()) / np.linalg.norm(late.product())
    assert moved > 0.02  # it was right to say so
    further = solvers.soft_impute(problem, 1e-3, rank=10, sweeps=2000, start=late)
    assert np.linalg.norm(further.product() - late.product()) < 0.01 * np.linalg.norm(late.product())


@pytest.mark.parametrize(("sweeps", "converged"), [(2, False), (500, True)])
def test_least_squares(problem, sweeps, converged):
    assert solvers.als(problem, 2, sweeps=sweeps).converged is converged


def test_least_squares_told_never_to_stop_has_not_converged(problem):
    assert solvers.als(problem, 2, sweeps=50, tol=0.0).converged is False


@pytest.mark.parametrize(("sweeps", "converged"), [(1, False), (200, True)])
def test_means(problem, sweeps, converged):
    assert solvers.means(problem, ridge=(0.1, 0.1), sweeps=sweeps).converged is converged


@pytest.mark.parametrize("method", [solvers.alternating_projection, solvers.pie, solvers.wirtinger_flow])
def test_phase_retrieval_says_how_far_it_still_moves(method):
    picture = np.linspace(0, 1, 1024).reshape(32, 32)
    pictures, _ = ul.planted_ptychography(picture, np.zeros((32, 32)), seed=[0, 1])
    early, late = (method(pictures, iterations=n).change for n in (2, 200))
    assert early.shape == late.shape == (2,)
    assert (late < early / 10).all()
