"""What a notebook shows: badges and the table."""

import re

from conftest import ROOT

from companion import ledger
from companion.ledger import Ledger

SEEDS = range(5)


def test_the_badge_has_the_ledgers_verdict_and_this_runs_beside(claims_folder, publish, tmp_path):
    publish("paper", rank=[3] * 18 + [2, 4])
    badge = Ledger("ci", "01_one", claims=claims_folder, results=tmp_path / "results").record(
        "rank", [3, 4, 5, 6, 7], SEEDS
    )
    assert badge.verdict == "reproduced"
    said = [
        "reproduced",
        "The rank is 3",
        "three",
        "all seeds, size paper: 18 of 20",
        "too few seeds to be sure",
        "rank",
    ]
    said += ["this run, size ci: 1 of 5; 5 (3 to 7)"]
    for shown in (repr(badge), badge._repr_markdown_(), re.sub("<[^>]+>", "", badge._repr_html_())):
        assert all(text in shown for text in said), shown


def test_what_was_never_published_has_the_runs_own_verdict_and_says_why(book, claims):
    badge = book.record("rank", [3, 4, 5, 6, 7], SEEDS)
    assert badge.verdict == "in part"
    assert "all seeds" not in repr(badge) and claims.probes["rank"].reason in repr(badge)


def test_the_badge_is_whole_without_styles_and_escapes_its_text(book):
    html = book.record("tail", 0.5)._repr_html_()
    assert "&lt; 1 &amp; &gt; 0" in html and html.count("<div") == html.count("</div>") == 1
    plain = re.sub(r' style="[^"]*"', "", html)  # as hosting sites show it
    assert "<strong>✓ reproduced</strong> — The tail" in plain
    assert "why" not in html


def test_the_table_holds_statements_with_the_ledgers_verdicts_whatever_this_run_gave(claims_folder, publish, tmp_path):
    publish("ci", tail=[0.4])
    book = Ledger("ci", "01_one", claims=claims_folder, results=tmp_path / "results")
    before = book.table()
    book.record("tail", 7.5)
    assert [row[:2] for row in before.rows] == [
        ("rank", "not attempted"),
        ("tail-and-fall", "reproduced"),
        ("level", "not attempted"),
    ]
    for form in ("__repr__", "_repr_html_", "_repr_markdown_"):
        assert getattr(before, form)() == getattr(book.table(), form)()
        assert "reproduced" in getattr(before, form)() and "7.5" not in getattr(book.table(), form)()


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_badges_can_be_read_and_told_apart_without_colour():
    """White on the colour has a contrast of 4.5 whatever the page's ground is; each verdict has its own sign."""
    css = (ROOT / "book" / "_static" / "ledger.css").read_text(encoding="utf-8")
    assert "color: #ffffff" in re.search(r"\.ledger-badge \{[^}]*\}", css)[0]
    for word, (sign, colour) in ledger.VERDICTS.items():
        assert 1.05 / (luminance(colour) + 0.05) >= 4.5
        name = word.replace(" ", "-")
        assert f".ledger-{name} {{ background: {colour}; }}" in css
        assert f'.ledger-{name}::before {{ content: "{sign}"' in css
    assert len({sign for sign, _ in ledger.VERDICTS.values()}) == len(ledger.VERDICTS)
