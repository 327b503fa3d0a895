"""Files out of zip, tar and Debian archives, read here and never unpacked by the names that stand in them."""

import contextlib
import fnmatch
import functools
import io
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from companion.data.checked import BLOCK, keep
from companion.data.manifest import DataError, Member


def take_out(archive, plan, source, home, work):
    """Members out of an archive; `plan` maps where each lies ("a!/b": b in the archive a) to the member."""
    with _readable(archive):
        _take(archive, plan, source, home, work)


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


def _take(archive, plan, source, home, work):
    single = {location: member for location, member in plan.items() if "*" not in location and "!/" not in location}
    gather = {location: (member, {}) for location, member in plan.items() if "*" in location}
    nested: dict[str, dict[str, Member]] = {}
    for location, member in plan.items():
        if "!/" in location:
            outer, _, inner = location.partition("!/")
            nested.setdefault(outer, {})[inner] = member
    seen = set()
    for name, open_ in files_in(archive):
        if name in single:
            with open_() as stream:
                keep(iter(lambda stream=stream: stream.read(BLOCK), b""), name, single[name], source, home, work)
            seen.add(name)
        if name in nested:
            inside = Path(tempfile.mkdtemp(dir=work)) / PurePosixPath(name).name
            with open_() as stream, open(inside, "wb") as file:
                shutil.copyfileobj(stream, file, BLOCK)
            take_out(inside, nested[name], source, home, work)
            seen.add(name)
        for pattern, (_, found) in gather.items():
            if fnmatch.fnmatchcase(name, pattern):
                with open_() as stream:
                    found[PurePosixPath(name).name.removesuffix(".txt")] = stream.read()
                seen.add(pattern)
    if absent := sorted((single.keys() | nested.keys() | gather.keys()) - seen):
        raise DataError(f"{archive.name} has no member {', '.join(absent)}")
    for pattern, (member, found) in gather.items():
        keep([packed(found)], pattern, member, source, home, work)


def packed(files):
    """A tar of the files by name, without dates or owners: the same files give the same bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            tar.addfile(info, io.BytesIO(files[name]))
    return out.getvalue()


def files_in(archive) -> Iterator[tuple[str, Callable[[], BinaryIO]]]:
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
