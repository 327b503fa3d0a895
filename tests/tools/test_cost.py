"""What the notebooks cost is measured as it is, and has not crept above what is published."""

import subprocess
import sys

import pytest

from tools import cost, store
from tools.tree import Tree, read_json

TREE = Tree()
PUBLISHED = {"processor_rounds": 100, "memory_megabytes": 500}
SPENDS = "import time\nheld = bytearray(300 * 2**20)\nwhile time.process_time() < 0.5: pass"


def test_time_and_memory_of_what_was_run_are_measured():
    """A process that keeps 300 MB and a core for half a second, seen from one that does neither."""
    sees = f"subprocess.run([sys.executable, '-c', {SPENDS!r}]); print(*cost.spent())"
    command = [sys.executable, "-c", f"import subprocess, sys; from tools import cost; {sees}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TREE.root)
    seconds, megabytes = map(float, done.stdout.split())
    assert 0.5 <= seconds < 1.0 and 300 < megabytes < 360


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"processor_rounds": 200, "memory_megabytes": 650}, []),
        ({"processor_rounds": 201, "memory_megabytes": 500}, ["time"]),
        ({"processor_rounds": 201, "memory_megabytes": 651}, ["time", "memory"]),
        ({}, []),
    ],
)
def test_what_costs_much_more_than_before_is_said(made, words):
    assert [sentence.split(":")[0] for sentence in cost.crept(made, PUBLISHED)] == words
    assert not list(cost.crept(made, {}))


@pytest.mark.parametrize("name", TREE.names())
def test_notebooks_have_not_become_slower_or_larger(name):
    """The everyday run against the published one; rounds of one loop, so that the machine's speed counts for little."""
    run = store.fresh(TREE, name, "ci", "cpu") or pytest.skip("no run of today's code: make test begins with one")
    assert not list(cost.crept(run["provenance"], read_json(TREE.published("ci", name))["provenance"]))
