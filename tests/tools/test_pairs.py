"""The notebooks as committed: pairs that agree, outputs of the present source, plain Markdown, one set-up cell."""

import itertools
import re
import sys

import nbformat
import pytest
from conftest import add_notebook

from tools import pair
from tools.execute import read_source
from tools.tree import ToolError, Tree

TREE = Tree()
NAMES = TREE.names()

# What only Sphinx understands. A notebook is read raw in Colab and on the hosting site.
SPHINX = {
    "a directive": re.compile(r"^\s*(```|:::+)\{", re.M),
    "a role": re.compile(r"\{[a-zA-Z:_-]+\}`"),
    "a substitution": re.compile(r"\{\{.*?\}\}"),
    "a target": re.compile(r"^\([\w-]+\)=\s*$", re.M),
    "a comment": re.compile(r"^% ", re.M),
}


def markdown(name):
    cells = read_source(TREE, name).cells
    return [cell.source for cell in cells if cell.cell_type == "markdown"]


def sphinx_only(text):
    plain = re.sub(r"\$\$.*?\$\$|\$[^$]*\$", "", text, flags=re.S)  # braces belong to the mathematics
    return [kind for kind, pattern in SPHINX.items() if pattern.search(plain)]


def test_there_are_notebooks():
    assert NAMES


def test_every_source_has_its_pair_and_every_pair_its_source():
    pair.check(TREE)


@pytest.mark.parametrize("name", NAMES)
def test_markdown_is_plain(name):
    assert not [(kind, text) for text in markdown(name) for kind in sphinx_only(text)]


@pytest.mark.parametrize(
    "text", ["```{note}\nx\n```", ":::{figure} x\n:::", "see {ref}`x`", "{{ value }}", "(label)=\n# T", "% hidden"]
)
def test_what_only_sphinx_reads_is_found(text):
    assert sphinx_only(text)


def test_mathematics_and_code_are_plain():
    assert not sphinx_only(r"$\frac{{a}}{{b}}$ and $$\mathrm{diag}{{D}}$$ and `{key: value}` and 5 % of")


@pytest.mark.parametrize("name", NAMES)
def test_notebook_has_the_agreed_form(name):
    """A title, the set-up cell, the parameters with their defaults, in this order."""
    cells = read_source(TREE, name).cells
    assert re.match(r"# \S", cells[0].source) and cells[0].cell_type == "markdown"
    tags = [tag for cell in cells for tag in cell.metadata.get("tags", [])]
    assert tags.count("setup") == tags.count("parameters") == 1 and tags.index("setup") < tags.index("parameters")
    (parameters,) = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    values = {}
    exec(parameters, values)
    assert (values["size"], values["device"]) == ("ci", "auto")


@pytest.mark.parametrize("name", NAMES)
def test_what_a_cell_prints_is_one_output(name):
    """However busy the machine was."""
    for cell in nbformat.read(TREE.pair(name), as_version=4).cells:
        streams = [output.get("name") for output in cell.get("outputs", [])]
        assert all(one is None or one != two for one, two in itertools.pairwise(streams))


def test_figure_names_are_unique():
    """They are the labels that the pages refer to."""
    names = [found for name in NAMES for found in re.findall(r'name="(fig-[\w-]+)"', TREE.source(name).read_text())]
    assert len(names) == len(set(names))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tiny notebook and its pair, made once."""
    root = tmp_path_factory.mktemp("pair")
    (root / "notebooks").mkdir()
    (root / "_config.yml").write_text('repository: {url: "https://example.org/owner/companion", branch: main}\n')
    add_notebook(root, "01_one")
    patch = pytest.MonkeyPatch()
    patch.setenv("TINY_LOG", str(root / "log"))
    pair.pair(Tree(root), [], everything=False)
    patch.undo()
    return {path.name: path.read_text() for path in [root / "_config.yml", *(root / "notebooks").iterdir()]}


@pytest.fixture
def tiny(made, tmp_path):
    """A fresh copy of it, to be spoiled."""
    (tmp_path / "notebooks").mkdir()
    for name, text in made.items():
        place = tmp_path if name == "_config.yml" else tmp_path / "notebooks"
        (place / name).write_text(text)
    return Tree(tmp_path)


def test_a_pair_just_made_agrees(tiny):
    pair.check(tiny)
    assert "git+https://example.org/owner/companion@main" in tiny.source("01_one").read_text()


def spoil_source(tree):
    path = tree.source("01_one")
    path.write_text(path.read_text().replace('"the rank is"', '"its rank is"'))


def spoil_setup(tree):
    path = tree.source("01_one")
    path.write_text(path.read_text().replace("invalidate_caches", "forget_caches"))


def spoil(change):
    """A change of the .ipynb."""

    def spoiled(tree):
        notebook = nbformat.read(tree.pair("01_one"), as_version=4)
        change(notebook)
        nbformat.write(notebook, tree.pair("01_one"))

    return spoiled


def last(notebook):
    return notebook.cells[-1]


def warn(notebook):
    last(notebook).outputs.append(nbformat.v4.new_output("stream", name="stderr", text="UserWarning"))


def fail(notebook):
    last(notebook).outputs.append(nbformat.v4.new_output("error", ename="E", evalue="", traceback=[]))


SPOILS = {
    "the outputs are of another source": spoil_source,
    "the set-up cell is not that of": spoil_setup,
    "the cells are not those of the source": spoil(lambda nb: last(nb).update(source="print(4)")),
    "not every code cell has been run": spoil(lambda nb: last(nb).update(execution_count=None)),
    "no cell is compared by nbval": spoil(lambda nb: last(nb).update(outputs=[])),
    "a cell has failed": spoil(fail),
    "there are warnings in the outputs": spoil(warn),
    "there is metadata of one run": spoil(lambda nb: nb.metadata.update(papermill={"duration": 1.0})),
    "something names one machine": spoil(lambda nb: last(nb).outputs[0].update(text="/home/me/udulib")),
    "there is no .ipynb": lambda tree: tree.pair("01_one").unlink(),
    "there is no .py": lambda tree: tree.source("01_one").unlink(),
}


@pytest.mark.parametrize("reason", SPOILS)
def test_a_spoiled_pair_is_found(tiny, reason):
    SPOILS[reason](tiny)
    with pytest.raises(ToolError, match=re.escape(reason)):
        pair.check(tiny)


def test_a_source_without_set_up_cell_is_refused(tiny):
    text = tiny.source("01_one").read_text().replace('"setup", ', "")
    with pytest.raises(ToolError, match="one cell headed"):
        pair.with_setup(tiny, text)


def test_pairs_hold_nothing_of_one_run(made):
    """Made twice, a pair is the same file: no times, no random names."""
    text = made["01_one.ipynb"]
    assert "execution" not in text.replace("execution_count", "") and "papermill" not in text
    assert sys.version.split()[0] not in text and '"id": "cell-001"' in text


def test_the_comparison_of_outputs_can_fail(tiny, monkeypatch):
    """nbval, as make test calls it, passes the pair and fails once an output differs."""
    import subprocess

    monkeypatch.setenv("TINY_LOG", str(tiny.root / "log"))
    command = [sys.executable, "-m", "pytest", "-q", "--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider"]
    command += [tiny.root / "notebooks"]
    assert subprocess.run(command, cwd=tiny.root, capture_output=True).returncode == 0
    spoil(lambda nb: last(nb).outputs[0].update(text="the rank is 4\n"))(tiny)
    assert subprocess.run(command, cwd=tiny.root, capture_output=True).returncode == 1
