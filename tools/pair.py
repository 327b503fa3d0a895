"""Make the committed .ipynb of each notebook from its .py source, run at size ci. --check only says what disagrees."""

import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tools.execute import CELL_SECONDS, check_whole, progress, read_source, sockets
from tools.provenance import source_hash
from tools.tree import ToolError, arguments, main, write_whole

TEMPLATE = Path(__file__).with_name("setup_cell.txt")
SETUP = re.compile(r'^(# %% tags=\["setup", "hide-cell"\]\n)(.*?)(?=^# %%|\Z)', re.M | re.S)
CELL_METADATA = ("tags",)
IMAGE = re.compile(r'"image/png": "[^"]*"')
MACHINE = re.compile(r"(/(home|root|Users|tmp)/|site-packages|ipykernel_\d|\b0x[0-9a-f]{8,})")


def setup_cell(tree):
    """The set-up cell that all notebooks share, with the repository's address where it is known."""
    url, branch = tree.repository()
    return TEMPLATE.read_text().format(source=f"git+{url}@{branch}" if url else "")


def with_setup(tree, text):
    """A source with its set-up cell brought up to date."""
    cell = setup_cell(tree)
    text, count = SETUP.subn(lambda found: f"{found[1]}{cell}\n", text)
    if count != 1:
        raise ToolError(f'a notebook has one cell headed # %% tags=["setup", "hide-cell"]; found {count}')
    return text


def execute(tree, name):
    """The notebook with the outputs of its default parameters."""
    notebook = read_source(tree, name)
    folder = tree.root / "_build" / "pair"
    folder.mkdir(parents=True, exist_ok=True)
    options = {"timeout": CELL_SECONDS["ci"], "on_cell_start": progress(name, len(notebook.cells))}
    with sockets() as config:
        NotebookClient(
            notebook,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            config=config,
            coalesce_streams=True,
            **options,
        ).execute()
    check_whole(notebook, name)
    return notebook


def header(stamp):
    """The notebook's own metadata: nothing of one run."""
    return {
        "jupytext": {"formats": "ipynb,py:percent"},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "udulib": {"source_hash": stamp},
    }


def normalised(notebook, stamp):
    """Only what the source and the results decide: no times, no versions, no machine."""
    notebook.metadata = header(stamp)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in CELL_METADATA}
    return notebook


def regenerate(tree, name):
    source = tree.source(name)
    write_whole(source, with_setup(tree, source.read_text()))
    stamp = source_hash(tree, name)
    notebook = normalised(execute(tree, name), stamp)
    write_whole(tree.pair(name), nbformat.writes(notebook) + "\n")


def cells(notebook):
    """What a source and its pair must agree on."""
    return [(cell.cell_type, cell.source.strip(), cell.metadata.get("tags", [])) for cell in notebook.cells]


def disagreements(tree, name):
    """Why the .ipynb is not the pair of its source, as sentences; none if it is."""
    if not tree.pair(name).exists():
        return [f"{name}: there is no .ipynb"]
    source, stamp = tree.source(name).read_text(), source_hash(tree, name)
    text = tree.pair(name).read_text()
    notebook = nbformat.reads(text, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    compared = [cell for cell in code if "nbval-check-output" in cell.metadata.get("tags", [])]
    extra = {key for cell in notebook.cells for key in cell.metadata} - set(CELL_METADATA)
    found = {
        "the set-up cell is not that of tools/setup_cell.txt": with_setup(tree, source) != source,
        "the outputs are of another source": notebook.metadata.get("udulib", {}).get("source_hash") != stamp,
        "the cells are not those of the source": cells(notebook) != cells(read_source(tree, name)),
        "not every code cell has been run, in order": [cell.execution_count for cell in code]
        != list(range(1, len(code) + 1)),
        "no cell is compared by nbval": not any(cell.outputs for cell in compared),
        "a cell has failed": any(output.output_type == "error" for output in outputs),
        "there are warnings in the outputs": any(output.get("name") == "stderr" for output in outputs),
        "there is metadata of one run": notebook.metadata.keys() != header(stamp).keys() or bool(extra),
        "something names one machine": MACHINE.search(IMAGE.sub("", text)) is not None,
    }
    return [f"{name}: {sentence}" for sentence, wrong in found.items() if wrong]


def check(tree, names=()):
    """Every source has its pair, and every .ipynb its source."""
    orphans = {path.stem for path in (tree.root / "notebooks").glob("*.ipynb")} - set(tree.names())
    found = [f"{name}: there is no .py" for name in sorted(orphans)]
    found += [sentence for name in names or tree.names() for sentence in disagreements(tree, name)]
    if found:
        raise ToolError("; ".join(found) + ". Run make pair")


def pair(tree, names, everything):
    """Regenerate the pairs that disagree with their sources, or all of them."""
    for name in names or tree.names():
        if everything or disagreements(tree, name):
            print(f"  {name}  runs at size ci", flush=True)
            regenerate(tree, name)
        else:
            print(f"  {name}  unchanged", flush=True)
    check(tree, names)


if __name__ == "__main__":
    parser = arguments(__doc__, names=True)
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--all", action="store_true", help="also those whose source has not changed")
    options = parser.parse_args()
    main(
        lambda: check(options.tree, options.names) if options.check else pair(options.tree, options.names, options.all)
    )
