"""From the notebooks to the pages: run what has changed, stage, build. Warnings are errors."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tools.provenance import digest, library_hash
from tools.run import run
from tools.stage import stage
from tools.tree import ToolError, arguments, main, write_whole


def pages(tree, folder, out):
    """Build the staged tree with Jupyter Book; the pages lie in ``out``/_build/html.

    What has changed decides whether to build, not what to build: a new title, number or label shows on every page, and
    a warning about a page that Sphinx would skip must not be lost.
    """
    html = out / "_build" / "html"
    stamp, made_from = out / "_build" / "html.made_from", contents(tree, folder)
    if stamp.exists() and stamp.read_text() == made_from and (html / "index.html").exists():
        print("  unchanged", flush=True)
        return html
    stamp.unlink(missing_ok=True)
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [jupyter_book, "build", folder, "--path-output", out, "--all", "-W", "--keep-going", "-q"]
    command += ["--config", folder / "_config.yml", "--toc", folder / "book" / "_toc.yml"]
    environment = dict(os.environ, PYTHONWARNINGS="ignore", NO_COLOR="1")  # warnings of the tools, not of the book
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise ToolError(f"the book has warnings or errors:\n{done.stdout}")
    write_whole(stamp, made_from)
    return html


def contents(tree, folder):
    """A hash of all that the pages are made from: what is staged, the docstrings, and the published results."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files += [*sorted((tree.root / "claims").glob("*.yml")), tree.root / "constraints.txt"]
    files += sorted((tree.root / "results").rglob("*.json"))
    named = [part for path in files if path.exists() for part in (str(path).encode(), path.read_bytes())]
    return digest(library_hash(tree).encode(), *named)


def build(tree, size, device, jobs, out):
    """Make the book, print how long each step took and where the page is."""
    times = {}

    def step(name, action):
        print(f"== {name}", flush=True)
        start = time.monotonic()
        result = action()
        times[name] = time.monotonic() - start
        return result

    resolved = step("notebooks", lambda: run(tree, size, device, jobs))
    folder = step("stage", lambda: stage(tree, size, resolved, out / "_build" / "stage"))
    html = step("pages", lambda: pages(tree, folder, out))
    print("== " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in times.items()))
    print(f"== the book at size {size}: {(html / 'index.html').as_uri()}")
    return html


if __name__ == "__main__":
    parser = arguments(__doc__, size=True, device=True, jobs=True)
    parser.add_argument("--out", type=Path, help="where _build/html is made (default: the root)")
    options = parser.parse_args()
    out = (options.out or options.tree.root).resolve()
    main(lambda: build(options.tree, options.size, options.device, options.jobs, out))
