"""X from its factors."""

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
