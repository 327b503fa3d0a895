"""Tune the methods that the notebooks compare, and commit all runs: results/tuning/, one log a table of methods."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from companion.adapters import letter_decoder, tuning
from companion.completion import ratings
from companion.networks import convolutions
from tools.provenance import git, processor, version
from tools.tree import ToolError, arguments, main, write_json

LONG = ("runs", "scores", "chosen")  # what a line on the terminal leaves out


@dataclass(frozen=True)
class Tuning:
    """What makes a log: a function that yields its entries, and the packages that it needs beside our own."""

    entries: Callable
    needs: tuple


TUNINGS = {
    "movielens-100k-core": Tuning(lambda: ratings.log_all(ratings.load(core=True)), ("cornac",)),
    "movielens-100k": Tuning(lambda: ratings.log_all(ratings.load()), ("cornac",)),
    "convolutions": Tuning(convolutions.log_all, ()),
    "lora": Tuning(tuning.log_all, ("transformers",)),
    "lora-letters": Tuning(letter_decoder.log_all, ("transformers", "safetensors")),
}


def tune(tree, names=()):
    """Write each log anew after each of its entries: what is done is kept if the rest is cut off."""
    names = list(names) or list(TUNINGS)
    if unknown := [name for name in names if name not in TUNINGS]:
        raise ToolError(f"there is no log {', '.join(unknown)}; there are {', '.join(TUNINGS)}")
    for name in names:
        if missing := [package for package in TUNINGS[name].needs if version(package) is None]:
            raise ToolError(f"{name} needs what is not installed: pip install {' '.join(missing)}")
    for name in names:
        path, logs = tree.root / "results" / "tuning" / f"{name}.json", []
        for log in TUNINGS[name].entries():
            logs.append(log)
            write_json(path, {"provenance": gather(tree, TUNINGS[name].needs), "logs": logs})
            what = {key: value for key, value in log.items() if key not in LONG}
            print(f"  {name}  {', '.join(f'{key}: {value}' for key, value in what.items())}", flush=True)
        print(f"  {path.relative_to(tree.root)}")


def gather(tree, packages):
    about = {
        "commit": git(tree, "rev-parse", "HEAD"),
        "python": platform.python_version(),
        "processor": processor("cpu"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return about | {name: version(name) for name in ("numpy", "torch", *packages)}


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("names", nargs="*", metavar="LOG", help=f"all, if none is named: {', '.join(TUNINGS)}")
    options = parser.parse_args()
    main(partial(tune, options.tree, options.names))
