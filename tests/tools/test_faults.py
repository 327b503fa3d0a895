"""What happens to builds: processes killed, files spoiled, disks full. Then nothing false counts, and nothing is lost.

Each moment is drawn anew from a fixed stream; ``UDULIB_FAULTS=20`` draws twenty of each kind (``make faults``).
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, TINY, add_notebook

from tools import execute, run, store
from tools.tree import ToolError, Tree, write_whole

TIMES = int(os.environ.get("UDULIB_FAULTS", "1"))
MOMENTS = random.Random(0)

STEPS = TINY.replace(
    '# %% tags=["nbval',
    """# %%
import time

for _ in range(20):
    time.sleep(0.02)

# %% tags=["nbval""",
)


def command(tree, *more):
    return [sys.executable, "-m", "tools.run", "--root", tree.root, "--size", "ci", "--device", "cpu", *more]


def started(tree, **more):
    return subprocess.Popen(
        command(tree), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more
    )


def children(process):
    """The numbers of all processes below one."""
    found = []
    for path in (p for p in os.listdir("/proc") if p.isdigit()):
        try:
            with open(f"/proc/{path}/stat") as file:
                parent = int(file.read().rsplit(")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == process:
            found += [int(path), *children(int(path))]
    return found


def is_kernel(process):
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:
            return b"ipykernel" in file.read()
    except (FileNotFoundError, ProcessLookupError):
        return False


def whole(tree):
    """Every result that counts is that of an undisturbed run."""
    for name in tree.names():
        made = store.fresh(tree, name, "ci", "cpu")
        assert made is None or [record["values"] for record in made["records"]] == [[3]]
    return [name for name in tree.names() if store.fresh(tree, name, "ci", "cpu")]


def the_next_run_is_right(tree):
    done = subprocess.run(command(tree), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert whole(tree) == tree.names()
    assert not list(tree.executed("ci", "_").parent.glob("*.failed.ipynb"))


@pytest.fixture
def steps(tree):
    add_notebook(tree.root, "02_two", STEPS)
    return tree


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs /proc to see which processes are there")
@pytest.mark.parametrize("victim", ["runner", "kernel"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_killed_at_any_moment(steps, victim, number):
    """The next run does what is missing. A kernel that dies is a failed notebook, and the runner says so."""
    for _ in range(TIMES):
        write_whole(steps.root / "udulib" / "changed.py", "")
        runner = started(steps, start_new_session=True)
        time.sleep(MOMENTS.uniform(0.5, 6.0))
        kernels = [process for process in children(runner.pid) if is_kernel(process)]
        for process in kernels[:1] if victim == "kernel" else [runner.pid]:
            os.kill(process, number)
        said, _ = runner.communicate(timeout=120)
        assert "Traceback" not in said.replace("Traceback (most recent call last)", "", said.count("Error")), said
        whole(steps)
    the_next_run_is_right(steps)


@pytest.mark.slow
def test_two_runs_at_once_end_in_whole_results(steps):
    for _ in range(TIMES):
        runners = [started(steps) for _ in range(2)]
        said = [runner.communicate(timeout=120)[0] for runner in runners]
        assert [runner.returncode for runner in runners] == [0, 0], said
        assert whole(steps) == steps.names()


@pytest.mark.slow
def test_a_full_disk_fails_the_notebook_with_a_sentence_and_leaves_nothing(tree):
    """Files cannot grow beyond some kilobytes: what is written then fails in the middle, as on a full disk."""

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    done = subprocess.run(command(tree), cwd=ROOT, capture_output=True, text=True, preexec_fn=full)
    assert done.returncode == 1 and "File too large" in done.stderr and "2 of 2 notebooks failed" in done.stderr
    assert whole(tree) == []
    the_next_run_is_right(tree)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "DeadKernelError"),  # as where memory runs out
        ("import time\ntime.sleep(600)", "CellTimeoutError"),
        ("import os\nos._exit(0)", "DeadKernelError"),
    ],
    ids=["dies", "hangs", "leaves"],
)
def test_a_notebook_that_dies_or_hangs_has_failed(tree, monkeypatch, cell, words):
    monkeypatch.setitem(execute.CELL_SECONDS, "ci", 3)
    monkeypatch.setenv("UDULIB_RECORDS", "")
    add_notebook(tree.root, "01_one", TINY.replace('# %% tags=["nbval', f'# %%\n{cell}\n\n# %% tags=["nbval'))
    with pytest.raises(ToolError, match=f"01_one failed: {words}"):
        execute.execute(tree, "01_one", "ci", "cpu")
    assert whole(tree) == []


def test_a_notebook_may_warn(tree, monkeypatch):
    monkeypatch.setenv("UDULIB_RECORDS", "")
    text = TINY.replace('# %% tags=["nbval', "# %%\nimport warnings\nwarnings.warn('x')\n\n# %% tags=[\"nbval")
    add_notebook(tree.root, "01_one", text)
    execute.execute(tree, "01_one", "ci", "cpu")
    assert whole(tree) == ["01_one"]


SPOILED = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[: len(content) // 2],
    "a bit flipped": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "a bit flipped within": lambda content: content[:200] + bytes([content[200] ^ 4]) + content[201:],
    "zeros": lambda content: bytes(len(content)),
    "no text": lambda content: b"\xff\xfe" + content,
    "a list": lambda content: b"[1, 2]",
    "a number": lambda content: b"7",
    "nothing": lambda content: b"null",
    "another form": lambda content: b'{"key": 1, "provenance": [], "records": {}}',
    "deep": lambda content: b"[" * 100_000,
}


@pytest.mark.slow
def test_spoiled_results_do_not_count_and_are_made_anew(tree):
    """Each kind in each file; the run that follows brings back what was there."""
    run.run(tree, "ci", "cpu", jobs=2)
    files = [tree.executed("ci", "01_one"), tree.run_record("ci", "01_one")]
    contents = {path: path.read_bytes() for path in files}
    for path in files:
        for kind, spoil in SPOILED.items():
            path.write_bytes(spoil(contents[path]))
            assert whole(tree) == ["02_two"], f"{path.name} {kind}"
            assert run.last_duration(tree, "01_one", "ci") > 0
            path.write_bytes(contents[path])
    assert whole(tree) == tree.names()
    files[1].write_bytes(b"[1, 2]")
    the_next_run_is_right(tree)


@pytest.mark.slow
def test_a_path_with_spaces_and_other_letters_no_home_and_a_wrong_clock(tree, monkeypatch):
    place = Tree(tree.root.parent / "a folder, with é and 한글")
    tree.root.rename(place.root)
    monkeypatch.setenv("TINY_LOG", str(place.root / "log"))
    monkeypatch.delenv("HOME", raising=False)
    for path in place.root.rglob("*"):
        os.utime(path, (4e9, 4e9))  # in the year 2096
    the_next_run_is_right(place)
    record = json.loads(place.run_record("ci", "01_one").read_text())
    assert record["provenance"]["duration_seconds"] > 0
    place.root.rename(tree.root)
