r"""The update for problems too large for the caches: one pass over the entries, in an order that keeps rows near.

Each entry is read once. Its residual :math:`g_{ij}` is known once its two rows are there, and goes at once to both
rows of the gradient, :math:`(GV)_i \mathrel{+}= g_{ij} v_j` and :math:`(G^\top U)_j \mathrel{+}= g_{ij} u_i`; for a
symmetric X both are one matrix. An entry is kept by where it is and what it should be, and by nothing else.
"""

from typing import NamedTuple

import numpy as np

from udulib.kernels.denormals import flush_denormals, restore_denormals
from udulib.kernels.steps import move_diagonal, part, project, whole
from udulib.kernels.vectors import add, lanes, load, mul, spread, store, sub, total, zeros


class Blocks(NamedTuple):
    """Entries ``start[s]`` to ``start[s + 1]`` are in row ``row[s]`` of X, for each stretch s."""

    row: np.ndarray
    start: np.ndarray
    partner: np.ndarray  # the column of X
    weight: np.ndarray
    target: np.ndarray


class Room(NamedTuple):
    """What the gradient is gathered in, all zero before and after a step."""

    GV: np.ndarray  # (d, columns)
    GU: np.ndarray  # (c, columns); for a symmetric X the same array
    scaled: np.ndarray  # (1, columns)
    sums: np.ndarray  # (1, columns)
    gradient_d: np.ndarray  # (1, columns)


@part
def _gather(U, D, V, blocks, room, zero):
    """Add the gradient up; returns the sum of the squared residuals."""
    row, start, partner, weight, target = blocks
    GV, GU, scaled, sums, _ = room
    columns, width, squares = U.shape[1], lanes(zero), 0.0
    for s in range(len(row)):
        i = row[s]
        for k in range(0, columns, width):
            store(mul(load(U, i, k, zero), load(D, 0, k, zero)), scaled, 0, k)
            store(zero, sums, 0, k)
        for e in range(start[s], start[s + 1]):
            j, x = partner[e], zero
            for k in range(0, columns, width):
                x = add(x, mul(load(scaled, 0, k, zero), load(V, j, k, zero)))
            residual = weight[e] * (total(x) - target[e])
            squares += residual * residual
            times = spread(residual, zero)
            for k in range(0, columns, width):
                store(add(load(sums, 0, k, zero), mul(times, load(V, j, k, zero))), sums, 0, k)
                store(add(load(GU, j, k, zero), mul(times, load(U, i, k, zero))), GU, j, k)
        for k in range(0, columns, width):
            store(add(load(GV, i, k, zero), load(sums, 0, k, zero)), GV, i, k)  # to which entry (i, i) may have added
    return squares


@part
def _move(factor, D, step, gradient, gradient_d):
    """factor -= step * gradient D, and gradient_d = diag(factor^T gradient); clears gradient, returns ||factor||^2."""
    zero, square = zeros(factor, 1), 0.0
    for k in range(0, factor.shape[1], lanes(zero)):
        store(zero, gradient_d, 0, k)
    for i in range(len(factor)):
        squares = zero
        for k in range(0, factor.shape[1], lanes(zero)):
            old, slope = load(factor, i, k, zero), load(gradient, i, k, zero)
            new = sub(old, mul(spread(step, zero), mul(slope, load(D, 0, k, zero))))
            squares = add(squares, mul(new, new))
            store(add(load(gradient_d, 0, k, zero), mul(old, slope)), gradient_d, 0, k)
            store(new, factor, i, k)
            store(zero, gradient, i, k)
        square += total(squares)
    return square


@whole
def blocked_steps(U, D, V, symmetric, step, radius, learn_d, count, blocks, room):
    """Move the factors ``count`` steps in place; for a symmetric X, V is U and ``room.GU`` is ``room.GV``.

    Returns the sums of log(1/c) for U and V; the sum of the Frobenius norms of G, or for a symmetric X of at most 1.5
    times that, and the last of them.
    """
    before = flush_denormals()
    shrink_u, shrink_v, gradient, gradients = 0.0, 0.0, 0.0, 0.0
    for _ in range(count):
        if U.shape[1] % lanes(zeros(U, 4)) == 0:
            squares = _gather(U, D, V, blocks, room, zeros(U, 4))
        elif U.shape[1] % lanes(zeros(U, 2)) == 0:
            squares = _gather(U, D, V, blocks, room, zeros(U, 2))
        else:
            squares = _gather(U, D, V, blocks, room, zeros(U, 1))
        if not symmetric:
            square_v = _move(V, D, step, room.GU, room.gradient_d)
        square_u = _move(U, D, step + step if symmetric else step, room.GV, room.gradient_d)
        if learn_d:
            gradient = np.sqrt(squares + squares if symmetric else squares)
            gradients += gradient
            move_diagonal(D, step, room.gradient_d)
            shrink_u += project(U, square_u, radius)
            if not symmetric:
                shrink_v += project(V, square_v, radius)
    restore_denormals(before)
    return shrink_u, shrink_v, gradients, gradient
