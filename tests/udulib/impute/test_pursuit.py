"""Rank by pursuit, on planted tables: the right rank and the right answer, whatever the spread of the spectrum."""

import numpy as np
import pytest
import torch

from udulib.impute import LowRankCompleter, LowRankWarning
from udulib.impute.entries import Entries
from udulib.impute.factors import Factors
from udulib.impute.pursuit import leading_residual
from udulib.impute.refit import refit


def planted(shape, rank, share, ratio=1.0, mean=0.0, noise=0.0, seed=0):
    """X, X with noise, and which entries are seen."""
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.standard_normal((n, rank)))[0] for n in shape)
    X = (U * float(ratio) ** -np.arange(rank)) @ V.T
    X = X / np.sqrt(np.mean(X**2)) + mean
    seen = rng.random(shape) < share
    return X, X + noise * np.sqrt(np.mean(X**2)) * rng.standard_normal(shape), seen


def completed(Y, seen, **given):
    rows, cols = np.nonzero(seen)
    done = LowRankCompleter(**given).fit(rows, cols, Y[rows, cols], Y.shape)
    everywhere = np.indices(Y.shape).reshape(2, -1)
    return done, done.predict(*everywhere).reshape(Y.shape)


def error(estimate, X, seen):
    return np.linalg.norm((estimate - X)[~seen]) / np.linalg.norm(X[~seen])


@pytest.mark.parametrize("ratio", [1, 2, 3, 5, 10, 30])
@pytest.mark.parametrize("mean", [0, 1])
def test_exact_tables_of_every_spread(ratio, mean):
    """The last values are 100 times below a mean that was not taken out; a mean counts as one rank or as none."""
    X, _, seen = planted((120, 90), 4, 0.5, ratio)
    X = X + 100 * mean * np.linalg.svd(X, compute_uv=False)[3] / np.sqrt(X.size)
    done, estimate = completed(X, seen)
    assert done.rank_ in ((4, 5) if mean else (4,))
    assert error(estimate, X, seen) < 1e-9
    assert done.method_ == "low rank"


def test_few_entries():
    """2.2 entries a degree of freedom, more than three in every row and column that counts."""
    X, _, seen = planted((300, 200), 5, 2.2 * 2475 / 60000, seed=100)
    done, estimate = completed(X, seen)
    assert (done.rank_, error(estimate, X, seen) < 1e-9) == (5, True)


@pytest.mark.parametrize(("noise", "at_most"), [(0.1, 0.05), (0.5, 0.25)])
def test_noise(noise, at_most):
    X, Y, seen = planted((200, 150), 2, 0.35, noise=noise)
    done, estimate = completed(Y, seen)
    assert done.rank_ == 2
    assert error(estimate, X, seen) < at_most


def test_pure_noise_is_answered_by_means_and_a_warning():
    Y = 7 + np.random.default_rng(0).standard_normal((60, 40))
    seen = np.random.default_rng(1).random(Y.shape) < 0.4
    with pytest.warns(LowRankWarning, match="the answer is the means|hardly better"):
        _, estimate = completed(Y, seen)
    assert np.linalg.norm((estimate - Y)[~seen]) < 1.05 * np.linalg.norm((7 - Y)[~seen])


def test_dense_and_sparse_layouts_agree(monkeypatch):
    """One refit from one start."""
    _, Y, seen = planted((60, 50), 2, 0.4, noise=0.2)
    places = [torch.from_numpy(index) for index in np.nonzero(seen)]
    values, refitted = torch.from_numpy(Y[seen]), []
    for dense_up_to in (10_000, 0):
        monkeypatch.setattr("udulib.impute.entries.DENSE_UP_TO", dense_up_to)
        entries = Entries(*places, values, Y.shape)
        assert entries.dense == bool(dense_up_to)
        fit = Factors.without_rank(Y.shape, "cr", values)
        u, v, _ = leading_residual(entries, fit, 2)
        fit, _ = refit(entries, fit.grown(u, v), ridge=0.5, mean_ridge=(1.0, 1.0), tol=1e-10)
        refitted.append((fit.L @ fit.R.mT).numpy())
    np.testing.assert_allclose(*refitted, atol=1e-3 * np.abs(Y).max())
