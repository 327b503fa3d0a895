"""Nothing to remember: what is trained without projection says so once, within ten steps; the rest is silent."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn

from udulib import lora
from udulib.nn import UDVLinear, UnprojectedWarning, attach, feasible, project_


def network(**settings):
    return nn.Sequential(UDVLinear(8, 4, hidden=6, **settings), nn.Linear(4, 2))


def train(model, optimizer, steps=10, behind=lambda: None):
    """The warnings of so many steps, by the step in which each came."""
    said = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            (model(torch.ones(3, 8)) - 5.0).square().mean().backward()
            optimizer.step()
            behind()
            said += [(step, str(one.message)) for one in caught if one.category is UnprojectedWarning]
            caught.clear()
    return said


def sgd(model):
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.02)


def adapted():
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))
    lora.add(model, ["0"], rank=3, radius=1e-3)
    return model


@pytest.mark.parametrize("make", [network, adapted])
def test_a_deep_copy_of_model_and_optimizer_says_that_it_is_not_projected(make):
    model = make()
    optimizer = sgd(model)
    attach(optimizer, model)
    assert train(model, optimizer, 3) == []
    twin, twin_optimizer = copy.deepcopy((model, optimizer))
    ((step, text),) = train(twin, twin_optimizer, 30)
    assert step <= 10
    assert "attach(optimizer, model)" in text
    assert train(model, optimizer, 30) == []  # the original is projected as before
    attach(twin_optimizer, twin)  # the one line that mends it
    assert train(twin, twin_optimizer, 1) == []
    assert feasible(twin)


@pytest.mark.parametrize("start", [False, True])
def test_a_layer_and_a_group_added_after_attach(start):
    """Said in the next step, whether training had begun or not; and not a second time by the layer itself."""
    model = network()
    optimizer = sgd(model)
    attach(optimizer, model)
    if start:
        assert train(model, optimizer, 2) == []
    model.append(UDVLinear(2, 30, hidden=20))
    optimizer.add_param_group({"params": model[2].parameters()})
    ((step, text),) = train(model, optimizer, 30)
    assert step == 1
    assert text.startswith("2 came to model and optimizer after attach")
    attach(optimizer, model)
    assert train(model, optimizer, 1) == []
    assert feasible(model)


def test_a_layer_that_the_attached_model_does_not_hold():
    """The optimizer gets a layer that stands elsewhere: the hook cannot know it, the layer itself can."""
    model, other = network(), UDVLinear(2, 30, hidden=20)
    optimizer = sgd(model)
    attach(optimizer, model)
    optimizer.add_param_group({"params": other.parameters()})
    ((step, _),) = train(nn.Sequential(model, other), optimizer, 30)
    assert step <= 10


def test_a_group_without_udv_layers_is_not_spoken_of():
    model = network()
    optimizer = sgd(model)
    attach(optimizer, model)
    model.append(nn.Linear(2, 2))
    optimizer.add_param_group({"params": model[2].parameters()})
    assert train(model, optimizer, 30) == []


def test_a_model_that_never_was_attached():
    model = network()
    assert [step for step, _ in train(model, sgd(model), 30)] == [6]


def test_a_new_optimizer_without_a_hook():
    model = network()
    attach(optimizer := sgd(model), model)
    assert train(model, optimizer, 3) == []
    assert len(train(model, sgd(model), 200)) == 1


def test_projection_by_hand_is_silent():
    model = network()
    assert train(model, sgd(model), 30, behind=lambda: project_(model)) == []


def test_what_stays_inside_is_silent():
    model = network(radius=100.0, nonnegative=False)
    assert train(model, sgd(model), 30) == []


def test_evaluation_is_silent_and_so_is_a_model_whose_numbers_stand_still():
    model = network()
    frozen = torch.optim.SGD(model.parameters(), lr=0.0)
    assert train(model.eval(), sgd(model), 30) == []
    assert train(model.train(), frozen, 3) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(30):
            model(torch.ones(3, 8))


def test_the_inner_points_of_lbfgs_are_no_steps():
    model = network()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=20, lr=0.1)
    attach(optimizer, model)

    def closure():
        optimizer.zero_grad()
        loss = (model(torch.ones(3, 8)) - 5.0).square().mean()
        loss.backward()
        return loss

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            optimizer.step(closure)


def test_a_pickled_layer_begins_anew():
    layer = UDVLinear(8, 4, hidden=6)
    layer.project_()
    layer.watch.said = True
    again = pickle.loads(pickle.dumps(layer))
    assert (again.watch.said, again.watch.steps) == (False, 0)
