"""What the theme and docutils leave undone for assistive programs and for the browser's console."""

import re

NAMELESS = re.compile(r'(<div role="list" class="citation-list">)')


def mend(app, pagename, templatename, context, doctree):
    """A list of references holds entries, not list items: it is no list to a screen reader. The mode has a default."""
    context["default_mode"] = "auto"
    if "body" in context:
        context["body"] = NAMELESS.sub('<div class="citation-list">', context["body"])


def setup(app):
    app.connect("html-page-context", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
