"""Lemma 1, Proposition 1 and the laws of the dynamics, each as a fact that runs and constructions obey."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import udulib as ul
from companion.dynamics.relatives import Relative
from udulib.theory import fixed_points as fp

SEEDS = range(5)
D, ETA = 20, 0.08  # side of X, step size


@pytest.fixture(scope="module")
def problems():
    """Five completion problems whose truth has rank three."""
    return ul.planted_completion(d=D, rank=3, observed=300, spectrum=(1.5, 1.3, 1.1), seed=SEEDS)[0]


@pytest.fixture(scope="module")
def stops(problems):
    """Where runs with 20 columns stop (the truth), and where runs with two stop (a saddle of the whole problem)."""
    Z = np.random.default_rng(0).standard_normal((2, 5, D, D))
    Z[1, :, :, 2:] = 0  # zero columns stay zero: a run with two columns
    start = {"U": Z / np.linalg.norm(Z, axis=(-2, -1), keepdims=True), "D": np.ones(D)}
    trace = ul.descend(problems, ul.UDU(D), step_size=ETA, iterations=9000, start=start, record_at=[0])
    scale = np.linalg.norm(fp.gradient(problems, **start), axis=(-2, -1))  # ||∇f|| at the start
    return trace, scale


def random_point(seed, d=6, r=4, is_complex=False):
    """A problem, and a point of it with a dead column and a zero column."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if is_complex else 0)

    A = normal(30, d, d)
    problem = ul.Sensing(A + np.swapaxes(A, -1, -2).conj(), rng.standard_normal(30), symmetric=True)
    U, diagonal = normal(d, r), rng.random(r)
    U /= np.linalg.norm(U)
    U[:, 1], diagonal[2] = 0, 0
    return problem, U, diagonal


# The map and its residuals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("radius", [0.5, 5.0])
def test_step_is_the_update_of_the_descent(is_complex, radius):
    problem, U, diagonal = random_point(1, is_complex=is_complex)
    trace = ul.descend(
        problem, ul.UDU(4, radius), step_size=1e-3, iterations=1, start={"U": U, "D": diagonal}, record=("shrink",)
    )
    U_next, D_next, c = fp.step(problem, U, diagonal, radius=radius, step_size=1e-3)
    np.testing.assert_allclose(U_next, trace.factors["U"], atol=1e-15)
    np.testing.assert_allclose(D_next, trace.factors["D"], atol=1e-15)
    assert (c < 1) == (radius < 1)


@pytest.mark.parametrize("is_complex", [False, True])
def test_residuals_are_what_they_say(is_complex):
    """Against the formulas written out with matrices, at a random point pressed against the ball."""
    problem, U, diagonal = random_point(2, is_complex=is_complex)
    eta, radius = 0.02, 0.7
    G = fp.gradient(problem, U, diagonal)
    q = np.array([np.vdot(u, G @ u).real for u in U.T])
    U_bar, D_bar = U - 2 * eta * G @ U @ np.diag(diagonal), diagonal - eta * q
    c = min(1, radius / np.linalg.norm(U_bar))
    beta = (1 / c - 1) / (2 * eta)
    columns = [lam * G @ u for lam, u in zip(diagonal, U.T, strict=True)]
    expected = {
        "U_step": np.linalg.norm(U - c * U_bar),
        "D_step": np.linalg.norm(diagonal - np.maximum(D_bar, 0)),
        "gradient": max(np.linalg.norm(g) for g in columns),
        "multiplier": max(np.linalg.norm(g + beta * u) for g, u in zip(columns, U.T, strict=True)),
        "dead_slope": max(0, *-q[diagonal == 0]),
        "live_slope": max(abs(q[diagonal > 0])),
        "pressure": 1 / c - 1,
    }
    found = fp.residuals(problem, U, diagonal, radius=radius, step_size=eta)
    assert {name: pytest.approx(float(value), rel=1e-10, abs=1e-14) for name, value in found} == expected
    assert found.largest == pytest.approx(max(expected.values()))


def test_the_gradient_is_that_of_finite_differences():
    problem, U, diagonal = random_point(3)
    G = fp.gradient(problem, U, diagonal)
    X, E = (U * diagonal) @ U.T, np.eye(6)
    direction = E[:, [0]] @ E[[1]] + E[:, [1]] @ E[[0]]

    def f(t):
        return float(problem.objective(torch.from_numpy(X + t * direction), None, torch.eye(6, dtype=torch.float64)))

    assert (f(1e-4) - f(-1e-4)) / 2e-4 == pytest.approx(np.sum(G * direction), rel=1e-8)
    np.testing.assert_allclose(G, G.T)


def test_a_batch_is_its_single_points(problems):
    rng = np.random.default_rng(4)
    U, diagonal, radius = rng.standard_normal((3, 1, D, 4)) / 9, rng.random((5, 4)), np.array([0.5, 1.0, 2.0])[:, None]
    together = dict(fp.residuals(problems, U, diagonal, radius=radius))
    for seed in SEEDS:
        one = ul.planted_completion(d=D, rank=3, observed=300, spectrum=(1.5, 1.3, 1.1), seed=seed)[0]
        for k in range(3):
            alone = fp.residuals(one, U[k, 0], diagonal[seed], radius=radius[k, 0])
            assert {n: pytest.approx(float(v[k, seed]), abs=1e-12) for n, v in together.items()} == dict(alone)


# Lemma 1 and Proposition 1 --------------------------------------------------------------------------------------------


def test_lemma_1_and_proposition_1_where_the_data_are_fitted(problems, stops):
    trace, scale = stops
    assert (trace.final_objective[0] <= 1e-24 * trace.objective[0, :, 0]).all()
    found = fp.residuals(problems, trace.factors["U"][0], trace.factors["D"][0], step_size=ETA)
    for name, value in found:
        assert (value <= 1e-10 * scale[0]).all(), name


def test_lemma_1_and_proposition_1_at_a_saddle_with_a_gradient(problems, stops):
    """The check that is not weak: two columns cannot fit rank three, so ∇f stays."""
    trace, _ = stops
    U, diagonal = trace.factors["U"][1], trace.factors["D"][1]
    G = fp.gradient(problems, U, diagonal)
    assert (np.linalg.norm(G, axis=(-2, -1)) > 1e-2).all()
    assert (np.linalg.eigvalsh(G)[:, 0] < -1e-2).all()  # a way down that no column sees
    for name, value in fp.residuals(problems, U, diagonal, step_size=ETA):
        assert (value <= 1e-10).all(), name


def test_lemma_1b_where_only_u_stands_still(problems):
    """With D held, the U-step stops pressed against the ball: λ G u = -β u with β > 0. Proposition 1: D then grows."""
    frozen = Relative(D, speed=0.0)
    trace = ul.descend(problems, frozen, step_size=ETA, iterations=4000, init_scale=1.0, seed=SEEDS, record_at=[])
    U, diagonal = trace.factors["U"], trace.factors["D"]
    found = fp.residuals(problems, U, diagonal, step_size=ETA)
    beta = found.pressure / (2 * ETA)
    assert (beta > 0.1).all()
    assert (found.multiplier <= 1e-10 * beta).all()
    assert (found.U_step <= 1e-10).all()
    U_next, D_next, _ = fp.step(problems, U, diagonal, step_size=ETA)
    np.testing.assert_allclose(U_next, U, atol=1e-10)
    assert (np.sum(D_next**2 - diagonal**2, axis=-1) > 0).all() and (found.D_step > 1e-3).all()


def test_a_fixed_point_is_one_for_every_step_size(problems, stops):
    trace, _ = stops
    eta = np.array([1e-3, 0.1, 10.0])[:, None]
    found = fp.residuals(problems, trace.factors["U"][1], trace.factors["D"][1], step_size=eta)
    assert (found.U_step <= 1e-12 * np.maximum(eta, 1)).all()
    assert (found.D_step <= 1e-12 * np.maximum(eta, 1)).all()


# f(X) = ((X_11 - 2)² + X_22²) / 2 has G = diag(X_11 - 2, X_22): every condition can be broken by hand.
BY_HAND = ul.Sensing(np.array([np.diag([1.0, 0.0]), np.diag([0.0, 1.0])]), [2.0, 0.0])
E1, E2, TILTED = [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]


@pytest.mark.parametrize(
    ("columns", "diagonal", "radius", "broken"),
    [
        ([E1], [2.0], 1.0, set()),  # fitted
        ([E2], [0.0], 1.0, set()),  # a dead column that sees no slope
        ([[0.0, 0.0]], [1.0], 1.0, set()),  # a zero column: X = 0 is fixed, though f could fall
        ([E1], [0.0], 1.0, {"dead_slope", "D_step"}),  # (c): a dead column that would revive
        ([E2], [1.0], 2.0, {"live_slope", "D_step", "gradient", "multiplier", "U_step"}),  # (d), and with it (a)
        ([E1], [2.0], 0.5, {"pressure", "U_step", "multiplier"}),  # outside the ball, otherwise fitted
        ([E1], [1.0], 1.0, {"pressure", "live_slope", "D_step", "gradient"}),  # pressed: (b) holds, D moves
        ([TILTED], [1.0], 2.0, {"gradient", "multiplier", "U_step", "live_slope", "D_step"}),  # (a), slope included
    ],
)
def test_points_built_by_hand_raise_their_residuals(columns, diagonal, radius, broken):
    found = fp.residuals(BY_HAND, np.array(columns).T, np.array(diagonal), radius=radius, step_size=0.1)
    assert {name for name, value in found if value > 1e-12} == broken


def test_a_alone_can_be_broken():
    """G u ≠ 0 although uᵀGu = 0: only (a) sees it."""
    problem = ul.Sensing(np.array([[[0.0, 1.0], [1.0, 0.0]]]), [-1.0])  # G has ones off the diagonal where X = 0
    U, diagonal = np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([1.0, 1.0])
    found = {name for name, value in fp.residuals(problem, U, diagonal, radius=5.0) if value > 1e-12}
    assert found == {"gradient", "multiplier", "U_step"}


@given(st.integers(0, 10_000), st.sampled_from([1e-3, 0.05, 1.0]), st.sampled_from([0.3, 1.0, 4.0]), st.booleans())
def test_broken_conditions_imply_each_other_as_proved(seed, eta, radius, is_complex):
    problem, U, diagonal = random_point(seed, is_complex=is_complex)
    found = fp.residuals(problem, U, diagonal, radius=radius, step_size=eta)
    G = fp.gradient(problem, U, diagonal)
    q = np.sum(U.conj() * (G @ U), axis=0).real
    size, live, c = np.linalg.norm(U, axis=0), diagonal > 0, 1 / (1 + found.pressure)
    eps = 1e-12 * (1 + np.linalg.norm(G))
    # (d) broken implies (a) broken: λ |q| <= ||λ G u|| ||u||
    assert (diagonal * np.abs(q) <= size * np.linalg.norm(G @ U * diagonal, axis=0) + eps).all()
    # (c) or (d) broken is a D-step, never longer than η times the slope
    moves = np.where(live, np.minimum(eta * q, diagonal), np.minimum(eta * q, 0))
    assert found.D_step == pytest.approx(np.linalg.norm(moves), abs=eps)
    # the U-step is the broken (b), rescaled; without pressure it is the broken (a)
    beta = found.pressure / (2 * eta)
    assert found.U_step == pytest.approx(2 * eta * c * np.linalg.norm(G @ U * diagonal + beta * U), abs=eps)
    # pressure needs a broken (a), or a point outside the ball
    if found.gradient <= eps:
        assert found.pressure <= max(0, np.linalg.norm(U) / radius - 1) + eps
    # Proposition 1: where there is pressure, something moves
    if found.pressure > 1e-6:
        assert max(found.U_step, found.D_step) > 0


# The same X as Burer-Monteiro -----------------------------------------------------------------------------------------


def test_fixed_points_are_those_of_burer_monteiro_both_ways(problems, stops):
    trace, _ = stops
    U, diagonal = trace.factors["U"][1], trace.factors["D"][1]
    W = U * np.sqrt(diagonal)[..., None, :]
    assert np.abs(fp.gradient(problems, W, np.ones(D)) @ W).max() < 1e-12
    bm = ul.descend(problems, ul.BM(2), step_size=ETA, iterations=4000, seed=SEEDS, init_scale=1.0, record_at=[])
    assert (bm.final_objective > 1e-2).all()
    for radius in (0.3, 1.0, 7.0):
        U, diagonal = fp.from_burer_monteiro(bm.factors["U"], radius=radius)
        np.testing.assert_allclose((U * diagonal[:, None]) @ np.swapaxes(U, 1, 2), bm.product(), atol=1e-12)
        assert (np.linalg.norm(U, axis=(-2, -1)) <= radius * (1 + 1e-12)).all()
        assert (fp.residuals(problems, U, diagonal, radius=radius).largest < 1e-10).all()


@given(st.integers(0, 1000), st.integers(1, 6), st.sampled_from([0.1, 1.0, 30.0]), st.booleans())
def test_every_psd_matrix_is_represented_in_the_ball_with_the_smallest_d(seed, rank, radius, is_complex):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((6, rank)) + (1j * rng.standard_normal((6, rank)) if is_complex else 0)
    X = 10.0 ** rng.integers(-4, 5) * A @ A.conj().T
    U, diagonal = fp.represent(X, radius=radius)
    np.testing.assert_allclose((U * diagonal) @ U.conj().T, X, atol=1e-12 * np.abs(X).max())
    assert np.linalg.norm(U) == pytest.approx(radius)
    schatten = np.sum(np.linalg.svd(X, compute_uv=False)[:rank] ** (2 / 3)) ** 1.5
    assert np.linalg.norm(diagonal) == pytest.approx(schatten / radius**2)
    # no other pair for its X has a smaller D
    other, entries = rng.standard_normal((6, 6)), rng.random(6)
    other *= radius / np.linalg.norm(other)
    _, least = fp.represent((other * entries) @ other.T, radius=radius)
    assert np.linalg.norm(least) <= np.linalg.norm(entries) * (1 + 1e-9)


def test_the_zero_matrix_is_represented():
    U, diagonal = fp.represent(np.zeros((2, 3, 3)))
    assert not U.any() and not diagonal.any()


# Dynamics -------------------------------------------------------------------------------------------------------------


def test_conserved_drift_halves_with_the_step_size(problems):
    """And it is the sum that the docstring states, to round-off."""
    drift, exact = [], []
    for eta in (0.01, 0.005):
        rng = np.random.default_rng(5)
        U, diagonal = rng.standard_normal((5, D, D)) / D, np.full((5, D), 0.5)
        before, predicted = fp.conserved(U, diagonal), np.zeros((5, D))
        for _ in range(round(2 / eta)):
            GU = fp.gradient(problems, U, diagonal) @ U
            slope = np.sum(U * GU, axis=-2)
            predicted += eta**2 * (4 * diagonal**2 * np.sum(GU**2, axis=-2) - 2 * slope**2)
            U, diagonal, c = fp.step(problems, U, diagonal, radius=50.0, step_size=eta)
            assert (c == 1).all() and (diagonal > 0).all()
        drift.append(fp.conserved(U, diagonal) - before)
        exact.append(predicted)
    np.testing.assert_allclose(drift, exact, atol=1e-13)
    ratio = np.linalg.norm(drift[0], axis=-1) / np.linalg.norm(drift[1], axis=-1)
    assert ((ratio > 1.8) & (ratio < 2.2)).all()


def test_conserved_is_conserved_only_inside_the_ball(problems):
    U, diagonal = np.random.default_rng(6).standard_normal((5, D, D)) / D, np.ones((5, D))
    on = {"iterations": 200, "start": {"U": U, "D": diagonal}, "record_at": []}
    inside = ul.descend(problems, ul.UDU(D, radius=50.0), step_size=0.01, **on).factors
    pressed = ul.descend(problems, ul.UDU(D, radius=1.0), step_size=0.01, **on).factors
    drift = [np.abs(fp.conserved(f["U"], f["D"]) - fp.conserved(U, diagonal)).max() for f in (inside, pressed)]
    assert drift[1] > 10 * drift[0]


@pytest.mark.parametrize("model", [ul.UDU(D), Relative(D, ball="none"), Relative(D, ball="none", decay=0.3)])
def test_shares_follow_the_replicator_equation_whatever_rescales_u(problems, model):
    """One step predicted to O(η): the error relative to the change halves when η does."""
    start = ul.descend(problems, model, step_size=ETA, iterations=60, seed=SEEDS, init_scale=1.0, record_at=[]).factors
    now = fp.replicator(problems, **start)
    np.testing.assert_allclose(now.shares.sum(-1), 1)
    np.testing.assert_allclose(now.velocity.sum(-1), 0, atol=1e-12)
    error = []
    for eta in (2e-3, 1e-3):
        after = ul.descend(problems, model, step_size=eta, iterations=1, start=start, record_at=[]).factors
        change = (fp.replicator(problems, **after).shares - now.shares) / eta
        error.append(np.linalg.norm(change - now.velocity, axis=-1) / np.linalg.norm(now.velocity, axis=-1))
    assert (error[1] < 1e-2).all()
    assert np.median(error[0] / error[1]) == pytest.approx(2, abs=0.1)


def test_shrink_law_at_the_scale_of_figure_1():
    """S = ||X||_F = 3, 100 x 100, 900 entries: at most 2 % at η = 0.1, 0.5 % at η = 0.02."""
    _, truth = ul.planted_completion(d=100, rank=3, observed=900, seed=0)
    spectrum = 3 * truth.singular_values / np.linalg.norm(truth.singular_values)
    problem, _ = ul.planted_completion(d=100, rank=3, observed=900, spectrum=spectrum, seed=0)
    for eta, tolerance in ((0.1, 0.02), (0.02, 0.005)):
        its = round(300 / eta)
        on = {"iterations": its, "record_at": [1, its], "record": ("columns", "shrink")}
        trace = ul.descend(problem, ul.UDU(20), step_size=eta, **on)
        law = fp.shrink_law(trace)
        assert law[0] == 0 and law[-1] > 50
        assert trace.log_shrink[-1] == pytest.approx(law[-1], rel=tolerance)


def test_shrink_law_holds_from_a_start_that_is_not_on_the_sphere(problems):
    radius = np.array([0.8, 1.0, 1.5, 40.0])[:, None]
    trace = ul.descend(
        problems, ul.UDU(D, radius=radius), step_size=0.005, iterations=3000, seed=SEEDS, record=("columns", "shrink")
    )
    law = fp.shrink_law(trace, radius=radius)
    np.testing.assert_allclose(trace.log_shrink[:3, :, -1], law[:3, :, -1], rtol=0.02)
    assert (trace.log_shrink[3] == 0).all() and (np.abs(law[3]) < 1e-4).all()  # the ball is never reached


def test_a_radius_is_a_speed_of_d():
    """U → U/α, D → α² D turns radius α into radius 1, U's step size into η/α² and D's into η α⁴."""
    problem, _ = ul.planted_completion(d=10, rank=2, observed=70, spectrum=(2.0, 1.0), seed=3)
    Z = np.random.default_rng(7).standard_normal((10, 10))
    U, radius, eta = Z / np.linalg.norm(Z), 0.8, 0.01
    here = ul.descend(
        problem, ul.UDU(10, radius), step_size=eta, iterations=400, start={"U": radius * U, "D": np.ones(10)}
    )
    there = ul.descend(
        problem,
        Relative(10, speed=radius**6),
        step_size=eta / radius**2,
        iterations=400,
        start={"U": U, "D": np.full(10, radius**2)},
    )
    np.testing.assert_allclose(here.product(), there.product(), atol=1e-10)


# Bad input ------------------------------------------------------------------------------------------------------------

GOOD = {"U": np.eye(2), "D": np.ones(2), "radius": 1.0, "step_size": 0.1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"U": np.eye(3), "D": np.ones(3)}, "2 rows for this problem"),
        ({"U": np.ones(2)}, "U has shape"),
        ({"D": np.ones(3)}, "U has shape"),
        ({"D": np.array([1.0, -1.0])}, "at least zero"),
        ({"D": np.array([1.0, 1j])}, "D is real"),
        ({"U": 1j * np.eye(2)}, "real for a real problem"),
        ({"U": np.full((2, 2), np.nan)}, "NaN"),
        ({"radius": 0.0}, "radius"),
        ({"step_size": -1.0}, "step_size"),
        ({"U": np.ones((2, 2, 2)), "D": np.ones((3, 2))}, "broadcast"),
        ({"radius": np.ones(2), "step_size": np.ones(3)}, "broadcast"),
    ],
)
def test_residuals_and_step_refuse(change, message):
    for function in (fp.residuals, fp.step):
        with pytest.raises(ul.InputError, match=message):
            function(BY_HAND, **(GOOD | change))


def test_a_rectangular_problem_is_refused():
    problem = ul.Completion([0], [1], [1.0], shape=(2, 3))
    for function in (fp.residuals, fp.step, fp.gradient, fp.replicator):
        with pytest.raises(ul.InputError, match="symmetric"):
            function(problem, np.eye(2), np.ones(2))


def test_the_others_refuse(problems):
    with pytest.raises(ul.InputError, match="U = 0"):
        fp.replicator(BY_HAND, np.zeros((2, 2)), np.ones(2))
    with pytest.raises(ul.InputError, match="U has shape"):
        fp.conserved(np.eye(2), np.ones(3))
    for X, message in (
        (np.ones(3), "square"),
        (np.ones((2, 3)), "square"),
        (np.array([[1.0, 2.0], [0.0, 1.0]]), "Hermitian"),
        (np.diag([1.0, -1.0]), "semidefinite"),
    ):
        with pytest.raises(ul.InputError, match=message):
            fp.represent(X)
    with pytest.raises(ul.InputError, match="radius"):
        fp.represent(np.eye(2), radius=-1.0)
    with pytest.raises(ul.InputError, match="shape"):
        fp.from_burer_monteiro(np.ones(3))
    few = {"step_size": 0.01, "iterations": 2}
    with pytest.raises(ul.InputError, match="shrink"):
        fp.shrink_law(ul.descend(problems, ul.UDU(D), **few))
    outside = ul.descend(problems, ul.UDU(D), init_scale=3.0, record=("columns", "shrink"), **few)
    with pytest.raises(ul.InputError, match="inside the ball"):
        fp.shrink_law(outside)
