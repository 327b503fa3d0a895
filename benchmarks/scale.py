"""Completion with 100 entries a row at three sizes: time of an iteration, what it moves, memory, order of the entries.

One thread. Each size is a process of its own, whose largest memory is that of a whole descent: the problem is made,
laid out and moved, and its objective taken.
"""

import json
import resource
import subprocess
import sys
from functools import partial

import numpy as np
import torch
from _timing import shortest, write

import udulib as ul
from udulib.factorization.descent import _Loop
from udulib.kernels.blocks import Blocks
from udulib.kernels.completion import FusedSteps

SIZES, ENTRIES, RANK = (1_000, 10_000, 100_000), 100, 32
WORK = 4e8  # multiplications of one repeat, at least one step
REPEATS = 5
LOOP_UP_TO = 10_000  # d; a step takes seconds beyond
COPIED = 2**27  # bytes, more than any cache


def main():
    found = [json.loads(run(d)) for d in SIZES]
    rows = {f"{row['d']}_{row['dtype']}": row for one in found for row in one}
    show(rows)
    largest = rows[f"{max(SIZES)}_float64"]
    write(
        scale_ordered_over_unordered_1e5=largest["over_ordered"],
        scale_peak_gb_1e5=largest["peak_gb"],
        scale={"rank": RANK, **rows},
    )


def run(d):
    return subprocess.run([sys.executable, __file__, str(d)], stdout=subprocess.PIPE, text=True, check=True).stdout


def measure(d):
    torch.set_num_threads(1)
    problem, _ = ul.planted_completion(d=d, rank=5, observed=ENTRIES * d, spectrum=(5.0, 4.0, 3.0, 2.0, 1.0), seed=0)
    ul.descend(problem, ul.UDU(RANK), step_size=0.1, iterations=2, record_at=[], engine="numba")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rows = [one_size(problem.to(dtype=getattr(torch, dtype)), dtype) for dtype in ("float64", "float32")]
    return [{"peak_gb": peak, **row} for row in rows]


def one_size(problem, dtype):
    """Time, operations and bytes of an iteration; for problems read by blocks also with the entries shuffled."""
    number, d = np.dtype(dtype), problem.shape[0]
    rng = np.random.default_rng(0)
    U = rng.standard_normal((d, RANK)).astype(dtype) / np.sqrt(d * RANK).astype(dtype)
    one = torch.ones((), dtype=getattr(torch, dtype))
    i, j = problem.rows.numpy(), problem.cols.numpy()
    pairs = len(np.unique(np.minimum(i, j) * d + np.maximum(i, j)))
    steps = max(1, int(WORK / (6 * RANK * pairs)))
    start = {"U": torch.from_numpy(U), "D": torch.ones(RANK, dtype=one.dtype)}

    ordered = FusedSteps(problem, ul.UDU(RANK), 0.1 * one, one, 10**6)
    contenders = {"ordered": partial(ordered.advance, start, steps), "copy": copying()}
    blocked = isinstance(ordered.runs[0].layout, Blocks)
    if blocked:
        unordered = FusedSteps(problem, ul.UDU(RANK), 0.1 * one, one, 10**6)
        unordered.runs[0].layout = shuffled(unordered.runs[0].layout, rng)
        contenders["shuffled"] = partial(unordered.advance, start, steps)
    if d <= LOOP_UP_TO and dtype == "float64":
        loop = _Loop(problem, ul.UDU(RANK), 0.1 * one, one)
        contenders["loop"] = partial(loop.advance, start, 1)
    for contender in contenders.values():
        contender()  # compiled, and its memory touched
    seconds = shortest(contenders, REPEATS)
    time, copied = seconds["ordered"] / steps, 2 * COPIED / seconds["copy"]
    bytes_an_entry = 3 * RANK * number.itemsize + 2 * number.itemsize + 4  # a row read, one added to; the entry itself
    return {
        "d": d,
        "entries": problem.b.shape[-1],
        "dtype": dtype,
        "milliseconds": 1e3 * time,
        "gigaflops": 6 * RANK * pairs / time / 1e9,  # measure, and add to two rows
        "bytes": pairs * bytes_an_entry,
        "gb_per_second": pairs * bytes_an_entry / time / 1e9,
        "copy_gb_per_second": copied / 1e9,
        "over_copy": pairs * bytes_an_entry / time / copied,
        "shuffled": 1e3 * seconds["shuffled"] / steps if blocked else None,
        "over_ordered": seconds["shuffled"] / seconds["ordered"] if blocked else None,
        "loop": 1e3 * seconds["loop"] if "loop" in seconds else None,
    }


def shuffled(blocks, rng):
    """The same entries in any order, each a stretch by itself."""
    order = rng.permutation(len(blocks.partner))
    rows = np.repeat(blocks.row, np.diff(blocks.start))
    values = (array[order] for array in (blocks.partner, blocks.weight, blocks.target))
    return Blocks(rows[order], np.arange(len(order) + 1), *values)


def copying():
    source = np.ones(COPIED // 8)
    return partial(np.copyto, np.ones_like(source), source)


def show(rows):
    print(f"completion, {ENTRIES} entries a row, r = {RANK}, one thread; GB/s: what the pass over the entries asks for")
    head = f"{'ms':>9}{'GF/s':>7}{'GB/s':>7}{'copy':>6}{'shuffled / ordered':>20}{'peak GB':>9}"
    print(f"{'d':>8}{'':>9}{'entries':>10}{head}")
    for row in rows.values():
        gain = f"{row['over_ordered']:.2f}x" if row["over_ordered"] else "in cache"
        numbers = f"{row['milliseconds']:9.2f}{row['gigaflops']:7.1f}{row['gb_per_second']:7.1f}"
        peak = f"{row['peak_gb']:9.2f}"
        print(
            f"{row['d']:8}{row['dtype']:>9}{row['entries']:10}{numbers}{row['copy_gb_per_second']:6.0f}{gain:>20}{peak}"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]))))
    else:
        main()
