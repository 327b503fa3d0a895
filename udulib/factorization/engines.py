"""Which engine a descent gets."""

import importlib.util
import math

import torch

from udulib.errors import InputError
from udulib.factorization.models import BM, UDU, UDV, UV
from udulib.problems import Completion, Ptychography, Sensing

ENGINES = ("auto", "loop", "numba", "fused", "graph")
LONG, LARGE = 1000, 1e8  # updates or multiplications, below both of which the loop is done before numba is loaded
SMALL = 1e10  # multiplications, which a core's kernel does in two seconds
SPARSE = 0.5  # share of known entries above which dense products are as fast
WIDEST = 512  # columns that a GPU's kernel holds
RECORDED = 500  # updates, below which recording them takes longer than doing them


def chosen(engine, problem, model, device, iterations, runs):
    """One of ``ENGINES``, as asked for or, for ``"auto"``, as is faster; an error where the asked one cannot."""
    if not isinstance(engine, str) or engine not in ENGINES:
        raise InputError(f"engine is one of {', '.join(ENGINES)}; got {engine!r}")
    obstacles = {"numba": _obstacle_to_numba, "fused": _obstacle_to_fused, "graph": _obstacle_to_graphs}
    if engine in obstacles and (obstacle := obstacles[engine](problem, model, device)):
        raise InputError(f"engine {engine!r} cannot do this descent: {obstacle}; use engine='auto'")
    if engine != "auto":
        return engine
    if device.type != "cuda":
        can = _pays(problem, model, iterations, runs) and not _obstacle_to_numba(problem, model, device)
        return "numba" if can else "loop"
    long = [name for name in ("fused", "graph") if not obstacles[name](problem, model, device)]
    return long[0] if long and (iterations >= RECORDED or _large(problem, model, iterations, runs)) else "loop"


def small(problem, model, iterations, runs):
    """Whether the CPU has done a descent before a GPU has begun: its kernels take about a second to start."""
    work = iterations * runs * problem.b.shape[-1] * model.rank
    return work <= SMALL and _obstacle_to_numba(problem, model, torch.device("cpu")) is None


def _obstacle_to_numba(problem, model, device):
    """What keeps this descent from the kernels, as a clause; None if nothing does."""
    if obstacle := _no_completion(problem, model):
        return obstacle
    if device.type != "cpu":
        return f"the device is {device}, not the CPU"
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed (pip install numba)"
    return _unknown(model)


def _obstacle_to_fused(problem, model, device):
    """What keeps this descent from the GPU's kernels, as a clause; None if nothing does."""
    if obstacle := _no_completion(problem, model):
        return obstacle
    if device.type != "cuda":
        return f"the device is {device}, not a CUDA GPU"
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed (pip install cupy-cuda13x, or cupy-cuda12x for CUDA 12)"
    if model.rank > WIDEST:
        return f"the rank is {model.rank}, above {WIDEST}"
    if 4 * math.prod(problem.b.shape) >= 2**31:
        return "there are too many entries for 32-bit numbers"
    return _unknown(model)


def _obstacle_to_graphs(problem, model, device):
    """What keeps this descent from a recorded graph, as a clause; None if nothing does."""
    if type(problem) not in (Completion, Sensing, Ptychography):  # another gradient may wait for the GPU
        return f"the problem is a {type(problem).__name__}, not a Completion, Sensing or Ptychography"
    return _unknown(model) if device.type == "cuda" else f"the device is {device}, not a CUDA GPU"


def _no_completion(problem, model):
    """What keeps this descent from any kernel of ours, as a clause; None if nothing does."""
    if type(problem) is not Completion:  # one derived from it may have another gradient
        return f"the problem is a {type(problem).__name__}, not a Completion"
    if problem.symmetric and not model.symmetric:
        return f"{type(model).__name__} makes a rectangular X while the problem is symmetric"
    return None


def _unknown(model):
    known = type(model) in (BM, UDU, UV, UDV)
    return None if known else f"the model is a {type(model).__name__}, not a BM, UDU, UV or UDV"


def _pays(problem, model, iterations, runs):
    long = iterations >= LONG or _large(problem, model, iterations, runs)
    return long and problem.b.shape[-1] <= SPARSE * math.prod(problem.shape)


def _large(problem, model, iterations, runs):
    return iterations * runs * problem.b.shape[-1] * model.rank >= LARGE
