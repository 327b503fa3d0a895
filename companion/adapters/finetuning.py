r"""Causal language models, trained through adapters: the paper's experiment (Hou and others, appendix B.7).

A pretrained decoder predicts the next token. Adapters on its query and value projections are trained on a text, then
cut layer by layer, and the perplexity :math:`\exp(-\tfrac1n\sum_t \log p(x_t \mid x_{<t}))` is read after each cut. The
functions take any transformers decoder; the defaults of `FinetuneSettings` are the paper's.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from udulib import lora
from udulib.errors import InputError
from udulib.nn import attach
from udulib.seeds import generator

THRESHOLDS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)  # of energy, as in the paper
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


@dataclass(frozen=True)
class FinetuneSettings:
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


def finetune(model, rows, recipe=None, seed=42, progress=None):
    """Train adapters on a decoder, in place.

    Parameters
    ----------
    model : transformers decoder
        Or any module that takes ``input_ids`` and ``attention_mask`` and returns ``logits``.
    rows : list of tensor of int64, shape (length,)
        See `sequences` and `blocks`.
    recipe : FinetuneSettings, optional
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
    >>> from companion.adapters.letter_decoder import blocks, small_decoder
    >>> model = small_decoder()
    >>> recipe = FinetuneSettings(rank=4, optimizer="adam", epochs=1, accumulate=1)
    >>> losses = finetune(model, blocks(["What a fine film. " * 30]), recipe)
    >>> len(lora.spectra(model))
    4
    """
    recipe = FinetuneSettings() if recipe is None else recipe
    if recipe.optimizer not in OPTIMIZERS:
        raise InputError(f"optimizer is one of {', '.join(OPTIMIZERS)}; got {recipe.optimizer!r}")
    if not rows:
        raise InputError("at least one sequence is wanted; got none")
    lora.add(model, recipe.targets, recipe.rank, recipe.radius, seed=seed)
    optimizer = OPTIMIZERS[recipe.optimizer](lora.groups(model, recipe.learning_rate, recipe.factor))
    if recipe.radius is not None:
        attach(optimizer, model)
    return descend_on(model, optimizer, rows, recipe, seed, progress)


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
    >>> from companion.adapters.letter_decoder import blocks, small_decoder
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
    >>> from companion.adapters.letter_decoder import blocks, small_decoder
    >>> model = small_decoder()
    >>> rows = blocks(["What a fine film. " * 30])
    >>> _ = finetune(model, rows, FinetuneSettings(rank=4, optimizer="adam", epochs=1, accumulate=1))
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


def descend_on(model, optimizer, rows, recipe, seed, progress):
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


def _rank(model):
    return np.mean([len(s) for s in lora.spectra(model).values()])
