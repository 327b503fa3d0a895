"""The kernels give what the plain loop gives: over models, batches, odd sizes, bad ends; and leave no trace behind."""

import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import udulib as ul
from udulib.factorization import engines
from udulib.kernels import aside, completion, graphs

pytest.importorskip("numba", reason="needs numba")
from udulib.kernels import steps
from udulib.kernels.blocks import Blocks
from udulib.kernels.denormals import X86
from udulib.kernels.layout import blocked_layout

MODELS = [ul.BM, ul.UDU, ul.UV, ul.UDV]
names = pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)


def both(problem, model, **settings):
    """The same descent by the loop and by the kernels."""
    settings = {"step_size": 0.03, "iterations": 1000, "init_scale": 0.5, **settings}
    return [ul.descend(problem, model, engine=engine, **settings) for engine in ("loop", "numba")]


def assert_same(loop, fused, tol=1e-12):
    assert (loop.engine, fused.engine) == ("loop", "numba")
    assert fused.status.tolist() == loop.status.tolist()
    assert fused.iteration.tolist() == loop.iteration.tolist()
    for name, factor in loop.factors.items():
        assert fused.factors[name].dtype == factor.dtype
        np.testing.assert_allclose(fused.factors[name], factor, rtol=0, atol=tol * max(1, np.abs(factor).max()))
    np.testing.assert_allclose(fused.objective, loop.objective, rtol=1e3 * tol, atol=tol**2)
    np.testing.assert_allclose(fused.spectra, loop.spectra, rtol=0, atol=tol * loop.spectra.max())


def entries(d, c, n, seed, symmetric):
    """A random problem with rows of none, one and many entries; mirrored entries, where symmetric, disagree.

    The values are small, or the balls make the dynamics chaotic and round-off grows.
    """
    rng = np.random.default_rng(seed)
    allowed = np.arange(d * c).reshape(d, c)
    allowed = allowed[1:, 1:] if min(d, c) > 1 else allowed  # the first row and column stay empty
    i, j = np.divmod(rng.choice(allowed.ravel(), min(n, allowed.size), replace=False), c)
    return ul.Completion(i, j, 0.1 * rng.standard_normal(len(i)), (d, c), symmetric=symmetric)


@names
@pytest.mark.parametrize(("d", "rank", "n"), [(30, 30, 400), (21, 7, 150), (13, 1, 60), (40, 37, 100)])
def test_the_kernels_are_the_loop(model, d, rank, n):
    """To 1e-12 after 1000 steps, with diagonal, mirrored and missing entries, at ranks that fill no register."""
    problem = entries(d, d if model.symmetric else d + 5, n, seed=d, symmetric=model.symmetric)
    assert_same(*both(problem, model(rank), step_size=0.01))


@names
def test_batches(model):
    """Stacked problems, step sizes, radii, seeds, scales in one call; the shrink too."""
    sym = model.symmetric
    problem = ul.stack([entries(20, 20 if sym else 23, 150, seed, sym) for seed in range(3)])
    balls = hasattr(model, "radius") and model in (ul.UDU, ul.UDV)
    chosen = model(9, radius=np.array([[0.7], [1.0]])) if balls else model(9)
    loop, fused = both(
        problem, chosen, step_size=[0.01, 0.02, 0.005], seed=[[0], [1]], init_scale=0.8, record=("columns", "shrink")
    )
    assert loop.status.shape == (2, 3)
    assert_same(loop, fused)
    np.testing.assert_allclose(fused.log_shrink, loop.log_shrink, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(fused.column_norms, loop.column_norms, rtol=0, atol=1e-12)


@settings(max_examples=25)
@given(
    model=st.sampled_from(MODELS),
    d=st.integers(1, 12),
    c=st.integers(1, 12),
    rank=st.integers(1, 20),
    n=st.integers(1, 60),
    seed=st.integers(0, 9999),
)
def test_any_pattern(model, d, c, rank, n, seed):
    problem = entries(d, d if model.symmetric else c, n, seed, model.symmetric)
    assert_same(*both(problem, model(rank), iterations=30, record_at=[0, 1, 16, 30]))


@names
def test_float32(model):
    """Single precision stays single, and is the loop's to its round-off."""
    problem = entries(30, 30 if model.symmetric else 33, 300, 0, model.symmetric)
    assert_same(*both(problem, model(20), step_size=0.01, iterations=200, dtype="float32", record_at=[0]), tol=2e-5)


@pytest.fixture
def far(monkeypatch):
    """Every problem counts as too large for the caches, and a block is three or four columns."""
    monkeypatch.setattr(completion, "NEAR", 0)
    monkeypatch.setattr(completion, "BLOCK", 1000)


@names
@pytest.mark.parametrize(("d", "rank", "n"), [(30, 30, 400), (21, 7, 150), (13, 1, 60), (40, 37, 100), (25, 64, 200)])
def test_blocks_are_the_loop(model, d, rank, n, far):
    problem = entries(d, d if model.symmetric else d + 5, n, seed=d, symmetric=model.symmetric)
    loop, fused = both(problem, model(rank), step_size=0.01, record=("shrink",))
    assert_same(loop, fused)
    np.testing.assert_allclose(fused.log_shrink, loop.log_shrink, rtol=1e-11, atol=1e-12)


@names
def test_blocks_in_single_precision_and_batches(model, far):
    problem = ul.stack([entries(30, 30 if model.symmetric else 33, 300, seed, model.symmetric) for seed in range(2)])
    run = dict(step_size=[[0.01], [0.005]], iterations=200, dtype="float32", record_at=[0])
    assert_same(*both(problem, model(20), **run), tol=2e-5)


def test_blocks_come_one_after_the_other_and_hold_each_entry_once():
    problem = entries(50, 40, 600, 0, False)
    found = blocked_layout(*(a.numpy() for a in (problem.rows, problem.cols, problem.b)), (50, 40), False, float, 8)
    rows = np.repeat(found.row, np.diff(found.start))
    order = np.lexsort((found.partner, rows, found.partner // 8))
    assert (order == np.arange(600)).all()
    assert set(zip(rows, found.partner, found.target, strict=True)) == set(
        zip(*(a.tolist() for a in (problem.rows, problem.cols, problem.b)), strict=True)
    )


def test_large_factors_are_read_by_blocks():
    """Whichever is taken, by the size of the factors: it is the loop."""
    problem = entries(3000, 3000, 4000, 0, True)
    assert [isinstance(kernels_of(problem, ul.UDU(rank)).layout, Blocks) for rank in (8, 64)] == [False, True]
    assert_same(*both(problem, ul.UDU(64), iterations=4, record_at=[0]))


def kernels_of(problem, model):
    one = torch.ones((), dtype=torch.float64)
    return completion.FusedSteps(problem, model, one, one, 1).runs[0]


def test_many_threads_change_nothing():
    problem = entries(20, 20, 150, 0, True)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        many = ul.descend(problem, ul.UDU(9), step_size=np.linspace(0.01, 0.03, 7), iterations=2000, engine="numba")
    finally:
        torch.set_num_threads(before)
    for k, step in enumerate(np.linspace(0.01, 0.03, 7)):
        alone = ul.descend(problem, ul.UDU(9), step_size=step, iterations=2000, engine="numba")
        assert np.array_equal(many.factors["U"][k], alone.factors["U"])


def test_divergence_is_said_and_stays_in_its_run():
    problem = entries(20, 20, 220, 0, True)
    for trace in both(problem, ul.BM(20), step_size=[0.01, 30.0], iterations=200, init_scale=1.0):
        assert trace.status.tolist() == ["finished", "diverged"]
        assert np.isnan(trace.singular_values[1]).all()


@pytest.mark.parametrize("model", [ul.UDU, ul.UDV], ids=lambda m: m.__name__)
def test_nan_is_not_projected_away(model):
    """A D beyond all numbers makes NaN, which neither max(., 0) nor the ball may hide."""
    problem = entries(20, 20, 220, 0, model.symmetric)
    start = {name: np.ones(size) for name, size in model(3).sizes(problem).items()}
    start["D"][1] = 1e308
    for trace in both(problem, model(3), start=start, iterations=5, record_at=[]):
        assert trace.status == "diverged"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_norm_beyond_all_numbers_is_not_projected_to_zero(dtype):
    problem = entries(20, 20, 220, 0, True)
    step = 1e25 if dtype == "float32" else 1e170
    for trace in both(problem, ul.UDU(4), step_size=step, iterations=5, dtype=dtype, record_at=[]):
        assert trace.status == "diverged"


def test_a_stall_ends_the_run_when_asked():
    problem = entries(20, 20, 100, 0, True)
    start = {"U": np.zeros((20, 3)), "D": np.ones(3)}
    for trace in both(problem, ul.UDU(3), start=start, stop_when_stalled=True):
        assert trace.status == "stalled"
        assert trace.iteration.tolist() == [0]


def test_monitors():
    problem, held = entries(20, 20, 100, 0, True), entries(20, 20, 30, 1, True)
    loop, fused = both(problem, ul.UDU(5), monitor={"held": held})
    assert fused.monitor["held"] == pytest.approx(loop.monitor["held"], rel=1e-10)


def test_denormals_are_flushed_inside_and_kept_outside():
    """Columns of 1e-310 are zero to the kernel; afterwards 1e-310 / 2 is a number again."""
    problem = entries(20, 20, 100, 0, True)
    start = {"U": np.full((20, 9), 1e-310), "D": np.ones(9)}
    trace = ul.descend(problem, ul.UDU(9), start=start, step_size=0.01, iterations=3, engine="numba", record_at=[])
    if X86:
        assert not trace.factors["U"].any()
    assert np.float64(1e-310) / 2 > 0


def all_kept(monkeypatch):
    monkeypatch.setattr(aside.Aside, "kept", lambda self, factors: torch.ones(factors["U"].shape[1], dtype=torch.bool))


@pytest.fixture
def kept(monkeypatch):
    """How many columns each call moved, once there were any calls."""
    counts, real = [], aside.Aside.kept

    def counted(self, factors):
        mask = real(self, factors)
        counts.append(int(mask.sum()))
        return mask

    monkeypatch.setattr(aside.Aside, "kept", counted)
    return counts


@pytest.mark.parametrize("model", [ul.UDU, ul.UDV], ids=lambda m: m.__name__)
def test_columns_of_zeros_are_left_out(model, kept):
    """They stay zero and D keeps its entry; the others do what they do without them."""
    problem = entries(20, 20 if model.symmetric else 23, 150, 0, model.symmetric)
    rng = np.random.default_rng(0)
    start = {name: 0.2 * np.abs(rng.standard_normal(size)) for name, size in model(9).sizes(problem).items()}
    for name in model.names:
        if name != "D":
            start[name][:, [0, 4]] = 0.0
    loop, fused = both(problem, model(9), start=start)
    assert_same(loop, fused)
    assert set(kept) == {7}
    assert np.array_equal(fused.factors["D"][[0, 4]], start["D"][[0, 4]])


@settings(max_examples=8)
@given(
    model=st.sampled_from([ul.UDU, ul.UDV]),
    size=st.floats(2.0, 8.0),
    step=st.floats(0.01, 0.03),
    seed=st.integers(0, 99),
)
def test_columns_set_aside_change_nothing(model, size, step, seed):
    """With and without: the same factors, column by column, and the same spectra, wherever they are not round-off."""
    spectrum = np.array([0.8, 0.5, 0.3]) * size
    problem, _ = ul.planted_completion(d=20, rank=3, observed=300, spectrum=spectrum, seed=seed)
    if not model.symmetric:
        problem = ul.Completion(problem.rows, problem.cols, problem.b, problem.shape)
    run = dict(step_size=step, iterations=15_000, init_scale=1.0, engine="numba", record=("columns", "shrink"))
    less = ul.descend(problem, model(20), **run)
    with pytest.MonkeyPatch.context() as patch:
        all_kept(patch)
        full = ul.descend(problem, model(20), **run)
    assert less.status == full.status
    for name, factor in full.factors.items():
        np.testing.assert_allclose(less.factors[name], factor, rtol=0, atol=1e-10)
    np.testing.assert_allclose(less.spectra, full.spectra, rtol=0, atol=1e-10)
    np.testing.assert_allclose(less.log_shrink, full.log_shrink, rtol=1e-8)
    seen = full.column_norms > 1e-100
    np.testing.assert_allclose(less.column_norms[seen], full.column_norms[seen], rtol=3e-3)


def test_solved_problems_go_on_with_their_rank(kept):
    """Once the data are fitted, the three columns that make X are all that moves."""
    problem, _ = ul.planted_completion(d=40, rank=3, observed=600, spectrum=(2.4, 1.6, 0.8), seed=0)
    trace = ul.descend(problem, ul.UDU(40), step_size=0.1, iterations=30_000, init_scale=1.0, engine="numba")
    assert (kept[0], kept[-1]) == (40, 3)
    assert ul.numerical_rank(trace.singular_values, rtol=1e-8) == 3


def test_a_column_of_nothing_is_kept_while_it_may_grow(monkeypatch):
    """A large X on its plateau of rank 2: the third singular value grows from a column that a threshold would drop."""
    problem, _ = ul.planted_completion(d=60, rank=3, observed=900, spectrum=(8.0, 5.3, 2.7), seed=0)
    run = dict(step_size=0.01, iterations=60_000, init_scale=1.0, engine="numba", record_at=[])

    def rank():
        return ul.numerical_rank(ul.descend(problem, ul.UDU(60), **run).singular_values, rtol=1e-8)

    assert rank() == 3
    monkeypatch.setattr(aside, "GROWTH", np.inf)  # a threshold without its certificate
    assert rank() < 3


def test_auto_takes_the_kernels_where_they_pay():
    sparse, dense = entries(20, 20, 80, 0, True), entries(20, 20, 399, 0, True)
    sensing, _ = ul.planted_sensing(d=6, rank=1, measurements=30, spectrum=(1.0,), seed=0)

    def engine(problem, model, iterations, **more):
        return ul.descend(problem, model, step_size=1e-3, iterations=iterations, record_at=[], **more).engine

    assert engine(sparse, ul.UDU(3), 1000) == "numba"
    assert engine(sparse, ul.UDU(3), 1000, engine="loop") == "loop"
    assert engine(sparse, ul.UDU(3), 10) == "loop"
    assert engine(ul.stack([sparse] * 200), ul.UDU(20), 400) == "numba"
    assert engine(dense, ul.UDU(3), 1000) == "loop"
    assert engine(sensing, ul.UDU(3), 1000) == "loop"


class Halved(ul.Completion):
    """A problem derived from completion, whose gradient the kernels do not know."""


@pytest.mark.parametrize(
    ("problem", "model", "change", "message"),
    [
        (
            entries(20, 20, 80, 0, True),
            ul.UDU(3),
            {"engine": "fast"},
            "engine is one of auto, loop, numba, fused, graph; got",
        ),
        (entries(20, 20, 80, 0, True), ul.UDV(3), {}, "UDV makes a rectangular X while the problem is symmetric"),
        (Halved([0], [0], [1.0], (2, 2), symmetric=True), ul.UDU(1), {}, "the problem is a Halved"),
        (entries(20, 20, 80, 0, True), ul.UDU(3), {"engine": "graph"}, "the device is cpu, not a CUDA GPU"),
    ],
)
def test_numba_asked_for_where_it_cannot(problem, model, change, message):
    with pytest.raises(ul.InputError, match=message):
        ul.descend(problem, model, step_size=0.1, iterations=1, **{"engine": "numba", "device": "cpu", **change})


def test_where_nothing_can_be_kept_on_disk_it_works_all_the_same():
    namespace = {}
    exec(compile("def one_more(x): return x + 1", "nowhere.py", "exec"), namespace)  # a file that has no folder
    assert steps.whole(namespace["one_more"])(1) == 2


def test_without_numba(monkeypatch):
    """The loop does it, and asking for numba says how to get it."""
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    problem = entries(20, 20, 80, 0, True)
    assert ul.descend(problem, ul.UDU(3), step_size=0.01, iterations=1000).engine == "loop"
    with pytest.raises(ul.InputError, match="pip install numba"):
        ul.descend(problem, ul.UDU(3), step_size=0.01, iterations=1000, engine="numba")


def test_importing_udulib_does_not_import_numba():
    code = "import sys, udulib; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# On a GPU -------------------------------------------------------------------------------------------------------------

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def problems():
    """One of each kind that graphs take, with a model for it."""
    sensing, _ = ul.planted_sensing(d=8, rank=2, measurements=60, spectrum=(2.0, 1.0), seed=0)
    pictures, _ = ul.planted_ptychography(np.linspace(0, 1, 1024).reshape(32, 32), np.zeros((32, 32)))
    both = ul.stack([entries(20, 20, 150, seed, True) for seed in range(2)])
    return {
        "symmetric": (both, ul.UDU(9)),
        "rectangular": (entries(20, 23, 150, 0, False), ul.UDV(9)),
        "without a ball": (entries(20, 23, 150, 0, False), ul.UV(9)),
        "sensing": (sensing, ul.UDU(5)),
        "pictures": (pictures, ul.UDU(2)),
    }


def graph_on_cpu(monkeypatch, record):
    """Let descend take graphs here, recorded by ``record``."""
    monkeypatch.setattr(engines, "_obstacle_to_graphs", lambda *arguments: None)
    monkeypatch.setattr(graphs, "recorded", record)


def step_sizes(problem):
    return np.array([0.01, 0.02]) if problem.batch_shape in ((), (2,)) else 0.01


@pytest.mark.parametrize("kind", problems())
def test_steps_in_place_are_the_loop(kind, monkeypatch):
    """What a graph records, run here without one: bit for bit the loop, at every recorded iteration."""
    calls = []

    def record(steps):
        return lambda: calls.append(steps) or steps()

    graph_on_cpu(monkeypatch, record)
    problem, model = problems()[kind]
    run = dict(
        init_scale=1.5,
        step_size=step_sizes(problem),
        iterations=230,
        record_at=[0, 99, 230],
        record=("shrink",),
        device="cpu",
    )
    loop, graph = (ul.descend(problem, model, engine=engine, **run) for engine in ("loop", "graph"))
    assert (loop.engine, graph.engine) == ("loop", "graph")
    for name, factor in loop.factors.items():
        assert np.array_equal(graph.factors[name], factor)
    assert np.array_equal(graph.objective, loop.objective)
    np.testing.assert_allclose(graph.log_shrink, loop.log_shrink, rtol=1e-12)
    assert len(calls) < 230 / 2 and len(set(map(id, calls))) == 2  # two graphs, the long one mostly


def test_what_cannot_be_recorded_goes_one_by_one(monkeypatch):
    def refuse(steps):
        raise RuntimeError("operation not permitted when stream is capturing")

    graph_on_cpu(monkeypatch, refuse)
    problem, model = problems()["symmetric"]
    with pytest.warns(UserWarning, match="go one by one .*capturing"):
        trace = ul.descend(problem, model, step_size=0.01, iterations=60, engine="graph", device="cpu")
    loop = ul.descend(problem, model, step_size=0.01, iterations=60, engine="loop", device="cpu")
    assert trace.engine == "loop" and np.array_equal(trace.factors["U"], loop.factors["U"])


def test_auto_takes_graphs_on_a_gpu_for_long_descents_of_known_problems():
    problem, model = problems()["sensing"]
    gpu = torch.device("cuda")
    assert engines.chosen("auto", problem, model, gpu, 10_000, 2) == "graph"
    assert engines.chosen("auto", problem, model, gpu, 10, 2) == "loop"
    halved = Halved([0], [0], [1.0], (2, 2), symmetric=True)
    assert engines.chosen("auto", halved, ul.UDU(1), gpu, 10_000, 1) == "loop"


@needs_gpu
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", problems())
def test_graphs_on_a_gpu_are_the_cpu(kind, dtype):
    problem, model = problems()[kind]
    run = dict(step_size=step_sizes(problem), iterations=1000, record=("shrink",), dtype=dtype)
    cpu = ul.descend(problem, model, device="cpu", engine="loop", **run)
    gpu = ul.descend(problem, model, device="cuda", engine="graph", **run)
    assert gpu.engine == "graph"
    tol = 1e-9 if dtype == "float64" else 1e-3
    for name, factor in cpu.factors.items():
        np.testing.assert_allclose(gpu.factors[name], factor, rtol=0, atol=tol * np.abs(factor).max())
    np.testing.assert_allclose(gpu.log_shrink, cpu.log_shrink, rtol=tol, atol=tol)


@needs_gpu
def test_graphs_on_a_gpu_take_less_time_than_the_loop():
    problem, model = problems()["symmetric"]

    def seconds(engine):
        begin = time.perf_counter()
        ul.descend(problem, model, step_size=0.01, iterations=5000, engine=engine, device="cuda", record_at=[])
        return time.perf_counter() - begin

    seconds("graph"), seconds("loop")  # CUDA and its libraries are loaded
    assert seconds("graph") < seconds("loop") / 2
