"""Which layers get an adapter, and which adapters count."""

import pytest
import torch
from torch import nn

from udulib import InputError, lora


def model():
    torch.manual_seed(0)
    return nn.ModuleDict({"q": nn.Linear(6, 6), "v": nn.Linear(6, 6), "qv": nn.Linear(6, 6), "norm": nn.LayerNorm(6)})


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        ("qv", ("qv",)),  # one name, not two letters
        ("all-linear", ("q", "v", "qv")),
        ("q*", ("q", "qv")),
        (["[qv]"], ("q", "v")),
        (["q", "v*"], ("q", "v")),
    ],
)
def test_targets(targets, names):
    assert lora.add(model(), targets, rank=2) == names


@pytest.mark.parametrize("targets", ["x*", "k", []])
def test_targets_that_fit_nothing_are_refused(targets):
    with pytest.raises(InputError, match="no layer is called|names of layers"):
        lora.add(model(), targets, rank=2)


def test_a_string_is_one_name_in_peft_too():
    pytest.importorskip("peft")
    from udulib.lora import peft as lora_peft

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.v, self.qv = (nn.Linear(6, 6) for _ in range(3))

    wrapped = lora_peft.wrap(Net(), "qv", rank=2)
    adapted = {name for name, part in wrapped.named_modules() if isinstance(part, lora_peft.UDVLoraLinear)}
    assert adapted == {"base_model.model.qv"}


def two():
    net = nn.Sequential(nn.Linear(6, 6))
    for k, name in enumerate(("one", "two")):
        lora.add(net, ["0"], rank=2, name=name, seed=k)
        net[0].adapters[name].V.data.fill_(0.1 * (k + 1))
    return net


def test_adapters_add_up_unless_one_is_chosen():
    net, x = two(), torch.ones(1, 6)
    base = net[0].base(x)
    each = {name: adapter(x) for name, adapter in net[0].adapters.items()}
    torch.testing.assert_close(net(x), base + each["one"] + each["two"])
    lora.activate(net, "two")
    torch.testing.assert_close(net(x), base + each["two"])
    torch.testing.assert_close(net(x), nn.functional.linear(x, net[0].weight, net[0].bias))
    lora.activate(net)
    torch.testing.assert_close(net(x), base + each["one"] + each["two"])


def test_switched_off_the_model_is_its_base_and_the_choice_comes_back():
    net, x = two(), torch.ones(1, 6)
    lora.activate(net, "one")
    before = net(x)
    with lora.disabled(net):
        assert torch.equal(net(x), net[0].base(x))
    assert torch.equal(net(x), before)
    with pytest.raises(ZeroDivisionError), lora.disabled(net):
        _ = 1 / 0
    assert torch.equal(net(x), before)


def test_what_cannot_be_chosen_is_said():
    net = two()
    with pytest.raises(InputError, match="no adapter 'three'; it has one, two"):
        lora.activate(net, "three")
    lora.merge(net, "one")
    with pytest.raises(InputError, match="one is merged into 0"):
        lora.activate(net, "two")
