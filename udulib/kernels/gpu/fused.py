"""Which of the two ways a descent takes: a block of threads for each run, or the whole card for each step."""

import math

from udulib.kernels.gpu import launching
from udulib.kernels.gpu.blocks import BlockSteps
from udulib.kernels.gpu.entries import entries_by_row
from udulib.kernels.gpu.rows import RowSteps
from udulib.kernels.gpu.shapes import columns, shape_of_blocks

BLOCK, CARD = 1e10, 4e11  # entries times columns that a multiprocessor, and the whole card, go through in a second
LAUNCHES = 8e-6  # seconds of a step's launches in a graph


def fused_steps(problem, model, step_size, radius, iterations):
    r"""A stepper for a completion problem whose tensors are on a GPU; parameters as those of the steppers."""
    entries = entries_by_row(problem, model.symmetric, step_size.dtype)
    stepper = BlockSteps if _small(entries, model, step_size) else RowSteps
    return stepper(entries, problem, model, step_size, radius, iterations)


def _small(entries, model, step_size):
    card, runs = launching.card(step_size.device), math.prod(step_size.shape)
    width = columns(model.rank, step_size.element_size())
    work = entries.count * width
    cluster = shape_of_blocks(entries.rows, width, step_size.element_size(), runs, card).cluster
    waves = -(-runs * cluster // card.multiprocessors)
    return waves * work / (BLOCK * cluster) <= LAUNCHES + runs * work / CARD
