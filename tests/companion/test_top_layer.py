"""MiniLM's top layer for one token, the frozen states in their files, and the texts."""

import numpy as np
import pytest
import torch

from companion import data
from companion.adapters import frozen_layers, texts, top_layer, tuning
from companion.adapters.rank_allocation import RankAllocation, orthogonality
from udulib import lora

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 32, "num_hidden_layers": 2}


@pytest.fixture
def bert():
    torch.manual_seed(0)
    return transformers.BertModel(transformers.BertConfig(vocab_size=40, **SMALL)).eval()


def some_states(n=6, width=16, seed=0):
    rng = np.random.default_rng(seed)
    mask = torch.arange(frozen_layers.TOKENS) < torch.from_numpy(rng.integers(3, frozen_layers.TOKENS + 1, n))[:, None]
    values = torch.from_numpy(rng.standard_normal((n, frozen_layers.TOKENS, width))).half() * mask[..., None]
    return frozen_layers.States(values, mask)


def layer_output(layer, states):
    """What transformers itself computes, at the first token."""
    mask = torch.where(states.mask, 0.0, -torch.inf)[:, None, None]
    out = layer(states.values.float(), mask)
    return (out[0] if isinstance(out, tuple) else out)[:, 0]


@pytest.mark.parametrize("targets", [["query"], ["value"], ["key"], ["query", "value", "attention.output.dense"]])
def test_top_layer_is_the_layer_with_its_adapters(bert, targets):
    """One query, folded keys and mixed states give the layer's own first token."""
    layer, states = bert.encoder.layer[1], some_states()
    model = top_layer.TopLayer(layer, classes=3)
    lora.add(model, targets, rank=4)
    with torch.no_grad():
        for adapted in lora.adapted_layers(model).values():
            adapted.adapters["default"].V.normal_(std=30)
        mine = model.first_token(*top_layer._some(states, np.arange(6)))
        wanted = layer_output(layer, states)
        lora.cut(model, rank=0)
        assert (layer_output(layer, states) - wanted).abs().max() > 1e-3
    assert torch.allclose(mine, wanted, atol=1e-5)


def test_training_starts_at_the_base_and_changes_a_copy(bert):
    layer, states = bert.encoder.layer[1], some_states(40)
    before = {name: p.clone() for name, p in layer.named_parameters()}
    recipe = top_layer.TopLayerSettings(rank=4, radius=1.0, learning_rate=1e-2)
    start = top_layer.adapted(layer, 2, recipe, seed=0)
    with torch.no_grad():
        assert torch.equal(
            start.first_token(*top_layer._some(states, np.arange(40))),
            top_layer.TopLayer(layer, 2).first_token(*top_layer._some(states, np.arange(40))),
        )
    top_layer.train(layer, states, np.arange(40) % 2, 2, recipe, seed=0)
    assert all(torch.equal(p, before[name]) for name, p in layer.named_parameters())


@pytest.mark.parametrize("radius", [None, 3.0])
def test_training_learns_and_is_the_same_again(bert, radius):
    states = some_states(64)
    labels = (states.values[:, 1, 0] > 0).numpy().astype(np.int64)
    recipe = top_layer.TopLayerSettings(rank=4, radius=radius, learning_rate=3e-2, factor=5.0, epochs=30)
    model, again = (top_layer.train(bert.encoder.layer[1], states, labels, 2, recipe, seed=1) for _ in range(2))
    assert top_layer.accuracy(model, states, labels) > 0.7  # of a guess, 0.56
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), again.parameters(), strict=True))


def test_weight_decay_shrinks_the_adapter(bert):
    states, labels = some_states(64), np.arange(64) % 2
    sizes = []
    for decay in (0.0, 30.0):
        recipe = top_layer.TopLayerSettings(rank=4, radius=None, learning_rate=1e-2, weight_decay=decay)
        model = top_layer.train(bert.encoder.layer[1], states, labels, 2, recipe, seed=0)
        sizes.append(sum(np.sum(s) for s in lora.spectra(model).values()))
    assert sizes[1] < sizes[0]


def test_every_method_is_tuned_over_equally_many_recipes():
    counts = {len(set(tuning.candidates(method, rank))) for method, rank in tuning.CONFIGURATIONS + tuning.RIVALS}
    assert counts == {8}


def test_tuning_sees_no_text_that_is_tested():
    for seed in range(3):
        seen, held = tuning.split(100, 60, seed)
        assert sorted([*seen, *held]) == list(range(100)) and len(seen) == 60
    assert set(tuning.chosen()) == {
        (task, method, rank) for task in tuning.TASKS for method, rank in tuning.CONFIGURATIONS + tuning.RIVALS
    }


# Files of states ------------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """States of texts without MiniLM: a text of n letters has n tokens; how often texts were encoded is counted."""
    calls = []

    def encoder(folder):
        def encode(texts):
            calls.append(len(texts))
            lengths = np.array([min(len(text), frozen_layers.TOKENS) for text in texts])
            return np.ones((lengths.sum(), 4), dtype=np.float16), lengths

        return encode

    monkeypatch.setattr(frozen_layers, "_encoder", encoder)
    return calls


def test_states_are_computed_once(counted, tmp_path):
    texts = ["a" * (1 + i % 60) for i in range(300)]
    said = []
    first = frozen_layers.states(texts, tmp_path, lambda done, total: said.append((done, total)))
    assert counted == [250, 50] and said == [(250, 300), (300, 300)]
    again = frozen_layers.states(texts, tmp_path)
    assert counted == [250, 50]
    assert torch.equal(first.values, again.values) and torch.equal(first.mask, again.mask)
    assert first.mask.sum(-1).tolist() == [min(len(text), frozen_layers.TOKENS) for text in texts]


def test_states_of_other_texts_are_other_files(counted, tmp_path):
    frozen_layers.states(["a", "b"], tmp_path)
    frozen_layers.states(["ab"], tmp_path)
    frozen_layers.states(["a", "c"], tmp_path)
    assert len(counted) == 3 and len(list((tmp_path / "states").iterdir())) == 3


def test_a_killed_run_leaves_no_half_file(monkeypatch, counted, tmp_path):
    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", killed)
        with pytest.raises(KeyboardInterrupt):
            frozen_layers.states(["a"], tmp_path)
    assert frozen_layers.states(["a"], tmp_path).mask.sum() == 1
    assert [path.suffix for path in sorted((tmp_path / "states").iterdir())].count(".npz") == 1


# Texts ----------------------------------------------------------------------------------------------------------------


def test_sentiment_leaves_unclear_sentences_out(monkeypatch):
    reviews = data.Reviews(np.array(list("abcd"), dtype=object), np.array([0.4, 0.5, -3.0, 0.0]))
    monkeypatch.setattr(data, "movie_reviews", lambda *args, **kwargs: reviews)
    known = texts.sentiment()
    assert dict(zip(known.texts, known.labels.tolist(), strict=True)) == {"b": 1, "c": 0}


def test_mail_kinds_have_no_tags_no_repeats_and_no_headers(monkeypatch):
    bodies = ["<b>one</b>\n two", "one two", "", "three", "<br>"] + [f"mail {i}" for i in range(700)]
    groups = np.array(["spam-1", "spam-1", "spam-2", "easy-ham-1", "easy-ham-1"] + ["easy-ham-2"] * 700)
    mails = data.Mails(np.array(bodies, dtype=object), np.char.startswith(groups, "spam"), groups)
    monkeypatch.setattr(data, "spam", lambda *args, **kwargs: mails)
    known = texts.mail_kinds()
    assert known.kinds == ("easy-ham-1", "easy-ham-2", "spam-1", "spam-2")
    assert sorted(np.bincount(known.labels, minlength=4).tolist()) == [0, 1, 1, texts.GROUP]
    assert "one two" in known.texts and len(set(known.texts)) == len(known.texts)


# The real model -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_frozen_states_and_top_layer_are_the_whole_minilm(tmp_path):
    """Through the files and the top layer alone, as through the model itself; float16 in the files costs 1e-3."""
    try:
        home = data.minilm()
    except data.DataError as error:
        pytest.skip(str(error))
    texts = ["A fine film.", "It is long, and it is dull: nothing happens twice.", "x " * 100]
    (tmp_path / "minilm").symlink_to(home)
    states = frozen_layers.states(texts, tmp_path)
    model, tokenizer = frozen_layers.minilm()
    inputs = tokenizer(texts, truncation=True, max_length=frozen_layers.TOKENS, padding=True, return_tensors="pt")
    with torch.no_grad():
        wanted = model(**inputs).last_hidden_state[:, 0]
        mine = top_layer.TopLayer(model.encoder.layer[frozen_layers.FROZEN], 2).first_token(
            *top_layer._some(states, np.arange(3))
        )
    assert torch.allclose(mine, wanted, atol=5e-3)


# AdaLoRA --------------------------------------------------------------------------------------------------------------


def test_the_budget_falls_to_the_final_rank(bert):
    states, labels = some_states(64), np.arange(64) % 2
    recipe = top_layer.TopLayerSettings(
        rank=2, radius=None, learning_rate=1e-2, factor=10.0, orthogonality=0.1, epochs=10
    )
    model = top_layer.train(bert.encoder.layer[1], states, labels, 2, recipe, seed=0)
    adapters = top_layer.adapters_of(model)
    assert [len(adapter.D) for adapter in adapters] == [3, 3]
    assert sum(int((adapter.D != 0).sum()) for adapter in adapters) == 4
    assert sum((s > 1e-6 * s.max()).sum() for s in lora.spectra(model).values()) == 4


def test_the_allocation_drops_what_matters_least(bert):
    model = top_layer.adapted(
        bert.encoder.layer[1],
        2,
        top_layer.TopLayerSettings(rank=2, radius=None, learning_rate=0.0, orthogonality=0.1),
        0,
    )
    adapters = top_layer.adapters_of(model)
    for adapter, sizes in zip(adapters, ([3.0, 1.0, 2.0], [5.0, 4.0, 0.5]), strict=True):
        adapter.D.data = torch.tensor(sizes)
        for parameter in (adapter.U, adapter.D, adapter.V):
            parameter.grad = torch.ones_like(parameter)
    allocation = RankAllocation(adapters, rank=2, steps=1)
    allocation.step()
    assert allocation.budget() == 4
    assert [adapter.D.nonzero().flatten().tolist() for adapter in adapters] == [[0, 2], [0, 1]]


def test_orthonormal_columns_cost_nothing(bert):
    recipe = top_layer.TopLayerSettings(rank=2, radius=None, learning_rate=0.0, orthogonality=0.1)
    adapters = top_layer.adapters_of(top_layer.adapted(bert.encoder.layer[1], 2, recipe, 0))
    assert orthogonality(adapters) > 1
    for adapter in adapters:
        adapter.fill_(torch.linalg.qr(adapter.U)[0], adapter.D, torch.linalg.qr(adapter.V)[0])
    assert orthogonality(adapters) < 1e-10
