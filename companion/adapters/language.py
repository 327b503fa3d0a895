r"""Adapters on a pretrained language model, MiniLM-L6, on a small machine: two tasks, and methods tuned alike.

MiniLM-L6 has six layers. The lower five stay frozen, so their output is computed once and kept in the data
folder (`states`). The top layer is trained through adapters. Only the first token of its output is used, and for
one token the layer costs a tenth: `TopLayer` says how, with the same result.
"""

import copy
import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from companion import data
from companion.ledger import home
from udulib import lora
from udulib.files import replacing
from udulib.nn import attach
from udulib.seeds import generator

TOKENS = 48  # of a sentence; 95 % of the reviews are shorter. Of a mail only the beginning is read
FROZEN = 5  # layers below the one that is trained
CHUNK = 250  # sentences in a file of states
TARGETS = ("query", "value")  # as in the paper: the query and value projections
GROUP = 600  # mails of a folder at most, so that no kind outweighs the others


# Sentences and their kinds --------------------------------------------------------------------------------------------


class Texts(NamedTuple):
    """Texts in random order, the kind of each, and the kinds' names."""

    texts: list
    labels: np.ndarray  # (n,) int64
    kinds: tuple


def sentiment(folder=None, progress=None):
    """Sentences of movie reviews, negative or positive: those whose mean rating is at least 0.5 from zero.

    Parameters
    ----------
    folder, progress
        As for `companion.data.fetch`.

    Returns
    -------
    Texts

    Examples
    --------
    >>> len(sentiment().texts)  # doctest: +SKIP
    10072
    """
    reviews = data.movie_reviews(folder, progress=progress)
    clear = np.flatnonzero(np.abs(reviews.ratings) >= 0.5)
    return _shuffled([reviews.texts[i] for i in clear], reviews.ratings[clear] > 0, ("negative", "positive"))


def mail_kinds(folder=None, progress=None):
    """The five folders of the SpamAssassin corpus as classes, from the beginning of each mail's body.

    Two are wanted mail of different years, one is wanted mail that looks like spam, two are spam of different years.
    Headers, HTML tags, repeated beginnings and empty mails are left out; of each folder at most 600 are taken.

    Parameters
    ----------
    folder, progress
        As for `companion.data.fetch`.

    Returns
    -------
    Texts

    Examples
    --------
    >>> mail_kinds().kinds  # doctest: +SKIP
    ('easy-ham-1', 'easy-ham-2', 'hard-ham-1', 'spam-1', 'spam-2')
    """
    mails = data.spam(folder, progress=progress)
    kinds = tuple(np.unique(mails.groups).tolist())
    texts, labels, seen, taken = [], [], set(), dict.fromkeys(kinds, 0)
    for i in generator("mails", 0).permutation(len(mails.texts)):
        text = " ".join(re.sub(r"<[^>]*>", " ", mails.texts[i][:4000]).split())[:600]
        group, beginning = str(mails.groups[i]), text[:80]
        if not text or beginning in seen or taken[group] == GROUP:
            continue
        seen.add(beginning)
        taken[group] += 1
        texts.append(text)
        labels.append(kinds.index(group))
    return _shuffled(texts, np.array(labels), kinds)


def _shuffled(texts, labels, kinds):
    order = generator("texts", 0).permutation(len(texts))
    return Texts([texts[i] for i in order], labels[order].astype(np.int64), kinds)


# The frozen layers, once ----------------------------------------------------------------------------------------------


class States(NamedTuple):
    """Hidden states of texts, padded with zeros, and which of them are tokens."""

    values: torch.Tensor  # (n, TOKENS, d) float16
    mask: torch.Tensor  # (n, TOKENS) bool


def states(texts, folder=None, progress=None):
    """What the frozen layers of MiniLM-L6 make of texts; computed once and kept in the data folder.

    A file holds the states of 250 texts. Its name is a hash of the texts, the weights and the settings, so a change of
    any of them is a new file, and a run that was killed goes on where it was.

    Parameters
    ----------
    texts : sequence of str
    folder : path, optional
        See `companion.data.data_folder`.
    progress : callable, optional
        Called as ``progress(texts_done, texts_in_all)``.

    Returns
    -------
    States

    Examples
    --------
    >>> states(["A fine film."]).values.shape  # doctest: +SKIP
    torch.Size([1, 48, 384])
    """
    stamp = f"{data.about('minilm').members} {FROZEN} {TOKENS}"
    place = data.data_folder(folder) / "states"
    place.mkdir(parents=True, exist_ok=True)
    parts, encode = [], None
    for first in range(0, len(texts), CHUNK):
        chunk = list(texts[first : first + CHUNK])
        key = hashlib.sha256("\0".join([stamp, *chunk]).encode()).hexdigest()[:32]
        file = place / f"{key}.npz"
        if not file.is_file():
            encode = encode or _encoder(folder)
            _write(file, *encode(chunk))
        with np.load(file) as kept:
            parts.append(_padded(kept["tokens"], kept["lengths"]))
        if progress:
            progress(first + len(chunk), len(texts))
    return States(*(torch.cat(part) for part in zip(*parts, strict=True)))


def minilm(folder=None):
    """MiniLM-L6 and its tokeniser, from the data folder: no network, no progress bars, nothing trained."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    place = data.minilm(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(place, local_files_only=True)
    return transformers.AutoModel.from_pretrained(place, local_files_only=True).eval(), tokenizer


def _encoder(folder):
    model, tokenizer = minilm(folder)
    model.encoder.layer = model.encoder.layer[:FROZEN]

    @torch.inference_mode()
    def encode(texts):
        """All tokens' states one after the other, (tokens, d) float16, and how many each text has."""
        ids = tokenizer(texts, truncation=True, max_length=TOKENS)["input_ids"]
        lengths = np.array([len(row) for row in ids])
        found = [None] * len(ids)
        for some in np.array_split(np.argsort(lengths, kind="stable"), max(1, len(ids) // 32)):  # little padding
            rows = tokenizer.pad({"input_ids": [ids[i] for i in some]}, return_tensors="pt")
            values = model(rows["input_ids"], attention_mask=rows["attention_mask"]).last_hidden_state
            for i, value in zip(some, values, strict=True):
                found[i] = value[: lengths[i]].half().numpy()
        return np.concatenate(found), lengths

    return encode


def _write(file, tokens, lengths):
    with replacing(file) as draft, open(draft, "wb") as handle:
        np.savez(handle, tokens=tokens, lengths=lengths)


def _padded(tokens, lengths):
    mask = torch.arange(TOKENS) < torch.from_numpy(lengths)[:, None]  # (n, TOKENS)
    values = torch.zeros(*mask.shape, tokens.shape[1], dtype=torch.float16)
    values[mask] = torch.from_numpy(tokens)
    return values, mask


# The top layer, trained -----------------------------------------------------------------------------------------------


class TopLayer(nn.Module):
    r"""The last layer of a BERT model, for the first token alone, and a linear classifier on it.

    One query needs neither the keys nor the values of all tokens: with :math:`q` of one head,
    :math:`q^\top W_K h_j = (W_K^\top q)^\top h_j`, and :math:`\sum_j a_j W_V h_j = W_V \sum_j a_j h_j`. (The bias of
    the keys adds the same to all scores, and softmax does not see it.) The output is that of the layer itself.

    Parameters
    ----------
    layer : transformers' BertLayer
        Taken apart, not copied: an adapter on its ``query``, ``key`` or ``value`` counts here.
    classes : int
        The classifier starts at zero.

    Examples
    --------
    >>> import transformers
    >>> config = transformers.BertConfig(hidden_size=8, num_attention_heads=2, intermediate_size=16)
    >>> layer = transformers.BertModel(config).encoder.layer[0].eval()
    >>> TopLayer(layer, classes=3)(torch.ones(2, 5, 8), torch.ones(2, 5, dtype=bool)).shape
    torch.Size([2, 3])
    """

    def __init__(self, layer, classes):
        super().__init__()
        self.layer = layer
        self.heads = layer.attention.self.num_attention_heads
        self.head = nn.Linear(layer.output.dense.out_features, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, states, mask):
        """Scores of the classes, (n, classes), for states (n, L, d) of which mask (n, L) are tokens."""
        return self.head(self.first_token(states, mask))

    def first_token(self, states, mask):
        """The layer's output at the first token, (n, d)."""
        own, after, first = self.layer.attention.self, self.layer.attention.output, states[:, 0]
        q = own.query(first).unflatten(-1, (self.heads, -1))  # (n, heads, d / heads)
        W_K, W_V = (w.unflatten(0, (self.heads, -1)) for w in (own.key.weight, own.value.weight))
        q = torch.einsum("nhk,hkd->nhd", q, W_K) / math.sqrt(q.shape[-1])
        scores = (q @ states.mT).masked_fill(~mask[:, None], -math.inf)  # (n, heads, L)
        mixed = scores.softmax(-1) @ states  # (n, heads, d)
        values = torch.einsum("nhd,hkd->nhk", mixed, W_V).flatten(1) + own.value.bias
        x = after.LayerNorm(after.dense(values) + first)
        return self.layer.output.LayerNorm(self.layer.output.dense(self.layer.intermediate(x)) + x)


@dataclass(frozen=True)
class Recipe:
    r"""How an adapter is trained: AdamW with a cosine schedule down to zero.

    Attributes
    ----------
    rank : int
    radius : float or None
        None is ordinary LoRA.
    learning_rate : float
        Of U, and of V and D unless ``factor`` says otherwise.
    factor : float, default 1.0
        The rate of D is so many times larger; for ordinary LoRA, whose D is fixed, that of V.
    weight_decay : float, default 0.0
        Decoupled, on the adapter alone.
    epochs : int, default 4
    batch : int, default 32
    head_rate : float, default 3e-3
        Learning rate of the classifier, which is the same for all.
    """

    rank: int
    radius: float | None
    learning_rate: float
    factor: float = 1.0
    weight_decay: float = 0.0
    epochs: int = 4
    batch: int = 32
    head_rate: float = 3e-3


def train(layer, states, labels, classes, recipe, seed):
    """A `TopLayer` with adapters on queries and values, trained on states of sentences.

    Parameters
    ----------
    layer : transformers' BertLayer
        Not changed: a copy of it is trained.
    states : States
    labels : array of int, shape (n,)
    classes : int
    recipe : Recipe
    seed : int
        Of the adapter's start and of the order of the sentences.

    Returns
    -------
    TopLayer

    Examples
    --------
    >>> import transformers
    >>> config = transformers.BertConfig(hidden_size=8, num_attention_heads=2, intermediate_size=16)
    >>> layer = transformers.BertModel(config).encoder.layer[0].eval()
    >>> some = States(torch.randn(40, TOKENS, 8).half(), torch.ones(40, TOKENS, dtype=bool))
    >>> model = train(layer, some, np.arange(40) % 2, 2, Recipe(rank=2, radius=1.0, learning_rate=1e-2), seed=0)
    >>> sorted(lora.spectra(model))
    ['layer.attention.self.query', 'layer.attention.self.value']
    """
    model = adapted(layer, classes, recipe, seed)
    labels = torch.as_tensor(labels)
    rng = generator("order", seed)
    batches = [b for _ in range(recipe.epochs) for b in _batches(rng.permutation(len(labels)), recipe.batch)]
    optimizer = _adamw(model, recipe)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    for rows in batches:
        loss = F.cross_entropy(model(*_some(states, rows)), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.requires_grad_(False)


def adapted(layer, classes, recipe, seed):
    """A `TopLayer` on a copy of the layer, with adapters at their start and a head to train."""
    model = TopLayer(copy.deepcopy(layer), classes)
    lora.add(model, TARGETS, recipe.rank, recipe.radius, seed=seed)
    model.head.requires_grad_(True)
    return model


def accuracy(model, states, labels, batch=256):
    """Share of the sentences whose kind a `TopLayer` gets right."""
    with torch.inference_mode():
        some = [slice(first, first + batch) for first in range(0, len(labels), batch)]
        parts = [model(*_some(states, rows)).argmax(-1) for rows in some]
    return float((torch.cat(parts).numpy() == labels).mean())


def _adamw(model, recipe):
    groups = lora.groups(model, recipe.learning_rate, recipe.factor, recipe.weight_decay)
    optimizer = torch.optim.AdamW(
        [*groups, {"params": model.head.parameters(), "lr": recipe.head_rate, "weight_decay": 0}]
    )
    if recipe.radius is not None:
        attach(optimizer, model)
    return optimizer


# Methods, tuned alike -------------------------------------------------------------------------------------------------


TASKS = {"sentiment": sentiment, "kinds of mail": mail_kinds}
METHODS = {  # radius; and the one setting beside the learning rate that is tuned, with its two values
    "LoRA": (None, "factor", (1.0, 8.0)),
    "LoRA, weight decay": (None, "weight_decay", (3.0, 30.0)),
    "UDV, R = 0.5": (0.5, "factor", (10.0, 100.0)),
    "UDV, R = 1": (1.0, "factor", (10.0, 100.0)),
    "UDV, R = 2": (2.0, "factor", (10.0, 100.0)),
}
RATES = (3e-3, 1e-2, 3e-2, 1e-1)
CONFIGURATIONS = [
    *((method, 16) for method in METHODS),
    *((method, 64) for method in ("LoRA", "LoRA, weight decay", "UDV, R = 1")),
]
TUNING = 800  # texts at the front of each task that only the tuning sees


def split(count, train, seed):
    """Rows to train on and rows to test on, the rest of ``count``, drawn by the seed."""
    order = generator("split", seed).permutation(count)
    return order[:train], order[train:]


def rows(states, index):
    """The states of some texts, in float32 for many uses."""
    return States(states.values[index].float(), states.mask[index])


def candidates(method, rank):
    """The eight recipes of a method between which the tuning chooses."""
    radius, knob, values = METHODS[method]
    return [Recipe(rank, radius, rate, **{knob: value}) for rate in RATES for value in values]


def tune(layer, states, labels, classes, method, rank, splits=3):
    """Accuracies of a method's eight recipes on held-out texts, and the recipe with the best mean.

    Parameters
    ----------
    layer, states, labels, classes
        As for `train`; the texts that the tuning may see.
    method : str
        One of ``METHODS``.
    rank : int
    splits : int, default 3
        Each trains on five eighths of the texts.

    Returns
    -------
    dict
        ``method``, ``rank``, ``runs`` (recipe and accuracies) and ``chosen``.
    """
    runs = []
    for recipe in candidates(method, rank):
        scores = []
        for seed in range(splits):
            seen, held = split(len(labels), len(labels) * 5 // 8, seed)
            model = train(layer, rows(states, seen), labels[seen], classes, recipe, seed)
            scores.append(accuracy(model, rows(states, held), labels[held]))
        runs.append({"recipe": asdict(recipe), "accuracy": scores})
    best = max(runs, key=lambda run: np.mean(run["accuracy"]))
    return {"method": method, "rank": rank, "runs": runs, "chosen": best["recipe"]}


def tuning_file():
    """The committed log of the tuning: beside the published results, in the checkout or in the package."""
    return home() / "results" / "tuning" / "lora.json"


def chosen(logs=None):
    """The recipe that the tuning chose, by task, method and rank.

    Parameters
    ----------
    logs : list of dict, optional
        As :func:`log_all` yields them; the committed ones if left out.

    Examples
    --------
    >>> recipes = chosen()
    >>> recipes["sentiment", "UDV, R = 1", 16].radius
    1.0
    """
    logs = json.loads(tuning_file().read_text(encoding="utf-8"))["logs"] if logs is None else logs
    return {(entry["task"], entry["method"], entry["rank"]): Recipe(**entry["chosen"]) for entry in logs}


def log_all(folder=None):
    """Tune every configuration on both tasks: what is committed, by ``make tune``.

    Parameters
    ----------
    folder : path, optional
        See `companion.data.data_folder`.

    Yields
    ------
    dict
        ``task``, and what :func:`tune` returns.

    Examples
    --------
    >>> next(log_all())["task"]  # doctest: +SKIP
    'sentiment'
    """
    torch.set_flush_denormal(True)  # columns that die would slow the processor down
    layer = minilm(folder)[0].encoder.layer[FROZEN]
    for task, texts in TASKS.items():
        known = texts(folder)
        some, labels = states(known.texts[:TUNING], folder), known.labels[:TUNING]
        for method, rank in CONFIGURATIONS:
            yield {"task": task} | tune(layer, some, labels, len(known.kinds), method, rank)


def _batches(order, size):
    return np.array_split(order, math.ceil(len(order) / size))


def _some(states, rows):
    """Rows of states in float32, without the padding that none of them needs."""
    mask = states.mask[rows]
    longest = int(mask.sum(-1).max())
    return states.values[rows, :longest].float(), mask[:, :longest]
