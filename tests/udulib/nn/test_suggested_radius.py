"""A radius from whole-number targets: classes that are there count, and amounts are not taken for classes in silence."""

import warnings

import numpy as np
import pytest

from udulib.nn import suggest_radius


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((200, 5))


def test_amounts_as_whole_numbers_are_warned_of_and_quick(x):
    """Prices to 500,000: a class for each number up to the largest would take gigabytes."""
    prices = np.random.default_rng(1).integers(50_000, 500_000, 200)
    with pytest.warns(UserWarning, match=r"taken for classes, \d+ of them for 200 inputs.*pass them as floats"):
        suggest_radius(x, prices)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert suggest_radius(x, prices.astype(float)) > 10


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 7, 1000]])
def test_only_classes_that_are_there_count(x, labels):
    kinds = np.argmax(x[:, :3], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert suggest_radius(x, np.array(labels)[kinds]) == pytest.approx(suggest_radius(x, kinds))
