"""The guide *Complete a matrix* does what it says: each block runs, and prints what stands below it."""

import re

import numpy as np
import pytest
from conftest import ROOT

pytest.importorskip("sklearn")
BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.S)


def table():
    """The table that the guide describes."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 3)) @ rng.standard_normal((3, 30))
    X += 0.2 * X.std() * rng.standard_normal(X.shape)
    X *= 10.0 ** rng.integers(-2, 3, 30)
    return np.where(rng.random(X.shape) < 0.6, X, np.nan)


def test_every_block_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = [",".join("" if np.isnan(x) else repr(float(x)) for x in row) for row in table()]
    (tmp_path / "table.csv").write_text("\n".join([",".join(f"c{j}" for j in range(30)), *lines]))
    blocks = BLOCK.findall((ROOT / "book/complete_a_matrix.md").read_text())
    names = {}
    for code, printed in blocks:
        exec(code, names)
        said = capsys.readouterr().out
        if printed:
            assert said == printed
    assert len(blocks) == 4
    assert np.loadtxt("filled.csv", delimiter=",").shape == (120, 30)


def test_the_readme_shows_the_guides_first_lines():
    first = BLOCK.search((ROOT / "book/complete_a_matrix.md").read_text())[1]
    assert f"```python\n{first}```" in (ROOT / "README.md").read_text()
