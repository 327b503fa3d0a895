"""The ledger as a notebook has it: it records, and shows what it holds."""

import html
import os
from dataclasses import dataclass
from pathlib import Path

from companion.ledger.claims import SIZES, load_claims
from companion.ledger.evidence import Evidence, load_evidence
from companion.ledger.places import write_json
from companion.ledger.records import Record
from companion.ledger.show import VERDICTS, badge_html, sign
from udulib.errors import InputError


@dataclass(frozen=True, repr=False)
class Badge:
    """A probe's verdict from all seeds, and beside it what this run gave. It belongs at the end of a cell."""

    record: Record
    evidence: Evidence

    @property
    def verdict(self) -> str:
        """The ledger's; of what was never published, this run's own."""
        known = self.evidence.deciding(self.record.id)
        return (known or self.record).verdict

    def _lines(self):
        """Label and text of each line below the statement."""
        probe, run, known = self.record.probe, self.record, self.evidence.deciding(self.record.id)
        statement = self.evidence.claims.of(probe.id)
        said = [("stated" if statement.paper == "ours" else "paper", probe.stated)] if probe.stated else []
        yield [*said, ("expected", str(probe.expected))]
        if known is not None:
            doubt = "" if known.settled else ", too few seeds to be sure of the word"
            yield [(f"all seeds, size {known.size}", f"{known.share}{doubt}; {known.value}")]
        yield [(f"this run, size {run.size}", f"{run.share}; {run.value}")]
        if probe.reason and self.verdict != "reproduced":
            yield [("why", probe.reason)]
        yield [("measured", probe.quantity)]

    def __repr__(self):
        lines = [" · ".join(f"{label}: {text}" for label, text in line) for line in self._lines()]
        return "\n  ".join([f"{self.verdict}: {self.record.probe.statement} [{self.record.id}]", *lines])

    def _repr_markdown_(self):
        lines = [" · ".join(f"{label}: {text}" for label, text in line) for line in self._lines()]
        head = f"**{sign(self.verdict)}{self.verdict}** — {self.record.probe.statement} (`{self.record.id}`)"
        return "  \n".join([head, *lines])

    def _repr_html_(self):
        lines = [" · ".join(f"<em>{label}:</em> {html.escape(t)}" for label, t in line) for line in self._lines()]
        text = html.escape(self.record.probe.statement)
        head = f"{badge_html(self.verdict)} — {text} <code>{self.record.id}</code>"
        style = f"border-left: 4px solid {VERDICTS[self.verdict][1]}; padding: 0.1em 0.8em; margin: 0.5em 0"
        return f'<div class="udulib-record" style="{style}">{"<br>".join([head, *lines])}</div>'


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
        Another folder than the ``claims`` of the checkout or the package.
    results : path, optional
        Another folder than the ``results`` beside it.

    Raises
    ------
    InputError
        An unknown size, or a notebook that no claim names.

    Examples
    --------
    >>> ledger = Ledger(size="ci", notebook="01_implicit_bias")
    >>> badge = ledger.record("a-udu-rank-eta", [3, 3, 3, 3, 3], seeds=range(5))
    >>> badge.verdict, badge.record.share
    ('reproduced', '5 of 5')
    """

    def __init__(self, size, notebook, *, claims=None, results=None):
        if size not in SIZES:
            raise InputError(f"size is one of {', '.join(SIZES)}; got {size!r}")
        self.size, self.notebook = size, notebook
        self.claims = load_claims(claims)
        self.evidence = load_evidence(self.claims, results)
        self.records: dict[str, Record] = {}
        if notebook not in self.claims.notebooks():
            known = ", ".join(self.claims.notebooks())
            raise InputError(f"notebook is one that the claims name ({known}); got {notebook!r}")

    def record(self, id, values, seeds=()) -> Badge:
        """Record what was measured for a claim; the badge it returns belongs at the end of a cell.

        Parameters
        ----------
        id : str
            One of this notebook's probes.
        values : array, shape (seeds,)
            One number, or one true or false, a seed; a single one where no seed is involved. No NaN: a run that never
            got there is ``inf``, or fails the statement.
        seeds : sequence of int, optional
            The seeds, all different; at least five where the claim is about seeds.

        Returns
        -------
        Badge
            Where the environment names a folder as ``UDULIB_RECORDS`` the record is also written there, as
            ``<id>.json``.

        Raises
        ------
        InputError
            An id that no claim has or that belongs to another notebook, or values and seeds that :class:`Record`
            refuses.
        """
        record = self.records[id] = Record(self._own(id), self.size, values, seeds)
        if folder := os.environ.get("UDULIB_RECORDS"):
            write_json(Path(folder) / f"{id}.json", record.as_json())
        return Badge(record, self.evidence)

    def measures(self, id) -> bool:
        """Whether a claim is measured at this size."""
        return self.size in self._own(id).sizes

    def table(self) -> Table:
        """The statements of this notebook and their verdicts."""
        rows = []
        for statement in self.claims.statements.values():
            if statement.probes[0].notebook == self.notebook:
                rows.append((statement.id, self.evidence.verdict(statement.id), statement.statement))
        return Table(tuple(rows))

    def _own(self, id):
        own = [probe.id for probe in self.claims.probes.values() if probe.notebook == self.notebook]
        if id not in self.claims.probes:
            raise InputError(f"no claim has the probe {id!r}; those of {self.notebook} are {', '.join(own)}")
        if id not in own:
            owner = self.claims.probes[id].notebook
            raise InputError(f"{id} belongs to notebook {owner}, not to {self.notebook}; record it there")
        return self.claims.probes[id]
