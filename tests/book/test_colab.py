"""A notebook opened alone in Colab: an empty folder, torch, numpy, matplotlib, and no udulib until its first cell."""

import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT

from tools.pair import TEMPLATE
from tools.tree import Tree, write_whole

pytestmark = [pytest.mark.slow, pytest.mark.network]

GIVEN = ("torch", "numpy", "matplotlib", "ipykernel", "nbclient")  # what Colab has, as far as every notebook needs it
MORE = {  # and what one of them needs besides
    "03_ptychography": ["scikit-image"],
    "07_lora": ["transformers", "peft", "safetensors"],
}

COLAB = """import sys, types
from importlib.machinery import ModuleSpec
google, colab = types.ModuleType("google"), types.ModuleType("google.colab")
google.__spec__, colab.__spec__ = ModuleSpec("google", None), ModuleSpec("google.colab", None)  # libraries look
google.colab = colab
sys.modules.update({"google": google, "google.colab": colab})
"""

RUN = """import nbclient, nbformat, sys
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of a new environment that has what Colab has."""
    folder = tmp_path_factory.mktemp("colab") / "env"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    if os.environ.get("TORCH") == "cpu":  # as make takes it
        install(python, "--no-deps", "--index-url", "https://download.pytorch.org/whl/cpu", "torch")
    install(python, *GIVEN)
    return python


def install(python, *packages):
    constraints = ROOT / "constraints.txt"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-c", constraints, *packages], check=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A repository with the present state of the checkout, committed or not."""
    folder = tmp_path_factory.mktemp("repository")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init", "--quiet"], ["add", "--all"], [*who, "commit", "--quiet", "--message", "all"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return str(folder)


@pytest.fixture
def environment(tmp_path, python):
    """Variables of a Colab session that has just begun: udulib is not installed."""
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "udulib"], check=True)
    write_whole(tmp_path / "colab" / "sitecustomize.py", COLAB)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("UDULIB", "PYTHON", "VIRTUAL"))}
    path = os.pathsep.join([str(python.parent), plain["PATH"]])
    return {**plain, "PYTHONPATH": str(tmp_path / "colab"), "PATH": path}


def versions(python):
    text = "import json, torch, numpy; print(json.dumps([torch.__version__, numpy.__version__]))"
    return json.loads(subprocess.run([python, "-c", text], capture_output=True, text=True, check=True).stdout)


def compared(path):
    """The outputs that nbval compares: verdicts and counts."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    cells = [cell for cell in cells if "nbval-check-output" in cell.metadata.get("tags", [])]
    outputs = [output for cell in cells for output in cell.outputs]
    return [output.get("text") or output["data"]["text/plain"] for output in outputs]


@pytest.mark.parametrize("name", Tree().names())
def test_a_notebook_runs_alone(name, tmp_path, python, source, environment):
    """It installs udulib, leaves torch and numpy as they are, gives the committed verdicts, and leaves no files."""
    if name in MORE:
        install(python, *MORE[name])
    before, empty = versions(python), tmp_path / "empty"
    empty.mkdir()
    shutil.copy(Tree().pair(name), empty)
    out = tmp_path / "out.ipynb"
    command = [python, "-c", RUN, f"{name}.ipynb", out]
    subprocess.run(command, cwd=empty, env={**environment, "UDULIB_SOURCE": source}, check=True)
    where = subprocess.run(
        [python, "-c", "import udulib; print(udulib.__file__)"], cwd=empty, capture_output=True, text=True, check=True
    )
    assert str(python.parent.parent) in where.stdout
    assert versions(python) == before
    assert compared(out) == compared(Tree().pair(name)) != []
    assert [path.name for path in empty.iterdir()] == [f"{name}.ipynb"]


def set_up(python, folder, environment):
    """Run the set-up cell of a repository that has no address yet."""
    cell = TEMPLATE.read_text().format(source="")
    return subprocess.run([python, "-c", cell], cwd=folder, env=environment, capture_output=True, text=True)


def test_with_nothing_set_the_first_cell_says_what_to_set(tmp_path, python, environment):
    run = set_up(python, tmp_path, environment)
    assert run.returncode == 1
    message = run.stderr.strip().splitlines()[-1]
    assert re.match(r"ModuleNotFoundError: udulib is not installed.* Set UDULIB_SOURCE to .*git\+https://", message)


def test_the_first_cell_would_rather_fail_than_exchange_torch(tmp_path, python, environment):
    """A source that asks for another torch does not get it."""
    project = '[project]\nname = "udulib"\nversion = "0"\ndependencies = ["torch<2.13"]\n'
    build = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    write_whole(tmp_path / "other" / "pyproject.toml", project + build)
    write_whole(tmp_path / "other" / "udulib" / "__init__.py", "")
    before = versions(python)
    run = set_up(python, tmp_path, {**environment, "UDULIB_SOURCE": str(tmp_path / "other")})
    assert run.returncode == 1 and "conflict" in run.stderr
    assert versions(python) == before
