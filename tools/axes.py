"""What do the verdicts hang on? Run the notebooks at size ci under other conditions, and compare with the pools.

What is there is not run again. Axes that this machine or this Python cannot measure stay as they were published.
"""

import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tools.provenance import gather, resolve_device, version
from tools.run import run
from tools.tree import ToolError, arguments, main, read_json, write_json

SIZE = "ci"
KEPT = ("commit", "python", "torch", "numpy", "device", "processor", "date")
ULP = str(2.0**-52)


@dataclass(frozen=True)
class Axis:
    """One way in which a run can be another."""

    says: str
    environment: dict = field(default_factory=dict)
    first_seed: int = 0
    device: str = "cpu"


AXES = {
    "again": Axis("the same again, on the machine named in the last column"),
    "seeds": Axis("five other seeds: words against those of the pool", first_seed=1000),
    "ulp": Axis("starts of all descents moved by one unit in the last place", {"UDULIB_JITTER": ULP}),
    "threads": Axis("two threads", {f"{library}_NUM_THREADS": "2" for library in ("OMP", "MKL", "OPENBLAS")}),
    "avx2": Axis(
        "a processor without AVX-512",
        {
            "ATEN_CPU_CAPABILITY": "avx2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            "MKL_CBWR": "AVX2",
            "OPENBLAS_CORETYPE": "Haswell",
            "NUMBA_CPU_NAME": "haswell",
            "NUMBA_CPU_FEATURES": "",
        },
    ),
    "sse": Axis(
        "a processor without vectors of four numbers and without fused products",
        {
            "ATEN_CPU_CAPABILITY": "default",
            "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
            "MKL_CBWR": "COMPATIBLE",
            "OPENBLAS_CORETYPE": "Nehalem",
            "NUMBA_CPU_NAME": "nehalem",
            "NUMBA_CPU_FEATURES": "",
        },
    ),
    "versions": Axis("other versions: python -m tools.axes versions by another Python"),
    "cuda": Axis("a GPU", device="cuda"),
}


def axes(tree, jobs, names=()):
    """Measure the axes that can be measured here; those that cannot are named."""
    unknown = sorted(set(names) - set(AXES))
    if unknown:
        raise ToolError(f"there is no axis {', '.join(unknown)}; there are {', '.join(AXES)}")
    for name in names or (one for one in AXES if one != "versions"):
        if AXES[name].device == "cuda" and resolve_device("auto") != "cuda":
            print(f"== {name}: no GPU here, so it was not run")
            continue
        key = f"{name}-{version('torch')}-{version('numpy')}" if name == "versions" else name
        found = measured(tree, key, AXES[name], jobs)
        published = read_json(tree.axes()) or {}
        write_json(tree.axes(), published | {key: found})
        print(f"== {name}: {found['probes']} probes, {len(found['moved'])} moved, {len(found['words'])} other words")


def measured(tree, key, axis, jobs):
    """One axis: the notebooks run under it, held against the pool and the published run of the same seeds."""
    from companion import ledger  # loads NumPy: only where the command line was right
    from companion.ledger.axes import compared

    apart = replace(tree, first_seed=axis.first_seed, apart=key)
    with environment(axis.environment):
        device = run(apart, SIZE, axis.device, jobs)
        made = gather(apart, tree.names()[0], SIZE, device, 0.0)
    fresh = [record for name in tree.names() for record in ledger.read_records(apart.run_record(SIZE, name))]
    probes, before = ledger.load_claims(tree.root / "claims").probes, ledger.entries(SIZE, tree.root / "results")
    red = ledger.check(
        {id: one for id, one in probes.items() if one.notebook in tree.names()}, fresh, ledger.pooled(before), SIZE
    )
    result = compared(probes, fresh, before).as_json()
    return {"says": axis.says, **result, "red": red, "made": {kept: made[kept] for kept in KEPT}}


@contextmanager
def environment(settings):
    """The environment of the runs for a while; one thread where nothing else is set, as the pools were made."""
    before = dict(os.environ)
    os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")} | settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


if __name__ == "__main__":
    parser = arguments(__doc__, jobs=True)
    parser.add_argument(
        "axes", nargs="*", metavar="AXIS", help=f"one of {', '.join(AXES)}; all that can be, if none is named"
    )
    options = parser.parse_args()
    main(lambda: axes(options.tree, options.jobs, options.axes))
