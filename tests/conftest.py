"""What all tests share: one thread, steady random tests, and a tiny checkout to try the tools on."""

import importlib.util
import os
import shutil
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded

import pytest
from hypothesis import settings

from companion import ledger
from companion.ledger import Ledger, Record, load_claims

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


def pytest_collection_modifyitems(items):
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not _kernels_can_run():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU and CuPy"))


def _kernels_can_run():
    import torch

    return torch.cuda.is_available() and importlib.util.find_spec("cupy") is not None


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
    from tools.printed import browsing

    with browsing() as browser:
        yield browser


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A tiny checkout with two notebooks; each run of a cell leaves a line in ``tree.root / 'log'``."""
    from tools.tree import Tree

    for folder in ("notebooks", "udulib", "book"):
        (tmp_path / folder).mkdir()
    (tmp_path / "book" / "_toc.yml").write_text(TOC)
    (tmp_path / "udulib" / "code.py").write_text("answer = 42\n")
    (tmp_path / "constraints.txt").write_text("numpy==2.4.6\n")
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "01_one.yml").write_text("[]\n")
    shutil.copy(ROOT / "_config.yml", tmp_path)
    add_notebook(tmp_path, "01_one")
    add_notebook(tmp_path, "02_two")
    monkeypatch.setenv("TINY_LOG", str(tmp_path / "log"))
    monkeypatch.delenv("UDULIB_RECORDS", raising=False)
    return Tree(tmp_path)


# A small ledger: statements of three papers, one notebook that measures them, and one that does not ------------------

CLAIMS = {
    "01_one": """
- id: rank
  paper: hou2025
  version: v2
  where: Figure 1
  statement: The rank is 3
  kind: always
  probes:
    - {id: rank, role: primary, quantity: rank, stated: three, reading: Three is 3.,
       expected: {equals: 3}, sizes: [ci, paper], reason: At paper size one run in five stops early.}
- id: tail-and-fall
  paper: hou2025
  version: v1 alone
  where: abstract
  statement: There is a tail, and it falls
  kind: theorem
  condition: radius 1
  probes:
    - {id: tail, role: primary, statement: The tail is < 1 & > 0, quantity: fourth value,
       expected: {above: 0, below: 1}, sizes: [ci], observed: {ci: {max: 0.5}}}
    - {id: falls, role: stronger, statement: It falls, quantity: whether it falls, expected: {equals: true},
       sizes: [book], changed: [{before: slowly, now: at all, gives: the same}]}
- id: level
  paper: ours
  statement: The level is 5
  kind: number
  probes:
    - {id: level, role: beyond, quantity: level, expected: {min: 4, max: 6}, sizes: [ci], chaotic: It swings.}
""",
    "02_two": """
- id: gone
  paper: chou2024
  version: v1
  where: Table 1
  statement: The loss is 5
  kind: number
  probes:
    - {id: gone, role: primary, quantity: loss, reason: Its data cannot be had.}
""",
}


@pytest.fixture
def claims_folder(tmp_path):
    """The folder of the claims, beside which ``results`` are published."""
    (tmp_path / "claims").mkdir()
    for name, text in CLAIMS.items():
        (tmp_path / "claims" / f"{name}.yml").write_text(text, encoding="utf-8")
    return tmp_path / "claims"


@pytest.fixture
def claims(claims_folder):
    return load_claims(claims_folder)


@pytest.fixture
def book(claims_folder, tmp_path, monkeypatch):
    monkeypatch.delenv("UDULIB_RECORDS", raising=False)
    return Ledger("ci", "01_one", claims=claims_folder, results=tmp_path / "results")


@pytest.fixture
def publish(tmp_path, claims):
    """``publish(place, rank=values, ...)`` writes a file of results; a place is ``pools/ci`` or the like."""

    def write(place, seeds=None, **values):
        size = place.split("/")[-1]
        entries = [
            Record(claims.probes[id], size, v, range(len(v)) if seeds is None else seeds).as_json()
            for id, v in values.items()
        ]
        ledger.write_json(tmp_path / "results" / place / "01_one.json", {"provenance": {}, "records": entries})
        return entries

    return write
