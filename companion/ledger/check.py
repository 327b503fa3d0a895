"""The check: do the claims still hold?"""

from collections.abc import Iterable, Mapping

from companion.ledger.claims import SIZES, Claim
from companion.ledger.records import Record
from companion.ledger.show import number_text
from udulib.errors import InputError


def check(claims: Mapping[str, Claim], fresh: Iterable[Mapping], published: Iterable[Mapping], size: str) -> list[str]:
    """What is red: one sentence for each way in which a fresh run disagrees with the ledger. Empty means green.

    Red are values that leave ``observed[size]``, claims with a band for this size that were not recorded, records
    without a band, verdicts that differ from the published ones, in either direction, and verdicts other than
    *reproduced* without a reason.

    Parameters
    ----------
    claims : dict of str to Claim
        As :func:`load_claims` gives them.
    fresh, published : iterable of dict
        Records as JSON data, see :func:`read_records`; those of other sizes are left out of account.
    size : {"ci", "book", "paper"}

    Examples
    --------
    >>> from companion.ledger import Band
    >>> band = Band(equals=3)
    >>> claim = Claim("x", "ours", "here", "The rank is 3.", "rank", "theorem", "01", band, {"ci": band})
    >>> fresh = [Record(claim, "ci", values=(4,)).as_json()]
    >>> published = [Record(claim, "ci", values=(3,)).as_json()]
    >>> for finding in check({"x": claim}, fresh, published, "ci"):
    ...     print(finding)
    x: 4 left the observed band (3)
    x: the verdict is differs, the published one is reproduced; see why, then publish anew
    x: the verdict is differs, and claims.yml gives no reason
    """
    if size not in SIZES:
        raise InputError(f"size is one of {', '.join(SIZES)}; got {size!r}")
    findings = []
    fresh = {entry["id"]: entry for entry in fresh if entry["size"] == size}
    entries, published = published, {}
    for entry in entries:
        if entry["size"] != size:
            continue
        published[entry["id"]] = entry["verdict"]
        try:
            Record.from_json(entry, claims)
        except InputError as error:
            findings.append(f"{entry['id']}: what is published no longer fits claims.yml ({error})")
    findings += [f"{id}: recorded, and not in claims.yml" for id in sorted(set(fresh) - set(claims))]
    for id, claim in claims.items():
        band = claim.observed.get(size)
        if id not in fresh:
            if band is not None:
                findings.append(f"{id}: has an observed band for size {size}, and {claim.notebook} did not record it")
            elif id in published:
                findings.append(f"{id}: published at size {size} ({published[id]}), and no longer recorded")
            elif not claim.observed and not claim.reason:
                findings.append(f"{id}: not attempted, and claims.yml gives no reason")
            continue
        record = Record.from_json(fresh[id], claims)
        if fresh[id].get("notebook") != claim.notebook:
            findings.append(f"{id}: recorded by {fresh[id].get('notebook')}, and claims.yml names {claim.notebook}")
        if band is None:
            findings.append(f"{id}: recorded at size {size}, and claims.yml has no observed band for it")
        elif not record.in_observed:
            out = ", ".join(number_text(value) for value in record.values if value not in band)
            findings.append(f"{id}: {out} left the observed band ({band})")
        if id not in published:
            findings.append(f"{id}: the verdict is {record.verdict}, and none is published; publish size {size}")
        elif record.verdict != published[id]:
            changed = f"the verdict is {record.verdict}, the published one is {published[id]}"
            findings.append(f"{id}: {changed}; see why, then publish anew")
        if record.verdict != "reproduced" and not claim.reason:
            findings.append(f"{id}: the verdict is {record.verdict}, and claims.yml gives no reason")
    return findings
