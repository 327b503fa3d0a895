"""Claims: what an entry must hold, and the ledger's own."""

import re

import pytest
import yaml
from conftest import ROOT

from companion.ledger import load_claims, load_evidence, misfits
from companion.ledger.claims import SIZES
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
IDS = LISTED.split()
CLAIMS = load_claims()
EVIDENCE = load_evidence(CLAIMS)
ENTRY = {
    "id": "s",
    "paper": "hou2025",
    "version": "v1",
    "where": "here",
    "statement": "S",
    "kind": "always",
    "probes": [
        {"id": "p", "role": "primary", "quantity": "x", "expected": {"min": 0}, "sizes": ["ci"]},
        {"id": "q", "role": "stronger", "quantity": "y", "expected": {"min": 1}, "sizes": ["ci"]},
    ],
}


def entered(folder, *entries):
    (folder / "01_one.yml").write_text(yaml.safe_dump(list(entries)))
    return load_claims(folder)


def with_probe(**change):
    first, second = ENTRY["probes"]
    return ENTRY | {"probes": [first | change, second]}


def test_a_probe_inherits_from_its_statement_and_may_differ(tmp_path):
    claims = entered(tmp_path, with_probe(kind="number", statement="P", notebook="02_two"))
    p, q = claims.probes.values()
    assert (p.kind, p.statement, p.notebook) == ("number", "P", "02_two")
    assert (q.kind, q.statement, q.notebook) == ("always", "S", "01_one")
    assert claims.of("q").id == "s" and claims.notebooks() == ["01_one", "02_two"]


def test_primary_probes_decide_and_of_ours_our_own(tmp_path):
    assert [p.id for p in entered(tmp_path, ENTRY).statements["s"].deciding] == ["p"]
    ours = ENTRY | {"paper": "ours", "probes": [ENTRY["probes"][0] | {"role": "beyond"}, ENTRY["probes"][1]]}
    assert [p.id for p in entered(tmp_path, ours).statements["s"].deciding] == ["p"]


@pytest.mark.parametrize(
    ("sizes", "size"), [(["ci", "book", "paper"], "book"), (["ci", "paper"], "paper"), (["ci"], "ci")]
)
def test_one_size_decides(tmp_path, sizes, size):
    assert entered(tmp_path, with_probe(sizes=sizes)).probes["p"].deciding == size


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (ENTRY | {"paper": "hou2024"}, "paper is one of"),
        (ENTRY | {"kind": "certain"}, "kind is one of"),
        (ENTRY | {"version": ""}, "where and version"),
        (ENTRY | {"note": 1}, "unknown"),
        (ENTRY | {"probes": []}, "no probe"),
        (ENTRY | {"probes": "p"}, "probes are a list"),
        (ENTRY | {"id": "p"}, "stands alone"),
        (with_probe(role="main"), "role is one of"),
        (with_probe(role="stronger"), "no probe takes it as it stands"),
        (with_probe(stated=10), "stated is a text; got 10"),
        (with_probe(note=1), "unknown"),
        (with_probe(sizes=["tiny"]), "sizes are of"),
        (with_probe(observed={"ci": {"min": 1}}), "observed is for theorems"),
        (with_probe(observed={"book": {"min": 1}}), "observed has bands"),
        (with_probe(expected={"around": 3}), "p: a band"),
        (with_probe(expected=None), "no expected band"),
        (with_probe(changed=[{"before": "a"}]), "before, now and gives"),
        (with_probe(id="q"), "twice as a probe"),
    ],
)
def test_entries_that_break_the_rules_are_refused(tmp_path, entry, message):
    assert list(entered(tmp_path, ENTRY).statements) == ["s"]
    with pytest.raises(InputError, match=message):
        entered(tmp_path, entry)


def test_ids_are_given_once(tmp_path):
    with pytest.raises(InputError, match="twice as a statement"):
        entered(tmp_path, ENTRY, ENTRY)
    first = ENTRY["probes"][0]
    alone = ENTRY | {"id": "q", "probes": [first | {"id": "r"}]}
    with pytest.raises(InputError, match="another's statement"):
        entered(tmp_path, ENTRY, alone)
    with pytest.raises(InputError, match="there are none"):
        load_claims(tmp_path / "nowhere")


# The ledger's own -----------------------------------------------------------------------------------------------------


def test_every_statement_of_the_papers_is_entered():
    assert len(IDS) == len(set(IDS)) == 69
    assert [id for id in IDS if id not in CLAIMS.probes] == []
    papers = {"a": "hou2025", "b": "chou2024", "c": "ours"}
    derived = {"b-decoupling", "b-negative"}  # from the papers, and in none of them
    assert [id for id in IDS if id not in derived and CLAIMS.of(id).paper != papers[id[0]]] == []


def test_entries_can_be_read_on_their_own():
    for statement in CLAIMS.statements.values():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", statement.id)
        for probe in statement.probes:
            assert re.fullmatch(r"[abc](-[a-z0-9]+)+", probe.id)
            assert re.fullmatch(r"0[1-8]_[a-z_]+", probe.notebook)
            assert not probe.quantity.endswith("."), probe.id
            for text in (probe.reason, probe.chaotic):
                assert text == "" or text.endswith("."), probe.id
            for text in (probe.statement, statement.statement):
                assert not re.match("[a-z]", text) and not text.endswith("."), probe.id
                assert "*" not in text + probe.quantity + statement.where, probe.id  # it would be read as Markdown


def test_what_cannot_be_had_has_a_measured_substitute():
    for id, probe in CLAIMS.probes.items():
        if "stands in" in probe.reason or "stand in" in probe.reason:
            assert not probe.sizes and CLAIMS.probes[f"{id}-substitute"].role == "substitute", id
        if id.endswith("-substitute"):
            assert "stand" in CLAIMS.probes[id.removesuffix("-substitute")].reason, id


def test_what_is_published_fits_the_claims():
    assert misfits(CLAIMS) == []


def test_whatever_is_not_reproduced_says_why():
    silent = [id for id, probe in CLAIMS.probes.items() if EVIDENCE.verdict(id) != "reproduced" and not probe.reason]
    assert silent == []


@pytest.mark.parametrize("size", SIZES)
def test_what_is_measured_is_published(size):
    measured = {id for id, probe in CLAIMS.probes.items() if size in probe.sizes}
    assert measured == set(EVIDENCE.records[size])
    written = {path.stem for path in (ROOT / "notebooks").glob("*.py")}
    assert {CLAIMS.probes[id].notebook for id in measured} <= written
