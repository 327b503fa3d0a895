"""Tune every method on MovieLens 100K and commit the logs: results/tuning/. Wants cornac: pip install cornac."""

import json
import platform
from datetime import UTC, datetime
from functools import partial

from companion.completion import ratings
from tools.provenance import git, processor, version
from tools.tree import ToolError, arguments, main, write_whole


def tune(tree, core):
    """Write the log anew after each method: what is done is kept if the rest is cut off."""
    if version("cornac") is None:
        raise ToolError("biased matrix factorization is cornac's, which is not installed: pip install cornac")
    path = tree.root / "results" / "tuning" / ratings.log_path(core).name
    table, logs = ratings.load(core), []
    for log in ratings.log_all(table):
        logs.append(log)
        write_whole(path, json.dumps({"provenance": gather(tree), "logs": logs}, indent=1) + "\n")
        seconds = sum(run["seconds"] for run in log["runs"])
        best = min(run["validation"] for run in log["runs"] if run["validation"] is not None)
        print(
            f"  {log['method']:22s} means out: {log['centred']!s:5s} validation {best:.4f}, {seconds:.0f} s", flush=True
        )
    print(f"  {path.relative_to(tree.root)}")


def gather(tree):
    packages = {name: version(name) for name in ("numpy", "torch", "cornac")}
    when = datetime.now(UTC).isoformat(timespec="seconds")
    about = {
        "commit": git(tree, "rev-parse", "HEAD"),
        "python": platform.python_version(),
        "processor": processor("cpu"),
    }
    return about | packages | {"budget": ratings.BUDGET, "date": when}


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--core", action="store_true", help="only the small version, 200 users and 300 films")
    options = parser.parse_args()
    main(partial(tune, options.tree, options.core))
