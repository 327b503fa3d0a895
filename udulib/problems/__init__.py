"""Problems: what f is. One file a problem."""

from udulib.problems.base import Problem, stack
from udulib.problems.completion import Completion
from udulib.problems.planted import Truth, planted_completion, planted_sensing
from udulib.problems.planted_ptychography import ImageTruth, planted_ptychography
from udulib.problems.ptychography import Ptychography
from udulib.problems.sensing import Sensing

__all__ = [
    "Completion",
    "ImageTruth",
    "Problem",
    "Ptychography",
    "Sensing",
    "Truth",
    "planted_completion",
    "planted_ptychography",
    "planted_sensing",
    "stack",
]
