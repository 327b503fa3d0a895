"""Which engine a descent gets."""

import importlib.util
import math

from udulib.errors import InputError
from udulib.models import BM, UDU, UDV, UV
from udulib.problems import Completion

ENGINES = ("auto", "loop", "numba")
WORTH_LOADING = 1000  # updates below which the loop is done before numba is loaded
SPARSE = 0.3  # share of known entries above which dense products are faster


def chosen(engine, problem, model, device, iterations):
    """``"loop"`` or ``"numba"``, as asked for or, for ``"auto"``, as is faster; an error where the asked one cannot."""
    if engine not in ENGINES:
        raise InputError(f"engine is one of {', '.join(ENGINES)}; got {engine!r}")
    if engine == "loop":
        return "loop"
    obstacle = _obstacle(problem, model, device)
    if engine == "numba" and obstacle:
        raise InputError(f"engine 'numba' cannot do this descent: {obstacle}; use engine='auto'")
    return "numba" if engine == "numba" or (not obstacle and _pays(problem, iterations)) else "loop"


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


def _pays(problem, iterations):
    known = problem.b.shape[-1] / math.prod(problem.shape)
    return iterations >= WORTH_LOADING and known <= SPARSE
