"""A sweep gives what the plain loop over its settings gives, whatever is killed, and computes nothing twice."""

import functools
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import udulib as ul
from udulib import sweep
from udulib.sweep import content as content_of
from udulib.sweep import executors
from udulib.sweep.content import content, made_of

HERE = Path(__file__).parent  # processes of their own import this file: it needs nothing of the other tests
ROOT = HERE.parents[1]


def normal(seed, log=None):
    """Some numbers that depend on every bit of the seed; the call leaves a line in the log."""
    if log is not None:
        with open(log, "a") as file:
            file.write(f"{seed}\n")
    return np.random.default_rng(seed).standard_normal(50)


def reciprocal(x):
    return 1 / x


def dies(seed):
    if seed == 3:
        os._exit(1)
    return seed, os.getpid()


def hangs_once(seed, marker):
    """The first call with seed 20 writes its process's number and never returns."""
    if seed == 20 and not Path(marker).exists():
        Path(f"{marker}.part").write_text(str(os.getpid()))
        Path(f"{marker}.part").rename(marker)
        time.sleep(600)
    time.sleep(0.01)
    return normal(seed)


@pytest.fixture
def run(tmp_path):
    """A sweep in a store of its own, by two threads."""
    with ThreadPoolExecutor(2) as threads:
        yield functools.partial(sweep.run, executor=threads, store=tmp_path / "store", progress=False)


def same(results, expected):
    return [np.asarray(a).tobytes() for a in results] == [np.asarray(b).tobytes() for b in expected]


def test_results_come_in_order_and_bit_for_bit(run):
    settings = sweep.grid(seed=range(20))
    first, again = run(normal, settings), run(normal, reversed(settings))
    assert same(first.results, [normal(**setting) for setting in settings])
    assert same(first.results, reversed(again.results))
    assert (len(first.computed), again.computed) == (20, ())
    assert first.settings == tuple(settings) and repr(again) == "Sweep(settings=20, computed=0, failures=0)"


def test_only_what_is_new_is_computed_and_each_setting_once(run, tmp_path):
    log = str(tmp_path / "log")
    run(normal, sweep.grid(seed=[1, 2, 2, 1], log=[log]))
    found = run(normal, sweep.grid(seed=[3, 2, 1], log=[log]))
    assert found.computed == (0,)
    assert sorted(Path(log).read_text().split()) == ["1", "2", "3"]


def test_a_failure_is_reported_and_the_others_go_on(run, capfd):
    found = run(reciprocal, sweep.grid(x=[2, 0, 4]))
    assert found.results == (0.5, None, 0.25)
    assert list(found.failures) == [1] and "ZeroDivisionError" in found.failures[1]
    assert run(reciprocal, sweep.grid(x=[2, 0, 4]), progress=True).computed == ()  # and tried again in vain
    assert "failed=1" in capfd.readouterr().err


def generator(n):
    return (k for k in range(n))


def test_what_cannot_be_sent_back_is_a_failure(run):
    assert "cannot pickle" in run(generator, [{"n": 3}]).failures[0]


@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:40] + b"?" + b[41:]])
def test_a_file_that_is_not_whole_counts_for_nothing(run, tmp_path, spoil):
    run(normal, sweep.grid(seed=range(3)))
    path = sorted((tmp_path / "store").iterdir())[1]
    path.write_bytes(spoil(path.read_bytes()))
    found = run(normal, sweep.grid(seed=range(3)))
    assert len(found.computed) == 1 and same(found.results, map(normal, range(3)))


def test_a_kept_result_says_what_it_is_of(run, tmp_path):
    run(reciprocal, [{"x": 4}])
    (path,) = (tmp_path / "store").iterdir()
    with path.open("rb") as file:
        assert pickle.load(file) == ({"x": 4}, 0.25)


def test_what_a_kill_left_half_written_is_removed_in_the_end(run, tmp_path):
    run(reciprocal, [{"x": 4}])
    old, new = (tmp_path / "store" / f".{name}.1.part" for name in ("old", "new"))
    for part in (old, new):
        part.touch()
    os.utime(old, (0, 0))
    run(reciprocal, [{"x": 4}])
    assert new.exists() and not old.exists()


# Content --------------------------------------------------------------------------------------------------------------

DIFFERENT = [
    {"x": 1},
    {"x": 1.0},
    {"x": True},
    {"x": "1"},
    {"x": None},
    {"y": 1},
    {"x": (1,)},
    {"x": [1]},
    {"x": np.float64(1)},
    {"x": np.float32(1)},
    {"x": np.ones(1)},
    {"x": np.ones((1, 1))},
    {"x": ul.UDU(1)},
    {"x": ul.UDU(1, radius=2.0)},
    {"x": ul.UDV(1)},
    {"x": ul.UDV},
    {"x": Path("1")},
    {"x": {"a": 1, "b": 2}},
    {"x": {"a": 2, "b": 1}},
    {"x": np.nextafter(1.0, 2)},
]


def test_content_tells_settings_apart():
    assert len({content(setting) for setting in DIFFERENT}) == len(DIFFERENT)


def test_content_is_that_of_equals():
    assert content({"a": np.arange(6.0).reshape(2, 3), "b": 1}) == content(
        {"b": 1, "a": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    )


def test_content_is_the_same_in_another_process():
    """Nothing in it depends on where things lie in memory, or on how strings are hashed there."""
    code = "from udulib import UDU; from udulib.sweep.content import content; "
    code += "print(content({'m': UDU(3, radius=2.0), 'a': [1, 'b', 2.5]}))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert shown == content({"m": ul.UDU(3, radius=2.0), "a": [1, "b", 2.5]})


def module_with(text, name="written"):
    """A function ``work`` out of a module with this text."""
    import linecache

    linecache.cache[f"{name}.py"] = (len(text), None, text.splitlines(True), f"{name}.py")
    namespace = {"__name__": name}
    exec(compile(text, f"{name}.py", "exec"), namespace)
    return namespace["work"]


def test_another_function_or_library_is_another_content(run, monkeypatch):
    settings = [{"x": 3}]
    assert run(module_with("def work(x): return x + 1"), settings).computed == (0,)
    assert run(module_with("def work(x): return x + 1"), settings).computed == ()
    assert run(module_with("def work(x): return x + 2"), settings).results == (5,)
    assert run(functools.partial(module_with("def work(x, n): return x + n"), n=3), settings).results == (6,)
    assert run(functools.partial(module_with("def work(x, n): return x + n"), n=4), settings).results == (7,)
    monkeypatch.setattr(content_of, "library", lambda: "of another day")
    assert run(module_with("def work(x): return x + 1"), settings).computed == (0,)


def test_what_a_function_uses_of_its_module_is_part_of_it(run):
    text = "{}\ndef help(x): return {}\ndef work(x): return GAIN * help(x)"
    settings = [{"x": 3}]
    assert run(module_with(text.format("GAIN = 2", "x")), settings).results == (6,)
    assert run(module_with(text.format("GAIN = 2", "x")), settings).computed == ()
    assert run(module_with(text.format("GAIN = 10", "x")), settings).results == (30,)
    assert run(module_with(text.format("GAIN = 2", "x + 1")), settings).results == (8,)


def test_functions_that_call_each_other_have_a_content():
    text = "def help(x): return work(x - 1)\ndef work(x): return x and help(x)"
    assert made_of(module_with(text)) != made_of(module_with(text.replace("x - 1", "x - 2")))
    assert made_of(module_with(text)) == made_of(module_with(text))


def test_an_axis_is_a_sequence():
    with pytest.raises(ul.InputError, match=r"seed=5 \(write seed=\[5\]\)"):
        sweep.grid(seed=5)


def test_a_worker_with_another_udulib_is_found_out():
    library, own = made_of(reciprocal)
    assert "another udulib" in executors.attempt(reciprocal, {"x": 1}, ("another", own))[1]
    assert "another reciprocal" in executors.attempt(reciprocal, {"x": 1}, (library, "another"))[1]
    assert executors.attempt(reciprocal, {"x": 1}, (library, own))[1] is None


def closed_over(n):
    def add(x):
        return x + n

    return add


def nested():
    def add(x):
        return x + 1

    return add


@pytest.mark.parametrize(
    ("function", "settings", "message"),
    [
        (reciprocal, [3], "a setting is a dict of keyword arguments; got 3"),
        (reciprocal, [{"x": object()}], "a setting holds numbers, texts"),
        (reciprocal, [{"x": np.array([object()])}], "a setting holds numbers, texts"),
        (reciprocal, [{"x": np.ma.array([1.0], mask=[True])}], "a setting holds numbers, texts"),
        (module_with("KEPT = object()\ndef work(x): return KEPT"), [{"x": 1}], "work uses KEPT, whose content cannot"),
        (closed_over(3), [{"x": 1}], "uses no variables around it was wanted; got .*add"),
        (lambda x: x, [{"x": 1}], "written with def"),
        (ul.UDU, [{"rank": 1}], "written with def"),
        (nested(), [{"x": 1}], "other processes cannot import nested.<locals>.add"),
    ],
)
def test_errors_say_what_to_do(tmp_path, function, settings, message):
    with pytest.raises(ul.InputError, match=message):
        sweep.run(function, settings, store=tmp_path, progress=False)


# What is killed -------------------------------------------------------------------------------------------------------

# Loads udulib once; each run of the sweep is a process forked from here.
KILLED = """
import json, os, random, signal, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path[:0] = [sys.argv[1], sys.argv[1] + "/udulib"]
from test_sweep import slowly, sweep

store, log, count = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
settings, moment = sweep.grid(seed=range(count), log=[log]), random.Random(0)

def stored():
    return sorted(path.name for path in store.glob("*.pickle"))

def run():
    with ThreadPoolExecutor(2) as threads:
        return sweep.run(slowly, settings, threads, store=store, progress=False)

moments = []
for _ in range(10):
    goal = len(stored()) + moment.randint(0, 8)
    process = os.fork()
    if not process:
        run()
        os._exit(0)
    while len(stored()) < goal:
        time.sleep(0.001)
    time.sleep(moment.uniform(0, 0.01))
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    moments.append({"stored": stored(), "begun": len(Path(log).read_text().split()) if Path(log).exists() else 0})
print(json.dumps({"moments": moments, "results": [result.tolist() for result in run().results]}))
"""


def slowly(seed, log):
    time.sleep(0.004)
    return normal(seed, log)


def test_a_sweep_goes_on_after_kill_9(tmp_path):
    """At ten moments; nothing that was stored is computed again, and the results are those of the plain loop."""
    store, log, count = tmp_path / "store", tmp_path / "log", 200
    command = [sys.executable, "-c", KILLED, HERE, store, log, str(count)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["results"] == [normal(seed).tolist() for seed in range(count)]
    begun = [int(seed) for seed in log.read_text().split()]
    seed_of = {path.name: pickle.loads(path.read_bytes())[0]["seed"] for path in store.glob("*.pickle")}
    assert sorted(seed_of.values()) == list(range(count))
    assert 0 < len(found["moments"][-1]["stored"]) < count
    for moment in found["moments"]:
        before = {seed_of[name] for name in moment["stored"]}
        assert not before & set(begun[moment["begun"] :])


@pytest.mark.slow
def test_a_process_that_dies_costs_its_setting_alone(tmp_path):
    """By default: on processes of their own. The others' results are there, from more than one process."""
    found = sweep.run(dies, sweep.grid(seed=range(8)), store=tmp_path, progress=False)
    assert list(found.failures) == [3] and "terminated abruptly" in found.failures[3]
    seeds, processes = zip(*(result for result in found.results if result), strict=True)
    assert seeds == (0, 1, 2, 4, 5, 6, 7) and os.getpid() not in processes


ORPHANS = """
import sys

sys.path[:0] = [sys.argv[1], sys.argv[1] + "/udulib"]
from test_sweep import hangs_once, sweep

if __name__ == "__main__":
    sweep.run(hangs_once, sweep.grid(seed=[20], marker=[sys.argv[3]]), store=sys.argv[2], progress=False)
"""


def alive(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to see which processes are there")
def test_a_killed_sweep_leaves_no_process_behind(tmp_path):
    script, marker = tmp_path / "script.py", tmp_path / "marker"
    script.write_text(ORPHANS)
    parent = subprocess.Popen([sys.executable, script, HERE, tmp_path / "store", marker])
    wait(marker.exists)
    worker = int(marker.read_text())
    assert worker != parent.pid and alive(worker)
    parent.kill()
    parent.wait()
    wait(lambda: not alive(worker))


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(HERE)!r})\nimport test_sweep as t\n")
    with script.open("a") as file:
        file.write(f"t.sweep.run(t.normal, [dict(seed=1)], store={str(tmp_path)!r}, progress=False)\n")
    run = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert run.returncode and "below if __name__ == '__main__'" in run.stderr.splitlines()[-1]


@pytest.fixture
def cluster(tmp_path):
    """Dask's scheduler and two workers, each a process of its own; gives the client and the workers' processes."""
    distributed = pytest.importorskip("distributed", reason="needs dask and distributed")
    address = tmp_path / "scheduler.json"
    path = os.pathsep.join(str(ROOT / folder) for folder in ("", "tests", "tests/udulib"))
    environment = dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS="1")
    shared = ["--scheduler-file", address, "--no-dashboard"]

    def start(*command):
        command = [sys.executable, "-m", "dask", *command, *shared]
        return subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL)

    scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0")
    workers = [start("worker", "--nthreads", "1", "--no-nanny", "--local-directory", tmp_path) for _ in range(2)]
    try:
        wait(address.exists)
        with distributed.Client(scheduler_file=str(address), set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
            yield client, workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


@pytest.mark.slow
def test_dask_goes_on_without_a_worker_that_is_killed(tmp_path, cluster):
    client, workers = cluster
    marker, settings = tmp_path / "marker", sweep.grid(seed=range(40), marker=[str(tmp_path / "marker")])

    def kill():
        wait(marker.exists)
        (victim,) = [worker for worker in workers if worker.pid == int(marker.read_text())]
        victim.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    found = sweep.run(hangs_once, settings, client.get_executor(), store=tmp_path / "store", progress=False)
    killer.join()
    assert len(client.scheduler_info()["workers"]) == 1
    assert not found.failures and same(found.results, [normal(setting["seed"]) for setting in settings])
    assert sweep.run(hangs_once, settings, store=tmp_path / "store", progress=False).computed == ()


@pytest.mark.slow
def test_dask_reports_a_failure_and_goes_on(tmp_path, cluster):
    client, _ = cluster
    found = sweep.run(reciprocal, sweep.grid(x=[2, 0, 4]), client.get_executor(), store=tmp_path, progress=False)
    assert found.results == (0.5, None, 0.25) and "ZeroDivisionError" in found.failures[1]
