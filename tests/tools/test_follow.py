"""What a source uses is read from its text: all that decides its results, and little else."""

import shutil

import pytest
from conftest import ROOT

from tools.follow import code, files_used
from tools.provenance import key
from tools.tree import Tree

HOUSE = {
    "udulib/__init__.py": "from udulib.loop import descend, ends\nROOMS = ('lora',)\n",
    "udulib/loop/__init__.py": "from udulib.loop.descent import descend\nfrom udulib.loop.stopping import ends\n",
    "udulib/loop/descent.py": "from udulib.errors import InputError\n",
    "udulib/loop/stopping.py": "import numpy as np\n",
    "udulib/loop/kernel.cu": "",
    "udulib/errors.py": "",
    "udulib/lora.py": "import udulib\ndef add():\n  from udulib.late import tool\n  return udulib.descend, tool\n",
    "udulib/late.py": "tool = 1\n",
    "udulib/deep.py": "from udulib.theory.deep import *\n",
    "udulib/theory/__init__.py": "",
    "udulib/theory/deep.py": "",
    "companion/__init__.py": "from companion import figures\nfrom companion.ledger import Ledger\n",
    "companion/figures.py": "",
    "companion/ledger/__init__.py": "from companion.ledger.bands import Band\n\n\nclass Ledger:\n    pass\n",
    "companion/ledger/bands.py": "",
    "companion/data/__init__.py": "from companion.data.fetching import fetch\n",
    "companion/data/fetching.py": "",
    "companion/data/sources.yml": "",
}


@pytest.fixture
def house(tmp_path):
    for path, text in HOUSE.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def used(house, text):
    return {path.relative_to(house).as_posix() for path in files_used(house, text)}


DESCENT = {"udulib/loop/descent.py", "udulib/loop/kernel.cu", "udulib/errors.py"}
LOOP = DESCENT | {"udulib/loop/__init__.py", "udulib/loop/stopping.py"}


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("import numpy as np\nnp.linalg.svd", set()),
        ("import udulib as ul\nul.descend(1)", DESCENT),
        ("import udulib\n[udulib.descend(k) for k in range(3)]", DESCENT),
        ("from udulib import descend as go", DESCENT),
        ("from udulib.loop.descent import anything", DESCENT),
        ("from udulib import loop\nloop.descend", DESCENT),
        ("from udulib import loop\nf(loop)", LOOP),  # passed around: who knows what is asked of it
        ("from udulib.loop import *", LOOP),
        ("import udulib.loop", LOOP),
        ("import udulib as ul\nul.lora.add()", DESCENT | {"udulib/lora.py", "udulib/late.py"}),
        ("def f():\n    from udulib import lora\n    return lora.add", DESCENT | {"udulib/lora.py", "udulib/late.py"}),
        ("import udulib as ul\nul.deep.x", {"udulib/deep.py", "udulib/theory/deep.py"}),
        ("from companion import Ledger", {"companion/ledger/__init__.py", "companion/ledger/bands.py"}),
        ("from companion import figures\nfigures.show", {"companion/figures.py"}),
        ("from companion.data import fetch", {"companion/data/fetching.py", "companion/data/sources.yml"}),
    ],
)
def test_imports_are_followed_to_what_defines_the_name(house, text, files):
    assert used(house, text) == files


def test_an_import_by_a_computed_name_means_everything(house):
    text = "import importlib\nimportlib.import_module('udulib.' + name)"
    assert used(house, text) == set(HOUSE)


@pytest.mark.parametrize("text", ["%time 1\nimport udulib", "def", "\0", "("])
def test_a_source_that_is_no_python_may_use_everything(house, text):
    assert used(house, text) == set(HOUSE)


def test_a_module_that_is_no_python_is_told_by_its_text(house):
    (house / "udulib" / "errors.py").write_text("<<<<<<< ours")
    assert code(house / "udulib" / "errors.py") == b"<<<<<<< ours"
    assert used(house, "from udulib.errors import InputError") >= {"udulib/errors.py"}


def test_layout_comments_and_docstrings_are_not_code(house):
    path = house / "udulib" / "errors.py"

    def written(text):
        path.write_text(text)
        return code(path)

    first = written('"""One."""\n\ndef f(x):\n    """Two."""\n    return x + 1  # three\n')
    assert first == written('"""Another."""\ndef f( x ):\n    return (x + 1)\n')
    assert first != written('"""One."""\n\ndef f(x):\n    """Two."""\n    return x + 2  # three\n')
    assert first != written('"""One."""\n\ndef f(x=0):\n    """Two."""\n    return x + 1  # three\n')


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """This checkout's sources, to change them."""
    root = tmp_path_factory.mktemp("copy")
    for folder in ("udulib", "companion", "notebooks", "results", "claims"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "*.ipynb"))
    shutil.copy(ROOT / "constraints.txt", root)
    return Tree(root)


def stale_after(tree, path, old, new):
    """The notebooks whose results are stale once a file is changed."""
    file = tree.root / path
    before, text = {name: key(tree, name, "ci", "cpu") for name in tree.names()}, file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    try:
        return [name for name in tree.names() if key(tree, name, "ci", "cpu") != before[name]]
    finally:
        file.write_text(text)


def test_what_a_change_in_this_checkout_makes_stale(copy):
    all_of_them = copy.names()
    assert stale_after(copy, "udulib/errors.py", '"""', '"""Not read: ') == []
    assert stale_after(copy, "udulib/errors.py", "class", "answer = 42\n\n\nclass") == all_of_them
    lora = next(path for path in ("udulib/lora.py", "udulib/lora/adapt.py") if (copy.root / path).is_file())
    assert stale_after(copy, lora, "import ", "import json as unused\nimport ") == ["07_lora"]
    descents = [name for name in all_of_them if name[:2] in ("01", "02", "03", "04", "08")]
    assert stale_after(copy, "udulib/factorization/descent.py", "import ", "import json as unused\nimport ") == descents
    assert stale_after(copy, "results/tuning/lora.json", "sentiment", "other") == ["07_lora"]
    assert stale_after(copy, "results/tuning/lora-letters.json", "logs", "others") == ["07_lora"]
    assert stale_after(copy, "results/tuning/movielens-100k.json", "logs", "others") == ["02_completion"]
