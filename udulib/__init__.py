"""UDU and UDV: matrix factorization whose low rank comes from the algorithm, and the experiments that test it."""

from udulib.errors import InputError

__version__ = "0.1.0"

__all__ = ["InputError"]
