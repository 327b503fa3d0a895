"""Bands, and numbers as they are shown."""

import math
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from companion.ledger import Band, number_text
from udulib.errors import InputError

reals = st.floats(allow_nan=False)
finite = st.floats(allow_nan=False, allow_infinity=False)


@given(reals, reals, reals)
def test_a_closed_band_is_an_interval(x, a, b):
    low, high = sorted((a, b))
    assert (x in Band(min=low, max=high)) == (low <= x <= high)


@given(reals, st.sampled_from(["above", "below", "min", "max"]), finite)
def test_open_and_closed_ends_differ_in_the_end_alone(x, word, bound):
    partner = {"above": "min", "min": "above", "below": "max", "max": "below"}[word]
    differ = (x in Band(**{word: bound})) != (x in Band(**{partner: bound}))
    assert differ == (x == bound)


@given(reals, st.lists(st.tuples(st.sampled_from(["above", "below", "min", "max"]), reals), min_size=1, max_size=4))
def test_more_bounds_never_admit_more(x, bounds):
    try:
        whole = Band(**dict(bounds))
    except InputError:
        return  # nothing lies in it
    assert (x in whole) == all(x in Band(**{word: bound}) for word, bound in dict(bounds).items())


@given(reals, reals)
def test_no_band_that_can_be_made_is_empty(a, b):
    """A band with two ends holds a number, or it is refused."""
    for low, high in (("min", "max"), ("above", "max"), ("min", "below"), ("above", "below")):
        try:
            band = Band(**{low: a, high: b})
        except InputError:
            assert a > b or (a == b and (low, high) != ("min", "max"))
        else:
            assert any(x in band for x in (a, b, math.nextafter(a, b))) or b == math.nextafter(a, b)


@pytest.mark.parametrize(
    "mapping",
    [
        *({}, {"about": 3}, None, 3, {"min": "many"}, {"min": float("nan")}, {"above": True}),
        *({"equals": 3, "max": 4}, {"min": 2, "max": 1}, {"above": 1, "max": 1}, {"equals": [3]}),
    ],
)
def test_a_band_that_says_nothing_is_refused(mapping):
    with pytest.raises(InputError, match=r"band|number"):
        Band.parse(mapping)


def test_yaml_takes_1e_8_for_text_and_the_ledger_does_not():
    mapping = yaml.safe_load("{below: 1e-8}")
    assert isinstance(mapping["below"], str)
    assert Band.parse(mapping) == Band(below=1e-8)


@given(reals, finite, finite)
def test_a_value_is_below_in_or_above(x, a, b):
    low, high = sorted((a, b))
    assert Band(min=low, max=high).side(x) == (x > high) - (x < low)
    assert (Band(min=low).side(x), Band(max=high).side(x)) == (-(x < low), int(x > high))
    assert Band(equals=low).side(x) == (x > low) - (x < low)


@given(st.floats(1e-300, 1e300) | st.floats(-1e300, -1e-300) | st.integers(-9999, 9999))
def test_a_number_as_shown_is_the_number_to_three_digits(x):
    plain = number_text(x).replace("−", "-").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    power = re.fullmatch(r"(-?)(?:([\d.]+)·)?10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", number_text(x).replace("−", "-"))
    if power:
        plain = f"{power[1]}{power[2] or 1}e{plain[power.start(3) :]}"
    assert float(plain) == pytest.approx(x, rel=0 if isinstance(x, int) else 5.001e-3)
