"""Deep matrix factorization: each statement of the book's theory page, against runs."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import udulib as ul
from udulib.errors import InputError
from udulib.theory import deep
from udulib.theory.deep import recovery_times

EPSILON = np.finfo(float).eps


def rotation(n, rng):
    """A random orthogonal matrix."""
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def rebuilt(basis, values):
    """Q diag(values) Q^T for each row of values: (T, n, n)."""
    return np.einsum("ai,ti,bi->tab", basis, values, basis)


def first_reaching(values, level):
    """Index of the first value at or above the level."""
    assert values[-1] >= level
    return int(np.argmax(values >= level))


def nuclear_rank(values):
    """Sum over largest of each row."""
    return np.abs(values).sum(-1) / np.abs(values).max(-1)


def speed(x, target, depth):
    return x ** (depth - 1) * (target - x**depth)


# --- decoupling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "scale", "step_size"), [(2, 0.01, 5e-3), (3, 0.1, 1e-3), (4, 0.3, 1e-3)])
@pytest.mark.parametrize("signal", [(10.0, 5.0, 2.5, 0, 0, 0, 0, 0), (10.0, 4.0, 0.3, 0.1, 0, -0.1, -0.2, -0.3)])
def test_recursion_equals_the_full_run(depth, scale, step_size, signal):
    """All factors stay Q diag(d) Q^T, and d follows the scalar recursion (theorem on decoupling)."""
    target = np.array(signal)
    basis = rotation(len(target), np.random.default_rng(depth))
    grid = np.arange(0, 3001, 100)
    full = deep.descend(basis * target @ basis.T, depth, scale, step_size, 3000, record_at=grid)
    scalar = deep.eigenvalues(target, depth, scale, step_size, 3000, record_at=grid)
    assert full.iteration.tolist() == scalar.iteration.tolist() == grid.tolist()
    assert np.abs(full.products - rebuilt(basis, scalar.values)).max() < 1e-12
    assert np.abs(full.along(basis) - scalar.values).max() < 1e-12
    expected = rebuilt(basis, scalar.factor_values[-1:])[0]
    assert max(np.abs(W - expected).max() for W in full.factors) < 1e-12


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_perturbed_recursion_equals_the_full_run(depth):
    target = np.array([2.0, 0.7, 0.0, -0.4, -1.0])
    basis = rotation(5, np.random.default_rng(7))
    full = deep.descend(basis * target @ basis.T, depth, 0.4, 0.02, 1500, init="perturbed", perturbation=0.2)
    scalar = deep.eigenvalues(target, depth, 0.4, 0.02, 1500, perturbation=0.2, record_at=full.iteration)
    assert np.abs(full.products - rebuilt(basis, scalar.values)).max() < 1e-12


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_one_step_moves_each_factor_along_minus_its_gradient(depth):
    """Against central differences of f in every entry of every factor."""
    rng = np.random.default_rng(depth)
    target = rng.standard_normal((3, 3))
    target = target + target.T
    start = deep.descend(target, depth, 1.0, 1e-3, 0, init="random", rng=np.random.default_rng(1)).factors
    moved = deep.descend(target, depth, 1.0, 1e-3, 1, init="random", rng=np.random.default_rng(1)).factors

    def objective(factors):
        return 0.5 * np.sum((np.linalg.multi_dot(factors[::-1]) - target) ** 2)

    slope = np.empty_like(start)
    for index in np.ndindex(start.shape):
        up, down = start.copy(), start.copy()
        up[index] += 1e-5
        down[index] -= 1e-5
        slope[index] = (objective(up) - objective(down)) / 2e-5
    np.testing.assert_allclose((start - moved) / 1e-3, slope, atol=1e-7 * np.abs(slope).max())


@pytest.mark.parametrize(("depth", "scale"), [(2, 0.01), (3, 0.3)])
def test_trap_a_tiny_difference_between_factors_is_enough_to_learn_negative_values(depth, scale):
    """N = 2: a difference beta between the factors grows by 1 + eta |lambda| a step, in full runs and the recursion."""
    target, step_size, beta = np.array([1.0, 0.5, -1.0]), 0.02, 1e-9
    basis = rotation(3, np.random.default_rng(0))
    full = deep.descend(
        basis * target @ basis.T, depth, scale, step_size, 6000, init="perturbed", perturbation=beta, record_at=[2000]
    )
    scalar = deep.eigenvalues(target, depth, scale, step_size, 6000, perturbation=beta)
    assert deep.eigenvalues(target, depth, scale, step_size, 6000).values.min() >= 0
    np.testing.assert_allclose(full.along(basis)[0], scalar.values[2000], atol=1e-9)
    if depth == 2:
        assert full.along(basis)[-1, 2] == pytest.approx(-1, abs=1e-6)
        halfway = int(np.argmax(scalar.values[:, 2] < -0.5))
        assert halfway == pytest.approx(math.log(2 * math.sqrt(0.5) / beta) / math.log1p(step_size), rel=0.02)


def test_trap_round_off_is_such_a_difference():
    """The theorem's limit is 0 along a negative eigenvector; a float64 run of all factors ends at the eigenvalue."""
    n, step_size, scale = 20, 0.02, 0.01
    target = np.linspace(1, -1, n)
    basis = rotation(n, np.random.default_rng(n))
    matrix = basis * target @ basis.T
    matrix[0, 1] = np.nextafter(matrix[1, 0], 2)  # on no machine symmetric to the last bit
    full = deep.descend(matrix, 2, scale, step_size, 4000)
    scalar = deep.eigenvalues(target, 2, scale, step_size, 4000, record_at=full.iteration)
    gap = np.abs(full.along(basis) - scalar.values).max(axis=1)
    assert gap[full.iteration <= 500].max() < 1e-12
    assert scalar.values.min() >= 0
    assert full.along(basis)[-1, -1] == pytest.approx(-1, abs=1e-3)


# --- convergence ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [2, 3, 4, 6])
@pytest.mark.parametrize(("target", "scale"), [(2.0, 0.3), (0.5, 1.2), (0.0, 0.8), (-1.5, 0.7)])
def test_at_the_step_bound_the_run_is_monotone_and_never_passes_its_limit(depth, target, scale):
    step_size = float(deep.step_bound(target, depth, scale)) * (1 - 1e-9)
    values = deep.eigenvalues(target, depth, scale, step_size, 3000).values[:, 0]
    limit = max(target, 0.0)
    moves = np.diff(values)
    slack = 4 * EPSILON * max(abs(target), scale**depth)
    if limit > scale**depth:
        assert moves.min() >= -slack
        assert values.max() <= limit + slack
    else:
        assert moves.max() <= slack
        assert values.min() >= limit - slack


@pytest.mark.parametrize("depth", [2, 3, 4, 6])
@pytest.mark.parametrize(("target", "scale"), [(2.0, 0.3), (0.5, 1.2), (0.0, 0.8), (-1.5, 0.7)])
def test_just_beyond_the_step_bound_the_factor_passes_its_limit(depth, target, scale):
    step_size = float(deep.step_bound(target, depth, scale)) * 1.01
    d = deep.eigenvalues(target, depth, scale, step_size, 3000).factor_values[:, 0]
    limit = max(target, 0.0) ** (1 / depth)
    passed = d.max() - limit if limit > scale else limit - d.min()
    assert passed > 1e-7


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_local_stability_ends_at_twice_the_step_bound(depth):
    """The multiplier at the limit is 1 - eta N lambda^(2 - 2/N)."""
    bound = float(deep.step_bound(2.0, depth, 0.3))
    below = deep.eigenvalues(2.0, depth, 0.3, 1.9 * bound, 4000).values[-2:, 0]
    beyond = deep.eigenvalues(2.0, depth, 0.3, 2.05 * bound, 4000).values[-2:, 0]
    np.testing.assert_allclose(below, 2.0, rtol=1e-10)
    assert np.abs(beyond - 2.0).min() > 1e-2


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_local_rate_is_one_minus_eta_n_lambda_power(depth):
    step_size = 0.2 * float(deep.step_bound(2.0, depth, 0.5))
    gap = 2.0 ** (1 / depth) - deep.eigenvalues(2.0, depth, 0.5, step_size, 400).factor_values[:, 0]
    near = np.flatnonzero((gap > 1e-9) & (gap < 1e-6))
    rate = gap[near[1:]] / gap[near[:-1]]
    np.testing.assert_allclose(rate, 1 - step_size * depth * 2.0 ** (2 - 2 / depth), rtol=1e-4)


@settings(derandomize=True, max_examples=100, deadline=None, database=None)
@given(target=st.floats(-20, 20), depth=st.integers(2, 8), scale=st.floats(0.01, 2.0), norm=st.floats(1.0, 3.0))
def test_one_step_size_serves_all_eigenvalues(target, depth, scale, norm):
    """1 / (N M^(2N-2)) with M = max(scale, ||W||^(1/N)) is never above the bound of an eigenvalue."""
    M = max(scale, (abs(target) * norm) ** (1 / depth))
    assert 1 / (depth * M ** (2 * depth - 2)) <= deep.step_bound(target, depth, scale) * (1 + 1e-12)


def test_negative_eigenvalues_are_never_recovered_and_decay_as_predicted():
    """N = 2: d shrinks by 1 - eta |lambda| a step; N >= 3: d ~ ((N - 2) eta |lambda| k)^(-1/(N-2))."""
    step_size, k = 0.01, 40_000
    two = deep.eigenvalues(-1.0, 2, 0.1, step_size, 1000)
    assert (two.values >= 0).all()
    assert two.factor_values[-1, 0] / two.factor_values[-2, 0] == pytest.approx(1 - step_size, rel=1e-6)
    for depth in (3, 4):
        d = deep.eigenvalues(-1.0, depth, 0.5, step_size, k, record_at=[k]).factor_values[-1, 0]
        assert d == pytest.approx(((depth - 2) * step_size * k) ** (-1 / (depth - 2)), rel=0.02)


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("target", [-0.02, -0.1, -0.5, -1.0, 0.8])
def test_perturbed_start_recovers_every_sign(depth, target):
    """a^(N-1) b -> lambda, monotonically in the flow, with a^2 - b^2 conserved up to O(eta)."""
    run = deep.eigenvalues(target, depth, 0.2, 0.05, 60_000, perturbation=0.1, record_at=np.arange(0, 60_001, 50))
    assert run.values[-1, 0] == pytest.approx(target, abs=1e-9)
    gap = np.abs(run.values[:, 0] - target)
    assert (np.diff(gap) <= 1e-12).all()
    assert run.factor_values.min() > 0


def test_perturbed_start_conserves_the_difference_of_squares_up_to_the_step_size():
    drift = []
    for step_size in (0.02, 0.01):
        run = deep.eigenvalues([1.0, -1.0], 3, 0.3, step_size, round(60 / step_size), perturbation=0.1)
        conserved = run.factor_values**2 - run.odd_values**2
        drift.append(np.abs(conserved - conserved[0]).max())
    assert drift[0] < 2e-2
    assert drift[0] / drift[1] == pytest.approx(2, abs=0.1)


# --- recovery times ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
@pytest.mark.parametrize("target", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("boldness", [0.02, 0.2])
def test_recovery_steps_against_runs(depth, target, share, boldness):
    """Within 1 % and two steps of the run's first crossing; boldness is the step size over step_bound."""
    scale = 1e-3 ** (1 / depth)
    step_size = boldness * float(deep.step_bound(target, depth, scale))
    expected = float(deep.recovery_steps(target, share * target, depth, scale, step_size))
    run = deep.eigenvalues(target, depth, scale, step_size, math.ceil(1.1 * expected) + 5).values[:, 0]
    reached = first_reaching(run, share * target)
    assert abs(reached - 0.5 - expected) < max(0.01 * expected, 2.0)
    if expected > 300:
        assert reached == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("depth", [2, 3, 4, 5, 9])
@pytest.mark.parametrize(
    ("target", "scale", "level"), [(2.0, 0.4, 1.3), (0.01, 0.9, 0.03), (0.0, 0.8, 0.1), (-1.0, 0.8, 0.05)]
)
def test_flow_time_is_the_integral_of_one_over_f(depth, target, scale, level):
    """Its derivative in y is 1 / F(y), and it is zero at the start: closed forms and quadratures alike."""
    if not min(scale**depth, max(target, 0)) < level < max(scale**depth, max(target, 0)):
        pytest.skip("not between the start and the limit")
    y, h = level ** (1 / depth), 1e-5
    up = deep.recovery_steps(target, (y + h) ** depth, depth, scale, 1e-3)
    down = deep.recovery_steps(target, (y - h) ** depth, depth, scale, 1e-3)
    correction = 0.5 * math.log(speed(y + h, target, depth) / speed(y - h, target, depth))
    assert (up - down - correction) * 1e-3 / (2 * h) == pytest.approx(1 / speed(y, target, depth), rel=1e-6)
    assert deep.recovery_steps(target, scale**depth, depth, scale, 1e-3) == 0


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_closed_forms_equal_the_quadrature(depth):
    level, target = np.array([0.002, 0.5, 1.9, 1.999999]), np.full(4, 2.0)
    closed = {2: recovery_times._H2, 3: recovery_times._H3, 4: recovery_times._H4}[depth]
    difference = closed(level, target, depth) - recovery_times._H(level, target, depth)
    np.testing.assert_allclose(difference, difference[0], atol=1e-13)


@pytest.mark.parametrize(
    ("depth", "target", "scale", "level"), [(2, -1.0, 0.9, 0.1), (3, 0.2, 1.1, 0.3), (4, -0.5, 0.9, 0.02)]
)
def test_recovery_steps_downwards(depth, target, scale, level):
    step_size = 2e-3
    expected = float(deep.recovery_steps(target, level, depth, scale, step_size))
    run = deep.eigenvalues(target, depth, scale, step_size, math.ceil(1.1 * expected)).values[:, 0]
    assert first_reaching(-run, -level) == pytest.approx(expected, rel=0.01)


def test_correction_halves_with_the_step_size():
    """What the corrected closed form leaves is O(eta): a thousandth of a step here, a quarter of it at eta / 4."""
    left = []
    for step_size in (0.02, 0.01, 0.005):
        expected = float(deep.recovery_steps(1.0, 0.9, 3, 0.2, step_size))
        run = deep.eigenvalues(1.0, 3, 0.2, step_size, math.ceil(expected) + 5).values[:, 0]
        k = first_reaching(run, 0.9)
        # continue the corrected clock from the last state below the level: what remains is a fraction of one step
        remains = deep.recovery_steps(1.0, 0.9, 3, run[k - 1] ** (1 / 3), step_size)
        left.append(abs(k - 1 + float(remains) - expected))
    assert left[0] < 2e-3
    assert 3 < left[0] / left[2] < 5


# --- plateaus ---------------------------------------------------------------------------------------------------------


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(
    depth=st.integers(2, 4),
    signal=st.lists(st.floats(1.0, 10.0), min_size=1, max_size=4),
    noise=st.lists(st.floats(-0.5, 0.5), max_size=6),
    log_start=st.floats(-4, -2),
    boldness=st.floats(0.1, 1.0),
    shares=st.tuples(st.floats(0.01, 0.2), st.floats(0.01, 0.2)),
)
def test_plateau_bound_holds_at_every_step_of_its_interval(depth, signal, noise, log_start, boldness, shares):
    targets = np.array(sorted(signal, reverse=True) + noise)
    scale = 10 ** (log_start / depth)
    step_size = boldness * float(deep.step_bound(targets, depth, scale).min())
    error, leak = shares[0] * min(signal), max(shares[1] * min(signal), scale**depth)
    found = 0
    for upto in range(1, len(signal) + 1):
        step = deep.plateau(targets, upto, depth, scale, step_size, error, leak)
        if step.empty:
            continue
        stop = min(step.stop, step.start + 2000)
        inside = np.arange(step.start, stop + 1)
        run = deep.eigenvalues(targets, depth, scale, step_size, stop, record_at=inside)
        kept, rest = np.sort(run.values)[:, ::-1][:, :upto], np.sort(run.values)[:, ::-1][:, upto:]
        assert np.abs(kept - np.sort(targets)[::-1][:upto]).max() <= error * (1 + 1e-9)
        assert rest.size == 0 or (rest.min() >= 0 and rest.max() <= leak * (1 + 1e-9))
        assert np.abs(nuclear_rank(run.values) - step.level).max() <= step.bound
        found += 1
    assume(found)


@pytest.mark.parametrize("seed", range(20))
def test_plateaus_of_noisy_low_rank_matrices(seed):
    """20 random spectra, full-length intervals at the first and the last stair; the interval is not wasteful."""
    rng = np.random.default_rng(seed)
    depth = 2 + seed % 3
    signal = np.array([10.0, 5.0, 2.5]) * rng.uniform(0.9, 1.1, 3)
    targets = np.concatenate([signal, 0.1 * rng.standard_normal(12)])
    scale = 1e-4 ** (1 / depth)
    step_size = 0.5 * float(deep.step_bound(targets, depth, scale).min())
    checked = 0
    for upto in (1, 2, 3):
        step = deep.plateau(targets, upto, depth, scale, step_size, error=0.05, leak=0.2)
        if step.empty:
            continue
        stop = int(min(step.stop, step.start + 2000))
        run = deep.eigenvalues(targets, depth, scale, step_size, stop)
        inside = run.iteration >= step.start
        assert np.abs(nuclear_rank(run.values[inside]) - step.level).max() <= step.bound
        late = first_reaching(np.sort(run.values)[:, -upto], signal[upto - 1] - 0.05)
        assert late <= step.start <= late + 3 + 2 * depth * math.log(10)
        checked += 1
    assert checked >= (1 if depth == 2 else 2)


@pytest.mark.parametrize("upto", [1, 2, 4])
def test_plateau_bound_covers_the_worst_case_and_wastes_less_than_one_error(upto):
    """Worst: equal eigenvalues, the first one late by the whole error, all others leaking as much as they may."""
    error, leak, n = 0.1, 0.05, 9
    targets = np.array([2.0] * upto + [1.0] * (n - upto))
    step = deep.plateau(targets, upto, 3, 0.1, 0.01, error, leak)
    values = np.array([2.0 - error] + [2.0] * (upto - 1) + [leak] * (n - upto))
    ahead = values.sum() / (2.0 - error) - step.level  # as if the late one were the largest
    assert abs(nuclear_rank(values) - step.level) <= step.bound
    assert ahead <= step.bound <= ahead + error / (2.0 - error) + 1e-12


def test_plateau_may_be_empty_and_may_last_for_ever():
    close = deep.plateau([2.0, 1.9], upto=1, depth=2, scale=0.1, step_size=0.01, error=0.01, leak=0.02)
    assert close.empty
    assert deep.plateau([2.0, 1.9], upto=2, depth=2, scale=0.1, step_size=0.01, error=0.01, leak=0.02).stop == math.inf


# --- the stopping rule ------------------------------------------------------------------------------------------------


def test_longest_plateau_skips_start_and_end():
    iteration = np.concatenate([[0], np.geomspace(1, 1e5, 400).round()]).astype(int)
    iteration = np.unique(iteration)
    rank = np.select(
        [iteration < 500, iteration < 600, iteration < 3000, iteration < 4000, iteration < 9000, iteration < 10_000],
        [8.0, 1.0, 1.02, 1.3, 1.5, 2.0],
        3.0,
    )
    first, last = deep.longest_plateau(iteration, rank, width=0.05)
    assert 490 < first < 520
    assert 2800 < last < 3000


def test_longest_plateau_of_a_staircase_lies_where_the_theorem_puts_it():
    targets = np.array([10.0, 7.0, 5.0, *np.linspace(-0.6, 0.6, 20)])
    run = deep.eigenvalues(
        targets, 3, 1e-4 ** (1 / 3), 2e-3, 40_000, record_at=np.geomspace(1, 40_000, 300).astype(int)
    )
    first, last = deep.longest_plateau(run.iteration, nuclear_rank(run.values), width=0.05)
    step = deep.plateau(targets, 3, 3, 1e-4 ** (1 / 3), 2e-3, error=0.2, leak=0.2)
    assert not step.empty
    assert step.start < math.sqrt(first * last) < step.stop


# --- problems of this package -----------------------------------------------------------------------------------------


def test_sensing_problem_gives_the_gradient_of_its_matrices():
    rng = np.random.default_rng(3)
    matrices = rng.standard_normal((12, 4, 4))
    matrices = (matrices + np.swapaxes(matrices, 1, 2)) / 2
    b = rng.standard_normal(12)
    run = deep.descend(ul.Sensing(matrices, b), 3, 0.5, 1e-2, 5, record_at=[0, 1, 2, 3, 4, 5])
    W = 0.5**3 * np.eye(4)
    residual = np.einsum("mab,ab->m", matrices, W) - b
    G = np.einsum("m,mab->ab", residual, matrices)
    factor = 0.5 * np.eye(4) - 1e-2 * 0.25 * G
    np.testing.assert_allclose(run.products[1], factor @ factor @ factor, atol=1e-13)
    assert run.objective[0] == pytest.approx(0.5 * residual @ residual)


def test_depth_two_from_identical_factors_is_burer_monteiro_with_half_the_step():
    problem, _ = ul.planted_completion(d=12, rank=2, observed=70, spectrum=(2.0, 1.0), seed=0)
    run = deep.descend(problem, 2, 0.1, 0.04, 400)
    bm = ul.descend(problem, ul.BM(rank=12), start={"U": 0.1 * np.eye(12)}, step_size=0.02, iterations=400)
    np.testing.assert_allclose(run.products[-1], bm.product(), atol=1e-13)


@pytest.mark.parametrize("init", ["identical", "perturbed", "random"])
def test_several_runs_in_one_call_equal_single_runs(init):
    more = {"identical": {}, "perturbed": {"perturbation": 0.1}, "random": {}}[init]

    def rng(i):
        return {"rng": np.random.default_rng(i)} if init == "random" else {}

    matrices = np.random.default_rng(5).standard_normal((3, 4, 4))
    matrices = matrices + matrices.swapaxes(1, 2)
    problems = [ul.planted_sensing(d=4, rank=1, measurements=9, spectrum=(1.0,), seed=i)[0] for i in range(3)]
    for together, alone in ((matrices, matrices), (ul.stack(problems), problems)):
        rngs = {"rng": [np.random.default_rng(i) for i in range(3)]} if init == "random" else {}
        batch = deep.descend(together, 3, 0.3, 0.01, 200, init=init, **more, **rngs)
        assert batch.products.shape == (3, len(batch.iteration), 4, 4)
        assert batch.factors.shape == (3, 3, 4, 4)
        for i in range(3):
            single = deep.descend(alone[i], 3, 0.3, 0.01, 200, init=init, **more, **rng(i))
            np.testing.assert_allclose(batch.products[i], single.products, atol=1e-13)
            np.testing.assert_allclose(batch.objective[i], single.objective, atol=1e-12)
            np.testing.assert_allclose(batch.factors[i], single.factors, atol=1e-13)
            np.testing.assert_allclose(batch.singular_values[i], single.singular_values, atol=1e-12)


def test_random_factors_are_as_large_as_identical_ones():
    """E ||W_j||_F^2 = ||alpha I||_F^2, each factor its own draw, the same draw for the same generator."""
    runs = [deep.descend(np.eye(60), 3, 0.2, 1e-3, 0, init="random", rng=np.random.default_rng(2)) for _ in range(2)]
    sizes = np.sum(runs[0].factors ** 2, axis=(1, 2))
    np.testing.assert_allclose(sizes, 0.2**2 * 60, rtol=0.1)
    assert len(set(sizes)) == 3
    np.testing.assert_array_equal(runs[0].factors, runs[1].factors)


# --- bad input --------------------------------------------------------------------------------------------------------

GOOD = {"depth": 3, "scale": 0.1, "step_size": 0.01}
SYMMETRIC = np.diag([2.0, 1.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 1}, "depth"),
        ({"depth": 2.5}, "depth"),
        ({"scale": 0.0}, "scale"),
        ({"scale": -1.0}, "scale"),
        ({"scale": [0.1, 0.2]}, "scale"),
        ({"step_size": 0.0}, "step_size"),
        ({"step_size": -0.1}, "step_size"),
        ({"step_size": math.nan}, "step_size"),
    ],
)
def test_bad_settings_everywhere(change, message):
    bad = GOOD | change
    calls = [
        lambda: deep.eigenvalues([1.0], iterations=3, **bad),
        lambda: deep.descend(SYMMETRIC, iterations=3, **bad),
        lambda: deep.recovery_steps(1.0, 0.5, **bad),
        lambda: deep.plateau([2.0, 1.0], 1, error=0.1, leak=0.1, **bad),
    ]
    if message != "step_size":
        calls.append(lambda: deep.step_bound(1.0, bad["depth"], bad["scale"]))
    for call in calls:
        with pytest.raises(InputError, match=message):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deep.eigenvalues([1.0, math.nan], iterations=3, **GOOD), "NaN"),
        (lambda: deep.eigenvalues([], iterations=3, **GOOD), "shape"),
        (lambda: deep.eigenvalues(SYMMETRIC, iterations=3, **GOOD), "eigvalsh"),
        (lambda: deep.eigenvalues([1.0 + 2j], iterations=3, **GOOD), "real"),
        (lambda: deep.eigenvalues([1.0], iterations=-1, **GOOD), "iterations"),
        (lambda: deep.eigenvalues([1.0], iterations=3, perturbation=0.1, **GOOD), "perturbation"),
        (lambda: deep.eigenvalues([1.0], iterations=3, perturbation=-0.1, **GOOD), "perturbation"),
        (lambda: deep.eigenvalues([1.0], iterations=3, record_at=[4], **GOOD), "record_at"),
        (lambda: deep.eigenvalues([1.0], iterations=3, record_at=[0.5], **GOOD), "record_at"),
        (lambda: deep.eigenvalues([1.0], 3, 0.1, 50.0, 200), "diverged"),
        (lambda: deep.descend(np.array([[1.0, 2.0], [0.0, 1.0]]), iterations=3, **GOOD), "symmetric"),
        (lambda: deep.descend(np.ones((2, 3)), iterations=3, **GOOD), "square"),
        (lambda: deep.descend(np.ones(3), iterations=3, **GOOD), "square"),
        (lambda: deep.descend(np.diag([1.0, math.inf]), iterations=3, **GOOD), "infinite"),
        (lambda: deep.descend(SYMMETRIC, iterations=3, init="zero", **GOOD), "init"),
        (lambda: deep.descend(SYMMETRIC, iterations=3, init="perturbed", **GOOD), "perturbation"),
        (lambda: deep.descend(SYMMETRIC, iterations=3, init="perturbed", perturbation=0.0, **GOOD), "perturbation"),
        (lambda: deep.descend(SYMMETRIC, iterations=3, perturbation=0.05, **GOOD), "perturbation"),
        (lambda: deep.descend(SYMMETRIC, iterations=3, init="random", **GOOD), "rng"),
        (lambda: deep.descend(SYMMETRIC, iterations=3, rng=np.random.default_rng(0), **GOOD), "rng"),
        (lambda: deep.descend(SYMMETRIC, iterations=3, init="random", rng=7, **GOOD), "rng"),
        (lambda: deep.descend(SYMMETRIC, iterations=3, init="random", rng=[np.random.default_rng(0)], **GOOD), "rng"),
        (lambda: deep.descend(SYMMETRIC, 3, 0.1, 50.0, 200), "diverged"),
        (lambda: deep.recovery_steps(1.0, 1.0, **GOOD), "level"),
        (lambda: deep.recovery_steps(1.0, 1.5, **GOOD), "level"),
        (lambda: deep.recovery_steps([1.0, -1.0], 0.5, **GOOD), "level"),
        (lambda: deep.recovery_steps(-1.0, -0.5, **GOOD), "level"),
        (lambda: deep.recovery_steps(1.0, 1e-4, **GOOD), "level"),
        (lambda: deep.recovery_steps(1.0, 0.5, 3, 0.1, 0.5), "step_bound"),
        (lambda: deep.plateau([2.0, 1.0], 3, error=0.1, leak=0.1, **GOOD), "upto"),
        (lambda: deep.plateau([2.0, 1.0], 0, error=0.1, leak=0.1, **GOOD), "upto"),
        (lambda: deep.plateau([2.0, -1.0], 2, error=0.1, leak=0.1, **GOOD), "never grow"),
        (lambda: deep.plateau([2.0, 1.0], 1, error=2.0, leak=0.1, **GOOD), "error"),
        (lambda: deep.plateau([2.0, 1.0], 1, error=0.1, leak=1e-4, **GOOD), "leak"),
        (lambda: deep.plateau([2.0, 1.0], 1, 3, 0.1, 0.5, error=0.1, leak=0.1), "step_bound"),
        (lambda: deep.longest_plateau([1, 2, 3], [1.0, 2.0], width=0.1), "shape"),
        (lambda: deep.longest_plateau([1, 3, 2], [1.0, 2.0, 3.0], width=0.1), "increases"),
        (lambda: deep.longest_plateau([1, 2, 3], [3.0, 2.0, 2.0], width=0.1), "longer"),
        (lambda: deep.longest_plateau([1, 2, 3], [3.0, 2.0, 2.0], width=0.0), "width"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_results_are_frozen():
    run = deep.eigenvalues([1.0], iterations=2, **GOOD)
    with pytest.raises(AttributeError):
        run.values = None


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_the_flow_is_fastest_at_the_turning_level(depth):
    """F as a function of a factor's eigenvalue, whose power is the level."""
    target = 2.0
    top = recovery_times.turning_level(target, depth)
    at, below, above = (recovery_times.flow_speed(top * share, target, depth) for share in (1.0, 0.99, 1.01))
    assert at > below and at > above
