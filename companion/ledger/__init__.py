"""The ledger: what the papers state, what was measured, and the verdict computed from the two.

A *claim* is one statement of a paper (or of ours) with the band of values that would confirm it. A *record* is what a
notebook measured for it, one value a seed. The verdict is never typed: every value inside the band is *reproduced*,
none is *differs*, some is *in part*, and nothing measured is *not attempted*.
"""

from companion.ledger.bands import Band
from companion.ledger.book import Ledger, Table
from companion.ledger.check import check
from companion.ledger.claims import KINDS, PAPERS, SIZES, TEXTS, Claim, load_claims, verdict
from companion.ledger.places import home, write_json
from companion.ledger.pools import Share, compare, pooled, share_of
from companion.ledger.records import SEEDS_NEEDED, Record, load_records, read_records
from companion.ledger.show import VERDICTS, number_text

__all__ = [
    "KINDS",
    "PAPERS",
    "SEEDS_NEEDED",
    "SIZES",
    "TEXTS",
    "VERDICTS",
    "Band",
    "Claim",
    "Ledger",
    "Record",
    "Share",
    "Table",
    "check",
    "compare",
    "home",
    "load_claims",
    "load_records",
    "number_text",
    "pooled",
    "read_records",
    "share_of",
    "verdict",
    "write_json",
]
