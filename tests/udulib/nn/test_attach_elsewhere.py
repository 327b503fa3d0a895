"""``attach`` beside other people's optimizers and precisions: what works, and what is said where it cannot."""

import warnings

import pytest
import torch
from torch import nn

from udulib import InputError
from udulib.nn import PrecisionWarning, UDVLinear, attach, feasible, project_


def network(**settings):
    return nn.Sequential(UDVLinear(8, 4, hidden=6, **settings), nn.Linear(4, 2))


class Wrapped(torch.optim.Optimizer):
    """As frameworks do it: an optimizer by class, but none by nature."""

    def __init__(self, optimizer):
        self.optimizer, self.param_groups = optimizer, optimizer.param_groups


def test_a_wrapped_optimizer_is_refused_with_the_way_out():
    model = network()
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(InputError, match=r"Wrapped wraps an optimizer.*before the framework wraps it"):
        attach(Wrapped(inner), model)
    attach(Wrapped(inner).optimizer, model)  # the way out
    model(torch.ones(3, 8)).sum().backward()
    inner.step()
    assert feasible(model)


def test_a_wrapper_of_accelerate():
    accelerate = pytest.importorskip("accelerate", reason="needs accelerate")
    model = network()
    optimizer = accelerate.Accelerator(cpu=True).prepare(torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(InputError, match="before the framework wraps it"):
        attach(optimizer, model)


def test_factors_shared_between_optimizers():
    """One optimizer for matrices beside one for vectors: neither owns all, and the refusal names what does it."""
    model = network()
    matrices = torch.optim.Muon([p for p in model.parameters() if p.ndim == 2], lr=0.5)
    vectors = torch.optim.AdamW([p for p in model.parameters() if p.ndim < 2], lr=0.5)
    for optimizer in (matrices, vectors):
        with pytest.raises(
            InputError, match=r"several optimizers share the factors, call udulib\.nn\.project_\(model\)"
        ):
            attach(optimizer, model)
    model(torch.ones(3, 8)).sum().backward()
    matrices.step()
    vectors.step()
    project_(model)
    assert feasible(model)


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
