"""What the projection adds to a training step, one thread: ``OMP_NUM_THREADS=1 python benchmarks/projection.py``."""

import statistics
import time

import torch
from _timing import write
from torch import nn

from udulib.nn import UDVLinear, project_

WIDTHS = {427: 10, 1280: 10, 2520: 100}  # inputs and neurons, to outputs: the paper's last, and smaller ones
BATCH = 128
REPEATS = 15
BAR = 0.10  # share of a step, from width 1280 on


def main():
    results = projection()
    for width, line in results["projection"].items():
        bar = f" (bar {BAR:.0%})" if width >= 1280 else ""
        print(
            f"width {width}, batch {BATCH}: step {line['step']:.2f} ms, projection {line['projection']:.3f} ms: "
            f"{line['share']:.1%}{bar}"
        )
    write(**results)


def projection():
    """Share of the projection in a step of training, by width; the one with a bar as ``projection_share_1280``."""
    torch.set_num_threads(1)
    rows = {width: row(width, outputs) for width, outputs in WIDTHS.items()}
    return {"projection_share_1280": max(r["share"] for w, r in rows.items() if w >= 1280), "projection": rows}


def row(width, outputs):
    """Milliseconds of a step with momentum on a UDV head and of the projection behind it; medians."""
    generator = torch.Generator().manual_seed(0)
    head = UDVLinear(width, outputs, hidden=width, generator=generator)
    x = torch.randn(BATCH, width, generator=generator)
    y = torch.randint(0, outputs, (BATCH,), generator=generator)
    optimizer = torch.optim.SGD(head.parameters(), lr=1e-3, momentum=0.9)
    steps, projections = [], []
    for _ in range(REPEATS + 2):
        begin = time.thread_time()
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(x), y).backward()
        optimizer.step()
        between = time.thread_time()
        project_(head)
        steps.append(between - begin)
        projections.append(time.thread_time() - between)
    step, behind = (1e3 * statistics.median(times[2:]) for times in (steps, projections))  # the first two allocate
    return {"step": step, "projection": behind, "share": behind / (step + behind)}


if __name__ == "__main__":
    main()
