"""Add seeds to the pools: run the notebooks from further first seeds on, and keep each seed's value once.

A pool is of one source: once a notebook or the code it uses changes, its values are dropped. What is there is not run
again, so that a pool whose making was killed goes on where it was.
"""

import re
from dataclasses import replace

from tools.follow import code
from tools.provenance import code_hash, digest, resolve_device
from tools.run import run
from tools.tree import ToolError, arguments, main, read_json, write_json

BLOCK = 5  # seeds of one run: what every notebook takes at least


def pool(tree, size, device, jobs, seeds, names=()):
    """Fill the pools of one size with the seeds of a range."""
    from companion import ledger  # loads NumPy: only where the command line was right

    names = list(names) or tree.names()
    for start in range(seeds.start, seeds.stop, BLOCK):
        part = replace(tree, first_seed=start)
        wanted = [name for name in names if str(start) not in stored(tree, size, name)["runs"]]
        if wanted:
            run(part, size, device, jobs, wanted)
        for name in wanted:
            add(part, ledger, size, name)
        print(f"  seeds from {start}: {len(wanted)} notebooks run, {len(names) - len(wanted)} in the pool", flush=True)


def add(part, ledger, size, name):
    """Put the values of a run into the pool of its notebook."""
    found, run_record = stored(part, size, name), read_json(part.run_record(size, name))
    values = ledger.pooled([*found["records"], *run_record["records"]])
    found["records"] = [
        {
            "id": id,
            "size": size,
            "notebook": name,
            "seeds": sorted(known),
            "values": [plain(known[s]) for s in sorted(known)],
        }
        for id, known in values.items()
    ]
    made = {key: run_record["provenance"][key] for key in ("commit", "device", "processor", "torch", "numpy", "date")}
    found["runs"][str(part.first_seed)] = made
    write_json(part.pool(size, name), found)


def stored(tree, size, name):
    """The pool of a notebook, or an empty one where there is none, or one of another source."""
    source = digest(code(tree.source(name)), code_hash(tree, name).encode())  # without texts and comments
    found = read_json(tree.pool(size, name))
    return found if found and found.get("source") == source else {"source": source, "runs": {}, "records": []}


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
