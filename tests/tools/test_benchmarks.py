"""The benchmarks: what they write, and how the book shows it."""

import io
import json
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

import udulib as ul
from tools import publish_benchmarks
from tools.tree import ToolError, read_json, write_whole


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_named_figures_come_first_and_say_what_they_were_made_from(benchmarks, tmp_path, monkeypatch):
    import _timing

    monkeypatch.setattr(_timing, "RESULTS", tmp_path / "benchmarks.json")
    monkeypatch.setattr(sys, "argv", ["benchmarks/one.py"])
    _timing.write(other=1, scale_peak_gb_1e5=2.0)
    monkeypatch.setattr(sys, "argv", ["benchmarks/two.py"])
    _timing.write(udu_step_over_autograd=30.0, other=3)
    found = read_json(tmp_path / "benchmarks.json")
    assert list(found)[:3] == ["udu_step_over_autograd", "scale_peak_gb_1e5", "machine"] and found["other"] == 3
    assert set(found["provenance"]) == {"one", "two"}
    assert len(found["provenance"]["one"]["commit"]) == 40


@pytest.mark.parametrize("symmetric", [True, False])
def test_shuffled_entries_are_the_same_problem(benchmarks, monkeypatch, symmetric):
    pytest.importorskip("numba", reason="needs numba")
    import scale

    from udulib.kernels import completion

    monkeypatch.setattr(completion, "NEAR", 0)
    d = 30 if symmetric else (30, 40)
    problem, _ = ul.planted_completion(d=d, rank=2, observed=300, spectrum=(2.0, 1.0))
    model = ul.UDU(8) if symmetric else ul.UDV(8)
    one = torch.ones((), dtype=torch.float64)
    start = {name: torch.rand(size, dtype=one.dtype) for name, size in model.sizes(problem).items()}
    kernels = completion.FusedSteps(problem, model, 0.1 * one, one, 9)
    ordered, _ = kernels.advance(start, 5)
    kernels.runs[0].layout = scale.shuffled(kernels.runs[0].layout, np.random.default_rng(0))
    assert len(kernels.runs[0].layout.row) == len(kernels.runs[0].layout.partner)
    mixed, _ = kernels.advance(start, 5)
    for name, factor in ordered.items():
        np.testing.assert_allclose(mixed[name], factor, rtol=0, atol=1e-12)


def test_what_was_measured_with_changes_is_not_published(tree):
    with pytest.raises(ToolError, match="nothing measured"):
        publish_benchmarks.publish(tree)
    measured = tree.root / "_build" / "benchmarks.json"
    write_whole(measured, json.dumps({"provenance": {"step": {"dirty": False}, "scale": {"dirty": True}}}))
    with pytest.raises(ToolError, match="changes not committed: scale"):
        publish_benchmarks.publish(tree)
    write_whole(measured, json.dumps({"provenance": {"step": {"dirty": False}}}))
    publish_benchmarks.publish(tree)
    assert (tree.root / "results" / "benchmarks.json").read_bytes() == measured.read_bytes()


def test_what_a_gpu_measured_is_published_with_its_card(tree, tmp_path):
    with pytest.raises(ToolError, match="nothing measured"):
        publish_benchmarks.publish_gpu(tree, tmp_path, "abc")
    for stage, card in (("steps", "Abacus"), ("large", "Abacus")):
        write_whole(tmp_path / f"{stage}.json", json.dumps({"card": card, "torch": "2", "seconds": 1.0}))
    publish_benchmarks.publish_gpu(tree, tmp_path, "abc")
    found = read_json(tree.root / "results" / "benchmarks-gpu.json")
    assert found == {
        "card": "Abacus",
        "torch": "2",
        "commit": "abc",
        "large": {"seconds": 1.0},
        "steps": {"seconds": 1.0},
    }
    write_whole(tmp_path / "steps.json", json.dumps({"card": "Slide rule", "torch": "2"}))
    with pytest.raises(ToolError, match="more than one card"):
        publish_benchmarks.publish_gpu(tree, tmp_path, "abc")


# The page -------------------------------------------------------------------------------------------------------------

CONF = f"""
import sys
sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
extensions = ["myst_parser", "benchmark_pages"]
html_theme = "basic"
benchmarks = "benchmarks.json"
"""
ROW = {"entries": 1000, "dtype": "float64", "milliseconds": 2.0, "shuffled": 4.0, "loop": None}
MEASURED = {
    "machine": {"processor": "Abacus 3000"},
    "scale": {"rank": 32, "a": ROW, "b": {**ROW, "entries": 10_000, "milliseconds": 20.0}},
}
PAGE = """# Page

It takes {benchmark}`scale.b.milliseconds:.1f` ms on an {benchmark}`machine.processor`;
a loop: {benchmark}`scale.b.loop:.1f`.

```{benchmark-figure}
:name: fig-size
:alt: A line that rises with the entries.
It *rises*.
```
"""


def build(folder, page):
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    (folder / "conf.py").write_text(CONF)
    (folder / "benchmarks.json").write_text(json.dumps(MEASURED))
    (folder / "index.md").write_text(page)
    warnings = io.StringIO()
    with patch_docutils(), docutils_namespace():
        Sphinx(folder, folder, folder / "out", folder / "tree", "html", status=None, warning=warnings).build()
    return (folder / "out" / "index.html").read_text(), warnings.getvalue()


def test_pages_show_what_was_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    html, warnings = build(tmp_path, PAGE)
    assert warnings == ""
    assert "It takes 20.0 ms on an Abacus 3000;\na loop: not reached." in html
    assert 'id="fig-size"' in html and 'alt="A line that rises with the entries."' in html
    assert "data:image/png;base64," in html and "<em>rises</em>" in html


@pytest.mark.parametrize("place", ["scale.c.milliseconds:.1f", "machine.processor.x", "machine.processor:.1f"])
def test_what_nobody_measured_is_a_warning(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    assert "no benchmark gave" in build(tmp_path, f"# Page\n\n{{benchmark}}`{place}`\n")[1]
