"""What a newcomer meets first: the environments, the README, the workflows. They agree with one another."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import rattler
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import udulib
from tools import dist, lock
from tools.lock import entries
from tools.tree import Tree

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
PINS = {canonicalize_name(name): version for name, version in (line.split("==") for line in LINES)}
README = (ROOT / "README.md").read_text()
WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").iterdir()}

CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())
PYPI_NAMES = {"pytorch": "torch"}


def asked():
    """What pyproject.toml asks for: of the library, of the book, of the tests."""
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [Requirement(line) for names in lists for line in names]


def test_constraints_pin_everything_once_and_in_order():
    assert all(
        re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in LINES
    )  # no paths, no local builds
    assert len(PINS) == len(LINES) and sorted(LINES, key=str.upper) == LINES


@pytest.mark.parametrize("requirement", asked(), ids=str)
def test_constraints_hold_what_is_asked_for(requirement):
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_this_environment_is_the_pinned_one():
    """Nothing of it is of another version."""
    installed = {canonicalize_name(found.name): Version(found.version).public for found in metadata.distributions()}
    differ = {name: (installed[name], pin) for name, pin in PINS.items() if installed.get(name, pin) != pin}
    assert not differ


# make -----------------------------------------------------------------------------------------------------------------

PYTHON = """#!/bin/sh
if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi
echo "$@" >> log
[ ! -e broken ]
"""


@pytest.fixture
def make(tmp_path):
    """make in a folder of its own, with a Python that only writes down what it is asked; returns status and log."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)

    def run(*arguments):
        (tmp_path / "log").write_text("")
        command = ["make", "PYTHON=./python", ".venv/installed", *arguments]
        status = subprocess.run(command, cwd=tmp_path, capture_output=True).returncode
        return status, (tmp_path / "log").read_text().splitlines()

    return run


def test_make_installs_what_is_locked_then_torch_and_nothing_twice(make):
    status, log = make()
    assert status == 0 and "venv" in log[0]
    assert log[1].endswith("--no-deps --require-hashes -r requirements.lock")
    assert re.search(r"-c constraints.txt +torch$", log[2])
    assert log[3].endswith("--no-deps --no-build-isolation -e .") and len(log) == 4
    assert make() == (0, [])


def test_make_takes_the_small_torch_from_its_own_index(make):
    _, log = make("TORCH=cpu")
    assert [line for line in log if "--index-url https://download.pytorch.org/whl/cpu torch" in line] == [log[2]]


def test_make_does_not_take_a_broken_environment_for_a_whole_one(make, tmp_path):
    """After a failure the next make goes on; after a kill, which nothing announces, it begins anew."""
    (tmp_path / "broken").touch()
    assert make()[0] != 0 and not (tmp_path / ".venv" / "installed").exists()
    (tmp_path / "broken").unlink()
    (tmp_path / ".venv" / "kept").touch()
    assert make()[0] == 0 and (tmp_path / ".venv" / "kept").exists()
    (tmp_path / ".venv" / "installed").unlink()
    (tmp_path / ".venv" / "installing").touch()
    assert make()[0] == 0 and not (tmp_path / ".venv" / "kept").exists()


# What is locked ------------------------------------------------------------------------------------------------------

LOCK = {re.match(r"[\w.-]+==[\w.]+", entry)[0]: entry for entry in entries((ROOT / "requirements.lock").read_text())}


BUILDS = {"torch", "cupy-cuda13x"}  # one of several, by the machine


def test_the_lock_has_all_that_is_pinned_but_torch_at_the_same_version():
    locked = {canonicalize_name(name): version for name, version in (key.split("==") for key in LOCK)}
    assert {name: pin for name, pin in PINS.items() if locked.get(name) != pin} == {name: PINS[name] for name in BUILDS}
    needed = {canonicalize_name(requirement.name) for requirement in asked()} - BUILDS - {"udulib"}
    assert needed <= set(locked)


def test_each_locked_package_has_hashes_and_names_no_host():
    for key, entry in LOCK.items():
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), key
        assert "://" not in entry and "@" not in entry, key


def test_what_is_installed_here_is_locked_with_all_that_it_asks_for():
    """Without --no-deps pip would look for nothing more, on this platform at least."""
    locked = {canonicalize_name(key.split("==")[0]) for key in LOCK} | {"torch"}
    for name in sorted(locked):
        try:
            asked_for = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, asked_for):
            here = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            gpu = name == "torch" and re.match("nvidia|cuda|triton", requirement.name)
            assert not here or gpu or canonicalize_name(requirement.name) in locked, f"{name} asks for {requirement}"


PERMISSIVE = {  # all may be combined with MIT; the MPL asks that changes of its own files stay open, and there are none
    *("MIT", "MIT License", "MIT-CMU", "MIT-0", "BSD", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "ISC"),
    *(
        "ISC License (ISCL)",
        "Apache-2.0",
        "Apache Software License",
        "Apache 2.0",
        "Apache 2.0 License",
        "Zlib",
        "CC0-1.0",
    ),
    *("Apache License 2.0", "Apache License, Version 2.0", "Apache-2.0 WITH LLVM-exception", "BSL-1.0", "CNRI-Python"),
    *("Python Software Foundation License", "PSF-2.0", "Public Domain", "Unlicense", "MPL-2.0", "HPND"),
    *("Mozilla Public License 2.0 (MPL 2.0)", "BSD 3-Clause", "3-Clause BSD License", "new BSD"),
}


@pytest.mark.parametrize("name", sorted(PINS))
def test_licences_can_be_combined_with_ours(name):
    """Each part of what a package states is permissive, or one of alternatives (docutils: its GPL part is Emacs's)."""
    stated = dist.licence(name)
    if stated is None:
        pytest.skip("not installed here")
    alternatives = [stated.removeprefix("(").removesuffix(")")] if " AND " in stated else stated.split(" OR ")
    assert any(set(part.split(" AND ")) <= PERMISSIVE for part in alternatives), stated


def test_the_bill_of_materials_lists_what_is_locked():
    bill = dist.sbom((ROOT / "requirements.lock").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert [f"{part['name']}=={part['version']}" for part in bill["components"]] == list(LOCK)
    assert all(part["purl"] == f"pkg:pypi/{part['name']}@{part['version']}" for part in bill["components"])
    assert len({part["purl"] for part in bill["components"]}) == len(LOCK)


def test_lock_keeps_hashes_with_their_package_and_leaves_torch_out(tmp_path, monkeypatch):
    text = (
        "a==1 \\\n    --hash=sha256:0\ntorch==2 \\\n    --hash=sha256:1\nnvidia-x==3\ncupy-cuda13x==4\n"
        "b==4 ; m\n    --hash=sha256:2\n"
    )
    (tmp_path / "uv").write_text(f"#!/bin/sh\nprintf '%s' '{text}'\n")
    (tmp_path / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    lock.lock(Tree(tmp_path))
    kept = entries((tmp_path / "requirements.lock").read_text())
    assert [entry.split()[0] for entry in kept] == ["a==1", "b==4"] and "sha256:2" in kept[1]


@pytest.mark.slow
def test_what_is_built_twice_is_the_same_to_the_last_byte(tmp_path):
    """In two folders, at two times, from files of other dates and from an unpacked sdist."""
    made = []
    for place in ("one", "a folder with spaces, and é"):
        tree = Tree(tmp_path / place)
        for path in subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout.split(
            "\0"
        ):
            if path and (ROOT / path).is_file():
                (tree.root / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / path, tree.root / path)
                os.utime(tree.root / path, (1.7e9 + len(made), 1.7e9))
        made.append({path.name: path.read_bytes() for path in dist.build(tree, tree.root / "dist")})
    assert len(made[0]) == 2 and made[0] == made[1]


def test_a_wheel_holds_the_two_packages_and_nothing_else(tmp_path):
    dist.build(Tree(), tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert all(name.startswith(dist.WHEEL) for name in names)
    kinds = {Path(name).suffix for name in names}
    assert kinds <= {".py", ".yml", ".json", ".md", ".cu", ""}, "no data, no notebooks, nothing built"
    assert not any("__pycache__" in name or "/.part" in name for name in names)


# Workflows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_have_no_more_rights_than_they_need(name):
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {"contents": "read"}
    wider = {"deploy": {"pages": "write", "id-token": "write"}, "report": {"issues": "write"}}
    for job, about in workflow["jobs"].items():
        assert about.get("permissions") == wider.get(job)
        for step in about["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"]), "pinned by hash"
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False
    text = (ROOT / ".github" / "workflows" / name).read_text()
    assert "secrets." not in text and "pull_request_target" not in text, "a fork's code sees no secret"


# conda ----------------------------------------------------------------------------------------------------------------


def conda_specs():
    return [rattler.MatchSpec(line, strict=True) for line in CONDA["dependencies"] if isinstance(line, str)]


def conda_name(spec):
    return spec.name.normalized if hasattr(spec.name, "normalized") else str(spec.name)


def test_conda_pins_are_the_pinned_versions():
    for spec in conda_specs():
        name = re.search(r"[\w-]+", str(spec))[0]
        if name in ("python", "pip"):
            continue
        assert rattler.VersionSpec(str(spec.version)).matches(rattler.Version(PINS[PYPI_NAMES.get(name, name)])), name


def test_conda_has_all_that_the_library_needs():
    names = {re.search(r"[\w-]+", str(spec))[0] for spec in conda_specs()}
    assert {requirement.name for requirement in map(Requirement, PROJECT["dependencies"])} <= {
        PYPI_NAMES.get(name, name) for name in names
    }


def test_conda_python_is_one_that_the_project_takes():
    (python,) = [line for line in CONDA["dependencies"] if str(line).startswith("python=")]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python.split("=")[1])


def test_conda_leaves_the_rest_to_pip_and_the_constraints():
    (pip,) = [entry["pip"] for entry in CONDA["dependencies"] if isinstance(entry, dict)]
    assert pip == ["--constraint constraints.txt", "--editable .[companion,fast,lora,trainers,cluster,book,test]"]


def test_a_wrong_conda_spec_would_be_found():
    with pytest.raises(Exception, match="version spec"):
        rattler.MatchSpec("numpy>==1.2")
    assert not rattler.VersionSpec("2.4.5.*").matches(rattler.Version(PINS["numpy"]))


# README, citation ----------------------------------------------------------------------------------------------------


def test_readme_example_prints_what_it_says():
    example, expected = re.search(r"```python\n(.*?)```\s+```text\n(.*?)```", README, re.S).groups()
    assert len(example.splitlines()) <= 15
    run = subprocess.run([sys.executable, "-W", "error", "-c", example], capture_output=True, text=True, check=True)
    assert run.stdout == expected


def test_commands_that_pages_name_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    texts = [README, (ROOT / "CONTRIBUTING.md").read_text(), *(p.read_text() for p in (ROOT / "book").glob("*.md"))]
    named = {name for text in texts for name in re.findall(r"(?:`|\$ )make ([a-z-]+)", text)}
    assert named and named <= targets


def test_citation_has_the_present_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == udulib.__version__ == metadata.version("udulib")
    assert len(citation["references"]) == 2


# Workflows ------------------------------------------------------------------------------------------------------------


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_and_the_token_reads(name):
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {"contents": "read"}
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert used and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) for action in used)
    writes = {job: rights for job, found in workflow["jobs"].items() for rights in found.get("permissions", {}).items()}
    assert {rights for rights in writes.values()} <= {("pages", "write"), ("id-token", "write"), ("issues", "write")}
    for job in writes:  # what may write runs none of the repository's code
        assert not any("make" in step.get("run", "") for step in workflow["jobs"][job]["steps"])


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_install_through_make_alone(name):
    """Else one unpinned package makes everything red one day."""
    runs = "\n".join(step.get("run", "") for step in steps(WORKFLOWS[name]))
    assert not re.search(r"\b(pip|conda|uv|npm) ", runs)


def test_the_weekly_run_begins_with_nothing_and_reports_once():
    weekly = WORKFLOWS["weekly.yml"]
    assert weekly[True]["schedule"]  # YAML reads the key `on` as true
    assert not any("cache" in step.get("with", {}) for step in steps(weekly))
    report = weekly["jobs"]["report"]
    assert report["if"] == "failure()" and "gh issue list" in report["steps"][0]["run"]


def test_ci_calls_the_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    assert "$ make test " in README and re.search(r"^make test ", script, re.M)
    assert re.search(r"^make test-slow ", script, re.M) and "set -euo pipefail" in script
