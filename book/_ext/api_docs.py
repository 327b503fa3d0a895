"""Docstrings as the API page shows them: shapes such as (*, d, r) are text, not the start of emphasis."""

import re

SHAPE = re.compile(r"\(\*(?=[,)])")


def escape_shapes(app, what, name, obj, options, lines):
    lines[:] = [SHAPE.sub(r"(\*", line) if "`" not in line and ">>>" not in line else line for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", escape_shapes, priority=600)  # after napoleon's 500
    return {"parallel_read_safe": True, "parallel_write_safe": True}
