"""The data sets as NumPy arrays. No loader cleans or converts more than it says."""

import csv
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from companion.data.archives import files_in
from companion.data.fetching import fetch
from companion.data.manifest import DataError, about
from udulib.errors import InputError


class Ratings(NamedTuple):
    """Ratings of items by users, one a row: ids from 0, stars 1 to 5, seconds since 1970."""

    users: np.ndarray  # (n,) int64
    items: np.ndarray  # (n,) int64
    ratings: np.ndarray  # (n,) float64
    timestamps: np.ndarray  # (n,) int64

    @property
    def shape(self):
        """Shape of the matrix that the ratings are entries of: users by items."""
        return int(self.users.max()) + 1, int(self.items.max()) + 1


class Table(NamedTuple):
    """A table as it stands in its file: names of the columns, and every cell as text."""

    columns: tuple[str, ...]  # k names
    values: np.ndarray  # (n, k) of str

    def column(self, name):
        """One column, shape (n,), as text.

        Examples
        --------
        >>> table = Table(("Id", "SalePrice"), np.array([["1", "208500"], ["2", "181500"]]))
        >>> table.column("SalePrice").astype(float)
        array([208500., 181500.])
        """
        if name not in self.columns:
            raise InputError(f"the name of a column was wanted; got {name!r}; there are: {', '.join(self.columns)}")
        return self.values[:, self.columns.index(name)]


class Images(NamedTuple):
    """Grey pictures with their classes, the training and the test part."""

    train_images: np.ndarray  # (n, 28, 28) uint8
    train_labels: np.ndarray  # (n,) uint8
    test_images: np.ndarray  # (m, 28, 28) uint8
    test_labels: np.ndarray  # (m,) uint8


class Reviews(NamedTuple):
    """Sentences and their mean sentiment, from -4 to 4."""

    texts: np.ndarray  # (n,) of str objects
    ratings: np.ndarray  # (n,) float64


class Mails(NamedTuple):
    """E-mails, whether each is spam, and the corpus' group that it comes from."""

    texts: np.ndarray  # (n,) of str objects
    spam: np.ndarray  # (n,) bool
    groups: np.ndarray  # (n,) of str


class EfficientNetFiles(NamedTuple):
    """Weights to load, and the folder that holds the package ``efficientnet_lite_pytorch``."""

    weights: Path
    code: Path


def ratings(folder=None, *, progress=None):
    """MovieLens 100K: 100,000 ratings of 1,682 films by 943 people (Harper and Konstan 2015).

    Parameters
    ----------
    folder, progress
        As for `fetch`.

    Returns
    -------
    Ratings
        In the file's order. Its ids count from 1; here they count from 0.

    Raises
    ------
    DataError
        See `fetch`.

    Examples
    --------
    >>> r = ratings()  # doctest: +SKIP
    >>> ul.Completion(r.users, r.items, r.ratings, shape=r.shape)  # doctest: +SKIP
    """
    rows = np.loadtxt(fetch("movielens-100k", folder, progress=progress), dtype=np.int64, delimiter="\t")  # (n, 4)
    users, items, stars, seconds = np.ascontiguousarray(rows.T)
    return Ratings(users - 1, items - 1, stars.astype(float), seconds)


def house_prices(folder=None, *, progress=None):
    """HPART: 1,460 house sales with 79 features and the price (De Cock 2011, Kaggle's training table).

    Parameters
    ----------
    folder, progress
        As for `fetch`.

    Returns
    -------
    Table
        81 columns: ``Id``, the features, ``SalePrice``. Missing values are the text ``NA``; nothing is prepared.

    Raises
    ------
    DataError
        See `fetch`.

    Examples
    --------
    >>> house_prices().column("SalePrice").astype(float).mean()  # doctest: +SKIP
    180921.19...
    """
    with open(fetch("house-prices", folder, progress=progress), newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return Table(tuple(header), np.array(rows))


def taxi_trips(folder=None, *, months=None, progress=None):
    """Taxi trips in New York: 10,000 of each month from 2018-01 to 2020-12, as the TLC recorded them.

    Parameters
    ----------
    folder, progress
        As for `fetch`.
    months : sequence of str, optional
        Months to read, such as ``"2019-07"``; all 36 if left out.

    Returns
    -------
    array, shape (n,), structured
        Fields named as in the files: ``pickup_datetime`` and ``dropoff_datetime`` are datetime64[s],
        ``store_and_fwd_flag`` is text, all others float64 with NaN where the file has nothing. Outliers are in it, and
        the fields from ``fare_amount`` on tell the duration.

    Raises
    ------
    InputError
        For a month outside 2018 to 2020.
    DataError
        See `fetch`.

    Examples
    --------
    >>> trips = taxi_trips(months=["2019-07"])  # doctest: +SKIP
    >>> (trips["dropoff_datetime"] - trips["pickup_datetime"]).astype(float)  # seconds  # doctest: +SKIP
    """
    known = [member.path.removesuffix(".csv") for member in about("taxi-trips").members]
    months = known if months is None else [months] if isinstance(months, str) else list(months)
    if not months or (strange := [month for month in months if month not in known]):
        got = repr(strange[0]) if months else "none"
        raise InputError(f"months are written like {known[0]!r} and end with {known[-1]!r}; got {got}")
    files = fetch("taxi-trips", folder, progress=progress)
    return np.concatenate([_trips(files[f"{month}.csv"]) for month in months])


def _trips(path):
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    kinds = {"pickup_datetime": "M8[s]", "dropoff_datetime": "M8[s]", "store_and_fwd_flag": "U1"}
    trips = np.empty(len(rows), dtype=[(name, kinds.get(name, "f8")) for name in header])
    for name, column in zip(header, zip(*rows, strict=True), strict=True):
        trips[name] = column if name in kinds else [cell or "nan" for cell in column]
    return trips


def mnist(folder=None, *, progress=None):
    """MNIST: 60,000 handwritten digits to learn from and 10,000 to test with (LeCun and others 1998).

    Parameters
    ----------
    folder, progress
        As for `fetch`.

    Returns
    -------
    Images
        Pixels from 0 (ground) to 255 (ink); classes are the digits.

    Raises
    ------
    DataError
        See `fetch`.

    Examples
    --------
    >>> mnist().train_images.shape  # doctest: +SKIP
    (60000, 28, 28)
    """
    return _images(fetch("mnist", folder, progress=progress))


def fashion_mnist(folder=None, *, progress=None):
    """Fashion-MNIST: 60,000 pictures of clothes to learn from and 10,000 to test with (Xiao and others 2017).

    Parameters
    ----------
    folder, progress
        As for `fetch`.

    Returns
    -------
    Images
        Classes 0 to 9: T-shirt or top, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot.

    Raises
    ------
    DataError
        See `fetch`.

    Examples
    --------
    >>> np.bincount(fashion_mnist().test_labels)  # doctest: +SKIP
    array([1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000])
    """
    return _images(fetch("fashion-mnist", folder, progress=progress))


def _images(files):
    return Images(*(_idx(files[f"{p}-{k}-ubyte"]) for p in ("train", "t10k") for k in ("images-idx3", "labels-idx1")))


def _idx(path):
    """An array in the IDX format: two zeros, type 8 (uint8), the number of axes, their lengths, the values."""
    raw = np.fromfile(path, dtype=np.uint8)
    zeros, kind, axes = raw[:2], raw[2], int(raw[3])
    if zeros.any() or kind != 8:
        raise DataError(f"{path} is not an IDX file of bytes")
    shape = raw[4 : 4 + 4 * axes].view(">u4").tolist()
    return raw[4 + 4 * axes :].reshape(shape)


def movie_reviews(folder=None, *, progress=None):
    """Movie-review snippets: 10,605 sentences, each with the mean sentiment of its raters (Hutto and Gilbert 2014).

    Parameters
    ----------
    folder, progress
        As for `fetch`.

    Returns
    -------
    Reviews
        Ratings from -4 (most negative) to 4; the sign is the usual label, and 37 are exactly 0.

    Raises
    ------
    DataError
        See `fetch`.

    Examples
    --------
    >>> np.sum(movie_reviews().ratings > 0)  # doctest: +SKIP
    5242
    """
    text = fetch("movie-reviews", folder, progress=progress).read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines()]
    return Reviews(np.array([row[2] for row in rows], dtype=object), np.array([float(row[1]) for row in rows]))


def spam(folder=None, *, headers=False, progress=None):
    """SpamAssassin's corpus: 4,150 wanted e-mails and 1,896 spam.

    Parameters
    ----------
    folder, progress
        As for `fetch`.
    headers : bool
        Whether to leave the headers in (default: no). They give the group away: collectors, dates, mailing lists.

    Returns
    -------
    Mails
        Sorted by group and name. Each byte is one character (Latin-1), so that ``text.encode("latin-1")`` is the mail
        as it came; nothing is decoded, no HTML or attachment removed.

    Raises
    ------
    DataError
        See `fetch`.

    Examples
    --------
    >>> np.sum(spam().spam)  # doctest: +SKIP
    1896
    """
    texts, groups = [], []
    for name, path in sorted(fetch("spam", folder, progress=progress).items()):
        for _, open_ in files_in(path):
            with open_() as file:
                mail = file.read().decode("latin-1")
            texts.append(mail if headers else _body(mail))
            groups.append(name.removesuffix(".tar"))
    kinds = np.array(groups)
    return Mails(np.array(texts, dtype=object), np.char.startswith(kinds, "spam"), kinds)


def _body(mail):
    """A mail without its headers, which end at the first empty line."""
    _, *body = re.split(r"\r?\n\r?\n", mail, maxsplit=1)
    return body[0] if body else ""


def efficientnet_lite0(folder=None, *, progress=None):
    """EfficientNet-Lite0 with ImageNet weights (Tan and Le 2019): the weights' file and the code's folder.

    Parameters
    ----------
    folder, progress
        As for `fetch`.

    Returns
    -------
    EfficientNetFiles
        ``weights`` for `torch.load`, ``code`` for `sys.path`.

    Raises
    ------
    DataError
        See `fetch`.

    Examples
    --------
    >>> files = efficientnet_lite0()  # doctest: +SKIP
    >>> sys.path.insert(0, str(files.code))  # doctest: +SKIP
    >>> from efficientnet_lite_pytorch import EfficientNet  # doctest: +SKIP
    >>> model = EfficientNet.from_name("efficientnet-lite0")  # doctest: +SKIP
    >>> model.load_state_dict(torch.load(files.weights, weights_only=True))  # doctest: +SKIP
    """
    files = fetch("efficientnet-lite0", folder, progress=progress)
    weights = files["efficientnet-lite0-57934424.pth"]
    return EfficientNetFiles(weights, weights.parent)


def minilm(folder=None, *, progress=None):
    """all-MiniLM-L6-v2 (Reimers and Gurevych 2019): the folder with its weights, settings and tokeniser.

    Parameters
    ----------
    folder, progress
        As for `fetch`.

    Returns
    -------
    pathlib.Path
        What `from_pretrained` of transformers takes.

    Raises
    ------
    DataError
        See `fetch`.

    Examples
    --------
    >>> transformers.AutoModel.from_pretrained(minilm())  # doctest: +SKIP
    """
    return fetch("minilm", folder, progress=progress)["config.json"].parent
