"""What a run costs, on whatever machine: processor time in rounds of a loop that is timed beside it, and memory."""

import resource
import sys
import time

ROUNDS = 8
SLOWER, LARGER = 2.0, 1.3  # what a run may cost more than the published one; processors differ in time, not in memory


def spent():
    """Of all processes that this one has started and seen end: seconds of processor time, and megabytes at most."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime, used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def round_seconds():
    """Processor time of one round of work that is always the same: Python's own, and matrix products."""
    import numpy as np  # a tenth of a second that most tools need not spend

    matrix = np.linspace(-1.0, 1.0, 40_000).reshape(200, 200)
    start = time.process_time()
    for _ in range(ROUNDS):
        matrix = np.tanh(matrix @ matrix)
        sum(k * k for k in range(20_000))
    return (time.process_time() - start) / ROUNDS


def cost():
    """The entries of a run's provenance, for a process that has run one notebook."""
    seconds, megabytes = spent()
    return {
        "processor_seconds": round(seconds, 1),
        "processor_rounds": round(seconds / round_seconds()),
        "memory_megabytes": round(megabytes),
    }


def crept(made, published):
    """What a run costs more than the published one, as a sentence each; nothing where that one does not say."""
    for word, name, most in (("time", "processor_rounds", SLOWER), ("memory", "memory_megabytes", LARGER)):
        if name in made and name in published and made[name] > most * published[name]:
            yield f"{word}: {made[name]}, which is more than {most} times {published[name]} ({name})"
