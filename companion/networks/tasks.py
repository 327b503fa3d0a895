r"""What the networks learn: tables and image features, prepared and split, each split with its seed.

House prices and taxi trips are prepared as the paper's code does it, which looks at the whole table, the rows to be
predicted included (``leak=True``), or from the training rows alone. Images go once through a frozen EfficientNet-Lite0;
its features are kept beside the data.
"""

import hashlib
import sys
from dataclasses import dataclass, field

import numpy as np
import torch

from companion import data
from udulib.checks import positive_array, positive_number, whole_number
from udulib.errors import InputError
from udulib.files import replacing
from udulib.seeds import generator, seeds_array

PIXELS = 112  # side of the pictures that the backbone sees
BLOCK = 500  # pictures a file of features
HEADS = {  # pictures for the heads of notebooks 05 and 06, by size; the features are shared
    "ci": {"train": 1500, "validation": 500, "test": 1000},
    "book": {"train": 8000, "validation": 2000, "test": 5000},
    "paper": {"train": 48_000, "validation": 12_000, "test": 10_000},
}
PARTS = (0.64, 0.16, 0.2)  # training, validation, test
TRIPS = {"seconds": (60.0, 7200.0), "miles": (0.0, 100.0)}  # what is taken for a real trip
TRIP_FEATURES = (
    *("vendor_id", "month", "day", "hour", "minute", "second", "passenger_count", "trip_distance"),
    *("rate_code_id", "store_and_fwd_flag", "pickup_location_id", "dropoff_location_id"),
)


@dataclass(frozen=True)
class Task:
    """Rows to learn from, and K splits of them.

    Attributes
    ----------
    name : str
    x : array of float32, shape (n, d), or (K, n, d) where the preparation depends on the split
    y : array, shape (n,) or (K, n)
        float32 for regression; int64, the class, for classification.
    classes : int
        Number of classes; 0 for regression.
    train, validation, test : array of int64, shape (K, number of rows)
        Row numbers. The test part may be empty.
    seeds : array, shape (K,)
    unit : array, shape (K,)
        What a regression target of 1 stands for (dollars, seconds); 1 elsewhere. RMSE in those is √loss times this.
    """

    name: str
    x: np.ndarray = field(repr=False)
    y: np.ndarray = field(repr=False)
    classes: int
    train: np.ndarray = field(repr=False)
    validation: np.ndarray = field(repr=False)
    test: np.ndarray = field(repr=False)
    seeds: np.ndarray
    unit: np.ndarray = field(repr=False)

    @property
    def inputs(self):
        """Number of features d."""
        return self.x.shape[-1]

    @property
    def outputs(self):
        """Outputs of a network for this task: one for each class, or one."""
        return self.classes or 1

    def part(self, name, seeds=slice(None)):
        """Features and targets of a part, shapes (K, n, d) and (K, n), of all seeds or of some of their places.

        Examples
        --------
        >>> x, y = planted(seeds=range(3)).part("test")
        >>> x.shape, y.shape
        ((3, 40, 10), (3, 40))
        """
        if name not in ("train", "validation", "test"):
            raise InputError(f"name is 'train', 'validation' or 'test'; got {name!r}")
        rows = getattr(self, name)[seeds]  # (K, n)
        if self.x.ndim == 2:
            return self.x[rows], self.y[rows]
        return np.take_along_axis(self.x[seeds], rows[..., None], 1), np.take_along_axis(self.y[seeds], rows, 1)


def planted(seeds, *, rows=200, inputs=10, rank=2, classes=0, noise=0.1, parts=PARTS):
    r"""A small made-up task: :math:`y = x^\top W + \varepsilon` with W of low rank, or the class of its largest output.

    Parameters
    ----------
    seeds : sequence of int
        Of the splits. The rows are the same.
    rows, inputs, rank : int, at least 1
    classes : int, default 0
        Outputs to choose the class from; 0 for regression.
    noise : float, default 0.1
        Standard deviation of the noise, in that of the outputs.
    parts : (float, float, float)
        Shares of the training, validation and test rows.

    Returns
    -------
    Task

    Raises
    ------
    InputError
        Numbers out of range, or shares that leave no row for training or validation.

    Examples
    --------
    >>> planted(seeds=[0, 1], classes=3).train.shape
    (2, 128)
    """
    rows, inputs, rank = (
        whole_number(name, value, 1) for name, value in (("rows", rows), ("inputs", inputs), ("rank", rank))
    )
    classes, noise = whole_number("classes", classes, 0), positive_number("noise", noise, allow_zero=True)
    rng = generator("planted", 0)
    x = rng.standard_normal((rows, inputs))
    W = rng.standard_normal((inputs, rank)) @ rng.standard_normal((rank, max(classes, 1)))
    out = x @ W / (inputs * rank) ** 0.5
    out += noise * rng.standard_normal(out.shape)
    y = out.argmax(-1) if classes else out[:, 0].astype(np.float32)
    split = _split(rows, seeds, parts)
    return Task("planted", x.astype(np.float32), y, classes, *split, seeds_array(seeds), np.ones(len(split[0])))


def hpart(seeds, *, leak=True, parts=PARTS, folder=None):
    """House prices in Ames (1,460 sales, 79 features) as the paper prepares them.

    Text becomes the number of its place in the alphabet (a missing one is a text of its own), features and price are
    scaled to [0, 1], and a missing number becomes the mean.

    Parameters
    ----------
    seeds : sequence of int
        One random split each.
    leak : bool, default True
        Scale and fill by the whole table, as the paper's code does; else by the training rows of each split alone.
        (The numbers for texts come from the whole table either way; they look at no price.)
    parts : (float, float, float)
        Shares of the training, validation and test rows. The paper has 0.8 and 0.2 and no third part.
    folder : path, optional
        As in ``companion.data.fetch``.

    Returns
    -------
    Task

    Raises
    ------
    InputError
        Shares that are not positive, sum up to more than one, or leave no row for training or validation.
    DataError
        See ``companion.data.fetch``.

    Examples
    --------
    >>> hpart(seeds=range(5)).inputs  # doctest: +SKIP
    79
    """
    table = data.house_prices(folder)
    columns = [_numbers(table.column(name)) for name in table.columns if name != "Id"]
    return _table_task("hpart", np.stack(columns, 1), seeds, leak, parts)


def taxi(seeds, *, trips=36_000, leak=True, parts=PARTS, folder=None):
    """Durations of New York taxi trips of 2018 to 2020, prepared like the paper's NYCTTD, in whose place they stand.

    Twelve features: vendor, month, day, hour, minute and second of the start, passengers, distance, rate code, whether
    the record was stored first, and the two zones; NYCTTD has four coordinates where this table has zones, rate and
    distance. Trips of 1 minute to 2 hours and of up to 100 miles only: a few wrong records would else set the scale.

    Parameters
    ----------
    seeds, leak, parts, folder
        As for `hpart`.
    trips : int, default 36_000
        How many, drawn once from those of all 36 months.

    Returns
    -------
    Task

    Raises
    ------
    InputError
        As for `hpart`.
    DataError
        See ``companion.data.fetch``.

    Examples
    --------
    >>> taxi(seeds=range(5), trips=3_600).inputs  # doctest: +SKIP
    12
    """
    trips = whole_number("trips", trips, 36)
    found = data.taxi_trips(folder)
    seconds = (found["dropoff_datetime"] - found["pickup_datetime"]).astype(float)
    miles = found["trip_distance"]
    real = (TRIPS["seconds"][0] <= seconds) & (seconds <= TRIPS["seconds"][1])
    real &= (TRIPS["miles"][0] < miles) & (miles < TRIPS["miles"][1])
    if trips > real.sum():
        raise InputError(f"there are {real.sum()} trips; {trips} were asked for")
    rows = np.sort(generator("trips", 0).choice(np.flatnonzero(real), trips, replace=False))
    features = _trip_features(found[rows])
    columns = [*(_numbers(features[name]) for name in TRIP_FEATURES), seconds[rows]]
    return _table_task("taxi", np.stack(columns, 1), seeds, leak, parts)


def heads(name, seeds, *, train, validation, test, components=None, pixels=PIXELS, folder=None, progress=None):
    """Pictures as a frozen EfficientNet-Lite0 sees them: the task of a classifier's last layers.

    Parameters
    ----------
    name : {"mnist", "fashion-mnist"}
    seeds : sequence of int
        Each draws its training and validation pictures anew from the first ``train + validation`` of the data set's
        training part. The test pictures are the first of its test part, the same for all seeds.
    train, validation, test : int
        Numbers of pictures.
    components : int, optional
        Keep this many principal components of the 1,280 features, found from the training and validation pictures; all
        features as they are if left out.
    pixels, folder, progress
        As for `features`.

    Returns
    -------
    Task
        Features are divided by one number, so that their mean square over all pictures is 1.

    Raises
    ------
    InputError
        Numbers of pictures or components that are not there.
    DataError
        See ``companion.data.fetch``.

    Examples
    --------
    >>> heads("mnist", seeds=range(5), train=800, validation=200, test=500).x.shape  # doctest: +SKIP
    (1500, 1280)
    """
    train, validation, test = (
        whole_number(what, value, 1) for what, value in (("train", train), ("validation", validation), ("test", test))
    )
    pool = train + validation
    x, y = features(name, "train", pool, pixels=pixels, folder=folder, progress=progress)
    x_test, y_test = features(name, "test", test, pixels=pixels, folder=folder, progress=progress)
    x, y = np.concatenate([x, x_test]), np.concatenate([y, y_test]).astype(np.int64)
    if components is not None:
        x = principal_components(x, np.arange(pool), components)
    x /= np.sqrt(np.mean(x**2))
    seeds = seeds_array(seeds)
    order = np.stack([generator("split", int(seed)).permutation(pool) for seed in seeds])  # (K, pool)
    tests = np.tile(np.arange(pool, pool + test), (len(seeds), 1))
    parts = order[:, :train], order[:, train:], tests
    return Task(name, x.astype(np.float32), y, 10, *parts, seeds, np.ones(len(seeds)))


def principal_components(x, rows, count):
    """Coordinates of all rows of x (n, d) along the first principal directions of some ``rows``, shape (n, count).

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [-1.0, 0.0], [3.0, 5.0]])
    >>> abs(principal_components(x, [0, 1], 1)).ravel()
    array([1., 1., 3.])
    """
    d = x.shape[1]
    if whole_number("count", count, 1) > d:
        raise InputError(f"at most {d} components are there; got {count}")
    mean = x[rows].mean(0)
    _, directions = np.linalg.eigh(np.cov(x[rows], rowvar=False, bias=True).reshape(d, d))  # ascending
    return (x - mean) @ directions[:, ::-1][:, :count]


def features(name, part, count, *, pixels=PIXELS, folder=None, progress=None):
    """Features of pictures by the frozen backbone, and the pictures' classes.

    The last feature maps of EfficientNet-Lite0, averaged over the picture; grey values are given three times and
    enlarged to ``pixels`` a side. They are computed once and kept as float16 in the data folder, in files of 500
    pictures; names carry a hash of the weights, the pictures and the settings.

    Parameters
    ----------
    name : {"mnist", "fashion-mnist"}
    part : {"train", "test"}
    count : int
        The first so many pictures.
    pixels : int, default 112
        The backbone was trained at 224, which takes four times as long.
    folder : path, optional
        As in ``companion.data.fetch``.
    progress : callable, optional
        Called as ``progress(what, done, total)``.

    Returns
    -------
    (array of float32, shape (count, 1280), array of uint8, shape (count,))

    Raises
    ------
    InputError
        Another name or part, or more pictures than there are.
    DataError
        See ``companion.data.fetch``.

    Examples
    --------
    >>> x, y = features("fashion-mnist", "train", 1000)  # doctest: +SKIP
    """
    loaders = {"mnist": data.mnist, "fashion-mnist": data.fashion_mnist}
    if name not in loaders or part not in ("train", "test"):
        raise InputError(f"name is one of {', '.join(loaders)}, part 'train' or 'test'; got {name!r}, {part!r}")
    pictures = loaders[name](folder)
    images, labels = getattr(pictures, f"{part}_images"), getattr(pictures, f"{part}_labels")
    if whole_number("count", count, 1) > len(images):
        raise InputError(f"{name} has {len(images)} pictures in its {part} part; {count} were asked for")
    weights, code = data.efficientnet_lite0(folder)
    makes = [data.about("efficientnet-lite0").members, data.about(name).members, pixels, BLOCK, "mean of maps, float16"]
    key = hashlib.sha256(repr(makes).encode()).hexdigest()[:12]
    home = data.data_folder(folder) / "features" / f"{name}-{part}-{pixels}-{key}"
    home.mkdir(parents=True, exist_ok=True)
    extract, blocks = None, []
    for first in range(0, count, BLOCK):
        file = home / f"{first:05d}.npy"
        if not file.is_file():
            extract = extract or backbone(weights, code, pixels)
            with replacing(file) as draft, open(draft, "wb") as handle:
                np.save(handle, extract(images[first : first + BLOCK]).astype(np.float16))
            if progress:
                progress(f"features of {name}, {part}", min(first + BLOCK, count), count)
        blocks.append(np.load(file))
    return np.concatenate(blocks)[:count].astype(np.float32), labels[:count]


def backbone(weights, code, pixels):
    """The function from pictures (n, 28, 28), uint8, to the backbone's features (n, 1280), float32."""
    sys.path.insert(0, str(code))
    try:
        from efficientnet_lite_pytorch import EfficientNet
    finally:
        sys.path.remove(str(code))
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(weights, weights_only=True))
    model.eval().to(memory_format=torch.channels_last)  # twice as fast on a CPU

    @torch.inference_mode()
    def extract(images):
        found = []
        for few in torch.from_numpy(images.copy()).split(50):
            grey = torch.nn.functional.interpolate(
                few[:, None].float(), size=(pixels, pixels), mode="bilinear", align_corners=False
            )
            x = ((grey - 127) / 128).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
            found.append(model.extract_features(x).mean((2, 3)))
        return torch.cat(found).numpy()

    return extract


# Preparation ---------------------------------------------------------------------------------------------------------


def _numbers(column):
    """A column of text as float64: numbers, NaN where missing, or places in the sorted list of its texts."""
    column = np.asarray(column)
    if column.dtype.kind in "fiu":
        return column.astype(float)
    missing = column == "NA"
    try:
        return np.where(missing, "nan", column).astype(float)
    except ValueError:
        return np.unique(column, return_inverse=True)[1].astype(float)


def _trip_features(trips):
    """The twelve features by name, from the records of trips."""
    start = trips["pickup_datetime"]
    day, month = start.astype("M8[D]"), start.astype("M8[M]")
    clock = (start - day).astype(int)  # seconds since midnight
    times = {
        "month": month.astype(int) % 12,
        "day": (day - month).astype(int),
        "hour": clock // 3600,
        "minute": clock // 60 % 60,
        "second": clock % 60,
    }
    return {name: times[name] if name in times else trips[name] for name in TRIP_FEATURES}


def _table_task(name, table, seeds, leak, parts):
    """A task from a table whose last column is the target, scaled to [0, 1] and filled."""
    train, validation, test = _split(len(table), seeds, parts)
    seeds = seeds_array(seeds)
    if leak:
        scaled, width = _scaled(table, table)
        return Task(name, *_columns(scaled), 0, train, validation, test, seeds, np.full(len(seeds), width))
    scaled, widths = zip(*(_scaled(table, table[rows]) for rows in train), strict=True)
    return Task(name, *_columns(np.stack(scaled)), 0, train, validation, test, seeds, np.array(widths))


def _scaled(table, seen):
    """The table scaled by the range of what was ``seen`` and filled with its mean; also the target's width."""
    low, high = np.nanmin(seen, 0), np.nanmax(seen, 0)
    width = np.where(high > low, high - low, 1.0)
    mean = np.nanmean(seen, 0)
    return (np.where(np.isnan(table), mean, table) - low) / width, width[-1]


def _columns(table):
    return table[..., :-1].astype(np.float32), table[..., -1].astype(np.float32)


def _split(rows, seeds, parts):
    """Row numbers of the three parts, each (K, n), a random order for each seed."""
    seeds = seeds_array(seeds)
    shares = positive_array("parts", parts, allow_zero=True)
    if seeds.ndim != 1 or not seeds.size:
        raise InputError(f"seeds is a sequence of whole numbers; got {seeds!r}")
    if shares.shape != (3,) or (shares[:2] == 0).any() or shares.sum() > 1 + 1e-9:
        raise InputError(f"parts are three shares, the first two above 0, together at most 1; got {parts!r}")
    order = np.stack([generator("split", int(seed)).permutation(rows) for seed in seeds])  # (K, n)
    ends = np.round(np.cumsum(shares) * rows).astype(int)
    if not 0 < ends[0] < ends[1]:
        raise InputError(f"training and validation need a row each; parts of {parts!r} of {rows} rows leave one empty")
    return order[:, : ends[0]], order[:, ends[0] : ends[1]], order[:, ends[1] : ends[2]]
