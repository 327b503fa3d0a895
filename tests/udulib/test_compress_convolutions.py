"""Convolutions and attention: made UDV with their function kept, trained in their set, cut to plain layers again."""

import copy
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from udulib import InputError
from udulib.compress import break_even, compress, compress_all
from udulib.nn import UDVConv2d, UDVLinear, attach, convert, diagnose, feasible, udv_modules

GEOMETRIES = {
    "plain": {},
    "stride": {"stride": 2, "padding": 1},
    "dilation": {"dilation": 2, "padding": (2, 1)},
    "groups": {"groups": 2, "padding": 1},
    "depthwise": {"groups": 4},
    "same": {"padding": "same", "kernel_size": (3, 2)},
    "valid": {"padding": "valid"},
    "reflected": {"padding": (1, 2), "padding_mode": "reflect", "stride": (1, 2)},
    "circular, same": {"padding": "same", "padding_mode": "circular", "kernel_size": (2, 4)},
    "replicated, valid": {"padding": "valid", "padding_mode": "replicate"},
    "1 x 1": {"kernel_size": 1},
}


def plain(bias=True, **settings):
    torch.manual_seed(0)
    return nn.Conv2d(4, 8, **({"kernel_size": 3} | settings), bias=bias)


X = torch.randn(3, 4, 9, 10, generator=torch.Generator().manual_seed(1))


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # of plain convolutions too


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_outputs_are_equal_at_full_rank_there_and_back(name, bias):
    """Plain, UDV from the singular vectors, and plain again; the same, and never larger."""
    conv = plain(bias, **GEOMETRIES[name])
    layer = convert(copy.deepcopy(conv), hidden=min, start="svd", kinds=nn.Conv2d)
    assert isinstance(layer, UDVConv2d) and feasible(layer)
    close(layer(X), conv(X))
    close(layer(X[0]), conv(X[0]))
    close(layer.weight, conv.weight)
    for block in (layer, conv):
        small = compress(block, tol=0, batch=1)
        close(small.layer(X), conv(X))
        assert small.after.parameters <= small.before.parameters
        assert small.after.flops <= small.before.flops


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_start_of_any_width_is_the_convolution_with_its_weight(name):
    conv = plain(**GEOMETRIES[name])
    layer = convert(copy.deepcopy(conv), hidden=5, kinds=[nn.Conv2d])
    conv.weight.data = layer.weight.detach()
    close(layer(X), conv(X))
    for method in ("product", "svd", "neurons"):
        close(compress(layer, tol=0, method=method, batch=1).layer(X), layer(X))


@given(st.sampled_from([1, 2, 4]), st.integers(1, 3), st.integers(1, 9), st.booleans(), st.data())
def test_never_larger(groups, kernel, hidden, bias, data):
    layer = UDVConv2d(4, 8, kernel, hidden, groups=groups, bias=bias, padding=1)
    rank = data.draw(st.integers(0, min(4 // groups * kernel**2, 8 // groups, hidden)))
    small = compress(layer, rank=rank, batch=1, image=(5, 5))
    assert small.after.parameters <= small.before.parameters
    assert small.rank == rank
    assert small.break_even == break_even(4 // groups * kernel**2, 8 // groups)
    assert isinstance(small.layer, nn.Conv2d) == (rank > small.break_even)


def test_a_cut_is_the_best_approximation_in_each_group():
    conv = plain(groups=2)
    small = compress(conv, rank=2, batch=1).layer
    cut = small[1].weight.reshape(2, 4, 2) @ small[0].weight.reshape(2, 2, 18)  # (groups, out, in and kernel)
    P, S, Q = torch.linalg.svd(conv.weight.reshape(2, 4, 18), full_matrices=False)
    close(cut, (P[..., :2] * S[:, None, :2]) @ Q[:, :2])


def test_tolerance_and_energy_look_at_all_groups():
    """Singular values 4, 2 and 3, 1: above half of the largest lie one and one; nine tenths of the squares are two."""
    conv = nn.Conv2d(4, 4, 1, groups=2, bias=False)
    conv.weight.data = torch.tensor([[4.0, 0], [0, 2], [0, 3], [1, 0]])[..., None, None]
    assert [compress(conv, tol=tol, batch=1).rank for tol in (0.0, 0.4, 0.6, 0.9)] == [2, 2, 1, 1]
    assert [compress(conv, energy=share, batch=1).rank for share in (25 / 30 - 0.01, 25 / 30 + 0.01)] == [1, 2]


def test_rank_zero_leaves_the_bias():
    conv = plain()
    small = compress(conv, rank=0, batch=1)
    close(small.layer(X), conv.bias[:, None, None].expand_as(conv(X)))
    assert small.rank == 0


def test_feasible_after_every_step_and_gradients_flow():
    torch.manual_seed(0)
    model = nn.Sequential(UDVConv2d(4, 8, 3, 6, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(448, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    attach(optimizer, model)
    for _ in range(10):
        optimizer.zero_grad()
        (model(X) - 1).square().mean().backward()
        assert all(p.grad.abs().sum() > 0 for p in model[0].parameters())
        optimizer.step()
        assert feasible(model)


def test_operations_are_counted_for_each_place():
    conv = plain(padding=1)
    assert compress(conv, tol=0, batch=1, image=(5, 7)).before.flops == 35 * (2 * 8 * 36 + 8)


def test_the_spectrum_is_that_of_all_groups():
    layer = convert(plain(groups=2), hidden=min, start="svd", kinds=nn.Conv2d)
    expected = torch.linalg.svdvals(layer.weight.reshape(2, 4, 18)).flatten().sort(descending=True).values
    found = diagnose(layer)[""]
    close(torch.tensor(found.map_spectrum.copy()).float(), expected)
    assert not found.bottleneck


def test_kinds_choose_what_is_converted():
    def model():
        return nn.Sequential(plain(), nn.Flatten(), nn.Linear(4, 3))

    assert list(udv_modules(convert(model(), hidden=2))) == ["2"]
    assert list(udv_modules(convert(model(), hidden=2, kinds=nn.Conv2d))) == ["0"]
    both = convert(model(), hidden=2, kinds=(nn.Conv2d, nn.Linear))
    assert [type(module) for module in udv_modules(both).values()] == [UDVConv2d, UDVLinear]
    small = compress_all(both, rank=1, batch=1)
    assert list(small) == ["0", "2"] and udv_modules(both) == {}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: convert(plain(), hidden=2), "no trainable nn.Linear"),
        (lambda: convert(plain(), hidden=2, kinds=nn.Conv1d), "kinds are of"),
        (lambda: convert(plain(), hidden=2, kinds=nn.Conv2d, activation="relu"), "no activation"),
        (lambda: convert(plain(), hidden=9, kinds=nn.Conv2d, start="svd"), "hidden of at most 8"),
        (lambda: convert(attention(), hidden=2, kinds=nn.MultiheadAttention, activation="relu"), "no activation"),
        (lambda: UDVConv2d(4, 6, 3, 2, groups=3), "own word is"),
        (lambda: UDVConv2d(4, 6, 3, 0), "hidden is"),
        (lambda: UDVConv2d(4, 6, 3, 2)(torch.ones(1, 3, 5, 5)), r"shape \(\*, 4, height, width\)"),
        (lambda: compress(plain(), rank=1, method="neurons"), "no hidden neurons"),
        (lambda: compress(nn.ConvTranspose2d(4, 8, 3), rank=1), "was wanted"),
    ],
)
def test_refusals(call, said):
    with pytest.raises(InputError, match=said):
        call()


# --- attention --------------------------------------------------------------------------------------------------------


def attention(**settings):
    torch.manual_seed(0)
    return nn.MultiheadAttention(16, 2, batch_first=True, **settings)


@pytest.mark.parametrize("settings", [{}, {"bias": False}, {"kdim": 12, "vdim": 10}])
def test_attention_there_and_back(settings):
    """As UDV it computes the same in all modes, trains in its set, and is plain attention again when cut."""
    net = attention(**settings)
    q, k, v = (torch.randn(3, 5, n, generator=torch.Generator().manual_seed(2)) for n in (16, net.kdim, net.vdim))
    before = net(q, k, v)[0]
    convert(net, hidden=min, start="svd", kinds=nn.MultiheadAttention)
    assert list(udv_modules(net)) == ["out_proj", "q_proj", "k_proj", "v_proj"]
    with torch.no_grad():
        for mode, need_weights in itertools.product((True, False), repeat=2):
            close(net.train(mode)(q, k, v, need_weights=need_weights)[0], before)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    attach(optimizer, net)
    net.train()(q, k, v)[0].square().sum().backward()
    optimizer.step()
    assert feasible(net)
    trained = net(q, k, v)[0]
    assert list(compress_all(net, tol=0, batch=1)) == ["out_proj", "q_proj", "k_proj", "v_proj"]
    assert type(net) is nn.MultiheadAttention
    close(net(q, k, v)[0], trained)
    fresh = attention(**settings)
    fresh.load_state_dict(net.state_dict())  # what is left is PyTorch's own
    close(fresh(q, k, v)[0], trained)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_an_encoder_with_such_attention_computes_the_same_in_every_mode():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
    net = convert(nn.TransformerEncoder(layer, 2), hidden=4, kinds=(nn.MultiheadAttention, nn.Linear))
    x, padding = torch.randn(2, 5, 16), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    train = net.train()(x, src_key_padding_mask=padding)[~padding]
    with torch.no_grad():
        close(net.eval()(x, src_key_padding_mask=padding)[~padding], train)
    compress_all(net, tol=0, batch=1)
    with torch.no_grad():
        close(net.eval()(x, src_key_padding_mask=padding)[~padding], train)
