r"""Completion on a GPU: steps fused into one pass over the entries, in CUDA C that is compiled when it is first needed.

==================  ====================================================================================
``fused.py``        which of the two below a descent gets
``blocks.py``       many small runs: a block of threads each, thousands of steps a launch
``rows.py``         large problems: the whole card goes over the rows of one step
``entries.py``      the entries in the order in which both read them
``launching.py``    CuPy: what the card has, how source becomes a kernel
``row.cu``          one step of one row, which both share
``blocks.cu``
``rows.cu``
==================  ====================================================================================
"""

from udulib.kernels.gpu.fused import fused_steps

__all__ = ["fused_steps"]
