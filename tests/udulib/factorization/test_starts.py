"""Random starts: a stream of its own for each factor and seed, and the norm that was asked for."""

import numpy as np
import pytest

import udulib as ul


def start(model, seed=0, scale=1e-2, d=30):
    """The factors of a square problem before anything has moved: after one update with a step that is nothing."""
    problem = ul.planted_completion(d=(d, d), rank=2, observed=300, seed=0)[0]
    return ul.descend(problem, model, step_size=1e-30, iterations=1, init_scale=scale, seed=seed).factors


@pytest.mark.parametrize("model", [ul.UV(rank=8), ul.UDV(rank=8)], ids=["UV", "UDV"])
def test_u_and_v_start_apart(model):
    """Independent directions of 240 numbers have a cosine of about 0.06; one stream for both would make it 1."""
    factors = start(model)
    cosine = np.vdot(factors["U"], factors["V"]) / np.linalg.norm(factors["U"]) / np.linalg.norm(factors["V"])
    assert abs(cosine) < 0.5


def test_seeds_start_apart_and_a_start_is_no_problem():
    """The same seed made the problem: its numbers are not those of the start."""
    one, two = (start(ul.UV(rank=2), seed=seed)["U"].ravel() for seed in (0, 1))
    truth = ul.planted_completion(d=(30, 30), rank=2, observed=300, seed=0)[1].factors["U"].ravel()
    for a, b in [(one, two), (one, truth)]:
        assert abs(a @ b) < 0.5 * np.linalg.norm(a) * np.linalg.norm(b)


@pytest.mark.parametrize("scale", [1e-3, 0.5])
def test_the_start_has_the_norm_that_was_asked_for(scale):
    factors = start(ul.UDV(rank=8), scale=scale)
    assert np.linalg.norm(factors["U"]) == pytest.approx(scale) == pytest.approx(np.linalg.norm(factors["V"]))
