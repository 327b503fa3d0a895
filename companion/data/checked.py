"""A file gets its name in the data folder when it is whole and has the sha256 that the manifest gives."""

import hashlib
import os
import zlib
from pathlib import Path

from companion.data.manifest import DataError

BLOCK = 1 << 20  # bytes at a time

_found_right: dict[Path, tuple[int, int]] = {}  # in this process: size and time of change


def missing(entry, home):
    """Members that are not here yet. One that is here and wrong is an error: it may be the user's own."""
    absent = []
    for member in entry.members:
        path = home / member.path
        if not path.is_file():
            absent.append(member)
            continue
        stamp = path.stat().st_size, path.stat().st_mtime_ns
        if _found_right.get(path) == stamp:
            continue
        got = sha256_of(path)
        if got != member.sha256:
            raise DataError(
                f"{path} is not the file it must be: expected sha256 {member.sha256}, got {got}. "
                "It was changed after it came; move it away or delete it, then call again"
            )
        _found_right[path] = stamp
    return absent


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expect(archive, sha256):
    """The archive is the one the manifest names (where it gives a sha256)."""
    if sha256 is not None and (got := sha256_of(archive)) != sha256:
        raise DataError(f"{archive.name} is not the file it must be: expected sha256 {sha256}, got {got}")


def keep(chunks, location, member, source, home, work):
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
    _found_right[place] = place.stat().st_size, place.stat().st_mtime_ns


def _gunzipped(chunks, location):
    unpack = zlib.decompressobj(wbits=31)
    try:
        for chunk in chunks:
            while chunk:
                yield unpack.decompress(chunk, BLOCK)
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
