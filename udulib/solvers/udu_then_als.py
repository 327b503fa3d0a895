"""UDU finds the rank, least squares finishes."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import torch

from udulib.factorization.descent import descend
from udulib.factorization.models import UDU, UDV
from udulib.factorization.radius import suggest_radius
from udulib.factorization.stopping import information, rank_plateau
from udulib.factors import decompose
from udulib.problems import Completion
from udulib.seeds import generator
from udulib.solvers.fit import Fit
from udulib.solvers.least_squares import als

NOTHING = 1e-16  # of the sum of squares: a misfit that is none, and asks for no further direction
EXACT, DETERMINED = 1e-8, 0.9  # misfit over the sum of squares, unknowns over entries: below both, nothing is checked
HELD_OUT, LEAST_HELD_OUT = 0.1, 10  # share of the entries for that check, and how few tell nothing
RESTARTS = 4  # of its least squares, which from one start may end elsewhere


class OverfitWarning(UserWarning):
    """Entries that were held out are predicted no better than by the mean of the others."""


@dataclass(frozen=True)
class TwoStageFit:
    """What :func:`udu_then_als` did.

    Attributes
    ----------
    fit : Fit
        The finished answer; its rank may be larger than the one that UDU found.
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


def udu_then_als(problem, iterations=6000, rank=None, sweeps=200, ridge=0.0, rtol=1e-8, grow=True, device="auto"):
    """UDU (or UDV) to find the rank, then least squares to finish: keep as many directions as the rank plateau has.

    UDU knows the rank long before it knows the matrix; least squares is fast once it knows the rank. Where singular
    values are far apart, or a mean was not taken out, UDU sees the largest ones only: then the leading direction of
    what is not explained joins the fit, one after the other, as long as the information criterion of
    :func:`rank_plateau` says that it is worth its unknowns.

    Not for heavy noise: where it is half as large as the entries, UDU's plateau has too many columns, and least squares
    fits the noise. A warning says so where entries that are held out show it. For a table of your own take
    ``udulib.impute``, which chooses rank and ridge by such entries.

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
    grow : bool, default True
        Whether further directions may join, and a tenth of the entries is held out in the end to check a fit that
        is not exact; without, the fit has the rank that UDU found, as it is.
    device
        As in ``descend``.

    Returns
    -------
    TwoStageFit

    Warns
    -----
    IndefiniteWarning
        As ``suggest_radius``: a symmetric problem whose X has negative eigenvalues.
    OverfitWarning
        Held-out entries are predicted no better than by the mean of the others.

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
    fit = als(problem, found, ridge, sweeps=sweeps, start=leading_directions(trace.factors, found))
    if grow:
        fit = _grown(problem, fit, ridge, sweeps)
        _check(problem, fit, ridge, sweeps)
    return TwoStageFit(fit, found, suggestion, trace)


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


def _grown(problem, fit, ridge, sweeps):
    """A fit with further directions, each the leading one of what the fit before leaves, while the criterion falls.

    A fit that had not converged may have asked for too many: in the end the last ones must be worth their unknowns.
    """

    def refitted(start):
        return als(problem, start.shape[1], ridge, sweeps=10 * sweeps, tol=1e-9, start=start)

    def worth(one):
        left = max(one.objective[-1], NOTHING * float(problem.b @ problem.b))
        return float(information(left, one.rank, problem))

    grown = fit
    while grown.rank < min(problem.shape) and grown.objective[-1] > NOTHING * float(problem.b @ problem.b):
        larger = refitted(np.column_stack([grown.factors["V"], _leading_residual(problem, grown)]))
        if worth(larger) >= worth(grown):
            break
        grown = larger
    while grown.rank > fit.rank:
        _, s, Q = decompose(grown.factors["U"], grown.factors["V"])
        smaller = refitted(Q[:, :-1] * np.sqrt(s[:-1]))
        if worth(smaller) > worth(grown):
            break
        grown = smaller
    return grown


def _check(problem, fit, ridge, sweeps):
    """Warn where a fit of this rank to nine tenths of the entries does not predict the others."""
    count = int(HELD_OUT * len(problem.b))
    unknowns = fit.rank * (sum(problem.shape) - fit.rank)
    exact = fit.objective[-1] <= EXACT * float(problem.b @ problem.b) and unknowns < DETERMINED * len(problem.b)
    if exact or count < LEAST_HELD_OUT:
        return
    rows, cols, b = (part.cpu().numpy() for part in (problem.rows, problem.cols, problem.b))
    order = generator("held out", 0).permutation(len(b))
    out, kept = order[:count], order[count:]
    part = Completion(rows[kept], cols[kept], b[kept], problem.shape, symmetric=problem.symmetric)
    fits = [als(part, fit.rank, ridge, sweeps=sweeps, seed=seed) for seed in range(RESTARTS)]  # none has seen the rest
    guess = min(fits, key=lambda one: one.objective[-1]).entries(rows[out], cols[out])
    error, of_mean = (np.sqrt(np.mean((b[out] - one) ** 2)) for one in (guess, b[kept].mean()))
    if error >= of_mean:
        warnings.warn(
            f"entries that were held out are off by {error:.2g}, and by {of_mean:.2g} if their mean is taken: this fit "
            f"of rank {fit.rank} follows the noise; udulib.impute chooses rank and ridge by such entries",
            OverfitWarning,
            stacklevel=3,
        )


def _leading_residual(problem, fit, steps=20):
    """The right vector of the largest singular value of what a fit leaves of the entries, by the power method."""
    U, V = (torch.from_numpy(fit.factors[name]) for name in "UV")
    left = problem.adjoint(problem.b - problem.measure(U, V))
    v = torch.from_numpy(generator("residual", 0).standard_normal((problem.shape[1], 1)))
    for _ in range(steps):
        v = left.mH @ (left @ v)
        v = v / torch.linalg.vector_norm(v).clamp(min=torch.finfo(v.dtype).tiny)
    return v.numpy() * np.sqrt(float(torch.linalg.vector_norm(left @ v)))
