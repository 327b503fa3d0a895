"""The paper's experiment on decoders that are tiny and know nothing, and the small decoder of letters."""

import copy
import math

import numpy as np
import pytest
import torch

from companion.adapters import finetuning, letter_decoder, llama_scale
from udulib import lora
from udulib.errors import InputError
from udulib.nn import feasible

transformers = pytest.importorskip("transformers")


def rows_of(seed, lengths, vocabulary=40):
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.integers(0, vocabulary, n)) for n in lengths]


@pytest.fixture
def tiny():
    """A LLaMA with random weights: the paper's kind of model."""
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=40,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64,
        )
    ).eval()


def test_the_papers_recipe_is_the_default():
    """A7 of the paper's code: rank 64, SGD at 1e-3, 30 epochs, 8 sequences times 4, queries and values, unit balls."""
    recipe = finetuning.FinetuneSettings()
    assert (recipe.rank, recipe.radius, recipe.optimizer, recipe.learning_rate) == (64, 1.0, "sgd", 1e-3)
    assert (recipe.epochs, recipe.batch, recipe.accumulate, recipe.targets) == (30, 8, 4, ("q_proj", "v_proj"))
    assert finetuning.THRESHOLDS[0] == 1.0 and finetuning.THRESHOLDS[-1] == 0.05


@pytest.mark.parametrize("radius", [1.0, None])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_finetuning_lowers_the_loss_and_keeps_to_the_set(tiny, radius, optimizer):
    rows = rows_of(0, [12, 9, 20, 5, 7, 12])
    before = finetuning.perplexity(tiny, rows)
    rate = 3.0 if optimizer == "sgd" else 0.03
    recipe = finetuning.FinetuneSettings(
        16, radius, optimizer=optimizer, learning_rate=rate, epochs=8, batch=2, accumulate=2
    )
    losses = finetuning.finetune(tiny, rows, recipe)
    assert len(losses) == 8 and losses[-1] < losses[0] and finetuning.perplexity(tiny, rows) < before
    assert feasible(tiny)
    assert len(lora.spectra(tiny)) == 4


def test_the_papers_path_in_half_precision(tiny):
    """Weights in float16, as in the paper's code, where adapters and updates are too; here those are of float32."""
    rows = rows_of(0, [12, 9, 20])
    losses = finetuning.finetune(tiny.half(), rows, finetuning.FinetuneSettings(rank=16, epochs=2))
    assert all(math.isfinite(loss) for loss in losses)
    assert {a.adapters["default"].U.dtype for a in lora.adapted_layers(tiny).values()} == {torch.float32}
    ranks, values = finetuning.after_cuts(tiny, rows, (1.0, 0.05))
    assert ranks[0] == 16 and ranks[1] >= 1 and np.isfinite(values).all()


def test_the_papers_experiment_from_files(tiny, tmp_path):
    """The whole path, with a tiny model in the place of LLaMA and a few words in that of wikitext."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(40)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(tmp_path)
    tiny.save_pretrained(tmp_path)
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        lines = [" ".join(f"w{i}" for i in rng.integers(1, 40, n)) for n in (0, 1, 9, 12, 30)]
        (tmp_path / f"wiki.{part}.raw").write_text("\n".join(lines))
    recipe = finetuning.FinetuneSettings(rank=16, epochs=1)
    found = llama_scale.published_scale(tmp_path, tmp_path, recipe, device="cpu")
    assert set(found) == {"UDV", "LoRA"}
    for losses, ranks, values in found.values():
        assert len(losses) == 1 and ranks[0] == 16 and ranks[-1] < 16
        assert np.allclose(values, 40, rtol=0.1)  # 40 words, and SGD at 1e-3 has hardly moved


def test_accumulating_is_the_same_as_one_large_batch(tiny):
    """Sequences of one length, so that every token counts alike."""
    rows = rows_of(1, [10] * 8)
    other = copy.deepcopy(tiny)
    common = {"rank": 4, "learning_rate": 0.5, "epochs": 2}
    finetuning.finetune(tiny, rows, finetuning.FinetuneSettings(batch=8, accumulate=1, **common))
    finetuning.finetune(other, rows, finetuning.FinetuneSettings(batch=2, accumulate=4, **common))
    for mine, wanted in zip(tiny.parameters(), other.parameters(), strict=True):
        assert torch.allclose(mine, wanted, atol=1e-6)


def test_padding_does_not_count(tiny):
    """The perplexity of sequences of different lengths is that of their tokens, one sequence at a time."""
    rows = rows_of(2, [3, 17, 8])
    total = tokens = 0.0
    for row in rows:
        with torch.no_grad():
            p = tiny(row[None]).logits[0, :-1].log_softmax(-1)
        total -= float(p[torch.arange(len(row) - 1), row[1:]].sum())
        tokens += len(row) - 1
    assert finetuning.perplexity(tiny, rows) == pytest.approx(math.exp(total / tokens), rel=1e-5)


def test_cuts_are_tried_on_the_adapter_and_taken_back(tiny):
    rows = rows_of(0, [12, 9, 20])
    base = finetuning.perplexity(tiny, rows)
    finetuning.finetune(tiny, rows, finetuning.FinetuneSettings(8, optimizer="adam", learning_rate=0.1, epochs=3))
    whole = finetuning.perplexity(tiny, rows)
    ranks, values = finetuning.after_cuts(tiny, rows, (1.0, 0.5, 0.0), of="product")
    assert values[0] == whole == finetuning.perplexity(tiny, rows)
    assert ranks[0] == 8 and np.all(np.diff(ranks) <= 0) and ranks[-1] == 1
    with lora.restored(tiny):
        lora.cut(tiny, rank=0)
        assert finetuning.perplexity(tiny, rows) == base
    assert finetuning.perplexity(tiny, rows) == whole


def test_sequences_are_cut_and_short_ones_left_out():
    def tokenizer(texts, truncation, max_length):
        assert truncation
        return {"input_ids": [[len(word) for word in text.split()][:max_length] for text in texts]}

    rows = finetuning.sequences(["one two three four", "one", "", "a bc"], tokenizer, longest=3)
    assert [row.tolist() for row in rows] == [[3, 3, 5], [1, 2]]


def test_blocks_hold_the_letters_of_the_text():
    rows = letter_decoder.blocks(["It's a film!", "Two: b" * 30])
    text = "".join(letter_decoder.LETTERS[i] for row in rows for i in row)
    assert text.startswith("it s a film two b") and {len(row) for row in rows} == {letter_decoder.BLOCK}
    assert len(letter_decoder.blocks(["word " * 100], count=2)) == 2


def test_the_small_decoder_is_trained_once(tmp_path, monkeypatch):
    monkeypatch.setattr(letter_decoder, "STEPS", 12)
    texts = ["the quick brown fox jumps over the lazy dog " * 200]
    steps = []
    first = letter_decoder.pretrained(texts, tmp_path, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (12, 12)
    assert finetuning.perplexity(first, letter_decoder.blocks(texts, 20)) < 24  # from 27
    again = letter_decoder.pretrained(texts, tmp_path, lambda *_: pytest.fail("trained again"))
    for mine, wanted in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, wanted)
    letter_decoder.pretrained(["another text " * 500], tmp_path)
    assert len(list((tmp_path / "states").iterdir())) == 2


def test_the_start_of_the_small_decoder_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    letter_decoder.small_decoder()
    assert torch.equal(torch.rand(1), wanted)


def test_both_methods_are_tuned_over_equally_many_recipes():
    assert {len(set(letter_decoder.candidates(radius))) for radius in letter_decoder.RADII} == {6}
    assert set(letter_decoder.chosen()) == set(letter_decoder.RADII)


def test_bad_input(tiny):
    with pytest.raises(InputError, match="optimizer is one of sgd, adam"):
        finetuning.finetune(tiny, rows_of(0, [5]), finetuning.FinetuneSettings(optimizer="lbfgs"))
    with pytest.raises(InputError, match="at least one sequence"):
        finetuning.finetune(tiny, [])
    with pytest.raises(InputError, match="no layer is called"):
        finetuning.finetune(tiny, rows_of(0, [5]), finetuning.FinetuneSettings(targets=("query",)))
