"""Where things lie in a checkout, and how files are written there."""

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent.parent  # the checkout that these tools are part of
SIZES = ("ci", "book", "paper")
DEVICES = ("auto", "cpu", "cuda")


class ToolError(Exception):
    """A step cannot go on. The message says what is wrong and what to do; no traceback is shown."""


@dataclass(frozen=True)
class Tree:
    """A checkout, by its root folder."""

    root: Path = HERE
    first_seed: int = 0  # of the notebooks' seeds; runs from another one lie apart
    apart: str = ""  # runs under other conditions lie apart, too: the word for them

    def names(self):
        """The notebooks, in the order of their numbers."""
        return sorted(path.stem for path in (self.root / "notebooks").glob("[0-9]*.py"))

    def source(self, name):
        return self.root / "notebooks" / f"{name}.py"

    def pair(self, name):
        return self.root / "notebooks" / f"{name}.ipynb"

    def runs(self, size):
        """The folder of the executed notebooks of one size."""
        seeds = f"-from-{self.first_seed}" if self.first_seed else ""
        return self.root / "_build" / "executed" / (size + seeds + (f"-{self.apart}" if self.apart else ""))

    def executed(self, size, name):
        return self.runs(size) / f"{name}.ipynb"

    def run_record(self, size, name):
        return self.runs(size) / f"{name}.json"

    def published(self, size, name):
        return self.root / "results" / size / f"{name}.json"

    def pool(self, size, name):
        return self.root / "results" / "pools" / size / f"{name}.json"

    def axes(self):
        """What was measured under other conditions."""
        return self.root / "results" / "axes.json"

    def config(self):
        return yaml.safe_load((self.root / "_config.yml").read_text())

    def repository(self):
        """The public address of the repository and its branch; the address is empty while it is not known."""
        repository = self.config().get("repository") or {}
        return (repository.get("url") or "").rstrip("/"), repository.get("branch") or "main"


def arguments(description, *, size=False, device=False, jobs=False, names=False, first_seed=False):
    """The command line that the tools share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--root", type=lambda text: Tree(Path(text).resolve()), default=Tree(), dest="tree", metavar="FOLDER"
    )
    if size:
        parser.add_argument("--size", choices=SIZES, required=True)
    if device:
        parser.add_argument("--device", choices=DEVICES, default="auto")
    if jobs:
        parser.add_argument("--jobs", type=int, default=2, help="notebooks at a time")
    if first_seed:
        parser.add_argument("--first-seed", type=int, default=0, help="of the notebooks' seeds")
    if names:
        parser.add_argument("names", nargs="*", metavar="NOTEBOOK", help="all, if none is named")
    return parser


def write_whole(path, content):
    """Write a file so that a reader finds the old one or the new one, never a part.

    As in ``udulib.files``; but importing that loads PyTorch, which takes seconds that most tools need not spend.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.replace(part, path)


def json_text(value, indent=""):
    """JSON with one record a line: what holds a list of records is spread over lines, and all else stands on one."""
    inner = indent + " "
    if isinstance(value, dict) and any(map(_holds_records, value.values())):
        lines, ends = [f"{json.dumps(key)}: {json_text(item, inner)}" for key, item in value.items()], "{}"
    elif _holds_records(value):
        lines, ends = [json_text(item, inner) for item in value], "[]"
    else:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    return f"{ends[0]}\n" + ",\n".join(inner + line for line in lines) + f"\n{indent}{ends[1]}"


def _holds_records(value):
    if isinstance(value, dict):
        return any(map(_holds_records, value.values()))
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def write_json(path, value):
    """Write JSON whole, one record a line, so that a change of one shows as one."""
    write_whole(path, json_text(value) + "\n")


def read_json(path):
    """The content of a JSON file, or None where there is no whole one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return None


def main(run):
    """Run a tool; what it cannot do is one sentence and exit status 1."""
    try:
        run()
    except ToolError as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
