"""The adapter: zero at the start, the same function through every door, and no door that is silently wrong."""

import copy
import importlib
import io
import json

import numpy as np
import pytest
import torch
from torch import nn

from udulib import lora
from udulib.errors import InputError
from udulib.nn import attach, diagnose, feasible

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

# peft 0.21.2 asks transformers 5.23 for a property that the latter has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

DECODER = transformers.LlamaConfig(
    vocab_size=50,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
)


def decoder(seed=0):
    """A tiny LLaMA with random weights; its value projection is not square."""
    torch.manual_seed(seed)
    return transformers.LlamaForCausalLM(DECODER).eval()


@pytest.fixture
def model():
    return decoder()


@pytest.fixture
def ids():
    return torch.randint(0, 50, (3, 12), generator=torch.Generator().manual_seed(1))


def output(model, ids):
    with torch.no_grad():
        return model(ids).logits


def trained(model, ids, steps=3, name="default", **settings):
    """The model with an adapter that a few large steps have moved far."""
    settings = {"rank": 6, "radius": 2.0, "scaling": 1.5} | settings
    lora.add(model, ["q_proj", "v_proj"], name=name, **settings)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.3)
    if settings["radius"] is not None:
        attach(optimizer, model)
    for _ in range(steps):
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()
    return model


def assert_same(got, wanted, rtol=1e-5):
    """Equal relative to the largest entry."""
    assert (got - wanted).abs().max() <= rtol * wanted.abs().max()


def nested():
    """Three linear layers; the name of the first is the end of the others'."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4)))


def delta(model, layer, name="default"):
    return lora.adapted_layers(model, name)[layer].adapters[name].delta().detach()


# The start and the step -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [1.0, None])
def test_the_adapted_model_starts_as_the_base(model, ids, radius):
    before = output(model, ids)
    lora.add(model, ["q_proj", "v_proj"], rank=4, radius=radius)
    assert (output(model, ids) - before).abs().max() == 0


def test_only_the_adapter_is_trained(model, ids):
    base = {name: p.clone() for name, p in model.named_parameters()}
    trained(model, ids)
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.rpartition(".")[2] for name in names} == {"U", "D", "V"}
    for name, parameter in model.named_parameters():
        if name not in names:
            assert torch.equal(parameter, base[name.replace(".base", "")]), name


def test_every_step_ends_in_the_balls(model, ids):
    trained(model, ids, radius=0.5)
    assert feasible(model)
    norms = [a.adapters["default"].U.detach().norm() for a in lora.adapted_layers(model).values()]
    assert float(max(norms)) == pytest.approx(0.5, rel=1e-5)  # the steps were large enough to touch them


def test_the_layer_is_what_the_formula_says(model, ids):
    """W0 x + s U diag(D) V^T x, with the weight read by other modules the same."""
    layer = trained(model, ids).model.layers[0].self_attn.q_proj
    adapter, x = layer.adapters["default"], torch.randn(5, 32)
    U, D, V = adapter.U, adapter.D, adapter.V
    wanted = x @ layer.base.weight.T + 1.5 * x @ V @ torch.diag(D) @ U.T
    assert_same(layer(x), wanted)
    assert_same(x @ layer.weight.T, wanted)


def test_plain_lora_is_udv_with_d_at_one_and_no_ball(model, ids):
    """The paper's baseline: same start, D held at one."""
    layer = trained(model, ids, radius=None).model.layers[1].self_attn.v_proj
    adapter = layer.adapters["default"]
    assert torch.equal(adapter.D, torch.ones(6))
    assert_same(adapter.delta(), 1.5 * adapter.U @ adapter.V.T)
    start = [
        lora.adapted_layers(add_to(decoder(), radius))["model.layers.0.self_attn.q_proj"] for radius in (None, 1.0)
    ]
    assert torch.equal(*(layer.adapters["default"].U for layer in start))


def add_to(model, radius=1.0, **settings):
    lora.add(model, ["q_proj"], rank=3, radius=radius, **settings)
    return model


def test_seed_decides_the_start():
    first, again, other = (
        lora.adapted_layers(add_to(decoder(), seed=s))["model.layers.0.self_attn.q_proj"] for s in (3, 3, 4)
    )
    assert torch.equal(first.adapters["default"].U, again.adapters["default"].U)
    assert not torch.equal(first.adapters["default"].U, other.adapters["default"].U)


def test_attention_that_reads_the_weight_sees_the_adapter():
    """nn.MultiheadAttention never calls its projection; it reads the weight."""
    torch.manual_seed(0)
    attention, x = nn.MultiheadAttention(8, 2), torch.randn(4, 1, 8)
    lora.add(attention, ["out_proj"], rank=2)
    with torch.no_grad():
        attention.out_proj.adapters["default"].V.normal_()
    adapted = attention(x, x, x)[0]
    adapted.sum().backward()
    assert attention.out_proj.adapters["default"].U.grad.abs().max() > 0
    lora.merge(attention)
    lora.remove(attention)
    assert_same(attention(x, x, x)[0], adapted)


def test_a_whole_name_is_that_layer_alone_and_an_end_is_all_of_them():
    assert lora.add(nested(), ["0"], rank=2) == ("0",)
    assert lora.add(nn.Sequential(nested()), ["0.0", "1.0"], rank=2) == ("0.0", "0.1.0")
    assert lora.add(nn.ModuleDict({"a": nested()}), ["0"], rank=2) == ("a.0", "a.1.0", "a.2.0")


def test_numbers_of_numpy_are_numbers(tmp_path):
    """As for the layer of a network; also through a file."""
    model = nested()
    lora.add(model, ["0"], np.int64(2), radius=np.float32(2), scaling=np.int64(1))
    assert repr(model[0].adapters["default"]) == "UDVAdapter(rank=2, radius=2, scaling=1)"
    lora.save(model, tmp_path / "mine.safetensors")
    lora.load(model, tmp_path / "mine.safetensors", "again")
    assert repr(model[0].adapters["again"]) == repr(model[0].adapters["default"])


def test_an_adapter_has_no_layers_to_adapt():
    """What is inside an adapted layer is no target: a second adapter goes beside the first."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4)))
    lora.add(model, ["1.0"], rank=2)
    for target in ("base", "1.0.base", "default"):
        with pytest.raises(InputError, match=f"no layer is called '{target}'.* The linear layers end in 0$"):
            lora.add(model, [target], rank=2, name="second")
    with pytest.raises(InputError, match="no layer is called 'base'"):
        lora.add(model[1][0], ["base"], rank=2, name="second")
    assert lora.add(nn.ModuleDict({"base": nn.Linear(4, 4)}), ["base"], rank=2) == ("base",)


# Merge and unmerge ----------------------------------------------------------------------------------------------------


def test_merge_is_the_same_function_and_unmerge_restores_every_bit(model, ids):
    weights = {name: p.clone() for name, p in model.named_parameters()}
    wanted = output(trained(model, ids), ids)
    lora.merge(model)
    assert_same(output(model, ids), wanted)
    lora.unmerge(model)
    assert torch.equal(output(model, ids), wanted)
    for name, layer in lora.adapted_layers(model).items():
        assert torch.equal(layer.base.weight, weights[f"{name}.weight"])


def test_merge_and_remove_leave_an_ordinary_model(model, ids):
    wanted, keys = output(trained(model, ids), ids), decoder().state_dict().keys()
    lora.merge(model)
    lora.remove(model)
    assert model.state_dict().keys() == keys
    assert_same(output(model, ids), wanted)


def test_two_adapters_add_up_and_merge_one_by_one(model, ids):
    trained(model, ids, name="first")
    one = output(model, ids)
    trained_two = trained(model, ids, name="second", radius=None)
    both = output(trained_two, ids)
    assert (both - one).abs().max() > 1e-3
    lora.merge(model, "first")
    assert_same(output(model, ids), both)
    lora.merge(model, "second")
    assert_same(output(model, ids), both)
    lora.unmerge(model, "first")
    assert_same(output(model, ids), both)
    lora.unmerge(model, "second")
    lora.remove(model, "second")
    assert {p.requires_grad for n, p in model.named_parameters() if ".adapters." not in n} == {False}


def test_merge_in_half_precision_is_exact_to_that_precision(model, ids):
    """The change is added in float32 and rounded once."""
    layer = trained(model.half(), ids, steps=0).model.layers[0].self_attn.q_proj
    with torch.no_grad():
        layer.adapters["default"].V.normal_()
    before = layer.base.weight.clone()
    wanted = before.float() + layer.adapters["default"].delta().float()
    lora.merge(model)
    assert torch.equal(layer.base.weight, wanted.half())
    lora.unmerge(model)
    assert torch.equal(layer.base.weight, before)


def test_a_state_dict_is_refused_while_merged(model, ids):
    """Saved, the change would count twice, in the weights and beside them; loaded, the adapter would not count."""
    fresh = decoder()
    lora.add(fresh, ["q_proj", "v_proj"], rank=6)
    state = {name: tensor.clone() for name, tensor in trained(model, ids, scaling=1.0).state_dict().items()}
    wanted = output(model, ids)
    lora.merge(model)
    with pytest.raises(InputError, match=r"'default' is merged into model\.layers.*: unmerge or remove it first"):
        model.state_dict()
    with pytest.raises(InputError, match="unmerge or remove it first"):
        model.load_state_dict(state)
    lora.unmerge(model)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(output(fresh, ids), wanted)


def test_a_merged_model_is_copied_and_pickled_whole(model, ids):
    wanted = output(trained(model, ids), ids)
    lora.merge(model)
    torch.save(model, file := io.BytesIO())
    file.seek(0)
    for again in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert torch.equal(output(again, ids), output(model, ids))
        lora.unmerge(again)
        assert torch.equal(output(again, ids), wanted)


# Cuts -----------------------------------------------------------------------------------------------------------------


def test_spectra_are_the_singular_values_of_the_change(model, ids):
    trained(model, ids)
    for layer, s in lora.spectra(model).items():
        assert s == pytest.approx(torch.linalg.svdvals(delta(model, layer).double()).numpy()[:6], rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("radius", [0.5, 2.0, None])
def test_a_cut_is_the_best_one_of_its_rank_and_feasible(model, ids, radius):
    """Eckart and Young: the error is the norm of the singular values that were dropped."""
    trained(model, ids, radius=radius)
    whole = {layer: delta(model, layer) for layer in lora.adapted_layers(model)}
    values = lora.spectra(model)
    assert set(lora.cut(model, rank=2).values()) == {2}
    for layer, W in whole.items():
        error = (delta(model, layer) - W).norm().item()
        assert error == pytest.approx(np.linalg.norm(values[layer][2:]), rel=1e-4)
    assert feasible(model)


def test_the_papers_cut_drops_singular_values_of_ud(model, ids):
    """U diag(D) = P S Q^T, and the change keeps P_k S_k (V Q_k)^T."""
    trained(model, ids)
    adapter = lora.adapted_layers(model)["model.layers.0.self_attn.v_proj"].adapters["default"]
    U, D, V = (getattr(adapter, x).detach().double() for x in "UDV")
    P, S, Qh = torch.linalg.svd(U * D, full_matrices=False)
    wanted = 1.5 * (P[:, :3] * S[:3]) @ (V @ Qh.T[:, :3]).T
    lora.cut(model, rank=3, of="factor")
    assert_same(adapter.delta(), wanted.float())
    assert lora.spectra(model, of="factor")["model.layers.0.self_attn.v_proj"].shape == (3,)


def test_energy_keeps_the_least_rank_that_holds_it(model, ids):
    trained(model, ids)
    values = lora.spectra(model)
    kept = lora.cut(model, energy=0.9)
    for layer, k in kept.items():
        share = np.cumsum(values[layer] ** 2) / np.sum(values[layer] ** 2)
        assert share[k - 1] >= 0.9 and (k == 1 or share[k - 2] < 0.9)


def test_energy_one_keeps_everything_and_rank_zero_nothing(model, ids):
    base = output(model, ids)
    wanted = output(trained(model, ids), ids)
    lora.cut(model, energy=1.0)
    assert_same(output(model, ids), wanted)
    assert set(lora.cut(model, rank=0).values()) == {0}
    assert torch.equal(output(model, ids), base)


def test_a_cut_adapter_trains_on(model, ids):
    lora.cut(trained(model, ids), rank=2)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    attach(optimizer, model)
    first = model(ids, labels=ids).loss
    first.backward()
    optimizer.step()
    assert model(ids, labels=ids).loss < first


def test_a_cut_adapter_is_diagnosed_at_its_new_rank(model, ids):
    lora.cut(trained(model, ids), rank=2)
    for found in diagnose(model).values():
        assert found.hidden == len(found.contributions) == 2


# Files ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [1.0, None])
def test_saved_and_loaded_is_the_same_adapter(model, ids, tmp_path, radius):
    wanted = output(trained(model, ids, radius=radius), ids)
    lora.save(model, tmp_path / "mine.safetensors")
    again = decoder()
    assert lora.load(again, tmp_path / "mine.safetensors", "mine") == tuple(lora.adapted_layers(model))
    assert torch.equal(output(again, ids), wanted)
    assert repr(again.model.layers[0].self_attn.q_proj.adapters["mine"]) == repr(
        model.model.layers[0].self_attn.q_proj.adapters["default"]
    )


def test_saved_while_merged_and_loaded_into_another_precision(model, ids, tmp_path):
    wanted = output(trained(model, ids), ids)
    lora.merge(model)
    lora.save(model, tmp_path / "mine.safetensors")
    again = decoder().bfloat16()
    lora.load(again, tmp_path / "mine.safetensors")
    assert (output(again, ids).float() - wanted).abs().max() < 0.1 * wanted.abs().max()


@pytest.mark.parametrize("cut", [{}, {"rank": 2}, {"energy": 0.9}])
@pytest.mark.parametrize("radius", [2.0, None])
def test_export_is_ordinary_lora_for_peft(model, ids, tmp_path, cut, radius):
    """peft, which knows nothing of U, D and V, gives the same outputs."""
    trained(model, ids, radius=radius)
    ranks = lora.export(model, tmp_path, **cut)
    if cut:
        assert lora.cut(model, **cut) == ranks
    loaded = peft.PeftModel.from_pretrained(decoder(), tmp_path)
    assert_same(output(loaded, ids), output(model, ids))
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and max(ranks.values()) == config["r"]
    A = loaded.base_model.model.model.layers[0].self_attn.v_proj.lora_A["default"].weight
    assert len(A) == ranks["model.layers.0.self_attn.v_proj"]


def test_export_keeps_to_layers_whose_names_are_ends_of_others(tmp_path):
    """peft looks for the end of a name, and takes the first that fits."""
    pairs = {"0": (torch.ones(1, 4), torch.ones(4, 1)), "1.0": (torch.ones(2, 4), torch.ones(4, 2))}
    lora.write_lora(pairs, tmp_path)
    loaded = peft.PeftModel.from_pretrained(nested(), tmp_path)
    plain, x = nested(), torch.randn(5, 4)
    for layer, (A, B) in pairs.items():
        plain.get_submodule(layer).weight.data += B @ A
    assert_same(loaded(x), plain(x))
    assert type(loaded.base_model.model[2][0]) is nn.Linear


def test_the_map_to_lora(model, ids, tmp_path):
    """A = V^T and B = s U diag(D)."""
    adapter = trained(model, ids).model.layers[0].self_attn.q_proj.adapters["default"]
    lora.export(model, tmp_path)
    layer = peft.PeftModel.from_pretrained(decoder(), tmp_path).base_model.model.model.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == 1
    assert torch.equal(layer.lora_A["default"].weight, adapter.V.T)
    assert_same(layer.lora_B["default"].weight, 1.5 * adapter.U * adapter.D)


def test_the_map_to_the_network_layer():
    """udulib.nn writes V diag(D) U^T x: its U is our V."""
    from udulib.nn import UDVLinear

    base = nn.Linear(5, 4, bias=False)
    nn.init.zeros_(base.weight)
    model, network = nn.Sequential(base), UDVLinear(5, 4, hidden=3)
    lora.add(model, ["0"], rank=3)
    model[0].adapters["default"].fill_(network.V, network.D, network.U)
    x = torch.randn(7, 5)
    assert_same(model(x), network(x))


def test_saved_files_are_not_opened_by_peft_as_its_own(model, ids, tmp_path):
    lora.save(trained(model, ids), tmp_path / "mine.safetensors")
    with pytest.raises(ValueError, match="adapter_config"):
        peft.PeftModel.from_pretrained(decoder(), str(tmp_path))
    with pytest.raises(InputError, match=r"other than adapter_model\.safetensors"):
        lora.save(model, tmp_path / "adapter_model.safetensors")


def test_a_state_dict_without_our_code_fails_loudly(model, ids):
    state = trained(model, ids).state_dict()
    with pytest.raises(RuntimeError, match="Missing key"):
        decoder().load_state_dict(state)


def test_save_pretrained_refuses_until_the_adapter_is_gone(model, ids, tmp_path):
    """transformers would load adapted layers as random weights, with a report and no error."""
    wanted = output(trained(model, ids), ids)
    for part in (model, model.model):
        with pytest.raises(InputError, match="merge and remove"):
            part.save_pretrained(tmp_path)
    lora.merge(model)
    lora.remove(model)
    model.save_pretrained(tmp_path)
    assert_same(output(transformers.LlamaForCausalLM.from_pretrained(tmp_path).eval(), ids), wanted)


# Inside peft ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def lora_peft():
    from udulib.lora import peft as lora_peft

    return lora_peft


def trained_in_peft(lora_peft, ids, radius=0.5):
    torch.manual_seed(0)
    model = lora_peft.wrap(decoder(), ["q_proj", "v_proj"], rank=6, radius=radius, scaling=1.5, task_type="CAUSAL_LM")
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.3)
    attach(optimizer, model)
    for _ in range(3):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    return model


def test_peft_variant_starts_as_the_base_and_keeps_to_its_set(lora_peft, model, ids):
    before = output(model, ids)
    torch.manual_seed(0)
    wrapped = lora_peft.wrap(model, ["q_proj", "v_proj"], rank=4)
    assert (output(wrapped, ids) - before).abs().max() == 0
    layers = [m for m in trained_in_peft(lora_peft, ids).modules() if isinstance(m, lora_peft.UDVLoraLinear)]
    assert len(layers) == 4
    for layer in layers:
        assert layer.U.norm() <= 0.5 * (1 + 1e-6) and layer.V.norm() <= 0.5 * (1 + 1e-6) and layer.D.min() >= 0


def test_peft_variant_is_the_standalone_adapter(lora_peft, ids):
    wrapped = trained_in_peft(lora_peft, ids)
    alone = decoder()
    lora.add(alone, ["q_proj", "v_proj"], rank=6, radius=0.5, scaling=1.5)
    for name, adapted in lora.adapted_layers(alone).items():
        layer = wrapped.get_submodule(f"base_model.model.{name}")
        adapted.adapters["default"].fill_(layer.U, layer.D, layer.V.T)
    assert_same(output(wrapped, ids), output(alone, ids))


def test_peft_variant_merges_and_unmerges(lora_peft, ids):
    wrapped = trained_in_peft(lora_peft, ids)
    wanted = output(wrapped, ids)
    for safe in (True, False):
        wrapped.merge_adapter(safe_merge=safe)
        assert_same(output(wrapped, ids), wanted)
        wrapped.unmerge_adapter()
        assert_same(output(wrapped, ids), wanted)
    with wrapped.disable_adapter():
        assert_same(output(wrapped, ids), output(decoder(), ids))
    assert_same(output(wrapped.merge_and_unload(), ids), wanted)


def test_peft_variant_exports_what_peft_alone_loads(lora_peft, ids, tmp_path):
    wrapped = trained_in_peft(lora_peft, ids)
    lora_peft.export(wrapped, tmp_path)
    assert_same(output(peft.PeftModel.from_pretrained(decoder(), tmp_path), ids), output(wrapped, ids))


@pytest.mark.parametrize("safe", [True, False])
def test_peft_variant_refuses_every_way_of_peft_to_save_it(lora_peft, ids, tmp_path, safe):
    """Loaded without our code, such a file is an ordinary LoRA without D, and no error is raised."""
    wrapped = trained_in_peft(lora_peft, ids)
    with pytest.raises(InputError, match=r"lora\.peft\.export"):
        wrapped.save_pretrained(str(tmp_path), safe_serialization=safe)
    assert not list(tmp_path.glob("*.safetensors")) and not list(tmp_path.glob("*.bin"))
    with pytest.raises(InputError, match=r"lora\.peft\.export"):
        peft.get_peft_model_state_dict(wrapped)
    with pytest.raises(InputError, match=r"lora\.peft\.export"):
        torch.save(wrapped.state_dict(), tmp_path / "checkpoint.pt")


def test_the_trap_is_real(lora_peft, ids):
    """Why saving is refused: the factors as ordinary LoRA load without an error and compute something else."""
    wrapped = trained_in_peft(lora_peft, ids)
    config = peft.LoraConfig(r=6, lora_alpha=9, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    plain = peft.get_peft_model(decoder(), config)
    raw = {n.replace(".default", ""): p.detach() for n, p in wrapped.named_parameters() if "lora_" in n}
    peft.set_peft_model_state_dict(plain, raw)
    assert (output(plain, ids) - output(wrapped, ids)).abs().max() > 1e-3


def test_peft_variant_works_with_tested_versions_only(lora_peft, monkeypatch):
    monkeypatch.setattr(peft, "__version__", "0.99.0")
    with pytest.raises(ImportError, match=r"tested with 0\.21\.2; peft 0\.99\.0"):
        importlib.reload(lora_peft)


def test_peft_variant_bad_input(lora_peft, model):
    with pytest.raises(InputError, match="radius"):
        lora_peft.wrap(model, ["q_proj"], rank=2, radius=-1.0)
    with pytest.raises(InputError, match="no UDV layer"):
        lora_peft.export(model, "nowhere")
    wrapped = lora_peft.wrap(model, ["q_proj"], rank=2)
    with pytest.raises(InputError, match="holds one adapter"):
        wrapped.add_adapter("more", wrapped.peft_config["default"])


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "settings", "message"),
    [
        (["q_prj"], {}, "no layer is called 'q_prj'; near it are .*q_proj"),
        (["nothing"], {}, "The linear layers end in down_proj, gate_proj"),
        ([], {}, "names of layers"),
        ([""], {}, "names of layers"),
        (["embed_tokens"], {}, "embed_tokens is a Embedding"),
        (["self_attn"], {}, "self_attn is a LlamaAttention"),
        (["q_proj"], {"rank": 0}, "rank is a whole number of at least 1; got 0"),
        (["q_proj"], {"rank": 2.0}, "rank is a whole number"),
        (["v_proj"], {"rank": 17}, "got 17, and model.layers.0.self_attn.v_proj is 16 x 32"),
        (["q_proj"], {"radius": 0}, "radius is a number above zero"),
        (["q_proj"], {"radius": float("nan")}, "radius is a number above zero"),
        (["q_proj"], {"scaling": -1.0}, "scaling is a number above zero"),
        (["q_proj"], {"radius": True}, "radius is a number above zero"),
        (["q_proj"], {"radius": "1"}, "radius is a number above zero"),
        (None, {}, "names of layers, or their ends; got None"),
        (5, {}, "names of layers, or their ends; got 5"),
        (["q_proj"], {"name": "a.b"}, "a word without dots"),
        (["q_proj"], {"name": "keys"}, "none of a ModuleDict's own; 'keys' is one"),
        (["q_proj"], {"name": "training"}, "none of a ModuleDict's own; 'training' is one"),
        (["q_proj"], {"name": "forward"}, "none of a ModuleDict's own; 'forward' is one"),
        (["q_proj"], {"seed": -1}, "seed"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(model, targets, settings, message):
    before = repr(model)
    with pytest.raises(InputError, match=message):
        lora.add(model, targets, **({"rank": 4} | settings))
    assert repr(model) == before
    assert all(p.requires_grad for p in model.parameters())


def test_a_second_adapter_of_the_same_name_is_refused(model):
    lora.add(model, ["q_proj"], rank=4)
    with pytest.raises(InputError, match="has an adapter 'default' already"):
        lora.add(model, ["q_proj"], rank=4)


def test_a_quantised_base_is_refused():
    class Quantised(nn.Linear):
        def __init__(self):
            super().__init__(4, 4)
            del self.weight
            self.register_buffer("weight", torch.zeros(4, 4, dtype=torch.int8))

    with pytest.raises(InputError, match=r"torch.int8.*quantised"):
        lora.add(nn.Sequential(Quantised()), ["0"], rank=2)


def test_a_shared_weight_is_refused():
    """Merging would change the embedding too."""
    tied = transformers.LlamaForCausalLM(transformers.LlamaConfig(**DECODER.to_dict() | {"tie_word_embeddings": True}))
    with pytest.raises(InputError, match="shared with another layer"):
        lora.add(tied, ["lm_head"], rank=2)
    linear = nn.Linear(4, 4)
    with pytest.raises(InputError, match="shared with another layer"):
        lora.add(nn.Sequential(linear, linear), ["0"], rank=2)


def test_what_is_no_model_or_no_name_is_refused(model):
    for call in (lambda: lora.add("a", ["q_proj"], 2), lambda: lora.merge("a"), lambda: lora.spectra("a")):
        with pytest.raises(InputError, match=r"a torch\.nn\.Module was wanted; got str"):
            call()
    with pytest.raises(InputError, match=r"no adapter \['default'\]; it has none"):
        lora.merge(model, ["default"])


def test_states_that_do_not_fit_are_refused(model, ids, tmp_path):
    with pytest.raises(InputError, match="no adapter 'default'; it has none"):
        lora.merge(model)
    trained(model, ids)
    with pytest.raises(InputError, match="no adapter 'other'; it has default"):
        lora.unmerge(model, "other")
    with pytest.raises(InputError, match="is not merged"):
        lora.unmerge(model)
    lora.merge(model)
    with pytest.raises(InputError, match="unmerge first"):
        lora.merge(model)
    with pytest.raises(InputError, match="unmerge it before it is cut"):
        lora.cut(model, rank=1)
    with pytest.raises(InputError, match="is merged into"):
        lora.add(model, ["q_proj"], rank=2, name="second")
    lora.unmerge(model)
    lora.add(model, ["q_proj"], rank=2, name="second")
    lora.merge(model)
    with pytest.raises(InputError, match="has other adapters"):
        lora.remove(model)


def test_cuts_that_make_no_sense_are_refused(model, tmp_path):
    lora.add(model, ["q_proj"], rank=4)
    for arguments in ({}, {"rank": 1, "energy": 0.5}):
        with pytest.raises(InputError, match="either rank or energy"):
            lora.cut(model, **arguments)
    with pytest.raises(InputError, match="energy is a share"):
        lora.cut(model, energy=1.5)
    with pytest.raises(InputError, match="of is one of"):
        lora.cut(model, rank=1, of="U")
    with pytest.raises(InputError, match="rank or energy is wanted, not both"):
        lora.export(model, tmp_path, rank=1, energy=0.5)
    with pytest.raises(InputError, match="at least 1"):
        lora.export(model, tmp_path, rank=0)


def test_files_that_do_not_fit_are_refused(model, ids, tmp_path):
    lora.save(trained(model, ids), tmp_path / "mine.safetensors")
    with pytest.raises(InputError, match="cannot be read"):
        lora.load(decoder(), tmp_path / "missing.safetensors")
    (tmp_path / "broken.safetensors").write_bytes((tmp_path / "mine.safetensors").read_bytes()[:-10])
    with pytest.raises(InputError, match="cannot be read"):
        lora.load(decoder(), tmp_path / "broken.safetensors")
    lora.export(model, tmp_path / "plain")
    with pytest.raises(InputError, match="is loaded by peft"):
        lora.load(decoder(), tmp_path / "plain" / "adapter_model.safetensors")
    with pytest.raises(InputError, match="not the one it was trained on"):
        lora.load(decoder(seed=1), tmp_path / "mine.safetensors")
    other = transformers.LlamaForCausalLM(transformers.LlamaConfig(**DECODER.to_dict() | {"hidden_size": 64}))
    with pytest.raises(InputError, match="was 32 x 32; here it is"):
        lora.load(other, tmp_path / "mine.safetensors")
    with pytest.raises(InputError, match="no layer is called"):
        lora.load(nn.Sequential(nn.Linear(2, 2)), tmp_path / "mine.safetensors")
    with pytest.raises(InputError, match="has an adapter 'default' already"):
        lora.load(model, tmp_path / "mine.safetensors")


def test_a_file_is_loaded_on_the_model_whose_names_it_has(tmp_path):
    """By the end of a name it would be put beside the layer, or on a wrong one."""
    inner = nested()
    lora.add(inner, ["0"], rank=2)
    lora.save(inner, tmp_path / "mine.safetensors")
    assert lora.load(nested(), tmp_path / "mine.safetensors") == ("0",)
    for outer in (nn.ModuleDict({"a": nn.Sequential(nn.Linear(4, 4))}), nn.ModuleDict({"a": nested()})):
        with pytest.raises(InputError, match=r"'0' is wanted under its whole name; here it is the end of a\.0"):
            lora.load(outer, tmp_path / "mine.safetensors")
