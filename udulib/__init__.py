"""UDU and UDV: matrix factorization whose low rank comes from the algorithm, and the experiments that test it."""

import importlib

from udulib import deep, figures, fixed_points, phase, sweep
from udulib.descent import Trace, descend
from udulib.errors import InputError
from udulib.ledger import Ledger
from udulib.models import BM, UDU, UDV, UV
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
from udulib.spectra import effective_rank, numerical_rank, singular_values

__version__ = "0.1.0"

__all__ = [
    "BM",
    "UDU",
    "UDV",
    "UV",
    "Completion",
    "ImageTruth",
    "InputError",
    "Ledger",
    "Problem",
    "Ptychography",
    "Sensing",
    "Trace",
    "Truth",
    "compress",
    "data",
    "deep",
    "descend",
    "effective_rank",
    "figures",
    "fixed_points",
    "lora",
    "nn",
    "numerical_rank",
    "phase",
    "planted_completion",
    "planted_ptychography",
    "planted_sensing",
    "singular_values",
    "stack",
    "sweep",
]


_ON_DEMAND = ("compress", "data", "lora", "nn")  # only when used: `python -m udulib.data` runs one copy of it


def __getattr__(name):
    if name in _ON_DEMAND:
        return importlib.import_module(f"udulib.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
