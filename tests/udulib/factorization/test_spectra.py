"""Spectra and ranks."""

import numpy as np
import pytest

import udulib as ul


@pytest.mark.parametrize(("rows", "r"), [(6, 4), (40, 4), (3, 5)])
@pytest.mark.parametrize("rectangular", [False, True])
@pytest.mark.parametrize("is_complex", [False, True])
def test_singular_values_are_those_of_the_product(rows, r, rectangular, is_complex):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if is_complex else 0)

    U, V, D = normal(2, rows, r), normal(2, rows + 3, r), rng.random((2, r))
    right = V if rectangular else U
    X = (U * D[:, None, :]) @ right.swapaxes(-1, -2).conj()
    want = np.linalg.svd(X, compute_uv=False)
    got = ul.singular_values(U, D, V if rectangular else None)
    assert got.shape == (2, r)
    k = min(r, want.shape[-1])
    assert got[:, :k] == pytest.approx(want[:, :k], rel=1e-10, abs=1e-12)
    assert np.all(got[:, k:] == 0)


def test_singular_values_resolve_tails_below_round_off():
    """The spectrum of X itself ends at 1e-16; that of the factors does not."""
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 3)))[0]
    D = np.array([1.0, 1e-10, 1e-25])
    assert ul.singular_values(Q, D) == pytest.approx(D, rel=1e-3)


def test_singular_values_of_broken_factors_are_nan():
    U = np.stack([np.eye(2), np.full((2, 2), np.inf)])
    s = ul.singular_values(U)
    assert np.all(s[0] == 1)
    assert np.isnan(s[1]).all()


def test_numerical_rank_counts_above_the_tolerance():
    assert ul.numerical_rank(np.array([[4.0, 2.0, 1e-9], [0.0, 0.0, 0.0]]), rtol=1e-8).tolist() == [2, 0]


def test_effective_ranks_of_equal_values_are_their_number():
    s = np.array([[2.0, 2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    for kind in ("entropy", "nuclear"):
        assert ul.effective_rank(s, kind) == pytest.approx([3.0, 0.0])


def test_effective_ranks_of_a_known_spectrum():
    s = np.array([3.0, 1.0])
    assert ul.effective_rank(s, "nuclear") == pytest.approx(4 / 3)
    assert ul.effective_rank(s, "entropy") == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))


def test_spectra_refuse():
    with pytest.raises(ul.InputError, match="between 0 and 1"):
        ul.numerical_rank(np.ones(3), rtol=1.5)
    for broken in (np.nan, np.inf):
        with pytest.raises(ul.InputError, match="a diverged run has no rank"):
            ul.numerical_rank(np.array([broken, 1.0]), rtol=1e-8)
        with pytest.raises(ul.InputError, match="a diverged run has no rank"):
            ul.effective_rank(np.array([broken, 1.0]))
    with pytest.raises(ul.InputError, match="kind"):
        ul.effective_rank(np.ones(3), kind="stable")
    with pytest.raises(ul.InputError, match="non-negative"):
        ul.singular_values(np.eye(2), np.array([1.0, -1.0]))
