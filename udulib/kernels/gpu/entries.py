"""The entries of completion problems by row, for both sides of each entry; computed on the device, once a descent."""

from dataclasses import dataclass

import torch

ALIGNED = 4  # the entries of a row begin at a multiple of this many


@dataclass(frozen=True)
class Entries:
    """For p problems with ``rows`` rows: those of U, then those of V if X is not symmetric."""

    rows: int
    slots: torch.Tensor  # int32 (p, rows, 4): a row, where its entries begin and end, 0; fewer from slot to slot
    partner: torch.Tensor  # int32 (n,): a row of the same problem
    known: torch.Tensor  # (n, 2): weight and target
    count: int  # entries of all rows of the largest problem


def entries_by_row(problem, symmetric, dtype):
    """The entries of a problem or a stack, for its factors as one matrix."""
    d, c = problem.shape
    rows, cols, values = (a.reshape(-1, a.shape[-1]) for a in (problem.rows, problem.cols, problem.b))
    problems, height = len(rows), d if symmetric else d + c
    of = torch.arange(problems, device=rows.device)[:, None]
    if symmetric:  # (i, j) and (j, i) are one pair, and hold half the residual each if only one of them is known
        pair, found, times = torch.unique(
            (of * d + torch.minimum(rows, cols)) * d + torch.maximum(rows, cols),
            return_inverse=True,
            return_counts=True,
        )
        target = torch.zeros_like(pair, dtype=values.dtype).index_add_(0, found.ravel(), values.ravel()) / times
        i, j = pair // d, pair % d  # i counts on from problem to problem
        weight = torch.where(i % d == j, 1.0, times / 2)
        off = torch.nonzero(i % d != j)[:, 0]
        key = torch.cat([pair, ((i - i % d + j) * d + i % d)[off]])
        index = torch.cat([torch.arange(len(pair), device=pair.device), off])
        del pair, found, times, i, j, off
    else:
        target, weight = values.ravel(), torch.ones_like(values).ravel()
        key = torch.cat(
            [((of * height + rows) * height + d + cols).ravel(), ((of * height + d + cols) * height + rows).ravel()]
        )
        index = torch.arange(len(target), device=key.device).repeat(2)
    key, order = key.sort()  # by problem, row, partner
    index = index[order]
    del order
    known = torch.stack([weight[index], target[index]], dim=-1).to(dtype)
    del index
    row, partner = key // height, (key % height).to(torch.int32)
    del key
    counts = torch.bincount(row, minlength=problems * height)
    first, length = counts.cumsum(0) - counts, -(-counts // ALIGNED) * ALIGNED
    begin = length.cumsum(0) - length
    place = torch.arange(len(row), device=row.device) + (begin - first)[row]
    size = int(length.sum())
    spread_partner = torch.zeros(size, dtype=torch.int32, device=row.device)
    spread_known = torch.zeros(size, 2, dtype=dtype, device=row.device)
    spread_partner[place], spread_known[place] = partner, known
    counts, begin = counts.view(problems, height), begin.view(problems, height)
    order = counts.argsort(dim=-1, descending=True, stable=True)
    begin, end = begin.gather(-1, order), (begin + counts).gather(-1, order)
    slots = torch.stack([order, begin, end, torch.zeros_like(order)], dim=-1).to(torch.int32)
    return Entries(height, slots, spread_partner, spread_known, int(counts.sum(-1).max()))
