r"""When to stop: with noise the right rank is a plateau of the run, not its limit.

On noisy entries UDU first finds the columns that carry the signal, one by one, rests, and then fits the noise with one
column after the other. Each rest shows in the numerical rank. Which of them to trust needs no held-out data either: a
column of signal lowers the misfit by far more than its degrees of freedom would by chance, a column of noise does not.
"""

from dataclasses import dataclass

import numpy as np

from udulib.errors import InputError
from udulib.factorization.spectra import numerical_rank
from udulib.problems import Completion


@dataclass(frozen=True)
class Plateau:
    r"""A stretch of one rank, one for each run; see :func:`rank_plateau`.

    Attributes
    ----------
    rank : array of int, shape (\*,)
    first, last : array of int, shape (\*,)
        Updates done where it begins and where it ends, out of ``trace.iteration``.
    index : array of int, shape (\*,)
        Where ``last`` is in ``trace.iteration``.
    ended : array of bool, shape (\*,)
        Whether the run left it. If not, more iterations may lead to a better one.
    """

    rank: np.ndarray
    first: np.ndarray
    last: np.ndarray
    index: np.ndarray
    ended: np.ndarray


def freedom(rank, problem):
    r"""Degrees of freedom of a rank-k matrix: :math:`k(d + c - k)`, or :math:`kd - k(k-1)/2` if symmetric.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_completion(d=100, rank=3, observed=900)
    >>> int(freedom(3, problem))
    297
    """
    (d, c), k = problem.shape, np.asarray(rank)
    return k * d - k * (k - 1) // 2 if problem.symmetric else k * (d + c - k)


def information(objective, rank, problem):
    r"""Schwarz's criterion of a fit: :math:`n \log(2 f / n) + \nu \log n`, with :math:`\nu` of :func:`freedom`.

    Lower is better; infinite for a rank with as many degrees of freedom as there are entries.

    Parameters
    ----------
    objective : array, shape (\*,)
        f of the fit.
    rank : array of int, shape (\*,)
    problem : Completion

    Returns
    -------
    array, shape (\*,)

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_completion(d=100, rank=3, observed=900)
    >>> bool(information(0.10, 3, problem) < information(0.09, 4, problem))
    True
    """
    n, used = problem.b.shape[-1], freedom(rank, problem)
    misfit = np.maximum(np.asarray(objective), np.finfo(float).tiny)
    return np.where(used < n, n * np.log(2 * misfit / n) + used * np.log(n), np.inf)


def rank_plateau(trace, problem, rtol=1e-8):
    r"""The rank at which a run rests with the best trade of misfit for rank, and where that rest ends: a place to stop.

    The run is cut into stretches of constant numerical rank; of these the one whose last point has the lowest
    :func:`information` is taken.

    Parameters
    ----------
    trace : Trace
        With spectra recorded on a grid, as ``descend`` does by default.
    problem : Completion
        What was descended.
    rtol : float, default 1e-8
        Tolerance of the numerical rank. A small one sees the next column coming before it counts.

    Returns
    -------
    Plateau
        The estimate at its end is what ``descend(..., iterations=plateau.last)`` gives.

    Raises
    ------
    InputError
        Another kind of problem, a trace without at least two recorded spectra, or with a diverged run.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_completion(d=30, rank=2, observed=400, spectrum=(2.0, 1.0), noise=0.1, seed=0)
    >>> trace = ul.descend(problem, ul.UDU(rank=15, radius=0.8), step_size=0.05, iterations=4000, d_init=0.8)
    >>> int(rank_plateau(trace, problem).rank)
    2
    """
    if not isinstance(problem, Completion):
        raise InputError(f"the plateau is for Completion problems; got {type(problem).__name__}")
    if not hasattr(trace, "spectra"):
        raise InputError(f"a plateau is one of a Trace, which descend returns; got {type(trace).__name__}")
    if len(trace.iteration) < 2:
        raise InputError("a plateau needs recorded spectra; leave out record_at, or record at several iterations")
    ranks = numerical_rank(trace.spectra, rtol)  # (*, T)
    cost = information(trace.objective, ranks, problem)
    ends = np.append(np.diff(ranks, axis=-1) != 0, np.ones_like(ranks[..., :1], dtype=bool), axis=-1)
    last = np.argmin(np.where(ends, cost, np.inf), axis=-1)[..., None]  # (*, 1)
    moved = ends & (np.arange(ranks.shape[-1]) < last)  # where earlier stretches end
    first = np.where(moved.any(-1), ranks.shape[-1] - np.argmax(moved[..., ::-1], axis=-1), 0)
    rank, index = np.take_along_axis(ranks, last, axis=-1)[..., 0], last[..., 0]
    return Plateau(rank, trace.iteration[first], trace.iteration[index], index, index < ranks.shape[-1] - 1)
