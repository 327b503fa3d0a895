"""``attach`` beside other people's optimizers and precisions: what works, and what is said where it cannot."""

import warnings

import pytest
import torch
from torch import nn

from udulib import InputError
from udulib.nn import PrecisionWarning, UDVLinear, attach, feasible


def network(**settings):
    return nn.Sequential(UDVLinear(8, 4, hidden=6, **settings), nn.Linear(4, 2))


class Wrapped(torch.optim.Optimizer):
    """As frameworks do it: an optimizer by class, but none by nature."""

    def __init__(self, optimizer):
        self.optimizer, self.param_groups = optimizer, optimizer.param_groups


def train(model, *optimizers):
    for _ in range(5):
        model(torch.ones(3, 8)).sum().backward()
        for optimizer in optimizers:
            optimizer.step()
        assert feasible(model)


def test_a_wrapped_optimizer_is_attached_inside():
    model = network()
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    attach(Wrapped(Wrapped(inner)), model)
    train(model, inner)


def test_a_wrapper_that_hides_its_optimizer_is_refused_with_the_way_out():
    model = network()
    wrapped = Wrapped(torch.optim.SGD(model.parameters(), lr=0.1))
    wrapped.hidden, wrapped.optimizer = wrapped.optimizer, None
    with pytest.raises(InputError, match=r"Wrapped wraps an optimizer.*before the framework wraps it"):
        attach(wrapped, model)


def test_a_wrapper_of_accelerate():
    accelerate = pytest.importorskip("accelerate", reason="needs accelerate")
    model, accelerator = network(), accelerate.Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    attach(optimizer, model)
    train(model, optimizer)


def test_factors_shared_between_optimizers():
    """One optimizer for matrices beside one for vectors: neither owns all, both together do."""
    model = network()
    matrices = torch.optim.Muon([p for p in model.parameters() if p.ndim == 2], lr=0.5)
    vectors = torch.optim.AdamW([p for p in model.parameters() if p.ndim < 2], lr=0.5)
    for optimizer in (matrices, vectors):
        with pytest.raises(InputError, match=r"several optimizers share the factors, .*attach\(\[first, second\]"):
            attach(optimizer, model)
    both = attach([matrices, vectors], model)
    train(model, matrices, vectors)
    for projection in both:
        projection.remove()
    model(torch.ones(3, 8)).sum().backward()
    matrices.step()
    assert not feasible(model)


def test_each_optimizer_projects_its_own_layers():
    """Two layers, two optimizers, and a third that owns none."""
    model = nn.Sequential(UDVLinear(8, 6, hidden=9), UDVLinear(6, 5, hidden=7), nn.Linear(5, 2))
    optimizers = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in model]
    assert [len(each.modules) for each in attach(optimizers, model)] == [1, 1, 0]
    model(torch.ones(3, 8)).sum().backward()
    optimizers[1].step()
    assert feasible(model[1]) and not feasible(model[0])
    train(model, *optimizers)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_factors_are_warned_of(dtype):
    model = network(dtype=dtype)
    with pytest.warns(PrecisionWarning, match=r"factors of 0 are torch\.\w*float16.*Keep UDV layers in float32"):
        attach(torch.optim.SGD(model.parameters(), lr=0.1), model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_factors_are_not(dtype):
    model = network(dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attach(torch.optim.SGD(model.parameters(), lr=0.1), model)
