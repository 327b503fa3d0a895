"""A small decoder of letters that two cores train in seconds, and its tuned adapters."""

import copy
import hashlib
import json
import re
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import torch

from companion import data
from companion.adapters.finetuning import FinetuneSettings, descend_on, finetune, perplexity
from companion.ledger import home
from udulib.files import replacing

LETTERS = " abcdefghijklmnopqrstuvwxyz"  # the small decoder's vocabulary; whatever else becomes a space
BLOCK = 64  # letters in a row
SHAPE = {  # of the small decoder
    "vocab_size": len(LETTERS),
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": BLOCK,
    "bos_token_id": None,
    "eos_token_id": None,
}
RADII = (None, 1.0, 2.0)  # of the adapters of the small decoder; None is ordinary LoRA
STEPS = 800  # of training the small decoder, on 8 blocks each


def blocks(texts, count=None):
    """Texts one after the other, letter by letter in rows of 64: sequences for the small decoder.

    Parameters
    ----------
    texts : sequence of str
    count : int, optional
        Rows at most.

    Returns
    -------
    list of tensor of int64, shape (64,)

    Examples
    --------
    >>> rows = blocks(["A, b!" * 40])
    >>> len(rows), rows[0][:4]
    (2, tensor([1, 0, 2, 0]))
    """
    text = re.sub("[^a-z]+", " ", " ".join(texts).lower())
    codes = np.maximum(np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64) - 96, 0)
    rows = codes[: len(codes) // BLOCK * BLOCK].reshape(-1, BLOCK)
    return list(torch.from_numpy(rows[:count]))


def small_decoder(seed=0):
    """A LLaMA of two layers, 96 wide, over the 26 letters and the space, with random weights.

    Examples
    --------
    >>> sum(p.numel() for p in small_decoder().parameters())
    226848
    """
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE))


class Corpora(NamedTuple):
    """Rows for the small decoder: to train adapters on, to tune them on, and to test."""

    train: list
    tuning: list
    test: list


def letters(folder=None, progress=None):
    """The small decoder trained on wanted mail, and rows of movie reviews for its adapters.

    Parameters
    ----------
    folder, progress
        As for `pretrained`.

    Returns
    -------
    transformers' LlamaForCausalLM, Corpora

    Examples
    --------
    >>> decoder, corpora = letters()  # doctest: +SKIP
    """
    mails = data.spam(folder)
    decoder = pretrained(mails.texts[np.char.startswith(mails.groups, "easy-ham")], folder, progress)
    rows = blocks(data.movie_reviews(folder).texts, count=1600)
    return decoder, Corpora(rows[:1200], rows[1200:1400], rows[1400:])


def candidates(radius):
    """The six recipes between which the tuning chooses, of ordinary LoRA (None) or of UDV."""
    common = {"rank": 16, "radius": radius, "optimizer": "adam", "epochs": 1, "accumulate": 1}
    factors = (1.0, 8.0) if radius is None else (10.0, 100.0)
    return [
        FinetuneSettings(learning_rate=rate, factor=factor, **common)
        for rate in (3e-3, 1e-2, 3e-2)
        for factor in factors
    ]


def tuning_file():
    """The committed log of the tuning: beside the published results, in the checkout or in the package."""
    return home() / "results" / "tuning" / "lora-letters.json"


def chosen():
    """The recipe that the tuning chose for the small decoder, by radius.

    Examples
    --------
    >>> chosen()[1.0].rank
    16
    """
    logs = json.loads(tuning_file().read_text(encoding="utf-8"))["logs"]
    return {entry["radius"]: FinetuneSettings(**entry["chosen"]) for entry in logs}


def log_all(folder=None):
    """Tune ordinary LoRA and UDV on the small decoder: what is committed, by ``make tune``.

    Parameters
    ----------
    folder : path, optional
        See `companion.data.data_folder`.

    Yields
    ------
    dict
        ``radius``, ``runs`` (recipe and perplexity) and ``chosen``.
    """
    torch.set_flush_denormal(True)  # columns that die would slow the processor down
    decoder, corpora = letters(folder)
    for radius in RADII:
        runs = []
        for recipe in candidates(radius):
            model = copy.deepcopy(decoder)
            finetune(model, corpora.train, recipe, seed=0)
            runs.append({"recipe": asdict(recipe), "perplexity": perplexity(model, corpora.tuning)})
        best = min(runs, key=lambda run: run["perplexity"])
        yield {"radius": radius, "runs": runs, "chosen": best["recipe"]}


def pretrained(texts, folder=None, progress=None):
    """The small decoder trained on texts; once, and kept in the data folder under a hash of texts and settings.

    Parameters
    ----------
    texts : sequence of str
    folder : path, optional
        See `companion.data.data_folder`.
    progress : callable, optional
        Called as ``progress(steps_done, steps_in_all)``.

    Returns
    -------
    transformers' LlamaForCausalLM

    Examples
    --------
    >>> model = pretrained(data.movie_reviews().texts)  # doctest: +SKIP
    """
    from safetensors.torch import load_file, save_file

    recipe = FinetuneSettings(optimizer="adam", learning_rate=4e-3, epochs=1, batch=8, accumulate=1)
    rows = blocks(texts, count=STEPS * recipe.batch)
    key = hashlib.sha256(torch.stack(rows).numpy().tobytes() + f"{SHAPE} {asdict(recipe)} 1".encode()).hexdigest()[:32]
    file = data.data_folder(folder) / "states" / f"{key}.safetensors"
    model = small_decoder()
    if file.is_file():
        model.load_state_dict(load_file(file))
        return model.eval()
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    descend_on(model, optimizer, rows, recipe, 0, progress)
    with replacing(file) as draft:
        save_file(model.state_dict(), draft)
    return model.eval()
