"""Copy what the benchmarks have measured to results/, where it is committed and the book's page How fast shows it."""

import json
from pathlib import Path

from tools.provenance import git
from tools.tree import ToolError, arguments, main, read_json, write_whole


def publish(tree):
    measured, place = tree.root / "_build" / "benchmarks.json", tree.root / "results" / "benchmarks.json"
    found = read_json(measured)
    if not found:
        raise ToolError(f"nothing measured in {measured}. Run make bench")
    changed = [name for name, made in found["provenance"].items() if made["dirty"]]
    if changed:
        raise ToolError(f"measured with changes not committed: {', '.join(changed)}. Commit, then run these again")
    write_whole(place, measured.read_bytes())
    print(f"  {place.relative_to(tree.root)}")


def publish_gpu(tree, folder, commit):
    """What ``benchmarks/gpu.py`` left in a folder, in one file, with the commit that it was measured at."""
    stages = {path.stem: read_json(path) for path in sorted(folder.glob("*.json"))}
    if not stages:
        raise ToolError(f"nothing measured in {folder}. Run python benchmarks/gpu.py {folder} where a GPU is")
    cards = {(found.pop("card"), found.pop("torch")) for found in stages.values()}
    if len(cards) > 1:
        raise ToolError(f"measured on more than one card: {sorted(cards)}. Run all stages on one")
    card, torch = cards.pop()
    place = tree.root / "results" / "benchmarks-gpu.json"
    found = {"card": card, "torch": torch, "commit": commit, **stages}
    write_whole(place, json.dumps(found, indent=1) + "\n")
    print(f"  {place.relative_to(tree.root)}")


def run(options):
    if options.gpu:
        return publish_gpu(options.tree, options.gpu, options.commit or git(options.tree, "rev-parse", "HEAD"))
    return publish(options.tree)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--gpu", type=Path, help="a folder of benchmarks/gpu.py, not what make bench measured")
    parser.add_argument("--commit", help="that it was measured at; the one that is checked out, if left out")
    options = parser.parse_args()
    main(lambda: run(options))
