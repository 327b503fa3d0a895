"""Do the claims still hold? Run the notebooks at one size and hold the ledger against what they recorded."""

from tools.run import run
from tools.tree import ToolError, arguments, main


def check(tree, size, device, jobs):
    from companion import ledger  # loads NumPy: only where the command line was right

    run(tree, size, device, jobs)
    fresh = [record for name in tree.names() for record in ledger.read_records(tree.run_record(size, name))]
    published = [record for name in tree.names() for record in ledger.read_records(tree.published(size, name))]
    claims = ledger.load_claims(tree.root / "claims.yml")
    claims = {id: claim for id, claim in claims.items() if claim.notebook in tree.names()}  # of what is written
    problems = ledger.check(claims, fresh, published, size)
    if problems:
        raise ToolError(f"the ledger does not hold at size {size}:\n  " + "\n  ".join(problems))
    print(f"== the ledger holds at size {size}: {len(fresh)} claims measured")


if __name__ == "__main__":
    options = arguments(__doc__, size=True, device=True, jobs=True).parse_args()
    main(lambda: check(options.tree, options.size, options.device, options.jobs))
