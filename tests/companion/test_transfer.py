"""The real path for people with pretrained networks, on a small network with random weights."""

import copy

import pytest
import torch
from torch import nn

from companion.paper_scale import transfer
from udulib.errors import InputError
from udulib.nn import UDVLinear, feasible


class Small(nn.Module):
    """A convolutional network whose classifier looks like EfficientNet's."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 12, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(12, 7), nn.Tanh(), nn.Linear(7, 1000))

    def forward(self, x):
        return self.classifier(self.features(x))


@pytest.fixture
def pictures():
    """Four classes of noisy colour patches, in batches."""
    torch.manual_seed(0)
    y = torch.arange(64) % 4
    x = torch.eye(4)[y][:, :3, None, None] + 0.1 * torch.randn(64, 3, 8, 8)
    return [(x[k : k + 16], y[k : k + 16]) for k in range(0, 64, 16)]


@pytest.mark.parametrize("net", transfer.HEADS)
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_all_layers_train_and_the_block_stays_in_its_set(pictures, net, optimizer):
    torch.manual_seed(1)
    model = transfer.replace_head(Small(), transfer.head(net, 12, 4, radius=2.0))
    before = copy.deepcopy(model)
    rate = 0.05 if optimizer == "momentum" else 0.02
    history = transfer.fine_tune(
        model, pictures, pictures, optimizer=optimizer, learning_rate=rate, epochs=12, device="cpu"
    )
    assert history.loss[-1] < 0.9 * history.loss[0] and len(history.accuracy) == 12
    assert history.reported == pytest.approx(sum(history.accuracy[-5:]) / 5)
    for old, new in zip(before.parameters(), model.parameters(), strict=True):
        assert not torch.equal(old, new)
    assert "UDV" not in net or feasible(model)


def test_the_classifier_is_replaced_from_its_first_linear_layer_on():
    new = transfer.head("UDV", 12, 10)
    model = transfer.replace_head(Small(), new)
    assert [type(layer) for layer in model.classifier] == [nn.Dropout, UDVLinear] and new.hidden == 8
    residual = nn.Module()
    residual.fc = nn.Linear(12, 1000)
    assert transfer.replace_head(residual, new).fc is new
    with pytest.raises(InputError, match="classifier"):
        transfer.replace_head(nn.ReLU(), new)


def test_dropout_is_off_when_accuracy_is_measured(pictures):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(192, 4)).train()
    assert len({transfer.accuracy_of(model, pictures) for _ in range(5)}) == 1


def test_what_cannot_be_trained_is_refused(pictures):
    with pytest.raises(InputError, match="net is one of"):
        transfer.head("UVD", 4, 2)
    for wrong in ({"optimizer": "lion"}, {"epochs": 0}, {"learning_rate": -1.0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            transfer.fine_tune(Small(), pictures, pictures, device="cpu", **wrong)


def test_without_torchvision_the_command_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    with pytest.raises(SystemExit) as stopped:
        transfer.main(["--net", "UDV"])
    assert stopped.value.code == 2 and "install the release" in capsys.readouterr().err
