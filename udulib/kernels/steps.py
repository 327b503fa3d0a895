r"""The update of BM, UDU, UV and UDV on a completion problem, fused: thousands of steps a call, nothing allocated.

A step goes through the entries twice: once for the residuals :math:`g_{ij} = w_{ij} (u_i^\top D\,v_j - t_{ij})`, once
for the rows :math:`\sum_j g_{ij} v_j` of the gradient. Rows of factors are padded with zeros to whole registers and D
is a matrix of one row, so that every loop over columns goes by vectors.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from udulib.kernels.denormals import flush_denormals, restore_denormals
from udulib.kernels.vectors import FREEDOM, add, lanes, load, mul, spread, store, sub, total, zeros


class Entries(NamedTuple):
    """What is measured, in fours: entries ``start[i]`` to ``start[i + 1]`` are those of row i and of rows ``partner``.

    ``start`` and ``partner`` are arrays of int, ``weight`` and ``target`` of float; padding has weight zero.
    """

    start: np.ndarray
    partner: np.ndarray
    weight: np.ndarray
    target: np.ndarray


class Neighbours(NamedTuple):
    """What moves a factor: row i by rows ``partner[start[i]:start[i + 1]]`` of the other, times residual ``entry``."""

    start: np.ndarray
    partner: np.ndarray
    entry: np.ndarray


class Scratch(NamedTuple):
    """Room to work in."""

    residual: np.ndarray  # (entries,)
    row: np.ndarray  # (1, columns)
    gradient_d: np.ndarray  # (1, columns)
    U: np.ndarray  # (d, columns)
    V: np.ndarray  # (c, columns)


OPTIONS = {"fastmath": set(FREEDOM), "error_model": "numpy", "nogil": True}
_part = njit(**OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # called by the two whole ones only


def _whole(function):
    """Compile ``function`` when it is first called; keep the result on disk where there is a place for it."""
    try:
        return njit(function, **OPTIONS, cache=True)
    except RuntimeError:  # neither __pycache__ nor the user's cache folder can be written
        return njit(function, **OPTIONS)


@_part
def _measure(U, D, V, entries, row, residual):
    """residual = weight * ((U D V^T)_ij - target), four entries of a row at a time."""
    zero = zeros(U, 1)
    for i in range(len(U)):
        for k in range(0, U.shape[1], lanes(zero)):
            store(mul(load(U, i, k, zero), load(D, 0, k, zero)), row, 0, k)
        for e in range(entries.start[i], entries.start[i + 1], 4):
            j0, j1, j2, j3 = entries.partner[e], entries.partner[e + 1], entries.partner[e + 2], entries.partner[e + 3]
            x0, x1, x2, x3 = zero, zero, zero, zero
            for k in range(0, U.shape[1], lanes(zero)):
                u = load(row, 0, k, zero)
                x0 = add(x0, mul(u, load(V, j0, k, zero)))
                x1 = add(x1, mul(u, load(V, j1, k, zero)))
                x2 = add(x2, mul(u, load(V, j2, k, zero)))
                x3 = add(x3, mul(u, load(V, j3, k, zero)))
            residual[e] = entries.weight[e] * (total(x0) - entries.target[e])
            residual[e + 1] = entries.weight[e + 1] * (total(x1) - entries.target[e + 1])
            residual[e + 2] = entries.weight[e + 2] * (total(x2) - entries.target[e + 2])
            residual[e + 3] = entries.weight[e + 3] * (total(x3) - entries.target[e + 3])


@_part
def _move(factor, D, other, step, neighbours, residual, moved, gradient_d):
    """moved = factor - step * (G other) D and gradient_d = diag(factor^T G other); returns ||moved||^2."""
    columns, k, square = factor.shape[1], 0, 0.0
    one, four = zeros(factor, 1), zeros(factor, 4)
    while k + lanes(four) <= columns:  # sums of four registers fit into every processor's
        square += _move_columns(factor, D, other, step, neighbours, residual, moved, gradient_d, k, four)
        k += lanes(four)
    while k < columns:
        square += _move_columns(factor, D, other, step, neighbours, residual, moved, gradient_d, k, one)
        k += lanes(one)
    return square


@_part
def _move_columns(factor, D, other, step, neighbours, residual, moved, gradient_d, k, zero):
    """The same for the columns from k on, as many as ``zero`` has lanes."""
    square, sum_d, step_d = zero, zero, mul(spread(step, zero), load(D, 0, k, zero))
    for i in range(len(factor)):
        gradient = zero
        for n in range(neighbours.start[i], neighbours.start[i + 1]):
            g = spread(residual[neighbours.entry[n]], zero)
            gradient = add(gradient, mul(g, load(other, neighbours.partner[n], k, zero)))
        old = load(factor, i, k, zero)
        new = sub(old, mul(step_d, gradient))
        sum_d, square = add(sum_d, mul(old, gradient)), add(square, mul(new, new))
        store(new, moved, i, k)
    store(sum_d, gradient_d, 0, k)
    return total(square)


@_part
def _move_diagonal(D, step, gradient_d):
    """D = max(D - step * gradient_d, 0), where NaN stays NaN."""
    for k in range(D.shape[1]):
        new = D[0, k] - step * gradient_d[0, k]
        D[0, k] = D[0, k] - D[0, k] if new < 0 else new


@_part
def _project(moved, square, radius, factor):
    """factor = c * moved, where c puts it into its ball and ``square`` is ||moved||^2; returns log(1/c)."""
    size, zero = np.sqrt(square), zeros(factor, 1)
    c = 1.0 if size <= radius else radius / size  # NaN if the size is NaN
    times = spread(factor.dtype.type(c), zero)
    for i in range(len(factor)):
        for k in range(0, factor.shape[1], lanes(zero)):
            store(mul(times, load(moved, i, k, zero)), factor, i, k)
    return -np.log(c)


@_whole
def symmetric_steps(U, D, step, radius, learn_d, count, entries, neighbours, scratch):
    """Move U, and D if ``learn_d``, ``count`` steps in place; returns the sum of log(1/c)."""
    before = flush_denormals()
    shrink = 0.0
    for _ in range(count):
        _measure(U, D, U, entries, scratch.row, scratch.residual)
        square = _move(U, D, U, step + step, neighbours, scratch.residual, scratch.U, scratch.gradient_d)
        if learn_d:
            _move_diagonal(D, step, scratch.gradient_d)
        shrink += _project(scratch.U, square, radius, U)
    restore_denormals(before)
    return shrink


@_whole
def rectangular_steps(U, D, V, step, radius, learn_d, count, entries, of_rows, of_columns, scratch):
    """Move U and V, and D if ``learn_d``, ``count`` steps in place; returns the sum of log(1/c) over both."""
    before = flush_denormals()
    shrink = 0.0
    for _ in range(count):
        _measure(U, D, V, entries, scratch.row, scratch.residual)
        square_v = _move(V, D, U, step, of_columns, scratch.residual, scratch.V, scratch.gradient_d)
        square_u = _move(U, D, V, step, of_rows, scratch.residual, scratch.U, scratch.gradient_d)
        if learn_d:
            _move_diagonal(D, step, scratch.gradient_d)
        shrink += _project(scratch.U, square_u, radius, U) + _project(scratch.V, square_v, radius, V)
    restore_denormals(before)
    return shrink
