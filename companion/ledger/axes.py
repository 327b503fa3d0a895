"""Axes: what changes where the same is measured under other conditions."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from companion.ledger.claims import Probe
from companion.ledger.pools import same
from companion.ledger.records import Record
from companion.ledger.shares import verdict


@dataclass(frozen=True)
class Comparison:
    """How the values and words of a run differ from those that were measured before.

    Attributes
    ----------
    probes : int
        How many were measured both times.
    paired : int
        How many of these have values of the same seeds.
    moved : dict of str to float
        Of the paired ones, those with a value that is not equal up to round-off, and their largest relative move.
    words : tuple of str
        Probes whose word is another: that of the same seeds where there are such, else that of all seeds.
    """

    probes: int
    paired: int
    moved: Mapping[str, float]
    words: tuple

    def as_json(self) -> dict:
        return asdict(self) | {"words": list(self.words)}


def compared(probes: Mapping[str, Probe], fresh: Iterable[Mapping], before: Iterable[Mapping]) -> Comparison:
    """Hold a run against what was measured before, probe by probe; both are records of one size, as JSON data.

    Examples
    --------
    >>> from companion.ledger import Band
    >>> probe = Probe("x", "01", "The rank is 3.", "rank", "always", "beyond", Band(equals=3), ("ci",))
    >>> known = {"id": "x", "size": "ci", "notebook": "01", "seeds": list(range(9)), "values": [3] * 9}
    >>> compared({"x": probe}, [known | {"seeds": list(range(5)), "values": [3, 3, 3, 3, 4]}], [known])
    Comparison(probes=1, paired=1, moved={'x': 0.25}, words=('x',))
    """
    before = {entry["id"]: entry for entry in before}
    both = [entry for entry in fresh if entry["id"] in before and entry["id"] in probes]
    paired, moved, words = 0, {}, []
    for entry in both:
        now, known = (Record.from_json(one, probes) for one in (entry, before[entry["id"]]))
        pairs = _pairs(now, known)
        paired += bool(pairs)
        if not all(same(value, other) for value, other in pairs):
            moved[now.id] = max(_move(value, other) for value, other in pairs)
        values, others = zip(*pairs, strict=True) if pairs else (now.values, known.values)
        band, kind = now.probe.expected, now.probe.kind
        if verdict(values, band, kind)[0] != verdict(others, band, kind)[0]:
            words.append(now.id)
    return Comparison(len(both), paired, moved, tuple(words))


def _pairs(now, known):
    """The values that belong together: those of one seed, or where there are no seeds those of one place."""
    if not now.seeds:
        return list(zip(now.values, known.values, strict=False))
    values = dict(zip(known.seeds, known.values, strict=True))
    return [(value, values[seed]) for seed, value in zip(now.seeds, now.values, strict=True) if seed in values]


def _move(value, other):
    """Relative difference; 1 where just one of the two is infinite."""
    if value == other:
        return 0.0
    largest = max(abs(value), abs(other))
    return abs(value - other) / largest if math.isfinite(largest) else 1.0
