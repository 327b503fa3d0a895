"""The ledger as a notebook has it: it records, and shows what it holds."""

import html
import os
from dataclasses import dataclass
from pathlib import Path

from companion.ledger.claims import SIZES, load_claims
from companion.ledger.places import home, write_json
from companion.ledger.records import Record, load_records
from companion.ledger.show import sign
from udulib.errors import InputError


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of id, verdict and statement, for the end of a notebook. It holds no digit that a machine could change."""

    rows: tuple

    def __repr__(self):
        return "\n".join(f"{row[1]:<16}{row[0]}" for row in self.rows)

    def _repr_markdown_(self):
        rows = [f"| `{i}` | {sign(v)}{v} | {statement.replace('|', '&#124;')} |" for i, v, statement in self.rows]
        return "\n".join(["| claim | verdict | statement |", "|---|---|---|", *rows])

    def _repr_html_(self):
        head = '<tr><th scope="col">claim</th><th scope="col">verdict</th><th scope="col">statement</th></tr>'
        left = 'style="text-align: left"'
        body = "".join(
            f"<tr><td {left}><code>{i}</code></td><td {left}>{sign(v)}{v}</td><td {left}>{html.escape(text)}</td></tr>"
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
