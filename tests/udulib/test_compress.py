"""Pruning: its three definitions, what is kept, and that it never makes a block larger."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from udulib.compress import Ranked, break_even, compress, costs, ranked, width
from udulib.compress.ranking import METHODS
from udulib.errors import InputError
from udulib.nn import UDVLinear


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def factors(d=9, m=7, c=5, batch=(), seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((*batch, *shape)) for shape in ((d, m), (m,), (c, m)))


def block(kind, d=40, m=30, c=20, bias=False, dtype=torch.float32):
    if kind.startswith("UDV"):
        return UDVLinear(
            d, c, hidden=m, bias=bias, activation="relu" if "ReLU" in kind else None, dtype=dtype, generator=generator()
        )
    between = [nn.ReLU()] if "ReLU" in kind else []
    return nn.Sequential(nn.Linear(d, m, bias=False, dtype=dtype), *between, nn.Linear(m, c, bias=bias, dtype=dtype))


@torch.no_grad()
def difference(a, b):
    return ((a - b).norm() / b.norm()).item()


def inputs(layer, n=64, d=40):
    return torch.randn(n, d, generator=generator(1)).to(next(layer.parameters()).dtype)


# --- the three definitions --------------------------------------------------------------------------------------------


def pruned(result, k):
    return (result.V[:, :k] * result.D[:k]) @ result.U[:, :k].T


def test_svd_is_the_papers():
    """New UD is the best rank-k approximation of UD; V is kept: the map becomes V times that."""
    U, D, V = factors()
    result = ranked(U, D, V, "svd")
    P, S, Qh = np.linalg.svd(U * D)
    for k in range(8):
        best = (P[:, :k] * S[:k]) @ Qh[:k]
        np.testing.assert_allclose(pruned(result, k), V @ best.T, atol=1e-12)


def test_product_is_the_best_approximation_of_the_map():
    U, D, V = factors()
    weight = (V * D) @ U.T
    values = np.linalg.svd(weight, compute_uv=False)
    result = ranked(U, D, V, "product")
    for k in range(len(result.scores) + 1):
        assert np.linalg.norm(pruned(result, k) - weight) == pytest.approx(np.linalg.norm(values[k:]), abs=1e-12)
        others = [ranked(U, D, V, method) for method in ("svd", "neurons")]
        assert all(np.linalg.norm(pruned(o, k) - weight) >= np.linalg.norm(values[k:]) - 1e-12 for o in others)


def test_neurons_are_whole_and_the_largest_first():
    U, D, V = factors()
    result = ranked(U, D, V, "neurons")
    assert (np.diff(result.scores) <= 0).all()
    for k in range(7):
        (j,) = np.flatnonzero(result.D[k] == D)
        assert (U[:, j] == result.U[:, k]).all() and (V[:, j] == result.V[:, k]).all()
        single = np.linalg.norm(D[j] * np.outer(V[:, j], U[:, j]))  # what the neuron adds to the map
        assert result.scores[k] == pytest.approx(single)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_equals_one_by_one(method):
    U, D, V = factors(batch=(2, 3))
    together = ranked(U, D, V, method)
    for i in np.ndindex(2, 3):
        alone = ranked(U[i], D[i], V[i], method)
        for k in (1, 3):
            one = Ranked(*(array[i] for array in together))
            np.testing.assert_allclose(pruned(one, k), pruned(alone, k), atol=1e-12)


def test_uv_is_udv_with_ones():
    U, D, V = factors()
    for method in METHODS:
        for a, b in zip(ranked(U, None, V, method), ranked(U, np.ones_like(D), V, method), strict=True):
            np.testing.assert_array_equal(a, b)


# --- what is kept -----------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=8), st.floats(0, 1))
def test_energy_is_reached_and_with_the_fewest(values, energy):
    scores = np.sort(values)[::-1]
    k = width(scores, energy=energy)
    total = np.sum(scores**2)
    assert np.sum(scores[:k] ** 2) >= energy * total - 1e-9 * total
    assert k == 0 or np.sum(scores[: k - 1] ** 2) <= energy * total + 1e-9 * total


def test_width_at_the_ends():
    scores = np.array([4.0, 2.0, 1.0, 0.0])
    assert [width(scores, tol=t) for t in (0, 0.25, 0.5, 0.6)] == [3, 2, 1, 1]
    assert [width(scores, energy=e) for e in (0, 1e-9, 1)] == [0, 1, 3]
    assert [width(scores, rank=k) for k in (0, 4)] == [0, 4]
    assert width(np.zeros(3), tol=0) == width(np.zeros(3), energy=1) == 0


@given(st.integers(1, 300), st.integers(0, 300), st.floats(1e-3, 1e3))
def test_energy_that_is_reached_exactly_is_reached_at_round_off(m, k, size):
    """k of m equal values hold the share k / m; and (2, 1) hold four fifths in the first."""
    assert width(np.full(m, size), energy=min(k, m) / m) == min(k, m)
    assert width(size * np.array([2.0, 1.0, 0.0]), energy=0.8) == 1


def test_all_of_the_energy_is_every_value_that_is_not_zero():
    """However small."""
    assert width([1.0, 1e-9, 1e-100, 0.0], energy=1) == 3
    assert width([], energy=0.5) == width([], tol=0.5) == width([], rank=0) == 0


@given(st.integers(1, 60), st.integers(1, 60))
def test_break_even_is_exact(d, c):
    k = break_even(d, c)
    assert k * (d + c) < d * c <= (k + 1) * (d + c)


# --- compress ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["UDV", "UV", "UDV-ReLU", "UV-ReLU"])
def test_outputs_are_equal_before_pruning(kind, method, bias):
    layer = block(kind, bias=bias)
    if "ReLU" in kind and method != "neurons":
        with pytest.raises(InputError, match="whole neurons"):
            compress(layer, tol=0, method=method)
        return
    small = compress(layer, tol=0, method=method)
    x = inputs(layer)
    assert difference(small.layer(x), layer(x)) < 1e-5
    assert small.after.parameters <= small.before.parameters


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rank", [0, 1, 7, 13, 14, 20])
def test_compressed_layer_is_the_pruned_map(method, rank):
    """At each rank, on both sides of the break-even rank (13 for 40 to 20), in float64."""
    layer = block("UDV", bias=True, dtype=torch.float64)
    small = compress(layer, rank=rank, method=method)
    kept = pruned(ranked(*(f.detach().numpy() for f in (layer.U, layer.D, layer.V)), method), rank)
    x = inputs(layer)
    torch.testing.assert_close(small.layer(x), x @ torch.from_numpy(kept).T + layer.bias)
    assert isinstance(small.layer, nn.Linear) == (rank > 13)
    assert small.rank == rank


def test_dead_neurons_of_a_relu_block_cost_nothing():
    layer = block("UDV-ReLU")
    layer.project_()
    alive = int((layer.D > 0).sum())
    small = compress(layer, tol=0, method="neurons")
    assert small.rank == alive < layer.hidden
    x = inputs(layer)
    assert difference(small.layer(x), layer(x)) < 1e-5


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.data())
def test_never_larger(d, m, c, data):
    kind = data.draw(st.sampled_from(["UDV", "UV", "UDV-ReLU", "UV-ReLU"]))
    method = "neurons" if "ReLU" in kind else data.draw(st.sampled_from(METHODS))
    limit = {"neurons": m, "svd": min(d, m), "product": min(d, m, c)}[method]
    layer = block(kind, d, m, c, bias=data.draw(st.booleans()))
    small = compress(layer, rank=data.draw(st.integers(0, limit)), method=method, batch=1)
    assert small.after.parameters <= small.before.parameters
    assert small.after.bytes <= small.before.bytes
    assert small.after.flops <= small.before.flops


def test_rank_zero_leaves_the_bias():
    layer = block("UDV", bias=True)
    small = compress(layer, rank=0)
    x = inputs(layer)
    assert torch.equal(small.layer(x), layer.bias.expand(64, 20))
    assert small.after.parameters == 20


def test_costs_count_and_measure():
    """A block of 26 times the operations takes longer; flops are those of the products."""
    large, small = costs([block("UDV", 1000, 1000, 10), nn.Linear(1000, 10, bias=False)])
    assert large.flops == 1000 * (2000 + 20 + 1) and small.flops == 2 * 1000 * 10
    assert large.bytes == 4 * large.parameters == 4 * 1000 * (1000 + 10 + 1)
    assert large.seconds > small.seconds > 0


def test_kind_of_the_layer_is_kept():
    layer = block("UDV", bias=True, dtype=torch.float64).eval()
    for rank in (3, 20):
        small = compress(layer, rank=rank).layer
        assert all(p.dtype == torch.float64 and p.requires_grad for p in small.parameters())
        assert not small.training


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "exactly one"),
        ({"rank": 2, "tol": 0.1}, "exactly one"),
        ({"rank": -1}, "rank"),
        ({"rank": 21}, "at most 20"),
        ({"tol": 1.0}, "tol"),
        ({"tol": -0.1}, "tol"),
        ({"energy": 1.1}, "energy"),
        ({"rank": 2, "method": "magnitude"}, "'neurons'"),
        ({"rank": 2, "batch": 0}, "batch"),
    ],
)
def test_compress_refuses(arguments, said):
    with pytest.raises(InputError, match=said):
        compress(block("UDV"), **arguments)


def test_width_refuses():
    for scores in ([[2.0, 1.0]], [2.0, np.nan], ["a"], [2.0, 1j]):
        with pytest.raises(InputError, match="scores"):
            width(scores, energy=0.5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(3, 2, 1),
        nn.Sequential(nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 2)),
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)),
    ],
)
def test_other_layers_are_refused(layer):
    with pytest.raises(InputError, match=r"UDVLinear, .* was wanted|bias=False"):
        compress(layer, rank=1)


def test_ranked_refuses():
    U, D, V = factors()
    with pytest.raises(InputError, match="were wanted"):
        ranked(U, D[:-1], V)
    with pytest.raises(InputError, match="were wanted"):
        ranked(U[None], D, V)
    D[0] = np.nan
    with pytest.raises(InputError, match="diverged"):
        ranked(U, D, V)
