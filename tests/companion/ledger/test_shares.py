"""Shares and the words for them, against their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion.ledger import Band, share_of, verdict
from udulib.errors import InputError

THREE = Band(equals=3)


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
    for kind in ("always", "typical"):
        assert verdict([3] * inside + [4] * (of - inside), THREE, kind)[0] == word


def test_few_seeds_settle_little_and_many_do():
    assert not share_of([3] * 5, THREE).settled
    assert share_of([3] * 36, THREE).settled and share_of([3] * 100 + [4] * 100, THREE).settled
    with pytest.raises(InputError, match="one value at least"):
        share_of([], THREE)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        *(([3, 3, 3], "reproduced"), ([4, 2, 1], "differs"), ([3, 3, 4], "in part"), ([], "not attempted")),
        *(([math.inf, 3], "in part"), ([math.inf], "differs")),
    ],
)
def test_a_theorem_holds_for_every_value_or_not(values, word):
    assert verdict(values, THREE, "theorem") == (word, True)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=60), st.floats(-10, 10), st.floats(0, 3))
def test_a_number_is_met_by_the_central_nine_tenths(values, low, width):
    """No fewer than one value in twenty is up to the figure's upper end, and no fewer from its lower end on."""
    below, above = np.mean(np.array(values) <= low + width), np.mean(np.array(values) >= low)
    met = below >= 0.05 and above >= 0.05
    assert verdict(values, Band(min=low, max=low + width), "number")[0] == ("reproduced" if met else "differs")


def test_a_number_that_is_the_median_of_ours_is_reproduced():
    """However wide ours spread, and however few of them fit its reading."""
    ours = np.geomspace(1e-3, 1e3, 101)
    assert verdict(ours, Band(min=0.99, max=1.01), "number")[0] == "reproduced"
    assert verdict(ours, Band(min=0.99, max=1.01), "typical")[0] == "differs"
    assert verdict(ours, Band(min=2e3), "number")[0] == "differs"
