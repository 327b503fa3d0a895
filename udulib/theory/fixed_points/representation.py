"""Every positive semidefinite X as a point of UDU in its ball."""

import numpy as np

from udulib.checks import broadcast_shape, finite_array, positive_array
from udulib.errors import InputError


def represent(X, radius=1.0):
    r"""U and D with :math:`X = U\,\mathrm{diag}(D)\,U^{\mathsf H}`, U in the ball, and D as small as can be.

    Every positive semidefinite X is reached, however large: D takes its size. With eigenvalues :math:`\sigma_j`, the
    smallest D gives column j the share :math:`p_j \propto \sigma_j^{2/3}` of U, and has

    .. math:: \|D\|^2 = \frac{1}{\alpha^4} \Big(\sum_j \sigma_j^{2/3}\Big)^3
              = \frac{1}{\alpha^4} \|X\|_{S_{2/3}}^2 .

    Parameters
    ----------
    X : array, shape (\*, d, d), Hermitian and positive semidefinite
        Eigenvalues down to :math:`-10^{-12}` of the largest count as zero.
    radius : float or array, default 1.0
        :math:`\alpha`, positive.

    Returns
    -------
    U, D : array, shape (\*, d, d) and (\*, d)
        Columns in descending order of :math:`\sigma_j`; :math:`\|U\|_F = \alpha` unless X = 0.

    Raises
    ------
    InputError
        X is not square, not Hermitian, or has a negative eigenvalue.

    Examples
    --------
    >>> U, D = represent(np.diag([8.0, 1.0, 0.0]))
    >>> round(float(np.linalg.norm(U)), 12), np.round(D, 12)
    (1.0, array([10.,  5.,  0.]))
    """
    X, radius = finite_array("X", X), positive_array("radius", radius)
    if X.ndim < 2 or X.shape[-1] != X.shape[-2]:
        raise InputError(f"X is square, shape (*, d, d); got {X.shape}")
    broadcast_shape(X=X.shape[:-2], radius=radius.shape)
    scale = np.abs(X).max(axis=(-2, -1), initial=0.0)
    skew = np.abs(X - np.swapaxes(X, -1, -2).conj()).max(axis=(-2, -1), initial=0.0)
    if (skew > 1e-12 * scale).any():
        raise InputError(f"X is Hermitian; got one that differs from its transpose by {skew.max():.1e}")
    sigma, Q = np.linalg.eigh(X)
    sigma, Q = sigma[..., ::-1], Q[..., ::-1]
    largest = np.abs(sigma).max(-1, keepdims=True)
    if (sigma < -1e-12 * largest).any():
        raise InputError(f"X is positive semidefinite; got a smallest eigenvalue of {sigma.min():.3g}")
    sigma = np.where(sigma > 1e-15 * largest, sigma, 0.0)
    weight = np.cbrt(sigma) ** 2
    total = weight.sum(-1, keepdims=True)
    p = weight / np.where(total > 0, total, 1.0)  # (*, d)
    D = np.cbrt(sigma) * total / radius[..., None] ** 2  # sigma / (alpha^2 p)
    return Q * (radius[..., None] * np.sqrt(p))[..., None, :], D


def from_burer_monteiro(W, radius=1.0):
    r"""The point (U, D) with :math:`U D U^{\mathsf H} = W W^{\mathsf H}` and equal entries of D, U in the ball.

    If W is a critical point of Burer-Monteiro, :math:`\nabla f(WW^{\mathsf H})\,W = 0`, this is a fixed point of UDU;
    and if (U, D) is a fixed point of UDU, :math:`W = U\sqrt D` is such a critical point. So both can stop at the same
    X, and at no other.

    Parameters
    ----------
    W : array, shape (\*, d, r)
    radius : float or array, default 1.0
        :math:`\alpha`, positive.

    Returns
    -------
    U, D : array, shape (\*, d, r) and (\*, r)
        :math:`U = W / s` and :math:`D = s^2`, with :math:`s = \max(\|W\|_F / \alpha, 1)`.

    Raises
    ------
    InputError
        NaN or inf, a shape without two dimensions, a radius that is not positive.

    Examples
    --------
    >>> from_burer_monteiro(np.array([[3.0], [4.0]]), radius=1.0)
    (array([[0.6],
           [0.8]]), array([25.]))
    """
    W, radius = finite_array("W", W), positive_array("radius", radius)
    if W.ndim < 2:
        raise InputError(f"W has shape (*, d, r); got {W.shape}")
    batch = broadcast_shape(W=W.shape[:-2], radius=radius.shape)
    s = np.maximum(np.linalg.norm(W, axis=(-2, -1)) / radius, 1.0)  # (*,)
    return W / s[..., None, None], np.broadcast_to(s[..., None] ** 2, (*batch, W.shape[-1])).copy()
