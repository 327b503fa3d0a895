r"""Pools: what all runs of one size measured, one value a seed, and how fresh seeds compare with them.

A verdict of five seeds is one draw. A pool keeps every seed's value once, whatever run it came from; how many of them
lie in a claim's band has an exact interval (Clopper and Pearson 1934), and fresh seeds are held against the pool by two
exact tests: Fisher's on the counts, and Wilcoxon's rank sum on the values. Over all claims together the chance of a
false alarm is kept below :data:`ERROR` by Holm's correction, which needs no independence: claims of one notebook share
their runs.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from companion.ledger.bands import Band
from companion.ledger.claims import Claim
from companion.ledger.numbers import parsed_number
from companion.ledger.show import number_text
from udulib.errors import InputError

ERROR = 1e-3  # chance of one false alarm or more over all claims of a check
SETTLED = (0.1, 0.9)  # shares at which the word changes
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Share:
    """How many seeds lie in a band, and what that says of all seeds.

    Attributes
    ----------
    inside, seeds : int
    low, high : float
        Exact 95 % interval of the share.
    """

    inside: int
    seeds: int
    low: float
    high: float

    @property
    def word(self) -> str:
        """*reproduced* from nine tenths on, *differs* up to one tenth, *in part* between."""
        share = self.inside / self.seeds
        return "reproduced" if share >= SETTLED[1] else "differs" if share <= SETTLED[0] else "in part"

    @property
    def settled(self) -> bool:
        """Whether the interval lies on one side of both borders: more seeds would hardly change the word."""
        return not any(self.low < border < self.high for border in SETTLED)

    def __str__(self):
        doubt = "" if self.settled else ", too few to be sure of the word"
        return f"{self.word}: {self.inside} of {self.seeds} ({self.low:.0%} to {self.high:.0%}{doubt})"


def share_of(values: Iterable, band: Band) -> Share:
    """The share of values in a band.

    Raises
    ------
    InputError
        No values.

    Examples
    --------
    >>> print(share_of([3] * 19 + [4], Band(equals=3)))
    reproduced: 19 of 20 (75% to 100%, too few to be sure of the word)
    >>> share_of([4] * 50, Band(equals=3)).settled
    True
    """
    found = [value in band for value in values]
    if not found:
        raise InputError("a share is that of one value at least; got none")
    k, n, tail = sum(found), len(found), (1 - CONFIDENCE) / 2
    low = 0.0 if k == 0 else _solved(lambda p: _binomial_tail(k, n, p) - tail)
    high = 1.0 if k == n else _solved(lambda p: tail - (1 - _binomial_tail(k + 1, n, p)))
    return Share(k, n, low, high)


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


def compare(claims: Mapping[str, Claim], fresh: Iterable[Mapping], pool: Mapping[str, Mapping]) -> list[str]:
    """What is red: claims whose fresh seeds do not look like the pool's. Empty means green.

    Parameters
    ----------
    claims : dict of str to Claim
    fresh : iterable of dict
        Records as JSON data, of seeds that may be in the pool or not; those that are count as the pool's.
    pool : dict of dict
        As :func:`pooled` gives it.

    Examples
    --------
    >>> claim = Claim("x", "ours", "here", "The rank is 3.", "rank", "statistical", "01", Band(equals=3))
    >>> pool = {"x": dict.fromkeys(range(50), 3)}
    >>> compare({"x": claim}, [{"id": "x", "seeds": [50, 51, 52, 53, 54], "values": [3, 3, 4, 3, 3]}], pool)
    []
    >>> compare({"x": claim}, [{"id": "x", "seeds": [50, 51, 52, 53, 54], "values": [4, 4, 4, 4, 4]}], pool)
    ['x: 0 of 5 fresh seeds in the band, 50 of 50 before (p = 6e-07)']
    """
    fresh = list(fresh)
    findings = [f"{record['id']}: recorded, and not in claims.yml" for record in fresh if record["id"] not in claims]
    found = []
    for record in (record for record in fresh if record["seeds"]):
        claim, known = claims.get(record["id"]), pool.get(record["id"], {})
        given = zip(record["seeds"], map(parsed_number, record["values"]), strict=True)
        new = [value for seed, value in given if seed not in known]
        if claim is not None and claim.kind == "statistical" and new and known:
            found.append((record["id"], *_difference(new, list(known.values()), claim.expected)))
    found.sort(key=lambda one: one[1])
    for place, (id, p, sentence) in enumerate(found):
        if p * (len(found) - place) > ERROR:
            break
        findings.append(f"{id}: {sentence} (p = {p:.0e})")
    return findings


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


def _binomial_tail(k, n, p):
    """The chance of k or more of n."""
    return math.fsum(math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(k, n + 1))


def _solved(rising):
    """Where an increasing function on [0, 1] is zero."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
