"""All layers of a model cut by the same rules, UDV and plain ones; what reads weights still finds them."""

import copy

import pytest
import torch
from torch import nn

from udulib import InputError
from udulib.compress import compress, compress_all
from udulib.nn import UDVLinear, convert


def model():
    torch.manual_seed(0)
    return nn.Sequential(
        UDVLinear(20, 12, hidden=30, bias=True), nn.ReLU(), nn.Linear(12, 10), UDVLinear(10, 3, hidden=8)
    )


X = torch.randn(7, 20, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("plain", [False, True])
def test_with_everything_kept_the_outputs_are_the_same_and_nothing_grows(plain):
    net = model()
    before, size = net(X), sum(p.numel() for p in net.parameters())
    small = compress_all(net, tol=0, plain=plain, batch=1)
    assert list(small) == (["0", "2", "3"] if plain else ["0", "3"])
    torch.testing.assert_close(net(X), before, atol=1e-5, rtol=1e-5)
    assert sum(p.numel() for p in net.parameters()) < size
    assert not any(isinstance(part, UDVLinear) for part in net.modules())


def test_a_plain_layer_is_cut_as_its_matrix():
    layer = model()[2]
    small = compress(layer, rank=2, batch=1).layer
    U, s, V = torch.linalg.svd(layer.weight.double())
    best = U[:, :2] * s[:2] @ V[:2]
    torch.testing.assert_close(small[1].weight @ small[0].weight, best.float(), atol=1e-5, rtol=1e-5)
    assert torch.equal(small[1].bias, layer.bias)
    with pytest.raises(InputError, match="no hidden neurons"):
        compress(layer, rank=2, method="neurons")


def test_layers_that_are_read_become_one_matrix():
    torch.manual_seed(0)
    net = convert(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0), hidden=6).eval()
    x = torch.randn(2, 5, 16)
    small = compress_all(net, rank=4, batch=1)
    assert set(small) == {"linear1", "linear2"} and isinstance(net.linear1, nn.Linear)
    assert torch.linalg.matrix_rank(net.linear1.weight) == 4
    with torch.no_grad():
        fused = net(x)
    torch.testing.assert_close(fused, net.train()(x), atol=1e-5, rtol=1e-5)


def test_a_layer_that_cannot_be_cut_so_leaves_the_model_as_it_was():
    net = nn.Sequential(UDVLinear(6, 4, hidden=3), UDVLinear(4, 4, hidden=3, activation="relu"))
    before = copy.deepcopy(net)
    with pytest.raises(InputError, match="ReLU block"):
        compress_all(net, rank=1)
    assert str(net) == str(before)


def test_shared_weights_are_left_alone():
    shared = nn.Linear(6, 6)
    net = nn.ModuleDict({"a": shared, "b": nn.Linear(6, 6, bias=False)})
    net["b"].weight = shared.weight
    assert compress_all(net, rank=1, plain=True) == {}
    with pytest.raises(InputError, match="model is"):
        compress_all("a model", rank=1)
