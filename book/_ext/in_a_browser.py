"""What the theme and docutils leave undone for assistive programs and for the browser's console."""

import re

NAMELESS = re.compile(r'(<div role="list" class="citation-list">)')


def mend(app, pagename, templatename, context, doctree):
    """A list of references holds entries, not list items: it is no list to a screen reader. The mode has a default."""
    context["default_mode"] = "auto"
    if "body" in context:
        context["body"] = NAMELESS.sub('<div class="citation-list">', context["body"])
    context["generate_toctree_html"] = with_named_toggles(context["generate_toctree_html"])


def with_named_toggles(toctree):
    """The theme's sidebar, whose arrows that unfold the sections of a chapter have no name of their own."""

    def named(*arguments, **options):
        found = toctree(*arguments, **options)
        for toggle in found("summary") if found else ():
            toggle["aria-label"] = f"Sections of {toggle.find_previous('a').get_text(strip=True)}"
        return found

    return named


def setup(app):
    app.connect("html-page-context", mend, priority=900)  # once the theme's functions are there
    return {"parallel_read_safe": True, "parallel_write_safe": True}
