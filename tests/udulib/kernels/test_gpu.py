"""The GPU's kernels: compiled for two architectures, run on the CPU from their own source, and on a GPU."""

import importlib.util

import emulator
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import udulib as ul
from udulib.factorization import engines
from udulib.kernels.gpu import fused, launching, shapes

MODELS = [ul.BM, ul.UDU, ul.UV, ul.UDV]
names = pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
ways = pytest.mark.parametrize("blocks", [True, False], ids=["blocks", "rows"])
BIG = launching.Card(multiprocessors=132, shared=230_000, clusters=True)
SMALL = launching.Card(multiprocessors=40, shared=60_000, clusters=False)


def entries(d, c, n, seed, symmetric):
    """A random problem with rows of none, one and many entries; mirrored entries, where symmetric, disagree."""
    rng = np.random.default_rng(seed)
    allowed = np.arange(d * c).reshape(d, c)
    allowed = allowed[1:, 1:] if min(d, c) > 1 else allowed  # the first row and column stay empty
    i, j = np.divmod(rng.choice(allowed.ravel(), min(n, allowed.size), replace=False), c)
    return ul.Completion(i, j, 0.1 * rng.standard_normal(len(i)), (d, c), symmetric=symmetric)


def problem_for(model, d, n, seed=0):
    return entries(d, d if model.symmetric else d + 5, n, seed, model.symmetric)


def assert_same(loop, ours, tol):
    assert (loop.engine, ours.engine) == ("loop", "fused")
    assert ours.status.tolist() == loop.status.tolist()
    for name, factor in loop.factors.items():
        assert ours.factors[name].dtype == factor.dtype
        np.testing.assert_allclose(ours.factors[name], factor, rtol=0, atol=tol * max(1, np.abs(factor).max()))
    np.testing.assert_allclose(ours.objective, loop.objective, rtol=1e3 * tol, atol=tol**2)
    np.testing.assert_allclose(ours.spectra, loop.spectra, rtol=0, atol=tol * max(1, loop.spectra.max(initial=0)))
    np.testing.assert_allclose(ours.log_shrink, loop.log_shrink, rtol=10 * tol, atol=10 * tol)


# Without a GPU --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["75", "90"])
@pytest.mark.parametrize("dtype", launching.REAL)
@names
def test_source_compiles(model, dtype, architecture):
    """By NVRTC, for Turing (what Colab has) and Hopper; no GPU is needed for that."""
    nvrtc = pytest.importorskip("cupy", reason="needs CuPy").cuda.nvrtc
    itemsize, card = dtype.itemsize, BIG if architecture == "90" else SMALL
    learn_d, rectangular = "D" in model.names, not model.symmetric
    shape = shapes.shape_of_blocks(100, shapes.columns(100, itemsize), itemsize, 8, card)
    assert shape.cluster == (8 if architecture == "90" else 1)
    block = shape.settings(launching.REAL[dtype], learn_d, rectangular) | {"CLUSTER": shape.cluster, "SHARED": 0}
    shape = shapes.shape_of_rows(shapes.columns(32, itemsize), itemsize)
    row = shape.settings(launching.REAL[dtype], learn_d, rectangular) | {"RESIDENT": shape.resident}
    for file, chosen in (("blocks", block), ("rows", row)):
        program = nvrtc.createProgram(launching.source(file), f"{file}.cu", (), ())
        try:
            nvrtc.compileProgram(program, (*launching.options(**chosen), f"-arch=sm_{architecture}"))
        except nvrtc.NVRTCError:
            pytest.fail(nvrtc.getProgramLog(program))
        assert len(nvrtc.getCUBIN(program)) > 1000
        nvrtc.destroyProgram(program)


@pytest.fixture
def on_cpu(monkeypatch):
    """The engine on the CPU: kernels are emulated, the card is a small one."""
    if emulator.COMPILER is None:
        pytest.skip("no g++ here; on Debian: apt-get install g++")
    monkeypatch.setattr(launching, "kernel", emulator.kernel)
    monkeypatch.setattr(launching, "card", emulator.card)
    monkeypatch.setattr(engines, "_obstacle_to_fused", lambda *arguments: None)
    monkeypatch.setattr(emulator, "CARD", emulator.CARD)
    return monkeypatch


def take(monkeypatch, blocks):
    monkeypatch.setattr(fused, "_small", lambda *arguments: blocks)


def both(problem, model, device="cpu", **settings):
    settings = {"step_size": 0.03, "iterations": 30, "init_scale": 1.5, "record": ("shrink",), **settings}
    loop = ul.descend(problem, model, engine="loop", device="cpu", **settings)
    return loop, ul.descend(problem, model, engine="fused", device=device, **settings)


@ways
@names
@pytest.mark.parametrize(("d", "rank", "n"), [(13, 1, 60), (12, 37, 70)])
def test_emulated_kernels_are_the_loop(on_cpu, model, d, rank, n, blocks):
    """Also where the ball is active, at ranks that fill no vector."""
    take(on_cpu, blocks)
    loop, ours = both(problem_for(model, d, n), model(rank))
    assert_same(loop, ours, 1e-13)
    assert loop.log_shrink[-1] > 0.1 or model in (ul.BM, ul.UV)


@ways
@pytest.mark.parametrize("model", [ul.UDU, ul.UDV], ids=lambda m: m.__name__)
def test_emulated_float32(on_cpu, model, blocks):
    take(on_cpu, blocks)
    assert_same(*both(problem_for(model, 14, 60), model(9), dtype="float32"), 2e-5)


@ways
@names
def test_emulated_batches(on_cpu, model, blocks):
    """Stacked problems of different entries, step sizes, radii and seeds in one call."""
    take(on_cpu, blocks)
    problem = ul.stack([problem_for(model, 9, 30, seed) for seed in range(2)])
    chosen = model(3, radius=np.array([[0.7], [1.0]])) if model in (ul.UDU, ul.UDV) else model(3)
    loop, ours = both(problem, chosen, step_size=[0.01, 0.02], seed=[[0], [1]], iterations=12)
    assert loop.status.shape == (2, 2)
    assert_same(loop, ours, 1e-13)


@pytest.mark.parametrize("card", [BIG, SMALL], ids=["clusters", "without shared memory"])
def test_emulated_on_other_cards(on_cpu, card):
    """A run over several blocks, and factors that are not in shared memory."""
    take(on_cpu, True)
    on_cpu.setattr(emulator, "CARD", launching.Card(card.multiprocessors, 0, card.clusters))
    for model in (ul.UDU, ul.UDV, ul.BM):
        assert_same(*both(problem_for(model, 40, 120), model(6), iterations=7), 1e-13)


@pytest.mark.parametrize("model", [ul.UDU, ul.UV], ids=lambda m: m.__name__)
def test_emulated_rows_of_many_vectors(on_cpu, model):
    """As a full card takes wide rows: few threads for each, one entry at a time."""
    take(on_cpu, True)
    on_cpu.setattr(shapes, "THREADS", 1)
    assert shapes.shape_of_blocks(14, 14, 8, 99, emulator.CARD).batch == 1
    assert_same(*both(problem_for(model, 14, 60), model(13), iterations=7), 1e-13)


@settings(max_examples=15)
@given(
    model=st.sampled_from(MODELS),
    d=st.integers(1, 12),
    c=st.integers(1, 12),
    rank=st.sampled_from([1, 2, 5, 9]),
    n=st.integers(1, 60),
    seed=st.integers(0, 9999),
    blocks=st.booleans(),
)
def test_emulated_any_pattern(model, d, c, rank, n, seed, blocks):
    problem = entries(d, d if model.symmetric else c, n, seed, model.symmetric)
    with pytest.MonkeyPatch.context() as patch:
        if emulator.COMPILER is None:
            pytest.skip("no g++ here; on Debian: apt-get install g++")
        patch.setattr(launching, "kernel", emulator.kernel)
        patch.setattr(launching, "card", emulator.card)
        patch.setattr(engines, "_obstacle_to_fused", lambda *arguments: None)
        take(patch, blocks)
        assert_same(*both(problem, model(rank), iterations=5, record_at=[0, 1, 5]), 1e-12)


def test_auto_takes_the_kernels_on_a_gpu(monkeypatch):
    """For long descents of completion where CuPy is; graphs where it is not, or for another problem."""
    gpu = torch.device("cuda")
    problem = problem_for(ul.UDU, 20, 80)
    sensing, _ = ul.planted_sensing(d=6, rank=1, measurements=30, spectrum=(1.0,), seed=0)
    there = importlib.util.find_spec
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: name == "cupy" or there(name))
    assert engines.chosen("auto", problem, ul.UDU(3), gpu, 10_000, 1) == "fused"
    assert engines.chosen("auto", problem, ul.UDU(3), gpu, 10, 1) == "loop"
    assert engines.chosen("auto", sensing, ul.UDU(3), gpu, 10_000, 1) == "graph"
    assert engines.chosen("auto", problem, ul.UDU(engines.WIDEST + 1), gpu, 10_000, 1) == "graph"
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    assert engines.chosen("auto", problem, ul.UDU(3), gpu, 10_000, 1) == "graph"
    with pytest.raises(ul.InputError, match="CuPy is not installed"):
        engines.chosen("fused", problem, ul.UDU(3), gpu, 10_000, 1)


def test_small_descents_stay_on_the_cpu():
    """A GPU's kernels are not compiled for what the CPU has done before they are."""
    pytest.importorskip("numba")
    problem = problem_for(ul.UDU, 40, 300)
    sensing, _ = ul.planted_sensing(d=6, rank=1, measurements=30, spectrum=(1.0,), seed=0)
    assert engines.small(problem, ul.UDU(40), iterations=6000, runs=1)
    assert not engines.small(problem, ul.UDU(40), iterations=6000, runs=1000)
    assert not engines.small(sensing, ul.UDU(6), iterations=10, runs=1)


@pytest.mark.gpu
def test_auto_leaves_a_small_descent_to_the_cpu():
    pytest.importorskip("numba")
    problem = problem_for(ul.UDU, 40, 300)
    run = dict(step_size=0.05, iterations=2000, record_at=[])
    assert ul.descend(problem, ul.UDU(40), **run).engine == "numba"
    assert ul.descend(problem, ul.UDU(40), device="cuda", **run).engine == "fused"


def test_no_kernel_on_a_cpu():
    with pytest.raises(ul.InputError, match="the device is cpu, not a CUDA GPU"):
        ul.descend(problem_for(ul.UDU, 20, 80), ul.UDU(3), step_size=0.1, iterations=1, engine="fused", device="cpu")


# On a GPU -------------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@ways
@names
@pytest.mark.parametrize(("d", "rank", "n"), [(30, 30, 400), (21, 7, 150), (13, 1, 60), (40, 37, 100), (90, 100, 900)])
def test_kernels_are_the_loop(model, d, rank, n, blocks, monkeypatch):
    """To 1e-12 after 1000 steps, with diagonal, mirrored and missing entries, at ranks that fill no vector."""
    take(monkeypatch, blocks)
    run = dict(device="cuda", step_size=0.01, iterations=1000, init_scale=0.5)
    assert_same(*both(problem_for(model, d, n, d), model(rank), **run), 1e-12)


@pytest.mark.gpu
@ways
@names
def test_kernels_in_single_precision(model, blocks, monkeypatch):
    take(monkeypatch, blocks)
    run = dict(device="cuda", step_size=0.01, iterations=1000, init_scale=0.5, dtype="float32")
    assert_same(*both(problem_for(model, 30, 300), model(20), **run), 1e-4)


@pytest.mark.gpu
@ways
@names
def test_batches_on_a_gpu(model, blocks, monkeypatch):
    take(monkeypatch, blocks)
    problem = ul.stack([problem_for(model, 20, 150, seed) for seed in range(3)])
    chosen = model(9, radius=np.array([[0.7], [1.0]])) if model in (ul.UDU, ul.UDV) else model(9)
    run = dict(step_size=[0.01, 0.02, 0.005], seed=[[0], [1]], init_scale=0.8, iterations=1000)
    loop, ours = both(problem, chosen, device="cuda", **run)
    assert loop.status.shape == (2, 3)
    assert_same(loop, ours, 1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_full_card(dtype):
    """More runs than multiprocessors, whose blocks have another shape than those of a few runs."""
    problem = problem_for(ul.UDU, 100, 900)
    run = dict(device="cuda", step_size=0.01, iterations=1000, init_scale=0.5, seed=np.arange(140), dtype=dtype)
    assert_same(*both(problem, ul.UDU(100), **run), 1e-12 if dtype == "float64" else 1e-4)


@pytest.mark.gpu
@settings(max_examples=60)
@given(
    model=st.sampled_from(MODELS),
    d=st.integers(1, 40),
    c=st.integers(1, 40),
    rank=st.sampled_from([1, 2, 3, 8, 20, 70]),
    n=st.integers(1, 400),
    runs=st.integers(1, 3),
    seed=st.integers(0, 9999),
    blocks=st.booleans(),
    dtype=st.sampled_from(["float64", "float32"]),
)
def test_any_pattern_on_a_gpu(model, d, c, rank, n, runs, seed, blocks, dtype):
    problem = entries(d, d if model.symmetric else c, n, seed, model.symmetric)
    with pytest.MonkeyPatch.context() as patch:
        take(patch, blocks)
        run = dict(iterations=30, record_at=[0, 1, 16, 30], init_scale=0.5, dtype=dtype, seed=np.arange(runs))
        assert_same(*both(problem, model(rank), device="cuda", **run), 1e-12 if dtype == "float64" else 1e-4)


@pytest.mark.gpu
def test_columns_set_aside_change_nothing_on_a_gpu():
    """A solved problem goes on with few columns: the same factors as by the loop, and the rank."""
    problem, _ = ul.planted_completion(d=40, rank=3, observed=600, spectrum=(2.4, 1.6, 0.8), seed=0)
    run = dict(step_size=0.1, iterations=30_000, init_scale=1.0, record_at=[20_000], record=("shrink",))
    ours = ul.descend(problem, ul.UDU(40), engine="fused", device="cuda", **run)
    loop = ul.descend(problem, ul.UDU(40), engine="loop", device="cpu", **run)
    assert ul.numerical_rank(ours.singular_values, rtol=1e-8) == 3
    np.testing.assert_allclose(ours.singular_values, loop.singular_values, rtol=0, atol=1e-10)
    np.testing.assert_allclose(ours.log_shrink, loop.log_shrink, rtol=1e-8)


@pytest.mark.gpu
@ways
def test_the_same_bits_again(blocks, monkeypatch):
    take(monkeypatch, blocks)
    problem = problem_for(ul.UDV, 90, 900)
    run = dict(step_size=0.05, iterations=3000, device="cuda", engine="fused", record_at=[])
    one, two = (ul.descend(problem, ul.UDV(60), **run) for _ in range(2))
    assert all(np.array_equal(one.factors[name], two.factors[name]) for name in "UDV")
