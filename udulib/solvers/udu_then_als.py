"""UDU finds the rank, least squares finishes."""

from dataclasses import dataclass, field

import numpy as np

from udulib.factorization.descent import descend
from udulib.factorization.models import UDU, UDV
from udulib.factorization.radius import suggest_radius
from udulib.factorization.stopping import rank_plateau
from udulib.factors import decompose
from udulib.solvers.fit import Fit
from udulib.solvers.least_squares import als


@dataclass(frozen=True)
class TwoStageFit:
    """What :func:`udu_then_als` did.

    Attributes
    ----------
    fit : Fit
        The finished answer.
    rank : int
        The rank that UDU found.
    suggestion : Suggestion
        Radius and settings it ran with.
    trace : Trace
        Its run.
    """

    fit: Fit
    rank: int
    suggestion: object = field(repr=False)
    trace: object = field(repr=False)

    def product(self):
        """X itself, shape (d, c)."""
        return self.fit.product()


def udu_then_als(problem, iterations=6000, rank=None, sweeps=200, ridge=0.0, rtol=1e-8, device="auto"):
    """UDU (or UDV) to find the rank, then least squares to finish: keep as many directions as the rank plateau has.

    UDU knows the rank long before it knows the matrix; least squares is fast once it knows the rank.

    Parameters
    ----------
    problem : Completion
        One problem, symmetric or not.
    iterations : int, default 6000
        Of UDU.
    rank : int, optional
        Columns given to UDU; twice the rank that the radius rule sees, and ten more, if left out.
    sweeps, ridge
        Of :func:`als`.
    rtol : float, default 1e-8
        Tolerance of the rank plateau.
    device
        As in ``descend``.

    Returns
    -------
    TwoStageFit

    Raises
    ------
    InputError
        As :func:`als` and ``suggest_radius``.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_completion(d=60, rank=3, observed=600, spectrum=(3.0, 2.0, 1.0), seed=0)
    >>> done = udu_then_als(problem)
    >>> done.rank, bool(truth.relative_error(done) < 1e-8)
    (3, True)
    """
    suggestion = suggest_radius(problem)
    columns = min(*problem.shape, 2 * len(suggestion.spectrum) + 10) if rank is None else rank
    model = (UDU if problem.symmetric else UDV)(rank=columns, radius=suggestion.radius)
    trace = descend(problem, model, iterations=iterations, device=device, **suggestion.settings)
    found = int(rank_plateau(trace, problem, rtol).rank)
    return TwoStageFit(
        als(problem, found, ridge, sweeps=sweeps, start=leading_directions(trace.factors, found)),
        found,
        suggestion,
        trace,
    )


def leading_directions(factors, rank):
    r"""Leading right singular vectors of :math:`UDV^\top`, times the roots of their values: a start for :func:`als`.

    Parameters
    ----------
    factors : dict of array
        ``"U"`` (d, r), ``"D"`` (r,) and, if not symmetric, ``"V"`` (c, r).
    rank : int
        How many, at most r.

    Returns
    -------
    array, shape (c, rank)

    Examples
    --------
    >>> leading_directions({"U": np.eye(3), "D": np.array([4.0, 1.0, 0.0])}, rank=1).ravel() ** 2
    array([4., 0., 0.])
    """
    root = np.sqrt(factors["D"])
    left, right = factors["U"] * root, factors.get("V", factors["U"]) * root
    _, s, Q = decompose(left, right)
    return Q[:, :rank] * np.sqrt(s[:rank])
