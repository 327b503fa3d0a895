"""Pools: exact intervals and tests against their definitions, and what turns a check red."""

import itertools
import math

import numpy as np
import pytest

from companion.ledger import Band, Probe, check, pooled, same
from companion.ledger.pools import ERROR, fisher, rank_sum
from udulib import InputError

THREE = Band(equals=3)


def probe(id="x", kind="always", band=THREE, **more):
    return Probe(id, "01_one", "A statement", "a number", kind, "beyond", band, ("ci",), **more)


def record(values, first=100, id="x", **more):
    seeds = list(range(first, first + len(values)))
    return {"id": id, "size": "ci", "notebook": "01_one", "seeds": seeds, "values": list(values)} | more


# Tests ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(0, 5, 50, 50), (3, 5, 45, 50), (5, 5, 0, 4), (2, 7, 3, 9)])
def test_fishers_p_is_that_of_all_tables(counts):
    """Over all ways to choose who of all seeds lies in the band."""
    a, m, b, n = counts
    ways = [math.comb(m, k) * math.comb(n, a + b - k) for k in range(max(0, a + b - n), min(m, a + b) + 1)]
    here = math.comb(m, a) * math.comb(n, b)
    assert fisher(a, m, b, n) == pytest.approx(sum(w for w in ways if w <= here) / math.comb(m + n, a + b))


@pytest.mark.parametrize("seed", range(5))
def test_the_rank_sums_p_is_that_of_all_orders(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal(4), rng.standard_normal(5)
    together = np.concatenate([x, y])

    def wins(first):
        rest = np.delete(together, list(first))
        return sum(float(together[i] > value) for i in first for value in rest)

    every = [wins(first) for first in itertools.combinations(range(9), 4)]
    here = min(wins(range(4)), 20 - wins(range(4)))
    assert rank_sum(x, y) == pytest.approx(min(1.0, 2 * np.mean(np.array(every) <= here)))


def test_equal_values_are_no_difference():
    assert rank_sum([3] * 5, [3] * 50) == 1.0


# The check ------------------------------------------------------------------------------------------------------------


def test_fresh_seeds_of_the_same_kind_are_green():
    """Over 300 draws of a claim in part, of numbers and of counts: an alarm would be one in a thousand."""
    alarms, probes = 0, {"x": probe(), "y": probe("y", band=Band(max=2))}
    for draw in range(300):
        rng = np.random.default_rng(draw)
        pool = {"x": dict(enumerate(rng.choice([3, 4], 50, p=[0.7, 0.3]).tolist()))}
        pool["y"] = dict(enumerate(rng.lognormal(size=50).tolist()))
        fresh = [record(rng.choice([3, 4], 5, p=[0.7, 0.3]).tolist()), record(rng.lognormal(size=5).tolist(), id="y")]
        alarms += bool(check(probes, fresh, pool, "ci"))
    assert alarms <= 3


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ([3] * 50, [4] * 5, "0 of 5 fresh seeds in the band, 50 of 50 before"),  # stops holding
        ([4] * 50, [3] * 5, "5 of 5 fresh seeds in the band, 0 of 50 before"),  # starts to hold
        (np.linspace(1, 2, 50).tolist(), [9.0, 8.0, 7.0, 6.0, 5.0], "median 7, 1.5 before"),  # outside either way
        ([0.5] * 50, ["inf"] * 5, "median ∞|median inf"),
    ],
)
def test_what_has_changed_is_red(before, now, words):
    found = check({"x": probe()}, [record(now)], pooled([record(before, first=0)]), "ci")
    assert len(found) == 1
    assert any(word in found[0] for word in words.split("|"))


def test_with_many_claims_the_chance_of_one_false_alarm_stays():
    """What is red alone is green as the smallest of a thousand: the correction is by how many are tested."""
    pool = {"x": dict.fromkeys(range(30), 3)}
    fresh = record([4, 4, 4, 3, 3])
    p = 2 * fisher(2, 5, 30, 30)
    assert p < 10 * ERROR
    assert check({"x": probe()}, [record([4] * 5)], pool, "ci") != []
    many = {f"y{k}": probe(f"y{k}") for k in range(1000)}
    rest = [record([3] * 5, id=id) for id in many]
    pools = pool | {id: dict.fromkeys(range(30), 3) for id in many}
    assert check({"x": probe()} | many, [fresh, *rest], pools, "ci") == []


def test_a_claim_may_say_why_a_run_is_without_it():
    assert check({"x": probe(absent="Not every draw has one.")}, [], {}, "ci") == []


def test_the_values_of_a_seed_are_those_of_the_pool_up_to_round_off():
    pool = pooled([record([1.0, 2.0, 3.0, 4.0, 5.0], first=0)])
    claims = {"x": probe(band=Band(min=0))}
    shaken = [value * (1 + 1e-12) for value in (1.0, 2.0, 3.0, 4.0, 5.0)]
    assert check(claims, [record(shaken, first=0)], pool, "ci") == []
    (finding,) = check(claims, [record([1.0, 2.0, 3.1, 4.0, 5.1], first=0)], pool, "ci")
    assert "seed 2 (and 1 more) gives 3.1, and 3 in the pool" in finding
    chaotic = {"x": probe(band=Band(min=0), chaotic="It swings.")}
    assert check(chaotic, [record([1.0, 2.0, 3.1, 4.0, 5.1], first=0)], pool, "ci") == []


def test_a_chaotic_probe_is_held_against_the_other_seeds_of_its_pool():
    pool = {"x": dict.fromkeys(range(50), 3)}
    chaotic = {"x": probe(chaotic="It swings.")}
    (finding,) = check(chaotic, [record([4] * 5, first=0)], pool, "ci")
    assert "0 of 5 fresh seeds in the band, 45 of 45 before" in finding


@pytest.mark.parametrize(
    ("value", "other", "equal"),
    [
        *((3, 3, True), (True, True, True), (True, False, False), (math.inf, math.inf, True), (math.inf, 3.0, False)),
        *((0.0, 0.0, True), (0.0, 1e-300, False), (1.0, 1.0 + 1e-8, True), (1.0, 1.0 + 1e-4, False)),
    ],
)
def test_what_is_the_same(value, other, equal):
    assert same(value, other) is equal


@pytest.mark.parametrize(
    ("probes", "fresh", "finding"),
    [
        ({}, [record([3] * 5)], "x: recorded, and no claim asks for it"),
        ({"x": probe()}, [], "x: is measured at size ci, and 01_one did not record it"),
        ({"x": probe()}, [record([3] * 5, notebook="02_two")], "x: recorded by 02_two, and its claim names 01_one"),
        ({"x": probe(kind="theorem")}, [record([3, 4, 3])], "x: 4 left the band (3)"),
        (
            {"x": probe(kind="theorem", observed={"ci": Band(max=4)})},
            [record([5, 4, 3])],
            "x: 5 left the band (≤ 4)",
        ),
    ],
)
def test_the_check_finds(probes, fresh, finding):
    assert check(probes, fresh, {}, "ci") == [finding]


def test_a_theorem_is_held_to_its_band_alone():
    theorem = {"x": probe(kind="theorem")}
    assert check(theorem, [record([3] * 5)], {"x": dict.fromkeys(range(50), 4)}, "ci") == []
    assert check({"x": probe(kind="theorem", observed={"ci": Band(max=4)})}, [record([4])], {}, "ci") == []


def test_the_check_looks_at_one_size():
    other = record([7] * 5, size="book")
    assert check({"x": probe()}, [record([3] * 5), other], {}, "ci") == []
    unnamed = check({"x": probe()}, [other], {}, "book")
    assert unnamed == ["x: recorded at size book, and its claim does not name that size"]
    with pytest.raises(InputError, match="size"):
        check({}, [], {}, "tiny")
