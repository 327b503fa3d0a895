"""What the benchmarks share: time of contenders in turn, and one file of results."""

import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from tools.provenance import git, processor
from tools.tree import Tree, read_json, write_whole

RESULTS = Tree().root / "_build" / "benchmarks.json"
NAMED = (  # what a reader looks for first
    "udu_step_over_autograd",
    "udu_step_over_flops",
    "float32_decayed_over_fresh",
    "figure1_seconds",
    "figure1_over_autograd",
    "scale_ordered_over_unordered_1e5",
    "scale_peak_gb_1e5",
    "projection_share_1280",
    "batched_over_loop",
    "rank_discovery_right",
    "machine",
)


def shortest(contenders, repeats):
    """Each contender's shortest time in seconds of this thread; in turn, so that the machine's drift hits all alike."""
    times = {name: np.inf for name in contenders}
    for _ in range(repeats):
        for name, contender in contenders.items():
            begin = time.thread_time()
            contender()
            times[name] = min(times[name], time.thread_time() - begin)
    return times


def write(**results):
    """Put results into the file beside those of other benchmarks, with the machine and the commit they come from."""
    old = read_json(RESULTS) or {}
    made = {**old.get("provenance", {}), Path(sys.argv[0]).stem: provenance()}
    new = {**old, **results, "machine": machine(), "provenance": made}
    first = {name: new[name] for name in NAMED if name in new}
    write_whole(RESULTS, json.dumps({**first, **new}, indent=1) + "\n")


def provenance():
    changes = git(Tree(), "status", "--porcelain", "--", "udulib", "benchmarks")
    commit = git(Tree(), "rev-parse", "HEAD")
    return {"commit": commit, "dirty": changes != "", "date": datetime.now(UTC).isoformat(timespec="seconds")}


def machine():
    return {
        "processor": processor("cpu"),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
