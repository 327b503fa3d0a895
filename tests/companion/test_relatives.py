"""UDU with one part changed, chains of factors, and the logistic problem."""

import numpy as np
import pytest
import torch

import udulib as ul
from companion.dynamics import relatives
from companion.dynamics.logistic import Logistic, planted_classification
from companion.dynamics.relatives import Relative

SEEDS = range(5)
D = 20


@pytest.fixture(scope="module")
def planted():
    """Five completion problems, and the same entries as rectangular ones."""
    about = {"d": D, "rank": 3, "observed": 300, "spectrum": (2.0, 1.8, 1.6)}
    problems, truth = ul.planted_completion(**about, seed=SEEDS)
    ones = [ul.planted_completion(**about, seed=s)[0] for s in SEEDS]
    return problems, truth, ul.stack([ul.Completion(p.rows, p.cols, p.b, p.shape) for p in ones])


def tail(product, rank=3):
    s = np.linalg.svd(product, compute_uv=False)
    return s[..., rank] / s[..., 0]


# What makes the rank true ---------------------------------------------------------------------------------------------


def test_it_is_the_ball_not_the_third_factor(planted):
    """With the ball the fourth singular value is zero to the computer; without it, UDU ends where BM does."""
    problems, _, _ = planted
    radius, speed = np.array([1.0, 1e6, 1e6])[:, None], np.array([1.0, 1.0, 0.0])[:, None]  # UDU, no ball, BM
    on = {"step_size": 0.05, "iterations": 2500, "init_scale": 0.1, "seed": SEEDS, "record_at": []}
    trace = ul.descend(problems, Relative(D, radius, speed=speed * np.ones(5)), **on)
    s = trace.singular_values
    udu, free, bm = s[..., 3] / s[..., 0]
    assert (udu < 1e-20).all()
    assert (free > 1e-4).all() and (bm > 1e-4).all()
    assert (np.abs(np.log10(free / bm)) < 0.3).all()
    assert (trace.factors["D"][:2] > 0.9).all()  # D >= 0 was never needed


def test_depth_three_is_truly_low_rank_only_with_the_ball(planted):
    _, _, problems = planted
    start = [np.random.default_rng(k).standard_normal((5, D, D)) / D for k in range(3)]
    runs = {
        ball: relatives.chain(problems, start, step_size=0.05, record_at=[2000], ball=ball).product[:, 0]
        for ball in ("frobenius", "none")
    }
    assert (tail(runs["frobenius"]) < 1e-14).all()
    assert (tail(runs["none"]) > 1e-4).all()


# The models -----------------------------------------------------------------------------------------------------------


def test_a_relative_without_changes_is_udu(planted):
    problems, _, _ = planted
    on = {"step_size": 0.05, "iterations": 50, "seed": SEEDS, "record": ("shrink",)}
    one, other = (ul.descend(problems, model, **on) for model in (ul.UDU(5, 0.7), Relative(5, 0.7)))
    np.testing.assert_array_equal(one.factors["U"], other.factors["U"])
    np.testing.assert_array_equal(one.log_shrink, other.log_shrink)


def test_a_relative_without_ball_and_speed_is_bm(planted):
    problems, _, _ = planted
    on = {"step_size": 0.05, "iterations": 50, "seed": SEEDS}
    one, other = (ul.descend(problems, model, **on) for model in (ul.BM(5), Relative(5, ball="none", speed=0.0)))
    np.testing.assert_array_equal(one.factors["U"], other.factors["U"])


def test_decay_is_the_gradient_of_half_its_square(planted):
    problems, _, _ = planted
    start = {"U": np.random.default_rng(0).standard_normal((D, 5)) / 9, "D": np.ones(5)}
    on = {"step_size": 0.05, "iterations": 1, "start": start, "record_at": []}
    decay = np.array([0.0, 0.5])[:, None] * np.ones(5)
    with_decay = ul.descend(problems, Relative(5, ball="none", decay=decay), **(on | {"step_size": [[0.05], [0.05]]}))
    plain = ul.descend(problems, Relative(5, ball="none"), **on)
    np.testing.assert_allclose(with_decay.factors["U"][0], plain.factors["U"], atol=1e-15)
    np.testing.assert_allclose(with_decay.factors["U"][1], plain.factors["U"] - 0.05 * 0.5 * start["U"], atol=1e-15)
    np.testing.assert_allclose(with_decay.factors["D"][1], plain.factors["D"], atol=1e-15)


def test_the_spectral_ball_bounds_the_spectral_norm(planted):
    problems, _, _ = planted
    model = Relative(D, radius=0.5, ball="spectral")
    trace = ul.descend(problems, model, step_size=0.05, iterations=200, seed=SEEDS, record=("shrink",))
    np.testing.assert_allclose(np.linalg.norm(trace.factors["U"], 2, axis=(-2, -1)), 0.5)
    assert (np.linalg.norm(trace.factors["U"], axis=(-2, -1)) > 0.5).all() and (trace.log_shrink[:, -1] > 0).all()


# Chains ---------------------------------------------------------------------------------------------------------------


def test_a_chain_of_two_is_uv(planted):
    _, _, problems = planted
    rng = np.random.default_rng(1)
    U, V = rng.standard_normal((2, 5, D, 4)) / 5
    run = relatives.chain(problems, [U, np.swapaxes(V, 1, 2)], step_size=0.05, record_at=[0, 30])
    trace = ul.descend(problems, ul.UV(4), step_size=0.05, iterations=30, start={"U": U, "V": V}, record_at=[0])
    np.testing.assert_allclose(run.product[:, 0], U @ np.swapaxes(V, 1, 2))
    np.testing.assert_allclose(run.product[:, 1], trace.product(), atol=1e-13)
    np.testing.assert_allclose(run.objective[:, 0], trace.objective[:, 0])
    np.testing.assert_allclose(run.norms[:, 0, 0], np.linalg.norm(U, axis=(-2, -1)))


@pytest.mark.parametrize("depth", [1, 3])
def test_a_chain_moves_along_the_gradient_of_its_factors(depth):
    """By finite differences: the first step is -η times the slope of f in every entry."""
    problem = ul.Completion([0, 1, 2, 0], [0, 2, 1, 1], [1.0, 2.0, -1.0, 0.5], shape=(3, 3))
    rng, eta, h = np.random.default_rng(2), 1e-3, 1e-5
    start = [rng.standard_normal((3, 3)) for _ in range(depth)]

    def f(factors):
        X = torch.from_numpy(np.linalg.multi_dot([np.eye(3), *factors]))
        return float(problem.objective(X, None, torch.eye(3, dtype=torch.float64)))

    slope = 0.0
    for j in range(depth):
        for entry in np.ndindex(3, 3):
            shifted = [W.copy() for W in start], [W.copy() for W in start]
            shifted[0][j][entry] += h
            shifted[1][j][entry] -= h
            slope += ((f(shifted[0]) - f(shifted[1])) / (2 * h)) ** 2
    run = relatives.chain(problem, start, step_size=eta, record_at=[0, 1])
    assert (run.objective[0] - run.objective[1]) / eta == pytest.approx(slope, rel=0.05)


def test_greedy_learning_finds_one_eigenvector_a_stage(planted):
    problems, truth, _ = planted
    X, f = relatives.greedy(problems, 3, step_size=0.05, iterations=1500)
    for k in range(3):
        assert (ul.numerical_rank(np.linalg.svd(X[:, k], compute_uv=False), rtol=1e-8) == k + 1).all()
    assert (np.diff(f) < 0).all() and (truth.relative_error(X[:, 2]) < 1e-10).all()


# The logistic problem -------------------------------------------------------------------------------------------------


def test_the_logistic_gradient_is_that_of_its_loss():
    problem = planted_classification(d=5, rank=2, samples=20, seed=3)
    U = torch.from_numpy(np.random.default_rng(4).standard_normal((5, 3))).requires_grad_()
    problem.objective(U).backward()
    _, GU, GhU = problem.gradient(U.detach())
    torch.testing.assert_close(2 * GU, U.grad)
    torch.testing.assert_close(GU, GhU)


def test_the_logistic_loss_by_hand_and_without_overflow():
    problem = Logistic([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]], [1.0, -1.0])
    U = torch.diag(torch.tensor([100.0, 100.0], dtype=torch.float64))
    assert float(problem.objective(U)) == pytest.approx(1e4 / 2)
    assert problem.margins(U, U).tolist() == [1e4, -1e4]


def test_planted_labels_are_separable_and_descent_runs_to_infinity():
    problems = planted_classification(d=8, rank=2, samples=40, seed=SEEDS)
    trace = ul.descend(problems, ul.BM(8), step_size=0.5, iterations=1500, init_scale=0.1, seed=SEEDS)
    assert (trace.final_objective < 1e-2).all()
    U = torch.from_numpy(trace.factors["U"])
    assert (problems.margins(U, U) > 0).all()
    assert (np.diff(trace.spectra[..., 0])[:, -5:] > 0).all()


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [({"ball": "cube"}, "ball"), ({"decay": -1.0}, "decay"), ({"speed": np.nan}, "speed"), ({"rank": 0}, "rank")],
)
def test_relatives_refuse(change, message):
    with pytest.raises(ul.InputError, match=message):
        Relative(**({"rank": 3} | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": [np.eye(2), np.eye(3)]}, "product of start"),
        ({"start": []}, "product of start"),
        ({"start": [np.ones((3, 2)), np.ones((2, 2))]}, "product of start"),
        ({"record_at": [3, 2]}, "record_at"),
        ({"record_at": []}, "record_at"),
        ({"step_size": 0.0}, "step_size"),
        ({"ball": "cube"}, "ball"),
        ({"start": [np.ones((4, 2, 2)), np.ones((3, 2, 2))]}, "broadcast"),
    ],
)
def test_chains_refuse(change, message):
    problem = ul.Completion([0], [1], [1.0], shape=(2, 2))
    good = {"start": [np.eye(2), np.eye(2)], "step_size": 0.1, "record_at": [0, 1]}
    with pytest.raises(ul.InputError, match=message):
        relatives.chain(problem, **(good | change))


def test_logistic_problems_refuse():
    with pytest.raises(ul.InputError, match="labels"):
        Logistic(np.eye(2)[None], [0.5])
    with pytest.raises(ul.InputError, match="complex"):
        Logistic(1j * np.eye(2)[None], [1.0])
    with pytest.raises(ul.InputError, match="rank"):
        planted_classification(d=3, rank=4, samples=5)
