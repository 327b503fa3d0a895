"""Which engine a descent gets."""

import importlib.util
import math

from udulib.errors import InputError
from udulib.factorization.models import BM, UDU, UDV, UV
from udulib.problems import Completion, Ptychography, Sensing

ENGINES = ("auto", "loop", "numba", "graph")
LONG, LARGE = 1000, 1e8  # updates or multiplications, below both of which the loop is done before numba is loaded
SPARSE = 0.5  # share of known entries above which dense products are as fast
RECORDED = 500  # updates, below which recording them takes longer than doing them


def chosen(engine, problem, model, device, iterations, runs):
    """``"loop"``, ``"numba"`` or ``"graph"``, as asked for or, for ``"auto"``, as is faster; an error where the asked
    one cannot."""
    if not isinstance(engine, str) or engine not in ENGINES:
        raise InputError(f"engine is one of {', '.join(ENGINES)}; got {engine!r}")
    if engine == "loop":
        return "loop"
    fast = engine if engine != "auto" else "graph" if device.type == "cuda" else "numba"
    obstacle = (_obstacle_to_graphs if fast == "graph" else _obstacle_to_numba)(problem, model, device)
    if engine == fast and obstacle:
        raise InputError(f"engine {engine!r} cannot do this descent: {obstacle}; use engine='auto'")
    pays = iterations >= RECORDED if fast == "graph" else _pays(problem, model, iterations, runs)
    return fast if engine == fast or (pays and not obstacle) else "loop"


def _obstacle_to_numba(problem, model, device):
    """What keeps this descent from the kernels, as a clause; None if nothing does."""
    if type(problem) is not Completion:  # one derived from it may have another gradient
        return f"the problem is a {type(problem).__name__}, not a Completion"
    if problem.symmetric and not model.symmetric:
        return f"{type(model).__name__} makes a rectangular X while the problem is symmetric"
    if device.type != "cpu":
        return f"the device is {device}, not the CPU"
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed (pip install numba)"
    return _unknown(model)


def _obstacle_to_graphs(problem, model, device):
    """What keeps this descent from a recorded graph, as a clause; None if nothing does."""
    if type(problem) not in (Completion, Sensing, Ptychography):  # another gradient may wait for the GPU
        return f"the problem is a {type(problem).__name__}, not a Completion, Sensing or Ptychography"
    return _unknown(model) if device.type == "cuda" else f"the device is {device}, not a CUDA GPU"


def _unknown(model):
    known = type(model) in (BM, UDU, UV, UDV)
    return None if known else f"the model is a {type(model).__name__}, not a BM, UDU, UV or UDV"


def _pays(problem, model, iterations, runs):
    entries = problem.b.shape[-1]
    long = iterations >= LONG or iterations * runs * entries * model.rank >= LARGE
    return long and entries <= SPARSE * math.prod(problem.shape)
