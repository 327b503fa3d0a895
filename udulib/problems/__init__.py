"""Problems: what f is. One file a problem."""

from udulib.problems.base import Problem, stack
from udulib.problems.completion import Completion
from udulib.problems.planted import Truth, planted_completion, planted_sensing
from udulib.problems.sensing import Sensing

__all__ = ["Completion", "Problem", "Sensing", "Truth", "planted_completion", "planted_sensing", "stack"]
