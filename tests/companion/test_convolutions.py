"""The convolutional network on pictures: what is cut, and what its committed log says on the page that shows it."""

import json
import re
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import ROOT

from companion.networks.convolutions import METHODS, SEEDS, TOLERANCES, Recipe, accuracy, cuts, network, train, verdict
from udulib.nn import UDVConv2d, UDVLinear, feasible, udv_modules

LOG = ROOT / "results" / "tuning" / "convolutions.json"


def pictures(n=60):
    """Ten classes, each a bright column."""
    labels = torch.arange(n) % 10
    x = torch.zeros(n, 1, 28, 28)
    x[torch.arange(n), 0, :, 2 * labels + 4] = 3.0
    return x, labels


def test_with_a_radius_the_middle_layers_are_udv():
    assert udv_modules(network(Recipe(1e-3))) == {}
    found = udv_modules(network(Recipe(1e-3, 2.0)))
    assert [type(module) for module in found.values()] == [UDVConv2d, UDVLinear]


@pytest.mark.parametrize("radius", [None, 4.0])
def test_it_learns_and_is_cut(radius):
    x, y = pictures()
    model = train(Recipe(3e-3, radius), x, y, seed=0, epochs=12, batch=10)
    assert feasible(model)
    assert accuracy(model, x, y) > 90
    found = cuts(Recipe(3e-3, radius), x, y, 0, {"all": (x, y)}, epochs=12, batch=10)
    assert found["all"][0] == accuracy(model, x, y)
    assert len(found["parameters"]) == len(TOLERANCES) + 1
    assert np.all(np.diff(found["parameters"]) <= 0)


def test_nothing_accurate_enough_is_no_gain():
    plain = {"parameters": [90, 30], "validation": [90.0, 89.0], "test": [88.0, 87.0]}
    other = {"parameters": [80, 10], "validation": [80.0, 70.0], "test": [80.0, 70.0]}
    logs = [{"method": m, "seed": 3, "scores": s} for m, s in (("plain", plain), ("UDV", other))]
    assert verdict(logs) == {"plain": (1.0, 0.0), "UDV": (1.0, 0.0)}


def test_the_log_is_whole_and_the_guide_says_what_it_says():
    logs = json.loads(LOG.read_text())["logs"]
    tuned = Counter(log["method"] for log in logs if "test" not in log["scores"])
    assert tuned == {method: len(recipes) for method, recipes in METHODS.items()}
    assert len(set(tuned.values())) == 1  # the same budget
    found = verdict(logs)
    page = (ROOT / "book" / "slim_a_network.md").read_text()
    for method, (times, points) in found.items():
        assert len(times) == SEEDS
        said = re.search(rf"{method} [^|]*\| ([\d.]+) \(([\d.]+) to ([\d.]+)\) \| ([−\d.]+)", page)
        numbers = [np.median(times), times.min(), times.max(), np.median(points)]
        assert [float(word.replace("−", "-")) for word in said.groups()] == pytest.approx(numbers, abs=0.051)
