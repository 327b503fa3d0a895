"""What one GPU does, from tests to Figure 1: ``python benchmarks/gpu.py FOLDER [STAGE ...]``.

Each stage is a process of its own with a time of its own, and leaves ``FOLDER/STAGE.json``. Kernels are compiled
before they are timed.
"""

import json
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from figure_one import INIT_SCALE, STEP_SIZE, figure, instance

import udulib as ul
from udulib import kernels
from udulib.factorization.descent import _Loop
from udulib.kernels.gpu import blocks, launching, rows, shapes
from udulib.kernels.gpu.shapes import Shape

D = R = 100
FLOAT64, FLOAT32 = torch.float64, torch.float32


def tests():
    """Those that need a GPU."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "gpu",
        "-p",
        "no:cacheprovider",
        "--durations",
        "5",
        "--maxfail=6",
        "tests/udulib",
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout[-6000:])
    return {"passed": done.returncode == 0, "tail": done.stdout[-6000:]}


def steps(runs=(8, 16, 132, 528), dtypes=("float64", "float32"), engines=("fused", "graph")):
    """Microseconds of a step and run, all columns alive, beside the card's limits."""
    found = []
    for dtype in dtypes:
        for model in (ul.UDU, ul.BM):
            for count in runs:
                row = {"model": model.__name__, "dtype": dtype, "runs": count}
                row |= {engine: microseconds(engine, model(R), count, getattr(torch, dtype)) for engine in engines}
                found.append(row)
                show(row)
    return {"rows": found, "limits": limits()}


def limits():
    """Microseconds of a step and run that arithmetic and shared memory would take at their best; the card's clock."""
    import cupy

    problem, card = instance(0)[0], launching.card("cuda")
    entries = kernels.gpu.entries.entries_by_row(problem, True, FLOAT64).count
    clock = 1e3 * cupy.cuda.Device(0).attributes["ClockRate"]
    found = {"entries": entries, "clock": clock, "multiprocessors": card.multiprocessors}
    for dtype, itemsize, fused_a_clock in (("float64", 8, 64), ("float32", 4, 128)):
        found[f"{dtype}_arithmetic"] = 1e6 * 2 * entries * R / fused_a_clock / clock / card.multiprocessors
        found[f"{dtype}_shared"] = 1e6 * entries * R * itemsize / 128 / clock / card.multiprocessors
    return found


def microseconds(engine, model, runs, dtype, count=None):
    stepper, factors = prepared(engine, model, runs, dtype)
    count = count or (2000 if engine == "fused" else 200)
    return 1e6 * best(lambda: stepper.advance(factors, count), 3) / count / runs


def prepared(engine, model, runs, dtype):
    problem = instance(0)[0].to("cuda", dtype)
    generator = torch.Generator().manual_seed(0)
    U = torch.randn(runs, D, model.rank, generator=generator, dtype=FLOAT64)
    factors = {"U": (0.5 * U / U.norm(dim=(1, 2), keepdim=True)).to("cuda", dtype)}
    if "D" in model.names:
        factors["D"] = torch.ones(runs, model.rank, dtype=dtype, device="cuda")
    eta, radius = (torch.full((runs,), x, dtype=dtype, device="cuda") for x in (0.05, 1.0))
    if engine == "graph":
        return kernels.GraphSteps(_Loop(problem, model, eta, radius)), factors
    entries = kernels.gpu.entries.entries_by_row(problem, model.symmetric, dtype)
    stepper = blocks.BlockSteps(entries, problem, model, eta, radius, 10**9)
    return AllColumns(stepper), factors


class AllColumns:
    """A stepper that sets no column aside."""

    def __init__(self, stepper):
        self.stepper = stepper

    def advance(self, factors, count):
        if self.stepper.aside:
            self.stepper.aside.gradient.fill_(np.inf)
        return self.stepper.advance(factors, count)


def best(work, repeats):
    """Shortest seconds on the GPU."""
    work()
    seconds = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        seconds.append(begin.elapsed_time(end) / 1e3)
    return min(seconds)


CANDIDATES = {  # runs, columns: lanes, entries at a time, warps, blocks of a run, shared memory
    ("float64", 132, 100): [
        (8, 4, 7, 1, 1), (8, 2, 9, 1, 1), (8, 2, 13, 1, 1), (8, 1, 13, 1, 1), (16, 2, 13, 1, 1), (16, 4, 13, 1, 1),
        (16, 4, 10, 1, 1), (16, 2, 17, 1, 1), (16, 1, 17, 1, 1), (16, 1, 25, 1, 1), (32, 2, 20, 1, 1),
        (32, 2, 25, 1, 1), (32, 4, 20, 1, 1), (32, 4, 15, 1, 1), (16, 2, 13, 1, 0), (8, 4, 7, 1, 0), (32, 2, 25, 1, 0),
    ],
    ("float32", 132, 100): [
        (8, 2, 13, 1, 1), (8, 4, 13, 1, 1), (8, 4, 9, 1, 1), (8, 1, 13, 1, 1), (8, 2, 25, 1, 1), (16, 4, 17, 1, 1),
        (16, 2, 25, 1, 1), (16, 4, 25, 1, 1), (32, 4, 25, 1, 1), (4, 2, 7, 1, 1), (4, 4, 7, 1, 1), (8, 2, 13, 1, 0),
    ],
    ("float64", 8, 100): [
        (32, 4, 13, 8, 0), (32, 2, 13, 8, 0), (32, 4, 7, 8, 0), (16, 2, 7, 8, 0), (16, 4, 7, 8, 0), (32, 2, 25, 4, 0),
        (32, 4, 13, 4, 0), (16, 2, 13, 4, 0), (16, 2, 13, 2, 0), (32, 2, 25, 2, 0),
    ],
    ("float64", 16, 100): [(32, 4, 13, 8, 0), (32, 2, 25, 4, 0), (16, 2, 13, 4, 0), (16, 2, 13, 2, 0)],
    ("float64", 8, 8): [
        (1, 4, 4, 1, 1), (2, 4, 7, 1, 1), (4, 4, 13, 1, 1), (4, 4, 7, 1, 1), (4, 2, 13, 1, 1), (4, 4, 13, 2, 0),
        (4, 4, 7, 2, 0), (4, 4, 4, 4, 0), (4, 4, 2, 8, 0),
    ],
    ("float64", 132, 8): [(1, 4, 4, 1, 1), (2, 4, 7, 1, 1), (4, 4, 13, 1, 1), (4, 4, 7, 1, 1)],
}  # fmt: skip


def layouts():
    """Which shape of a block is fastest: what ``shapes.py`` chooses, and others."""
    found = []
    for (dtype, runs, width), candidates in CANDIDATES.items():
        itemsize = 8 if dtype == "float64" else 4
        chosen = shapes.shape_of_blocks(D, width, itemsize, runs, launching.card("cuda"))
        others = [
            Shape(lanes, -(-width * itemsize // 16 // lanes), batch, 32 * warps, cluster, bool(shared))
            for lanes, batch, warps, cluster, shared in candidates
        ]
        for shape in [chosen, *others]:
            row = {"dtype": dtype, "runs": runs, "columns": width, "chosen": shape is chosen, **vars(shape)}
            try:
                with mock.patch.object(blocks, "shape_of_blocks", lambda *arguments, shape=shape: shape):
                    row["step"] = runs * microseconds("fused", ul.UDU(width), runs, getattr(torch, dtype), 400)
            except Exception as error:  # one that a card cannot take must not end the others
                row["error"] = f"{type(error).__name__}: {error}"[:300]
            found.append(row)
            show(row)
    return {"rows": found}


def figure_one():
    """The 16 runs of Figure 1, a million iterations each."""
    figure(instance(0)[0], 30_000, "cuda")
    seconds, traces = figure(instance(0)[0], 1_000_000, "cuda")
    return {
        "seconds": seconds,
        "engines": [trace.engine for trace in traces.values()],
        "ranks": {name: ul.numerical_rank(trace.singular_values, 1e-8).tolist() for name, trace in traces.items()},
        "fourth_over_first": (traces["UDU"].singular_values[:, 3] / traces["UDU"].singular_values[:, 0]).tolist(),
    }


def thousand():
    """1024 UDU runs: the eight settings of Figure 1 for 128 problems, 10^5 iterations, recorded at the end alone."""
    problems = ul.stack([ul.stack([instance(seed)[0]]) for seed in range(128)])
    run = dict(step_size=STEP_SIZE, init_scale=INIT_SCALE, device="cuda", record_at=[])
    ul.descend(problems, ul.UDU(R), iterations=600, **run)
    begin = time.perf_counter()
    trace = ul.descend(problems, ul.UDU(R), iterations=100_000, **run)
    seconds = time.perf_counter() - begin
    return {
        "seconds": seconds,
        "engine": trace.engine,
        "ranks": np.bincount(ul.numerical_rank(trace.singular_values, 1e-8).ravel()).tolist(),
    }


def large():
    """d = 10^5, 10^7 entries, r = 32: milliseconds of a step, and the most memory; layouts of the kernel too."""
    begin = time.perf_counter()
    problem, _ = ul.planted_completion(d=100_000, rank=5, observed=10**7, spectrum=(5.0, 4.0, 3.0, 2.0, 1.0), seed=0)
    found = {"making": time.perf_counter() - begin, "rows": []}
    torch.cuda.reset_peak_memory_stats()
    begin = time.perf_counter()
    trace = ul.descend(problem, ul.UDU(32), step_size=0.1, iterations=60, record_at=[], device="cuda")
    found |= {"descent": time.perf_counter() - begin, "engine": trace.engine}
    found["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    show(found)
    moved = problem.to("cuda")
    for dtype, rectangular in ((FLOAT64, False), (FLOAT32, False), (FLOAT64, True)):
        model = ul.UDU(32) if not rectangular else ul.UDV(32)
        if rectangular:
            moved = ul.Completion(problem.rows, problem.cols, problem.b, problem.shape).to("cuda")
        some = moved.to("cuda", dtype)
        entries = kernels.gpu.entries.entries_by_row(some, model.symmetric, dtype)
        one = torch.ones((), dtype=dtype, device="cuda")
        generator = torch.Generator().manual_seed(0)
        factors = {
            name: torch.randn(size, dtype=dtype, generator=generator).to("cuda") / 2000
            if name != "D"
            else torch.ones(size, dtype=dtype, device="cuda")
            for name, size in model.sizes(problem).items()
        }
        for lanes, batch, threads, resident in LARGE[dtype] if not rectangular else LARGE[dtype][:2]:
            vectors = 32 * (8 if dtype == FLOAT64 else 4) // 16 // lanes
            shape = Shape(lanes, vectors, batch, threads)
            row = {"dtype": str(dtype), "rectangular": rectangular, **vars(shape), "resident": resident}
            try:
                with (
                    mock.patch.object(rows, "shape_of_rows", lambda *a, shape=shape: shape),
                    mock.patch.object(rows, "RESIDENT", resident),
                ):
                    stepper = rows.RowSteps(entries, some, model, 0.1 * one, one, 100)
                    row["milliseconds"] = 1e3 * best(partial(stepper.advance, factors, 10), 2) / 10
            except Exception as error:
                row["error"] = f"{type(error).__name__}: {error}"[:300]
            found["rows"].append(row)
            show(row)
    return found


LARGE = {  # lanes, entries at a time, threads, blocks of a multiprocessor
    FLOAT64: [(16, 4, 256, 3), (8, 4, 256, 3), (16, 4, 256, 4), (16, 2, 256, 4), (8, 2, 256, 4), (4, 2, 256, 3)],
    FLOAT32: [(8, 4, 256, 3), (8, 4, 256, 4), (4, 4, 256, 4), (4, 2, 256, 4)],
}  # fmt: skip


def pictures():
    """Ptychography 160 x 160, rank 5: milliseconds of an iteration."""
    from ptychography import planted

    problem, found = planted(160, 32, 15, 8), {}
    for dtype in ("complex64", "complex128"):
        run = dict(step_size=0.1, record_at=[], device="cuda", dtype=dtype)
        ul.descend(problem, ul.UDU(5), iterations=600, **run)
        begin = time.perf_counter()
        trace = ul.descend(problem, ul.UDU(5), iterations=3000, **run)
        found[dtype] = {"milliseconds": (time.perf_counter() - begin) / 3, "engine": trace.engine}
    return found


def sanitizer():
    """What compute-sanitizer finds in some of the tests: accesses out of bounds, races in shared memory."""
    tool, found = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer"), {}
    chosen = "batches_on_a_gpu and UDV" if tool else ""
    for kind in ("memcheck", "racecheck") if tool else ():
        command = [
            tool,
            "--tool",
            kind,
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            "gpu",
            "-k",
            chosen,
            "tests/udulib/kernels",
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        found[kind] = done.stdout[-1500:]
        print(found[kind], flush=True)
    return found


STAGES = {  # seconds that each may take
    tests: 75,
    figure_one: 60,
    steps: 40,
    layouts: 90,
    large: 70,
    thousand: 40,
    pictures: 20,
    sanitizer: 45,
}


def show(row):
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}), flush=True)


def main(folder, chosen):
    Path(folder).mkdir(parents=True, exist_ok=True)
    for stage, limit in STAGES.items():
        if chosen and stage.__name__ not in chosen:
            continue
        begin = time.perf_counter()
        command = [sys.executable, __file__, folder, f"--{stage.__name__}"]
        try:
            code = subprocess.run(command, timeout=limit).returncode
        except subprocess.TimeoutExpired:
            code = f"stopped after {limit} s"
        print(f"== {stage.__name__}: {time.perf_counter() - begin:.0f} s, ended with {code}", flush=True)


def one(folder, name):
    stage = next(stage for stage in STAGES if stage.__name__ == name)
    found = {"card": torch.cuda.get_device_name(), "torch": torch.__version__, **stage()}
    (Path(folder) / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    show({k: v for k, v in found.items() if k not in ("rows", "tail")})


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[2].startswith("--"):
        one(sys.argv[1], sys.argv[2][2:])
    elif not torch.cuda.is_available():
        print("on a GPU: not run, there is none here")
    else:
        main(sys.argv[1] if len(sys.argv) > 1 else "_build/gpu", sys.argv[2:])
