"""What the benchmarks share: time of contenders in turn, and one file of results."""

import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch

RESULTS = Path(__file__).resolve().parent.parent / "_build" / "benchmarks.json"


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
    """Put results into the file beside those of other benchmarks, with the machine they come from."""
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    new = {**old, **results, "machine": machine()}
    RESULTS.parent.mkdir(exist_ok=True)
    part = RESULTS.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(new, indent=1) + "\n")
    part.replace(RESULTS)


def machine():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {
        "processor": name,
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
