"""No page types a decimal that a run has measured: those come from the ledger and from benchmarks."""

import re

import pytest

from tools.execute import read_source
from tools.tree import Tree

TREE = Tree()
LEFT_OUT = [  # what is no prose, or is made from what was measured
    r"```.*?```",
    r"<details>.*?</details>",
    r"\$\$.*?\$\$",
    r"\$[^$]*\$",
    r"\{[a-z:]+\}`[^`]*`",
    r"`[^`]*`",
    r"https?://\S+",
    r"arXiv\s\d{4}\.\d{5}",
]
ALLOWED = {  # settings, versions, and numbers of the sources
    "book/complete_a_matrix": {"1.5"},  # entries for each unknown
    "book/fixed_points_theory": {"2.3"},  # section of the submission
    "book/index": {"0.1"},  # the paper's claim, per cent
    "book/reproduce": {"3.11"},  # Python
    "book/sections": {"2.2"},  # section
    "book/slim_a_network": {"5.3", "4.3", "7.5", "0.5", "1.0", "0.0", "0.1"},  # held against its log by a test
    "book/train_an_adapter": {"0.5"},  # a radius to try
    "notebooks/02_completion": {
        "0.3",
        "0.1",
        "6.3",
        "2.5",
        "0.934",
        "0.919",
        "0.944",
        "1.8",
    },  # settings; surprise's own
    "notebooks/03_ptychography": {"0.1"},  # the paper's step size
    "notebooks/04_fixed_points": {"2.5", "1.8", "1.6", "0.8"},  # singular values, a radius
    "notebooks/05_udv_networks": {"0.01", "99.7"},  # AdamW's default, the paper's accuracy
    "notebooks/06_pruning": {"0.1"},  # the paper's claim, per cent
    "notebooks/07_lora": {"22.7", "0.5", "0.9"},  # weights of MiniLM, ratings left out, share of energy
    "notebooks/08_deep_factorization": {"0.05", "0.2", "0.4", "1.6", "1.8"},  # noise, tolerance, eigenvalues
}
PAGES = [f"book/{path.stem}" for path in sorted((TREE.root / "book").glob("[a-z]*.md"))]
PAGES += [f"notebooks/{name}" for name in TREE.names()]


def prose(page):
    folder, name = page.split("/")
    if folder == "book":
        text = (TREE.root / f"{page}.md").read_text(encoding="utf-8")
    else:
        text = "\n".join(cell.source for cell in read_source(TREE, name).cells if cell.cell_type == "markdown")
    for pattern in LEFT_OUT:
        text = re.sub(pattern, "", text, flags=re.S)
    return text


@pytest.mark.parametrize("page", PAGES)
def test_decimals_in_prose_are_settings_or_the_sources_own(page):
    typed = set(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)", prose(page)))
    assert typed == ALLOWED.get(page, set())
