"""Methods on two tasks, tuned alike."""

import json
from dataclasses import asdict

import numpy as np
import torch

from companion.adapters.frozen_layers import FROZEN, minilm, rows, states
from companion.adapters.texts import mail_kinds, sentiment
from companion.adapters.top_layer import TopLayerSettings, accuracy, train
from companion.ledger import home
from udulib.seeds import generator

TASKS = {"sentiment": sentiment, "kinds of mail": mail_kinds}
METHODS = {  # what is fixed; and the one setting beside the learning rate that is tuned, with its two values
    "LoRA": ({"radius": None}, "factor", (1.0, 8.0)),
    "LoRA, weight decay": ({"radius": None}, "weight_decay", (3.0, 30.0)),
    "UDV, R = 0.5": ({"radius": 0.5}, "factor", (10.0, 100.0)),
    "UDV, R = 1": ({"radius": 1.0}, "factor", (10.0, 100.0)),
    "UDV, R = 2": ({"radius": 2.0}, "factor", (10.0, 100.0)),
    "rsLoRA": ({"radius": None, "scaling": 4.0}, "factor", (1.0, 8.0)),  # 16 over the square root of the rank 16
    "AdaLoRA": ({"radius": None, "orthogonality": 0.1}, "factor", (10.0, 100.0)),
    "UDV, R tuned": ({"factor": 10.0}, "radius", (1.0, 2.0)),
}
RIVALS = [(method, 16) for method in ("rsLoRA", "AdaLoRA", "UDV, R tuned")]
RATES = (3e-3, 1e-2, 3e-2, 1e-1)
CONFIGURATIONS = [
    *((method, 16) for method in METHODS if (method, 16) not in RIVALS),
    *((method, 64) for method in ("LoRA", "LoRA, weight decay", "UDV, R = 1")),
]
TUNING = 800  # texts at the front of each task that only the tuning sees


def split(count, train, seed):
    """Rows to train on and rows to test on, the rest of ``count``, drawn by the seed."""
    order = generator("split", seed).permutation(count)
    return order[:train], order[train:]


def candidates(method, rank):
    """The eight recipes of a method between which the tuning chooses."""
    fixed, knob, values = METHODS[method]
    return [
        TopLayerSettings(rank=rank, learning_rate=rate, **fixed, **{knob: value}) for rate in RATES for value in values
    ]


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
    return {(entry["task"], entry["method"], entry["rank"]): TopLayerSettings(**entry["chosen"]) for entry in logs}


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
        for method, rank in CONFIGURATIONS + RIVALS:
            yield {"task": task} | tune(layer, some, labels, len(known.kinds), method, rank)
