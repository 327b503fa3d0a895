"""The ledger in the book: badges, numbers and tables made from claims.yml and the runs, so that no page types a number.

In prose, a role: ``{ledger}`a-bm-tail-4th``` is a badge with the verdict that leads to the claim's row, and
``{ledger}`a-bm-tail-4th:value``` a number or a word, where after the colon stands one of

    value      median and range over seeds        stated     the paper's own number
    median     the median alone                   expected   the band that confirms it
    range      smallest to largest                verdict    the verdict as a word
    seeds      on how many seeds it rests         size       at which size it was measured

Where a claim was measured at several sizes the largest counts; ``:value@ci`` asks for one of them. On a page,
``{ledger-summary}`` counts verdicts and ``{ledger-table}`` lists claims, all or those of one ``:paper:``,
``:notebook:`` or ``:verdict:``. An unknown claim, or a number that nobody has measured, is a warning.

The configuration's ``ledger_records`` names the folders, below the source folder, that hold the records of the runs
the book is made from; ``ledger_claims`` and ``ledger_results`` may name others than udulib's.
"""

import hashlib
import json
import re
from dataclasses import dataclass
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
    "seeds": lambda record: record.count,
    "size": lambda record: record.size,
}


@dataclass(frozen=True)
class Shelf:
    """All claims and what was measured for them: ``own`` by the runs of this book, ``published`` before, by size."""

    claims: dict
    own: dict
    published: dict

    @classmethod
    def read(cls, app):
        claims = ledger.load_claims(app.config.ledger_claims)
        folders = [folder for pattern in app.config.ledger_records for folder in sorted(app.srcdir.glob(pattern))]
        entries = [entry for folder in folders for entry in ledger.read_records(folder)]
        own = {entry["id"]: ledger.Record.from_json(entry, claims) for entry in entries}
        results = app.config.ledger_results or ledger.home() / "results"
        published = {size: ledger.load_records(f"{results}/{size}", claims) for size in ledger.SIZES}
        return cls(claims, own, published)

    def records(self, id):
        """This book's own record, and the published one of a larger size, in this order, where there are such."""
        found = [self.own[id]] if id in self.own else []
        sizes = [size for size in ledger.SIZES if id in self.published[size]]
        if sizes and (not found or ledger.SIZES.index(sizes[-1]) > ledger.SIZES.index(found[0].size)):
            found.append(self.published[sizes[-1]][id])
        return found

    def record(self, id, size=None):
        """The record that counts: of the given size, or else of the largest."""
        if size is None:
            return (self.records(id) or [None])[-1]
        own = self.own.get(id)
        return own if own is not None and own.size == size else self.published[size].get(id)

    def verdict(self, id):
        record = self.record(id)
        return record.verdict if record is not None else "not attempted"

    def fingerprint(self):
        """Changes when anything changes that a page may show."""
        records = [self.own, *self.published.values()]
        shown = [repr(self.claims), [[record.as_json() for record in part.values()] for part in records]]
        return hashlib.sha256(json.dumps(shown).encode()).hexdigest()


class LedgerRole(SphinxRole):
    """A claim's badge, or one of its numbers and words."""

    def run(self):
        match = re.fullmatch(r"([a-z0-9-]+)(?::([a-z]+))?(?:@([a-z]+))?", self.text)
        id, what, size = match.groups() if match else (self.text, None, None)
        shelf = self.env.app.ledger
        if id not in shelf.claims:
            return self.missing(f"claims.yml has no claim {id!r}")
        if size is not None and size not in ledger.SIZES:
            return self.missing(f"size is one of {', '.join(ledger.SIZES)}; got {size!r}")
        claim, record = shelf.claims[id], shelf.record(id, size)
        word = record.verdict if record is not None else "not attempted"
        if what is None:
            return [badge(word, id)], []
        if what == "verdict":
            return [nodes.Text(word)], []
        if what in ("stated", "expected"):
            text = str(getattr(claim, what) or "")
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
    """One row a claim, grouped by paper."""

    option_spec: ClassVar = {
        "paper": lambda value: directives.choice(value, tuple(ledger.PAPERS)),
        "verdict": lambda value: directives.choice(value, tuple(ledger.VERDICTS)),
        "notebook": directives.unchanged_required,
    }

    def run(self):
        shelf = self.env.app.ledger
        chosen = [claim for claim in shelf.claims.values() if self.chosen(claim, shelf.verdict(claim.id))]
        if not chosen:
            logger.warning("no claim is chosen by these options", location=self.get_location(), type="ledger")
        groups = {paper: [claim for claim in chosen if claim.paper == paper] for paper in ledger.PAPERS}
        found = []
        for paper, claims in groups.items():
            if claims and "paper" not in self.options:
                found.append(nodes.rubric("", ledger.PAPERS[paper]))
            if claims:
                head = ("Verdict and statement", "Expected" if paper == "ours" else "The paper", "Ours")
                found.append(table(head, [self.row(claim, shelf) for claim in claims], "ledger-table"))
        return found

    def chosen(self, claim, verdict):
        facts = {"paper": claim.paper, "notebook": claim.notebook, "verdict": verdict}
        return all(facts[option] == wanted for option, wanted in self.options.items())

    def row(self, claim, shelf):
        verdict = shelf.verdict(claim.id)
        statement = [paragraph("", badge(verdict)), paragraph(claim.statement)]
        statement.append(small(nodes.literal("", claim.id), nodes.Text(f" · {claim.where}")))
        statement.append(small(nodes.Text(f"Measured: {claim.quantity}.")))
        if claim.reason and verdict != "reproduced":
            statement.append(small(nodes.Text(f"Why: {claim.reason}")))
        if not set(self.options) - {"paper"}:  # the page's own table: badges lead to its rows
            name = f"claim-{claim.id}"
            statement[0]["ids"].append(name)
            self.env.get_domain("std").note_hyperlink_target(name, self.env.docname, name)
        said = [paragraph(claim.stated)] if claim.stated else []
        if claim.expected is not None:
            band = str(claim.expected)
            said.append(small(nodes.Text(f"expected: {band}")) if said else paragraph(band))
        ours = []
        for record in shelf.records(claim.id):
            ours.append(paragraph(record.value))
            differs = "" if record.verdict == verdict else f": {record.verdict}"
            ours.append(small(nodes.Text(f"{record.count}, size {record.size}{differs}")))
        ours.append(small(self.notebook(claim.notebook)))
        return [statement, said, ours]

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
    """How many claims of each paper have which verdict."""

    def run(self):
        shelf = self.env.app.ledger
        facts = [(claim.paper, shelf.verdict(claim.id)) for claim in shelf.claims.values()]
        rows = []
        for verdict in ledger.VERDICTS:
            counts = [facts.count((paper, verdict)) for paper in ledger.PAPERS]
            rows.append([badge(verdict), *numbers(*counts, sum(counts))])
        totals = [sum(paper == fact[0] for fact in facts) for paper in ledger.PAPERS]
        rows.append([nodes.Text("all"), *numbers(*totals, len(facts))])
        cells = [[[paragraph("", cell)] for cell in row] for row in rows]
        return [table(("", *ledger.PAPERS.values(), "all"), cells, "ledger-summary")]


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
    app.connect("config-inited", read_shelf)
    app.connect("missing-reference", resolve_badge)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
