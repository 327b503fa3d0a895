"""Completion on the CPU: the runs of a batch over threads, the entries in the order in which the kernels read them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

REGISTER = 64  # bytes; the kernels read whole ones
CALL = 2e8  # multiplications of one call, a fraction of a second: the keyboard can interrupt between calls
WORTH_THREADS = 1e6  # multiplications of one call


class FusedSteps:
    r"""The runs of a batch, each in one thread, in as many threads as PyTorch may use (``torch.get_num_threads``).

    Parameters
    ----------
    problem : Completion
    model : BM, UDU, UV or UDV
    step_size, radius : torch.Tensor, shape (\*,)
        One number a run, in the precision of the factors.
    """

    def __init__(self, problem, model, step_size, radius):
        self.model, self.batch = model, tuple(step_size.shape)
        self.step_size, self.radius = step_size.numpy().ravel(), radius.numpy().ravel()
        self.dtype = self.step_size.dtype
        self.columns = _rounded_up(model.rank, REGISTER // self.dtype.itemsize)
        self.multiplications = problem.b.shape[-1] * self.columns
        layout = _symmetric_layout if model.symmetric else _rectangular_layout
        flat = (a.reshape(-1, a.shape[-1]).numpy() for a in (problem.rows, problem.cols, problem.b))
        layouts = [layout(*entries, problem.shape, self.dtype) for entries in zip(*flat, strict=True)]
        which = np.broadcast_to(np.arange(len(layouts)).reshape(problem.batch_shape), self.batch)
        self.layouts = [layouts[k] for k in which.ravel()]  # one a run

    def advance(self, factors, count):
        r"""The factors ``count`` steps on, and the sum of :math:`\log(1/c)` over these steps, shape (\*,)."""
        state = {name: self._padded(factor) for name, factor in factors.items()}
        shrink, steps = np.zeros(len(self.layouts)), max(1, int(CALL / self.multiplications))
        for done in range(0, count, steps):
            shrink += self._call(state, min(steps, count - done))
        factors = {
            name: torch.from_numpy(state[name][..., : self.model.rank].reshape(factor.shape))
            for name, factor in factors.items()
        }
        return factors, torch.from_numpy(shrink.astype(self.dtype).reshape(self.batch))

    def _padded(self, factor):
        """A factor (*, d, r), or D as (*, 1, r), with zeros up to whole registers and one leading dimension."""
        rows = factor.shape[-2] if factor.ndim > len(self.batch) + 1 else 1
        padded = _aligned((len(self.layouts), rows, self.columns), self.dtype)
        padded[..., : self.model.rank] = factor.reshape(-1, rows, self.model.rank)
        return padded

    def _call(self, state, steps):
        """Move every run by ``steps`` steps, in place."""
        runs, threads = range(len(self.layouts)), min(len(self.layouts), torch.get_num_threads())
        if threads == 1 or steps * self.multiplications < WORTH_THREADS:
            return [self._run(state, steps, run) for run in runs]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda run: self._run(state, steps, run), runs))

    def _run(self, state, steps, run):
        from udulib.kernels import steps as kernels  # here, because it needs numba

        layout, learn_d = self.layouts[run], "D" in state
        U = state["U"][run]
        D = state["D"][run] if learn_d else np.ones((1, self.columns), self.dtype)
        settings = self.step_size[run], self.radius[run], learn_d, steps
        residuals = [np.empty(len(neighbours.partner), self.dtype) for neighbours in layout[1:]]
        scratch = kernels.Scratch(
            residual_u=residuals[0],
            residual_v=residuals[-1],
            row=_aligned((1, self.columns), self.dtype),
            gradient_d=_aligned((1, self.columns), self.dtype),
            U=_aligned(U.shape, self.dtype),
            V=_aligned(state["V"][run].shape if "V" in state else (0, self.columns), self.dtype),
        )
        if self.model.symmetric:
            return kernels.symmetric_steps(U, D, *settings, *layout, scratch)
        return kernels.rectangular_steps(U, D, state["V"][run], *settings, *layout, scratch)


def _rounded_up(number, multiple):
    return -(-number // multiple) * multiple


def _aligned(shape, dtype):
    """Zeros that begin at a register's boundary: one that straddles two is twice as slow to read."""
    size = int(np.prod(shape)) * dtype.itemsize
    space = np.zeros(size + REGISTER, np.uint8)
    first = -space.ctypes.data % REGISTER
    return space[first : first + size].view(dtype).reshape(shape)


def _symmetric_layout(rows, cols, values, shape, dtype):
    """Entries and neighbours of a symmetric problem: (i, j) and (j, i) are one pair, measured once, moving both rows.

    With one of the two known the gradient holds half its residual in both places, with both the mean of theirs.
    """
    pairs, pair_of, known = np.unique(
        np.minimum(rows, cols) * shape[1] + np.maximum(rows, cols), return_inverse=True, return_counts=True
    )
    i, j = np.divmod(pairs, shape[1])
    weights = np.where(i == j, 1.0, known / 2)
    targets = np.bincount(pair_of, weights=values) / known
    off = i != j
    neighbours, places = _neighbours(np.r_[i, j[off]], np.r_[j, i[off]], shape[0])
    of_row, of_partner = places[: len(i)], places[: len(i)].copy()
    of_partner[off] = places[len(i) :]
    return _entries(i, j, weights, targets, of_row, of_partner, shape[0], dtype), neighbours


def _rectangular_layout(rows, cols, values, shape, dtype):
    of_rows, of_row = _neighbours(rows, cols, shape[0])
    of_columns, of_partner = _neighbours(cols, rows, shape[1])
    weights = np.ones_like(values)
    return _entries(rows, cols, weights, values, of_row, of_partner, shape[0], dtype), of_rows, of_columns


def _entries(rows, partners, weights, targets, of_row, of_partner, count, dtype):
    from udulib.kernels.steps import Entries

    order, start = _by_row(rows, partners, count)
    return Entries(
        start,
        partners[order].astype(np.uint32),
        weights[order].astype(dtype),
        targets[order].astype(dtype),
        of_row[order].astype(np.uint32),
        of_partner[order].astype(np.uint32),
    )


def _neighbours(rows, partners, count):
    """The neighbours, and the place of each of them."""
    from udulib.kernels.steps import Neighbours

    order, start = _by_row(rows, partners, count)
    places = np.empty(len(rows), np.int64)
    places[order] = np.arange(len(rows))
    return Neighbours(start, partners[order].astype(np.uint32)), places


def _by_row(rows, partners, count):
    """The order by row, then partner, and where in it each row begins (and the last one ends)."""
    return np.lexsort((partners, rows)), np.r_[0, np.cumsum(np.bincount(rows, minlength=count))]
