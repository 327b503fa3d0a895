"""Bands: sets of accepted values."""

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass

from companion.ledger.numbers import parsed_number
from companion.ledger.show import number_text
from udulib.errors import InputError

_TESTS = {"equals": operator.eq, "above": operator.gt, "below": operator.lt, "min": operator.ge, "max": operator.le}


@dataclass(frozen=True)
class Band:
    r"""A set of accepted values: :math:`\{x : x = e\}` or an interval with open or closed, finite or missing ends.

    Parameters
    ----------
    equals : number or bool, optional
        The one accepted value. It stands alone.
    above, below : number, optional
        Ends that do not belong to the band.
    min, max : number, optional
        Ends that do.

    Raises
    ------
    InputError
        No bound, a bound that is not a number, or bounds that leave nothing.

    Examples
    --------
    >>> band = Band(min=1.5e4, max=6e4)
    >>> 3e4 in band, 7e4 in band
    (True, False)
    >>> print(band)
    1.5·10⁴ to 6·10⁴
    """

    equals: float | bool | None = None
    above: float | None = None
    below: float | None = None
    min: float | None = None
    max: float | None = None

    def __post_init__(self):
        if not self.bounds:
            raise InputError(f"a band needs at least one of {', '.join(_TESTS)}; got none")
        for word, bound in self.bounds.items():
            number = isinstance(bound, int | float) and not math.isnan(bound)
            if not number or (isinstance(bound, bool) and word != "equals"):
                raise InputError(f"a band's {word!r} is a number (or, for 'equals', true or false); got {bound!r}")
        if self.equals is not None and len(self.bounds) > 1:
            raise InputError(f"a band's 'equals' stands alone; got {self.bounds}")
        low = max(bound for bound in (self.above, self.min, -math.inf) if bound is not None)
        high = min(bound for bound in (self.below, self.max, math.inf) if bound is not None)
        if low > high or (low == high and (self.above == low or self.below == high)):
            raise InputError(f"no value lies in the band {self.bounds}; exchange or widen its ends")

    @property
    def bounds(self) -> dict:
        """The bounds that are set, by name."""
        return {word: getattr(self, word) for word in _TESTS if getattr(self, word) is not None}

    @property
    def truth(self) -> bool:
        """Whether the band is about a yes or no, not about a number."""
        return isinstance(self.equals, bool)

    def __contains__(self, value) -> bool:
        return all(_TESTS[word](value, bound) for word, bound in self.bounds.items())

    def side(self, value) -> int:
        """-1 below the band, 0 in it, 1 above."""
        if value in self:
            return 0
        low = next((getattr(self, word) for word in ("equals", "above", "min") if word in self.bounds), -math.inf)
        return -1 if value <= low else 1

    def __str__(self):
        if self.equals is not None:
            return number_text(self.equals)
        if set(self.bounds) == {"min", "max"}:
            return f"{number_text(self.min)} to {number_text(self.max)}"
        signs = {"above": ">", "below": "<", "min": "≥", "max": "≤"}
        return ", ".join(f"{signs[word]} {number_text(bound)}" for word, bound in self.bounds.items())

    @classmethod
    def parse(cls, mapping) -> "Band":
        """The band that a mapping describes; 1e-8, which YAML 1.1 takes for text, is a number here."""
        if not isinstance(mapping, Mapping) or not set(mapping) <= set(_TESTS):
            raise InputError(f"a band is a mapping with one or more of {', '.join(_TESTS)}; got {mapping!r}")
        return cls(**{word: parsed_number(bound) for word, bound in mapping.items()})
