"""Gradient descent on one eigenvalue at a time: the scalar recursion."""

from dataclasses import dataclass

import numpy as np

from udulib.checks import whole_number
from udulib.theory.deep.arguments import (
    checked_perturbation,
    checked_settings,
    checked_targets,
    divergence,
    recorded_steps,
)
from udulib.theory.deep.largest_step import step_bound


@dataclass(frozen=True)
class Eigenvalues:
    """What :func:`eigenvalues` returns.

    Attributes
    ----------
    iteration : array of int, shape (T,)
        Number of updates made at each record; 0 is the start.
    values : array, shape (T, n)
        Eigenvalues of the product, in the order of the targets.
    factor_values : array, shape (T, n)
        Eigenvalues of the N - 1 equal factors (of all N, where nothing is perturbed).
    odd_values : array, shape (T, n)
        Eigenvalues of the remaining factor; the same as ``factor_values`` where nothing is perturbed.
    """

    iteration: np.ndarray
    values: np.ndarray
    factor_values: np.ndarray
    odd_values: np.ndarray


def eigenvalues(target, depth, scale, step_size, iterations, perturbation=0.0, record_at=None):
    r"""Eigenvalues of the product under gradient descent from :math:`\alpha I`, by the scalar recursion.

    With all factors started at :math:`\alpha I`, all factors stay equal, share the eigenvectors of the target, and each
    eigenvalue :math:`d` of a factor follows

    .. math:: d \leftarrow d - \eta\, d^{N-1} (d^N - \lambda), \qquad d(0) = \alpha .

    With ``perturbation`` :math:`\beta > 0` one factor starts at :math:`(\alpha - \beta) I` instead. The N - 1 equal
    factors have eigenvalue :math:`a` and the odd one :math:`b`:

    .. math:: a \leftarrow a - \eta\, a^{N-2} b\, (a^{N-1} b - \lambda), \qquad
              b \leftarrow b - \eta\, a^{N-1} (a^{N-1} b - \lambda) .

    Parameters
    ----------
    target : float or array, shape (n,)
        Eigenvalues of the target matrix, of any sign, in any order.
    depth : int, at least 2
        Number of factors N.
    scale : float, above 0
        :math:`\alpha`; the product starts at :math:`\alpha^N I`.
    step_size : float, above 0
        :math:`\eta`; see :func:`step_bound` for how large it may be.
    iterations : int, at least 0
        Number of updates.
    perturbation : float, in [0, scale), default 0
        :math:`\beta`.
    record_at : array of int, optional
        The numbers of updates to record at; the last one is always recorded. All of them by default.

    Returns
    -------
    Eigenvalues
        The last row holds the state after ``iterations`` updates.

    Raises
    ------
    InputError
        For bad input, and where the step size is so large that the run leaves the floating-point numbers.

    Notes
    -----
    Identical initialisation: abstract of Chou et al. (2024). The perturbed start is theirs too, as far as we recall;
    both recursions are derived in the book.

    Examples
    --------
    A negative eigenvalue is lost from identical starts and found from perturbed ones:

    >>> import udulib as ul
    >>> run = ul.deep.eigenvalues([2.0, -1.0], depth=2, scale=0.1, step_size=0.05, iterations=400)
    >>> run.values[-1].round(6) + 0.0
    array([2., 0.])
    >>> run = ul.deep.eigenvalues([2.0, -1.0], depth=2, scale=0.1, step_size=0.05, iterations=400, perturbation=0.05)
    >>> run.values[-1].round(6)
    array([ 2., -1.])
    """
    target = checked_targets(target)
    depth, scale, step_size = checked_settings(depth, scale, step_size)
    iterations = whole_number("iterations", iterations, least=0)
    perturbation = checked_perturbation(perturbation, scale)
    steps = recorded_steps(record_at, iterations, default=np.arange(iterations + 1))
    a = np.full(target.shape, scale)
    b = a - perturbation
    shape = (len(steps), len(target))
    common, odd = np.empty(shape), np.empty(shape)
    done = 0
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for row, step in enumerate(steps):
            for _ in range(step - done):
                power = a ** (depth - 2)  # (n,)
                pull = step_size * power * (power * a * b - target)  # (n,)
                a, b = a - pull * b, b - pull * a
            done = step
            if not (np.isfinite(a).all() and np.isfinite(b).all()):
                raise divergence(step, step_size, f"step_bound gives {np.min(step_bound(target, depth, scale)):.3g}")
            common[row], odd[row] = a, b
        values = common ** (depth - 1) * odd
    return Eigenvalues(iteration=steps, values=values, factor_values=common, odd_values=odd)
