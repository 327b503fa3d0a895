"""The loop: batches, records, statuses, the scaling law, and bad input."""

import numpy as np
import pytest
import torch

import udulib as ul


@pytest.fixture(scope="module")
def planted():
    return ul.planted_completion(d=20, rank=2, observed=220, spectrum=(3.0, 2.0), seed=0)


def assert_same_run(batch, index, alone, tol=1e-10):
    assert batch.objective[index] == pytest.approx(alone.objective, rel=tol, abs=1e-25)
    for name, factor in alone.factors.items():
        assert batch.factors[name][index] == pytest.approx(factor, rel=tol, abs=tol)
    assert batch.singular_values[index] == pytest.approx(alone.singular_values, rel=tol, abs=tol)


@pytest.mark.parametrize("model", [ul.UDU(20), ul.BM(20), ul.UDV(20), ul.UV(20)], ids=lambda m: type(m).__name__)
def test_a_batch_is_its_single_runs(model):
    """Step sizes x (start scales, seeds, problems) in one call give, run by run, what single calls give."""
    problems = [ul.planted_completion(d=20, rank=2, observed=220, spectrum=(3.0, 2.0), seed=s)[0] for s in (0, 1, 2)]
    steps, scales, seeds = np.array([0.1, 0.03]), np.array([0.5, 0.1, 1e-3]), np.array([4, 4, 7])
    batch = ul.descend(
        ul.stack(problems), model, step_size=steps[:, None], init_scale=scales, seed=seeds, iterations=1000
    )
    assert batch.objective.shape == (2, 3, len(batch.iteration))
    for i, j in ((0, 0), (0, 1), (1, 2)):
        alone = ul.descend(
            problems[j], model, step_size=steps[i], init_scale=scales[j], seed=int(seeds[j]), iterations=1000
        )
        assert_same_run(batch, (i, j), alone)


def test_radius_d_init_and_start_broadcast(planted):
    problem, _ = planted
    start = {"U": np.random.default_rng(0).standard_normal((2, 1, 20, 5)) / 9, "D": np.ones(5)}
    batch = ul.descend(problem, ul.UDU(5, [0.8, 1.0, 2.0]), step_size=0.1, iterations=300, start=start)
    assert batch.status.shape == (2, 3)
    alone = ul.descend(
        problem, ul.UDU(5, 2.0), step_size=0.1, iterations=300, start={"U": start["U"][1, 0], "D": np.ones(5)}
    )
    assert_same_run(batch, (1, 2), alone)
    scales = ul.descend(problem, ul.UDU(5), step_size=0.1, iterations=300, d_init=[[0.1], [2.0]], seed=[1, 2])
    alone = ul.descend(problem, ul.UDU(5), step_size=0.1, iterations=300, d_init=2.0, seed=1)
    assert_same_run(scales, (1, 0), alone)


def test_start_is_scaled_and_not_projected(planted):
    """||U0||_F = init_scale, also outside the ball; one seed is one direction; D0 is d_init."""
    problem, _ = planted
    trace = ul.descend(
        problem,
        ul.UDU(20),
        step_size=1e-300,
        iterations=1,
        init_scale=[1e-3, 5.0],
        d_init=0.7,
        seed=3,
        record=("columns",),
    )
    norms = np.linalg.norm(trace.column_norms[:, 0], axis=-1)
    assert norms == pytest.approx([1e-3, 5.0])
    assert trace.column_norms[0, 0] / norms[0] == pytest.approx(trace.column_norms[1, 0] / norms[1])
    assert np.all(trace.diagonal[:, 0] == 0.7)


def test_an_iteration_is_the_number_of_updates_done(planted):
    problem, _ = planted
    trace = ul.descend(problem, ul.BM(4), step_size=0.05, iterations=10, record_at=[0, 1, 9, 10])
    shorter = ul.descend(problem, ul.BM(4), step_size=0.05, iterations=9)
    assert trace.iteration.tolist() == [0, 1, 9, 10]
    assert (trace.objective[3], *trace.spectra[3]) == (trace.final_objective, *trace.singular_values)
    assert trace.objective[2] == pytest.approx(float(shorter.final_objective))
    assert trace.spectra[2] == pytest.approx(shorter.singular_values)
    after = ul.descend(problem, ul.BM(4), step_size=0.05, iterations=10)
    assert float(trace.final_objective) == float(after.final_objective) < trace.objective[2]


def test_the_default_grid_is_logarithmic_with_both_ends(planted):
    problem, _ = planted
    grid = ul.descend(problem, ul.BM(2), step_size=0.01, iterations=1000).iteration
    assert grid[0] == 0
    assert grid[-1] == 999
    assert 30 <= len(grid) <= 37
    assert np.diff(np.log(grid[12:])).max() < 0.25


def test_shrink_law_links_projection_to_growth_of_d():
    """Sum of log(1/c) equals the growth of ||D||^2 / alpha^2 while the ball is active (paper.md, A3-dynamics 3)."""
    problem, _ = ul.planted_completion(d=30, rank=3, observed=400, spectrum=(3.0, 2.0, 1.0), seed=0)
    trace = ul.descend(
        problem, ul.UDU(30), step_size=0.005, iterations=8000, init_scale=1.0, record=("columns", "shrink")
    )
    growth = np.sum(trace.diagonal[-1] ** 2 - trace.diagonal[0] ** 2)
    assert trace.log_shrink[-1] == pytest.approx(growth, rel=5e-3)
    assert trace.log_shrink[0] == 0


def test_exact_scaling_law():
    """X -> s X with radius, D0, start by s^(1/3) and the step by s^(-4/3) is the same trajectory (paper.md, A2)."""
    s = 7.3
    problem, _ = ul.planted_completion(d=30, rank=3, observed=400, spectrum=(3.0, 2.0, 1.0), seed=0)
    larger = ul.Completion(problem.rows, problem.cols, s * problem.b, problem.shape, symmetric=True)
    one = ul.descend(problem, ul.UDU(30), step_size=0.02, iterations=1000, init_scale=0.5)
    two = ul.descend(
        larger,
        ul.UDU(30, radius=s ** (1 / 3)),
        step_size=0.02 * s ** (-4 / 3),
        iterations=1000,
        init_scale=0.5 * s ** (1 / 3),
        d_init=s ** (1 / 3),
    )
    assert two.objective / s**2 == pytest.approx(one.objective, rel=1e-9)
    for name in ("U", "D"):
        assert two.factors[name] / s ** (1 / 3) == pytest.approx(one.factors[name], rel=1e-9, abs=1e-12)


def test_udu_is_low_rank_where_bm_is_not():
    """The headline on a small instance: three singular values against a tail."""
    problem, truth = ul.planted_completion(d=40, rank=3, observed=600, spectrum=(3.0, 2.0, 1.0), seed=[0, 1])
    udu = ul.descend(problem, ul.UDU(40), step_size=0.03, iterations=10_000)
    bm = ul.descend(problem, ul.BM(40), step_size=0.03, iterations=10_000)
    assert ul.numerical_rank(udu.singular_values, rtol=1e-8).tolist() == [3, 3]
    assert (ul.numerical_rank(bm.singular_values, rtol=1e-8) > 10).all()
    assert (truth.relative_error(udu) < 1e-3).all()


def test_divergence_is_said():
    problem, _ = ul.planted_completion(d=20, rank=2, observed=220, spectrum=(3.0, 2.0), seed=0)
    trace = ul.descend(problem, ul.BM(20), step_size=[0.05, 30.0], iterations=200, init_scale=1.0)
    assert trace.status.tolist() == ["finished", "diverged"]
    assert "1 diverged" in repr(trace)
    assert np.isnan(trace.singular_values[1]).all()
    with pytest.raises(ul.InputError, match="diverged"):
        ul.numerical_rank(trace.singular_values, rtol=1e-8)


def test_a_stall_is_said_and_ends_the_run_only_when_asked(planted):
    """Nothing moves from U = 0, and the data are not fitted."""
    problem, _ = planted
    start = {"U": np.zeros((20, 3)), "D": np.ones(3)}
    trace = ul.descend(problem, ul.UDU(3), step_size=0.1, iterations=500, start=start)
    assert trace.status == "stalled"
    assert trace.iteration[-1] == 499
    trace = ul.descend(problem, ul.UDU(3), step_size=0.1, iterations=500, start=start, stop_when_stalled=True)
    assert trace.status == "stalled"
    assert trace.iteration.tolist() == [0]


def test_a_solved_problem_is_no_stall():
    """At the truth nothing moves either, but the data are fitted."""
    problem, truth = ul.planted_completion(d=20, rank=2, observed=220, spectrum=(0.6, 0.3), seed=0)
    trace = ul.descend(problem, ul.UDU(2, radius=2.0), step_size=0.1, iterations=10, start=truth.factors)
    assert trace.status == "finished"


def test_float32_follows_float64(planted):
    """At a step at which the descent is stable: at 0.1 it oscillates here, and round-off decides where it is."""
    problem, _ = planted
    runs = [ul.descend(problem, ul.UDU(10), step_size=0.05, iterations=1000, dtype=t) for t in ("float32", "float64")]
    assert runs[0].factors["U"].dtype == np.float32
    assert runs[0].objective == pytest.approx(runs[1].objective, rel=2e-3)
    assert runs[0].singular_values[:2] == pytest.approx(runs[1].singular_values[:2], rel=1e-5)


def test_complex_problems_get_complex_factors():
    """Phase retrieval in miniature: |<a, x>|^2 from Hermitian rank-one matrices; X comes out Hermitian of rank one."""
    rng = np.random.default_rng(0)
    a = (rng.standard_normal((60, 6)) + 1j * rng.standard_normal((60, 6))) / np.sqrt(60)
    x = rng.standard_normal(6) + 1j * rng.standard_normal(6)
    problem = ul.Sensing(a[:, :, None] * a[:, None, :].conj(), np.abs(a.conj() @ x) ** 2)
    trace = ul.descend(problem, ul.UDU(6, radius=2.0), step_size=0.03, iterations=20_000, init_scale=0.1)
    assert trace.factors["U"].dtype == np.complex128
    assert trace.factors["D"].dtype == np.float64
    truth = np.outer(x, x.conj())
    assert np.linalg.norm(trace.product() - truth) < 1e-3 * np.linalg.norm(truth)


def test_monitor_watches_other_entries(planted):
    problem, truth = planted
    held = ul.Completion([0, 3], [5, 3], truth.product()[[0, 3], [5, 3]], (20, 20), symmetric=True)
    trace = ul.descend(problem, ul.UDU(20), step_size=0.1, iterations=50, monitor={"validation": held})
    last = ul.descend(problem, ul.UDU(20), step_size=0.1, iterations=49)
    want = held.objective(*(torch.from_numpy(last.factors[n]) for n in ("U", "D")))
    assert trace.monitor["validation"].shape == trace.iteration.shape
    assert trace.monitor["validation"][-1] == pytest.approx(float(want))


def test_nothing_recorded_is_legal_and_said(planted):
    problem, _ = planted
    trace = ul.descend(problem, ul.UDU(3), step_size=[0.1, 0.2], iterations=5, record_at=[])
    assert trace.objective.shape == (2, 0)
    assert trace.spectra.shape == (2, 0, 3)
    with pytest.raises(ul.InputError, match="column_norms was not recorded"):
        _ = trace.column_norms


def test_arguments_are_left_alone(planted):
    problem, _ = planted
    start = {"U": np.full((20, 3), 2.0), "D": np.ones(3)}
    before, b = {name: a.copy() for name, a in start.items()}, problem.b.clone()
    ul.descend(problem, ul.UDU(3), step_size=0.1, iterations=5, start=start, dtype="float32")
    assert all(np.array_equal(start[name], before[name]) for name in start)
    assert torch.equal(problem.b, b)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_cuda_agrees_with_cpu(planted):
    problem, _ = planted
    runs = [ul.descend(problem, ul.UDU(20), step_size=[0.05, 0.02], iterations=1000, device=d) for d in ("cpu", "cuda")]
    assert runs[1].objective == pytest.approx(runs[0].objective, rel=1e-8)


U3 = np.ones((20, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step_size": 0.0}, "step_size is a real number above zero"),
        ({"step_size": [0.1, -0.1]}, "above zero"),
        ({"step_size": np.nan}, "NaN"),
        ({"iterations": 0}, "iterations is a whole number of at least 1"),
        ({"iterations": 10.0}, "whole number"),
        ({"init_scale": 0.0}, "init_scale is a real number above zero"),
        ({"init_scale": 1e-50, "dtype": "float32"}, "underflows"),
        ({"d_init": -1.0}, "at least zero"),
        ({"seed": -1}, "non-negative"),
        ({"seed": 0.5}, "non-negative integer"),
        ({"device": "tpu"}, "device is 'auto', 'cpu' or 'cuda'"),
        ({"dtype": "float16"}, "dtype is one of float32"),
        ({"dtype": "complex128"}, "the problem is real"),
        ({"record": ("rows",)}, "record is a tuple out of"),
        ({"record": "columns"}, "record is a tuple"),
        ({"record_at": [2, 1]}, "increasing"),
        ({"record_at": [11]}, "from 0 to 10"),
        ({"start": {"U": U3}}, "holds exactly"),
        ({"start": {"U": U3, "D": np.ones(3), "V": U3}}, "holds exactly"),
        ({"start": {"U": U3.T, "D": np.ones(3)}}, r"shape \(\*, 20, 3\); got \(3, 20\)"),
        ({"start": {"U": U3 * np.nan, "D": np.ones(3)}}, "NaN"),
        ({"start": {"U": U3 * 1j, "D": np.ones(3)}}, "real here"),
        ({"start": {"U": U3, "D": -np.ones(3)}}, "at least zero"),
        (
            {"step_size": [0.1, 0.2], "seed": [1, 2, 3]},
            r"broadcast like NumPy arrays; got step_size \(2,\), seed \(3,\)",
        ),
        ({"record": None}, "record is a tuple"),
        ({"record_at": 5}, "record_at is increasing whole numbers"),
        ({"start": [U3]}, "start for UDU is a dict"),
        ({"monitor": 3}, "monitor is a dict of problems"),
        ({"monitor": {"other": ul.Completion([0], [0], [1.0], (3, 3), symmetric=True)}}, "the same X"),
    ],
)
def test_descend_refuses(planted, change, message):
    problem, _ = planted
    with pytest.raises(ul.InputError, match=message):
        ul.descend(problem, ul.UDU(3), **{"step_size": 0.1, "iterations": 10, **change})


@pytest.mark.parametrize("swap", [lambda p: (ul.UDU(3), p), lambda p: (p, ul.UDU), lambda p: (np.eye(3), ul.UDU(3))])
def test_descend_takes_a_problem_and_a_model(planted, swap):
    with pytest.raises(ul.InputError, match="descend takes a problem and a model of it"):
        ul.descend(*swap(planted[0]), step_size=0.1, iterations=10)


def test_symmetric_models_refuse_rectangular_problems():
    problem = ul.Completion([0], [1], [1.0], (2, 3))
    with pytest.raises(ul.InputError, match="use UV or UDV"):
        ul.descend(problem, ul.UDU(2), step_size=0.1, iterations=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="only where there is no GPU")
def test_cuda_without_a_gpu_is_refused(planted):
    with pytest.raises(ul.InputError, match="sees no CUDA GPU"):
        ul.descend(planted[0], ul.UDU(2), step_size=0.1, iterations=1, device="cuda")
