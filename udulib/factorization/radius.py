r"""Which radius? The strength of the bias, and settings read off the data alone.

With singular values :math:`\sigma_1 \ge \dots \ge \sigma_k` of X and radius :math:`\alpha`, what counts is

.. math:: \kappa = \sqrt k\,\|X\|_* / \alpha^3 .

It comes from the shrink law. While the ball is active every column of U has been shrunk, beside its own growth, by
:math:`e^{-K}` with :math:`K = (\|D\|^2 - \|D_0\|^2)/\alpha^2`. If the k columns of the solution share the ball in
proportion to the singular values, :math:`\|u_j\|^2 = \alpha^2 \sigma_j / \|X\|_*`, then each has
:math:`\lambda_j = \|X\|_*/\alpha^2`, and with :math:`D_0 = \delta\alpha` they give

.. math:: K = \kappa^2 - k\,\delta^2 .

Too small, and the other columns keep a visible tail; too large, and the columns that are still needed have been shrunk
so far that they take very long to come back.
"""

import warnings
from dataclasses import dataclass, field

import numpy as np
import torch

from udulib.checks import finite_array, positive_array, positive_number, whole_number
from udulib.errors import InputError
from udulib.problems import Completion

STRENGTH = 8.5  # the kappa aimed at: exp(-2 K) is then 1e-62 at the end, and the next column still comes back in time
SHARE_OF_LIMIT = 0.5  # step size, as a share of the largest stable one
START = 0.1  # norm of the starting U over the radius
UNSEEN = 0.15  # share of the energy above which singular values below the edge are counted too
BEYOND_SAMPLING = 1.5  # times the edge, below which an eigenvalue is taken for negative
FLIPS = 5
DENSE_UP_TO = 250_000  # entries of X up to which the zero-filled matrix is formed


def bias_strength(singular_values, radius):
    r""":math:`\kappa = \sqrt k\,\|X\|_*/\alpha^3`, the one number that says how strongly UDU prefers low rank.

    It does not change when X is multiplied by s and the radius by :math:`s^{1/3}`.

    Parameters
    ----------
    singular_values : array, shape (\*, k)
        Of the X to be found, non-zero ones only.
    radius : float or array
        :math:`\alpha`; broadcasts with the leading dimensions of ``singular_values``.

    Returns
    -------
    array, shape (\*,)

    Raises
    ------
    InputError
        A singular value or a radius that is not positive.

    Examples
    --------
    The authors' code instance at their radius:

    >>> round(float(bias_strength([3.0, 2.0, 1.0], radius=1.0)), 2)
    10.39
    """
    s = _checked(singular_values)
    return np.sqrt(s.shape[-1]) * s.sum(axis=-1) / positive_array("radius", radius) ** 3


def expected_shrink(singular_values, radius, d_init):
    r"""K of the shrink law for a run that converges: :math:`k\,(\|X\|_*^2/\alpha^6 - D_0^2/\alpha^2)`, or zero.

    The columns that end at zero are left out: what their D gains or loses on the way is not known beforehand.

    Parameters
    ----------
    singular_values : array, shape (\*, k)
        Of the X to be found.
    radius, d_init : float or array
        :math:`\alpha` and :math:`D_0`; they broadcast with the leading dimensions of ``singular_values``.

    Returns
    -------
    array, shape (\*,)
        Zero where :math:`D_0 \ge \|X\|_*/\alpha^2`: the start is as large as the solution, the ball is never pressed,
        and there is no bias.

    Raises
    ------
    InputError
        Values that are not positive (``d_init`` may be zero).

    Examples
    --------
    >>> round(float(expected_shrink([3.0, 2.0, 1.0], radius=1.0, d_init=1.0)))
    105
    """
    k = _checked(singular_values).shape[-1]
    start = positive_array("d_init", d_init, allow_zero=True) / positive_array("radius", radius)
    return np.maximum(bias_strength(singular_values, radius) ** 2 - k * start**2, 0.0)


def expected_wait(singular_values, radius, d_init, step_size, share):
    r"""Iterations until the last column comes back: the price of a strong bias.

    While the first k - 1 columns rest, the last one has been shrunk by :math:`e^{-K'}`, with
    :math:`K' = (k-1)\,\big((\sigma_1 + \dots + \sigma_{k-1})^2/\alpha^6 - D_0^2/\alpha^2\big)`, and grows back at the
    rate :math:`2\,\lambda\,p\,\sigma_k` a unit of time, where :math:`\lambda \approx D_0` and p is the share of entries
    observed. So it takes :math:`K' / (2\,\eta\,D_0\,p\,\sigma_k)` iterations.

    Parameters
    ----------
    singular_values : array, shape (\*, k), descending
        Of the X to be found.
    radius, d_init, step_size : float or array
        As given to the run; they broadcast with the leading dimensions of ``singular_values``.
    share : float or array
        Entries observed over all entries.

    Returns
    -------
    array, shape (\*,)
        Zero for k = 1.

    Raises
    ------
    InputError
        Values that are not positive.

    Examples
    --------
    >>> float(expected_wait([2.0, 1.0], radius=1.0, d_init=1.0, step_size=0.1, share=0.5))
    30.0
    """
    s = _checked(singular_values)
    d_init, rate = positive_array("d_init", d_init), positive_array("step_size", step_size)
    rate = 2 * rate * d_init * positive_array("share", share) * s[..., -1]
    before = s[..., :-1]
    shrink = expected_shrink(before, radius, d_init) if before.shape[-1] else 0.0
    return shrink / rate


def largest_step(singular_values, radius, density, d_init=0.0):
    r"""An estimate of the largest step size at which a converged run does not oscillate.

    At the solution the curvature along column j is :math:`4 p\,\lambda_j \sigma_j` at observed density p, where
    :math:`\lambda_j` is about :math:`\lambda = \max(\|X\|_*/\alpha^2, D_0)`. Gradient descent is stable below
    :math:`\eta = 1 / (2 p\,\sigma_1 \lambda)`.

    Parameters
    ----------
    singular_values : array, shape (\*, k), descending
    radius : float or array
    density : float or array
        Share of the entries observed in the fullest row or column, between 0 and 1.
    d_init : float or array, default 0
        :math:`D_0`.

    Returns
    -------
    array, shape (\*,)

    Raises
    ------
    InputError
        Values that are not positive.

    Examples
    --------
    >>> round(float(largest_step([3.0, 2.0, 1.0], radius=1.0, density=0.2)), 3)
    0.139
    """
    s = _checked(singular_values)
    alpha, p = positive_array("radius", radius), positive_array("density", density)
    weight = np.maximum(s.sum(axis=-1) / alpha**2, positive_array("d_init", d_init, allow_zero=True))
    return 1 / (2 * p * s[..., 0] * weight)


def _checked(singular_values):
    s = positive_array("singular_values", singular_values)
    if not s.ndim or not s.shape[-1]:
        raise InputError(f"singular_values is an array of one or more in its last dimension; got shape {s.shape}")
    return s


class IndefiniteWarning(UserWarning):
    """The data speak of a matrix with negative eigenvalues, which X = U diag(D) Uᵀ with D ≥ 0 cannot have."""


@dataclass(frozen=True)
class Suggestion:
    r"""Settings read off the data; see :func:`suggest_radius`.

    Attributes
    ----------
    radius : float
        :math:`\alpha` for ``UDU`` or ``UDV``.
    settings : dict
        ``step_size``, ``init_scale`` and ``d_init`` for ``descend``.
    spectrum : array
        Estimated singular values of X, descending: those that stand out of the noise of sampling, and what the energy
        of the entries says is hidden below it.
    edge : float
        The largest singular value that sampling makes by itself, for X without structure.
    density : float
        Share of the entries observed in the fullest row or column.
    """

    radius: float
    settings: dict
    spectrum: np.ndarray = field(repr=False)
    edge: float = field(repr=False)
    density: float = field(repr=False)


def suggest_radius(problem, strength=STRENGTH, seed=0):
    r"""Radius, step size and start for ``UDU`` or ``UDV``, from the observed entries alone.

    The rule: (1) fill the missing entries with zeros and divide by the share observed; (2) the singular values that
    sampling alone makes are those of the same matrix with random signs: keep what is above, corrected for the same
    noise; (3) if that leaves more than 15 % of the energy of the entries unexplained, add values as large as could just
    hide until it is explained; (4) from these :math:`\hat\sigma`, choose the radius that makes
    :math:`\kappa = \sqrt k\,\|X\|_*/\alpha^3` equal to ``strength``. The cube root forgives: an estimate wrong by a
    factor 2 moves the radius by 26 %. For UDV the radius is smaller by :math:`2^{1/6}`, D and the step size are larger
    by :math:`2^{1/3}` and :math:`2^{2/3}`: that makes a UDV with U = V the same run as the UDU.

    Parameters
    ----------
    problem : Completion
        One problem, not a stack.
    strength : float, default 8.5
        The :math:`\kappa` aimed at; 6 to 12 works as a rule.
    seed : int, default 0
        Of the random signs.

    Returns
    -------
    Suggestion

    Warns
    -----
    IndefiniteWarning
        A symmetric problem whose entries have an eigenvalue below zero that sampling does not explain: UDU and
        Burer-Monteiro make positive semidefinite matrices only. Looked for up to 250,000 entries of X; ``descend`` by
        itself does not look.

    Raises
    ------
    InputError
        A stack, another kind of problem, or one whose entries are all zero.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_completion(d=60, rank=3, observed=600, spectrum=(3.0, 2.0, 1.0), seed=0)
    >>> chosen = suggest_radius(problem)
    >>> trace = ul.descend(problem, ul.UDU(rank=30, radius=chosen.radius), iterations=4000, **chosen.settings)
    >>> int(ul.numerical_rank(trace.singular_values, rtol=1e-8))
    3
    """
    strength = positive_number("strength", strength)
    spectrum, edge, density = estimated_spectrum(problem, seed=seed)
    if problem.symmetric:
        _warn_of_negative_values(problem, edge)
    alpha = (np.sqrt(len(spectrum)) * spectrum.sum() / strength) ** (1 / 3)
    step = SHARE_OF_LIMIT * float(largest_step(spectrum, alpha, density, d_init=alpha))
    wider = 1.0 if problem.symmetric else 2.0
    radius = float(alpha * wider ** (-1 / 6))
    settings = {
        "step_size": step * wider ** (2 / 3),
        "init_scale": START * radius,
        "d_init": float(alpha * wider ** (1 / 3)),
    }
    return Suggestion(radius, settings, spectrum, edge, density)


def estimated_spectrum(problem, seed=0):
    r"""Steps 1 to 3 of :func:`suggest_radius`: singular values, edge and density, from the entries alone.

    Parameters
    ----------
    problem : Completion
        One problem, not a stack.
    seed : int, default 0
        Of the random signs.

    Returns
    -------
    spectrum : array, shape (k,), descending
    edge : float
    density : float

    Raises
    ------
    InputError
        As :func:`suggest_radius`.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_completion(d=100, rank=2, observed=3000, spectrum=(3.0, 2.0), seed=0)
    >>> estimated_spectrum(problem)[0].round(1)
    array([3. , 1.9])
    """
    if not isinstance(problem, Completion) or problem.batch_shape:
        raise InputError("the radius rule wants one Completion problem; got another kind or a stack (take one by one)")
    b = finite_array("the problem's values", problem.b)
    if not b.any():
        raise InputError("every observed entry is zero: X is zero, there is nothing to complete")
    d, c = problem.shape
    share = len(b) / (d * c)
    energy = np.sqrt(np.mean(b**2) * d * c)  # the Frobenius norm of X
    rng = np.random.default_rng([whole_number("seed", seed, 0), *b"signs"])
    flips = [_top_values(problem, b * rng.choice([-1.0, 1.0], len(b)))[0] for _ in range(FLIPS)]
    seen = _top_values(problem, b) / share
    edge = max(max(flips) / share * np.sqrt(1 - share), np.finfo(float).eps * max(d, c) * seen[0])
    if share < 1:
        edge = max(edge, float(np.abs(b).max()))  # what a single missing entry may make
    seen = seen[: max(1, int(np.sum(seen > edge)))]
    spectrum = (seen + np.sqrt(np.maximum(seen**2 - edge**2, 0.0))) / 2  # s = sigma + edge^2 / (4 sigma), solved
    missing = energy**2 - np.sum(spectrum**2)
    if missing > UNSEEN * energy**2:
        hidden = int(np.ceil(missing / edge**2)) if edge else 1
        spectrum = np.append(spectrum, np.full(hidden, np.sqrt(missing / hidden)))
    spectrum = np.sort(spectrum * energy / np.linalg.norm(spectrum))[::-1]
    rows = torch.bincount(problem.rows, minlength=d).numpy() / c
    cols = torch.bincount(problem.cols, minlength=c).numpy() / d
    fullest = ((rows + cols) / 2).max() if problem.symmetric else max(rows.max(), cols.max())
    return spectrum, float(edge), float(fullest)


def _warn_of_negative_values(problem, edge):
    d, c = problem.shape
    if d * c > DENSE_UP_TO:
        return
    lowest = np.linalg.eigvalsh(_filled(problem, problem.b.numpy()))[0] * d * c / problem.b.shape[0]
    if lowest < -BEYOND_SAMPLING * edge:
        warnings.warn(
            f"the known entries have an eigenvalue of about {lowest:.2g}, below what sampling makes by itself "
            f"({-edge:.2g}): X seems to have negative eigenvalues, and symmetric models cannot; give the problem with "
            "symmetric=False to UV or UDV",
            IndefiniteWarning,
            stacklevel=3,
        )


def _filled(problem, values):
    """The entries with zeros between them, symmetrised where the problem is."""
    filled = np.zeros(problem.shape)
    filled[problem.rows.numpy(), problem.cols.numpy()] = values
    return (filled + filled.T) / 2 if problem.symmetric else filled


def _top_values(problem, values):
    """Largest singular values of the entries, zero-filled (symmetrised where the problem is)."""
    d, c = problem.shape
    if d * c <= DENSE_UP_TO:
        return np.linalg.svd(_filled(problem, values), compute_uv=False)
    at = torch.stack([problem.rows, problem.cols])
    filled = torch.sparse_coo_tensor(at, torch.from_numpy(values), (d, c), check_invariants=True)
    filled = ((filled + filled.T) / 2 if problem.symmetric else filled).coalesce()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.svd_lowrank(filled, q=min(60, d, c), niter=6)[1].numpy()
