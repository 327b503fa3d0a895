"""Add seeds to the pools: run the notebooks from further first seeds on, and keep each seed's value once.

What is there is not run again, so that a pool whose making was killed goes on where it was. Once a notebook or the code
it uses has changed, its first run is made anew: probes whose values it repeats keep their pool, of the others all seeds
are measured again.
"""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tools.follow import code
from tools.provenance import code_hash, digest, resolve_device
from tools.run import run_one
from tools.store import fresh
from tools.tree import ToolError, arguments, main, read_json, write_json

BLOCK = 5  # seeds of one run: what every notebook takes at least
KEPT = ("commit", "device", "processor", "threads", "python", "torch", "numpy", "duration_seconds", "date")
ADDING = threading.Lock()


def pool(tree, size, device, jobs, seeds, names=()):
    """Fill the pools of one size with the seeds of a range, ``jobs`` notebooks at a time."""
    from companion import ledger  # loads NumPy: only where the command line was right

    names, claims = list(names) or tree.names(), ledger.load_claims(tree.root / "claims")

    def measured(start, name):
        part = replace(tree, first_seed=start)
        if not fresh(part, name, size, device) and not run_one(part, name, size, device, jobs):
            raise ToolError(f"{name} failed at size {size} from seed {start} on; its pool is as it was")
        return read_json(part.run_record(size, name))

    def again(name):
        found = stored(tree, size, name)
        if found["runs"] and found["source"] != source(tree, name):
            start = min(map(int, found["runs"]))
            renew(tree, ledger, claims, size, name, start, measured(start, name))

    def block(start, name):
        if not covered(stored(tree, size, name), start):
            run = measured(start, name)
            with ADDING:
                add(tree, ledger, size, name, start, run)

    with ThreadPoolExecutor(max(1, jobs)) as workers:
        list(workers.map(again, names))
        blocks = [(start, name) for start in range(seeds.start, seeds.stop, BLOCK) for name in names]
        list(workers.map(lambda one: block(*one), blocks))
    for name in names:
        print(f"  {name}  {len(stored(tree, size, name)['runs'])} runs in the pool")


def add(tree, ledger, size, name, start, run):
    """Put the values of a run into the pool of its notebook."""
    found = stored(tree, size, name)
    values = ledger.pooled([*found["records"], *run["records"]])
    found["records"] = [pool_record(id, size, name, known) for id, known in values.items()]
    seeds = [len(record["seeds"]) for record in run["records"] if record["seeds"]]
    made = {"seeds": min(seeds, default=None)} | {key: run["provenance"].get(key) for key in KEPT}
    write_json(tree.pool(size, name), found | {"source": source(tree, name), "runs": found["runs"] | {start: made}})


def renew(tree, ledger, claims, size, name, start, run):
    """After a change: keep the probes whose values the first run repeats, and measure the others again.

    Where only some are kept, the runs that these come from are remembered as earlier ones.
    """
    found = stored(tree, size, name)
    values, now = ledger.pooled(found["records"]), ledger.pooled(run["records"])

    def stands(id):
        known = values.get(id, {})
        chaotic = id in claims.probes and claims.probes[id].chaotic
        return bool(known) and (chaotic or all(ledger.same(v, known.get(s, v)) for s, v in now[id].items()))

    kept = [id for id in now if stands(id)]
    for id in sorted(set(values) - set(kept)):
        print(f"  {name}  {id} is no longer what its pool holds: all its seeds are measured again")
    found["records"] = [pool_record(id, size, name, values[id]) for id in kept]
    if len(kept) < len(now):
        found["earlier"], found["runs"] = (found.get("earlier", {}) | found["runs"] if kept else {}), {}
    write_json(tree.pool(size, name), found | {"source": source(tree, name)})


def covered(found, start):
    """Whether the pool has the seeds of the block; a notebook without seeds has them all."""
    runs = ((int(first), run["seeds"]) for first, run in found["runs"].items())
    return any(count is None or first <= start <= first + count - BLOCK for first, count in runs)


def stored(tree, size, name):
    return read_json(tree.pool(size, name)) or {"source": source(tree, name), "runs": {}, "records": []}


def source(tree, name):
    """The hash of what a notebook computes: its code and that which it uses, without texts and comments."""
    return digest(code(tree.source(name)), code_hash(tree, name).encode())


def pool_record(id, size, name, known):
    seeds = sorted(known)
    return {"id": id, "size": size, "notebook": name, "seeds": seeds, "values": [plain(known[s]) for s in seeds]}


def plain(value):
    """A value as JSON has it, which knows no infinity."""
    return str(value) if value in (float("inf"), float("-inf")) else value


def seed_range(text):
    """The seeds that a text such as 0:50 means."""
    if not (ends := re.fullmatch(r"(\d+):(\d+)", text)) or int(ends[1]) >= int(ends[2]):
        raise ToolError(f"seeds are given as first:last, such as 0:50; got {text!r}")
    return range(int(ends[1]), int(ends[2]))


if __name__ == "__main__":
    parser = arguments(__doc__.splitlines()[0], size=True, device=True, jobs=True, names=True)
    parser.add_argument("--seeds", required=True, metavar="FIRST:LAST", help="such as 0:50")
    options = parser.parse_args()
    main(
        lambda: pool(
            options.tree,
            options.size,
            resolve_device(options.device),
            options.jobs,
            seed_range(options.seeds),
            options.names,
        )
    )
