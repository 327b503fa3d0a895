r"""Causal language modelling with adapters: the paper's experiment (Hou and others, appendix B.7).

A pretrained decoder predicts the next token. Adapters on its query and value projections are trained on a text, then
cut layer by layer, and the perplexity :math:`\exp(-\tfrac1n\sum_t \log p(x_t \mid x_{<t}))` is read after each cut. The
defaults of `Recipe` are the paper's: LLaMA-2-7B on wikitext-2, which asks for the model, the text and a GPU. The
functions take any transformers decoder; `small_decoder` is one that two cores train in seconds.
"""

import copy
import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from companion import data
from companion.ledger import home
from udulib import lora
from udulib.errors import InputError
from udulib.files import replacing
from udulib.nn import attach
from udulib.seeds import generator

THRESHOLDS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)  # of energy, as in the paper
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
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


@dataclass(frozen=True)
class Recipe:
    r"""How adapters are trained on a decoder; the defaults are the paper's, with a cosine schedule down to zero.

    Attributes
    ----------
    rank : int, default 64
    radius : float or None, default 1.0
        None is the paper's baseline: D held at one, no balls.
    targets : tuple of str, default ("q_proj", "v_proj")
    optimizer : {"sgd", "adam"}
        The paper's is plain SGD.
    learning_rate : float, default 1e-3
    factor : float, default 1.0
        The rate of D is so many times larger; for ``radius=None``, whose D is fixed, that of V.
    epochs : int, default 30
    batch : int, default 8
    accumulate : int, default 4
        Batches in one step.
    """

    rank: int = 64
    radius: float | None = 1.0
    targets: tuple = ("q_proj", "v_proj")
    optimizer: str = "sgd"
    learning_rate: float = 1e-3
    factor: float = 1.0
    epochs: int = 30
    batch: int = 8
    accumulate: int = 4


def sequences(texts, tokenizer, longest=512):
    """Texts as sequences of token numbers, cut at ``longest``, without those of at most one token, as in the paper.

    Parameters
    ----------
    texts : sequence of str
    tokenizer : callable
        A tokeniser of transformers.
    longest : int, default 512

    Returns
    -------
    list of tensor of int64, shape (length,)

    Examples
    --------
    >>> def by_letters(texts, **settings):
    ...     return {"input_ids": [[ord(c) - 97 for c in text] for text in texts]}
    >>> sequences(["ab", "a", ""], by_letters)
    [tensor([0, 1])]
    """
    ids = tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]
    return [torch.tensor(row) for row in ids if len(row) > 1]


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


def finetune(model, rows, recipe=None, seed=42, progress=None):
    """Train adapters on a decoder, in place.

    Parameters
    ----------
    model : transformers decoder
        Or any module that takes ``input_ids`` and ``attention_mask`` and returns ``logits``.
    rows : list of tensor of int64, shape (length,)
        See `sequences` and `blocks`.
    recipe : Recipe, optional
        The paper's if left out.
    seed : int, default 42
        Of the adapters' start and of the order; the paper's.
    progress : callable, optional
        Called as ``progress(steps_done, steps_in_all)``.

    Returns
    -------
    list of float
        The mean loss of each epoch.

    Raises
    ------
    InputError
        An unknown optimizer, no rows, or what `udulib.lora.add` refuses.

    Examples
    --------
    >>> model = small_decoder()
    >>> recipe = Recipe(rank=4, optimizer="adam", epochs=1, accumulate=1)
    >>> losses = finetune(model, blocks(["What a fine film. " * 30]), recipe)
    >>> len(lora.spectra(model))
    4
    """
    recipe = Recipe() if recipe is None else recipe
    if recipe.optimizer not in OPTIMIZERS:
        raise InputError(f"optimizer is one of {', '.join(OPTIMIZERS)}; got {recipe.optimizer!r}")
    if not rows:
        raise InputError("at least one sequence is wanted; got none")
    lora.add(model, recipe.targets, recipe.rank, recipe.radius, seed=seed)
    optimizer = OPTIMIZERS[recipe.optimizer](lora.groups(model, recipe.learning_rate, recipe.factor))
    if recipe.radius is not None:
        attach(optimizer, model)
    return _descend(model, optimizer, rows, recipe, seed, progress)


def _descend(model, optimizer, rows, recipe, seed, progress):
    rng = generator("order", seed)
    size = recipe.batch * recipe.accumulate
    steps = recipe.epochs * math.ceil(len(rows) / size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses, done = [], 0
    for _ in range(recipe.epochs):
        order, total = rng.permutation(len(rows)), 0.0
        for some in np.array_split(order, math.ceil(len(rows) / size)):
            optimizer.zero_grad()
            for part in np.array_split(some, math.ceil(len(some) / recipe.batch)):
                loss, tokens = _loss(model, [rows[i] for i in part])
                (loss / tokens * len(part) / len(some)).backward()
                total += float(loss.detach() / tokens) * len(part)
            optimizer.step()
            schedule.step()
            done += 1
            if progress:
                progress(done, steps)
        losses.append(total / len(rows))
    return losses


def _loss(model, rows):
    """Summed negative log-likelihood of sequences, padded to one length, and how many tokens it counts."""
    device = next(model.parameters()).device
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)  # (n, L)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    mask = torch.arange(ids.shape[1], device=device) < lengths[:, None]
    logits = model(input_ids=ids, attention_mask=mask.long()).logits[:, :-1].float()  # (n, L - 1, letters)
    wanted = ids[:, 1:].masked_fill(~mask[:, 1:], -100)
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum")
    return loss, int(mask[:, 1:].sum())


@torch.inference_mode()
def perplexity(model, rows, batch=32):
    r""":math:`\exp` of the mean negative log-likelihood of all tokens but each sequence's first.

    Parameters
    ----------
    model, rows
        As for `finetune`.
    batch : int, default 32

    Returns
    -------
    float

    Examples
    --------
    >>> 25 < perplexity(small_decoder(), blocks(["What a fine film. " * 30])) < 29  # it knows nothing yet
    True
    """
    parts = [_loss(model, rows[i : i + batch]) for i in range(0, len(rows), batch)]
    return math.exp(sum(float(loss) for loss, _ in parts) / sum(tokens for _, tokens in parts))


def after_cuts(model, rows, thresholds=THRESHOLDS, of="factor"):
    r"""Perplexity after each cut of the adapters, which stay as they are in the end.

    Parameters
    ----------
    model, rows
        As for `finetune`.
    thresholds : sequence of float
        Shares of energy, see `udulib.lora.cut`.
    of : {"factor", "product"}
        The paper cuts by the singular values of :math:`U\,\mathrm{diag}(D)`, which is ``"factor"``.

    Returns
    -------
    ranks, perplexities : array, shape (thresholds,)
        Directions kept, mean over layers; and what they are worth.

    Examples
    --------
    >>> model = small_decoder()
    >>> rows = blocks(["What a fine film. " * 30])
    >>> _ = finetune(model, rows, Recipe(rank=4, optimizer="adam", epochs=1, accumulate=1))
    >>> ranks, values = after_cuts(model, rows, thresholds=(1.0, 0.5))
    >>> float(ranks[0]), bool(values[0] == perplexity(model, rows))
    (4.0, True)
    """
    ranks, values = [], []
    for energy in thresholds:
        with lora.restored(model):
            kept = lora.cut(model, energy=energy, of=of) if energy < 1 else {"all": _rank(model)}
            ranks.append(np.mean(list(kept.values())))
            values.append(perplexity(model, rows))
    return np.array(ranks), np.array(values)


def _rank(model):
    return np.mean([len(s) for s in lora.spectra(model).values()])


def published_scale(model_folder, text_folder, recipe=None, *, device="cuda", seed=42, progress=None):
    """The paper's experiment as it stands: needs LLaMA-2-7B, wikitext-2 (raw) and a GPU. Not run by us.

    Parameters
    ----------
    model_folder : path
        A decoder and its tokeniser, as transformers saves them. They are loaded in float16.
    text_folder : path
        With ``wiki.train.raw`` and ``wiki.test.raw``, one paragraph a line.
    recipe : Recipe, optional
        Of the UDV adapters; the paper's if left out. The baseline has the same without balls and with D held at one.
    device : str, default "cuda"
    seed : int, default 42
    progress : callable, optional
        As for `finetune`.

    Returns
    -------
    dict
        ``"UDV"`` and ``"LoRA"``: each the losses of the epochs, and ranks and perplexities after each cut.

    Examples
    --------
    >>> published_scale("Llama-2-7b-hf", "wikitext-2-raw")  # doctest: +SKIP
    """
    import transformers

    recipe = Recipe() if recipe is None else recipe
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder, local_files_only=True)
    train, test = (
        sequences(Path(text_folder, f"wiki.{part}.raw").read_text(encoding="utf-8").splitlines(), tokenizer)
        for part in ("train", "test")
    )
    found = {}
    for name, radius in (("UDV", recipe.radius), ("LoRA", None)):
        model = transformers.AutoModelForCausalLM.from_pretrained(
            model_folder, dtype=torch.float16, local_files_only=True
        ).to(device)
        losses = finetune(model, train, replace(recipe, radius=radius), seed, progress)
        found[name] = (losses, *after_cuts(model.eval(), test))
    return found


# A small decoder ------------------------------------------------------------------------------------------------------


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
    return [Recipe(learning_rate=rate, factor=factor, **common) for rate in (3e-3, 1e-2, 3e-2) for factor in factors]


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
    return {entry["radius"]: Recipe(**entry["chosen"]) for entry in logs}


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

    recipe = Recipe(optimizer="adam", learning_rate=4e-3, epochs=1, batch=8, accumulate=1)
    rows = blocks(texts, count=STEPS * recipe.batch)
    key = hashlib.sha256(torch.stack(rows).numpy().tobytes() + f"{SHAPE} {asdict(recipe)} 1".encode()).hexdigest()[:32]
    file = data.data_folder(folder) / "states" / f"{key}.safetensors"
    model = small_decoder()
    if file.is_file():
        model.load_state_dict(load_file(file))
        return model.eval()
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    _descend(model, optimizer, rows, recipe, 0, progress)
    with replacing(file) as draft:
        save_file(model.state_dict(), draft)
    return model.eval()
