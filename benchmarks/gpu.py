"""What one GPU does, from tests to Figure 1: ``python benchmarks/gpu.py FOLDER [STAGE ...]``.

Each stage is a process of its own with a time of its own, and leaves ``FOLDER/STAGE.json``. Kernels are compiled
before they are timed.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from figure_one import CORES, INIT_SCALE, STEP_SIZE, figure, instance

import udulib as ul
from udulib import kernels
from udulib.factorization.descent import _Loop
from udulib.kernels.gpu import blocks, launching, rows

D = R = 100
FLOAT64, FLOAT32 = torch.float64, torch.float32


def tests():
    """Those that need a GPU, over several processes where pytest can do that; what they say is in ``tests.txt``."""
    at_once = ("-n", "8") if importlib.util.find_spec("xdist") else ()
    chosen = (
        "-q",
        "-m",
        "gpu",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:benchmark",
        "--maxfail=12",
        *at_once,
        "tests/udulib/kernels",
    )
    with FOUND["file"].with_suffix(".txt").open("w") as said:
        command = [sys.executable, "-m", "pytest", *chosen]
        try:
            done = subprocess.run(command, stdout=said, stderr=subprocess.STDOUT, timeout=STAGES[tests] - 8)
            keep(passed=done.returncode == 0)
        except subprocess.TimeoutExpired:
            keep(passed="stopped before the end")


def steps():
    """Microseconds of a step and run, all columns alive, of both engines; of two CPU cores; of the card's limits."""
    for engine in ("fused", "graph"):
        for dtype in (FLOAT64, FLOAT32):
            for model, counts in ((ul.UDU(R), (16, 132, 528)), (ul.BM(R), (132,))):
                for runs in counts:
                    taken = microseconds(engine, model, runs, dtype)
                    add(type(model).__name__, str(dtype)[6:], runs, engine, microseconds=taken)
    torch.set_num_threads(CORES)
    run = dict(step_size=np.full(CORES, 0.05), init_scale=1.0, record_at=[], device="cpu")
    ul.descend(instance(0)[0], ul.UDU(R), iterations=1000, **run)
    begin = time.perf_counter()
    trace = ul.descend(instance(0)[0], ul.UDU(R), iterations=5000, **run)
    keep(two_cores=1e6 * (time.perf_counter() - begin) / 5000 / CORES, two_cores_engine=trace.engine)
    keep(limits=limits())


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


def figure_one():
    """The 16 runs of Figure 1, a million iterations each."""
    figure(instance(0)[0], 30_000, "cuda")
    seconds, traces = figure(instance(0)[0], 1_000_000, "cuda")
    udu = traces["UDU"].singular_values
    keep(
        seconds=seconds,
        engines=[trace.engine for trace in traces.values()],
        ranks={name: ul.numerical_rank(trace.singular_values, 1e-8).tolist() for name, trace in traces.items()},
        fourth_over_first=(udu[:, 3] / udu[:, 0]).tolist(),
    )


def thousand():
    """1024 UDU runs: the eight settings of Figure 1 for 128 problems, 10^5 iterations, recorded at the end alone."""
    problems = ul.stack([ul.stack([instance(seed)[0]]) for seed in range(128)])
    run = dict(step_size=STEP_SIZE, init_scale=INIT_SCALE, device="cuda", record_at=[])
    ul.descend(problems, ul.UDU(R), iterations=600, **run)
    begin = time.perf_counter()
    trace = ul.descend(problems, ul.UDU(R), iterations=100_000, **run)
    seconds = time.perf_counter() - begin
    ranks = np.bincount(ul.numerical_rank(trace.singular_values, 1e-8).ravel()).tolist()
    keep(seconds=seconds, engine=trace.engine, ranks=ranks)


def large():
    """d = 10^5, 10^7 entries, r = 32: milliseconds of a step, and the most memory."""
    problem, _ = ul.planted_completion(d=100_000, rank=5, observed=10**7, spectrum=(5.0, 4.0, 3.0, 2.0, 1.0), seed=0)
    torch.cuda.reset_peak_memory_stats()
    trace = ul.descend(problem, ul.UDU(32), step_size=0.1, iterations=60, record_at=[], device="cuda")
    keep(engine=trace.engine, peak_gb=torch.cuda.max_memory_allocated() / 1e9)
    for model, dtype in ((ul.UDU(32), FLOAT64), (ul.UDU(32), FLOAT32), (ul.UDV(32), FLOAT64)):
        if not model.symmetric:
            problem = ul.Completion(problem.rows, problem.cols, problem.b, problem.shape)
        some = problem.to("cuda", dtype)
        entries = kernels.gpu.entries.entries_by_row(some, model.symmetric, dtype)
        one = torch.ones((), dtype=dtype, device="cuda")
        stepper = rows.RowSteps(entries, some, model, 0.1 * one, one, 100)
        factors = {
            name: torch.full(size, 1.0 if name == "D" else 1e-3, dtype=dtype, device="cuda")
            for name, size in model.sizes(problem).items()
        }
        milliseconds = 1e3 * best(partial(stepper.advance, factors, 40), 2) / 40
        add(type(model).__name__, str(dtype)[6:], milliseconds=milliseconds)
        del stepper, entries, some


def pictures():
    """Ptychography 160 x 160, rank 5: milliseconds of an iteration."""
    from ptychography import planted

    problem = planted(160, 32, 15, 8)
    for dtype in ("complex64", "complex128"):
        run = dict(step_size=0.1, record_at=[], device="cuda", dtype=dtype)
        ul.descend(problem, ul.UDU(5), iterations=600, **run)
        begin = time.perf_counter()
        trace = ul.descend(problem, ul.UDU(5), iterations=3000, **run)
        add(dtype, milliseconds=(time.perf_counter() - begin) / 3, engine=trace.engine)


def sanitizer():
    """What compute-sanitizer finds in some of the tests: accesses out of bounds, races in shared memory."""
    tool = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
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
        keep(**{kind: done.stdout[-1500:]})


STAGES = {  # seconds for each
    tests: 60,
    figure_one: 40,
    steps: 30,
    large: 25,
    pictures: 20,
    thousand: 40,
    sanitizer: 45,
}
FOUND = {}  # and under "file" where it is written


def keep(**found):
    """Write down what a stage has found so far, so that nothing is lost where it is stopped."""
    FOUND.update(found)
    FOUND["file"].write_text(json.dumps({k: v for k, v in FOUND.items() if k != "file"}, indent=1) + "\n")
    print(json.dumps(found), flush=True)


def add(*names, **row):
    keep(**{"_".join(map(str, names)): row})


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
    FOUND["file"] = Path(folder) / f"{name}.json"
    keep(card=torch.cuda.get_device_name(), torch=torch.__version__)
    next(stage for stage in STAGES if stage.__name__ == name)()


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[2].startswith("--"):
        one(sys.argv[1], sys.argv[2][2:])
    elif not torch.cuda.is_available():
        print("on a GPU: not run, there is none here")
    else:
        main(sys.argv[1] if len(sys.argv) > 1 else "_build/gpu", sys.argv[2:])
