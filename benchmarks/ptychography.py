"""Time of one gradient against the transforms that it must do, and memory: ``python benchmarks/ptychography.py``.

One process, one thread. The limit is the two-dimensional Fourier transform of every window there and back, once for
each column, on contiguous arrays: a gradient cannot do with fewer.
"""

import resource
import statistics
import time

import numpy as np
import torch
from _timing import write

import udulib as ul

SETTINGS = {  # side of the object, window, grid, step; at most this many times the limit
    "64 x 64": ((64, 16, 9, 6), 10),
    "160 x 160": ((160, 32, 15, 8), 6),
}
COLUMNS, REPEATS, MEMORY_BAR = 5, 15, 250  # MB


def main():
    torch.set_num_threads(1)
    before, found = peak_memory(), {}
    for name, (setting, bar) in SETTINGS.items():
        problem = planted(*setting).to(dtype=torch.complex64)
        n, (count, side) = problem.shape[0], problem.pupils.shape[:2]
        U = torch.randn(n, COLUMNS, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
        D = torch.ones(COLUMNS)
        fields = torch.randn(COLUMNS, count, side, side, dtype=torch.complex64)

        def gradient(problem=problem, U=U, D=D):
            return problem.gradient(U, D)

        def limit(fields=fields):
            return torch.fft.ifft2(fields, norm="ortho"), torch.fft.fft2(fields, norm="ortho")

        def loop(problem=problem, U=U, D=D):
            return window_by_window(problem, U, D)

        torch.testing.assert_close(gradient()[1], loop(), rtol=1e-3, atol=1e-4)
        rounds = [(seconds(gradient), seconds(limit), seconds(loop)) for _ in range(REPEATS)]  # drift hits all alike
        ours, least, plain = (min(times) * 1e3 for times in zip(*rounds, strict=True))
        ratio = statistics.median(a / b for a, b, _ in rounds)
        side = setting[0]
        found[f"side_{side}"] = {"milliseconds": ours, "over_transforms": ratio, "loop_over_ours": plain / ours}
        print(
            f"{name}: gradient {ours:.2f} ms, transforms {least:.2f} ms, loop over windows and columns {plain:.1f} ms; "
            f"gradient / transforms {ratio:.2f} (bar {bar})"
        )
    ul.descend(planted(*SETTINGS["160 x 160"][0]), ul.UDU(rank=COLUMNS), step_size=0.1, iterations=5, dtype="float32")
    found["megabytes"] = peak_memory() - before
    write(ptychography=found)
    print(f"all of this and a descent at 160 x 160: {found['megabytes']:.0f} MB above the start (bar {MEMORY_BAR})")


def planted(side, window, grid, step):
    y, x = np.mgrid[:side, :side] / side
    return ul.planted_ptychography(0.5 + 0.5 * np.sin(9 * x * y), x, window, grid, step)[0]


def window_by_window(problem, U, D):
    """What a reader would write: A*(A(X) - b) U, one window and one column at a time."""
    count, side = problem.pupils.shape[:2]
    windows, b = problem.windows.view(count, side, side), problem.b.view(count, side, side)
    out = torch.zeros_like(U)
    for index, pupil, picture in zip(windows, problem.pupils, b, strict=True):
        fields = [torch.fft.ifft2(column[index] * pupil, norm="ortho") for column in U.T]
        residual = sum(d * field.abs() ** 2 for d, field in zip(D, fields, strict=True)) - picture
        for column, field in zip(out.T, fields, strict=True):
            column[index] += torch.fft.fft2(residual * field, norm="ortho") * pupil.conj()
    return out


def peak_memory():
    """The most memory that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds(function):
    begin = time.thread_time()
    function()
    return time.thread_time() - begin


if __name__ == "__main__":
    main()
