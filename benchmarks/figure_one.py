"""The whole of Figure 1: BM and UDU from 8 settings each, a million iterations, on two cores: wall and CPU seconds.

Where there is a GPU also there, and eight seeds of it at once. Give a smaller number of iterations for a quick look;
only the whole is written down.
"""

import sys
import time

import numpy as np
import torch
from _timing import shortest, write
from autograd_loop import autograd_loop
from step import autograd_bm

import udulib as ul

STEPS, SCALES = (1e-1, 1e-2, 1e-3), (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
BASE_STEP, BASE_SCALE = 1e-2, 1e-2
STEP_SIZE = np.array([*STEPS, *(BASE_STEP for _ in SCALES)])
INIT_SCALE = np.array([*(BASE_SCALE for _ in STEPS), *SCALES])
ITERATIONS, CORES = 1_000_000, 2
AUTOGRAD_STEPS, REPEATS = 60, 10
GPU_SEEDS = 8


def main(iterations):
    torch.set_num_threads(CORES)
    problem, _ = instance(0)
    cpu = time.process_time()
    wall, traces = figure(problem, iterations, "cpu")
    cpu = time.process_time() - cpu
    torch.set_num_threads(1)
    runs = 2 * len(STEP_SIZE)
    autograd = autograd_seconds(problem) * len(STEP_SIZE) * iterations
    ranks = {name: ul.numerical_rank(trace.singular_values, 1e-8).tolist() for name, trace in traces.items()}
    print(f"Figure 1, {runs} runs of {iterations} iterations: {wall:.0f} s on {CORES} cores, {cpu:.0f} s of CPU")
    print(f"by autograd, at its speed here: {autograd:.0f} s of CPU, {autograd / cpu:.1f} times as much")
    print(f"ranks at 1e-8: {ranks}")
    gpu = on_gpu(iterations)
    if iterations == ITERATIONS:
        write(
            figure1_seconds=wall,
            figure1_over_autograd=autograd / cpu,
            figure1={"runs": runs, "iterations": iterations, "cpu_seconds": cpu, "cores": CORES, "gpu": gpu},
        )


def instance(seed):
    return ul.planted_completion(d=100, rank=3, observed=900, spectrum=(3.0, 2.0, 1.0), seed=seed)


def figure(problem, iterations, device):
    """Wall seconds, and the traces of both models."""
    settings = {"step_size": STEP_SIZE, "init_scale": INIT_SCALE, "iterations": iterations, "device": device}
    begin = time.perf_counter()
    traces = {model.__name__: ul.descend(problem, model(100), **settings) for model in (ul.BM, ul.UDU)}
    return time.perf_counter() - begin, traces


def on_gpu(iterations):
    """Wall seconds of the 16 runs, and of as many for each of eight problems; None where there is no GPU."""
    if not torch.cuda.is_available():
        print("on a GPU: not run, there is none here")
        return None
    figure(instance(0)[0], 1000, "cuda")  # CUDA and its libraries are loaded
    one, _ = figure(instance(0)[0], iterations, "cuda")
    many = ul.stack([ul.stack([instance(seed)[0]]) for seed in range(GPU_SEEDS)])  # (seeds, 1), beside (settings,)
    eight, _ = figure(many, iterations, "cuda")
    name = torch.cuda.get_device_name()
    print(f"on one {name}: {one:.0f} s for 16 runs, {eight:.0f} s for {16 * GPU_SEEDS}")
    return {"name": name, "seconds_16": one, f"seconds_{16 * GPU_SEEDS}": eight}


def autograd_seconds(problem):
    """CPU seconds of one iteration of BM and one of UDU by autograd."""
    rng = torch.Generator().manual_seed(0)
    U, D = torch.randn(100, 100, generator=rng, dtype=torch.float64) / 100, torch.ones(100, dtype=torch.float64)
    observed = problem.rows, problem.cols, problem.b
    contenders = {
        "UDU": lambda: autograd_loop(*observed, U, D, 0.1, AUTOGRAD_STEPS),
        "BM": lambda: autograd_bm(*observed, U, 0.1, AUTOGRAD_STEPS),
    }
    return sum(shortest(contenders, REPEATS).values()) / AUTOGRAD_STEPS


if __name__ == "__main__":
    main(int(float(sys.argv[1])) if len(sys.argv) > 1 else ITERATIONS)
