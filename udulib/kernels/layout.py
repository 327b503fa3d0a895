"""The entries of a completion problem in the order in which the kernels read them, computed once a problem."""

import numpy as np

from udulib.kernels.blocks import Blocks
from udulib.kernels.steps import Entries, Neighbours


def symmetric_layout(rows, cols, values, shape, dtype):
    """Entries and neighbours of a symmetric problem, each pair measured once and moving both its rows."""
    i, j, weights, targets = _pairs(rows, cols, values, shape)
    off = i != j
    neighbours, places = _neighbours(np.r_[i, j[off]], np.r_[j, i[off]], shape[0])
    of_row, of_partner = places[: len(i)], places[: len(i)].copy()
    of_partner[off] = places[len(i) :]
    return _entries(i, j, weights, targets, of_row, of_partner, shape[0], dtype), neighbours


def rectangular_layout(rows, cols, values, shape, dtype):
    of_rows, of_row = _neighbours(rows, cols, shape[0])
    of_columns, of_partner = _neighbours(cols, rows, shape[1])
    weights = np.ones_like(values)
    return _entries(rows, cols, weights, values, of_row, of_partner, shape[0], dtype), of_rows, of_columns


def blocked_layout(rows, cols, values, shape, symmetric, dtype, side):
    """The entries by blocks of ``side`` columns of X, in each by row and then by column."""
    weights = np.ones_like(values)
    if symmetric:
        rows, cols, weights, values = _pairs(rows, cols, values, shape)
        weights[rows == cols] /= 2  # entry (i, i) is added to row i twice
    order = np.argsort((cols // side * shape[0] + rows) * shape[1] + cols)
    rows, cols = rows[order].astype(np.uint32), cols[order].astype(np.uint32)
    first = np.flatnonzero(np.r_[True, (rows[1:] != rows[:-1]) | (cols[1:] < cols[:-1])])
    start = np.r_[first, len(rows)]
    return Blocks(rows[first], start, cols, weights[order].astype(dtype), values[order].astype(dtype))


def _pairs(rows, cols, values, shape):
    """Rows, columns, weights and targets of a symmetric problem: (i, j) and (j, i) are one pair.

    With one of the two known the gradient holds half its residual in both places, with both the mean of theirs.
    """
    pairs, pair_of, known = np.unique(
        np.minimum(rows, cols) * shape[1] + np.maximum(rows, cols), return_inverse=True, return_counts=True
    )
    i, j = np.divmod(pairs, shape[1])
    return i, j, np.where(i == j, 1.0, known / 2), np.bincount(pair_of, weights=values) / known


def _entries(rows, partners, weights, targets, of_row, of_partner, count, dtype):
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
    order, start = _by_row(rows, partners, count)
    places = np.empty(len(rows), np.int64)
    places[order] = np.arange(len(rows))
    return Neighbours(start, partners[order].astype(np.uint32)), places


def _by_row(rows, partners, count):
    """The order by row, then partner, and where in it each row begins (and the last one ends)."""
    return np.lexsort((partners, rows)), np.r_[0, np.cumsum(np.bincount(rows, minlength=count))]
