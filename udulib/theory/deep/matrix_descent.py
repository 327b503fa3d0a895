"""Gradient descent on the matrices W₁ … W_N."""

import math
from dataclasses import dataclass

import numpy as np

from udulib.checks import finite_array, whole_number
from udulib.errors import InputError
from udulib.theory.deep.arguments import checked_perturbation, checked_settings, divergence, recorded_steps
from udulib.theory.deep.chain import products, updated

INITS = ("identical", "perturbed", "random")


@dataclass(frozen=True)
class Descent:
    r"""What :func:`descend` returns. Below \* stands for the batch shape of the target, ``()`` for a single one.

    Attributes
    ----------
    iteration : array of int, shape (T,)
        Number of updates made at each record; 0 is the start.
    products : array, shape (\*, T, n, n)
        :math:`W = W_N \cdots W_1` at each record.
    objective : array, shape (\*, T)
        :math:`f(W)` at each record.
    factors : array, shape (\*, N, n, n)
        The factors after the last update, :math:`W_1` first.
    """

    iteration: np.ndarray
    products: np.ndarray
    objective: np.ndarray
    factors: np.ndarray

    @property
    def singular_values(self):
        r"""Singular values of the products, descending: shape (\*, T, n)."""
        return np.linalg.svd(self.products, compute_uv=False)

    def along(self, basis):
        r""":math:`q_i^\top W q_i` for the columns :math:`q_i` of ``basis`` (\*, n, k): shape (\*, T, k)."""
        return np.einsum("...ai,...tab,...bi->...ti", basis, self.products, basis)


def descend(target, depth, scale, step_size, iterations, init="identical", perturbation=None, rng=None, record_at=None):
    r"""Gradient descent on all N factors, as matrices.

    Minimises :math:`f(W_N \cdots W_1)` for :math:`f(W) = \tfrac12 \|W - \widehat W\|_F^2`, or for the :math:`f` of a
    problem of this package, such as matrix sensing. All factors are updated at once:

    .. math:: W_j \leftarrow W_j - \eta\, (W_N \cdots W_{j+1})^\top \nabla f(W)\, (W_{j-1} \cdots W_1)^\top .

    Parameters
    ----------
    target : array, shape (\*, n, n), or a square problem
        A symmetric matrix :math:`\widehat W`, or a real problem such as :class:`udulib.Sensing`. Several matrices, or a
        stack of problems, are several runs in one call.
    depth : int, at least 2
        Number of factors N.
    scale : float, above 0
        :math:`\alpha`: the size of the factors at the start.
    step_size : float, above 0
    iterations : int, at least 0
        Number of updates.
    init : {"identical", "perturbed", "random"}
        All factors :math:`\alpha I`; or :math:`W_N = (\alpha - \beta) I` and the others :math:`\alpha I`; or
        independent Gaussian entries of variance :math:`\alpha^2 / n`, so that
        :math:`\mathbb E \|W_j\|_F^2 = \|\alpha I\|_F^2`.
    perturbation : float, in (0, scale), for "perturbed" only
        :math:`\beta`.
    rng : numpy.random.Generator, or a list of them, one for each of several runs; for "random" only
    record_at : array of int, optional
        The numbers of updates to record at; the last one is always recorded. By default 0 and about 200 on a
        logarithmic grid.

    Returns
    -------
    Descent

    Raises
    ------
    InputError
        For bad input, and where the step size is so large that the run leaves the floating-point numbers.

    Notes
    -----
    With identical initialisation the factors are equal in exact arithmetic, but not in floating point: differences
    between them grow by :math:`1 + \eta |\lambda|` a step (N = 2) along each negative eigenvalue, and in the end the
    run learns what the theory says it cannot. :func:`eigenvalues` is free of that.

    Examples
    --------
    >>> import numpy as np
    >>> import udulib as ul
    >>> target = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> run = ul.deep.descend(target, depth=3, scale=0.1, step_size=0.02, iterations=2000)
    >>> bool(np.abs(run.products[-1] - target).max() < 1e-10)
    True
    >>> twin = ul.deep.eigenvalues([3.0, 1.0], 3, scale=0.1, step_size=0.02, iterations=2000, record_at=run.iteration)
    >>> bool(np.abs(run.singular_values - twin.values).max() < 1e-12)
    True
    """
    objective_of, gradient, shape = _objective(target)
    depth, scale, step_size = checked_settings(depth, scale, step_size)
    iterations = whole_number("iterations", iterations, least=0)
    factors = list(_start(shape, depth, scale, init, perturbation, rng)[::-1])  # W_N, ..., W_1, as they are multiplied
    default = np.unique(np.concatenate([[0], np.geomspace(1, max(iterations, 1), 200).round().astype(int)]))
    steps = recorded_steps(record_at, iterations, default=default[default <= iterations])
    recorded, objective = np.empty((len(steps), *shape)), np.empty((len(steps), *shape[:-2]))
    done = 0
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for row, step in enumerate(steps):
            for _ in range(step - done):
                sides = products(factors)
                factors = updated(factors, sides, gradient(sides[1][0]), step_size)
            done = step
            W = products(factors)[1][0]
            if not np.isfinite(W).all():
                raise divergence(step, step_size, "nothing else is wrong with the input")
            recorded[row], objective[row] = W, objective_of(W)
    last = len(shape) - 2  # the axis behind the batch
    arrays = recorded, objective, np.stack(factors[::-1])
    return Descent(steps, *(np.moveaxis(array, 0, last) for array in arrays))


def _objective(target):
    """f, its gradient, and the shape (*, n, n) of what they take."""
    if hasattr(target, "measure"):
        return _problem_objective(target)
    target = finite_array("target", target)
    square = target.ndim >= 2 and target.shape[-1] == target.shape[-2]
    if not square or target.size == 0 or np.iscomplexobj(target):
        raise InputError(f"target is a real square matrix or a problem; got shape {target.shape}, dtype {target.dtype}")
    gap = np.abs(target - target.swapaxes(-1, -2)).max()
    if gap > 1e-12 * max(np.abs(target).max(), np.finfo(float).tiny):
        raise InputError(f"target is symmetric; it differs from its transpose by {gap:.3g}; pass (A + A.T) / 2")
    return lambda W: 0.5 * np.sum((W - target) ** 2, axis=(-2, -1)), lambda W: W - target, target.shape


def _problem_objective(problem):
    import torch

    n = problem.shape[0]
    if problem.shape != (n, n) or problem.is_complex:
        raise InputError(f"a real problem with square X is wanted; got shape {problem.shape}")
    problem = problem.to("cpu", torch.float64)

    def both(W):
        return tuple(part.numpy() for part in problem.gradient_at(torch.from_numpy(W)))

    return lambda W: both(W)[0], lambda W: both(W)[1], (*problem.batch_shape, n, n)


def _start(shape, depth, scale, init, perturbation, rng):
    if not isinstance(init, str) or init not in INITS:
        raise InputError(f"init is one of {', '.join(INITS)}; got {init!r}")
    if (perturbation is not None) != (init == "perturbed"):
        raise InputError(f"perturbation goes with init='perturbed', and only there; got {perturbation!r} with {init!r}")
    if (rng is not None) != (init == "random"):
        raise InputError(f"rng goes with init='random', and only there; got {rng!r} with {init!r}")
    if init == "random":
        return scale / math.sqrt(shape[-1]) * _normal(shape, depth, rng)
    factors = np.tile(scale * np.eye(shape[-1]), (depth, *shape[:-2], 1, 1))
    if init == "perturbed":
        beta = checked_perturbation(perturbation, scale)
        if beta == 0:
            raise InputError("perturbation lies strictly between 0 and scale; got 0; use init='identical' for none")
        factors[-1] -= beta * np.eye(shape[-1])
    return factors


def _normal(shape, depth, rng):
    """Standard normal factors (N, *, n, n), from one generator or from one for each run."""
    single = isinstance(rng, np.random.Generator)
    rngs = [rng] if single else list(rng) if isinstance(rng, list | tuple) else []
    if not rngs or not all(isinstance(one, np.random.Generator) for one in rngs):
        raise InputError(f"rng is a numpy.random.Generator, or a list of one for each run; got {rng!r}")
    if single:
        return rng.standard_normal((depth, *shape))
    if (len(rngs),) != shape[:-2]:
        raise InputError(f"a list of rng has one generator for each run; got {len(rngs)} for batch shape {shape[:-2]}")
    return np.stack([one.standard_normal((depth, *shape[-2:])) for one in rngs], axis=1)
