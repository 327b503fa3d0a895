"""Break the code on purpose, one fault of tests/mutants.yml at a time, and say which of them no test notices."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import yaml

from tools.tree import ToolError, arguments, main, write_json

COPIED = ("udulib", "companion", "tests", "tools", "results", "notebooks", "claims", "pyproject.toml")
SECONDS = 600  # that the tests of a mutant may take: one that hangs is noticed too


@dataclass(frozen=True)
class Mutant:
    """One fault: a file, what stands there once, what is put in its place, and the tests that must notice."""

    file: str
    old: str
    new: str
    tests: tuple

    def applied(self, text):
        """The file with the fault; None where the text that it would change is not there once."""
        return text.replace(self.old, self.new) if text.count(self.old) == 1 else None


def listed(tree):
    """The mutants of the list, in its order."""
    about = yaml.safe_load((tree.root / "tests" / "mutants.yml").read_text(encoding="utf-8"))
    return [Mutant(file, *pair, tuple(said["tests"])) for file, said in about.items() for pair in said["mutants"]]


def fits(tree, mutant):
    path = tree.root / mutant.file
    return path.is_file() and mutant.applied(path.read_text(encoding="utf-8")) is not None


def copy(tree, folder):
    for name in COPIED:
        source = tree.root / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("_shipped", "*.ipynb"))
        elif source.is_file():
            shutil.copy(source, folder)


def noticed(mutant, folder):
    """Put the fault into the copy in ``folder`` and run the tests that guard the file: whether one fails."""
    path = folder / mutant.file
    text = path.read_text(encoding="utf-8")
    path.write_text(mutant.applied(text), encoding="utf-8")
    tests = [test for test in mutant.tests if (folder / test).exists()]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_text(text, encoding="utf-8")
    if done.returncode not in (0, 1):
        raise ToolError(f"the tests of {mutant.file} do not run (status {done.returncode}):\n{done.stdout[-2000:]}")
    return done.returncode == 1


def run(tree, jobs, only):
    """Try all mutants, or those of the files that ``only`` names, and keep what came of it in _build/mutants.json."""
    mutants = [mutant for mutant in listed(tree) if not only or any(name in mutant.file for name in only)]
    here = [mutant for mutant in mutants if fits(tree, mutant)]
    survived, found, start = [], [], time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        folders = Queue()
        for k in range(jobs):
            copy(tree, Path(work, str(k)))
            folders.put(Path(work, str(k)))

        def one(mutant):
            folder = folders.get()
            try:
                return mutant, noticed(mutant, folder)
            finally:
                folders.put(folder)

        with ThreadPoolExecutor(jobs) as pool:
            for mutant, killed in pool.map(one, here):
                print(f"  {'killed  ' if killed else 'SURVIVED'}  {mutant.file}: {mutant.new}", flush=True)
                found.append({"file": mutant.file, "old": mutant.old, "new": mutant.new, "killed": killed})
                survived += [] if killed else [mutant]
                write_json(tree.root / "_build" / "mutants.json", {"mutants": found})
    for mutant in mutants:
        if mutant not in here:
            print(f"  not there any more  {mutant.file}: {mutant.old}")
    print(f"== {len(here) - len(survived)} of {len(here)} killed in {time.monotonic() - start:.0f} s")
    if survived:
        raise ToolError(f"{len(survived)} mutants survive: write the test that notices them")


if __name__ == "__main__":
    parser = arguments(__doc__, jobs=True)
    parser.add_argument("only", nargs="*", metavar="FILE", help="part of a path; all, if none is named")
    options = parser.parse_args()
    main(lambda: run(options.tree, options.jobs, options.only))
