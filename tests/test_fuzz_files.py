"""Files that are spoiled, by chance or on purpose: what is read of them is right, or the answer is our own error.

Each kind of file is written whole, one place of it is changed, and it is read as the project reads it. A place is a
node of the data that the file holds, or a byte. ``UDULIB_FUZZ`` is the number of cases, as in ``test_fuzz.py``.
"""

import copy
import functools
import json
import operator
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import yaml
from conftest import CLAIMS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import udulib as ul
from companion import data, ledger
from companion.data import manifest
from tools import provenance, store
from tools.tree import write_whole
from udulib import lora, sweep

KINDS = 6
CASES = max(5, int(os.environ.get("UDULIB_FUZZ", "300")) // KINDS)
cases = settings(max_examples=CASES, suppress_health_check=list(HealthCheck), database=None)

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.sampled_from([2**70, -1e308, float("nan"), float("inf"), "1e-8", "nan", "", "ci", "rank", "<b>&"])
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def nodes(value, path=()):
    """The ways to all nodes of data as JSON has it."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from nodes(inner, (*path, key))


@st.composite
def changed(draw, value):
    """The data with one node replaced, or taken out."""
    whole = [copy.deepcopy(value)]
    *path, last = draw(st.sampled_from(list(nodes(whole))[1:]))
    around = functools.reduce(operator.getitem, path, whole)
    if path and draw(st.booleans()):
        del around[last]
    else:
        around[last] = draw(plain)
    return whole[0]


@st.composite
def damaged(draw, content):
    """The bytes cut short, with one changed, or with some put in between."""
    at = draw(st.integers(0, len(content) - 1))
    flipped = bytes([content[at] ^ draw(st.integers(1, 255))])
    middle = draw(st.sampled_from([b"", flipped + content[at + 1 :], draw(st.binary(max_size=4)) + content[at:]]))
    return content[:at] + middle


def spoiled(value, written):
    """A file of the data, as bytes, spoiled in either way."""
    return changed(value).map(written).map(str.encode) | damaged(written(value).encode())


@cases
@given(content=spoiled(yaml.safe_load(CLAIMS["01_one"]), yaml.safe_dump))
def test_claims(content, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "claims"
    write_whole(folder / "01_one.yml", content)
    try:
        ledger.load_claims(folder)
    except ul.InputError as error:
        assert len(str(error)) > 10


RUN = {
    "provenance": {"size": "ci"},
    "records": [
        {"id": "rank", "size": "ci", "notebook": "01_one", "seeds": [0, 1, 2, 3, 4], "values": [3, 3, 3, 3, 4]},
        {"id": "tail", "size": "ci", "notebook": "01_one", "seeds": [], "values": [0.25]},
    ],
}


@cases
@given(content=spoiled(RUN, json.dumps), place=st.sampled_from(["ci", "pools/ci"]))
def test_results_and_pools(content, place, tmp_path_factory):
    """What is read of them is shown, held against a fresh run, and looked through for what no longer fits."""
    folder = tmp_path_factory.getbasetemp() / "house"
    for name, text in CLAIMS.items():
        write_whole(folder / "claims" / f"{name}.yml", text)
    for other in ("ci", "pools/ci"):
        write_whole(folder / "results" / other / "01_one.json", content if other == place else json.dumps(RUN))
    claims = ledger.load_claims(folder / "claims")
    try:
        ledger.misfits(claims, folder / "results")
        evidence = ledger.load_evidence(claims, folder / "results")
        assert {evidence.verdict(id) for id in claims.statements} <= set(ledger.VERDICTS)
        fresh = ledger.read_records(folder / "results" / "ci" / "01_one.json")
        ledger.check(claims.probes, fresh, ledger.pooled(ledger.entries("ci", folder / "results")), "ci")
    except ul.InputError as error:
        assert len(str(error)) > 10


@cases
@given(whole=st.data())
def test_executed_notebooks(whole, tree):
    """Either file of a result: it counts as it was, or not at all."""
    made = {"size": "ci"}
    notebook = tree.executed("ci", "01_one").with_name("new.ipynb")
    write_whole(notebook, '{"cells": []}')
    store.put(tree, "01_one", "ci", notebook, provenance.key(tree, "01_one", "ci", "cpu"), made, RUN["records"])
    true = store.fresh(tree, "01_one", "ci", "cpu")
    record = tree.run_record("ci", "01_one")
    if whole.draw(st.booleans()):
        write_whole(record, whole.draw(spoiled(json.loads(record.read_text()), json.dumps)))
    else:
        write_whole(tree.executed("ci", "01_one"), whole.draw(damaged(b'{"cells": []}')))
    assert true and store.fresh(tree, "01_one", "ci", "cpu") in (None, true)


@cases
@given(whole=st.data())
def test_sweep_stores(whole, tmp_path_factory):
    """What is spoiled is computed again, and right."""
    folder = tmp_path_factory.getbasetemp() / "sweep"
    with ThreadPoolExecutor(1) as thread:
        sweep.run(pow, sweep.grid(base=[2, 3], exp=[2]), thread, store=folder, progress=False)
        file = whole.draw(st.sampled_from(sorted(folder.glob("*.pickle"))))
        write_whole(file, whole.draw(damaged(file.read_bytes())))
        again = sweep.run(pow, sweep.grid(base=[2, 3], exp=[2]), thread, store=folder, progress=False)
    assert again.results == (4, 9) and not again.failures


TYPES = [torch.float32, torch.float64, torch.int64, torch.bool, torch.complex64, torch.bfloat16]


def adapter(folder):
    model = torch.nn.Sequential(torch.nn.Linear(4, 3))
    file = folder / "adapter.safetensors"
    torch.manual_seed(0)
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3, 4))
    base = copy.deepcopy(model)
    lora.add(model, ["0"], rank=2)
    lora.save(model, file)
    return base, file


@cases
@given(whole=st.data())
def test_adapters(whole, tmp_path_factory):
    """Settings, names and shapes of the factors, bytes. (Numbers that are others are another adapter.)"""
    base, file = adapter(tmp_path_factory.getbasetemp())
    kind = whole.draw(st.sampled_from(["bytes", "settings", "factors"]))
    with safe_open(file, framework="pt") as opened:
        said = opened.metadata()
    factors = load_file(file)
    if kind == "bytes":
        write_whole(file, whole.draw(damaged(file.read_bytes())))
    elif kind == "settings":
        layers = whole.draw(spoiled(json.loads(said["layers"]), json.dumps)).decode("latin-1")
        save_file(factors, file, whole.draw(st.sampled_from([said, {}])) | {"layers": layers})
    else:
        name = whole.draw(st.sampled_from(sorted(factors)))
        other = torch.ones(
            whole.draw(st.lists(st.integers(0, 3), max_size=3)), dtype=whole.draw(st.sampled_from(TYPES))
        )
        save_file(
            {key: factor for key, factor in factors.items() if key != name}
            | {whole.draw(st.sampled_from([name, "0.X"])): other},
            file,
            said,
        )
    try:
        assert lora.load(base, file) == ("0",)
    except ul.InputError as error:
        assert len(str(error)) > 10


MANIFEST = yaml.safe_load(manifest.MANIFEST.read_text(encoding="utf-8"))


@cases
@given(content=spoiled({"mnist": MANIFEST["mnist"]}, yaml.safe_dump))
def test_manifests(content, tmp_path_factory):
    file = tmp_path_factory.mktemp("manifest") / "sources.yml"
    write_whole(file, content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "MANIFEST", file)
        try:
            for name in data.names():
                assert data.about(name).bytes >= 0
        except data.DataError as error:
            assert "sources.yml" in str(error)
