"""Shares: how many seeds lie in a band, what that says of all seeds, and the word for it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from companion.ledger.bands import Band
from udulib.errors import InputError

BORDERS = (0.1, 0.9)  # shares at which the word changes
TAIL = 0.05  # of our values that lie outside their central 90 %, on either side
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Share:
    """How many seeds lie in a band, and what that says of all seeds.

    Attributes
    ----------
    inside, seeds : int
    low, high : float
        Exact 95 % interval of the share (Clopper and Pearson 1934).
    """

    inside: int
    seeds: int
    low: float
    high: float

    @property
    def word(self) -> str:
        """*reproduced* from nine tenths on, *differs* up to one tenth, *in part* between."""
        share = self.inside / self.seeds
        return "reproduced" if share >= BORDERS[1] else "differs" if share <= BORDERS[0] else "in part"

    @property
    def settled(self) -> bool:
        """Whether the interval lies on one side of both borders: more seeds would hardly change the word."""
        return not any(self.low < border < self.high for border in BORDERS)

    def __str__(self):
        return f"{self.inside} of {self.seeds}"


def share_of(values: Iterable, band: Band) -> Share:
    """The share of values in a band.

    Raises
    ------
    InputError
        No values.

    Examples
    --------
    >>> share = share_of([3] * 19 + [4], Band(equals=3))
    >>> print(share, share.word, share.settled)
    19 of 20 reproduced False
    >>> share_of([4] * 50, Band(equals=3)).settled
    True
    """
    return _share([value in band for value in values])


def _share(found):
    if not found:
        raise InputError("a share is that of one value at least; got none")
    k, n, tail = sum(found), len(found), (1 - CONFIDENCE) / 2
    low = 0.0 if k == 0 else _solved(lambda p: _binomial_tail(k, n, p) - tail)
    high = 1.0 if k == n else _solved(lambda p: tail - (1 - _binomial_tail(k + 1, n, p)))
    return Share(k, n, low, high)


def verdict(values: Iterable, band: Band, kind: str) -> tuple[str, bool]:
    """The word for what was measured, and whether more seeds would hardly change it.

    Of *always* and *typical* statements the word goes by the share of seeds in the band. A *number* of one instance is
    reproduced where its band meets the central nine tenths of ours, and differs elsewhere. A *theorem* holds for every
    value, or not. Without values nothing was attempted.

    Examples
    --------
    >>> verdict([3, 3, 4], Band(equals=3), "theorem")
    ('in part', True)
    >>> verdict([1.0, 2.0, 4.0, 8.0], Band(min=3, max=3.5), "number")
    ('reproduced', True)
    """
    values = list(values)
    if not values:
        return "not attempted", True
    if kind == "theorem":
        inside = sum(value in band for value in values)
        return ("reproduced" if inside == len(values) else "in part" if inside else "differs"), True
    if kind == "number":
        reached = ([band.side(value) <= 0 for value in values], [band.side(value) >= 0 for value in values])
        sides = [_share(found) for found in reached]
        met = all(side.inside / side.seeds >= TAIL for side in sides)
        return ("reproduced" if met else "differs"), not any(side.low < TAIL < side.high for side in sides)
    found = share_of(values, band)
    return found.word, found.settled


def _binomial_tail(k, n, p):
    """The chance of k or more of n."""
    return math.fsum(math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(k, n + 1))


def _solved(rising):
    """Where an increasing function on [0, 1] is zero."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
