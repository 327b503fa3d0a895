"""The ledger: what the papers state, what was measured, and the verdict computed from the two.

A *statement* is one thing that a paper says (or we), a *probe* of it a measured quantity with the band of values that
would confirm it, and a *record* what a notebook measured for a probe, one value a seed. The verdict is never typed. It
rests on the seeds of all runs: from nine tenths of them in the band it is *reproduced*, up to one tenth *differs*,
between *in part*, and nothing measured is *not attempted*.
"""

from companion.ledger.bands import Band
from companion.ledger.book import Badge, Ledger, Table
from companion.ledger.claims import DECIDING, KINDS, PAPERS, ROLES, SIZES, Claims, Probe, Statement, load_claims
from companion.ledger.evidence import Evidence, entries, load_evidence, misfits
from companion.ledger.places import home, write_json
from companion.ledger.pools import check, pooled, same
from companion.ledger.records import SEEDS_NEEDED, Record, read_records
from companion.ledger.shares import Share, share_of, verdict
from companion.ledger.show import VERDICTS, number_text

__all__ = [
    "DECIDING",
    "KINDS",
    "PAPERS",
    "ROLES",
    "SEEDS_NEEDED",
    "SIZES",
    "VERDICTS",
    "Badge",
    "Band",
    "Claims",
    "Evidence",
    "Ledger",
    "Probe",
    "Record",
    "Share",
    "Statement",
    "Table",
    "check",
    "entries",
    "home",
    "load_claims",
    "load_evidence",
    "misfits",
    "number_text",
    "pooled",
    "read_records",
    "same",
    "share_of",
    "verdict",
    "write_json",
]
