"""From the notebooks to the pages: run what has changed, stage, build. Warnings are errors."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tools.run import run
from tools.stage import stage
from tools.tree import ToolError, arguments, main


def sphinx(folder, out):
    """Build the staged tree with Jupyter Book; the pages lie in ``out``/_build/html."""
    command = [
        Path(sys.executable).with_name("jupyter-book"),
        "build",
        folder,
        "--path-output",
        out,
        "-W",
        "--keep-going",
        "-q",
    ]
    command += ["--config", folder / "_config.yml", "--toc", folder / "book" / "_toc.yml"]
    environment = dict(os.environ, PYTHONWARNINGS="ignore", NO_COLOR="1")  # warnings of the tools, not of the book
    if subprocess.run(command, env=environment).returncode:
        raise ToolError("the book has warnings or errors: they stand above")
    return out / "_build" / "html"


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
    html = step("pages", lambda: sphinx(folder, out))
    print("== " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in times.items()))
    print(f"== the book at size {size}: {(html / 'index.html').as_uri()}")
    return html


if __name__ == "__main__":
    parser = arguments(__doc__, size=True, device=True, jobs=True)
    parser.add_argument("--out", type=Path, help="where _build/html is made (default: the root)")
    options = parser.parse_args()
    out = (options.out or options.tree.root).resolve()
    main(lambda: build(options.tree, options.size, options.device, options.jobs, out))
