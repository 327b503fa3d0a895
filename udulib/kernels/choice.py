"""Which engine a descent gets."""

import importlib.util
import math

from udulib.errors import InputError
from udulib.models import BM, UDU, UDV, UV
from udulib.problems import Completion

ENGINES = ("auto", "loop", "numba")
LONG, LARGE = 1000, 1e8  # updates or multiplications, below both of which the loop is done before numba is loaded
SPARSE = 0.5  # share of known entries above which dense products are as fast


def chosen(engine, problem, model, device, iterations, runs):
    """``"loop"`` or ``"numba"``, as asked for or, for ``"auto"``, as is faster; an error where the asked one cannot."""
    if engine not in ENGINES:
        raise InputError(f"engine is one of {', '.join(ENGINES)}; got {engine!r}")
    if engine == "loop":
        return "loop"
    obstacle = _obstacle(problem, model, device)
    if engine == "numba" and obstacle:
        raise InputError(f"engine 'numba' cannot do this descent: {obstacle}; use engine='auto'")
    return "numba" if engine == "numba" or (not obstacle and _pays(problem, model, iterations, runs)) else "loop"


def _obstacle(problem, model, device):
    """What keeps this descent from the kernels, as a clause; None if nothing does."""
    if type(problem) is not Completion:  # one derived from it may have another gradient
        return f"the problem is a {type(problem).__name__}, not a Completion"
    if type(model) not in (BM, UDU, UV, UDV):
        return f"the model is a {type(model).__name__}, not a BM, UDU, UV or UDV"
    if problem.symmetric and not model.symmetric:
        return f"{type(model).__name__} makes a rectangular X while the problem is symmetric"
    if device.type != "cpu":
        return f"the device is {device}, not the CPU"
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed (pip install numba)"
    return None


def _pays(problem, model, iterations, runs):
    entries = problem.b.shape[-1]
    long = iterations >= LONG or iterations * runs * entries * model.rank >= LARGE
    return long and entries <= SPARSE * math.prod(problem.shape)
