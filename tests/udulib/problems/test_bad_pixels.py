"""Ptychography with pixels that do not count: they may hold anything, and nothing depends on it."""

import numpy as np
import pytest
import torch

import udulib as ul
from udulib import solvers


@pytest.fixture(scope="module")
def instance():
    """Pictures of an object, with what makes a problem of them."""
    rng = np.random.default_rng(0)
    image, phase = rng.random((32, 32)), rng.random((32, 32))
    problem, truth = ul.planted_ptychography(image, phase, window=16, grid=5, step=4)
    count, side = problem.pupils.shape[0], problem.pupils.shape[-1]
    corners = [[4 * i, 4 * j] for i in range(5) for j in range(5)]
    bad = np.zeros((side, side), bool)
    bad[3, 5] = bad[10:12, 2] = True
    return problem, truth, corners, problem.b.numpy().reshape(count, side, side), bad


def made(instance, intensities, **more):
    problem, _, corners, _, _ = instance
    return ul.Ptychography(problem.pupils.numpy(), corners, (32, 32), intensities, **more)


@pytest.mark.parametrize("garbage", [0.0, 1e9, np.nan, np.inf, -1.0])
@pytest.mark.parametrize("how", ["mask of one picture", "mask of all", "masked array"])
def test_what_a_bad_pixel_holds_changes_nothing(instance, garbage, how):
    _, _, _, good, bad = instance
    spoilt = np.where(bad, garbage, good)
    masks = {"mask of one picture": {"mask": ~bad}, "mask of all": {"mask": np.broadcast_to(~bad, good.shape)}}
    whole = made(instance, good, mask=~bad)
    data = np.ma.array(spoilt, mask=np.broadcast_to(bad, good.shape)) if how == "masked array" else spoilt
    problem = made(instance, data, **masks.get(how, {}))
    U = torch.randn(problem.shape[0], 2, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    for one, other in zip(problem.gradient(U), whole.gradient(U), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(problem.trace_estimate(), whole.trace_estimate())


def test_the_adjoint_is_that_of_what_counts(instance):
    problem = made(instance, instance[3], mask=~instance[4])
    rng = torch.Generator().manual_seed(0)
    L, R = (torch.randn(problem.shape[0], 2, dtype=torch.complex128, generator=rng) for _ in range(2))
    y = torch.randn(len(problem.b), dtype=torch.float64, generator=rng)
    want = torch.sum(R.conj() * (problem.adjoint(y) @ L)).real
    torch.testing.assert_close(torch.dot(problem.measure(L, R), y), want)


METHODS = [(solvers.alternating_projection, 150), (solvers.pie, 40), (solvers.wirtinger_flow, 600)]


@pytest.mark.parametrize(("method", "iterations"), METHODS)
def test_all_methods_find_the_object_without_bad_pixels(instance, method, iterations):
    _, truth, _, good, bad = instance
    spoilt = np.where(bad, 50 * good.max(), good)
    errors = {}
    for name, problem in {
        "left out": made(instance, spoilt, mask=~bad),
        "taken for data": made(instance, spoilt),
    }.items():
        errors[name] = float(truth.relative_error(method(problem, iterations=iterations).estimate))
    assert errors["left out"] < 0.1 and errors["left out"] < errors["taken for data"] / 3


def test_udu_too(instance):
    _, truth, _, good, bad = instance
    run = {"step_size": 0.05, "iterations": 400, "init_scale": 1.0, "record_at": [], "device": "cpu"}
    problems = made(instance, good), made(instance, np.where(bad, np.nan, good), mask=~bad)
    whole, masked = (float(truth.relative_error(ul.descend(p, ul.UDU(rank=2), **run))) for p in problems)
    assert masked == pytest.approx(whole, rel=0.2)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.ones((16, 16)), "true or false for each pixel"),
        (np.ones((3, 3), bool), r"shape \(25, 16, 16\) or \(16, 16\); got bool, shape \(3, 3\)"),
        (np.zeros((16, 16), bool), "leaves no pixel"),
    ],
)
def test_masks_that_cannot_be(instance, mask, words):
    with pytest.raises(ul.InputError, match=words):
        made(instance, instance[3], mask=mask)


def test_problems_of_other_masks_do_not_stack(instance):
    one, other = made(instance, instance[3]), made(instance, instance[3], mask=~instance[4])
    with pytest.raises(ul.InputError, match="same good"):
        ul.stack([one, other])
