"""How low is the rank? Spectra of factored matrices, and the numbers that are read off them."""

import numpy as np

from udulib.checks import fraction, numeric_array
from udulib.errors import InputError


def singular_values(U, D=None, V=None):
    r"""Singular values of :math:`X = U\,\mathrm{diag}(D)\,V^{\mathsf H}` without forming X.

    For the symmetric models they are the squares of those of :math:`U\sqrt D`, which resolves a tail down to about
    1e-32 of the largest value; the singular values of X itself are lost in round-off below 1e-16.

    Parameters
    ----------
    U : array, shape (*, d, r)
    D : array, shape (*, r), non-negative, optional
        The diagonal; ones if left out.
    V : array, shape (*, c, r), optional
        The right factor; U if left out.

    Returns
    -------
    array, shape (*, r), descending
        NaN for a matrix that holds NaN or inf. Where r exceeds d or c, the surplus values are zero.

    Raises
    ------
    InputError
        If D has a negative entry.

    Examples
    --------
    >>> singular_values(np.eye(3), np.array([3.0, 2.0, 0.0]))
    array([3., 2., 0.])
    """
    U = np.asarray(U)
    root = np.ones(U.shape[-1]) if D is None else _root(np.asarray(D, dtype=float))  # (*, r)
    left = _triangle(U * root[..., None, :])  # (*, min(d, r), r)
    if V is None:
        with np.errstate(over="ignore"):  # of a run that diverges
            s = _values(left) ** 2
    else:
        s = _values(left @ np.swapaxes(_triangle(np.asarray(V) * root[..., None, :]), -1, -2).conj())
    s = s[..., : U.shape[-1]]
    return np.pad(s, [(0, 0)] * (s.ndim - 1) + [(0, U.shape[-1] - s.shape[-1])])


def numerical_rank(s, rtol):
    """How many singular values exceed ``rtol`` times the largest.

    Parameters
    ----------
    s : array, shape (*, r), descending
    rtol : float, between 0 and 1
        There is no default: a rank without its tolerance says nothing.

    Returns
    -------
    array of int, shape (*,)

    Raises
    ------
    InputError
        A tolerance outside (0, 1), or NaN in s (a diverged run has no rank).

    Examples
    --------
    >>> int(numerical_rank(np.array([3.0, 1.0, 1e-9]), rtol=1e-8))
    2
    """
    rtol = fraction("rtol", rtol, "the largest singular value")
    s = _checked(s)
    return np.sum(s > rtol * s[..., :1], axis=-1)


def effective_rank(s, kind="entropy"):
    r"""A smooth count of the singular values.

    Parameters
    ----------
    s : array, shape (*, r), descending
    kind : {"entropy", "nuclear"}
        ``"entropy"`` is :math:`\exp(-\sum p_i \log p_i)` with :math:`p_i = \sigma_i / \sum_k \sigma_k` (Roy and
        Vetterli 2007); ``"nuclear"`` is :math:`\|X\|_* / \|X\|`, the sum over the largest.

    Returns
    -------
    array of float, shape (*,)
        Zero for the zero matrix.

    Raises
    ------
    InputError
        An unknown kind, or NaN in s.

    Examples
    --------
    >>> float(effective_rank(np.array([2.0, 2.0, 0.0]))), float(effective_rank(np.array([2.0, 1.0]), kind="nuclear"))
    (2.0, 1.5)
    """
    s = _checked(s)
    if not s.shape[-1]:
        raise InputError("of no singular value there is no effective rank; got none")
    positive = np.where(s[..., :1] > 0, s, 1.0)  # keeps the zero matrix away from 0 / 0
    kind = kind if isinstance(kind, str) else repr(kind)
    if kind == "entropy":
        p = positive / positive.sum(axis=-1, keepdims=True)
        value = np.exp(-np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1))
    elif kind == "nuclear":
        value = positive.sum(axis=-1) / positive[..., 0]
    else:
        raise InputError(f"kind is 'entropy' or 'nuclear'; got {kind!r}")
    return np.where(s[..., 0] > 0, value, 0.0)


def _root(D):
    if (D < 0).any():
        raise InputError(f"D is non-negative; got a smallest entry of {D.min()}")
    return np.sqrt(D)


def _triangle(A):
    """R of A = QR where A is tall: the same singular values from a smaller matrix."""
    return np.linalg.qr(A, mode="r") if A.shape[-2] > 2 * A.shape[-1] else A


def _values(A):
    finite = np.isfinite(A).all(axis=(-2, -1))
    s = np.linalg.svd(np.where(finite[..., None, None], A, 0.0), compute_uv=False)
    return np.where(finite[..., None], s, np.nan)


def _checked(s):
    s = numeric_array("s", s, real=True).astype(float)
    if not s.ndim:
        raise InputError(f"s holds singular values in its last dimension; got the one number {s}")
    if not np.isfinite(s).all():
        raise InputError(
            "s holds NaN or infinity: a diverged run has no rank; select the others by trace.status != 'diverged'"
        )
    return s
