"""The ledger: bands, computed verdicts, the check in both directions, claims.yml itself, and its pages in the book."""

import json
import math
import re
import threading

import numpy as np
import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from companion import ledger
from companion.ledger import Band, Claim, Ledger, Record, check, load_claims, number_text, places, read_records, verdict
from udulib.errors import InputError

LISTED = """
    a-udu-rank-eta a-udu-rank-xi a-bm-tail a-bm-tail-xi a-bm-tail-eta a-udu-residual a-udu-staircase a-bm-residual
    a-recovers-truth a-any-init-step a-alpha-one a-text-instance a-noise-udu a-noise-bm a-columns-grow
    a-columns-orthogonal a-spans a-unbounded a-align a-lemma1-a a-lemma1-b a-lemma1-c a-lemma1-d a-prop1
    a-same-fixed-points a-ptycho-rank a-ptycho-bm-artefacts a-ptycho-udu-clean a-net-spectra-hpart
    a-net-spectra-optimisers a-net-spectra-taxi a-net-spectra-mnist a-table1-hpart a-table1-taxi a-table1-maxvit
    a-table1-efficientnet a-table1-regnet a-net-competitive a-net-variants a-net-udv-relu a-net-depth
    a-net-weight-decay a-prune-hpart a-prune-small-net a-prune-cifar a-spectra-cifar a-prune-compact a-lora-rank
    a-lora-compress
    b-decoupling b-recovery-rate b-depth-amplifies b-plateau b-early-stopping b-monotone b-sensing b-random-init
    b-negative
    c-scaling-law c-conserved c-replicator c-shrink c-atlas c-radius-rule c-rivals-completion c-rivals-ptychography
    c-rivals-weight-decay c-collapsed c-width-search
"""
STATEMENTS = LISTED.split()

CLAIMS = """
- {id: rank, paper: hou2025, where: Figure 1, statement: The rank is 3, quantity: rank, kind: statistical,
   stated: "three", expected: {equals: 3}, observed: {ci: {equals: 3}, paper: {min: 2, max: 3}}, notebook: 01_one,
   reason: At paper size one run in five stops early.}
- {id: tail, paper: hou2025, where: Figure 1, statement: 'The tail is < 1 & > 0', quantity: fourth value,
   kind: deterministic, expected: {above: 0, below: 1}, observed: {ci: {max: 0.5}}, notebook: 01_one}
- {id: falls, paper: ours, where: Page 1, statement: It falls, quantity: whether it falls, kind: theorem,
   expected: {equals: true}, observed: {book: {equals: true}}, notebook: 01_one}
- {id: gone, paper: chou2024, where: Table 1, statement: The loss is 5, quantity: loss, kind: statistical,
   notebook: 02_two, reason: Its data cannot be had.}
"""
SEEDS = range(5)


@pytest.fixture
def claims_file(tmp_path):
    path = tmp_path / "claims.yml"
    path.write_text(CLAIMS, encoding="utf-8")
    return path


@pytest.fixture
def claims(claims_file):
    return load_claims(claims_file)


@pytest.fixture
def book(claims_file, tmp_path, monkeypatch):
    monkeypatch.delenv("UDULIB_RECORDS", raising=False)
    return Ledger("ci", "01_one", claims=claims_file, results=tmp_path / "results")


def publish(tmp_path, claims, size, **values):
    entries = [Record(claims[id], size, v, SEEDS).as_json() for id, v in values.items()]
    ledger.write_json(tmp_path / "results" / size / "01_one.json", {"provenance": {}, "records": entries})
    return entries


# Bands and verdicts ---------------------------------------------------------------------------------------------------

reals = st.floats(allow_nan=False)
finite = st.floats(allow_nan=False, allow_infinity=False)


@given(reals, reals, reals)
def test_a_closed_band_is_an_interval(x, a, b):
    low, high = sorted((a, b))
    assert (x in Band(min=low, max=high)) == (low <= x <= high)


@given(reals, st.sampled_from(["above", "below", "min", "max"]), finite)
def test_open_and_closed_ends_differ_in_the_end_alone(x, word, bound):
    partner = {"above": "min", "min": "above", "below": "max", "max": "below"}[word]
    differ = (x in Band(**{word: bound})) != (x in Band(**{partner: bound}))
    assert differ == (x == bound)


@given(reals, st.lists(st.tuples(st.sampled_from(["above", "below", "min", "max"]), reals), min_size=1, max_size=4))
def test_more_bounds_never_admit_more(x, bounds):
    try:
        whole = Band(**dict(bounds))
    except InputError:
        return  # nothing lies in it
    assert (x in whole) == all(x in Band(**{word: bound}) for word, bound in dict(bounds).items())


@given(reals, reals)
def test_no_band_that_can_be_made_is_empty(a, b):
    """A band with two ends holds a number, or it is refused."""
    for low, high in (("min", "max"), ("above", "max"), ("min", "below"), ("above", "below")):
        try:
            band = Band(**{low: a, high: b})
        except InputError:
            assert a > b or (a == b and (low, high) != ("min", "max"))
        else:
            assert any(x in band for x in (a, b, math.nextafter(a, b))) or b == math.nextafter(a, b)


@pytest.mark.parametrize(
    "mapping",
    [
        *({}, {"about": 3}, None, 3, {"min": "many"}, {"min": float("nan")}, {"above": True}),
        *({"equals": 3, "max": 4}, {"min": 2, "max": 1}, {"above": 1, "max": 1}, {"equals": [3]}),
    ],
)
def test_a_band_that_says_nothing_is_refused(mapping):
    with pytest.raises(InputError, match=r"band|number"):
        Band.parse(mapping)


def test_yaml_takes_1e_8_for_text_and_the_ledger_does_not():
    mapping = yaml.safe_load("{below: 1e-8}")
    assert isinstance(mapping["below"], str)
    assert Band.parse(mapping) == Band(below=1e-8)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        *(([3, 3, 3], "reproduced"), ([4, 2, 1], "differs"), ([3, 3, 4], "in part"), ([], "not attempted")),
        *(([math.inf, 3], "in part"), ([math.inf], "differs")),
    ],
)
def test_the_verdict_is_all_none_some_or_nothing(values, word):
    assert verdict(values, Band(equals=3)) == word


@given(st.lists(st.integers(0, 6), min_size=1), st.integers(0, 6))
def test_the_verdict_counts_values_and_not_their_order(values, least):
    inside = sum(value >= least for value in values)
    words = {0: "differs", len(values): "reproduced"}
    assert verdict(values, Band(min=least)) == words.get(inside, "in part") == verdict(values[::-1], Band(min=least))


# Records --------------------------------------------------------------------------------------------------------------


def test_a_record_holds_plain_numbers_and_its_verdict(book):
    record = book.record("rank", np.array([3, 3, 3, 3, 4]), seeds=np.arange(5))
    assert (record.id, record.size, record.notebook) == ("rank", "ci", "01_one")
    assert record.values == (3, 3, 3, 3, 4) and record.seeds == (0, 1, 2, 3, 4)
    assert all(type(number) is int for number in record.values + record.seeds)
    assert record.verdict == "in part" and record.in_observed is False
    with pytest.raises(AttributeError):
        record.verdict = "reproduced"


def test_in_observed_says_nothing_where_the_size_has_no_band(book):
    assert book.record("falls", True).in_observed is None
    assert book.record("tail", 0.5).in_observed is True
    assert book.record("tail", 0.7).in_observed is False


@pytest.mark.parametrize("seeds", [(), range(4), [0, 1, 2, 3, 3]])
def test_a_statistical_claim_needs_five_different_seeds(book, seeds):
    with pytest.raises(InputError, match="seed"):
        book.record("rank", [3] * (len(seeds) or 5), seeds=seeds)
    assert book.record("rank", [3] * 5, seeds=SEEDS).verdict == "reproduced"


def test_a_deterministic_claim_needs_none(book):
    assert book.record("tail", 0.5).count == "1 run"
    assert book.record("tail", [0.5, 0.6], seeds=[3, 7]).count == "2 seeds"


@pytest.mark.parametrize(
    ("id", "values"),
    [
        *(("tail", value) for value in (float("nan"), [0.5, float("nan")], [[0.5]], [], "0.5", [1 + 2j], None, True)),
        *(("falls", value) for value in (1, 1.0, [True, 1], None)),
    ],
)
def test_values_that_mean_nothing_are_refused(book, id, values):
    with pytest.raises(InputError, match=id):
        book.record(id, values)


@pytest.mark.parametrize("seeds", [range(4), range(6), 5, [0.5, 1, 2, 3, 4], ["a"] * 5])
def test_seeds_that_do_not_fit_the_values_are_refused(book, seeds):
    with pytest.raises(InputError, match="seed"):
        book.record("rank", [3] * 5, seeds=seeds)


def test_unknown_ids_and_other_notebooks_claims_are_refused(book, claims_file):
    for call in (lambda: book.record("rnak", [3] * 5, seeds=SEEDS), lambda: book.published("rnak")):
        with pytest.raises(InputError, match=r"not in claims.yml.*rank, tail, falls"):
            call()
    with pytest.raises(InputError, match="belongs to notebook 02_two"):
        book.record("gone", [3] * 5, seeds=SEEDS)
    with pytest.raises(InputError, match="expected band"):
        Ledger("ci", "02_two", claims=claims_file).record("gone", [3] * 5, seeds=SEEDS)
    with pytest.raises(InputError, match="names"):
        Ledger("ci", "01_on", claims=claims_file)
    with pytest.raises(InputError, match="size"):
        Ledger("small", "01_one", claims=claims_file)


@given(st.lists(reals, min_size=1, max_size=7))
def test_a_record_survives_json(values):
    claim = Claim("x", "ours", "here", "X.", "x", "theorem", "01", Band(min=0))
    entry = json.loads(json.dumps(Record(claim, "book", values).as_json(), allow_nan=False))
    assert Record.from_json(entry, {"x": claim}) == Record(claim, "book", values)


def test_records_are_written_where_the_runner_asks_and_nowhere_else(book, tmp_path, monkeypatch):
    folder = tmp_path / "records"
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    book.record("tail", 0.5)
    assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.setenv("UDULIB_RECORDS", str(folder))
    book.record("rank", [3, 3, 3, 3, 2], seeds=SEEDS)
    book.record("rank", [3, 3, 3, 3, 4], seeds=SEEDS)  # the cell was run again
    assert [path.name for path in folder.iterdir()] == ["rank.json"]
    written = json.loads((folder / "rank.json").read_text())
    kept = {"id": "rank", "size": "ci", "notebook": "01_one", "seeds": [0, 1, 2, 3, 4]}
    assert written == {**kept, "values": [3, 3, 3, 3, 4], "verdict": "in part"}


def test_a_reader_never_finds_half_a_file(tmp_path):
    path, bodies = tmp_path / "x.json", [list(range(20_000)), list(range(20_000, 0, -1))]
    ledger.write_json(path, bodies[0])
    done = threading.Event()

    def write():
        for turn in range(20):
            ledger.write_json(path, bodies[turn % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert json.loads(path.read_text()) in bodies
    writer.join()
    with pytest.raises(ValueError):
        ledger.write_json(path, [float("nan")])
    assert json.loads(path.read_text()) in bodies and [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_file_that_is_no_run_is_named(tmp_path):
    (tmp_path / "01_one.json").write_text('{"records": [')
    with pytest.raises(InputError, match=r"01_one\.json.*run it again"):
        read_records(tmp_path)
    assert read_records(tmp_path / "nowhere") == []


# What the reader sees -------------------------------------------------------------------------------------------------


def test_median_and_range_are_those_of_the_values(claims):
    record = Record(claims["tail"], "ci", [0.2, 0.9, 0.31234, 0.4, 0.5], SEEDS)
    assert (record.median, record.range, record.value) == ("0.4", "0.2 to 0.9", "0.4 (0.2 to 0.9)")
    assert Record(claims["rank"], "ci", [3] * 5, SEEDS).value == "3"
    assert Record(claims["falls"], "ci", [True, False, True]).value == "yes in 2 of 3"
    assert Record(claims["falls"], "ci", [False]).value == "no"


@given(st.floats(1e-300, 1e300) | st.floats(-1e300, -1e-300) | st.integers(-9999, 9999))
def test_a_number_as_shown_is_the_number_to_three_digits(x):
    plain = number_text(x).replace("−", "-").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    power = re.fullmatch(r"(-?)(?:([\d.]+)·)?10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", number_text(x).replace("−", "-"))
    if power:
        plain = f"{power[1]}{power[2] or 1}e{plain[power.start(3) :]}"
    assert float(plain) == pytest.approx(x, rel=0 if isinstance(x, int) else 5.001e-3)


def test_the_badge_says_all_in_every_form(book, tmp_path, claims):
    publish(tmp_path, claims, "paper", rank=[3, 3, 3, 3, 2])
    record = book.record("rank", [3, 4, 5, 6, 7], seeds=SEEDS)
    said = ["in part", "The rank is 3", "three", "5 (3 to 7), 5 seeds, size ci", "published at size paper"]
    said += ["in part, 3 (2 to 3), 5 seeds", "outside the band of earlier runs", claims["rank"].reason, "rank"]
    for shown in (repr(record), record._repr_markdown_(), re.sub("<[^>]+>", "", record._repr_html_())):
        assert all(text in shown for text in said), shown


def test_the_badge_is_whole_without_styles_and_escapes_its_text(book):
    html = book.record("tail", 0.5)._repr_html_()
    assert "&lt; 1 &amp; &gt; 0" in html and html.count("<div") == html.count("</div>") == 1
    plain = re.sub(r' style="[^"]*"', "", html)  # as hosting sites show it
    assert "<strong>✓ reproduced</strong> — The tail" in plain
    assert "why" not in html


def test_the_table_holds_verdicts_and_no_measured_digit(book):
    book.record("tail", 0.123456)
    first = book.table()
    book.record("tail", 0.234567)
    second = book.table()
    rows = [("rank", "not attempted"), ("tail", "reproduced"), ("falls", "not at this size")]
    assert [row[:2] for row in first.rows] == rows
    for form in ("__repr__", "_repr_html_", "_repr_markdown_"):
        assert getattr(first, form)() == getattr(second, form)()
        assert "reproduced" in getattr(first, form)() and "0.1234" not in getattr(first, form)()


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


# Published results and the copy in the package ------------------------------------------------------------------------


def test_published_results_are_read_with_todays_verdict(book, tmp_path, claims):
    assert book.published("rank") == {}
    publish(tmp_path, claims, "paper", rank=[3, 3, 3, 3, 2])
    publish(tmp_path, claims, "ci", rank=[3] * 5)
    found = book.published("rank")
    assert list(found) == ["paper"] and found["paper"].verdict == "in part"
    assert book.published("tail") == {}
    assert list(book.record("rank", [3] * 5, seeds=SEEDS).published) == ["paper"]
    book.size = "paper"  # what it is about to replace is not shown beside it
    assert book.record("rank", [3] * 5, seeds=SEEDS).published == {}


def test_published_results_that_no_longer_fit_do_not_stop_a_notebook(book, tmp_path, claims):
    (entry,) = publish(tmp_path, claims, "paper", rank=[3] * 5)
    entry["values"] = [True] * 5
    ledger.write_json(tmp_path / "results" / "paper" / "01_one.json", {"provenance": {}, "records": [entry]})
    assert book.published("rank") == {}
    assert any("no longer fits" in finding for finding in check(claims, [], [entry], "paper"))


def test_without_a_checkout_the_packages_own_copy_is_found(tmp_path, monkeypatch):
    shipped = tmp_path / "site-packages" / "companion" / "_shipped"
    shipped.mkdir(parents=True)
    monkeypatch.setattr(places, "__file__", str(shipped.parent / "ledger" / "places.py"))
    assert ledger.home() == shipped
    with pytest.raises(InputError, match="no such file"):
        load_claims()
    (shipped / "claims.yml").write_text(CLAIMS, encoding="utf-8")
    publish(shipped, load_claims(), "paper", rank=[3] * 5)
    assert Ledger("ci", "01_one").published("rank")["paper"].verdict == "reproduced"


# The check ------------------------------------------------------------------------------------------------------------


def fresh_and_published(claims):
    fresh = [Record(claims["rank"], "ci", [3] * 5, SEEDS).as_json(), Record(claims["tail"], "ci", 0.4).as_json()]
    return fresh, [dict(entry) for entry in fresh]


def changed(entries, id, /, **changes):
    return [{**entry, **changes} if entry["id"] == id else entry for entry in entries]


def test_the_check_is_green_when_nothing_changed(claims):
    assert check(claims, *fresh_and_published(claims), "ci") == []


def test_the_check_is_red_in_both_directions(claims):
    """A claim that stops holding is red, and so is one that starts to hold."""
    fresh, published = fresh_and_published(claims)
    worse = check(claims, changed(fresh, "rank", values=[4] * 5), published, "ci")
    assert any("rank: the verdict is differs, the published one is reproduced" in finding for finding in worse)
    better = check(claims, fresh, changed(published, "rank", verdict="differs"), "ci")
    assert better == ["rank: the verdict is reproduced, the published one is differs; see why, then publish anew"]


def test_the_check_computes_the_verdict_anew(claims):
    fresh, published = fresh_and_published(claims)
    lied = changed(fresh, "rank", values=[3, 3, 3, 3, 4], verdict="reproduced")
    assert any("the verdict is in part" in finding for finding in check(claims, lied, published, "ci"))


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda f, p: (changed(f, "tail", values=[0.6]), p), "tail: 0.6 left the observed band"),
        (lambda f, p: (f[:1], p), "tail: has an observed band for size ci, and 01_one did not record it"),
        (lambda f, p: (f, p[:1]), "tail: the verdict is reproduced, and none is published"),
        (lambda f, p: (changed(f, "tail", id="tial"), p), "tial: recorded, and not in claims.yml"),
        (lambda f, p: (changed(f, "tail", notebook="02_two"), p), "tail: recorded by 02_two"),
        (
            lambda f, p: (changed(f, "tail", values=[2]), p),
            "tail: the verdict is differs, and claims.yml gives no reason",
        ),
    ],
)
def test_the_check_finds(claims, change, finding):
    fresh, published = change(*fresh_and_published(claims))
    assert any(finding in found for found in check(claims, fresh, published, "ci"))


def test_the_check_finds_records_without_a_band_and_published_ones_without_a_record(claims):
    fresh, published = fresh_and_published(claims)
    falls = Record(claims["falls"], "ci", True).as_json()
    assert check(claims, [*fresh, falls], [*published, falls], "ci") == [
        "falls: recorded at size ci, and claims.yml has no observed band for it"
    ]
    assert check(claims, fresh, [*published, falls], "ci") == [
        "falls: published at size ci (reproduced), and no longer recorded"
    ]


def test_the_check_looks_at_one_size(claims):
    fresh, published = fresh_and_published(claims)
    other = [{**entry, "size": "book", "values": [7] * 5} for entry in fresh[:1]]
    assert check(claims, fresh + other, published + other, "ci") == []
    with pytest.raises(InputError, match="size"):
        check(claims, fresh, published, "tiny")


def test_what_is_not_attempted_needs_a_reason(claims):
    silent = Claim("silent", "ours", "here", "X.", "x", "theorem", "03", Band(min=0))
    findings = check({**claims, "silent": silent}, *fresh_and_published(claims), "ci")
    assert findings == ["silent: not attempted, and claims.yml gives no reason"]


# claims.yml -----------------------------------------------------------------------------------------------------------


def test_every_statement_of_the_papers_is_entered():
    claims = load_claims()
    assert len(STATEMENTS) == len(set(STATEMENTS)) == 69
    assert [id for id in STATEMENTS if id not in claims] == []
    papers = {"a": "hou2025", "b": "chou2024", "c": "ours"}
    assert [id for id in STATEMENTS if claims[id].paper != papers[id[0]]] == []


def test_entries_can_be_read_on_their_own():
    for claim in load_claims().values():
        assert re.fullmatch(r"[abc](-[a-z0-9]+)+", claim.id)
        assert re.fullmatch(r"0[1-8]_[a-z_]+", claim.notebook)
        assert not re.match("[a-z]", claim.statement) and not claim.statement.endswith("."), claim.id
        assert not claim.quantity.endswith("."), claim.id
        assert claim.reason == "" or claim.reason.endswith("."), claim.id
        assert "*" not in claim.statement + claim.quantity + claim.where, claim.id  # it would be read as Markdown


def test_a_notebook_that_is_not_written_measures_nothing():
    written = {path.stem for path in (ROOT / "notebooks").glob("*.py")}
    for claim in load_claims().values():
        assert claim.notebook in written or (not claim.observed and claim.reason), claim.id


def test_what_cannot_be_had_has_a_measured_substitute():
    claims = load_claims()
    for id, claim in claims.items():
        if "stands in" in claim.reason or "stand in" in claim.reason:
            assert not claim.observed and f"{id}-substitute" in claims, id
        if id.endswith("-substitute"):
            assert "stand" in claims[id.removesuffix("-substitute")].reason, id


@pytest.mark.parametrize("size", ledger.SIZES)
def test_what_is_published_holds(size):
    """Results and claims.yml agree, without a run: bands, verdicts, reasons, and nothing missing."""
    records = read_records(ROOT / "results" / size)
    if not records:
        pytest.skip(f"nothing is published at size {size}")
    assert check(load_claims(), records, records, size) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"paper": "hou2024"}, "paper is one of"),
        ({"kind": "certain"}, "kind is one of"),
        ({"stated": 10}, "stated is a text; got 10"),
        ({"notebook": None, "note": 1}, "unknown"),
        ({"observed": {"tiny": {"min": 1}}}, "observed"),
        ({"expected": {"around": 3}}, "x: a band"),
        ({"expected": None}, "reason"),
        ({"expected": None, "reason": "No data.", "observed": {"ci": {"min": 1}}}, "no expected band"),
    ],
)
def test_entries_that_break_the_rules_are_refused(tmp_path, change, message):
    entry = {"id": "x", "paper": "ours", "where": "here", "statement": "X", "quantity": "x", "kind": "theorem"}
    entry |= {"notebook": "01", "expected": {"min": 0}}
    path = tmp_path / "claims.yml"
    path.write_text(yaml.safe_dump([entry]))
    assert list(load_claims(path)) == ["x"]
    path.write_text(yaml.safe_dump([entry | change]))
    with pytest.raises(InputError, match=message):
        load_claims(path)
    path.write_text(yaml.safe_dump([entry, entry]))
    with pytest.raises(InputError, match="twice"):
        load_claims(path)


# The book's pages -----------------------------------------------------------------------------------------------------

CONF = f"""
import sys
sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
extensions = ["myst_parser", "ledger_pages"]
html_theme = "basic"
ledger_claims = "claims.yml"
ledger_results = "results"
"""
PAGE = """# Page

Badge {ledger}`rank`. Value {ledger}`rank:value`. Median {ledger}`rank:median@ci`. Seeds {ledger}`rank:seeds`.
Word {ledger}`gone:verdict`. Said {ledger}`rank:stated`. Band {ledger}`rank:expected`. Size {ledger}`rank:size`.
"""
TABLES = """# Tables

```{ledger-summary}
```

```{ledger-table}
```
"""


@pytest.fixture
def site(tmp_path, claims, monkeypatch):
    """A small book: ``build(**pages)`` gives its pages' text by name, and its warnings."""
    (tmp_path / "conf.py").write_text(CONF)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_one.md").write_text("# Notebook\n")
    entries = [Record(claims["rank"], "ci", [3] * 5, SEEDS).as_json(), Record(claims["tail"], "ci", 0.4).as_json()]
    ledger.write_json(tmp_path / "records" / "01_one.json", {"provenance": {}, "records": entries})
    publish(tmp_path, claims, "paper", rank=[3, 3, 3, 3, 2])
    monkeypatch.chdir(tmp_path)
    return lambda **pages: build(tmp_path, pages)


def build(folder, pages):
    import io

    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

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
    ):
        assert said in text
    assert 'class="ledger-badge ledger-in-part' in pages["page"]  # the published run at size paper counts


def test_badges_lead_to_the_claims_row_and_rows_to_the_notebook(site):
    pages, warnings = site(page=PAGE, tables=TABLES)
    assert warnings == ""
    assert re.search(r'<a [^>]*href="tables.html#claim-rank"[^>]*><span class="ledger-badge', pages["page"])
    assert 'id="claim-rank"' in pages["tables"] and 'href="notebooks/01_one.html"><span class="doc">' in pages["tables"]
    assert "02_two" in text_of(pages["tables"]) and "notebooks/02_two" not in pages["tables"]


def test_the_table_has_every_claim_with_both_sizes_and_reasons(site, claims):
    pages, _ = site(tables=TABLES)
    text = text_of(pages["tables"]).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    for claim in claims.values():
        assert claim.statement in text and claim.id in text
    for said in ("3 5 seeds, size ci: reproduced 3 (2 to 3) 5 seeds, size paper", "Why: Its data cannot be had."):
        assert said in text
    assert "reproduced 1 0 0 1 in part 1 0 0 1 differs 0 0 0 0 not attempted 0 1 1 2 all 2 1 1 4" in text


def test_a_table_can_be_narrowed(site):
    pages, warnings = site(
        one="# One\n\n```{ledger-table}\n:paper: ours\n```\n",
        two="# Two\n\n```{ledger-table}\n:notebook: 01_one\n:verdict: reproduced\n```\n",
    )
    assert warnings == ""
    shown = {name: re.findall(r'<span class="pre">(rank|tail|falls|gone)</span>', html) for name, html in pages.items()}
    assert shown == {"one": ["falls"], "two": ["tail"]}


@pytest.mark.parametrize(
    ("prose", "warning"),
    [
        ("{ledger}`rnak`", "has no claim 'rnak'"),
        ("{ledger}`gone:value`", "nothing for 'gone:value'"),
        ("{ledger}`rank:value@book`", "nothing for 'rank:value@book'"),
        ("{ledger}`tail:stated`", "nothing for 'tail:stated'"),
        ("{ledger}`rank:mean`", "got 'mean'"),
        ("{ledger}`rank:value@tiny`", "got 'tiny'"),
        ("```{ledger-table}\n:verdict: maybe\n```", "maybe"),
        ("```{ledger-table}\n:notebook: 03_three\n```", "no claim is chosen"),
    ],
)
def test_what_the_ledger_does_not_hold_is_a_warning(site, prose, warning):
    """With warnings as errors the book is not built."""
    _, warnings = site(page=f"# Page\n\n{prose}\n")
    assert warning in warnings


def test_a_new_run_shows_on_pages_that_have_not_changed(site, tmp_path, claims):
    before, _ = site(page=PAGE)
    publish(tmp_path, claims, "paper", rank=[3] * 5)
    after, _ = site(page=PAGE)
    assert "Value 3 (2 to 3)" in text_of(before["page"]) and "Value 3." in text_of(after["page"])


def test_the_books_page_shows_all_three_papers():
    page = (ROOT / "book" / "what_reproduces.md").read_text(encoding="utf-8")
    assert "{ledger-summary}" in page
    assert re.findall(r":paper: (\w+)", page) == list(ledger.PAPERS)
