"""The same function over many settings: on all cores or a cluster, each result kept, so that a sweep can be resumed."""

from udulib.sweep.running import Sweep, grid, run

__all__ = ["Sweep", "grid", "run"]
