"""Records: what was measured for a claim, one value a seed."""

import html
import json
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from companion.ledger.claims import SIZES, Claim, verdict
from companion.ledger.numbers import parsed_number
from companion.ledger.show import VERDICTS, badge_html, number_text
from udulib.errors import InputError

SEEDS_NEEDED = 5  # a verdict never rests on one seed


@dataclass(frozen=True, repr=False)
class Record:
    """What one notebook measured for one claim at one size. A notebook cell that ends in it shows it as a badge.

    Parameters
    ----------
    claim : Claim
    size : {"ci", "book", "paper"}
    values : tuple
        One number, or one true or false, a seed.
    seeds : tuple of int
        As long as ``values``; empty where no seed is involved.
    published : dict of str to Record
        The published results of the other sizes, shown beside this one.

    Attributes
    ----------
    id, notebook : str
        The claim's.
    verdict : str
        Computed from ``values`` and ``claim.expected``.
    in_observed : bool or None
        Whether all values keep to ``claim.observed[size]``; None where that size has no band.

    Raises
    ------
    InputError
        Values that are not one finite or infinite number a seed, seeds given twice, or fewer than five for a
        statistical claim.

    Examples
    --------
    >>> from companion.ledger import load_claims
    >>> claim = load_claims()["a-udu-rank-eta"]
    >>> record = Record(claim, "ci", values=(3, 3, 3, 3, 3), seeds=(0, 1, 2, 3, 4))
    >>> record.verdict, record.value, record.count
    ('reproduced', '3', '5 seeds')
    """

    claim: Claim
    size: str
    values: tuple
    seeds: tuple = ()
    published: Mapping = field(default_factory=dict, compare=False)

    def __post_init__(self):
        claim = self.claim
        if claim.expected is None:
            raise InputError(f"{claim.id} is entered as not attempted; give it an expected band before it is recorded")
        if self.size not in SIZES:
            raise InputError(f"size is one of {', '.join(SIZES)}; got {self.size!r}")
        object.__setattr__(self, "values", _checked_values(claim, self.values))
        object.__setattr__(self, "seeds", _checked_seeds(claim, self.seeds, len(self.values)))

    @property
    def id(self) -> str:
        return self.claim.id

    @property
    def notebook(self) -> str:
        return self.claim.notebook

    @property
    def verdict(self) -> str:
        return verdict(self.values, self.claim.expected)

    @property
    def in_observed(self) -> bool | None:
        band = self.claim.observed.get(self.size)
        return None if band is None else all(value in band for value in self.values)

    @property
    def median(self) -> str:
        """The median over seeds, rounded for show; of yes and no, the commoner."""
        return number_text(_median(self.values))

    @property
    def range(self) -> str:
        """Smallest to largest over seeds, rounded for show."""
        low, high = number_text(min(self.values)), number_text(max(self.values))
        return low if low == high else f"{low} to {high}"

    @property
    def value(self) -> str:
        """Median and range over seeds; of yes and no, how often yes."""
        if self.claim.expected.truth:
            yes = sum(self.values)
            return self.median if yes in (0, len(self.values)) else f"yes in {yes} of {len(self.values)}"
        return self.median if self.median == self.range else f"{self.median} ({self.range})"

    @property
    def count(self) -> str:
        """On how many seeds it rests."""
        number, noun = len(self.values), "seed" if self.seeds else "run"
        return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

    def as_json(self) -> dict:
        """The record as plain JSON data; infinities become ``"inf"`` and ``"-inf"``, which JSON has no number for."""
        plain = [str(v) if isinstance(v, float) and math.isinf(v) else v for v in self.values]
        return {
            "id": self.id,
            "size": self.size,
            "notebook": self.notebook,
            "seeds": list(self.seeds),
            "values": plain,
            "verdict": self.verdict,
        }

    @classmethod
    def from_json(cls, entry: Mapping, claims: Mapping[str, Claim]) -> "Record":
        """The record that :meth:`as_json` wrote; its verdict is computed anew from today's claims."""
        try:
            claim, size, values, seeds = (entry[key] for key in ("id", "size", "values", "seeds"))
        except (KeyError, TypeError):
            raise InputError(f"a record has an id, a size, values and seeds; got {entry!r}") from None
        if claim not in claims:
            raise InputError(f"there is a record of {claim!r}, which claims.yml does not hold")
        return cls(claims[claim], size, tuple(parsed_number(v) for v in values), tuple(seeds))

    def _sentences(self):
        """Label and text of each line below the statement."""
        claim = self.claim
        said = [("stated" if claim.paper == "ours" else "paper", claim.stated)] if claim.stated else []
        yield [*said, ("expected", str(claim.expected)), ("ours", f"{self.value}, {self.count}, size {self.size}")]
        for size, other in self.published.items():
            yield [(f"published at size {size}", f"{other.verdict}, {other.value}, {other.count}")]
        if self.in_observed is False:
            yield [("outside the band of earlier runs", str(claim.observed[self.size]))]
        if claim.reason and self.verdict != "reproduced":
            yield [("why", claim.reason)]
        yield [("measured", claim.quantity)]

    def __repr__(self):
        lines = [" · ".join(f"{label}: {text}" for label, text in line) for line in self._sentences()]
        return "\n  ".join([f"{self.verdict}: {self.claim.statement} [{self.id}]", *lines])

    def _repr_markdown_(self):
        lines = [" · ".join(f"{label}: {text}" for label, text in line) for line in self._sentences()]
        sign, _ = VERDICTS[self.verdict]
        return "  \n".join([f"**{sign} {self.verdict}** — {self.claim.statement} (`{self.id}`)", *lines])

    def _repr_html_(self):
        colour = VERDICTS[self.verdict][1]
        lines = [" · ".join(f"<em>{label}:</em> {html.escape(t)}" for label, t in line) for line in self._sentences()]
        head = f"{badge_html(self.verdict)} — {html.escape(self.claim.statement)} <code>{self.id}</code>"
        style = f"border-left: 4px solid {colour}; padding: 0.1em 0.8em; margin: 0.5em 0"
        return f'<div class="udulib-record" style="{style}">{"<br>".join([head, *lines])}</div>'


def read_records(path) -> list[dict]:
    """The records of a run's JSON file, ``{"provenance": …, "records": […]}``, or of all such files in a folder.

    What does not exist holds no record.

    Examples
    --------
    >>> read_records("no/such/folder")
    []
    """
    path = Path(path)
    records = []
    for file in sorted(path.glob("*.json")) if path.is_dir() else [path] if path.is_file() else []:
        try:
            records += json.loads(file.read_text(encoding="utf-8"))["records"]
        except (json.JSONDecodeError, KeyError, TypeError):
            raise InputError(f"{file} is not a run's records (provenance and records as JSON); run it again") from None
    return records


def load_records(path, claims: Mapping[str, Claim]) -> dict[str, Record]:
    """The records of a file or folder by id, with today's verdicts; what no longer fits the claims is left out.

    (:func:`check` reports it; a notebook must still run, or it could never be published anew.)
    """
    records = {}
    for entry in read_records(path):
        try:
            record = Record.from_json(entry, claims)
        except InputError:
            continue
        records[record.id] = record
    return records


def _median(values):
    if all(isinstance(v, bool) for v in values):
        return 2 * sum(values) > len(values)
    ordered, middle = sorted(values), len(values) // 2
    if len(values) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def _checked_values(claim, values):
    array = np.atleast_1d(np.asarray(values))
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "biuf":
        raise InputError(
            f"{claim.id}: one number (or true or false) a seed is wanted, shape (seeds,); got shape {array.shape} of "
            f"{array.dtype}; reduce over the other axes first, for instance to the worst over step sizes"
        )
    if array.dtype.kind == "f" and np.isnan(array).any():
        where = np.flatnonzero(np.isnan(array)).tolist()
        raise InputError(f"{claim.id}: values {where} are NaN; record what the runs did do, or inf for never")
    if (array.dtype.kind == "b") != claim.expected.truth:
        wanted = "true or false" if claim.expected.truth else "a number"
        raise InputError(f"{claim.id}: {wanted} is wanted for each seed ({claim.quantity}); got {array.dtype}")
    return tuple(array.tolist())


def _checked_seeds(claim, seeds, count):
    try:
        seeds = tuple(operator.index(seed) for seed in seeds)
    except TypeError:
        raise InputError(f"{claim.id}: seeds are a sequence of whole numbers; got {seeds!r}") from None
    if len(set(seeds)) < len(seeds):
        raise InputError(f"{claim.id}: each seed counts once; got {seeds}")
    if seeds and len(seeds) != count:
        raise InputError(f"{claim.id}: one value a seed is wanted; got {count} values and {len(seeds)} seeds")
    if claim.kind == "statistical" and len(seeds) < SEEDS_NEEDED:
        raise InputError(
            f"{claim.id} is statistical and needs at least {SEEDS_NEEDED} seeds; got {len(seeds)}; run more"
        )
    return seeds
