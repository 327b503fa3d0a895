"""A small convolutional network on pictures, and how small it can be cut: trained as UDV, and trained as it is."""

import copy
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from companion.data.loaders import fashion_mnist
from udulib.compress import compress_all
from udulib.nn import attach, convert
from udulib.seeds import generator


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: Adam's learning rate, and the radius of the balls; None leaves the network plain."""

    learning_rate: float
    radius: float | None = None


METHODS = {  # eight recipes each, between which the tuning chooses; the first radii, 2 and 4, were too small
    "plain": tuple(Recipe(rate) for rate in (5e-4, 1e-3, 1.5e-3, 2e-3, 3e-3, 4e-3, 6e-3, 8e-3)),
    "UDV": tuple(Recipe(rate, radius) for radius in (2.0, 4.0, 8.0, 16.0) for rate in (1e-3, 3e-3)),
}
TRAINED, HELD, TESTED = 4000, 2000, 5000  # pictures, so that a network takes half a minute on one core
TUNED_ON, SEEDS = 1000, 10
MEAN, SPREAD = 0.286, 0.353  # of the pixels of the training part
TOLERANCES = (0.03, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)


def network(recipe):
    """Two convolutions and two linear layers for pictures of 28 by 28; with a radius the middle two are UDV."""
    model = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 49, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
    if recipe.radius is not None:
        convert(model, hidden=min, radius=recipe.radius, skip=["0", "9"], kinds=(nn.Conv2d, nn.Linear))
    return model


def train(recipe, pictures, labels, seed, epochs=5, batch=64):
    """A trained network; the seed decides its start and the order of the pictures, (n, 1, 28, 28)."""
    torch.set_flush_denormal(True)  # neurons that die would slow the processor down
    torch.manual_seed(seed)
    model = network(recipe)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    if recipe.radius is not None:
        attach(optimizer, model)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels)).split(batch):
            optimizer.zero_grad()
            F.cross_entropy(model(pictures[rows]), labels[rows]).backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def accuracy(model, pictures, labels):
    """In percent."""
    right = [(model(x).argmax(1) == y).sum() for x, y in zip(pictures.split(500), labels.split(500), strict=True)]
    return 100 * float(sum(right)) / len(labels)


def cuts(recipe, pictures, labels, seed, parts, **settings):
    """Train, then cut at each tolerance.

    Returns
    -------
    dict of lists, as long as ``TOLERANCES`` and one
        ``parameters`` and, by the name of each of ``parts`` (pairs of pictures and labels), the accuracy: of the
        network in plain layers, uncut first.
    """
    model = train(recipe, pictures, labels, seed, **settings)
    found = {"parameters": []} | {name: [] for name in parts}
    for tol in (0.0, *TOLERANCES):
        small = copy.deepcopy(model)
        compress_all(small, tol=tol, plain=True, batch=1)
        found["parameters"].append(sum(parameter.numel() for parameter in small.parameters()))
        for name, part in parts.items():
            found[name].append(accuracy(small, *part))
    return found


def parts_of(pictures, seed):
    """Pictures to train with, to choose by and to test with, for a seed, each with their classes."""
    order = generator("split", seed).permutation(len(pictures.train_labels))
    seen, held = order[:TRAINED], order[TRAINED : TRAINED + HELD]
    return (
        _part(pictures.train_images[seen], pictures.train_labels[seen]),
        _part(pictures.train_images[held], pictures.train_labels[held]),
        _part(pictures.test_images[:TESTED], pictures.test_labels[:TESTED]),
    )


def log_all(folder=None):
    """Tune both ways to train on one split, then run the chosen recipes on ten others; see ``results/tuning``.

    Parameters
    ----------
    folder : path, optional
        See `companion.data.data_folder`.

    Yields
    ------
    dict
        ``method``, ``recipe``, ``seed`` and ``scores``, which `cuts` returns; of the tuning without the test part.
    """
    pictures = fashion_mnist(folder)
    best = {}
    for method, recipes in METHODS.items():
        (x, y), held, _ = parts_of(pictures, TUNED_ON)
        found = [cuts(recipe, x, y, TUNED_ON, {"validation": held}) for recipe in recipes]
        for recipe, scores in zip(recipes, found, strict=True):
            yield {"method": method, "recipe": asdict(recipe), "seed": TUNED_ON, "scores": scores}
        best[method] = recipes[int(np.argmax([scores["validation"][0] for scores in found]))]
    for seed in range(SEEDS):
        (x, y), held, test = parts_of(pictures, seed)
        for method, recipe in best.items():
            scores = cuts(recipe, x, y, seed, {"validation": held, "test": test})
            yield {"method": method, "recipe": asdict(recipe), "seed": seed, "scores": scores}


def verdict(logs, loss=0.5):
    """Of each seed the smallest network that the validation part allows, held against the plain one, uncut.

    Parameters
    ----------
    logs : list of dict
        As `log_all` yields them.
    loss : float, default 0.5
        Points of accuracy that a cut may cost on the validation part.

    Returns
    -------
    dict of str to (array, array), each of shape (seeds,)
        By method: how many times smaller, and how many points more accurate on the test part. Where nothing is
        accurate enough, it is the plain network itself: 1 and 0.

    Examples
    --------
    >>> scores = {"parameters": [90, 30], "validation": [90.0, 89.8], "test": [88.0, 87.0]}
    >>> verdict([{"method": "plain", "seed": 0, "scores": scores}])
    {'plain': (array([3.]), array([-1.]))}
    """
    runs = {(log["method"], log["seed"]): log["scores"] for log in logs if "test" in log["scores"]}
    found = {method: ([], []) for method, _ in runs}
    for (method, seed), scores in runs.items():
        base = runs["plain", seed]
        enough = [i for i, a in enumerate(scores["validation"]) if a >= base["validation"][0] - loss]
        small = min(enough, key=lambda i: scores["parameters"][i], default=None)
        found[method][0].append(1.0 if small is None else base["parameters"][0] / scores["parameters"][small])
        found[method][1].append(0.0 if small is None else scores["test"][small] - base["test"][0])
    return {method: tuple(np.array(values) for values in pair) for method, pair in found.items()}


def _part(images, labels):
    pixels = torch.from_numpy(images).float().div(255).sub(MEAN).div(SPREAD)
    return pixels[:, None], torch.from_numpy(labels.astype(np.int64))
