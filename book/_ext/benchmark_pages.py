"""What was measured, in the book: numbers and a picture made from results/benchmarks.json, so that no page types one.

What a GPU did is in benchmarks-gpu.json beside it, and here under ``gpu``.

In prose ``{benchmark}`step.UDU_float64.over_autograd:.1f``` is the number at that place in the file, in that format of
Python's; a text is shown as it is, and null, for a target that nothing came to, as *not reached*.
``{benchmark-figure}`` draws time against size. What is not there is a warning.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import ClassVar

import matplotlib.pyplot as plt
import numpy as np
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from companion import figures, ledger

logger = logging.getLogger(__name__)

ENTRIES, COLUMNS = 1708, 100  # of the paper's problem, from both sides of each entry
CARD, T4 = 132, 40  # multiprocessors


def found(place, measured):
    """What stands at a place such as ``step.UDU_float64.over_flops``; a KeyError where nothing does."""
    for name in place.split("."):
        measured = measured[name]
    return measured


class Benchmark(SphinxRole):
    def run(self):
        place, _, form = self.text.partition(":")
        try:
            value = found(place, self.env.app.benchmarks)
            return [nodes.Text("not reached" if value is None else format(value, form))], []
        except (KeyError, TypeError, ValueError) as error:
            logger.warning(f"no benchmark gave {self.text!r} ({error})", location=self.get_location())
            return [nodes.problematic(self.rawtext, self.rawtext)], []


class BenchmarkFigure(SphinxDirective):
    """Time of an iteration against the number of entries; the caption is the content."""

    has_content = True
    option_spec: ClassVar = {"alt": directives.unchanged_required, "name": directives.unchanged_required}

    def run(self):
        image = base64.b64encode(figures.png(draw(self.env.app.benchmarks["scale"]))).decode("ascii")
        caption, messages = self.parse_inline(" ".join(self.content), lineno=self.content_offset)
        figure = nodes.figure("", nodes.image(uri=f"data:image/png;base64,{image}", alt=self.options["alt"]))
        figure += nodes.caption("", "", *caption)
        self.add_name(figure)
        return [figure, *messages]


def draw(scale):
    figures.use_style()
    fig, ax = plt.subplots(figsize=(6.4, 4.8))
    rows = [row for row in scale.values() if isinstance(row, dict)]
    series = {
        "PyTorch, one operation at a time": ("float64", "loop", "v"),
        "entries in any order": ("float64", "shuffled", "s"),
        "double precision": ("float64", "milliseconds", "o"),
        "single precision": ("float32", "milliseconds", "D"),
    }
    for label, (dtype, what, marker) in series.items():
        points = np.array([(row["entries"], row[what]) for row in rows if row["dtype"] == dtype and row.get(what)])
        if len(points):
            ax.loglog(*points.T, marker=marker, label=label)
    entries = np.array(sorted({row["entries"] for row in rows}))
    first = min(row["milliseconds"] for row in rows if row["dtype"] == "float64")
    ax.loglog(entries, first * entries / entries[0], ":", color="#808080", label="proportional to the entries")
    ax.set(xlabel="known entries, 100 for each row", ylabel="milliseconds an iteration")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize="small")
    return fig


def on_a_t4(steps):
    """Microseconds of a step and run of UDU that a card of 40 multiprocessors would take; an estimate.

    Its double precision, two multiplications a clock of 1.59 GHz in each, is slower than all else.
    """
    double = 1e6 * 2 * ENTRIES * COLUMNS / (2 * T4 * 1.59e9)  # residual and gradient
    return {"float64": double, "float32": steps["UDU_float32_132_fused"]["microseconds"] * CARD / T4}


def read(app, config):
    """Read the measurements once; a change in them is a change of configuration."""
    path = Path(config.benchmarks or ledger.home() / "results" / "benchmarks.json")
    text = path.read_text() if path.exists() else "{}"
    app.benchmarks = json.loads(text)
    gpu = path.with_name("benchmarks-gpu.json")
    if gpu.exists():
        text += gpu.read_text()
        found = json.loads(gpu.read_text())
        app.benchmarks["gpu"] = found | {"estimate": on_a_t4(found["steps"])}
    config.benchmarks_fingerprint = hashlib.sha256(text.encode()).hexdigest()


def setup(app):
    app.add_config_value("benchmarks", None, "")
    app.add_config_value("benchmarks_fingerprint", "", "env")
    app.add_role("benchmark", Benchmark())
    app.add_directive("benchmark-figure", BenchmarkFigure)
    app.connect("config-inited", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
