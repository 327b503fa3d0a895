"""The ledger: what the papers state, what was measured, and the verdict computed from the two.

A *claim* is one statement of a paper (or of ours) with the band of values that would confirm it. A *record* is what a
notebook measured for it, one value a seed. The verdict is never typed: every value inside the band is *reproduced*,
none is *differs*, some is *in part*, and nothing measured is *not attempted*.
"""

import html
import json
import math
import operator
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import yaml

from udulib.errors import InputError

SIZES = ("ci", "book", "paper")
KINDS = ("statistical", "deterministic", "theorem")
TEXTS = ("id", "where", "statement", "quantity", "notebook", "stated", "reason")
PAPERS = {"hou2025": "Hou et al.", "chou2024": "Chou et al.", "ours": "Ours"}
VERDICTS = {  # sign and colour; white text on each colour has a contrast of at least 4.5, on any page
    "reproduced": ("✓", "#1a7431"),
    "in part": ("◐", "#8a5a00"),
    "differs": ("✗", "#b3261e"),
    "not attempted": ("○", "#57606a"),
}
SEEDS_NEEDED = 5  # a verdict never rests on one seed

_TESTS = {"equals": operator.eq, "above": operator.gt, "below": operator.lt, "min": operator.ge, "max": operator.le}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


# What is claimed ------------------------------------------------------------------------------------------------------


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
        return cls(**{word: _parsed_number(bound) for word, bound in mapping.items()})


@dataclass(frozen=True)
class Claim:
    """One statement, where it stands, and what would confirm it: an entry of ``claims.yml``.

    Parameters
    ----------
    id : str
        Short name, lower case with hyphens.
    paper : {"hou2025", "chou2024", "ours"}
    where : str
        Figure, table, lemma or section.
    statement : str
        What is claimed, in our words.
    quantity : str
        What is measured: one number (or yes and no) a seed.
    kind : {"statistical", "deterministic", "theorem"}
        Statistical claims need at least five seeds.
    notebook : str
        The notebook that measures it, such as ``"01_implicit_bias"``.
    expected : Band, optional
        The values that confirm it; left out only where it is not attempted.
    observed : dict of str to Band
        For each size at which it is measured, the band that our own runs keep to.
    stated : str
        The paper's own number in its own roundness, where it gives one.
    reason : str
        Why the verdict is not *reproduced*, or why nothing was measured.
    """

    id: str
    paper: str
    where: str
    statement: str
    quantity: str
    kind: str
    notebook: str
    expected: Band | None = None
    observed: Mapping[str, Band] = field(default_factory=dict)
    stated: str = ""
    reason: str = ""

    def __post_init__(self):
        for name in TEXTS:
            if not isinstance(getattr(self, name), str):
                raise InputError(f"claim {self.id}: {name} is a text; got {getattr(self, name)!r} (put it in quotes)")
        for name, choices in (("paper", PAPERS), ("kind", KINDS)):
            if getattr(self, name) not in choices:
                raise InputError(f"claim {self.id}: {name} is one of {', '.join(choices)}; got {getattr(self, name)!r}")
        if not set(self.observed) <= set(SIZES):
            raise InputError(f"claim {self.id}: observed has bands for {', '.join(SIZES)}; got {list(self.observed)}")
        if self.expected is None and (self.observed or not self.reason):
            raise InputError(f"claim {self.id} has no expected band: give one, or a reason and no observed band")

    @classmethod
    def parse(cls, entry: Mapping) -> "Claim":
        """The claim that an entry of ``claims.yml`` describes."""
        known = {f.name for f in fields(cls)}
        needed = {"id", "paper", "where", "statement", "quantity", "kind", "notebook"}
        if not isinstance(entry, Mapping) or not needed <= set(entry) <= known:
            missing, unknown = sorted(needed - set(entry)), sorted(set(entry) - known)
            raise InputError(
                f"a claim needs {', '.join(sorted(needed))}; missing {missing}, unknown {unknown}: {entry!r}"
            )
        try:
            expected = None if entry.get("expected") is None else Band.parse(entry["expected"])
            observed = {size: Band.parse(band) for size, band in (entry.get("observed") or {}).items()}
        except InputError as error:
            raise InputError(f"claim {entry['id']}: {error}") from None
        return cls(**{**entry, "expected": expected, "observed": observed})


def home() -> Path:
    """The folder of ``claims.yml`` and ``results/``: the checkout, else the copy that ships inside the package.

    Examples
    --------
    >>> (home() / "claims.yml").is_file()
    True
    """
    package = Path(__file__).resolve().parent
    return package.parent if (package.parent / "claims.yml").is_file() else package / "_shipped"


def load_claims(path=None) -> dict[str, Claim]:
    """All claims by id, in the order of the file.

    Parameters
    ----------
    path : path, optional
        A file like ``claims.yml``; by default the checkout's, or the one that ships inside the package.

    Raises
    ------
    InputError
        No such file, or an entry that breaks the rules of :class:`Claim`, or an id given twice.

    Examples
    --------
    >>> claims = load_claims()
    >>> claims["a-udu-rank-eta"].expected
    Band(equals=3, above=None, below=None, min=None, max=None)
    """
    path = Path(path) if path is not None else home() / "claims.yml"
    if not path.is_file():
        raise InputError(f"the ledger's claims were wanted in {path}, and there is no such file; reinstall udulib")
    claims = {}
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")) or []:
        claim = Claim.parse(entry)
        if claim.id in claims:
            raise InputError(f"claim {claim.id} is in {path.name} twice; give each entry its own id")
        claims[claim.id] = claim
    return claims


def verdict(values: Iterable, expected: Band) -> str:
    """*reproduced* if every value lies in the band, *in part* if some, *differs* if none; no value, *not attempted*.

    Examples
    --------
    >>> verdict([3, 3, 4], Band(equals=3))
    'in part'
    """
    inside = [value in expected for value in values]
    if not inside:
        return "not attempted"
    return "reproduced" if all(inside) else "in part" if any(inside) else "differs"


# What was measured ----------------------------------------------------------------------------------------------------


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
        return cls(claims[claim], size, tuple(_parsed_number(v) for v in values), tuple(seeds))

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
        head = f"{_badge_html(self.verdict)} — {html.escape(self.claim.statement)} <code>{self.id}</code>"
        style = f"border-left: 4px solid {colour}; padding: 0.1em 0.8em; margin: 0.5em 0"
        return f'<div class="udulib-record" style="{style}">{"<br>".join([head, *lines])}</div>'


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of id, verdict and statement, for the end of a notebook. It holds no digit that a machine could change."""

    rows: tuple

    def __repr__(self):
        return "\n".join(f"{row[1]:<16}{row[0]}" for row in self.rows)

    def _repr_markdown_(self):
        rows = [f"| `{i}` | {_sign(v)}{v} | {statement.replace('|', '&#124;')} |" for i, v, statement in self.rows]
        return "\n".join(["| claim | verdict | statement |", "|---|---|---|", *rows])

    def _repr_html_(self):
        head = '<tr><th scope="col">claim</th><th scope="col">verdict</th><th scope="col">statement</th></tr>'
        left = 'style="text-align: left"'
        body = "".join(
            f"<tr><td {left}><code>{i}</code></td><td {left}>{_sign(v)}{v}</td><td {left}>{html.escape(text)}</td></tr>"
            for i, v, text in self.rows
        )
        return f'<table class="udulib-verdicts"><thead>{head}</thead><tbody>{body}</tbody></table>'


class Ledger:
    """The claims of one notebook, and what it has recorded for them.

    Parameters
    ----------
    size : {"ci", "book", "paper"}
        The size at which the notebook runs.
    notebook : str
        Its name without ending, such as ``"01_implicit_bias"``.
    claims : path, optional
        Another file than the ``claims.yml`` of the checkout or the package.
    results : path, optional
        Another folder than the ``results`` beside it.

    Raises
    ------
    InputError
        An unknown size, or a notebook that no claim names.

    Examples
    --------
    >>> ledger = Ledger(size="ci", notebook="01_implicit_bias")
    >>> record = ledger.record("a-udu-rank-eta", [3, 3, 3, 3, 3], seeds=range(5))
    >>> record.verdict
    'reproduced'
    """

    def __init__(self, size, notebook, *, claims=None, results=None):
        if size not in SIZES:
            raise InputError(f"size is one of {', '.join(SIZES)}; got {size!r}")
        self.size, self.notebook = size, notebook
        self.claims = load_claims(claims)
        self.results = Path(results) if results is not None else home() / "results"
        self.records: dict[str, Record] = {}
        known = sorted({claim.notebook for claim in self.claims.values()})
        if notebook not in known:
            raise InputError(f"notebook is one that claims.yml names ({', '.join(known)}); got {notebook!r}")

    def record(self, id, values, seeds=()) -> Record:
        """Record what was measured for a claim; the badge it returns belongs at the end of a cell.

        Parameters
        ----------
        id : str
            One of this notebook's claims.
        values : array, shape (seeds,)
            One number, or one true or false, a seed; a single one where no seed is involved. No NaN: a run that never
            got there is ``inf``, or fails the statement.
        seeds : sequence of int, optional
            The seeds, all different; at least five for a statistical claim.

        Returns
        -------
        Record
            Where the environment names a folder as ``UDULIB_RECORDS`` it is also written there, as ``<id>.json``.

        Raises
        ------
        InputError
            An id that ``claims.yml`` does not hold or that belongs to another notebook, or values and seeds that
            :class:`Record` refuses.
        """
        claim = self._own(id)
        others = {size: record for size, record in self.published(id).items() if size != self.size}
        record = self.records[id] = Record(claim, self.size, values, seeds, others)
        if folder := os.environ.get("UDULIB_RECORDS"):
            write_json(Path(folder) / f"{id}.json", record.as_json())
        return record

    def published(self, id) -> dict[str, Record]:
        """The published results for a claim at sizes ``book`` and ``paper``, where there are any."""
        claim = self._own(id)
        files = {size: self.results / size / f"{claim.notebook}.json" for size in ("book", "paper")}
        found = {size: load_records(file, self.claims).get(id) for size, file in files.items()}
        return {size: record for size, record in found.items() if record is not None}

    def table(self) -> Table:
        """This notebook's claims and their verdicts so far."""
        own = (claim for claim in self.claims.values() if claim.notebook == self.notebook)
        return Table(tuple((claim.id, self._verdict(claim), claim.statement) for claim in own))

    def _verdict(self, claim):
        if claim.id in self.records:
            return self.records[claim.id].verdict
        return "not at this size" if claim.observed and self.size not in claim.observed else "not attempted"

    def _own(self, id):
        own = [claim.id for claim in self.claims.values() if claim.notebook == self.notebook]
        if id not in self.claims:
            raise InputError(f"{id!r} is not in claims.yml; the claims of {self.notebook} are {', '.join(own)}")
        if id not in own:
            owner = self.claims[id].notebook
            raise InputError(f"{id} belongs to notebook {owner}, not to {self.notebook}; record it there")
        return self.claims[id]


# The check ------------------------------------------------------------------------------------------------------------


def check(claims: Mapping[str, Claim], fresh: Iterable[Mapping], published: Iterable[Mapping], size: str) -> list[str]:
    """What is red: one sentence for each way in which a fresh run disagrees with the ledger. Empty means green.

    Red are values that leave ``observed[size]``, claims with a band for this size that were not recorded, records
    without a band, verdicts that differ from the published ones, in either direction, and verdicts other than
    *reproduced* without a reason.

    Parameters
    ----------
    claims : dict of str to Claim
        As :func:`load_claims` gives them.
    fresh, published : iterable of dict
        Records as JSON data, see :func:`read_records`; those of other sizes are left out of account.
    size : {"ci", "book", "paper"}

    Examples
    --------
    >>> band = Band(equals=3)
    >>> claim = Claim("x", "ours", "here", "The rank is 3.", "rank", "theorem", "01", band, {"ci": band})
    >>> fresh = [Record(claim, "ci", values=(4,)).as_json()]
    >>> published = [Record(claim, "ci", values=(3,)).as_json()]
    >>> for finding in check({"x": claim}, fresh, published, "ci"):
    ...     print(finding)
    x: 4 left the observed band (3)
    x: the verdict is differs, the published one is reproduced; see why, then publish anew
    x: the verdict is differs, and claims.yml gives no reason
    """
    if size not in SIZES:
        raise InputError(f"size is one of {', '.join(SIZES)}; got {size!r}")
    findings = []
    fresh = {entry["id"]: entry for entry in fresh if entry["size"] == size}
    entries, published = published, {}
    for entry in entries:
        if entry["size"] != size:
            continue
        published[entry["id"]] = entry["verdict"]
        try:
            Record.from_json(entry, claims)
        except InputError as error:
            findings.append(f"{entry['id']}: what is published no longer fits claims.yml ({error})")
    findings += [f"{id}: recorded, and not in claims.yml" for id in sorted(set(fresh) - set(claims))]
    for id, claim in claims.items():
        band = claim.observed.get(size)
        if id not in fresh:
            if band is not None:
                findings.append(f"{id}: has an observed band for size {size}, and {claim.notebook} did not record it")
            elif id in published:
                findings.append(f"{id}: published at size {size} ({published[id]}), and no longer recorded")
            elif not claim.observed and not claim.reason:
                findings.append(f"{id}: not attempted, and claims.yml gives no reason")
            continue
        record = Record.from_json(fresh[id], claims)
        if fresh[id].get("notebook") != claim.notebook:
            findings.append(f"{id}: recorded by {fresh[id].get('notebook')}, and claims.yml names {claim.notebook}")
        if band is None:
            findings.append(f"{id}: recorded at size {size}, and claims.yml has no observed band for it")
        elif not record.in_observed:
            out = ", ".join(number_text(value) for value in record.values if value not in band)
            findings.append(f"{id}: {out} left the observed band ({band})")
        if id not in published:
            findings.append(f"{id}: the verdict is {record.verdict}, and none is published; publish size {size}")
        elif record.verdict != published[id]:
            changed = f"the verdict is {record.verdict}, the published one is {published[id]}"
            findings.append(f"{id}: {changed}; see why, then publish anew")
        if record.verdict != "reproduced" and not claim.reason:
            findings.append(f"{id}: the verdict is {record.verdict}, and claims.yml gives no reason")
    return findings


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


def write_json(path, data) -> None:
    """Write JSON so that whoever reads the file finds the old one or the new one, never half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1, allow_nan=False)
            file.write("\n")
        os.chmod(draft, 0o644)  # mkstemp's files are private
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


# Numbers and signs ----------------------------------------------------------------------------------------------------


def number_text(x) -> str:
    """A number as people write it: whole, or three digits and a power of ten; yes and no for true and false.

    Examples
    --------
    >>> [number_text(x) for x in (True, 3, 0.0334, 3.1e-33, float("inf"))]
    ['yes', '3', '0.0334', '3.1·10⁻³³', '∞']
    """
    if isinstance(x, bool):
        return "yes" if x else "no"
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    if x == int(x) and abs(x) < 1e4:
        return f"{int(x)}".replace("-", "−")
    text = f"{x:.3g}" if 1e-3 <= abs(x) < 1e4 else f"{x:.2e}"
    digits, _, exponent = text.partition("e")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    if not exponent:
        return digits.replace("-", "−")
    digits = {"1": "", "-1": "−"}.get(digits, f"{digits}·").replace("-", "−")
    return f"{digits}10{str(int(exponent)).translate(_SUPERSCRIPT)}"


def _parsed_number(x):
    if not isinstance(x, str):
        return x
    try:
        return float(x)
    except ValueError:
        raise InputError(f"a number was wanted, such as 3, 1e-8 or inf; got {x!r}") from None


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


def _sign(verdict):
    return f"{VERDICTS[verdict][0]} " if verdict in VERDICTS else ""


def _badge_html(verdict):
    sign, colour = VERDICTS[verdict]
    style = f"background: {colour}; color: #ffffff; padding: 0.1em 0.5em; border-radius: 0.3em; white-space: nowrap"
    return f'<strong style="{style}">{sign} {verdict}</strong>'
