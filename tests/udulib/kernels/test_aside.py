r"""Columns set aside: only those that are not seen now and, by the certificate, cannot be seen before the run ends.

A step multiplies column j by no more than the exponential of :math:`2\eta\lambda_j\|G\|` beside what all columns share;
GROWTH is what that exponent may be over all steps ahead.
"""

import numpy as np
import pytest
import torch

from udulib.kernels.aside import GROWTH, Aside

STEP, LEFT = 0.01, 100
UNSEEN = 1e-30  # of a column's entries: far below round-off beside a column of ones


def factors(*columns, side=4):
    """U and D of columns (size of the entries, D): the first has a future, whatever the others."""
    sizes, D = np.array([(1.0, 1.0), *columns]).T
    return {name: torch.from_numpy(a) for name, a in (("U", np.ones((side, 1)) * sizes), ("D", D[None, :]))}


def aside_with(gradient, steps=1, gradients=0.0, before=None):
    """After ``steps`` of its steps, of which the last met a gradient of this norm."""
    aside = Aside(STEP, LEFT + steps)
    before = factors((UNSEEN, 0.0)) if before is None else before
    kept = torch.arange(before["U"].shape[1]) < 1
    aside.account(before, kept, steps, gradients, gradient)
    return aside


def exponent(D, gradient, left=LEFT):
    return 2 * STEP * D * gradient * left


def test_before_the_first_step_nothing_is_known_and_nothing_set_aside():
    assert Aside(STEP, LEFT).kept(factors((UNSEEN, 1e-3))).tolist() == [True, True]


def test_a_column_that_is_not_seen_and_cannot_grow_is_set_aside():
    """That is what the certificate is for: without it each step would move all columns."""
    kept = aside_with(gradient=1e-6).kept(factors((UNSEEN, 0.5), (UNSEEN, 0.0), (1e-3, 0.5)))
    assert exponent(0.5, 1e-6) < GROWTH and kept.tolist() == [True, False, False, True]


def test_a_column_that_may_grow_is_kept_however_small_it_is():
    """Of three columns that are not seen one has a future: on a plateau it is the singular value still missing."""
    kept = aside_with(gradient=1.0).kept(factors((UNSEEN, 1e-9), (UNSEEN, 0.5), (UNSEEN, 0.0)))
    assert exponent(1e-9, 1.0) < GROWTH < exponent(0.5, 1.0) and kept.tolist() == [True, False, True, False]


@pytest.mark.parametrize(("gradient", "set_aside"), [(0.9, True), (1.1, False)])
def test_the_exponent_is_twice_step_times_d_times_what_is_ahead(gradient, set_aside):
    D = GROWTH / exponent(1.0, 1.0)  # of which the exponent is GROWTH at a gradient of norm one
    assert aside_with(gradient).kept(factors((UNSEEN, D)))[1] == (not set_aside)


@pytest.mark.parametrize(("share", "set_aside"), [(0.5, True), (2.0, False)])
def test_d_may_grow_too_by_less_than_the_column(share, set_aside):
    """A column whose D is zero now: its own norm bounds what D may become."""
    size = 1e-11
    norm = 2 * size  # of four entries
    gradient = share * GROWTH / exponent(norm, 1.0)
    assert aside_with(gradient).kept(factors((size, 0.0)))[1] == (not set_aside)


def test_what_is_seen_is_kept_though_it_cannot_grow():
    """Seen in U alone, since D is nearly zero; or seen in X."""
    kept = aside_with(gradient=0.0).kept(factors((1.0, 1e-30), (1e-5, 1.0), (UNSEEN, 1.0)))
    assert kept.tolist() == [True, True, True, False]


def test_in_a_rectangular_x_a_column_is_seen_in_either_factor():
    both = factors((UNSEEN, 1.0), (UNSEEN, 1.0))
    both["V"] = torch.ones(3, 3).double() * torch.tensor([1.0, 1.0, UNSEEN])
    assert aside_with(gradient=0.0).kept(both).tolist() == [True, True, False]


@pytest.mark.parametrize(("behind", "set_aside"), [(0.5, True), (1.5, False)])
def test_a_column_comes_back_when_what_was_allowed_is_used_up(behind, set_aside):
    """Nothing is ahead any more, but the gradients behind were larger than had been foreseen."""
    small = factors((UNSEEN, 0.5))
    gradients = behind * GROWTH / (2 * STEP * 0.5)
    assert aside_with(gradient=0.0, gradients=gradients, before=small).kept(small)[1] == (not set_aside)


def test_steps_that_are_done_are_no_longer_ahead():
    D = 1.5 * GROWTH / exponent(1.0, 1.0)
    aside, small = aside_with(gradient=1.0), factors((UNSEEN, D))
    assert aside.kept(small)[1]
    aside.account(small, aside.kept(small), LEFT // 2, 0.0, 1.0)
    assert not aside.kept(small)[1]


def test_zero_columns_are_set_aside_and_one_column_is_always_kept():
    zero = {"U": torch.zeros(4, 3), "D": torch.ones(1, 3)}
    assert Aside(STEP, LEFT).kept(zero).sum() == 1
    assert Aside(STEP, LEFT).kept({"U": torch.zeros(4, 3)}).all(), "BM has no D, and its kernels take all columns"
