"""Lay out what the book is built from under _build/stage: the pages of book/ and the executed notebooks."""

import json
import re
from pathlib import Path

import nbformat
import yaml

from tools.folding import fold
from tools.provenance import resolve_device
from tools.store import fresh
from tools.tree import ToolError, arguments, main

LEVELS = ("parts", "chapters", "sections")  # of a table of contents
SKIP = ("__pycache__", ".ipynb_checkpoints")

# The rooms of udulib that book/api.md takes from their docstrings; the others it documents name by name.
ROOMS = ("solvers", "deep", "fixed_points", "nn", "compress", "lora", "impute", "sweep")
MODULE = """
## {title}

```{{eval-rst}}
.. automodule:: udulib.{name}
   :members:
   :imported-members:
```
"""


def stage(tree, size, device, folder):
    """Write the staged tree. A file that has not changed is left alone: Sphinx then reads only what is new."""
    records = {name: fresh(tree, name, size, device) for name in tree.names()}
    stale = [name for name, record in records.items() if record is None]
    if stale:
        raise ToolError(f"not run at size {size} since the last change: {', '.join(stale)}. Run make book SIZE={size}")
    wanted = {path.relative_to(tree.root): path.read_bytes() for path in pages(tree)}
    wanted[Path("book/_toc.yml")] = yaml.safe_dump(contents(tree), sort_keys=False).encode()
    for name, record in records.items():
        wanted[tree.source(name).relative_to(tree.root).with_suffix(".ipynb")] = staged_notebook(
            tree, size, name, record
        )
        wanted[tree.run_record(size, name).relative_to(tree.root / "_build")] = json.dumps(record).encode()
    wanted["book/_runs.md"] = runs_table(records).encode()
    wanted["book/_modules.md"] = modules_text(tree).encode()
    wanted["_config.yml"] = yaml.safe_dump(staged_config(tree.config()), sort_keys=False).encode()
    synchronise(folder, wanted)
    return folder


def contents(tree):
    """The table of contents without what is not written yet. A page that it does not list is an error: Sphinx would
    leave it out without a word."""
    toc = yaml.safe_load((tree.root / "book" / "_toc.yml").read_text())
    written = [f"notebooks/{name}" for name in tree.names()]
    written += [f"book/{path.stem}" for path in sorted((tree.root / "book").glob("[a-z]*.md"))]
    unlisted = [page for page in written if page not in listed(toc)]
    if unlisted:
        raise ToolError(f"book/_toc.yml does not list {', '.join(unlisted)}")
    return only(toc, written)


def listed(toc):
    """The pages of a table of contents in their order, the root first."""
    first = toc.get("root") or toc.get("file")
    below = [page for level in LEVELS for part in toc.get(level, ()) for page in listed(part)]
    return [first, *below] if first else below


def only(toc, written):
    """A table of contents without the pages that are not written."""
    levels = {
        level: [part for part in toc[level] if part.get("file") in {None, *written}] for level in LEVELS if level in toc
    }
    return {**toc, **{level: [only(part, written) for part in parts] for level, parts in levels.items()}}


def pages(tree):
    found = sorted(path for path in (tree.root / "book").rglob("*") if path.is_file())
    return [path for path in found if not any(part in SKIP for part in path.parts)]


def modules_text(tree):
    """The sections of the API page on the rooms that are there, each with what it offers."""
    there = {path.stem for path in (tree.root / "udulib").iterdir()}
    rooms = [name for name in ROOMS if name in there]
    return "".join(MODULE.format(name=name, title=name.replace("_", " ").capitalize()) for name in rooms)


def synchronise(folder, wanted):
    """Make ``folder`` hold exactly the wanted files (path to bytes), writing those that differ."""
    wanted = {folder / path: content for path, content in wanted.items()}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path not in wanted:
            path.unlink()
    for path, content in wanted.items():
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def staged_config(config):
    """Buttons follow from the repository's address; while there is none, there are none."""
    repository = config["repository"]
    if not repository["url"]:
        return {key: value for key, value in config.items() if key != "repository"}
    config = {**config, "sphinx": published(config["sphinx"], site_address(repository["url"]))}
    buttons = {f"use_{button}_button": True for button in ("repository", "issues", "edit_page")}
    launch = {"notebook_interface": "classic", "colab_url": "https://colab.research.google.com", "thebe": False}
    return {**config, "html": {**config["html"], **buttons}, "launch_buttons": launch}


def site_address(url):
    """Where GitHub shows the pages of a repository; elsewhere nothing is known of it, and the answer is None."""
    found = re.fullmatch(r"https://github\.com/([\w.-]+)/([\w.-]+?)(?:\.git)?/?", url)
    if not found:
        return None
    owner, name = found[1].lower(), found[2]
    return f"https://{owner}.github.io/" + ("" if name.lower() == f"{owner}.github.io" else f"{name}/")


def published(sphinx, address):
    """Sphinx's part of the configuration where the address is known: canonical and social addresses, and a sitemap."""
    if not address:
        return sphinx
    known = {"html_baseurl": address, "ogp_site_url": address, "sitemap_url_scheme": "{link}"}
    known["notfound_urls_prefix"] = "/" + address.split("/", 3)[3]
    extensions = [*sphinx.get("extra_extensions", []), "sphinx_sitemap"]
    return {**sphinx, "extra_extensions": extensions, "config": {**sphinx["config"], **known}}


def staged_notebook(tree, size, name, record):
    """An executed notebook as the book shows it: numbered figures, and a last line that says what it was made from."""
    notebook = nbformat.read(tree.executed(size, name), as_version=4)
    notebook.metadata.pop("papermill", None)
    fold_parameters(notebook)
    for cell in notebook.cells:
        fold(cell)
    url = tree.config()["repository"]["url"].rstrip("/")
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if cell.cell_type == "code":
            number_figure(cell, name, source_link(name, record["provenance"], url))
    footer = nbformat.v4.new_markdown_cell(f"---\n\n*{footer_text(record['provenance'])}*")
    footer["id"] = "provenance"
    notebook.cells.append(footer)
    return nbformat.writes(notebook).encode()


def fold_parameters(notebook):
    """Write the size and first seed of a run into the notebook's own parameters, in the place of papermill's cell.

    That cell comes behind them: whoever downloads the page would change the parameters in vain. The device stays the
    reader's.
    """
    tagged = {
        tag: cell for cell in notebook.cells for tag in cell.metadata.get("tags", []) if tag.endswith("parameters")
    }
    injected, own = tagged.get("injected-parameters"), tagged.get("parameters")
    if injected is None or own is None:
        return
    for name, value in re.findall(r"^(size|first_seed) = (.*)$", injected.source, flags=re.M):
        own.source = re.sub(rf"^({name} = )[^#\n]*?(\s*(?:#.*)?)$", rf"\g<1>{value}\g<2>", own.source, flags=re.M)
    notebook.cells.remove(injected)


def number_figure(cell, name, made_by=""):
    """Make the figure that companion.figures.show left in a cell a numbered one with caption and alternative text."""
    figures = [output for output in cell.outputs if "udulib_figure" in output.get("metadata", {})]
    if not figures:
        return
    rest = [output for output in cell.outputs if output.output_type != "stream" and output not in figures]
    if len(figures) > 1 or any("udulib_caption" not in output.get("metadata", {}) for output in rest):
        raise ToolError(f"{name}: a cell shows one figure, and nothing else that is displayed:\n{cell.source}")
    figure = figures[0].metadata["udulib_figure"]
    cell.metadata["mystnb"] = {
        "image": {"alt": figure["alt"]},
        "figure": {"caption": f"{figure['caption']} {made_by}".strip(), "name": figure["name"]},
    }
    cell.outputs = [output for output in cell.outputs if output not in rest]


def source_link(name, made, url):
    """What made a figure: the cell above it, of which file and commit; a link once there is an address."""
    if not made["commit"]:
        return ""
    text = f"{name}.py at {made['commit'][:7]}"
    link = f"[{text}]({url}/blob/{made['commit']}/notebooks/{name}.py)" if url else text
    return f"Made by the cell above, {link}{', with changes' * made['dirty']}."


def commit_text(made):
    return made["commit"][:10] + " with changes not committed" * made["dirty"] if made["commit"] else "unknown"


def machine_text(made):
    return f"{made['device']}, {made['threads']} thread{'s' * (made['threads'] != 1)}: {made['processor']}"


def duration(seconds):
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def footer_text(made):
    """One sentence of provenance."""
    return (
        f"Made at size {made['size']} in {duration(made['duration_seconds'])} ({machine_text(made)}) with "
        f"Python {made['python']}, torch {made['torch']}, numpy {made['numpy']}, udulib {made['udulib']}, "
        f"from commit {commit_text(made)}, source {made['source_hash'][:10]}, on {made['date'][:10]}."
    )


def runs_table(records):
    """The table of the page on reproducing: what each notebook took, and on what."""
    rows = ["| notebook | size | time | on | with | commit |", "|---|---|---|---|---|---|"]
    for name, record in records.items():
        made = record["provenance"]
        cells = [f"[{name}](../notebooks/{name}.ipynb)", made["size"], duration(made["duration_seconds"])]
        cells += [machine_text(made), f"torch {made['torch']}, numpy {made['numpy']}", commit_text(made)]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    options = arguments(__doc__, size=True, device=True).parse_args()
    folder = options.tree.root / "_build" / "stage"
    main(lambda: stage(options.tree, options.size, resolve_device(options.device), folder))
