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
    """What is measured: entries ``start[i]`` to ``start[i + 1]`` are those of row i."""

    start: np.ndarray
    partner: np.ndarray  # the row of the other factor
    weight: np.ndarray
    target: np.ndarray
    of_row: np.ndarray  # the residual's place among the neighbours of row i
    of_partner: np.ndarray  # and among those of the partner


class Neighbours(NamedTuple):
    """What moves row i of a factor: rows ``partner[start[i]:start[i + 1]]`` of the other, times a residual each."""

    start: np.ndarray
    partner: np.ndarray


class Scratch(NamedTuple):
    """Room to work in."""

    residual_u: np.ndarray  # one for each neighbour of U
    residual_v: np.ndarray  # the same for V; for a symmetric X the same array
    row: np.ndarray  # (1, columns)
    gradient_d: np.ndarray  # (1, columns)
    U: np.ndarray  # (d, columns)
    V: np.ndarray  # (c, columns)


OPTIONS = {"fastmath": set(FREEDOM), "error_model": "numpy", "nogil": True}
part = njit(**OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # called by the two whole ones only


def whole(function):
    """Compile ``function`` when it is first called; keep the result on disk where there is a place for it."""
    try:
        return njit(function, **OPTIONS, cache=True)
    except RuntimeError:  # neither __pycache__ nor the user's cache folder can be written
        return njit(function, **OPTIONS)


@part
def _measure(U, D, V, entries, row, residual_u, residual_v):
    """Residuals weight * ((U D V^T)_ij - target); a row of U, times D, meets four of its partners at a time."""
    partner = entries.partner
    zero = zeros(U, 1)
    columns, width = U.shape[1], lanes(zero)
    for i in range(len(U)):
        for k in range(0, columns, width):
            store(mul(load(U, i, k, zero), load(D, 0, k, zero)), row, 0, k)
        e, end = entries.start[i], entries.start[i + 1]
        while e + 4 <= end:
            x0, x1, x2, x3 = zero, zero, zero, zero
            for k in range(0, columns, width):
                u = load(row, 0, k, zero)
                x0 = add(x0, mul(u, load(V, partner[e], k, zero)))
                x1 = add(x1, mul(u, load(V, partner[e + 1], k, zero)))
                x2 = add(x2, mul(u, load(V, partner[e + 2], k, zero)))
                x3 = add(x3, mul(u, load(V, partner[e + 3], k, zero)))
            _keep(total(x0), entries, e, residual_u, residual_v)
            _keep(total(x1), entries, e + 1, residual_u, residual_v)
            _keep(total(x2), entries, e + 2, residual_u, residual_v)
            _keep(total(x3), entries, e + 3, residual_u, residual_v)
            e += 4
        while e < end:
            x0 = zero
            for k in range(0, columns, width):
                x0 = add(x0, mul(load(row, 0, k, zero), load(V, partner[e], k, zero)))
            _keep(total(x0), entries, e, residual_u, residual_v)
            e += 1


@part
def _keep(x, entries, e, residual_u, residual_v):
    residual = entries.weight[e] * (x - entries.target[e])
    residual_u[entries.of_row[e]] = residual
    residual_v[entries.of_partner[e]] = residual


@part
def _move(factor, D, other, step, neighbours, residual, moved, gradient_d):
    """moved = factor - step * (G other) D and gradient_d = diag(factor^T G other); returns ||moved||^2.

    By stretches of columns, as wide as their sums over a row's neighbours fit into any processor's registers.
    """
    columns, k, square = factor.shape[1], 0, 0.0
    four, two, one = zeros(factor, 4), zeros(factor, 2), zeros(factor, 1)
    while k + lanes(four) <= columns:
        square += _move_columns(factor, D, other, step, neighbours, residual, moved, gradient_d, k, four)
        k += lanes(four)
    if k + lanes(two) <= columns:
        square += _move_columns(factor, D, other, step, neighbours, residual, moved, gradient_d, k, two)
        k += lanes(two)
    if k + lanes(one) <= columns:
        square += _move_columns(factor, D, other, step, neighbours, residual, moved, gradient_d, k, one)
    return square


@part
def _move_columns(factor, D, other, step, neighbours, residual, moved, gradient_d, k, zero):
    """The same for the columns from k on, as many as ``zero`` has lanes."""
    square, sum_d, step_d = zero, zero, mul(spread(step, zero), load(D, 0, k, zero))
    for i in range(len(factor)):
        gradient = zero
        for n in range(neighbours.start[i], neighbours.start[i + 1]):
            gradient = add(gradient, mul(spread(residual[n], zero), load(other, neighbours.partner[n], k, zero)))
        old = load(factor, i, k, zero)
        new = sub(old, mul(step_d, gradient))
        sum_d, square = add(sum_d, mul(old, gradient)), add(square, mul(new, new))
        store(new, moved, i, k)
    store(sum_d, gradient_d, 0, k)
    return total(square)


@part
def move_diagonal(D, step, gradient_d):
    """D = max(D - step * gradient_d, 0), where NaN stays NaN."""
    for k in range(D.shape[1]):
        new = D[0, k] - step * gradient_d[0, k]
        D[0, k] = D[0, k] - D[0, k] if new < 0 else new


@part
def project(factor, square, radius):
    """Shrink the factor, of squared norm ``square``, into its ball; returns log(1/c)."""
    size, zero = np.sqrt(square), zeros(factor, 1)
    if size <= radius:
        return 0.0
    c = radius / size  # NaN if the size is
    times = spread(factor.dtype.type(c), zero)
    for i in range(len(factor)):
        for k in range(0, factor.shape[1], lanes(zero)):
            store(mul(times, load(factor, i, k, zero)), factor, i, k)
    return -np.log(c)


@part
def _norm(residual):
    """The Frobenius norm of G."""
    square = residual.dtype.type(0)
    for n in range(len(residual)):
        square += residual[n] * residual[n]
    return np.sqrt(square)


@part
def _copy(old, new):
    zero = zeros(old, 1)
    for i in range(len(old)):
        for k in range(0, old.shape[1], lanes(zero)):
            store(load(old, i, k, zero), new, i, k)


@whole
def symmetric_steps(U, D, step, radius, learn_d, count, entries, neighbours, scratch):
    """Move U, and D if ``learn_d``, ``count`` steps in place.

    Returns the sum of log(1/c) for U and zero for V; the sum of the Frobenius norms of G and the last of them.
    """
    before = flush_denormals()
    old, new, shrink, gradient, gradients = U, scratch.U, 0.0, 0.0, 0.0
    for _ in range(count):
        _measure(old, D, old, entries, scratch.row, scratch.residual_u, scratch.residual_u)
        square = _move(old, D, old, step + step, neighbours, scratch.residual_u, new, scratch.gradient_d)
        if learn_d:
            gradient = _norm(scratch.residual_u)
            gradients += gradient
            move_diagonal(D, step, scratch.gradient_d)
            shrink += project(new, square, radius)
        old, new = new, old
    if count % 2:
        _copy(old, U)
    restore_denormals(before)
    return shrink, 0.0, gradients, gradient


@whole
def rectangular_steps(U, D, V, step, radius, learn_d, count, entries, of_rows, of_columns, scratch):
    """The same for U and V; the sums of log(1/c) are those of both."""
    before = flush_denormals()
    old_u, new_u, old_v, new_v = U, scratch.U, V, scratch.V
    shrink_u, shrink_v, gradient, gradients = 0.0, 0.0, 0.0, 0.0
    for _ in range(count):
        _measure(old_u, D, old_v, entries, scratch.row, scratch.residual_u, scratch.residual_v)
        square_v = _move(old_v, D, old_u, step, of_columns, scratch.residual_v, new_v, scratch.gradient_d)
        square_u = _move(old_u, D, old_v, step, of_rows, scratch.residual_u, new_u, scratch.gradient_d)
        if learn_d:
            gradient = _norm(scratch.residual_u)
            gradients += gradient
            move_diagonal(D, step, scratch.gradient_d)
            shrink_u += project(new_u, square_u, radius)
            shrink_v += project(new_v, square_v, radius)
        old_u, new_u, old_v, new_v = new_u, old_u, new_v, old_v
    if count % 2:
        _copy(old_u, U)
        _copy(old_v, V)
    restore_denormals(before)
    return shrink_u, shrink_v, gradients, gradient
