"""Many small runs on a GPU: each in a block of threads, thousands of steps a launch, without columns that have died."""

import math

import numpy as np
import torch

from udulib.kernels.aside import Aside
from udulib.kernels.gpu import launching
from udulib.kernels.gpu.factors import joined, parted
from udulib.kernels.gpu.shapes import columns, shape_of_blocks

WORK = 1e9  # entries times columns of one launch of a run: a tenth of a second
WIDTHS = (8, 32)  # columns of a kernel, beside all of them


class BlockSteps:
    r"""The steps of all runs of a batch.

    Parameters
    ----------
    entries : Entries
    problem, model : Problem, Model
    step_size, radius : torch.Tensor, shape (\*,)
    iterations : int
        How many steps will be asked for in all.
    """

    engine = "fused"

    def __init__(self, entries, problem, model, step_size, radius, iterations):
        self.entries, self.model, self.device = entries, model, step_size.device
        self.batch, self.dtype = step_size.shape, step_size.dtype
        self.runs, self.rows_u = math.prod(self.batch), problem.shape[0]
        self.step_size, self.radius = step_size.reshape(-1), radius.reshape(-1)
        which = torch.arange(len(entries.slots), dtype=torch.int32).reshape(problem.batch_shape)
        self.problem = which.expand(self.batch).reshape(-1).to(self.device)
        self.card = launching.card(self.device)
        self.learn_d = "D" in model.names
        self.aside = Aside(self.step_size, iterations) if self.learn_d else None

    def advance(self, factors, count):
        r"""The factors ``count`` steps on, and the sum of :math:`\log(1/c)` over these steps, shape (\*,)."""
        matrix, diagonal = joined(factors)
        shrink = torch.zeros(self.runs, dtype=torch.float64, device=self.device)
        steps = max(1, int(WORK / (self.entries.count * self.model.rank)))
        for done in range(0, count, steps):
            shrink += self._advance(matrix, diagonal, min(steps, count - done))
        return parted(matrix, diagonal, factors), shrink.reshape(self.batch).to(self.dtype)

    def _advance(self, matrix, diagonal, steps):
        """Move (runs, rows, r) and (runs, r) in place."""
        report = torch.zeros(self.runs, 4, dtype=torch.float64, device=self.device)
        if not self.learn_d:
            self._launch(matrix, diagonal, report, slice(None), slice(None), steps)
            return report[:, 0]
        views = self._views(matrix, diagonal)
        kept = self.aside.kept(views)
        order, moved = torch.argsort(~kept, dim=-1, stable=True), torch.ones_like(kept)
        lasts = []
        for runs, width in self._by_width(kept):
            if width == self.model.rank:
                self._launch(matrix, diagonal, report, runs, slice(None), steps)
                continue
            self._launch(matrix, diagonal, report, runs, order[runs, :width], steps)
            lasts.append((runs, order[runs, width:]))
        for runs, rest in lasts:  # columns set aside shrink with the ball
            moved[runs[:, None], rest] = False
            times = torch.exp(-report[runs, :2]).to(self.dtype)  # of U and V
            sides = times[:, [0] * self.rows_u + [1] * (matrix.shape[1] - self.rows_u)]
            place = runs[:, None, None], torch.arange(matrix.shape[1], device=self.device)[:, None], rest[:, None, :]
            matrix[place] = matrix[place] * sides[..., None]
        gradients = (steps * report[:, 2]).sqrt()  # at least the sum of the norms, by Cauchy and Schwarz
        self.aside.account(views, moved, steps, gradients, report[:, 3].sqrt())
        return report[:, 0] + report[:, 1]

    def _views(self, matrix, diagonal):
        names = {"U": matrix[:, : self.rows_u], "D": diagonal[:, None]}
        return names if self.model.symmetric else {**names, "V": matrix[:, self.rows_u :]}

    def _by_width(self, kept):
        """The runs of each width that has any."""
        live, rank = kept.sum(-1).cpu().numpy(), self.model.rank
        widths = np.array([width for width in WIDTHS if width < rank] + [rank])
        widest = widths[np.searchsorted(widths, live)]
        for width in np.unique(widest):
            yield torch.from_numpy(np.flatnonzero(widest == width)).to(self.device), int(width)

    def _launch(self, matrix, diagonal, report, runs, chosen, steps):
        """Move the chosen columns of some runs."""
        some, some_d = matrix[runs], diagonal[runs]
        if isinstance(chosen, torch.Tensor):
            index = chosen[:, None, :].expand(-1, matrix.shape[1], -1)
            some, some_d = some.gather(-1, index), some_d.gather(-1, chosen)
        count, rows, rank = some.shape
        width = columns(rank, some.element_size())
        packed = torch.nn.functional.pad(some, (0, width - rank)).contiguous()
        packed_d = torch.nn.functional.pad(some_d, (0, width - rank)).contiguous()
        shape = shape_of_blocks(rows, width, some.element_size(), count, self.card)
        scratch = packed.new_empty(1) if shape.shared else torch.empty_like(packed)
        partial = packed.new_empty(count, 2, shape.cluster, width + 3)
        told = report.new_empty(count, 4)
        run = self._kernel(shape, width)
        entries = self.entries.slots, self.entries.partner, self.entries.known
        settings = self.step_size[runs].contiguous(), self.radius[runs].contiguous(), self.problem[runs].contiguous()
        numbers = rows, self.rows_u, width, steps
        run(
            (count * shape.cluster,),
            shape.threads,
            packed,
            scratch,
            packed_d,
            partial,
            *settings,
            *entries,
            told,
            *numbers,
        )
        report[runs] = told
        if isinstance(chosen, torch.Tensor):
            matrix[runs] = matrix[runs].scatter(-1, index, packed[..., :rank])
            diagonal[runs] = diagonal[runs].scatter(-1, chosen, packed_d[:, :rank])
        else:
            matrix[runs], diagonal[runs] = packed[..., :rank], packed_d[:, :rank]

    def _kernel(self, shape, width):
        chosen = shape.settings(launching.REAL[self.dtype], self.learn_d, not self.model.symmetric)
        rows = 2 * self.entries.rows if shape.shared else 0
        shared = (rows + shape.threads // 32 + 1) * width * self.step_size.element_size()
        own = {"CLUSTER": shape.cluster, "SHARED": int(shape.shared)}
        return launching.kernel("blocks", "steps", shared, self.device, **chosen, **own)
