"""Preparation and splits: what the paper's code does, the same without its leak, and features computed once."""

import numpy as np
import pytest

from companion import data
from companion.networks import tasks
from udulib.errors import InputError

PRICES = data.Table(
    ("Id", "Zone", "Area", "Year", "SalePrice"),
    np.array(
        [[str(i), "RL" if i % 3 else "NA", "NA" if i == 4 else str(10 * i), "7", str(1000 + i)] for i in range(50)]
    ),
)


@pytest.fixture
def prices(monkeypatch):
    monkeypatch.setattr(data, "house_prices", lambda folder=None: PRICES)


def test_the_papers_preparation_scales_everything_by_the_whole_table(prices):
    task = tasks.hpart(seeds=range(3))
    assert task.x.shape == (50, 3) and task.x.dtype == np.float32 and task.outputs == 1
    zone, area, year = task.x.T
    np.testing.assert_array_equal(zone, [0.0 if i % 3 == 0 else 1.0 for i in range(50)])  # "NA" comes before "RL"
    known = np.delete(10 * np.arange(50), 4)
    np.testing.assert_allclose(area[4], known.mean() / 490, rtol=1e-6)
    assert (year == 0).all()  # a constant column says nothing
    np.testing.assert_allclose(task.y, np.arange(50) / 49, rtol=1e-6)
    np.testing.assert_array_equal(task.unit, 49.0)  # dollars from the lowest price to the highest


def test_without_the_leak_only_training_rows_count(prices):
    task = tasks.hpart(seeds=range(20), leak=False)
    for k in range(20):
        x, y = (part[k] for part in task.part("train"))
        assert y.min() == 0 and y.max() == pytest.approx(1)
        assert x[:, 1].min() == 0 and x[:, 1].max() == pytest.approx(1)
    assert max(task.y.max(), -task.y.min()) > 1  # what is held out goes beyond
    dollars = 1000 + task.train[:, :, None].min(1) + task.y * task.unit[:, None]
    np.testing.assert_allclose(dollars, np.tile(1000 + np.arange(50), (20, 1)), rtol=1e-5)


def test_parts_of_a_split_are_disjoint_and_seeds_differ(prices):
    task = tasks.hpart(seeds=[0, 5])
    for k in range(2):
        rows = np.concatenate([task.train[k], task.validation[k], task.test[k]])
        np.testing.assert_array_equal(np.sort(rows), np.arange(50))
    assert task.train.shape == (2, 32) and task.validation.shape == (2, 8)
    assert (task.train[0] != task.train[1]).any()
    np.testing.assert_array_equal(tasks.hpart(seeds=[5]).train[0], task.train[1])
    assert tasks.hpart(seeds=[0], parts=(0.8, 0.2, 0.0)).test.shape == (1, 0)


def test_trips_have_the_twelve_features_and_no_wrong_records(monkeypatch):
    names = set(tasks.TRIP_FEATURES) - {"month", "day", "hour", "minute", "second", "store_and_fwd_flag"}
    kinds = [("pickup_datetime", "M8[s]"), ("dropoff_datetime", "M8[s]"), ("store_and_fwd_flag", "U1")]
    trips = np.ones(200, dtype=[*kinds, *((name, "f8") for name in names)])
    trips["pickup_datetime"] = np.datetime64("2019-07-14T13:05:06") + np.arange(200)
    trips["dropoff_datetime"] = trips["pickup_datetime"] + np.linspace(100, 1000, 200).astype(int)
    trips["dropoff_datetime"][:5] = trips["pickup_datetime"][:5] - 60  # ends before it starts
    trips["trip_distance"][5:9] = 46_826
    trips["store_and_fwd_flag"] = np.where(np.arange(200) % 2, "Y", "N")
    times = tasks._trip_features(trips)
    assert [int(times[name][0]) for name in ("month", "day", "hour", "minute", "second")] == [6, 13, 13, 5, 6]
    monkeypatch.setattr(data, "taxi_trips", lambda folder=None: trips)
    task = tasks.taxi(seeds=[0], trips=191)
    assert task.x.shape == (191, 12) and np.isfinite(task.x).all() and task.unit[0] == 1000 - 140
    with pytest.raises(InputError, match="there are 191"):
        tasks.taxi(seeds=[0], trips=192)


@pytest.fixture
def pictures(monkeypatch, tmp_path):
    """Twelve hundred pictures, and a backbone of two features that counts what it is asked for."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (1200, 28, 28), dtype=np.uint8), rng.integers(0, 10, 1200, dtype=np.uint8)
    seen = []

    def extract(few):
        seen.append(len(few))
        mean = few.mean((1, 2)) / 255
        return np.stack([mean, 2 * mean + rng.standard_normal(len(few))], 1)

    monkeypatch.setattr(data, "mnist", lambda folder=None: data.Images(images, labels, images, labels))
    monkeypatch.setattr(data, "efficientnet_lite0", lambda folder=None: (None, None))
    monkeypatch.setattr(tasks, "backbone", lambda *_: extract)
    monkeypatch.setenv("UDULIB_DATA", str(tmp_path))
    return seen


def test_features_are_computed_once_and_grow(pictures):
    x, y = tasks.features("mnist", "train", 700)
    assert x.shape == (700, 2) and y.shape == (700,) and pictures == [500, 500]
    again, _ = tasks.features("mnist", "train", 1200)
    assert pictures == [500, 500, 200]
    np.testing.assert_array_equal(again[:700], x)
    tasks.features("mnist", "train", 10, pixels=64)
    assert len(pictures) == 4  # another size is another file


def test_heads_share_test_pictures_and_keep_them_out_of_everything_else(pictures):
    task = tasks.heads("mnist", seeds=range(3), train=300, validation=100, test=200, components=2)
    assert task.x.shape == (600, 2) and task.y.dtype == np.int64 and task.outputs == task.classes == 10
    assert np.mean(task.x**2) == pytest.approx(1, rel=1e-5)
    assert (task.test == np.arange(400, 600)).all() and task.train.max() < 400 and task.validation.max() < 400
    assert not np.intersect1d(task.train[0], task.validation[0]).size


def test_principal_components_are_those_of_the_chosen_rows():
    x = np.random.default_rng(1).standard_normal((40, 5)) @ np.diag([5, 4, 3, 2, 1.0])
    p = tasks.principal_components(x, np.arange(30), 5)
    np.testing.assert_allclose(np.cov(p[:30], rowvar=False, bias=True), np.diag(p[:30].var(0)), atol=1e-10)
    assert (np.diff(p[:30].var(0)) < 0).all()
    np.testing.assert_allclose(np.linalg.norm(p[35] - p[2]), np.linalg.norm(x[35] - x[2]))  # a rotation


@pytest.mark.network
def test_the_backbone_is_the_packages_own_network():
    """Enlarged, scaled, channels last: the same features as the plain model gives, and not all alike."""
    import torch

    files = data.efficientnet_lite0()
    images = data.mnist().test_images[:3]
    x = tasks.backbone(*files, 64)(images)
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0").eval()
    model.load_state_dict(torch.load(files.weights, weights_only=True))
    grey = torch.nn.functional.interpolate(torch.tensor(images)[:, None].float(), size=(64, 64), mode="bilinear")
    with torch.no_grad():
        expected = model.extract_features((grey.repeat(1, 3, 1, 1) - 127) / 128).mean((2, 3)).numpy()
    np.testing.assert_allclose(x, expected, atol=1e-3)
    assert np.corrcoef(x)[0, 1] < 0.999


@pytest.mark.parametrize(
    "parts", [(0.8, 0.3, 0.0), (0.0, 0.5, 0.5), (0.8, 0.2), (-0.1, 0.5, 0.5), (0.5, np.nan, 0.1), "abc", None]
)
def test_impossible_shares_are_refused(prices, parts):
    with pytest.raises(InputError, match="parts"):
        tasks.hpart(seeds=[0], parts=parts)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": 0}, "rank"),
        ({"rows": 0}, "rows"),
        ({"rows": 1}, "validation"),
        ({"rows": 20, "parts": (0.01, 0.5, 0.1)}, "training"),
        ({"inputs": 0}, "inputs"),
        ({"classes": -1}, "classes"),
        ({"noise": -0.1}, "noise"),
        ({"noise": np.nan}, "noise"),
        ({"noise": [0.1, 0.2]}, "noise"),
        ({"parts": (0.5, np.nan, 0.1)}, "parts"),
        ({"seeds": []}, "seed"),
        ({"seeds": np.zeros(0, int)}, "seed"),
        ({"seeds": 3}, "seeds"),
    ],
)
def test_what_cannot_be_planted_is_refused(settings, said):
    with pytest.raises(InputError, match=said):
        tasks.planted(**{"seeds": [0]} | settings)


def test_what_is_not_there_is_refused(prices, pictures):
    with pytest.raises(InputError, match="seed"):
        tasks.hpart(seeds=[])
    with pytest.raises(InputError, match="pictures"):
        tasks.features("mnist", "train", 5000)
    with pytest.raises(InputError, match="name is one of"):
        tasks.features("cifar", "train", 5)
    with pytest.raises(InputError, match="components"):
        tasks.heads("mnist", seeds=[0], train=20, validation=10, test=10, components=3)
    with pytest.raises(InputError, match="trips"):
        tasks.taxi(seeds=[0], trips=0)
    with pytest.raises(InputError, match="'train', 'validation' or 'test'"):
        tasks.hpart(seeds=[0]).part("all")
