"""``python -m companion.data`` fetches everything, ``--list`` shows what there is, ``--check`` checks what is here."""

import argparse
import sys
import time
from collections.abc import Iterable

from companion.data.checked import missing
from companion.data.fetching import fetch
from companion.data.manifest import DataError, about, data_folder, names
from udulib.errors import InputError


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
            absent = len(missing(entry, root / entry.name))
            state = "here" if not absent else "not here" if absent == len(entry.members) else "in part here"
            wrong += bool(absent) and given.check and bool(given.names)
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
    sys.exit(main())
