"""What decides a result is part of what it is kept under, wherever a function names it; what cannot be told is said."""

import functools
import importlib
import inspect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import udulib as ul
from udulib import sweep
from udulib.sweep.content import content, made_of

LOSS = """SCALE = 1.0
def loss(v): return SCALE * v * v
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes modules of a user's and imports them anew; gives the one that was written last."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.py").write_text(text)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield write
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def values(tmp_path):
    """The results of ``job`` for n = 3 and 4, by a sweep with one store."""

    def run(module):
        with ThreadPoolExecutor(1) as threads:
            found = sweep.run(module.job, sweep.grid(n=[3, 4]), threads, store=tmp_path / "store", progress=False)
        assert not found.failures, found.failures
        return found.results

    return run


JOBS = {  # each sums loss(v) over v = 0 ... n - 1, and names loss in another way
    "a loop": "def job(n):\n    total = 0\n    for v in range(n): total += loss(v)\n    return total",
    "a generator": "def job(n): return sum(loss(v) for v in range(n))",
    "a list": "def job(n): return sum([loss(v) for v in range(n)])",
    "a dict": "def job(n): return sum({v: loss(v) for v in range(n)}.values())",
    "a nested function": "def job(n):\n    def inner(v): return loss(v)\n    return sum(map(inner, range(n)))",
    "a lambda": "def job(n): return sum(map(lambda v: loss(v), range(n)))",
    "a nested class": (
        "def job(n):\n    class C:\n        def f(self, v): return loss(v)\n    return sum(map(C().f, range(n)))"
    ),
    "a comprehension two deep": "def job(n): return sum([sum([loss(u) for u in [v]]) for v in range(n)])",
    "a default": "def job(n, f=loss): return sum(f(v) for v in range(n))",
    "a partial": "import functools\nP = functools.partial(loss)\ndef job(n): return sum(P(v) for v in range(n))",
    "a lambda of the module": "L = lambda v: loss(v)\ndef job(n): return sum(L(v) for v in range(n))",
    "a list of functions": "FS = [loss]\ndef job(n): return sum(f(v) for f in FS for v in range(n))",
    "a cache": (
        "import functools\n@functools.lru_cache\ndef c(v): return loss(v)\n"
        "def job(n): return sum(c(v) for v in range(n))"
    ),
    "a cached job": "import functools\n@functools.lru_cache\ndef job(n): return sum(loss(v) for v in range(n))",
    "np.vectorize": "import numpy as np\nW = np.vectorize(loss)\ndef job(n): return float(W(np.arange(n)).sum())",
    "a decorator": (
        "import functools\ndef same(f):\n    @functools.wraps(f)\n    def g(*a, **k): return f(*a, **k)\n"
        "    return g\n@same\ndef job(n): return sum(loss(v) for v in range(n))"
    ),
    "a closure": (
        "def make(f):\n    def g(v): return f(v)\n    return g\nG = make(loss)\n"
        "def job(n): return sum(G(v) for v in range(n))"
    ),
    "a class": "class C:\n    def f(self, v): return loss(v)\ndef job(n): return sum(C().f(v) for v in range(n))",
    "a static method": (
        "class C:\n    @staticmethod\n    def f(v): return loss(v)\ndef job(n): return sum(C.f(v) for v in range(n))"
    ),
    "a property": (
        "class C:\n    v = 0\n    @property\n    def f(self): return loss(self.v)\ndef job(n):\n"
        "    total = 0\n    for v in range(n):\n        c = C(); c.v = v; total += c.f\n    return total"
    ),
    "a base class": (
        "class B:\n    def f(self, v): return loss(v)\nclass C(B): pass\n"
        "def job(n): return sum(C().f(v) for v in range(n))"
    ),
    "a dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    k: int = 1\n"
        "    def f(self, v): return loss(v)\ndef job(n): return sum(C().f(v) for v in range(n))"
    ),
    "an object": (
        "class C:\n    def __call__(self, v): return loss(v)\nF = C()\ndef job(n): return sum(F(v) for v in range(n))"
    ),
    "a bound method": (
        "class C:\n    def f(self, v): return loss(v)\nF = C().f\ndef job(n): return sum(F(v) for v in range(n))"
    ),
}
STEPS = [("1.0", "v * v", (5, 14)), ("1.0", "v ** 3", (9, 36)), ("50", "v ** 3", (450, 1800))]


@pytest.mark.parametrize("way", JOBS)
def test_a_change_of_what_is_used_is_seen_however_it_is_named(module, values, way):
    """The loss changes, then the number that it is scaled by: each time the results are those of today's code."""
    for scale, body, expected in STEPS:
        text = LOSS.replace("1.0", scale).replace("v * v", body) + JOBS[way]
        assert values(module(jobs=text)) == expected
    for scale, body, expected in STEPS:  # and what was computed then is found again
        found = module(jobs=LOSS.replace("1.0", scale).replace("v * v", body) + JOBS[way])
        assert values(found) == expected
        found = module(jobs=LOSS.replace("1.0", scale).replace("v * v", body) + "# another comment\n\n" + JOBS[way])
        assert values(found) == expected


NUMBA = """import numba
SCALE = 1.0
@numba.njit
def loss(v): return v * v
"""


@pytest.mark.parametrize(
    "job",
    [
        "@numba.njit\ndef job(n):\n    total = 0.0\n    for v in range(n): total += SCALE * loss(v)\n    return total",
        "def job(n): return sum(SCALE * loss(v) for v in range(n))",
        "@numba.vectorize\ndef f(v): return SCALE * loss(v)\ndef job(n): return sum(f(float(v)) for v in range(n))",
    ],
    ids=["job", "what it calls", "a ufunc"],
)
def test_numba_is_followed(module, values, job):
    pytest.importorskip("numba")
    for scale, body, expected in STEPS:
        assert values(module(jobs=NUMBA.replace("1.0", scale).replace("v * v", body) + job)) == expected


@pytest.mark.parametrize(
    "job",
    [
        "import lib\ndef job(n): return sum(lib.loss(v) for v in range(n))",
        "from lib import loss\ndef job(n): return sum(loss(v) for v in range(n))",
        "def job(n):\n    from lib import loss\n    return sum(loss(v) for v in range(n))",
        "def job(n):\n    import lib\n    return sum(lib.loss(v) for v in range(n))",
        "import lib\ndef job(n): return total(lib, n)\ndef total(m, n): return sum(m.loss(v) for v in range(n))",
        "import between\ndef job(n): return sum(between.lib.loss(v) for v in range(n))",
    ],
)
def test_other_modules_of_the_user_are_followed(module, values, job):
    for scale, body, expected in STEPS:
        lib = LOSS.replace("1.0", scale).replace("v * v", body)
        assert values(module(lib=lib, between="import lib\n", jobs=job)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "values = object()\ndef job(n): return len({n: n}.values())",  # what is used is an attribute of that name
        "size = object()\nimport numpy as np\nsum = object()\ndef job(n): return np.ones(n).sum() * np.ones(n).size",
        "real = object()\nclass C:\n    real = 2\ndef job(n): return C.real * n.real",
        "import logging\nLOG = logging.getLogger('x')\ndef job(n):\n    LOG.debug('at %d', n)\n    return n",
        "import numpy as np\ndef job(n): return float(np.linalg.norm(np.ones(n)))",
        "import torch\nDTYPE = torch.float64\ndef job(n): return float(torch.ones(n, dtype=DTYPE).sum())",
        "import enum\nclass E(enum.Enum):\n    A = 1\ndef job(n): return E.A.value + n",
        "from typing import NamedTuple\nclass P(NamedTuple):\n    x: int = 1\ndef job(n): return P(n).x",
    ],
)
def test_what_decides_nothing_or_can_be_told_is_no_reason_to_refuse(module, values, text):
    assert values(module(jobs=text)) == tuple(module(jobs=text).job(n) for n in (3, 4))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("F = object()\ndef job(n): return [F for _ in range(n)]", "job uses F, whose content cannot be told"),
        ("F = iter([1])\ndef loss(v): return next(F)\ndef job(n): return loss(n)", "loss uses F, whose content"),
        ("def job(n): return eval('n')", "job uses eval, and what is used through that cannot be followed; write it"),
        ("def job(n): return (lambda: globals()['job'])()", "uses globals, and what is used"),
        ("import importlib\ndef job(n): return importlib.import_module('lib')", "uses import_module, and what"),
        (
            "import torch\nNET = torch.nn.ReLU()\ndef job(n): return NET(n)",
            "job uses NET, whose content cannot be told",
        ),
        ("import numpy as np\nR = np.random.default_rng(0)\ndef job(n): return R.random()", "job uses R, whose"),
    ],
)
def test_what_cannot_be_followed_is_said(module, values, text, words):
    with pytest.raises(ul.InputError, match=words):
        values(module(lib="", jobs=text))


def test_classes_in_settings_are_told_by_what_they_do(module):
    one, same, other, constant = (
        content({"kind": module(jobs=f"class C:\n    k = {k}\n    def f(self): return {f}").C})
        for k, f in [(1, "2"), (1, "2"), (1, "3"), (2, "2")]
    )
    assert one == same and len({one, other, constant}) == 3


def test_the_book_s_own_experiments_are_told_by_their_package(tmp_path, monkeypatch):
    from companion.completion import ratings
    from udulib.sweep import content as content_of

    before = made_of(ratings.tune)
    real = content_of.library
    monkeypatch.setattr(content_of, "library", lambda name="udulib": name if name == "companion" else real(name))
    assert made_of(ratings.tune) != before and made_of(ratings.tune)[0] == before[0]


def test_content_does_not_depend_on_how_often_a_function_has_run(module):
    """Python rewrites the code of a function that is busy; what it does stays."""
    job = module(jobs=LOSS + JOBS["a generator"]).job
    before = made_of(job)
    for _ in range(1000):
        job(5)
    assert made_of(job) == before


def test_a_class_and_an_object_that_refer_to_each_other_have_a_content(module):
    text = "class C:\n    def f(self): return ME\nME = C()\nME.self = ME\ndef job(n): return ME.f() is ME"
    assert made_of(module(jobs=text).job) == made_of(module(jobs=text).job)


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import jobs
from udulib import sweep

if __name__ == "__main__":
    {change}
    found = sweep.run(jobs.job, sweep.grid(n=[3, 4]), store={store!r}, progress=False)
    print(found.results, *found.failures.values())
"""


@pytest.mark.slow
def test_a_variable_that_workers_do_not_see_is_found_out(tmp_path):
    """Set where the sweep is started, it is not set in processes that import the module anew."""
    (tmp_path / "jobs.py").write_text(LOSS + JOBS["a generator"])
    printed = []
    for change in ("pass", "jobs.SCALE = 50"):
        text = SCRIPT.format(folder=str(tmp_path), store=str(tmp_path / "store"), change=change)
        (tmp_path / "script.py").write_text(text)
        done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=True)
        printed.append(done.stdout)
    assert printed[0].strip() == "(5.0, 14.0)"
    assert "(None, None)" in printed[1] and "this worker has another job" in printed[1]


def test_sources_are_not_read(module, values, tmp_path):
    """A file that was edited, and not imported anew, does not yet decide anything."""
    first = module(jobs=LOSS + JOBS["a generator"])
    (tmp_path / "jobs.py").write_text("SCALE = 7\n")
    assert values(first) == (5, 14)
    assert inspect.isfunction(first.job) and values(module(jobs=LOSS + JOBS["a list"])) == (5, 14)


def test_partials_of_partials_and_keywords_are_told_apart():
    jobs = [functools.partial(np.full, 3), functools.partial(np.full, fill_value=3)]
    jobs += [functools.partial(jobs[0], dtype=float), functools.partial(jobs[0], dtype=int)]
    assert len({content(job) for job in jobs}) == len(jobs)
