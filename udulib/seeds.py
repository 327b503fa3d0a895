"""Independent random streams: one for each purpose and seed, so that a problem and a start never share numbers."""

import os

import numpy as np

from udulib.checks import numeric_array
from udulib.errors import InputError


def seeds_array(seed):
    """``seed`` as an array of non-negative integers."""
    seeds = numeric_array("seed", seed)
    if seeds.dtype.kind not in "iu" or (seeds < 0).any() or not seeds.size:
        raise InputError(f"seed is a non-negative integer, or an array of such; got {seed!r}")
    return seeds


def generator(purpose, seed):
    """The NumPy generator of ``purpose`` (a word) for ``seed``.

    Examples
    --------
    >>> float(generator("start", 0).random()) == float(generator("problem", 0).random())
    False
    """
    seed = seeds_array(seed)
    if seed.ndim:
        raise InputError(f"seed is one non-negative integer here; got shape {seed.shape}")
    return np.random.default_rng([int(seed), *purpose.encode()])


def jittered(start, seed):
    """A random start as it is; or, for tests of what may hang on round-off, with each entry moved by a hair.

    Where the environment variable ``UDULIB_JITTER`` is set, each entry is multiplied by 1 + ``UDULIB_JITTER`` times a
    normal number, drawn by ``UDULIB_JITTER_SEED`` and ``seed``. What such a hair decides, another
    processor decides too.

    Examples
    --------
    >>> jittered(np.ones(2), seed=0).round(6)
    array([1., 1.])
    """
    size = float(os.environ.get("UDULIB_JITTER") or 0.0)
    if not size:
        return start
    rng = generator(f"jitter {os.environ.get('UDULIB_JITTER_SEED', '0')}", seed)
    return start * (1 + size * rng.standard_normal(start.shape))
