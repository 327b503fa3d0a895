"""Files that are whole: a reader finds the old one or the new one, whenever the writer is killed."""

import os
import secrets
import time
from contextlib import contextmanager
from pathlib import Path

FORGOTTEN = 3600.0  # seconds after which a draft is of a writer that was killed


@contextmanager
def replacing(path):
    """A draft beside ``path``, to be written in the block; it takes the place of ``path`` when the block ends well.

    Parameters
    ----------
    path : path
        Its folder is made if it is not there.

    Yields
    ------
    pathlib.Path
        The draft's. After an error it is removed, and ``path`` is as before.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "new", "a.txt")) as draft:
    ...         _ = draft.write_text("whole")
    ...     [path.name for path in Path(folder, "new").iterdir()]
    ['a.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")  # several may write the same path at once
    try:
        yield draft
        with open(draft, "rb+") as written:
            os.fsync(written.fileno())  # or a power cut could leave the name and nothing in it
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_whole(path, content):
    """Write bytes or text (as UTF-8) so that a reader finds the old file or the new one, never a part.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder, "a.txt"), "whole")
    ...     Path(folder, "a.txt").read_text()
    'whole'
    """
    with replacing(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def clear_drafts(folder):
    """Remove the drafts that killed writers have left in a folder: those of more than an hour ago.

    Examples
    --------
    >>> clear_drafts("no/such/folder")
    """
    for draft in Path(folder).glob(".*.part"):
        try:
            if time.time() - draft.stat().st_mtime > FORGOTTEN:
                draft.unlink()
        except FileNotFoundError:  # its writer has ended meanwhile
            continue
