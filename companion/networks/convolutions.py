"""A small convolutional network on pictures, and how small it can be cut: trained as UDV, and trained as it is."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from udulib.compress import compress_all
from udulib.nn import attach, convert

TOLERANCES = (0.03, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: Adam's learning rate, and the radius of the balls; None leaves the network plain."""

    learning_rate: float
    radius: float | None = None


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
    dict
        ``parameters`` (T + 1,) and, by the name of each of ``parts`` (pairs of pictures and labels), ``accuracy``
        (T + 1,): of the network as trained, in plain layers, and cut at each of ``TOLERANCES``.
    """
    model = train(recipe, pictures, labels, seed, **settings)
    found = {"parameters": []} | {name: [] for name in parts}
    for tol in (0.0, *TOLERANCES):
        small = copy.deepcopy(model)
        compress_all(small, tol=tol, plain=True, batch=1)
        found["parameters"].append(sum(parameter.numel() for parameter in small.parameters()))
        for name, part in parts.items():
            found[name].append(accuracy(small, *part))
    return {name: np.array(values) for name, values in found.items()}
