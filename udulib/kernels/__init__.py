"""Fast paths that ``descend`` may take. Each gives what the plain loop gives, and none is needed for a correct answer.

==================  ====================================================================================
``gpu``             on a GPU: completion in kernels of its own, by CuPy
``graphs.py``       on a GPU: any problem, many steps recorded once, and replayed
``completion.py``   on the CPU: the runs of a batch over threads
``columns.py``      the columns that no longer matter, and the certificate that they never will
``layout.py``       the entries in the order in which the kernels read them
``steps.py``        the updates themselves, fused: numba
``blocks.py``       the same for problems larger than the caches
``vectors.py``      the vectors of numbers that they are written with
``denormals.py``    how the smallest numbers are flushed to zero meanwhile
==================  ====================================================================================

The last five need numba and are imported when a descent takes them.
"""

from udulib.kernels.completion import FusedSteps
from udulib.kernels.gpu import fused_steps
from udulib.kernels.graphs import GraphSteps

__all__ = ["FusedSteps", "GraphSteps", "fused_steps"]
