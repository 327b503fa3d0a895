"""Time of one UDU step, ours against the plain autograd loop, in one process on one thread: ``python benchmarks/step.py``."""

import statistics
import time

import torch
from autograd_loop import autograd_loop

import udulib as ul

D, OBSERVED, ITERATIONS, REPEATS = 100, 900, 300, 9


def main():
    torch.set_num_threads(1)
    problem, _ = ul.planted_completion(d=D, rank=3, observed=OBSERVED, spectrum=(3.0, 2.0, 1.0), seed=0)
    U0 = torch.randn(D, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / D
    D0 = torch.ones(D, dtype=torch.float64)

    def reader():
        return autograd_loop(problem.rows, problem.cols, problem.b, U0, D0, 0.1, ITERATIONS)

    def ours():
        start = {"U": U0, "D": D0}
        trace = ul.descend(problem, ul.UDU(rank=D), step_size=0.1, iterations=ITERATIONS, start=start, record_at=[])
        return torch.from_numpy(trace.factors["U"]), torch.from_numpy(trace.factors["D"])

    for theirs, mine in zip(reader(), ours(), strict=True):
        torch.testing.assert_close(theirs, mine, rtol=1e-9, atol=1e-12)
    pairs = [(seconds(reader), seconds(ours)) for _ in range(REPEATS)]  # interleaved: the machine's drift hits both
    reader_us, ours_us = (min(times) / ITERATIONS * 1e6 for times in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"autograd loop {reader_us:.0f} us, udulib {ours_us:.0f} us an iteration; median ratio {ratio:.2f}")


def seconds(function):
    begin = time.thread_time()
    function()
    return time.thread_time() - begin


if __name__ == "__main__":
    main()
