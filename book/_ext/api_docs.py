"""Docstrings as the API page shows them: shapes such as (*, d, r) and (*G, K) are text, not the start of emphasis."""

import re

SHAPE_OR_LITERAL = re.compile(r"(`+).*?\1|(?P<shape>\(\*(?=\w*[,)]))")


def escape_shapes(app, what, name, obj, options, lines):
    def escaped(found):
        return r"(\*" if found["shape"] else found[0]

    example = re.compile(r"\s*(>>>|\.\.\. )")
    lines[:] = [line if example.match(line) else SHAPE_OR_LITERAL.sub(escaped, line) for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", escape_shapes, priority=600)  # after napoleon's 500
    return {"parallel_read_safe": True, "parallel_write_safe": True}
