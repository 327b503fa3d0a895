"""What there is, where it comes from and what it must be: the manifest ``sources.yml`` beside this file."""

import difflib
import functools
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from udulib.errors import InputError

MANIFEST = Path(__file__).with_name("sources.yml")
ROOT = Path(__file__).resolve().parents[2]  # the checkout, where there is one

Progress = Callable[[str, int, int | None], None]


class DataError(RuntimeError):
    """Data that could not be had or is not what it must be. The message says what was tried and what to do."""


@dataclass(frozen=True)
class Member:
    """A file that `fetch` leaves in the data folder: its path there, size in bytes and sha256."""

    path: str
    bytes: int
    sha256: str

    def __post_init__(self):
        if type(self.bytes) is not int or self.bytes < 0 or not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"{self.path} has no size and sha256")


@dataclass(frozen=True)
class Source:
    """One way to get members: an address or a package archive, and where each member lies in it.

    ``kind`` is ``https`` (an archive), ``files`` (one address a member), ``pypi``, ``npm`` or ``debian``; ``at`` is the
    address or the package with its version.
    """

    kind: str
    at: str
    members: Mapping[str, str]
    file: str | None = None
    sha256: str | None = None
    skip_lines: int = 0
    build: str | None = None

    def __str__(self):
        client = {"pypi": "pip download ", "npm": "npm pack ", "debian": "apt-get download "}
        return client.get(self.kind, "") + self.at


@dataclass(frozen=True)
class Entry:
    """What the manifest says of one name: title, licence, citation, note, members and sources."""

    name: str
    title: str
    licence: str
    citation: str
    note: str
    members: tuple[Member, ...] = field(repr=False)
    sources: tuple[Source, ...] = field(repr=False)

    @property
    def bytes(self):
        """Size of all members together, in bytes."""
        return sum(member.bytes for member in self.members)


@functools.lru_cache
def _read(manifest):
    try:
        text = yaml.safe_load(manifest.read_text(encoding="utf-8"))
        return {str(name): _entry(name, **said) for name, said in text.items()}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{manifest} is not the manifest that came with udulib: {error}; reinstall it") from error


def _entry(name, *, title, licence, citation, members, sources, note=""):
    files = tuple(Member(path, said["bytes"], said["sha256"]) for path, said in members.items())
    return Entry(name, title, licence, citation, note, files, tuple(_source(files, **said) for said in sources))


def _source(kept, /, *, members, file=None, sha256=None, skip_lines=0, build=None, **way):
    ((kind, at),) = way.items()
    if isinstance(members, str):
        members = {member.path: members.replace("{member}", member.path) for member in kept}
    return Source(kind, at, members, file, sha256, skip_lines, build)


def names():
    """Names of all data sets and weights that `fetch` knows.

    Examples
    --------
    >>> names()
    ('movielens-100k', 'house-prices', 'taxi-trips', 'mnist', 'fashion-mnist', 'efficientnet-lite0', 'minilm',
     'movie-reviews', 'spam')
    """
    return tuple(_read(MANIFEST))


def about(name):
    """What is known of a data set before it is fetched: title, licence, citation, note, files and sources.

    Parameters
    ----------
    name : str
        One of `names()`.

    Returns
    -------
    Entry

    Raises
    ------
    InputError
        For a name that is not in the manifest.

    Examples
    --------
    >>> about("fashion-mnist").licence
    'MIT (c) 2017 Zalando SE'
    >>> about("movielens-100k").bytes
    1979173
    """
    known = _read(MANIFEST)
    if not isinstance(name, str) or name not in known:
        near = difflib.get_close_matches(str(name).lower().replace("_", "-"), known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise InputError(f"the name of a data set was wanted; got {name!r}{hint}; there are: {', '.join(known)}")
    return known[name]


def data_folder(folder=None):
    """The folder that holds the data, one folder a name in it. It need not exist yet.

    Parameters
    ----------
    folder : path, optional
        Taken as it is. Left out: the environment variable ``UDULIB_DATA``, else ``data/`` in a checkout of the
        repository (git ignores it), else the user's cache folder.

    Returns
    -------
    pathlib.Path

    Examples
    --------
    >>> data_folder("somewhere").name
    'somewhere'
    """
    if folder is not None:
        return Path(folder).expanduser().absolute()
    if os.environ.get("UDULIB_DATA"):
        return Path(os.environ["UDULIB_DATA"]).expanduser().absolute()
    if (ROOT / "pyproject.toml").is_file():
        return ROOT / "data"
    cache = {"darwin": "~/Library/Caches", "win32": os.environ.get("LOCALAPPDATA", "~/AppData/Local")}
    return Path(cache.get(sys.platform) or os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "udulib"
