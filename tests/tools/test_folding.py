"""What the book folds, and that the rest of a chapter's code is short and narrow."""

import nbformat
import pytest

from tools import execute, folding
from tools.tree import Tree

NAMES = Tree().names()


@pytest.mark.parametrize(
    ("source", "is_folded"),
    [
        ("import numpy as np\n\nx = np.ones(3)", True),
        ('settings = {"ci": 1}[size]', True),
        ('fig, ax = plt.subplots()\nfigures.show(fig, alt="a")', True),
        ('ledger.record("rank", ranks, seeds=seeds)', True),
        ('checks["it holds"] = bool(rank == 3)\ntable(["a"], rows)', True),
        ("rows = []\nfor name in names:\n    rows.append([name])\ntable(head, rows)", True),
        ("trace = ul.descend(problem, model)", False),
        ("trace = ul.descend(problem, model)\ntable(head, rows)", False),
        ("ranks = numerical_rank(s)\nledger.record('rank', ranks)", False),
        ("x = 1\n" * 20, False),
        ("x = 1\n" * 21, True),
        ("", False),
    ],
)
def test_what_is_folded(source, is_folded):
    assert folding.is_folded(source) == is_folded


def test_folding_leaves_texts_and_what_is_hidden_already():
    text, hidden = nbformat.v4.new_markdown_cell("# import"), nbformat.v4.new_code_cell("import os")
    hidden.metadata["tags"] = ["hide-cell"]
    for cell in (text, hidden):
        folding.fold(cell)
    assert "hide-input" not in [*text.metadata["tags"], *hidden.metadata["tags"]]


@pytest.mark.parametrize("name", NAMES)
def test_a_chapter_shows_little_code_and_no_long_lines(name):
    cells = [cell for cell in execute.read_source(Tree(), name).cells if cell.cell_type == "code"]
    for cell in cells:
        folding.fold(cell)
    shown = [cell.source for cell in cells if not folding.hidden(cell.metadata["tags"])]
    assert sum(map(folding.code_lines, shown)) <= 250
    assert [line for source in shown for line in source.splitlines() if len(line) > 88] == []
