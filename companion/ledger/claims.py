"""Claims: what the papers state, and what would confirm it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml

from companion.ledger.bands import Band
from companion.ledger.places import home
from udulib.errors import InputError

SIZES = ("ci", "book", "paper")
KINDS = ("statistical", "deterministic", "theorem")
TEXTS = ("id", "where", "statement", "quantity", "notebook", "stated", "reason")
PAPERS = {"hou2025": "Hou et al.", "chou2024": "Chou et al.", "ours": "Ours"}


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
