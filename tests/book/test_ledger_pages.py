"""The ledger in the book: what pages made from it say."""

import io
import re

import pytest
from conftest import ROOT
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from companion import ledger
from companion.ledger import Record

CONF = f"""
import sys
sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
extensions = ["myst_parser", "ledger_pages"]
html_theme = "basic"
ledger_claims = "claims"
ledger_results = "results"
"""
PAGE = """# Page

Badge {ledger}`rank`. Value {ledger}`rank:value`. Median {ledger}`rank:median@ci`. Seeds {ledger}`rank:seeds`.
Word {ledger}`gone:verdict`. Said {ledger}`rank:stated`. Band {ledger}`rank:expected`. Size {ledger}`rank:size`.
Share {ledger}`rank:share` of all {ledger}`rank:interval`. Statement {ledger}`tail-and-fall`.
"""
TABLES = """# Tables

```{ledger-summary}
```

```{ledger-table}
```

```{ledger-unsettled}
```

```{ledger-changes}
```
"""
SEEDS = range(5)


@pytest.fixture
def site(tmp_path, claims, publish, monkeypatch):
    """A small book: ``build(**pages)`` gives its pages' text by name, and its warnings."""
    (tmp_path / "conf.py").write_text(CONF)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_one.md").write_text("# Notebook\n")
    entries = [Record(claims.probes["rank"], "ci", [3] * 5, SEEDS).as_json()]
    ledger.write_json(tmp_path / "records" / "01_one.json", {"provenance": {}, "records": entries})
    publish("paper", rank=[3, 3, 3, 3, 2])
    publish("ci", rank=[3] * 5, tail=[0.4], level=[5, 5, 5, 5, 9])
    publish("book", falls=[False])
    monkeypatch.chdir(tmp_path)
    return lambda **pages: build(tmp_path, pages)


def build(folder, pages):
    listed = "\n".join([*pages, "notebooks/01_one"])
    for name, text in {**pages, "index": f"# Book\n\n```{{toctree}}\n{listed}\n```\n"}.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    warnings = io.StringIO()
    with patch_docutils(), docutils_namespace():
        app = Sphinx(folder, folder, folder / "out", folder / "out" / "tree", "html", status=None, warning=warnings)
        app.build()
    return {name: (folder / "out" / f"{name}.html").read_text(encoding="utf-8") for name in pages}, warnings.getvalue()


def text_of(html):
    return " ".join(re.sub("<[^>]+>", " ", html).split())


def test_prose_shows_numbers_and_words_from_the_ledger(site):
    pages, warnings = site(page=PAGE)
    assert warnings == ""
    text = text_of(pages["page"])
    for said in (
        "Value 3 (2 to 3)",
        "Median 3.",
        "Seeds 5 seeds",
        "Word not attempted",
        "Said three",
        "Band 3",
        "Size paper",
        "Share 4 of 5 of all 28% to 99%",
    ):
        assert said in text
    assert 'class="ledger-badge ledger-in-part' in pages["page"]  # the run at size paper decides


def test_badges_lead_to_the_claims_row_and_rows_to_the_notebook(site):
    pages, warnings = site(page=PAGE + " {ledger}`tail`", tables=TABLES)
    assert warnings == ""
    for id in ("rank", "tail-and-fall", "tail"):
        assert re.search(rf'<a [^>]*href="tables.html#claim-{id}"[^>]*><span class="ledger-badge', pages["page"])
        assert pages["tables"].count(f'id="claim-{id}"') == 1
    assert 'href="notebooks/01_one.html"><span class="doc">' in pages["tables"]
    assert "02_two" in text_of(pages["tables"]) and "notebooks/02_two" not in pages["tables"]


def test_the_table_has_every_statement_and_probe_with_shares_and_reasons(site, claims):
    pages, _ = site(tables=TABLES)
    text = text_of(pages["tables"]).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    for claim in (*claims.statements.values(), *claims.probes.values()):
        assert claim.statement in text and claim.id in text
    for said in (
        "4 of 5 of all seeds 28% to 99%; too few to be sure of the word 3 (2 to 3), size paper",
        "size ci: 5 of 5, 3 this book's run, size ci: 5 of 5, 3",
        "Why: Its data cannot be had.",
        "Read as: Three is 3.",
        "abstract · v1 alone",
        "Under: radius 1",
        "stronger: a harder reading of it",
        "1 of 4 probes",
        "slowly at all the same",
    ):
        assert said in text.replace("’", "'"), said


def test_the_summary_counts_statements_and_keeps_harder_readings_apart(site):
    pages, _ = site(tables=TABLES)
    text = text_of(pages["tables"])
    assert "reproduced 1 0 1 in part 1 0 0 differs 0 0 0 not attempted 0 1 0 all statements 2 1 1" in text
    assert "harder readings that hold 0 of 1 – –" in text


def test_a_table_can_be_narrowed(site):
    pages, warnings = site(
        one="# One\n\n```{ledger-table}\n:paper: ours\n```\n",
        two="# Two\n\n```{ledger-table}\n:notebook: 01_one\n:verdict: in part\n```\n",
    )
    assert warnings == ""
    shown = {
        name: re.findall(r'<span class="pre">(rank|tail|falls|gone|level)</span>', html) for name, html in pages.items()
    }
    assert shown == {"one": ["level"], "two": ["rank"]}


@pytest.mark.parametrize(
    ("prose", "warning"),
    [
        ("{ledger}`rnak`", "has no claim 'rnak'"),
        ("{ledger}`gone:value`", "nothing for 'gone:value'"),
        ("{ledger}`rank:value@book`", "nothing for 'rank:value@book'"),
        ("{ledger}`tail:stated`", "nothing for 'tail:stated'"),
        ("{ledger}`rank:mean`", "got 'mean'"),
        ("{ledger}`rank:value@tiny`", "got 'tiny'"),
        ("{ledger}`tail-and-fall:value`", "is a statement"),
        ("```{ledger-table}\n:verdict: maybe\n```", "maybe"),
        ("```{ledger-table}\n:notebook: 03_three\n```", "no claim is chosen"),
    ],
)
def test_what_the_ledger_does_not_hold_is_a_warning(site, prose, warning):
    """With warnings as errors the book is not built."""
    _, warnings = site(page=f"# Page\n\n{prose}\n")
    assert warning in warnings


def test_a_new_run_shows_on_pages_that_have_not_changed(site, publish):
    before, _ = site(page=PAGE)
    publish("paper", rank=[3] * 5)
    after, _ = site(page=PAGE)
    assert "Value 3 (2 to 3)" in text_of(before["page"]) and "Value 3." in text_of(after["page"])


def test_the_books_page_shows_all_three_papers():
    page = (ROOT / "book" / "what_reproduces.md").read_text(encoding="utf-8")
    for directive in ("summary", "unsettled", "changes"):
        assert f"{{ledger-{directive}}}" in page
    assert re.findall(r":paper: (\w+)", page) == list(ledger.PAPERS)


AXES = """# Axes

```{ledger-axes}
```
"""


def test_axes_show_what_moves_under_other_conditions(site, tmp_path):
    made = {"processor": "One", "python": "3.11", "torch": "2.13", "numpy": "2.4"}
    axis = {"probes": 3, "paired": 3, "moved": {"level": 0.25}, "words": ["rank"], "red": ["one"], "made": made}
    seeds = {"says": "fresh", "probes": 3, "paired": 0, "moved": {}, "words": [], "red": [], "made": made}
    ledger.write_json(tmp_path / "results" / "axes.json", {"threads": {"says": "two threads", **axis}, "seeds": seeds})
    pages, warnings = site(axes=AXES)
    assert warnings == ""
    text = text_of(pages["axes"])
    assert "two threads 3 1 of 3, 1 named chaotic 2e-01 1 rank 1 One, Python 3.11, torch 2.13, NumPy 2.4" in text
    assert "fresh 3 other seeds – 0 0 One" in text
