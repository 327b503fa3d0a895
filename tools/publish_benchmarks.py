"""Copy what the benchmarks have measured to results/, where it is committed and the book's page How fast shows it."""

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


if __name__ == "__main__":
    options = arguments(__doc__).parse_args()
    main(lambda: publish(options.tree))
