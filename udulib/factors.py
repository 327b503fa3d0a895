"""X from its factors, and its singular value decomposition without forming it."""

import numpy as np


def product(factors):
    r""":math:`U\,\mathrm{diag}(D)\,V^{\mathsf H}` from a dict of factors; D left out means ones, V left out means U.

    Examples
    --------
    >>> product({"U": np.eye(2), "D": np.array([2.0, 1.0])})
    array([[2., 0.],
           [0., 1.]])
    """
    U = factors["U"]  # (*, d, r)
    left = U * factors["D"][..., None, :] if "D" in factors else U
    return left @ np.swapaxes(factors.get("V", U), -1, -2).conj()


def decompose(left, right):
    r"""Singular value decomposition of :math:`X = L R^\mathsf{T}`, without forming X.

    Parameters
    ----------
    left : array, shape (d, r)
    right : array, shape (c, r)
        Real, with r at most d and c.

    Returns
    -------
    P : array, shape (d, r)
    s : array, shape (r,), descending
    Q : array, shape (c, r)
        :math:`X = P\,\mathrm{diag}(s)\,Q^\mathsf{T}`, P and Q with orthonormal columns.

    Examples
    --------
    >>> P, s, Q = decompose(np.array([[3.0], [4.0]]), np.array([[0.0], [2.0]]))
    >>> s.round(12).tolist(), np.abs(P * s @ Q.T).round(12).tolist()
    ([10.0], [[0.0, 6.0], [0.0, 8.0]])
    """
    (P, S), (Q, T) = np.linalg.qr(left), np.linalg.qr(right)
    rotation, s, back = np.linalg.svd(S @ T.T)
    return P @ rotation, s, Q @ back.T
