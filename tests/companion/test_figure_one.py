"""Figure 1 at its own size: what must hold on every one of five problems. Too slow for the everyday suite."""

import numpy as np
import pytest

import udulib as ul

pytestmark = pytest.mark.slow
SEEDS = np.arange(5)


@pytest.fixture(scope="module")
def code_instance():
    """The instance of the authors' code: singular values 3, 2, 1, and 900 of 100 x 100 entries."""
    return ul.planted_completion(d=100, rank=3, observed=900, spectrum=(3.0, 2.0, 1.0), seed=SEEDS)[0]


def test_udu_is_truly_low_rank_from_every_scale(code_instance):
    scales = np.array([1e-4, 1e-2, 1.0])
    trace = ul.descend(
        code_instance,
        ul.UDU(100),
        step_size=0.1,
        init_scale=scales[:, None],
        iterations=40_000,
        seed=SEEDS,
        record_at=[],
    )
    assert (ul.numerical_rank(trace.singular_values, rtol=1e-8) == 3).all()
    assert (trace.singular_values[..., 3] < 1e-15 * trace.singular_values[..., 0]).all()


def test_bm_keeps_a_tail(code_instance):
    """A fourth singular value of about 0.5 % of the first and more; it varies by a factor of six over the problems."""
    trace = ul.descend(
        code_instance, ul.BM(100), step_size=0.1, init_scale=1e-2, iterations=40_000, seed=SEEDS, record_at=[]
    )
    tail = trace.singular_values[:, 3] / trace.singular_values[:, 0]
    assert np.median(tail) > 5e-3
    assert (tail > 1e-3).all()


def test_the_scaling_law_solves_the_text_s_instance():
    """Radius and D0 are 3.574 (|X| / 137)^(1/3), |X| the operator norm; the start and the step follow the law."""
    problem, truth = ul.planted_completion(d=100, rank=3, observed=900, seed=SEEDS)
    s = truth.singular_values[:, 0] / 3
    trace = ul.descend(
        problem,
        ul.UDU(100, radius=s ** (1 / 3)),
        step_size=0.1 * s ** (-4 / 3),
        init_scale=1e-2 * s ** (1 / 3),
        d_init=s ** (1 / 3),
        iterations=60_000,
        seed=SEEDS,
        record_at=[],
    )
    assert (ul.numerical_rank(trace.singular_values, rtol=1e-8) == 3).all()
    assert (truth.relative_error(trace) < 1e-5).all()
