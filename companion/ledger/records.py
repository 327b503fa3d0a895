"""Records: what was measured for a probe, one value a seed."""

import json
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from companion.ledger.claims import SIZES, Probe
from companion.ledger.numbers import parsed_number
from companion.ledger.shares import share_of, verdict
from companion.ledger.show import number_text
from udulib.errors import InputError

SEEDS_NEEDED = 5  # a verdict never rests on one seed


@dataclass(frozen=True)
class Record:
    """What was measured for one probe at one size: by one run, or by all of them together.

    Parameters
    ----------
    probe : Probe
    size : {"ci", "book", "paper"}
    values : tuple
        One number, or one true or false, a seed.
    seeds : tuple of int
        As long as ``values``; empty where no seed is involved.

    Attributes
    ----------
    id, notebook : str
        The probe's.
    verdict : str
        Computed from ``values`` and ``probe.expected``, see :func:`~companion.ledger.shares.verdict`.
    settled : bool
        Whether more seeds would hardly change it.

    Raises
    ------
    InputError
        Values that are not one finite or infinite number a seed, seeds given twice, or fewer than five for a claim
        that is about seeds.

    Examples
    --------
    >>> from companion.ledger import load_claims
    >>> probe = load_claims().probes["a-udu-rank-eta"]
    >>> record = Record(probe, "ci", values=(3, 3, 3, 3, 3), seeds=(0, 1, 2, 3, 4))
    >>> record.verdict, record.value, record.share
    ('reproduced', '3', '5 of 5')
    """

    probe: Probe
    size: str
    values: tuple
    seeds: tuple = ()

    def __post_init__(self):
        probe = self.probe
        if probe.expected is None:
            raise InputError(f"{probe.id} is entered as not attempted; give it an expected band before it is recorded")
        if self.size not in SIZES:
            raise InputError(f"size is one of {', '.join(SIZES)}; got {self.size!r}")
        object.__setattr__(self, "values", _checked_values(probe, self.values))
        object.__setattr__(self, "seeds", _checked_seeds(probe, self.seeds, len(self.values)))

    @property
    def id(self) -> str:
        return self.probe.id

    @property
    def notebook(self) -> str:
        return self.probe.notebook

    @property
    def verdict(self) -> str:
        return verdict(self.values, self.probe.expected, self.probe.kind)[0]

    @property
    def settled(self) -> bool:
        return verdict(self.values, self.probe.expected, self.probe.kind)[1]

    @property
    def share(self) -> str:
        """How many values lie in the band, such as ``19 of 20``."""
        return f"{sum(value in self.probe.expected for value in self.values)} of {len(self.values)}"

    @property
    def interval(self) -> str:
        """The exact 95 % interval of that share among all seeds."""
        found = share_of(self.values, self.probe.expected)
        return f"{found.low:.0%} to {found.high:.0%}"

    @property
    def median(self) -> str:
        """The median over seeds, rounded for show; of yes and no, the commoner."""
        return number_text(_median(self.values))

    @property
    def range(self) -> str:
        """Where the central nine tenths of the values lie, rounded for show; of a few seeds that is all of them."""
        ordered = sorted(self.values)
        cut = (len(ordered) - 1) // 20  # of each end; 5 % of the seeds, rounded down
        low, high = number_text(ordered[cut]), number_text(ordered[-1 - cut])
        return low if low == high else f"{low} to {high}"

    @property
    def value(self) -> str:
        """Median and range over seeds; of yes and no, the commoner."""
        if self.probe.expected.truth or self.median == self.range:
            return self.median
        return f"{self.median} ({self.range})"

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
    def from_json(cls, entry: Mapping, probes: Mapping[str, Probe]) -> "Record":
        """The record that :meth:`as_json` wrote; its verdict is computed anew from today's claims."""
        try:
            id, size, values, seeds = (entry[key] for key in ("id", "size", "values", "seeds"))
        except (KeyError, TypeError):
            raise InputError(f"a record has an id, a size, values and seeds; got {entry!r}") from None
        if id not in probes:
            raise InputError(f"there is a record of {id!r}, which no claim asks for")
        return cls(probes[id], size, tuple(parsed_number(v) for v in values), tuple(seeds))


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
            found = json.loads(file.read_text(encoding="utf-8"))["records"]
            if not all(_is_record(entry) for entry in found):
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(f"{file} is not a run's records (provenance and records as JSON); run it again") from None
        records += found
    return records


def _is_record(entry):
    """Whether an entry has the form that :meth:`Record.as_json` gives it; the claims decide whether it fits them."""
    seeds, values = entry["seeds"], entry["values"]
    return (
        isinstance(entry["id"], str)
        and len(seeds) in (0, len(values))
        and all(type(seed) is int for seed in seeds)
        and all(isinstance(parsed_number(value), float) or abs(value) < 2**63 for value in values)
    )


def _median(values):
    if all(isinstance(v, bool) for v in values):
        return 2 * sum(values) > len(values)
    ordered, middle = sorted(values), len(values) // 2
    if len(values) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def _checked_values(probe, values):
    array = np.atleast_1d(np.asarray(values))
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "biuf":
        raise InputError(
            f"{probe.id}: one number (or true or false) a seed is wanted, shape (seeds,); got shape {array.shape} of "
            f"{array.dtype}; reduce over the other axes first, for instance to the worst over step sizes"
        )
    if array.dtype.kind == "f" and np.isnan(array).any():
        where = np.flatnonzero(np.isnan(array)).tolist()
        raise InputError(f"{probe.id}: values {where} are NaN; record what the runs did do, or inf for never")
    if (array.dtype.kind == "b") != probe.expected.truth:
        wanted = "true or false" if probe.expected.truth else "a number"
        raise InputError(f"{probe.id}: {wanted} is wanted for each seed ({probe.quantity}); got {array.dtype}")
    return tuple(array.tolist())


def _checked_seeds(probe, seeds, count):
    try:
        seeds = tuple(operator.index(seed) for seed in seeds)
    except TypeError:
        raise InputError(f"{probe.id}: seeds are a sequence of whole numbers; got {seeds!r}") from None
    if len(set(seeds)) < len(seeds):
        raise InputError(f"{probe.id}: each seed counts once; got {seeds}")
    if seeds and len(seeds) != count:
        raise InputError(f"{probe.id}: one value a seed is wanted; got {count} values and {len(seeds)} seeds")
    if probe.seeded and len(seeds) < SEEDS_NEEDED:
        wanted = f"is about seeds and needs at least {SEEDS_NEEDED} of them"
        raise InputError(f"{probe.id} {wanted}; got {len(seeds)}; run more")
    return seeds
