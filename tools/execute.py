"""Run one notebook under papermill."""

import json
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace

import jupytext
import papermill
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from tools import provenance, store
from tools.tree import ToolError, arguments, main

CELL_SECONDS = {"ci": 600, "book": 1800, "paper": None}  # a hanging cell ends a run; at paper size nothing is too long


@contextmanager
def sockets():
    """The configuration of a kernel with sockets of its own: kernels side by side could take each other's ports."""
    with tempfile.TemporaryDirectory() as folder:
        yield Config(KernelManager={"transport": "ipc", "ip": f"{folder}/kernel"})


def read_source(tree, name):
    """The notebook that the source spells, without outputs. Cells have ids by place, so that runs can be compared.

    A comment is a comment: jupytext would make a command of one like ``# rm is the residual mean``.
    """
    how = {"extension": ".py", "format_name": "percent", "comment_magics": False}
    notebook = jupytext.read(tree.source(name), fmt=how)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index:03d}"
    return notebook


def check_parameters(notebook, name, parameters):
    """Refuse a parameter that the notebook does not have; papermill itself would only warn."""
    cells = [cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    known = {line.split("=")[0].strip() for cell in cells for line in cell.splitlines() if "=" in line.split("#")[0]}
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise ToolError(f"{name} has no parameter {', '.join(unknown)}: its cell tagged 'parameters' must set it")


def progress(name, count):
    """A line as each code cell of ``count`` starts. A run whose parent has been killed ends at the next cell."""
    parent, start = os.getppid(), time.monotonic()

    def report(cell, cell_index):
        if os.getppid() != parent:
            raise SystemExit(1)
        if cell.cell_type == "code":
            print(f"  {name}  cell {cell_index + 1}/{count}  {time.monotonic() - start:.0f} s", flush=True)

    return report


def check_whole(notebook, name):
    """Refuse a run that ended before its end: papermill takes sys.exit() for a success and leaves out what follows."""
    cells = [(place, cell) for place, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]
    for place, cell in cells:
        errors = [output.ename for output in cell.outputs if output.output_type == "error"]
        if errors and "raises-exception" not in cell.metadata.get("tags", []):
            raise ToolError(f"{name} ended at cell {place} with {errors[0]}: a notebook runs to its last cell")
    left = [place for place, cell in cells if cell.source.strip() and cell.execution_count is None]
    if left:
        raise ToolError(f"{name} did not run cell {left[0]}: a notebook runs to its last cell")


def read_records(folder, name):
    """What the notebook recorded in the ledger."""
    records = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    strangers = [record["id"] for record in records if record["notebook"] != name]
    if strangers:
        raise ToolError(f"{name} recorded claims of other notebooks: {', '.join(strangers)}")
    return records


def working_folder(tree, name, size):
    """A folder of this process's own, beside the results: moving out of it is atomic."""
    work = tree.executed(size, name).with_name(f".{name}.{os.getpid()}")
    for part in ("records", "empty"):
        (work / part).mkdir(parents=True)
    return work


def execute(tree, name, size, device):
    """Run ``name`` at ``size`` on ``device`` (cpu or cuda) and put notebook and record in their places."""
    parameters = {"size": size, "device": device}
    if tree.first_seed:
        parameters["first_seed"] = tree.first_seed
    run_key = provenance.key(tree, name, size, device)
    work = working_folder(tree, name, size)
    output = work / f"{name}.ipynb"
    os.environ["UDULIB_RECORDS"] = str(work / "records")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts: too late inside a cell
    start = time.monotonic()
    try:
        notebook = read_source(tree, name)
        check_parameters(notebook, name, parameters)
        with sockets() as config:
            executed = papermill.execute_notebook(
                notebook,
                output,
                parameters,
                cwd=work / "empty",  # as in Colab: nothing beside the notebook
                progress_bar=False,
                execution_timeout=CELL_SECONDS[size],
                on_cell_start=progress(name, len(notebook.cells) + 1),  # papermill adds the cell with the parameters
                config=config,
                coalesce_streams=True,  # a busy machine sends what a cell prints in several parts
            )
        check_whole(executed, name)
        made = provenance.gather(tree, name, size, device, time.monotonic() - start)
        store.put(tree, name, size, output, run_key, made, read_records(work / "records", name))
    except ToolError as error:
        if not output.exists():
            raise
        raise ToolError(f"{error} (what it left: {store.put_failed(tree, name, size, output)})") from None
    except Exception as error:  # whatever ended the run, what it left is kept for reading
        failed = store.put_failed(tree, name, size, output)
        text = (
            f"{error.ename}: {error.evalue}"
            if isinstance(error, PapermillExecutionError)
            else f"{type(error).__name__}: {error}"
        )
        raise ToolError(f"{name} failed: {text} (what it left: {failed})") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    parser = arguments(__doc__, size=True, device=True, first_seed=True)
    parser.add_argument("--apart", default="", metavar="WORD", help="keep the run apart, under this word")
    parser.add_argument("name")
    options = parser.parse_args()
    tree = replace(options.tree, first_seed=options.first_seed, apart=options.apart)
    main(lambda: execute(tree, options.name, options.size, provenance.resolve_device(options.device)))
