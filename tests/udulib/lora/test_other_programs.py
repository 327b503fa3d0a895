"""Adapters where other programs read them: parents that read weights, wrapped models, heads, half precision."""

import copy
import warnings

import pytest
import torch
from torch import nn

from udulib import InputError, lora
from udulib.nn import attach

peft = pytest.importorskip("peft", reason="needs peft")
pytest.importorskip("safetensors")


def trained(model, x, steps=3, **settings):
    """An adapter moved away from its start."""
    lora.add(model, rank=2, **settings)
    return moved(model, x, steps)


def moved(model, x, steps=3):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    attach(optimizer, model)
    for _ in range(steps):
        optimizer.zero_grad()
        output(model, x).square().sum().backward()
        optimizer.step()
    return model


def output(model, x):
    y = model(x, x, x) if isinstance(model, nn.MultiheadAttention) else model(x)
    return y[0] if isinstance(y, tuple) else y


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn, self.head = nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.attn(x, x, x)[0])


X = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))


# Parents that read weights --------------------------------------------------------------------------------------------


def attending():
    torch.manual_seed(0)
    return Attending()


def test_an_adapter_on_what_attention_reads_counts_here_and_is_not_exported(tmp_path):
    base = attending()
    model = trained(copy.deepcopy(base), X, targets=["attn.out_proj"])
    assert (output(model, X) - output(base, X)).abs().max() > 1e-3
    with pytest.raises(InputError, match=r"reads its weight always.*merge and remove"):
        lora.export(model, tmp_path)
    before = output(model, X)
    lora.merge(model)
    lora.remove(model)
    torch.testing.assert_close(output(model, X), before)


def encoder():
    torch.manual_seed(0)
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0), 2)


@pytest.mark.parametrize("targets", [["linear1"], ["linear1", "linear2"], ["layers.1.linear2"]])
def test_an_adapter_in_an_encoder_counts_in_every_mode(targets, tmp_path):
    model = trained(encoder(), X, targets=targets)
    train, evaluated = output(model.train(), X), output(model.eval(), X)
    with torch.no_grad():
        fused = output(model, X)
    torch.testing.assert_close(evaluated, train, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fused, train, atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match="reads its weight in eval mode"):
        lora.export(model, tmp_path)


def test_in_peft_too():
    from udulib.lora import peft as lora_peft

    with pytest.raises(InputError, match="reads its weight always"):
        lora_peft.wrap(attending(), ["out_proj"], rank=4)
    model = moved(lora_peft.wrap(encoder(), ["linear1", "linear2"], rank=4), X)
    with torch.no_grad():
        torch.testing.assert_close(output(model.eval(), X), output(model.train(), X), atol=1e-5, rtol=1e-5)


def test_what_is_called_is_exported_as_ever(tmp_path):
    base = attending()
    model = trained(copy.deepcopy(base), X, targets=["head"])
    lora.export(model, tmp_path)
    again = peft.PeftModel.from_pretrained(base, tmp_path)
    torch.testing.assert_close(output(again, X), output(model, X))


# Half precision -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("radius", [1.0, None])
def test_factors_on_a_half_base_learn_in_float32(dtype, radius):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16)).to(dtype)
    x = torch.randn(64, 16).to(dtype)
    lora.add(model, ["0"], rank=4, radius=radius)
    adapter = model[0].adapters["default"]
    assert {factor.dtype for factor in (adapter.U, adapter.D, adapter.V)} == {torch.float32}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    if radius is not None:
        attach(optimizer, model)
    start = [p.detach().clone() for p in adapter.parameters()]
    for _ in range(200):
        optimizer.zero_grad()
        (model(x).float() - x.float().roll(1, -1)).square().mean().backward()
        optimizer.step()
    assert model(x).dtype == dtype and all(torch.isfinite(p).all() for p in adapter.parameters())
    for before, after in zip(start, adapter.parameters(), strict=True):
        assert (after - before).abs().max() > 1e-2  # D too: in bfloat16 it stands still


def test_merged_into_a_half_base_it_is_the_sum_rounded_once():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8)).to(torch.bfloat16)
    lora.add(model, ["0"], rank=2)
    model[0].adapters["default"].V.data.fill_(0.3)
    want = (model[0].base.weight.float() + model[0].adapters["default"].delta()).to(torch.bfloat16)
    lora.merge(model)
    assert torch.equal(model[0].base.weight, want)


def test_under_autocast_the_adapter_is_cast_as_the_rest():
    model = trained(nn.Sequential(nn.Linear(8, 8)), torch.randn(4, 8), targets=["0"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(torch.ones(2, 8))
    torch.testing.assert_close(y.float(), model(torch.ones(2, 8)), atol=5e-2, rtol=5e-2)


# A head beside the adapter --------------------------------------------------------------------------------------------


def with_head():
    model = attending()
    lora.add(model, ["attn.out_proj"], rank=4)
    for parameter in model.head.parameters():
        parameter.requires_grad_(True)
    return moved(model, X)


def test_what_was_trained_beside_comes_back(tmp_path):
    model = with_head()
    lora.save(model, tmp_path / "mine.safetensors")
    again = attending()
    lora.load(again, tmp_path / "mine.safetensors")
    torch.testing.assert_close(output(again, X), output(model, X))
    assert again.head.weight.requires_grad and not again.attn.in_proj_weight.requires_grad


def test_a_head_of_another_shape_is_refused_and_nothing_is_changed(tmp_path):
    lora.save(with_head(), tmp_path / "mine.safetensors")
    other = attending()
    other.head = nn.Linear(16, 4)
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(InputError, match=r"head\.\w+, of shape \(3,.*the model has \(4,"):
        lora.load(other, tmp_path / "mine.safetensors")
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_an_export_says_what_it_leaves_out(tmp_path):
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 3))
    lora.add(model, ["0"], rank=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lora.export(model, tmp_path)  # nothing else was trained
    model[1].bias.requires_grad_(True)
    with pytest.warns(UserWarning, match=r"1\.bias was trained beside"):
        lora.export(model, tmp_path)


# Wrapped models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_files_of_a_wrapped_model_are_those_of_the_model(wrap, tmp_path):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    model = trained(copy.deepcopy(base), X, targets=["0", "2"])
    lora.export(wrap(model), tmp_path / "peft")
    lora.save(wrap(model), tmp_path / "mine.safetensors")
    again, mine = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "peft"), copy.deepcopy(base)
    lora.load(wrap(mine), tmp_path / "mine.safetensors")
    torch.testing.assert_close(output(again, X), output(model, X))
    torch.testing.assert_close(output(mine, X), output(model, X))


def test_adapters_added_through_a_wrapper_hang_on_the_model():
    model = nn.Sequential(nn.Linear(8, 8))
    assert lora.add(nn.DataParallel(model), ["0"], rank=2) == ("0",)
    assert isinstance(model[0], lora.AdaptedLinear)
