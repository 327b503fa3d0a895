"""Jupyter Book loads thebe on every page, twice, which is an error in the browser's console. No page here uses it."""


def drop(app, pagename, templatename, context, doctree):
    def is_thebes(script):
        return "thebe" in (getattr(script, "filename", None) or "") + str(getattr(script, "attributes", "")).lower()

    context["script_files"] = [script for script in context.get("script_files", []) if not is_thebes(script)]


def setup(app):
    app.connect("html-page-context", drop, priority=900)  # once the scripts are there
    return {"parallel_read_safe": True, "parallel_write_safe": True}
