"""Run the notebooks that have changed, several at once."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tools.provenance import resolve_device
from tools.store import fresh, sweep
from tools.tree import HERE, ToolError, arguments, main, read_json


def environment(beside):
    """Notebooks that run side by side, ``beside`` of them, share the cores; one that runs alone has them all."""
    threads = max(1, os.cpu_count() // beside)
    return {**{f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")}, **os.environ}


def last_duration(tree, name, size):
    """Seconds, and infinitely many where no run is known."""
    try:
        return float(read_json(tree.run_record(size, name))["provenance"]["duration_seconds"])
    except (TypeError, KeyError, ValueError):
        return float("inf")


def run_one(tree, name, size, device, beside):
    """Run one notebook in a process of its own, at most ``beside`` of them at a time. True if its result is whole."""
    print(f"  {name}  starts at size {size} on {device}", flush=True)
    start = time.monotonic()
    command = [sys.executable, "-m", "tools.execute", "--root", tree.root, "--size", size, "--device", device]
    command += ["--first-seed", str(tree.first_seed), "--apart", tree.apart, name]
    done = subprocess.run(command, cwd=HERE, env=environment(beside)).returncode == 0
    print(f"  {name}  {'done' if done else 'FAILED'} after {time.monotonic() - start:.0f} s", flush=True)
    return done


def run(tree, size, device="auto", jobs=2, names=()):
    """Bring the executed notebooks of one size up to date, the longest first. Returns the device they ran on."""
    names = list(names) or tree.names()
    unknown = sorted(set(names) - set(tree.names()))
    if unknown:
        raise ToolError(f"there is no notebook {', '.join(unknown)}; there are {', '.join(tree.names())}")
    device = resolve_device(device)
    sweep(tree, size)
    stale = [name for name in names if not fresh(tree, name, size, device)]
    for name in sorted(set(names) - set(stale)):
        print(f"  {name}  unchanged", flush=True)
    stale.sort(key=lambda name: -last_duration(tree, name, size))
    unfinished, jobs = set(stale), max(1, jobs)

    def one(name):
        done = run_one(tree, name, size, device, min(jobs, len(unfinished)))
        unfinished.discard(name)
        return done

    with ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(one, stale))
    failed = [name for name, whole in zip(stale, done, strict=True) if not whole]
    if failed:
        raise ToolError(f"{len(failed)} of {len(names)} notebooks failed at size {size}: {', '.join(failed)}")
    return device


if __name__ == "__main__":
    options = arguments(__doc__, size=True, device=True, jobs=True, names=True, first_seed=True).parse_args()
    tree = replace(options.tree, first_seed=options.first_seed)
    main(lambda: run(tree, options.size, options.device, options.jobs, options.names))
