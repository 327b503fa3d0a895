"""Do the claims still hold? Run the notebooks at one size and hold what they recorded against claims and pools."""

from dataclasses import replace

from tools.run import run
from tools.tree import ToolError, arguments, main


def check(tree, size, device, jobs):
    from companion import ledger  # loads NumPy: only where the command line was right

    run(tree, size, device, jobs)
    fresh = [record for name in tree.names() for record in ledger.read_records(tree.run_record(size, name))]
    claims = ledger.load_claims(tree.root / "claims")
    probes = {id: probe for id, probe in claims.probes.items() if probe.notebook in tree.names()}  # of what is written
    pool = ledger.pooled(ledger.entries(size, tree.root / "results"))
    problems = ledger.check(probes, fresh, pool, size)
    if problems:
        raise ToolError(f"the ledger does not hold at size {size}:\n  " + "\n  ".join(problems))
    print(f"== the ledger holds at size {size}: {len(fresh)} claims measured, from seed {tree.first_seed} on")


if __name__ == "__main__":
    options = arguments(__doc__, size=True, device=True, jobs=True, first_seed=True).parse_args()
    tree = replace(options.tree, first_seed=options.first_seed)
    main(lambda: check(tree, options.size, options.device, options.jobs))
