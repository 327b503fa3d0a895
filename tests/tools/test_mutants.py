"""The list of faults is a list of faults: of today's code, one at a time, guarded by tests that are there."""

import ast
from collections import Counter

import pytest
from conftest import ROOT

from tools import mutants
from tools.tree import ToolError, Tree, write_whole

LISTED = mutants.listed(Tree())
LEAST = 80  # faults that fit today's code


def test_the_list_fits_the_code():
    """Each changes what the code does, and leaves it code. Some may be of code that has changed since; not many."""
    here = [mutant for mutant in LISTED if mutants.fits(Tree(), mutant)]
    assert len(here) >= LEAST and len(set(LISTED)) == len(LISTED)
    for mutant in here:
        text = (ROOT / mutant.file).read_text()
        assert ast.dump(ast.parse(mutant.applied(text))) != ast.dump(ast.parse(text)), mutant
        assert mutant.tests and any((ROOT / test).exists() for test in mutant.tests), mutant.tests


def test_faults_are_spread_over_the_rooms():
    rooms = Counter("/".join(mutant.file.split("/")[:2]) for mutant in LISTED)
    assert {"udulib/factorization", "udulib/kernels", "udulib/problems", "udulib/solvers", "udulib/theory"} <= set(
        rooms
    )
    assert {"udulib/nn", "udulib/lora", "udulib/compress", "udulib/sweep", "companion/ledger"} <= set(rooms)
    assert all(rooms[room] >= 2 for room in rooms)


@pytest.fixture
def house(tmp_path):
    """A checkout of one function and one test."""
    write_whole(tmp_path / "udulib" / "__init__.py", "")
    write_whole(tmp_path / "udulib" / "sums.py", "def add(a, b):\n    return a + b\n")
    test = "from udulib.sums import add\n\n\ndef test_add():\n    assert add(2, 2) == 4\n"
    write_whole(tmp_path / "tests" / "test_sums.py", test)
    return Tree(tmp_path)


def written(house, *pairs):
    lines = "".join(f"    - [{old!r}, {new!r}]\n" for old, new in pairs)
    text = f"udulib/sums.py:\n  tests: [tests/test_sums.py]\n  mutants:\n{lines}"
    write_whole(house.root / "tests" / "mutants.yml", text)


def test_what_a_test_notices_is_killed_and_what_none_does_survives(house, capsys):
    """2 + 2 is 2 * 2; the checkout itself is never touched, and what is not there any more is said."""
    before = (house.root / "udulib" / "sums.py").read_text()
    written(house, ["a + b", "a - b"], ["a + b", "a * b"], ["a / b", "a"])
    with pytest.raises(ToolError, match="1 mutants survive"):
        mutants.run(house, 2, [])
    said = capsys.readouterr().out
    assert "killed    udulib/sums.py: a - b" in said and "SURVIVED  udulib/sums.py: a * b" in said
    assert "not there any more  udulib/sums.py: a / b" in said and "1 of 2 killed" in said
    assert (house.root / "udulib" / "sums.py").read_text() == before
    written(house, ["a + b", "a - b"])
    mutants.run(house, 1, ["sums"])


def test_tests_that_cannot_run_are_no_proof(house):
    written(house, ["a + b", "a - b"])
    write_whole(house.root / "tests" / "test_sums.py", "def not python")
    with pytest.raises(ToolError, match=r"the tests of udulib/sums\.py do not run"):
        mutants.run(house, 1, [])


def test_a_mutant_that_hangs_is_noticed(house, monkeypatch):
    monkeypatch.setattr(mutants, "SECONDS", 5)
    written(house, ["return a + b", "while True: pass"])
    mutants.run(house, 1, [])
