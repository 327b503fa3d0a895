"""The house keeps its plan: which rooms may know which, how long a file may be, and what udulib needs to be there."""

import ast
import re
import subprocess
import sys

import pytest
from conftest import ROOT

GROUND = {"errors", "checks", "seeds", "factors", "files"}
ROOMS = {  # of udulib: which others a room imports, beside the ground floor
    "problems": set(),
    "kernels": set(),
    "factorization": {"problems", "kernels"},
    "solvers": {"problems", "factorization"},
    "theory": {"problems", "factorization"},
    "impute": {"problems", "factorization", "solvers"},
    "nn": {"factorization"},
    "compress": {"factorization", "nn"},
    "lora": {"factorization", "nn", "compress"},
    "sweep": set(),
    "deep": {"theory"},
    "fixed_points": {"theory"},
}
SHARED = {"ledger", "data", "figures"}  # rooms of companion that all of its rooms may use
PACKAGES = {  # who may import whom
    "udulib": {"udulib"},
    "companion": {"companion", "udulib"},
    "tools": {"tools", "companion", "udulib"},
    "benchmarks": {"benchmarks", "tools", "companion", "udulib"},
    "notebooks": {"companion", "udulib"},
    "book": {"tools", "companion", "udulib"},
}
LONGEST = 450


def sources(folder):
    found = sorted(ROOT.glob(f"{folder}/**/*.py"))
    return [path for path in found if "_build" not in path.parts]


def imported(path):
    """The modules that a file imports, as dotted names; of ``from a import b`` both a and a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def room(dotted):
    return dotted.removesuffix(".py").split(".")[1] if "." in dotted else ""


def room_of(path, package):
    return path.relative_to(ROOT / package).parts[0].removesuffix(".py")


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_know_only_whom_they_may(package):
    ours = {name for package in PACKAGES for name in PACKAGES[package]}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        for name in imported(path)
        if name.split(".")[0] in ours - PACKAGES[package]
    ]
    assert wrong == []


def test_rooms_of_udulib_know_only_whom_they_may():
    wrong = []
    for path in sources("udulib"):
        own = room_of(path, "udulib")
        if own == "__init__":
            continue
        allowed = GROUND if own in GROUND else {own} | GROUND | ROOMS[own]
        rooms = {room(name) for name in imported(path) if name.startswith("udulib.")}
        wrong += [f"{path.relative_to(ROOT)} imports {other}" for other in sorted(rooms - allowed)]
    assert wrong == []


def test_rooms_of_the_companion_do_not_know_each_other():
    wrong = []
    for path in sources("companion"):
        own = room_of(path, "companion")
        rooms = {room(name) for name in imported(path) if name.startswith("companion.")}
        if own not in SHARED | {"__init__"}:
            wrong += [f"{path.relative_to(ROOT)} imports {other}" for other in sorted(rooms - SHARED - {own})]
    assert wrong == []


def test_nobody_imports_a_private_name():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for package in PACKAGES
        for path in sources(package)
        for name in imported(path)
        if name.split(".")[0] in PACKAGES and re.search(r"\._[a-z]", name) and not name.startswith("benchmarks._timing")
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ["udulib", "companion", "tools"])
def test_no_file_is_long(package):
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in sources(package)}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


HIDE = "import sys\nsys.modules.update(dict.fromkeys({names}))\n"  # to import then fails, as where it is not installed
OPTIONAL = {"companion", "matplotlib", "yaml", "tqdm", "numba", "sklearn", "pandas", "scipy", "peft", "safetensors"}
OPTIONAL |= {"transformers", "accelerate", "lightning", "dask", "distributed", "IPython", "skimage", "cupy"}


def readme_block():
    """The first Python block of the README, and what it says that it prints."""
    blocks = re.findall(r"```(python|text)\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    code = next(i for i, (kind, _) in enumerate(blocks) if kind == "python" and "import udulib as ul" in blocks[i][1])
    return blocks[code][1], blocks[code + 1][1]


def test_udulib_needs_numpy_and_torch_alone():
    """README's first block runs, and every room can be imported, where nothing else is installed."""
    code, printed = readme_block()
    rooms = "\nfor room in ul.__all__:\n    getattr(ul, room)\n"
    program = HIDE.format(names=sorted(OPTIONAL)) + code + rooms
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == printed


def test_no_notebook_defines_a_helper_that_another_one_defines():
    """What two of them need lives in companion."""
    defined = {}
    for path in sources("notebooks"):
        cells = path.read_text().replace("\n%", "\n#")
        for node in ast.parse(cells).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined.setdefault(node.name, []).append(path.stem)
    assert {name: where for name, where in defined.items() if len(where) > 1} == {}


def test_every_notebook_takes_its_seeds_from_the_first():
    """A seed that is written out, or used as an index, would not move with it."""
    for path in sources("notebooks"):
        text = path.read_text()
        assert "\nfirst_seed = 0  #" in text, path.stem
        assert re.findall(r"ledger\.record\([^\n]*seeds=range", text) == [], path.stem
        assert re.findall(r"^\w*seeds(?:, \w*seeds)? = (?!.*first_seed).*arange.*$", text, re.M) == [], path.stem
