"""Claims: what the papers state, and what would confirm it.

A *statement* is one thing that one version of one source says. Under it stand its *probes*: a measured quantity each,
with the band that would confirm the statement. Only the probes that take a statement as it stands, in the source's own
setting, decide its verdict; harder readings and other data are shown beneath it with results of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml

from companion.ledger.bands import Band
from companion.ledger.places import home
from udulib.errors import InputError

SIZES = ("ci", "book", "paper")
DECIDING = ("book", "paper", "ci")  # the first of these at which a probe is measured decides its verdict
PAPERS = {"hou2025": "Hou et al.", "chou2024": "Chou et al.", "ours": "Ours"}
KINDS = {
    "always": "every instance",
    "typical": "most instances",
    "number": "the figure of one instance",
    "theorem": "derived, or without chance",
}
ROLES = {
    "primary": "the statement as it stands, in the source's own setting",
    "stronger": "a harder reading of it",
    "substitute": "other data or weights",
    "beyond": "ours",
}
CHANGE = {"before", "now", "gives"}


@dataclass(frozen=True)
class Probe:
    """One measured quantity, and the values of it that would confirm a statement.

    Parameters
    ----------
    id : str
        Short name, lower case with hyphens.
    notebook : str
        The notebook that measures it, such as ``"01_implicit_bias"``.
    statement : str
        What it asks, in our words.
    quantity : str
        What is measured: one number (or yes and no) a seed.
    kind : {"always", "typical", "number", "theorem"}
        All but a theorem need at least five seeds.
    role : {"primary", "stronger", "substitute", "beyond"}
    expected : Band, optional
        The values that confirm it; left out only where it is not attempted.
    sizes : tuple of {"ci", "book", "paper"}
        At which it is measured.
    observed : dict of str to Band
        Of a theorem, for sizes at which our own values do not lie in ``expected``: the band that they keep to.
    where : str
        What differs from the statement's own place: the other data of a substitute.
    stated : str
        The source's own number in its own roundness, where it gives one.
    reading : str
        How words or a curve became a band.
    reason : str
        Why the verdict is not *reproduced*, or why nothing was measured.
    chaotic : str
        Why the same seeds need not give the same values on another processor.
    absent : str
        Why a run from other seeds may be without it.
    changed : tuple of dict
        Each tolerance or quantity that was changed after a run: ``before``, ``now``, and what each ``gives``.
    """

    id: str
    notebook: str
    statement: str
    quantity: str
    kind: str
    role: str
    expected: Band | None = None
    sizes: tuple = ()
    observed: Mapping[str, Band] = field(default_factory=dict)
    where: str = ""
    stated: str = ""
    reading: str = ""
    reason: str = ""
    chaotic: str = ""
    absent: str = ""
    changed: tuple = ()

    def __post_init__(self):
        _check_texts(self, "id", "notebook", "statement", "quantity", "where", "stated", "reading", "reason")
        _check_texts(self, "chaotic", "absent")
        _check_choices(self, kind=KINDS, role=ROLES)
        if any(size not in SIZES for size in self.sizes) or any(size not in self.sizes for size in self.observed):
            raise InputError(
                f"claim {self.id}: sizes are of {', '.join(SIZES)}, and observed has bands for some of them; got "
                f"{list(self.sizes)} and {list(self.observed)}"
            )
        if self.expected is None and (self.sizes or not self.reason):
            raise InputError(f"claim {self.id} has no expected band: give one, or a reason and no sizes")
        if not all(isinstance(change, Mapping) and set(change) == CHANGE for change in self.changed):
            raise InputError(f"claim {self.id}: a change says before, now and gives; got {list(self.changed)}")
        if self.observed and self.kind != "theorem":
            raise InputError(f"claim {self.id}: observed is for theorems; seeds are held against their pool")

    @property
    def seeded(self) -> bool:
        """Whether its verdict is a share of seeds."""
        return self.kind != "theorem"

    @property
    def deciding(self) -> str | None:
        """The size that decides its verdict; None where it is not measured."""
        return next((size for size in DECIDING if size in self.sizes), None)


@dataclass(frozen=True)
class Statement:
    """One thing that one version of one source says.

    Parameters
    ----------
    id : str
    paper : {"hou2025", "chou2024", "ours"}
    statement : str
        What is said, in our words.
    kind : {"always", "typical", "number", "theorem"}
    probes : tuple of Probe
    version : str
        Which version of the source says it.
    where : str
        Figure, table, lemma or section.
    condition : str
        Under which choices of ours it is asked.
    reason : str
        Why no probe takes it as it stands.
    """

    id: str
    paper: str
    statement: str
    kind: str
    probes: tuple
    version: str = ""
    where: str = ""
    condition: str = ""
    reason: str = ""

    def __post_init__(self):
        _check_texts(self, "id", "statement", "version", "where", "condition", "reason")
        _check_choices(self, paper=PAPERS, kind=KINDS)
        if not self.probes:
            raise InputError(f"claim {self.id} has no probe: say what is measured, or with a reason why nothing is")
        if self.paper != "ours" and not (self.where and self.version):
            raise InputError(f"claim {self.id}: where and version say where a statement of a paper was read")
        if not self.deciding and not self.reason:
            raise InputError(f"claim {self.id}: no probe takes it as it stands; give the reason")
        if any(probe.id == self.id for probe in self.probes) and len(self.probes) > 1:
            raise InputError(f"claim {self.id}: a probe has its statement's id only where it stands alone")

    @property
    def deciding(self) -> tuple:
        """The probes that decide its verdict: the primary ones, or of our own statements ours."""
        role = "beyond" if self.paper == "ours" else "primary"
        return tuple(probe for probe in self.probes if probe.role == role)


@dataclass(frozen=True)
class Claims:
    """All statements by id, and all probes by id, in the order of their files."""

    statements: dict
    probes: dict

    def of(self, probe: str) -> Statement:
        """The statement under which a probe stands."""
        return next(one for one in self.statements.values() if any(p.id == probe for p in one.probes))

    def notebooks(self) -> list[str]:
        return sorted({probe.notebook for probe in self.probes.values()})


def load_claims(path=None) -> Claims:
    """All claims, in the order of the files.

    Parameters
    ----------
    path : path, optional
        A folder like ``claims``, one file a notebook; by default the checkout's, or the one that ships inside the
        package.

    Raises
    ------
    InputError
        No such folder, an entry that breaks the rules of :class:`Statement` or :class:`Probe`, or an id given twice.

    Examples
    --------
    >>> claims = load_claims()
    >>> claims.probes["a-udu-rank-eta"].expected
    Band(equals=3, above=None, below=None, min=None, max=None)
    >>> claims.of("a-udu-rank-eta").where
    'Figure 1, spectra'
    """
    folder = Path(path) if path is not None else home() / "claims"
    files = sorted(folder.glob("*.yml"))
    if not files:
        raise InputError(f"the ledger's claims were wanted in {folder}, and there are none; reinstall udulib")
    statements, probes = {}, {}
    for file in files:
        for entry in _entries(file):
            statement = _statement(entry, file.stem)
            for kind, known, new in (
                ("statement", statements, [statement]),
                ("probe", probes, statement.probes),
            ):
                for one in new:
                    if one.id in known:
                        raise InputError(f"claim {one.id} is in {folder.name} twice as a {kind}; give each its own id")
                    known[one.id] = one
    for id in set(statements) & set(probes):
        if statements[id].probes != (probes[id],):
            raise InputError(f"claim {id}: a probe has the id of another's statement; give each its own")
    return Claims(statements, probes)


def _entries(file):
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8")) or []
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{file.name} is not YAML: {error}") from None
    if not isinstance(entries, list):
        raise InputError(f"{file.name} is a list of statements; got a {type(entries).__name__}")
    return entries


def _statement(entry, notebook):
    _check_keys(entry, Statement, {"id", "paper", "statement", "kind", "probes"})
    if not isinstance(entry["probes"], list):
        raise InputError(f"claim {entry['id']}: probes are a list; got {entry['probes']!r}")
    given = {"statement": entry["statement"], "kind": entry["kind"], "notebook": notebook}
    return Statement(**{**entry, "probes": tuple(_probe(probe, given) for probe in entry["probes"])})


def _probe(entry, given):
    _check_keys(entry, Probe, {"id", "role", "quantity"})
    entry = {**given, **entry}
    for name, kind in (("sizes", list), ("changed", list), ("observed", dict)):
        if not isinstance(entry.get(name) or kind(), kind):
            raise InputError(f"claim {entry['id']}: {name} is a {kind.__name__.lower()}; got {entry[name]!r}")
    try:
        expected = None if entry.get("expected") is None else Band.parse(entry["expected"])
        observed = {size: Band.parse(band) for size, band in (entry.get("observed") or {}).items()}
    except InputError as error:
        raise InputError(f"claim {entry['id']}: {error}") from None
    lists = {name: tuple(entry.get(name) or ()) for name in ("sizes", "changed")}
    return Probe(**{**entry, **lists, "expected": expected, "observed": observed})


def _check_keys(entry, kind, needed):
    known = {f.name for f in fields(kind)}
    if not isinstance(entry, Mapping):
        raise InputError(
            f"the claims list {kind.__name__.lower()}s, each with {', '.join(sorted(needed))}; got {entry!r}"
        )
    if not needed <= set(entry) <= known:
        missing, unknown = sorted(needed - set(entry)), sorted(map(str, set(entry) - known))
        raise InputError(
            f"a {kind.__name__.lower()} needs {', '.join(sorted(needed))}; missing {missing}, unknown {unknown}: "
            f"{entry!r}"
        )


def _check_texts(entry, *names):
    for name in names:
        if not isinstance(getattr(entry, name), str):
            raise InputError(f"claim {entry.id}: {name} is a text; got {getattr(entry, name)!r} (put it in quotes)")


def _check_choices(entry, **allowed):
    for name, choices in allowed.items():
        if getattr(entry, name) not in list(choices):
            raise InputError(f"claim {entry.id}: {name} is one of {', '.join(choices)}; got {getattr(entry, name)!r}")
