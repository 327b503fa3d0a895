"""The ratings, and their split into parts for training, validation and test."""

from dataclasses import dataclass, field

import numpy as np

from companion import data
from udulib.checks import finite_array, index_array, whole_number
from udulib.errors import InputError
from udulib.problems import Completion
from udulib.seeds import generator

CORE = (200, 300)  # most active users and most rated films of the small version


@dataclass(frozen=True)
class Ratings:
    """Who rated what, and how.

    Attributes
    ----------
    users, items : array of int, shape (n,)
        Counted from zero.
    values : array of float, shape (n,)
        1 to 5.
    shape : (int, int)
        Numbers of users and items.

    Raises
    ------
    InputError
        Ids that are no whole numbers or lie outside of the shape, ratings that are no finite numbers, or arrays whose
        lengths differ.
    """

    users: np.ndarray = field(repr=False)
    items: np.ndarray = field(repr=False)
    values: np.ndarray = field(repr=False)
    shape: tuple

    def __post_init__(self):
        checked = {
            "users": index_array("users", self.users, whole_number("users in shape", self.shape[0], 1)),
            "items": index_array("items", self.items, whole_number("items in shape", self.shape[1], 1)),
            "values": finite_array("values", self.values, ndim=1, real=True),
        }
        if len({len(array) for array in checked.values()}) > 1:
            lengths = ", ".join(f"{len(array)} {name}" for name, array in checked.items())
            raise InputError(f"each rating has a user, an item and a value; got {lengths}")
        for name, array in checked.items():
            object.__setattr__(self, name, array)

    def problem(self, index, means=None):
        """The ratings at ``index`` as a completion problem, less ``means`` (None: nothing) where given."""
        i, j, values = self.users[index], self.items[index], self.values[index]
        return Completion(i, j, values if means is None else values - means.at(i, j), self.shape)


def load(core=False, folder=None):
    """MovieLens 100K through ``companion.data``.

    Parameters
    ----------
    core : bool, default False
        Only the 200 most active users and the 300 most rated films: seconds instead of minutes.
    folder : path, optional
        As in ``companion.data.fetch``.

    Returns
    -------
    Ratings

    Examples
    --------
    >>> load()  # doctest: +SKIP
    Ratings(shape=(943, 1682))
    """
    table = np.loadtxt(data.fetch("movielens-100k", folder), dtype=int)
    users, items, values = table[:, 0] - 1, table[:, 1] - 1, table[:, 2].astype(float)
    return from_arrays(users, items, values, CORE if core else None)


def from_arrays(users, items, values, core=None):
    """Ratings from three arrays; with ``core`` only those of the most active users and the most rated items.

    Parameters
    ----------
    users, items : array of int, shape (n,)
        Counted from zero, each number in use; ``np.unique(ids, return_inverse=True)[1]`` makes such of any ids.
    values : array of float, shape (n,)
    core : (int, int), optional
        How many users and items to keep.

    Returns
    -------
    Ratings

    Raises
    ------
    InputError
        Ids that are no numbers, or that leave gaps; and what :class:`Ratings` refuses.

    Examples
    --------
    >>> from_arrays(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([5.0, 3.0, 4.0]), core=(1, 2)).shape
    (1, 2)
    """
    users, items = _numbered("users", users), _numbered("items", items)
    values = finite_array("values", values, ndim=1, real=True)
    if core is not None:
        if not isinstance(core, (tuple, list)) or len(core) != 2:
            raise InputError(f"core is how many users and how many items to keep; got {core!r}")
        core = tuple(whole_number("each number of core", size, 1) for size in core)
        keep = []
        for who, size in zip((users, items), core, strict=True):
            keep.append(np.argsort(-np.bincount(who), kind="stable")[:size])
        place = [np.full(who.max() + 1, -1) for who in (users, items)]
        for where, kept in zip(place, keep, strict=True):
            where[kept] = np.arange(len(kept))
        users, items = place[0][users], place[1][items]
        inside = (users >= 0) & (items >= 0)
        if not inside.any():
            raise InputError(f"no rating is of the core's users and items; got core={core}; take more of them")
        users, items, values = users[inside], items[inside], values[inside]
    return Ratings(users, items, values, (int(users.max()) + 1, int(items.max()) + 1))


def _numbered(name, ids):
    """Ids as they must be: from zero on, without gaps, each of which would be an empty row of the matrix."""
    ids = np.asarray(ids)
    how = f"number them first: {name} = np.unique({name}, return_inverse=True)[1]"
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or not len(ids):
        raise InputError(
            f"{name} are whole numbers, shape (n,), with at least one; got dtype {ids.dtype}, shape {ids.shape}; {how}"
        )
    known = np.unique(ids)
    if known[0] != 0 or known[-1] != len(known) - 1:
        raise InputError(
            f"{name} count from zero without gaps; got {len(known)} different ones, {known[0]} to {known[-1]}; {how}"
        )
    return ids


@dataclass(frozen=True)
class Split:
    """Indices of a split's ratings: 72 % for training, 8 % for validation (the same in every split), 20 % for test."""

    train: np.ndarray = field(repr=False)
    validation: np.ndarray = field(repr=False)
    test: np.ndarray = field(repr=False)
    seed: int


def split(ratings, seed):
    """Split ``seed`` of the protocol.

    Parameters
    ----------
    ratings : Ratings
    seed : int

    Returns
    -------
    Split

    Examples
    --------
    >>> ratings = from_arrays(np.arange(100), np.arange(100), np.ones(100))
    >>> one, two = split(ratings, 0), split(ratings, 1)
    >>> len(one.train), len(one.test), bool((one.validation == two.validation).all())
    (72, 20, True)
    """
    n = len(ratings.values)
    order = generator("validation", 0).permutation(n)
    validation, rest = np.sort(order[: n * 8 // 100]), order[n * 8 // 100 :]
    rest = generator("test", seed).permutation(rest)
    return Split(np.sort(rest[n // 5 :]), validation, np.sort(rest[: n // 5]), seed)
