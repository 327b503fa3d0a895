"""Evidence: values of all runs by seed, and the one verdict."""

import pytest

from companion import ledger
from companion.ledger import Ledger, load_claims, load_evidence, misfits, places
from companion.ledger.evidence import entries
from udulib.errors import InputError


def test_runs_and_pools_are_put_together_by_seed(claims, publish, tmp_path):
    publish("ci", rank=[3, 3, 3, 3, 4])
    publish("pools/ci", seeds=range(3, 9), rank=[3, 3, 3, 3, 3, 2])
    record = load_evidence(claims, tmp_path / "results").records["ci"]["rank"]
    assert record.seeds == tuple(range(9))
    assert record.values == (3, 3, 3, 3, 3, 3, 3, 3, 2)  # of seed 4 the pool's
    assert record.share == "8 of 9"


def test_the_deciding_size_gives_the_verdict_and_the_others_stand_beside(claims, publish, tmp_path):
    publish("ci", rank=[3] * 5)
    publish("paper", rank=[3, 3, 3, 4, 4])
    evidence = load_evidence(claims, tmp_path / "results")
    assert (evidence.verdict("rank"), evidence.deciding("rank").share) == ("in part", "3 of 5")
    assert [other.size for other in evidence.others("rank")] == ["ci"]
    assert not evidence.settled("rank")


def test_a_statement_has_the_verdict_of_the_probes_that_decide_it(claims, publish, tmp_path):
    publish("ci", tail=[0.4])
    publish("book", falls=[False])
    evidence = load_evidence(claims, tmp_path / "results")
    assert evidence.verdict("falls") == "differs"  # a harder reading
    assert evidence.verdict("tail-and-fall") == evidence.verdict("tail") == "reproduced"
    assert evidence.verdict("gone") == "not attempted"
    assert evidence.counts("hou2025") == {"reproduced": 1, "not attempted": 1}


def test_two_words_make_in_part(claims_folder, publish, tmp_path):
    text = (claims_folder / "01_one.yml").read_text(encoding="utf-8")
    (claims_folder / "01_one.yml").write_text(text.replace("role: stronger", "role: primary"), encoding="utf-8")
    publish("ci", tail=[0.4])
    publish("book", falls=[False])
    assert load_evidence(load_claims(claims_folder), tmp_path / "results").verdict("tail-and-fall") == "in part"


def test_what_no_longer_fits_is_left_out_and_reported(claims, publish, tmp_path):
    (entry,) = publish("paper", rank=[3] * 5)
    entry["values"] = [True] * 5
    ledger.write_json(tmp_path / "results" / "paper" / "01_one.json", {"provenance": {}, "records": [entry]})
    assert load_evidence(claims, tmp_path / "results").records["paper"] == {}
    (finding,) = misfits(claims, tmp_path / "results")
    assert "rank: what is published at size paper no longer fits" in finding


def test_what_hangs_on_no_seed_is_the_last_published(claims, tmp_path):
    assert entries("ci", tmp_path / "nowhere") == []
    for place, value in (("ci", 0.3), ("pools/ci", 0.4)):
        record = {"id": "tail", "size": "ci", "notebook": "01_one", "seeds": [], "values": [value]}
        ledger.write_json(tmp_path / "results" / place / "01_one.json", {"records": [record]})
    assert [entry["values"] for entry in entries("ci", tmp_path / "results")] == [[0.4]]


def test_without_a_checkout_the_packages_own_copy_is_found(claims_folder, publish, tmp_path, monkeypatch):
    shipped = tmp_path / "site-packages" / "companion" / "_shipped"
    shipped.mkdir(parents=True)
    monkeypatch.setattr(places, "__file__", str(shipped.parent / "ledger" / "places.py"))
    assert ledger.home() == shipped
    with pytest.raises(InputError, match="there are none"):
        load_claims()
    publish("paper", rank=[3] * 5)
    for name in ("claims", "results"):
        (tmp_path / name).rename(shipped / name)
    assert Ledger("ci", "01_one").evidence.verdict("rank") == "reproduced"
