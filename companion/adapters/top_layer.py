r"""The top layer of MiniLM-L6, trained through adapters.

Only the first token of its output is used, and for one token the layer costs a tenth: `TopLayer` says how, with the
same result.
"""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from companion.adapters.rank_allocation import INITIAL, RankAllocation, free, free_groups, orthogonality
from udulib import lora
from udulib.nn import attach
from udulib.seeds import generator

TARGETS = ("query", "value")  # as in the paper: the query and value projections


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
class TopLayerSettings:
    r"""How an adapter is trained: AdamW with a cosine schedule down to zero.

    Attributes
    ----------
    rank : int
    radius : float or None
        None is ordinary LoRA.
    learning_rate : float
        Of U, and of V and D unless ``factor`` says otherwise.
    factor : float, default 1.0
        The rate of D is so many times larger; where D is fixed, in LoRA, that of V.
    weight_decay : float, default 0.0
        Decoupled, on the adapter alone.
    scaling : float, default 1.0
        The change is multiplied by it. Rank-stabilised LoRA takes a number over the square root of the rank.
    orthogonality : float, default 0.0
        Above zero the adapter is AdaLoRA's, with this strength of its penalty; ``rank`` is then the final one.
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
    scaling: float = 1.0
    orthogonality: float = 0.0
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
    recipe : TopLayerSettings
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
    >>> from companion.adapters.frozen_layers import TOKENS, States
    >>> some = States(torch.randn(40, TOKENS, 8).half(), torch.ones(40, TOKENS, dtype=bool))
    >>> settings = TopLayerSettings(rank=2, radius=1.0, learning_rate=1e-2)
    >>> model = train(layer, some, np.arange(40) % 2, 2, settings, seed=0)
    >>> sorted(lora.spectra(model))
    ['layer.attention.self.query', 'layer.attention.self.value']
    """
    model = adapted(layer, classes, recipe, seed)
    labels = torch.as_tensor(labels)
    rng = generator("order", seed)
    batches = [b for _ in range(recipe.epochs) for b in _batches(rng.permutation(len(labels)), recipe.batch)]
    optimizer = _adamw(model, recipe)
    adapters = adapters_of(model)
    allocation = RankAllocation(adapters, recipe.rank, len(batches)) if recipe.orthogonality else None
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    for rows in batches:
        loss = F.cross_entropy(model(*_some(states, rows)), labels[rows])
        if allocation:
            loss = loss + recipe.orthogonality * orthogonality(adapters)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if allocation:
            allocation.step()
        schedule.step()
    return model.requires_grad_(False)


def adapted(layer, classes, recipe, seed):
    """A `TopLayer` on a copy of the layer, with adapters at their start and a head to train."""
    model = TopLayer(copy.deepcopy(layer), classes)
    rank = round(INITIAL * recipe.rank) if recipe.orthogonality else recipe.rank
    lora.add(model, TARGETS, rank, recipe.radius, recipe.scaling, seed=seed)
    if recipe.orthogonality:
        rng = torch.Generator().manual_seed(int(seed))
        for adapter in adapters_of(model):
            free(adapter, rng)
    model.head.requires_grad_(True)
    return model


def adapters_of(model):
    """The adapters of a `TopLayer`, a list."""
    return [layer.adapters["default"] for layer in lora.adapted_layers(model).values()]


def accuracy(model, states, labels, batch=256):
    """Share of the sentences whose kind a `TopLayer` gets right."""
    with torch.inference_mode():
        some = [slice(first, first + batch) for first in range(0, len(labels), batch)]
        parts = [model(*_some(states, rows)).argmax(-1) for rows in some]
    return float((torch.cat(parts).numpy() == labels).mean())


def _adamw(model, recipe):
    if recipe.orthogonality:
        groups = free_groups(adapters_of(model), recipe.learning_rate, recipe.factor)
    else:
        groups = lora.groups(model, recipe.learning_rate, recipe.factor, recipe.weight_decay)
    optimizer = torch.optim.AdamW(
        [*groups, {"params": model.head.parameters(), "lr": recipe.head_rate, "weight_decay": 0}]
    )
    if recipe.radius is not None:
        attach(optimizer, model)
    return optimizer


def _batches(order, size):
    return np.array_split(order, math.ceil(len(order) / size))


def _some(states, rows):
    """Rows of states in float32, without the padding that none of them needs."""
    mask = states.mask[rows]
    longest = int(mask.sum(-1).max())
    return states.values[rows, :longest].float(), mask[:, :longest]
