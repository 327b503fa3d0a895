"""What all tests share: one thread, steady random tests, and a tiny checkout to try the tools on."""

import os
import shutil
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded

import pytest
from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")

ROOT = Path(__file__).resolve().parent.parent

TINY = """# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
# ---

# %% [markdown]
# # Tiny

# %% tags=["setup", "hide-cell"]

# %% tags=["parameters"]
size = "ci"
device = "auto"

# %%
import json
import os
from pathlib import Path

with open(os.environ["TINY_LOG"], "a") as log:
    log.write(f"NAME {size} {device}\\n")

# %%
if folder := os.environ.get("UDULIB_RECORDS"):
    record = {"id": "NAME", "size": size, "notebook": "NAME", "seeds": [], "values": [3], "verdict": "reproduced"}
    Path(folder, "NAME.json").write_text(json.dumps(record))

# %% tags=["nbval-check-output"]
print("the rank is", 3)
"""


TOC = """
format: jb-book
root: book/index
chapters:
  - file: notebooks/01_one
  - file: notebooks/02_two
  - file: notebooks/03_not_written_yet
"""


def add_notebook(root, name, text=TINY):
    (root / "notebooks" / f"{name}.py").write_text(text.replace("NAME", name))


@pytest.fixture(scope="session")
def chromium():
    """The path of Chromium, for tests marked so; without one they are skipped and say so."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return path or pytest.skip("no Chromium here; on Debian: apt-get install chromium")


@pytest.fixture(scope="session")
def html():
    """The book at size ci, built beside the reader's own. Warnings are errors."""
    from tools import build
    from tools.tree import Tree

    return build.build(Tree(), "ci", "cpu", jobs=1, out=ROOT / "_build" / "test")


@pytest.fixture(scope="session")
def browser(chromium):
    """Headless Chromium, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A tiny checkout with two notebooks; each run of a cell leaves a line in ``tree.root / 'log'``."""
    from tools.tree import Tree

    for folder in ("notebooks", "udulib", "book"):
        (tmp_path / folder).mkdir()
    (tmp_path / "book" / "_toc.yml").write_text(TOC)
    (tmp_path / "udulib" / "code.py").write_text("answer = 42\n")
    (tmp_path / "constraints.txt").write_text("numpy==2.4.6\n")
    (tmp_path / "claims.yml").write_text("[]\n")
    shutil.copy(ROOT / "_config.yml", tmp_path)
    add_notebook(tmp_path, "01_one")
    add_notebook(tmp_path, "02_two")
    monkeypatch.setenv("TINY_LOG", str(tmp_path / "log"))
    monkeypatch.delenv("UDULIB_RECORDS", raising=False)
    return Tree(tmp_path)
