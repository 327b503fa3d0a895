"""UDU and UDV: matrix factorization whose low rank comes from the algorithm."""

import importlib

from udulib.errors import InputError
from udulib.factorization import (
    BM,
    UDU,
    UDV,
    UV,
    Plateau,
    Trace,
    descend,
    effective_rank,
    live_columns,
    numerical_rank,
    rank_plateau,
    singular_values,
    suggest_radius,
)
from udulib.problems import (
    Completion,
    ImageTruth,
    Problem,
    Ptychography,
    Sensing,
    Truth,
    planted_completion,
    planted_ptychography,
    planted_sensing,
    stack,
)

__version__ = "0.1.0"

__all__ = [
    "BM",
    "UDU",
    "UDV",
    "UV",
    "Completion",
    "ImageTruth",
    "InputError",
    "Plateau",
    "Problem",
    "Ptychography",
    "Sensing",
    "Trace",
    "Truth",
    "compress",
    "deep",
    "descend",
    "effective_rank",
    "fixed_points",
    "impute",
    "live_columns",
    "lora",
    "nn",
    "numerical_rank",
    "planted_completion",
    "planted_ptychography",
    "planted_sensing",
    "rank_plateau",
    "singular_values",
    "solvers",
    "stack",
    "suggest_radius",
    "sweep",
]

_ROOMS = ("compress", "deep", "fixed_points", "impute", "lora", "nn", "solvers", "sweep")  # loaded when they are used


def __getattr__(name):
    if name in _ROOMS:
        return importlib.import_module(f"udulib.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
