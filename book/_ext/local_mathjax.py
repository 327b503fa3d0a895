"""MathJax from the book's own folder: the pages need no network, and tell no other server who reads them."""

import shutil
import sysconfig
from pathlib import Path

PACKAGE = Path(sysconfig.get_path("purelib"), "sphinx-mathjax-offline", "static", "mathjax")
PARTS = ("tex-chtml.js", "output/chtml/fonts/woff-v2", "input/tex/extensions")  # 2 MB of 24


def copy_mathjax(app, exception):
    if exception or app.builder.format != "html":
        return
    for part in PARTS:
        source, target = PACKAGE / part, Path(app.outdir, "_static", "mathjax", part)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)


def setup(app):
    app.config.mathjax_path = "mathjax/tex-chtml.js"  # relative to _static
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
