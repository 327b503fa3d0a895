"""Independent random streams: one for each purpose and seed, so that a problem and a start never share numbers."""

import numpy as np

from udulib.errors import InputError


def seeds_array(seed):
    """``seed`` as an array of non-negative integers."""
    seeds = np.asarray(seed)
    if seeds.dtype.kind not in "iu" or (seeds < 0).any():
        raise InputError(f"seed is a non-negative integer, or an array of such; got {seed!r}")
    return seeds


def generator(purpose, seed):
    """The NumPy generator of ``purpose`` (a word) for ``seed``.

    Examples
    --------
    >>> float(generator("start", 0).random()) == float(generator("problem", 0).random())
    False
    """
    return np.random.default_rng([int(seed), *purpose.encode()])
