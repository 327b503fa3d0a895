"""Gradient descent on one vector."""

import torch

from udulib.checks import positive_number
from udulib.solvers.retrieval import begin, iterate


def wirtinger_flow(problem, start="flat", iterations=1000, step_size=None, seed=0, device="auto", dtype="float64"):
    r"""Gradient descent on :math:`\tfrac12\|\mathcal A(x x^{\mathsf H}) - b\|^2`: Burer-Monteiro with one column.

    Parameters
    ----------
    problem, start, seed, device, dtype
        As in :func:`alternating_projection`.
    iterations : int, default 1000
    step_size : float, optional
        :math:`\eta` of :math:`x \leftarrow x - 2\eta\,\mathcal A^*(\text{residual})\,x`. Left out:
        :math:`0.3\,\|x\|^2/\|b\|^2`, two thirds of what is stable near the answer (0.56 in a problem normalised with
        s = 8 and :math:`\theta = 5`). From a spectral start with one plain pupil for all it still diverges.

    Returns
    -------
    Retrieval

    Raises
    ------
    InputError
        As in :func:`alternating_projection`.

    Examples
    --------
    >>> import numpy as np
    >>> import udulib as ul
    >>> problem, truth = ul.planted_ptychography(np.linspace(0, 1, 1024).reshape(32, 32), np.zeros((32, 32)))
    >>> bool(truth.relative_error(wirtinger_flow(problem).estimate) < 1e-2)
    True
    """
    if step_size is not None:
        step_size = positive_number("step_size", step_size)
    problem, x = begin(problem, start, seed, device, dtype)
    if step_size is None:
        step_size = (0.3 * problem.trace_estimate() / torch.linalg.vecdot(problem.b, problem.b))[..., None]

    def update(x):
        return x - 2 * step_size * problem.gradient(x[..., None])[1][..., 0]

    return iterate(update, x, iterations)
