"""Do the claims still hold? Run the notebooks at one size and hold the ledger against what they recorded.

From seed 0 on the runs are held against the bands of the ledger, and against what is published. From another seed on
they are held against the pools.
"""

from dataclasses import replace

from tools.run import run
from tools.tree import ToolError, arguments, main


def check(tree, size, device, jobs):
    from companion import ledger  # loads NumPy: only where the command line was right

    run(tree, size, device, jobs)
    fresh = [record for name in tree.names() for record in ledger.read_records(tree.run_record(size, name))]
    published = [record for name in tree.names() for record in ledger.read_records(tree.published(size, name))]
    claims = ledger.load_claims(tree.root / "claims.yml")
    claims = {id: claim for id, claim in claims.items() if claim.notebook in tree.names()}  # of what is written
    if tree.first_seed:
        pool = ledger.pooled(record for name in tree.names() for record in ledger.read_records(tree.pool(size, name)))
        if not pool:
            raise ToolError(f"there is no pool of size {size} to hold other seeds against: make pool SIZE={size}")
        problems = ledger.compare(claims, fresh, pool)
    else:
        problems = ledger.check(claims, fresh, published, size)
    if problems:
        raise ToolError(f"the ledger does not hold at size {size}:\n  " + "\n  ".join(problems))
    print(f"== the ledger holds at size {size}: {len(fresh)} claims measured, from seed {tree.first_seed} on")


if __name__ == "__main__":
    options = arguments(__doc__, size=True, device=True, jobs=True, first_seed=True).parse_args()
    tree = replace(options.tree, first_seed=options.first_seed)
    main(lambda: check(tree, options.size, options.device, options.jobs))
