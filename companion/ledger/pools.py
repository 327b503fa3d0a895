r"""Pools: what all runs of one size measured, one value a seed, and how fresh runs compare with them.

A verdict of five seeds is one draw. A pool keeps every seed's value once, whatever run it came from. A run of seeds
that are in the pool gives the pool's values again, up to round-off; fresh seeds are held against the pool by two exact
tests: Fisher's on the counts in the band, and Wilcoxon's rank sum on the values. Over all claims together the chance
of a false alarm is kept below :data:`ERROR` by Holm's correction, which needs no independence: claims of one notebook
share their runs.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from companion.ledger.claims import SIZES, Probe
from companion.ledger.numbers import parsed_number
from companion.ledger.records import Record
from companion.ledger.show import number_text
from udulib.errors import InputError

ERROR = 1e-3  # chance of one false alarm or more over all claims of a check
EQUAL = 1e-6  # relative difference up to which values of one seed are equal


def pooled(records: Iterable[Mapping]) -> dict[str, dict[int, object]]:
    """Values by claim and seed, of records as JSON data; of a seed that was run twice the first value stays.

    Records that hang on no seed are left out.

    Examples
    --------
    >>> pooled([{"id": "x", "seeds": [0, 1], "values": [3, 4]}, {"id": "x", "seeds": [1, 2], "values": [5, 6]}])
    {'x': {0: 3, 1: 4, 2: 6}}
    """
    pool = {}
    for record in (record for record in records if record["seeds"]):
        known = pool.setdefault(record["id"], {})
        for seed, value in zip(record["seeds"], record["values"], strict=True):
            known.setdefault(seed, parsed_number(value))
    return pool


def check(probes: Mapping[str, Probe], fresh: Iterable[Mapping], pool: Mapping[str, Mapping], size: str) -> list[str]:
    """What is red: one sentence for each way in which a run disagrees with the ledger. Empty means green.

    Red are probes that a run of this size should have recorded and did not (unless their claim says why), records that
    no claim asks for, values of a theorem that leave their band, values of a seed that are not those of the pool, and
    fresh seeds that do not look like the pool's, be it that a claim ceases to hold or that it begins to. Of probes
    named chaotic a seed need not repeat its value: theirs count as fresh.

    Parameters
    ----------
    probes : dict of str to Probe
    fresh : iterable of dict
        Records as JSON data, see :func:`read_records`; those of other sizes are left out of account.
    pool : dict of dict
        As :func:`pooled` gives it.
    size : {"ci", "book", "paper"}

    Examples
    --------
    >>> from companion.ledger import Band
    >>> probe = Probe("x", "01", "The rank is 3.", "rank", "always", "beyond", Band(equals=3), ("ci",))
    >>> pool = {"x": dict.fromkeys(range(50), 3)}
    >>> run = {"id": "x", "size": "ci", "notebook": "01", "seeds": [50, 51, 52, 53, 54], "values": [3, 3, 4, 3, 3]}
    >>> check({"x": probe}, [run], pool, "ci")
    []
    >>> check({"x": probe}, [run | {"values": [4, 4, 4, 4, 4]}], pool, "ci")
    ['x: 0 of 5 fresh seeds in the band, 50 of 50 before (p = 6e-07)']
    >>> check({"x": probe}, [run | {"seeds": [0, 1, 2, 3, 4]}], pool, "ci")
    ['x: seed 2 gives 4, and 3 in the pool; if that is meant, make pool NB=01']
    """
    if size not in SIZES:
        raise InputError(f"size is one of {', '.join(SIZES)}; got {size!r}")
    fresh = {entry["id"]: entry for entry in fresh if entry.get("size") == size}
    findings = [f"{id}: recorded, and no claim asks for it" for id in sorted(set(fresh) - set(probes))]
    tested = []
    for id, probe in probes.items():
        if id not in fresh:
            if size in probe.sizes and not probe.absent:
                findings.append(f"{id}: is measured at size {size}, and {probe.notebook} did not record it")
            continue
        record, known = Record.from_json(fresh[id], probes), pool.get(id, {})
        if fresh[id].get("notebook") != probe.notebook:
            findings.append(f"{id}: recorded by {fresh[id].get('notebook')}, and its claim names {probe.notebook}")
        if size not in probe.sizes:
            findings.append(f"{id}: recorded at size {size}, and its claim does not name that size")
        if not probe.seeded:
            findings += _outside(record)
            continue
        given = dict(zip(record.seeds, record.values, strict=True))
        if not probe.chaotic:
            findings += _moved(probe, given, known)
            given = {seed: value for seed, value in given.items() if seed not in known}
        known = {seed: value for seed, value in known.items() if seed not in given}
        if given and known:
            tested.append((id, *_difference(list(given.values()), list(known.values()), probe.expected)))
    return findings + _significant(tested)


def same(value, other) -> bool:
    """Whether two values of one seed are equal up to round-off.

    Examples
    --------
    >>> same(1.0, 1.0 + 1e-9), same(1.0, 1.001), same(True, False)
    (True, False, False)
    """
    return value == other or abs(value - other) <= EQUAL * max(abs(value), abs(other)) < math.inf


def fisher(inside: int, of: int, inside_other: int, of_other: int) -> float:
    """Fisher's exact two-sided p: the chance of counts at least as unlikely as these, were both shares one.

    Examples
    --------
    >>> round(fisher(3, 4, 1, 4), 4)
    0.4857
    """
    total, both = of + of_other, inside + inside_other
    possible = range(max(0, both - of_other), min(of, both) + 1)
    ways = {k: math.comb(of, k) * math.comb(of_other, both - k) for k in possible}
    return float(sum(w for w in ways.values() if w <= ways[inside]) / math.comb(total, both))


def rank_sum(values, others) -> float:
    """Wilcoxon's exact two-sided p: the chance of ranks at least as one-sided, were both draws from one population.

    Equal values count half; the distribution is that of ranks without ties, which errs to the side of no alarm.

    Examples
    --------
    >>> round(rank_sum([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]), 4)
    0.1
    """
    x, y = np.asarray(values, float)[:, None], np.asarray(others, float)
    wins = float((x > y).sum() + 0.5 * (x == y).sum())
    m, n = len(x), len(y)
    counts = _rank_counts(m, n)  # of each number of wins
    extreme = min(wins, m * n - wins)
    return min(1.0, 2 * sum(counts[: math.floor(extreme) + 1]) / math.comb(m + n, m))


def _outside(record):
    """Values of a theorem that leave the band: its own, or that which ours are known to keep to."""
    band = record.probe.observed.get(record.size, record.probe.expected)
    out = ", ".join(number_text(value) for value in record.values if value not in band)
    return [f"{record.id}: {out} left the band ({band})"] if out else []


def _moved(probe, given, known):
    moved = [seed for seed, value in given.items() if seed in known and not same(value, known[seed])]
    if not moved:
        return []
    now, before = number_text(given[moved[0]]), number_text(known[moved[0]])
    more = f" (and {len(moved) - 1} more)" if len(moved) > 1 else ""
    meant = f"if that is meant, make pool NB={probe.notebook}"
    return [f"{probe.id}: seed {moved[0]}{more} gives {now}, and {before} in the pool; {meant}"]


def _significant(tested):
    """Holm's: the smallest p times the number of tests, the next times one less, up to the first that passes."""
    findings = []
    tested = sorted(tested, key=lambda one: one[1])
    for place, (id, p, sentence) in enumerate(tested):
        if p * (len(tested) - place) > ERROR:
            break
        findings.append(f"{id}: {sentence} (p = {p:.0e})")
    return findings


def _difference(new, known, band):
    """Twice the smaller p of both tests, since there are two, and what is seen."""
    inside, before = (sum(value in band for value in values) for values in (new, known))
    counts = fisher(inside, len(new), before, len(known))
    ranks = rank_sum(new, known)
    if counts <= ranks:
        sentence = f"{inside} of {len(new)} fresh seeds in the band, {before} of {len(known)} before"
    else:
        sentence = f"median {number_text(float(np.median(new)))}, {number_text(float(np.median(known)))} before"
    return min(1.0, 2 * min(counts, ranks)), sentence


def _rank_counts(m, n):
    """How many ways there are to have w wins of m values over n others, for w = 0 … mn: Gauss's coefficients."""
    counts = [1] + [0] * (m * n)
    for k in range(1, m + 1):
        for w in range(m * n, n + k - 1, -1):  # times 1 - q^(n + k)
            counts[w] -= counts[w - n - k]
        for w in range(k, m * n + 1):  # over 1 - q^k
            counts[w] += counts[w - k]
    return counts
