"""Records: what a notebook may record, and how it is kept."""

import json
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion import ledger
from companion.ledger import Band, Ledger, Probe, Record, read_records
from udulib.errors import InputError

SEEDS = range(5)


def test_a_record_holds_plain_numbers_and_its_verdict(book):
    record = book.record("rank", np.array([3, 3, 3, 3, 4]), seeds=np.arange(5)).record
    assert (record.id, record.size, record.notebook) == ("rank", "ci", "01_one")
    assert record.values == (3, 3, 3, 3, 4) and record.seeds == (0, 1, 2, 3, 4)
    assert all(type(number) is int for number in record.values + record.seeds)
    assert (record.verdict, record.share) == ("in part", "4 of 5")
    with pytest.raises(AttributeError):
        record.verdict = "reproduced"


@pytest.mark.parametrize("seeds", [(), range(4), [0, 1, 2, 3, 3]])
def test_a_claim_about_seeds_needs_five_different_ones(book, seeds):
    with pytest.raises(InputError, match="seed"):
        book.record("rank", [3] * (len(seeds) or 5), seeds=seeds)
    assert book.record("rank", [3] * 5, seeds=SEEDS).verdict == "reproduced"


def test_a_theorem_needs_none(book):
    assert book.record("tail", 0.5).record.count == "1 run"
    assert book.record("tail", [0.5, 0.6], seeds=[3, 7]).record.count == "2 seeds"


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


def test_unknown_ids_and_other_notebooks_claims_are_refused(book, claims_folder):
    with pytest.raises(InputError, match=r"no claim has the probe 'rnak'.*rank, tail, falls"):
        book.record("rnak", [3] * 5, seeds=SEEDS)
    with pytest.raises(InputError, match="belongs to notebook 02_two"):
        book.record("gone", [3] * 5, seeds=SEEDS)
    with pytest.raises(InputError, match="expected band"):
        Ledger("ci", "02_two", claims=claims_folder).record("gone", [3] * 5, seeds=SEEDS)
    with pytest.raises(InputError, match="claims name"):
        Ledger("ci", "01_on", claims=claims_folder)
    with pytest.raises(InputError, match="size"):
        Ledger("small", "01_one", claims=claims_folder)


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=7))
def test_a_record_survives_json(values):
    probe = Probe("x", "01", "X", "x", "theorem", "beyond", Band(min=0), ("book",))
    entry = json.loads(json.dumps(Record(probe, "book", values).as_json(), allow_nan=False))
    assert Record.from_json(entry, {"x": probe}) == Record(probe, "book", values)


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


def test_median_and_range_are_those_of_the_values(claims):
    tail, rank, falls = (claims.probes[id] for id in ("tail", "rank", "falls"))
    record = Record(tail, "ci", [0.2, 0.9, 0.31234, 0.4, 0.5], SEEDS)
    assert (record.median, record.range, record.value) == ("0.4", "0.2 to 0.9", "0.4 (0.2 to 0.9)")
    assert Record(rank, "ci", [3] * 5, SEEDS).value == "3"
    assert Record(falls, "book", [True, False, True]).value == "yes"
    assert Record(falls, "book", [False]).value == "no"


def test_the_range_leaves_out_a_twentieth_at_each_end(claims):
    record = Record(claims.probes["tail"], "ci", [0.1, *np.linspace(0.2, 0.3, 38), 0.9], range(40))
    assert record.range == "0.2 to 0.3"
