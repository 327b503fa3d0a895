"""Copy the records of the runs of one size to results/, where they are committed and ship with udulib."""

from tools.provenance import resolve_device
from tools.store import fresh
from tools.tree import ToolError, arguments, main, write_whole


def publish(tree, size, device, names):
    names = names or tree.names()
    stale = [name for name in names if not fresh(tree, name, size, device)]
    if stale:
        raise ToolError(
            f"not run at size {size} on {device} since the last change: {', '.join(stale)}. Run make run SIZE={size}"
        )
    for name in names:
        write_whole(tree.published(size, name), tree.run_record(size, name).read_bytes())
        print(f"  {tree.published(size, name).relative_to(tree.root)}")


if __name__ == "__main__":
    options = arguments(__doc__, size=True, device=True, names=True).parse_args()
    main(lambda: publish(options.tree, options.size, resolve_device(options.device), options.names))
