"""What a user would pick instead of UDU, each against its own definition; the recipe."""

import sys

import numpy as np
import pytest

import udulib as ul
from udulib import solvers
from udulib.solvers import least_squares


def noisy(d=(20, 25), rank=3, observed=300, **more):
    return ul.planted_completion(d=d, rank=rank, observed=observed, noise=0.2, seed=0, **more)[0]


def gradient(problem, X):
    """The gradient of f at X, dense."""
    rows, cols, b = (getattr(problem, name).numpy() for name in ("rows", "cols", "b"))
    G = np.zeros(problem.shape)
    G[rows, cols] = X[rows, cols] - b
    return (G + G.T) / 2 if problem.symmetric else G


# Nuclear norm --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [(20, 25), 22])
def test_soft_impute_meets_the_conditions_of_the_nuclear_norm(d):
    """At the minimum -G is penalty times a subgradient: ||G|| <= penalty, and <-G, X> = penalty ||X||_*."""
    problem, penalty = noisy(d), 2.0
    fit = solvers.soft_impute(problem, penalty, rank=20, sweeps=3000, tol=1e-10)
    G, X = gradient(problem, fit.product()), fit.product()
    assert 0 < fit.rank < 20
    assert np.linalg.norm(G, 2) <= penalty * (1 + 1e-4)
    assert -np.sum(G * X) == pytest.approx(penalty * np.linalg.norm(X, "nuc"), rel=1e-4)


def test_soft_impute_goes_on_from_a_larger_penalty():
    problem = noisy()
    first = solvers.soft_impute(problem, 4.0, rank=10, sweeps=2000, tol=1e-10)
    cold = solvers.soft_impute(problem, 3.5, rank=10, sweeps=2000, tol=1e-10)
    warm = solvers.soft_impute(problem, 3.5, rank=10, sweeps=2000, tol=1e-10, start=first)
    assert warm.product() == pytest.approx(cold.product(), abs=1e-5)
    assert len(warm.objective) < len(cold.objective)


def test_a_penalty_above_the_norm_of_the_data_leaves_nothing():
    problem = noisy()
    norm = np.linalg.norm(gradient(problem, np.zeros(problem.shape)), 2)
    fit = solvers.soft_impute(problem, 1.01 * norm, rank=5)
    assert fit.rank == 0 and not fit.product().any()


def test_weight_decay_on_two_factors_is_the_nuclear_norm():
    """min over U, V of f + w/2 (|U|^2 + |V|^2) = min over X of f + w ||X||_* (Srebro, Rennie, Jaakkola 2005)."""
    problem, penalty = noisy(), 2.0
    convex = solvers.soft_impute(problem, penalty, rank=20, sweeps=3000, tol=1e-10)
    model = solvers.DecayedUV(rank=15, weight_decay=penalty)
    trace = ul.descend(problem, model, step_size=0.03, iterations=3000, init_scale=1.0, record_at=[], device="cpu")
    assert trace.product() == pytest.approx(convex.product(), abs=1e-3)


# Alternating least squares -------------------------------------------------------------------------------------------


def penalised(problem, fit, ridge, weighted):
    U, V = fit.factors["U"], fit.factors["V"]
    rows, cols = problem.rows.numpy(), problem.cols.numpy()
    counts = [np.bincount(index, minlength=size) for index, size in zip((rows, cols), problem.shape, strict=True)]
    weights = counts if weighted else [np.ones(size) for size in problem.shape]
    misfit = fit.entries(rows, cols) - problem.b.numpy()
    return 0.5 * misfit @ misfit + 0.5 * ridge * sum(
        w @ np.sum(factor**2, axis=1) for w, factor in zip(weights, (U, V), strict=True)
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_als_lowers_what_it_minimises_and_ends_where_no_move_of_v_helps(weighted):
    problem, seen = noisy(), []
    fit = solvers.als(problem, 4, ridge=0.3, weighted=weighted, tol=0.0, sweeps=50, watch=lambda f: seen.append(f))
    costs = [penalised(problem, f, 0.3, weighted) for f in seen]
    assert (np.diff(costs) <= 1e-9).all() and len(costs) == 50
    rng = np.random.default_rng(0)
    for _ in range(5):
        V = fit.factors["V"] + 1e-3 * rng.standard_normal(fit.factors["V"].shape)
        moved = solvers.Fit({"U": fit.factors["U"], "V": V}, np.empty(0))
        assert penalised(problem, moved, 0.3, weighted) > costs[-1]


@pytest.mark.parametrize("d", [30, (30, 35)])
def test_als_finds_a_planted_matrix(d):
    problem, truth = ul.planted_completion(d=d, rank=2, observed=500, spectrum=(2.0, 1.0), seed=0)
    fit = solvers.als(problem, rank=2)
    assert truth.relative_error(fit) < 1e-9
    assert len(fit.objective) < 100  # it saw that it was done


def test_als_answers_for_rows_and_columns_without_entries():
    problem = ul.Completion([0, 0, 1], [0, 1, 0], [2.0, 4.0, 1.0], shape=(3, 3))
    fit = solvers.als(problem, rank=1)
    assert fit.product()[:2, :2] == pytest.approx(np.array([[2.0, 4.0], [1.0, 2.0]]), abs=1e-6)
    assert not fit.product()[2].any() and not fit.product()[:, 2].any()


def test_als_is_the_same_row_by_row(monkeypatch):
    problem = noisy()
    dense = solvers.als(problem, 3, ridge=0.1, sweeps=5, tol=0.0)
    monkeypatch.setattr(least_squares, "DENSE_UP_TO", 0)
    assert solvers.als(problem, 3, ridge=0.1, sweeps=5, tol=0.0).product() == pytest.approx(dense.product())


def test_als_stops_when_the_watcher_says_so():
    assert len(solvers.als(noisy(), 3, watch=lambda fit: len(fit.objective) == 2).objective) == 3


# The recipe ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [50, (40, 50)])
def test_udu_finds_the_rank_and_least_squares_the_matrix(d):
    problem, truth = ul.planted_completion(d=d, rank=2, observed=500, spectrum=(2.0, 1.0), seed=1)
    done = solvers.udu_then_als(problem, iterations=4000, rank=12, device="cpu")
    assert done.rank == done.fit.rank == 2
    before, after = truth.relative_error(done.trace), truth.relative_error(done)
    assert after < 1e-9 < before


def test_the_recipe_starts_least_squares_where_udu_ended():
    """One sweep from there is far better than one from nowhere."""
    problem, truth = ul.planted_completion(d=50, rank=2, observed=500, spectrum=(2.0, 1.0), seed=1)
    ours = solvers.udu_then_als(problem, iterations=4000, rank=12, sweeps=1, device="cpu")
    assert truth.relative_error(ours) < 0.1 * truth.relative_error(solvers.als(problem, 2, sweeps=1))


# Means and the library ------------------------------------------------------------------------------------------------


def test_means_solve_their_least_squares_problem():
    problem = noisy()
    found = solvers.means(problem, ridge=(3.0, 2.0), sweeps=200)
    rows, cols = problem.rows.numpy(), problem.cols.numpy()
    left = problem.b.numpy() - found.at(rows, cols)
    assert np.bincount(rows, left, 20) == pytest.approx(3.0 * found.rows, abs=1e-8)
    assert np.bincount(cols, left, 25) == pytest.approx(2.0 * found.cols, abs=1e-8)


def test_biased_factorization_learns():
    pytest.importorskip("cornac")
    problem = noisy(observed=400)
    fit = solvers.biased_factorization(problem, rank=3, epochs=300, ridge=0.0, step_size=0.02)
    rows, cols = problem.rows.numpy(), problem.cols.numpy()
    misfit = fit.entries(rows, cols) - problem.b.numpy()
    assert misfit @ misfit < 0.1 * np.sum(problem.b.numpy() ** 2)
    assert fit.product()[rows, cols] == pytest.approx(fit.entries(rows, cols))


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cornac.data", None)
    with pytest.raises(ul.InputError, match="pip install cornac"):
        solvers.biased_factorization(noisy(), rank=2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: solvers.als(ul.stack([p, p]), 2), "take one by one"),
        (lambda p: solvers.als(p, 0), "rank"),
        (lambda p: solvers.als(p, 2, ridge=-1.0), "ridge"),
        (lambda p: solvers.als(p, 2, start=np.ones((3, 3))), "start is V"),
        (lambda p: solvers.als(p, 2, sweeps=0), "sweeps"),
        (lambda p: solvers.soft_impute(p, 0.0, rank=2), "penalty"),
        (lambda p: solvers.soft_impute(ul.stack([p, p]), 1.0, rank=2), "take one by one"),
        (lambda p: solvers.means(ul.stack([p, p])), "take one by one"),
        (lambda p: solvers.means(p, ridge=(0.0, 1.0)), "ridge"),
        (lambda p: solvers.DecayedUV(rank=2, weight_decay=-1.0), "weight_decay"),
        (lambda p: solvers.biased_factorization(noisy(22), rank=2), "rectangular"),
        (lambda p: solvers.udu_then_als(ul.stack([p, p])), "take one by one"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ul.InputError, match=words):
        call(noisy())
