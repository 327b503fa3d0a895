"""Factors and their product."""

import numpy as np
import pytest

from udulib.factors import decompose


@pytest.mark.parametrize("shape", [(6, 6, 3), (7, 5, 2), (4, 9, 4)])
def test_a_decomposition_is_one_of_the_product(shape):
    d, c, r = shape
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((d, r)), rng.standard_normal((c, r))
    P, s, Q = decompose(left, right)
    assert np.allclose(P @ np.diag(s) @ Q.T, left @ right.T, rtol=0, atol=1e-12)
    assert np.allclose(P.T @ P, np.eye(r)) and np.allclose(Q.T @ Q, np.eye(r)) and (np.diff(s) <= 0).all()
