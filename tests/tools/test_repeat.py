"""What a notebook records does not hang on the run: a second one, on the same machine, records the same bits."""

from dataclasses import replace

import pytest

from tools import run, store
from tools.tree import Tree

TREE = Tree()
QUICK = "08_deep_factorization"  # the shortest
NAMES = [pytest.param(name, marks=() if name == QUICK else pytest.mark.slow) for name in TREE.names()]


@pytest.mark.parametrize("name", NAMES)
def test_two_runs_of_size_ci_record_the_same_bits(name, monkeypatch):
    """JSON keeps a float's every bit; the second run has as many threads as the first, which may be an older one."""
    run.run(TREE, "ci", "cpu", jobs=1, names=[name])
    first = store.fresh(TREE, name, "ci", "cpu")
    for library in ("OMP", "MKL", "OPENBLAS"):
        monkeypatch.setenv(f"{library}_NUM_THREADS", str(first["provenance"]["threads"]))
    twice = replace(TREE, apart="twice")
    assert run.run_one(twice, name, "ci", "cpu", beside=1)
    assert store.fresh(twice, name, "ci", "cpu")["records"] == first["records"]
