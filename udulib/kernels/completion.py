"""Completion on the CPU: the runs of a batch over threads, each without the columns that no longer matter."""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch

from udulib.kernels.aside import Aside

REGISTER = 64  # bytes; the kernels read whole ones
CALL = 2e8  # multiplications of one call, a fraction of a second: the keyboard can interrupt between calls
WORTH_THREADS = 1e6  # multiplications of one call
NEAR = 2**20  # bytes of U and V beyond which they do not stay in a core's own cache, and entries are read by blocks
BLOCK = 2**21  # bytes of the rows that a block of entries moves; between 1 and 5 MB it matters little


class FusedSteps:
    r"""The runs of a batch, each in one thread, in as many threads as PyTorch may use (``torch.get_num_threads``).

    Parameters
    ----------
    problem : Completion
    model : BM, UDU, UV or UDV
    step_size, radius : torch.Tensor, shape (\*,)
        One number a run, in the precision of the factors.
    iterations : int
        How many steps will be asked for in all.
    """

    engine = "numba"

    def __init__(self, problem, model, step_size, radius, iterations):
        from udulib.kernels.layout import blocked_layout, rectangular_layout, symmetric_layout  # here: they need numba

        self.rank, self.multiplications = model.rank, problem.b.shape[-1] * model.rank
        dtype, row = step_size.numpy().dtype, _columns(model.rank, step_size.numpy().dtype) * step_size.element_size()
        if sum(problem.shape[: 2 - model.symmetric]) * row > NEAR:
            layout = partial(blocked_layout, symmetric=model.symmetric, side=max(1, BLOCK // (2 * row)))
        else:
            layout = symmetric_layout if model.symmetric else rectangular_layout
        flat = (a.reshape(-1, a.shape[-1]).numpy() for a in (problem.rows, problem.cols, problem.b))
        layouts = [layout(*entries, shape=problem.shape, dtype=dtype) for entries in zip(*flat, strict=True)]
        which = np.broadcast_to(np.arange(len(layouts)).reshape(problem.batch_shape), step_size.shape).ravel()
        settings = zip(which, step_size.numpy().ravel(), radius.numpy().ravel(), strict=True)
        self.runs = [_Run(layouts[k], eta, alpha, iterations) for k, eta, alpha in settings]

    def advance(self, factors, count):
        r"""The factors ``count`` steps on, and the sum of :math:`\log(1/c)` over these steps, shape (\*,)."""
        factors = {name: factor.clone(memory_format=torch.contiguous_format) for name, factor in factors.items()}
        views = {name: f.numpy().reshape(len(self.runs), -1, self.rank) for name, f in factors.items()}  # D: (*, 1, r)
        each = [{name: view[k] for name, view in views.items()} for k in range(len(self.runs))]
        shrink, steps = np.zeros(len(self.runs)), max(1, int(CALL / self.multiplications))
        for done in range(0, count, steps):
            shrink += self._advance_each(each, min(steps, count - done))
        U = factors["U"]
        return factors, torch.from_numpy(shrink.reshape(U.shape[:-2])).to(U.dtype)

    def _advance_each(self, each, steps):
        threads = min(len(self.runs), torch.get_num_threads())
        if threads == 1 or steps * self.multiplications < WORTH_THREADS:
            return [run.advance(factors, steps) for run, factors in zip(self.runs, each, strict=True)]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(_Run.advance, self.runs, each, [steps] * len(each)))


class _Run:
    """One run of a batch; its factors are matrices of r columns each, D of one row."""

    def __init__(self, layout, step_size, radius, iterations):
        self.layout, self.step_size, self.radius = layout, step_size, radius
        self.aside = Aside(float(step_size), iterations)

    def advance(self, factors, steps):
        """Move the factors in place; returns the sum of log(1/c)."""
        tensors = {name: torch.from_numpy(factor) for name, factor in factors.items()}
        chosen = self.aside.kept(tensors)
        kept = chosen.numpy()
        packed = {name: _packed(factor[:, kept]) for name, factor in factors.items()}
        shrink_u, shrink_v, gradients, gradient = self._kernel(packed, steps)
        for name, shrink in (("U", shrink_u), ("D", 0.0), ("V", shrink_v)):
            if name in factors:
                factors[name][:, kept] = packed[name][:, : np.count_nonzero(kept)]
                factors[name][:, ~kept] *= np.exp(-shrink)
        self.aside.account(tensors, chosen, steps, gradients, gradient)
        return shrink_u + shrink_v

    def _kernel(self, packed, steps):
        from udulib.kernels import blocks  # here, because they need numba
        from udulib.kernels import steps as kernels

        U, V = packed["U"], packed.get("V")
        dtype, columns = U.dtype, U.shape[1]
        D = packed.get("D", np.ones((1, columns), dtype))
        settings = self.step_size, self.radius, "D" in packed, steps
        if isinstance(self.layout, blocks.Blocks):
            GV = _aligned(U.shape, dtype)
            GU = GV if V is None else _aligned(V.shape, dtype)
            room = blocks.Room(GV, GU, *(_aligned((1, columns), dtype) for _ in range(3)))
            return blocks.blocked_steps(U, D, U if V is None else V, V is None, *settings, self.layout, room)
        residuals = [np.empty(len(neighbours.partner), dtype) for neighbours in self.layout[1:]]
        scratch = kernels.Scratch(
            residual_u=residuals[0],
            residual_v=residuals[-1],
            row=_aligned((1, columns), dtype),
            gradient_d=_aligned((1, columns), dtype),
            U=_aligned(U.shape, dtype),
            V=_aligned((0, columns) if V is None else V.shape, dtype),
        )
        if V is None:
            return kernels.symmetric_steps(U, D, *settings, *self.layout, scratch)
        return kernels.rectangular_steps(U, D, V, *settings, *self.layout, scratch)


def _columns(rank, dtype):
    """The columns of a factor, filled up to whole registers."""
    lanes = REGISTER // dtype.itemsize
    return -(-rank // lanes) * lanes


def _packed(factor):
    """A copy whose rows are whole registers, filled up with zeros."""
    packed = _aligned((len(factor), _columns(factor.shape[1], factor.dtype)), factor.dtype)
    packed[:, : factor.shape[1]] = factor
    return packed


def _aligned(shape, dtype):
    """Zeros that begin at a register's boundary: one that straddles two is twice as slow to read."""
    size = math.prod(shape) * dtype.itemsize
    space = np.zeros(size + REGISTER, np.uint8)
    first = -space.ctypes.data % REGISTER
    return space[first : first + size].view(dtype).reshape(shape)
