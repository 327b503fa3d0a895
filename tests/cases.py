"""Small problems of every kind, for tests of several rooms."""

import numpy as np

import udulib as ul


def completion_problem(symmetric=True, seed=0, shape=(7, 7), entries=25):
    rng = np.random.default_rng(seed)
    rows, cols = np.divmod(rng.choice(shape[0] * shape[1], entries, replace=False), shape[1])
    return ul.Completion(rows, cols, rng.standard_normal(entries), shape, symmetric)


def sensing_problem(symmetric=True, is_complex=False, shape=(5, 5)):
    rng = np.random.default_rng(1)
    matrices = rng.standard_normal((12, *shape))
    if is_complex:
        matrices = matrices + 1j * rng.standard_normal(matrices.shape)
    return ul.Sensing(matrices, rng.standard_normal(12), symmetric)


PROBLEMS = {
    "completion, symmetric": completion_problem,
    "completion": lambda: completion_problem(False, shape=(6, 8)),
    "sensing, symmetric": sensing_problem,
    "sensing": lambda: sensing_problem(False, shape=(4, 6)),
    "sensing, Hermitian": lambda: sensing_problem(True, True),
    "sensing, complex": lambda: sensing_problem(False, True, (4, 6)),
    "stack": lambda: ul.stack([completion_problem(seed=s) for s in (3, 4)]),
}
