"""Pools: exact intervals and tests against their definitions, and what turns a check red."""

import itertools
import math

import numpy as np
import pytest

from companion.ledger import Band, Claim, compare, pooled, share_of
from companion.ledger.pools import ERROR, fisher, rank_sum
from udulib import InputError

THREE = Band(equals=3)


def claim(id="x", kind="statistical", band=THREE):
    return Claim(id, "ours", "here", "A statement.", "a number", kind, "01_one", band)


def record(values, first=100, id="x"):
    return {"id": id, "seeds": list(range(first, first + len(values))), "values": list(values)}


# Shares ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("inside", "of"), [(0, 5), (5, 5), (1, 20), (10, 20), (19, 20), (37, 50)])
def test_the_interval_is_clopper_and_pearsons(inside, of):
    """Its ends are the shares at which so many, or so few, have a chance of one in forty."""
    share = share_of([3] * inside + [4] * (of - inside), THREE)

    def chance(counts, p):
        return sum(math.comb(of, k) * p**k * (1 - p) ** (of - k) for k in counts)

    assert share.low == 0 if inside == 0 else chance(range(inside, of + 1), share.low) == pytest.approx(0.025)
    assert share.high == 1 if inside == of else chance(range(inside + 1), share.high) == pytest.approx(0.025)


@pytest.mark.parametrize(
    ("inside", "of", "word"),
    [(5, 5, "reproduced"), (18, 20, "reproduced"), (17, 20, "in part"), (3, 20, "in part"), (2, 20, "differs")],
)
def test_the_word_goes_by_the_share(inside, of, word):
    assert share_of([3] * inside + [4] * (of - inside), THREE).word == word


def test_few_seeds_settle_little_and_many_do():
    assert not share_of([3] * 5, THREE).settled
    assert share_of([3] * 200, THREE).settled and share_of([3] * 100 + [4] * 100, THREE).settled
    with pytest.raises(InputError, match="one value at least"):
        share_of([], THREE)


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
    alarms = 0
    for draw in range(300):
        rng = np.random.default_rng(draw)
        pool = {"x": dict(enumerate(rng.choice([3, 4], 50, p=[0.7, 0.3]).tolist()))}
        pool["y"] = dict(enumerate(rng.lognormal(size=50).tolist()))
        fresh = [record(rng.choice([3, 4], 5, p=[0.7, 0.3]).tolist()), record(rng.lognormal(size=5).tolist(), id="y")]
        alarms += bool(compare({"x": claim(), "y": claim("y", band=Band(max=2))}, fresh, pool))
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
    found = compare({"x": claim()}, [record(now)], pooled([record(before, first=0)]))
    assert len(found) == 1
    assert any(word in found[0] for word in words.split("|"))


def test_with_many_claims_the_chance_of_one_false_alarm_stays():
    """What is red alone is green as the smallest of a thousand: the correction is by how many are tested."""
    pool = {"x": dict.fromkeys(range(30), 3)}
    p = 2 * fisher(0, 2, 30, 30)
    assert p < 10 * ERROR
    assert compare({"x": claim()}, [record([4, 4, 4])], pool) != []
    many = {f"y{k}": claim(f"y{k}") for k in range(1000)}
    same = [record([3, 3, 3], id=id) for id in many]
    pools = pool | {id: dict.fromkeys(range(30), 3) for id in many}
    assert compare({"x": claim()} | many, [record([4, 4, 4]), *same], pools) == []


def test_seeds_that_the_pool_has_are_not_counted_twice():
    pool = pooled([record([3, 4, 3], first=0), record([9, 9], first=2)])
    assert pool == {"x": {0: 3, 1: 4, 2: 3, 3: 9}}
    assert compare({"x": claim()}, [record([8, 8, 8], first=0)], pool) == []


def test_a_record_of_no_claim_is_red():
    assert compare({}, [record([3] * 5)], {}) == ["x: recorded, and not in claims.yml"]


def test_what_hangs_on_no_seed_is_left_to_its_band():
    assert compare({"x": claim(kind="theorem")}, [record([4] * 5)], {"x": dict.fromkeys(range(50), 3)}) == []
