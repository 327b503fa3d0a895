"""Evidence: all that was ever measured for a claim, and the one verdict that follows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from companion.ledger.claims import SIZES, Claims
from companion.ledger.places import home
from companion.ledger.pools import pooled
from companion.ledger.records import Record, read_records
from udulib.errors import InputError


@dataclass(frozen=True)
class Evidence:
    """What all published runs measured, pooled by seed.

    Parameters
    ----------
    claims : Claims
    records : dict of str to dict of str to Record
        By size and probe.
    """

    claims: Claims
    records: Mapping

    def deciding(self, probe: str) -> Record | None:
        """The record that decides a probe's verdict; None where nothing was measured."""
        size = self.claims.probes[probe].deciding
        return self.records[size].get(probe) if size else None

    def others(self, probe: str) -> list[Record]:
        """The records of the other sizes, the largest last."""
        size = self.claims.probes[probe].deciding
        return [self.records[other][probe] for other in SIZES if other != size and probe in self.records[other]]

    def verdict(self, id: str) -> str:
        """The verdict of a statement, or of a probe that is none."""
        words = {self._word(probe) for probe in self._deciding(id)} or {"not attempted"}
        return words.pop() if len(words) == 1 else "in part"

    def settled(self, id: str) -> bool:
        """Whether more seeds would hardly change a verdict."""
        records = [self.deciding(probe.id) for probe in self._deciding(id)]
        return all(record is None or record.settled for record in records)

    def counts(self, paper: str) -> dict[str, int]:
        """How many statements of a paper have which verdict."""
        words = [self.verdict(one.id) for one in self.claims.statements.values() if one.paper == paper]
        return {word: words.count(word) for word in words}

    def _deciding(self, id):
        statement = self.claims.statements.get(id)
        return statement.deciding if statement else (self.claims.probes[id],)

    def _word(self, probe):
        record = self.deciding(probe.id)
        return record.verdict if record is not None else "not attempted"


def load_evidence(claims: Claims, results=None) -> Evidence:
    """The published runs and the pools of all sizes, by seed.

    What no longer fits the claims is left out. (:func:`misfits` reports it; a notebook must still run, or it could
    never be published anew.)

    Parameters
    ----------
    claims : Claims
    results : path, optional
        Another folder than the ``results`` of the checkout or the package.

    Examples
    --------
    >>> from companion.ledger import load_claims
    >>> evidence = load_evidence(load_claims())
    >>> evidence.verdict("a-spans")
    'reproduced'
    """
    records = {size: {} for size in SIZES}
    for size in SIZES:
        for entry in entries(size, results):
            try:
                record = Record.from_json(entry, claims.probes)
            except InputError:
                continue
            records[size][record.id] = record
    return Evidence(claims, records)


def entries(size: str, results=None) -> list[dict]:
    """The records of one size as JSON data, pools and published runs together."""
    results = Path(results) if results is not None else home() / "results"
    published = [*read_records(results / "pools" / size), *read_records(results / size)]
    found = {record["id"]: record | {"size": size} for record in reversed(published)}
    for id, known in pooled(published).items():
        seeds = sorted(known)
        found[id] = found[id] | {"seeds": seeds, "values": [known[seed] for seed in seeds]}
    return list(found.values())


def misfits(claims: Claims, results=None) -> list[str]:
    """Published records that no longer fit the claims, as sentences.

    Examples
    --------
    >>> from companion.ledger import load_claims
    >>> misfits(load_claims())
    []
    """
    findings = []
    for size in SIZES:
        for entry in entries(size, results):
            try:
                Record.from_json(entry, claims.probes)
            except InputError as error:
                findings.append(f"{entry['id']}: what is published at size {size} no longer fits the claims ({error})")
    return findings
