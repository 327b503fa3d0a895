"""Neurons in the order in which pruning keeps them, and how many to keep."""

from typing import NamedTuple

import numpy as np

from udulib.checks import finite_array, numeric_array, positive_number, whole_number
from udulib.errors import InputError

METHODS = ("product", "svd", "neurons")


class Ranked(NamedTuple):
    r"""What `ranked` returns: factors whose first k columns are the block pruned to k neurons.

    Attributes
    ----------
    U : array, shape (\*, d, m')
    D : array, shape (\*, m')
    V : array, shape (\*, c, m')
    scores : array, shape (\*, m'), descending
        What the columns were ordered by: singular values, or :math:`|D_j|\,\|u_j\|\,\|v_j\|`.
    """

    U: np.ndarray
    D: np.ndarray
    V: np.ndarray
    scores: np.ndarray


def ranked(U, D, V, method="product"):
    r"""Order a block's neurons for pruning: one decomposition for all widths.

    Parameters
    ----------
    U : array, shape (\*, d, m)
    D : array, shape (\*, m), or None
        Ones if None (a UV network).
    V : array, shape (\*, c, m)
    method : {"product", "svd", "neurons"}
        See the top of this page.

    Returns
    -------
    Ranked
        With m' = m for "neurons", min(d, m) for "svd", min(d, m, c) for "product".

    Raises
    ------
    InputError
        An unknown method, shapes that do not fit, NaN or infinite entries.

    Examples
    --------
    >>> import numpy as np
    >>> U, D, V = np.eye(3)[:, :2], np.array([1.0, 4.0]), np.array([[2.0, 1.0]])
    >>> ranked(U, D, V, "neurons").scores
    array([4., 2.])
    >>> ranked(U, D, V, "product").scores.round(3)
    array([4.472])
    """
    U, V = numeric_array("U", U, real=True), numeric_array("V", V, real=True)
    D = np.ones(U.shape[:-2] + U.shape[-1:], U.dtype) if D is None else numeric_array("D", D, real=True)
    _check_factors(U, D, V)
    if not isinstance(method, str) or method not in METHODS:
        raise InputError(f"method is one of {', '.join(map(repr, METHODS))}; got {method!r}")
    if method == "neurons":
        scores = np.abs(D) * np.linalg.norm(U, axis=-2) * np.linalg.norm(V, axis=-2)  # (*, m)
        order = np.argsort(-scores, axis=-1, kind="stable")
        U, V = (np.take_along_axis(factor, order[..., None, :], -1) for factor in (U, V))
        D, scores = (np.take_along_axis(numbers, order, -1) for numbers in (D, scores))
        return Ranked(U, D, V, scores)
    if method == "svd":
        P, S, Qh = np.linalg.svd(U * D[..., None, :], full_matrices=False)
        return Ranked(P, S, V @ np.swapaxes(Qh, -1, -2), S)
    weight = (V * D[..., None, :]) @ np.swapaxes(U, -1, -2)  # (*, c, d)
    P, S, Qh = np.linalg.svd(weight, full_matrices=False)
    m = min(U.shape[-1], S.shape[-1])
    S = S[..., :m]
    return Ranked(np.swapaxes(Qh, -1, -2)[..., :m], S, P[..., :m], S)


def width(scores, rank=None, tol=None, energy=None):
    r"""How many neurons to keep, by exactly one of three rules.

    Parameters
    ----------
    scores : array, shape (m,), descending, at least zero
    rank : int, from 0 to m
        This many.
    tol : float, in [0, 1)
        Those above ``tol`` times the largest.
    energy : float, in [0, 1]
        The fewest whose squares add up to this share of all squares, up to round-off; for 1, all that are not zero.

    Returns
    -------
    int

    Raises
    ------
    InputError
        None or several rules, or one out of range; scores that are no finite numbers in one row.

    Examples
    --------
    >>> width([4.0, 2.0, 1.0, 0.0], tol=0.3), width([4.0, 2.0, 1.0, 0.0], energy=0.9)
    (2, 2)
    """
    scores = finite_array("scores", scores, ndim=1, real=True)
    given = [name for name, value in (("rank", rank), ("tol", tol), ("energy", energy)) if value is not None]
    if len(given) != 1:
        raise InputError(f"exactly one of rank, tol and energy says what to keep; got {', '.join(given) or 'none'}")
    if rank is not None:
        if whole_number("rank", rank, 0) > len(scores):
            raise InputError(f"rank is at most {len(scores)}, the number of terms there are; got {rank}")
        return int(rank)
    if tol is not None:
        if not (share := positive_number("tol", tol, allow_zero=True)) < 1:
            raise InputError(f"tol is a share of the largest value, from 0 to below 1; got {tol!r}")
        return int(np.sum(scores > share * scores[:1]))
    if not positive_number("energy", energy, allow_zero=True) <= 1:
        raise InputError(f"energy is a share of the sum of squares, from 0 to 1; got {energy!r}")
    left = np.append(np.cumsum(scores[::-1] ** 2)[::-1], 0.0)  # (m + 1,): what pruning to 0, 1, ..., m loses
    spare = 1 - float(energy)
    spare += min(spare, len(scores) * np.finfo(float).eps)  # for the round-off of the sums
    return int(np.argmax(left <= spare * left[0]))


def break_even(in_features, out_features):
    r"""The largest rank at which two layers are smaller than the one matrix: :math:`k\,(d + c) < d\,c`.

    Examples
    --------
    >>> break_even(2520, 100), break_even(1280, 10), break_even(79, 1)
    (96, 9, 0)
    """
    d = whole_number("in_features", in_features, 1)
    c = whole_number("out_features", out_features, 1)
    return (d * c - 1) // (d + c)


def _check_factors(U, D, V):
    fits = U.ndim >= 2 and V.ndim >= 2 and U.shape[-1:] == D.shape[-1:] == V.shape[-1:]
    if not fits or not U.shape[:-2] == D.shape[:-1] == V.shape[:-2]:
        raise InputError(f"U (*, d, m), D (*, m) and V (*, c, m) were wanted; got {U.shape}, {D.shape}, {V.shape}")
    if not all(np.isfinite(factor).all() for factor in (U, D, V)):
        raise InputError("a factor holds NaN or infinite values: this network diverged, there is nothing to prune")
