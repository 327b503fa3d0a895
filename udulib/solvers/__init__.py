"""What a user would take instead of UDU, one file a method, and the recipe that joins UDU with least squares."""

from udulib.solvers.completion import *  # noqa: F403
from udulib.solvers.phase_retrieval import *  # noqa: F403
