"""Large problems on a GPU: each step is two kernels over the whole card, and many steps one CUDA graph."""

import math

import torch

from udulib.kernels.gpu import launching
from udulib.kernels.gpu.factors import joined, parted
from udulib.kernels.gpu.shapes import columns, shape_of_rows
from udulib.kernels.graphs import recorded

LENGTH = 20  # steps of a graph
SETTLING = 512  # threads of the kernel that sums what the blocks have seen


class RowSteps:
    r"""The steps of all runs of a batch; parameters as for the other stepper of this package."""

    engine = "fused"

    def __init__(self, entries, problem, model, step_size, radius, iterations):
        self.entries, self.model, self.device = entries, model, step_size.device
        self.batch, self.dtype = step_size.shape, step_size.dtype
        self.runs, self.learn_d = math.prod(self.batch), "D" in model.names
        itemsize = step_size.element_size()
        self.width = columns(model.rank, itemsize)
        self.shape = shape_of_rows(self.width, itemsize)
        groups = -(-entries.rows * self.shape.lanes // 32)
        most = self.shape.resident * launching.card(self.device).multiprocessors
        self.blocks = max(1, min(-(-groups * 32 // self.shape.threads), -(-most // self.runs)))
        which = torch.arange(len(entries.slots), dtype=torch.int32).reshape(problem.batch_shape)
        which = which.expand(self.batch).reshape(-1).to(self.device)
        self.sides = problem.shape[0], entries.rows - problem.shape[0]

        def zeros(*size, dtype=self.dtype):
            return torch.zeros(*size, dtype=dtype, device=self.device)

        self.old, self.moved = (zeros(self.runs, entries.rows, self.width) for _ in range(2))
        self.diagonal, self.scales = zeros(self.runs, self.width), zeros(self.runs, 2)
        self.partial = zeros(self.runs, self.width + 3, self.blocks)
        self.account = zeros(self.runs, 6, dtype=torch.float64)
        self.step_size, self.radius = step_size.reshape(-1).contiguous(), radius.reshape(-1).contiguous()
        self.layout = which, entries.slots, entries.partner, entries.known
        self.graph = None

    def advance(self, factors, count):
        r"""The factors ``count`` steps on, and the sum of :math:`\log(1/c)` over these steps, shape (\*,)."""
        pulls, settles = self._kernels()
        graphs = count // LENGTH if self.device.type == "cuda" else 0
        if graphs > 1 and self.graph is None:
            self._steps(pulls, settles, 2)  # loads the kernels, which a graph cannot hold
            self.graph = recorded(lambda: self._steps(pulls, settles, LENGTH), warm_up=0)
        matrix, diagonal = joined(factors)
        rank = matrix.shape[-1]
        self.old[..., :rank], self.diagonal[:, :rank] = matrix, diagonal
        del matrix
        self.scales.fill_(1.0)
        self.account.zero_()
        self.account[:, 4:] = 1.0
        if graphs > 1:
            for _ in range(graphs):
                self.graph()
            self._steps(pulls, settles, count % LENGTH)
        else:
            self._steps(pulls, settles, count)
        logarithm = self.account[:, 2:4] + self.account[:, 4:].log()  # (runs, 2)
        last = self.moved if count % 2 else self.old
        sides = torch.split(last[..., :rank], self.sides, dim=1)
        matrix = torch.cat([side * self.scales[:, v, None, None] for v, side in enumerate(sides)], dim=1)
        shrink = (0.5 * logarithm.sum(-1)).reshape(self.batch).to(self.dtype)
        return parted(matrix, self.diagonal[:, :rank].clone(), factors), shrink

    def _steps(self, pulls, settles, count):
        old, moved = self.old, self.moved
        numbers = self.entries.rows, self.sides[0], self.width
        for _ in range(count):
            pulls(
                (self.blocks, self.runs), self.shape.threads, old, moved, self.diagonal, self.scales, self.partial,
                self.step_size, *self.layout, *numbers,
            )  # fmt: skip
            if self.learn_d:
                settles(
                    (self.runs,), SETTLING, self.diagonal, self.scales, self.partial, self.step_size, self.radius,
                    self.account, self.width, self.blocks,
                )  # fmt: skip
            old, moved = moved, old

    def _kernels(self):
        chosen = self.shape.settings(launching.REAL[self.dtype], self.learn_d, not self.model.symmetric)
        shared = self.shape.threads // 32 * self.width * self.step_size.element_size()
        settling = {**chosen, "THREADS": SETTLING, "RESIDENT": 1}
        return (
            launching.kernel("rows", "pull", shared, self.device, **chosen, RESIDENT=self.shape.resident),
            launching.kernel("rows", "settle", 0, self.device, **settling),
        )
