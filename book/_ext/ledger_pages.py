"""The ledger in the book: badges, numbers and tables made from claims and results, so that no page types a number.

In prose, a role: ``{ledger}`a-bm-tail-4th``` is a badge with the verdict that leads to the claim's row, for a statement
or a probe, and ``{ledger}`a-bm-tail-4th:value``` a number or a word of a probe, where after the colon stands one of

    value      median and range over seeds        stated     the paper's own number
    median     the median alone                   expected   the band that confirms it
    range      where nine tenths of seeds lie     verdict    the verdict as a word
    share      how many seeds lie in the band     interval   what that says of all seeds
    seeds      on how many seeds it rests         size       at which size it was measured

The size that decides counts; ``:value@ci`` asks for another one. On a page, ``{ledger-summary}`` counts statements by
verdict, ``{ledger-table}`` lists them with their probes, all or those of one ``:paper:``, ``:notebook:`` or
``:verdict:``, ``{ledger-changes}`` the tolerances that were changed after a run, and ``{ledger-axes}`` what changes
under other seeds, threads, processors and versions. An unknown claim, or a number that nobody has measured, is a
warning.

The configuration's ``ledger_records`` names the folders, below the source folder, that hold the records of the runs
the book is made from; ``ledger_claims`` and ``ledger_results`` may name others than udulib's.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.nodes import make_refnode

from companion import ledger
from udulib.errors import InputError

logger = logging.getLogger(__name__)

OF_RECORD = {
    "value": lambda record: record.value,
    "median": lambda record: record.median,
    "range": lambda record: record.range,
    "share": lambda record: record.share,
    "interval": lambda record: record.interval,
    "seeds": lambda record: record.count,
    "size": lambda record: record.size,
}


@dataclass(frozen=True)
class Shelf:
    """All claims, all that was measured for them, and what the runs of this book gave."""

    evidence: ledger.Evidence
    own: dict
    axes: dict

    @classmethod
    def read(cls, app):
        claims = ledger.load_claims(app.config.ledger_claims)
        folders = [folder for pattern in app.config.ledger_records for folder in sorted(app.srcdir.glob(pattern))]
        entries = [entry for folder in folders for entry in ledger.read_records(folder)]
        own = {entry["id"]: ledger.Record.from_json(entry, claims.probes) for entry in entries}
        axes = Path(app.config.ledger_results or ledger.home() / "results") / "axes.json"
        under = json.loads(axes.read_text(encoding="utf-8")) if axes.exists() else {}
        return cls(ledger.load_evidence(claims, app.config.ledger_results), own, under)

    @property
    def claims(self):
        return self.evidence.claims

    def record(self, id, size=None):
        """The record that decides a probe's verdict, or that of another size."""
        return self.evidence.deciding(id) if size is None else self.evidence.records[size].get(id)

    def fingerprint(self):
        """Changes when anything changes that a page may show."""
        records = [self.own, *self.evidence.records.values()]
        shown = [repr(self.claims), [[record.as_json() for record in part.values()] for part in records]]
        return hashlib.sha256(json.dumps([*shown, self.axes]).encode()).hexdigest()


class LedgerRole(SphinxRole):
    """A claim's badge, or one of its numbers and words."""

    def run(self):
        match = re.fullmatch(r"([a-z0-9-]+)(?::([a-z]+))?(?:@([a-z]+))?", self.text)
        id, what, size = match.groups() if match else (self.text, None, None)
        shelf = self.env.app.ledger
        if id not in shelf.claims.statements and id not in shelf.claims.probes:
            return self.missing(f"the ledger has no claim {id!r}")
        if size is not None and size not in ledger.SIZES:
            return self.missing(f"size is one of {', '.join(ledger.SIZES)}; got {size!r}")
        if what is None:
            return [badge(shelf.evidence.verdict(id), id)], []
        if what == "verdict":
            return [nodes.Text(shelf.evidence.verdict(id))], []
        if id not in shelf.claims.probes:
            return self.missing(f"{id} is a statement; its numbers are those of its probes")
        probe, record = shelf.claims.probes[id], shelf.record(id, size)
        if what in ("stated", "expected"):
            text = str(getattr(probe, what) or "")
        elif what in OF_RECORD:
            text = OF_RECORD[what](record) if record is not None else ""
        else:
            return self.missing(
                f"after the colon stands stated, expected, verdict or {', '.join(OF_RECORD)}; got {what!r}"
            )
        return ([nodes.Text(text)], []) if text else self.missing(f"claim {id} has nothing for {self.text!r} to show")

    def missing(self, message):
        logger.warning(message, location=self.get_location(), type="ledger")
        return [nodes.problematic(self.rawtext, self.rawtext)], []


class LedgerTable(SphinxDirective):
    """A row a statement, and below it one a probe, grouped by paper."""

    option_spec: ClassVar = {
        "paper": lambda value: directives.choice(value, tuple(ledger.PAPERS)),
        "verdict": lambda value: directives.choice(value, tuple(ledger.VERDICTS)),
        "notebook": directives.unchanged_required,
    }

    def run(self):
        evidence = self.env.app.ledger.evidence
        chosen = [one for one in evidence.claims.statements.values() if self.chosen(one, evidence.verdict(one.id))]
        if not chosen:
            logger.warning("no claim is chosen by these options", location=self.get_location(), type="ledger")
        groups = {paper: [one for one in chosen if one.paper == paper] for paper in ledger.PAPERS}
        found = []
        for paper, statements in groups.items():
            if statements and "paper" not in self.options:
                found.append(nodes.rubric("", ledger.PAPERS[paper]))
            if statements:
                head = ("Verdict and statement", "Expected" if paper == "ours" else "The paper", "Ours")
                found.append(table(head, [row for one in statements for row in self.rows(one)], "ledger-table"))
        return found

    def chosen(self, statement, verdict):
        facts = {"paper": statement.paper, "notebook": statement.probes[0].notebook, "verdict": verdict}
        return all(facts[option] == wanted for option, wanted in self.options.items())

    def rows(self, statement):
        """One row where the only probe is the statement; else the statement's, and one a probe."""
        evidence = self.env.app.ledger.evidence
        alone = statement.id in evidence.claims.probes
        title = [self.anchored(statement.id, badge(evidence.verdict(statement.id))), paragraph(statement.statement)]
        place = " · ".join(filter(None, [statement.where, statement.version, ledger.KINDS[statement.kind]]))
        title.append(small(nodes.literal("", statement.id), nodes.Text(f" · {place}")))
        for label, text in (("Under", statement.condition), ("Why", statement.reason)):
            if text:
                title.append(small(nodes.Text(f"{label}: {text}")))
        if alone:
            return [[title + self.measured(statement.probes[0]), self.said(statement.probes[0]), *self.ours(statement)]]
        head = [title, [], [small(nodes.Text(", ".join(sorted({p.role for p in statement.deciding}))))]]
        return [head, *(self.probe(statement, probe) for probe in statement.probes)]

    def probe(self, statement, probe):
        evidence = self.env.app.ledger.evidence
        decides = probe in statement.deciding
        label = badge(evidence.verdict(probe.id))
        text = [self.anchored(probe.id, label), paragraph(probe.statement)]
        role = "decides" if decides else f"{probe.role}: {ledger.ROLES[probe.role]}"
        text.append(small(nodes.literal("", probe.id), nodes.Text(f" · {role}")))
        if probe.where:
            text.append(small(nodes.Text(probe.where)))
        text += self.measured(probe)
        for node in text:
            node["classes"].append("ledger-probe")
        return [text, self.said(probe), *self.ours(statement, probe)]

    def measured(self, probe):
        lines = [small(nodes.Text(f"Measured: {probe.quantity}."))]
        if probe.reading:
            lines.append(small(nodes.Text(f"Read as: {probe.reading}")))
        if probe.reason and self.env.app.ledger.evidence.verdict(probe.id) != "reproduced":
            lines.append(small(nodes.Text(f"Why: {probe.reason}")))
        if probe.absent:
            lines.append(small(nodes.Text(f"Not from every seed: {probe.absent}")))
        return lines

    def said(self, probe):
        said = [paragraph(probe.stated)] if probe.stated else []
        if probe.expected is not None:
            band = str(probe.expected)
            said.append(small(nodes.Text(f"expected: {band}")) if said else paragraph(band))
        return said

    def ours(self, statement, probe=None):
        """All seeds, then the other sizes and this book's own run, in small."""
        probe, shelf = probe or statement.probes[0], self.env.app.ledger
        known, lines = shelf.record(probe.id), []
        if known is not None:
            lines.append(paragraph(known.share))
            doubt = "" if known.settled else "; too few to be sure of the word"
            if probe.seeded:
                lines.append(small(nodes.Text(f"of all seeds {known.interval}{doubt}")))
            lines.append(small(nodes.Text(f"{known.value}, size {known.size}")))
        for other in shelf.evidence.others(probe.id):
            lines.append(small(nodes.Text(f"size {other.size}: {other.share}, {other.value}")))
        own = shelf.own.get(probe.id)
        if own is not None:
            lines.append(small(nodes.Text(f"this book's run, size {own.size}: {own.share}, {own.value}")))
        lines.append(small(self.notebook(probe.notebook)))
        return [lines]

    def anchored(self, id, label):
        """On the page's own table badges lead to its rows."""
        line = paragraph("", label)
        if not set(self.options) - {"paper"}:
            name = f"claim-{id}"
            line["ids"].append(name)
            self.env.get_domain("std").note_hyperlink_target(name, self.env.docname, name)
        return line

    def notebook(self, name):
        """The notebook's name, a link where the book holds it."""
        document = f"{self.config.ledger_notebooks}/{name}"
        text = nodes.literal("", name)
        if document not in self.env.found_docs:
            return text
        link = addnodes.pending_xref("", text, refdomain="std", reftype="doc", refexplicit=True, refwarn=True)
        link["refdoc"], link["reftarget"] = self.env.docname, f"/{document}"
        return link


class LedgerSummary(SphinxDirective):
    """How many statements of each paper have which verdict, and below them harder readings and substitutes."""

    def run(self):
        evidence = self.env.app.ledger.evidence
        counts = {paper: evidence.counts(paper) for paper in ledger.PAPERS}
        rows = []
        for verdict in ledger.VERDICTS:
            of_paper = [counts[paper].get(verdict, 0) for paper in ledger.PAPERS]
            rows.append([badge(verdict), *numbers(*of_paper)])
        rows.append([nodes.Text("all statements"), *numbers(*(sum(counts[paper].values()) for paper in ledger.PAPERS))])
        for role, title in (("stronger", "harder readings that hold"), ("substitute", "substitutes that hold")):
            rows.append([nodes.Text(title), *(nodes.Text(self.held(evidence, paper, role)) for paper in ledger.PAPERS)])
        cells = [[[paragraph("", cell)] for cell in row] for row in rows]
        return [table(("", *ledger.PAPERS.values()), cells, "ledger-summary")]

    def held(self, evidence, paper, role):
        statements = [one for one in evidence.claims.statements.values() if one.paper == paper]
        words = [evidence.verdict(probe.id) for one in statements for probe in one.probes if probe.role == role]
        return f"{words.count('reproduced')} of {len(words)}" if words else "–"


class LedgerUnsettled(SphinxDirective):
    """The probes whose word more seeds could change."""

    def run(self):
        evidence = self.env.app.ledger.evidence
        measured = [id for id in evidence.claims.probes if evidence.deciding(id) is not None]
        open_ends = [id for id in measured if not evidence.settled(id)]
        items = []
        for id in open_ends:
            record = evidence.deciding(id)
            text = f" {record.share}, of all seeds {record.interval}"
            items.append(
                nodes.list_item(
                    "",
                    paragraph("", badge(record.verdict, id), nodes.Text(" "), nodes.literal("", id), nodes.Text(text)),
                )
            )
        head = paragraph(f"{len(open_ends)} of {len(measured)} probes, each with its share and the 95 % interval:")
        return [head, nodes.bullet_list("", *items)] if items else [paragraph("None.")]


class LedgerChanges(SphinxDirective):
    """The tolerances that were changed after a run, with what each would give."""

    def run(self):
        shelf = self.env.app.ledger
        rows = []
        for probe in shelf.claims.probes.values():
            for change in probe.changed:
                rows.append(
                    [
                        [
                            paragraph("", badge(shelf.evidence.verdict(probe.id), probe.id)),
                            small(nodes.literal("", probe.id)),
                        ],
                        [paragraph(change["before"])],
                        [paragraph(change["now"])],
                        [paragraph(change["gives"])],
                    ]
                )
        return [table(("Claim", "Before", "Now", "What each gives"), rows, "ledger-changes")]


class LedgerAxes(SphinxDirective):
    """How values and words change under other conditions, one row a condition."""

    HEAD = ("Under", "Probes", "Other values", "Largest move", "Other words", "Red", "On")

    def run(self):
        axes, probes = self.env.app.ledger.axes, self.env.app.ledger.claims.probes
        return [table(self.HEAD, [self.row(axis, probes) for axis in axes.values()], "ledger-axes")]

    def row(self, axis, probes):
        chaotic = sum(bool(probes[id].chaotic) for id in axis["moved"] if id in probes)
        moved = f"{len(axis['moved'])} of {axis['paired']}" + (f", {chaotic} named chaotic" if chaotic else "")
        largest = f"{max(axis['moved'].values()):.0e}" if axis["moved"] else "–"
        made = axis["made"]
        machine = f"{made['processor']}, Python {made['python']}, torch {made['torch']}, NumPy {made['numpy']}"
        texts = [axis["says"], str(axis["probes"]), moved if axis["paired"] else "other seeds", largest]
        words = [paragraph(str(len(axis["words"])))]
        if axis["words"]:
            words.append(small(nodes.literal("", ", ".join(axis["words"]))))
        red = paragraph(str(len(axis["red"])))
        return [*([paragraph(text)] for text in texts), words, [red], [small(nodes.Text(machine))]]


def numbers(*counts):
    return [nodes.Text(str(count)) for count in counts]


def badge(verdict, id=None):
    """The verdict as a small label; with an id it leads to the claim's row. The sign before the word is the CSS's."""
    label = nodes.inline("", verdict, classes=["ledger-badge", f"ledger-{verdict.replace(' ', '-')}"])
    if id is None:
        return label
    return addnodes.pending_xref("", label, refdomain="", reftype="ledger", reftarget=f"claim-{id}", refwarn=False)


def resolve_badge(app, env, node, content):
    """Lead a badge to its claim's row; in a book without the table it stays a label."""
    if node.get("reftype") != "ledger":
        return None
    document, anchor = env.get_domain("std").anonlabels.get(node["reftarget"], (None, None))
    if document is None:
        return content
    return make_refnode(app.builder, env.docname, document, anchor, content)


def paragraph(text, *children):
    return nodes.paragraph("", text, *children)


def small(*children):
    return nodes.paragraph("", "", *children, classes=["ledger-small"])


def table(head, rows, name):
    """A docutils table; a cell is a list of nodes, a head cell a text. The widths are the CSS's."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in head), cols=len(head))
    group += nodes.thead("", entries([[paragraph(text)] for text in head]))
    group += nodes.tbody("", *(entries(row) for row in rows))
    return nodes.table("", group, classes=[name])


def entries(cells):
    return nodes.row("", *(nodes.entry("", *cell) for cell in cells))


def read_shelf(app, config):
    """Read the ledger once. A change in it is a change of configuration: Sphinx then reads every page anew."""
    try:
        app.ledger = Shelf.read(app)
    except InputError as error:
        raise ExtensionError(f"the ledger cannot be read: {error}") from None
    config.ledger_fingerprint = app.ledger.fingerprint()


def setup(app):
    app.add_config_value("ledger_records", ["records", "executed/*"], "")
    app.add_config_value("ledger_claims", None, "")
    app.add_config_value("ledger_results", None, "")
    app.add_config_value("ledger_notebooks", "notebooks", "env")
    app.add_config_value("ledger_fingerprint", "", "env")
    app.add_role("ledger", LedgerRole())
    app.add_directive("ledger-table", LedgerTable)
    app.add_directive("ledger-summary", LedgerSummary)
    app.add_directive("ledger-unsettled", LedgerUnsettled)
    app.add_directive("ledger-changes", LedgerChanges)
    app.add_directive("ledger-axes", LedgerAxes)
    app.connect("config-inited", read_shelf)
    app.connect("missing-reference", resolve_badge)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
