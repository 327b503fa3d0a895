"""What a trace records, against the factors themselves; and the grid on which it does."""

from types import SimpleNamespace

import numpy as np
import pytest

import udulib as ul

PROBLEM = ul.planted_completion(d=12, rank=2, observed=90, seed=0)[0]
RUN = {"step_size": 0.05, "iterations": 8}


def test_column_norms_and_diagonal_are_those_of_the_factors():
    trace = ul.descend(PROBLEM, ul.UDU(rank=5), record_at=[0, 8], record=("columns",), **RUN)
    assert trace.column_norms.shape == (2, 5)
    assert np.allclose(trace.column_norms[-1], np.linalg.norm(trace.factors["U"], axis=0))
    assert np.array_equal(trace.diagonal[-1], trace.factors["D"])


@pytest.mark.parametrize("grid", [[3, 3], [5, 3], [-1, 3], [0, 9], [1.5], "3", [[1, 2]]])
def test_a_grid_increases_within_the_run(grid):
    with pytest.raises(ul.InputError, match=r"record_at is increasing whole numbers from 0 to 8"):
        ul.descend(PROBLEM, ul.UDU(rank=5), record_at=grid, **RUN)


def test_live_columns_are_all_that_are_not_dust():
    """By default a column of a millionth of the largest is alive: it may be the next singular value."""
    U = np.random.default_rng(0).standard_normal((12, 3)) * [1.0, 1e-3, 1e-20]
    trace = SimpleNamespace(factors={"U": U, "D": np.ones(3)})
    live = ul.live_columns(PROBLEM, trace)
    assert (live.rank, live.dropped) == (2, 1) and np.array_equal(live.start["U"], U[:, :2])
    assert ul.live_columns(PROBLEM, trace, rtol=1e-3).rank == 1


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_a_rank_has_no_unit(scale):
    assert ul.numerical_rank(scale * np.array([1.0, 0.5, 1e-3, 1e-9]), rtol=1e-2) == 2


def test_columns_set_aside_shrink_with_the_ball_as_the_others_do():
    """The fast path moves them no more, but what all columns share it does to them too: as in the plain loop."""
    pytest.importorskip("numba")
    problem = ul.planted_completion(d=20, rank=1, observed=200, spectrum=(6.0,), seed=0)[0]
    U = np.random.default_rng(0).standard_normal((20, 2)) * [0.1, 1e-13]  # and D keeps the second from growing
    start, norms = {"U": U, "D": np.array([1.0, 0.0])}, {}
    for engine in ("loop", "numba"):
        run = {"step_size": 0.01, "iterations": 2000, "start": start, "engine": engine, "record": ("shrink",)}
        trace = ul.descend(problem, ul.UDU(rank=2), device="cpu", **run)
        norms[engine] = np.linalg.norm(trace.factors["U"], axis=0)
    assert trace.log_shrink[-1] - trace.log_shrink[1] > 1, "the ball was at work meanwhile"
    assert np.allclose(np.log(norms["numba"]), np.log(norms["loop"]), rtol=0, atol=1e-2)
