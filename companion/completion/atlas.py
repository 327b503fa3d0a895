r"""Where does the low-rank bias of UDU appear? One batched run over radius, start and step size, and what was expected.

By the scaling law only ratios count. They are used here as coordinates:

==========================  ================================================================================
strength :math:`\kappa`     :math:`\sqrt k\,\|X\|_*/\alpha^3`, the shape's :math:`\|X\|/\alpha^3`
D0                          :math:`\delta = D_0/\alpha`
start                       :math:`\xi/\alpha`, norm of the first U over the radius
step                        :math:`\eta` over the largest stable one, :func:`udulib.factorization.radius.largest_step`
==========================  ================================================================================
"""

from dataclasses import dataclass, field

import numpy as np

from udulib.checks import positive_array, whole_number
from udulib.errors import InputError
from udulib.factorization.descent import descend
from udulib.factorization.models import UDU
from udulib.factorization.radius import bias_strength, expected_shrink, largest_step
from udulib.factorization.spectra import numerical_rank
from udulib.problems import Completion

REGIONS = ("low rank, right", "right, with a tail", "lazy", "rank too low", "too slow", "oscillating")
VISIBLE = 20.0  # expected shrink below which a tail stays above 1e-8; read off other problems than those tested
RIGHT = 1e-2  # relative error up to which an answer is called right
ARRIVED = 1e-4  # misfit, relative to the start, from which on a run is called converged
FITTED = 1e-3  # misfit, relative to the start, below which the entries are fitted


@dataclass(frozen=True)
class Atlas:
    r"""What came out, for each setting and problem: arrays of shape (strengths, D0s, starts, steps, problems).

    Attributes
    ----------
    strengths, d_inits, init_scales, step_sizes : array
        The four axes, relative as said above.
    rank : array of int
        At 1e-8; 0 for a run that diverged.
    tail : array
        :math:`\sigma_{k+1}/\sigma_1` for the true rank k; NaN for a run that diverged.
    error : array
        :math:`\|X - X_\natural\|_F/\|X_\natural\|_F`.
    misfit : array
        Objective at the end over that at the start.
    converged : array
        Iteration after which the recorded misfit stays below 1e-4 (``inf``: it never does).
    shrink : array
        :math:`\sum\log(1/c)` of the run.
    region : array of str
        One of ``REGIONS``.
    expected : array of shape (strengths, D0s, 1, 1, 1)
        K by the shrink law, :func:`udulib.factorization.radius.expected_shrink`.
    true_rank : int
    """

    strengths: np.ndarray
    d_inits: np.ndarray
    init_scales: np.ndarray
    step_sizes: np.ndarray
    rank: np.ndarray = field(repr=False)
    tail: np.ndarray = field(repr=False)
    error: np.ndarray = field(repr=False)
    misfit: np.ndarray = field(repr=False)
    converged: np.ndarray = field(repr=False)
    shrink: np.ndarray = field(repr=False)
    region: np.ndarray = field(repr=False)
    expected: np.ndarray = field(repr=False)
    true_rank: int

    @property
    def low_rank(self):
        """Whether a run ended with at most the true rank."""
        return (self.rank > 0) & (self.rank <= self.true_rank)

    @property
    def as_expected(self):
        """Whether ``low_rank`` is what the shrink law says: K above ``VISIBLE`` or not."""
        return self.low_rank == (self.expected >= VISIBLE)


def draw(problem, truth, *, strengths, d_inits, init_scales, step_sizes, iterations, rank=None, seed=0, device="auto"):
    r"""Run UDU over the grid of four axes and all problems, in one call of ``descend``, and sort the outcomes.

    Parameters
    ----------
    problem : Completion
        Symmetric; one, or a stack along one dimension.
    truth : Truth
        Of the same problems; all have the same singular values.
    strengths, d_inits, init_scales, step_sizes : sequence of float
        The axes, relative as the module's table says.
    iterations : int
    rank : int, optional
        Columns of U; the side of X if left out.
    seed : int or array of int, default 0
        Of the starts: one, or one for each problem.
    device
        As in ``descend``.

    Returns
    -------
    Atlas

    Raises
    ------
    InputError
        A problem of another kind, truths whose singular values differ, axes that are not positive, a rank not above
        that of the truths.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_completion(d=20, rank=1, observed=150, spectrum=(1.0,), seed=[0, 1])
    >>> grid = dict(d_inits=[1.0], init_scales=[0.1], step_sizes=[0.5], iterations=3000)
    >>> atlas = draw(problem, truth, strengths=[1.0, 7.0], **grid)
    >>> atlas.rank.shape, atlas.region[1].ravel().tolist()
    ((2, 1, 1, 1, 2), ['low rank, right', 'low rank, right'])
    """
    if not isinstance(problem, Completion) or not problem.symmetric or len(problem.batch_shape) > 1:
        raise InputError(
            "the atlas is drawn for a symmetric Completion problem, or a stack of them along one dimension"
        )
    spectra = np.atleast_2d(truth.singular_values)  # (problems, k)
    if not np.allclose(spectra, spectra[0]):
        raise InputError("all problems of an atlas have the same singular values; pass spectrum to planted_completion")
    s, k = spectra[0], spectra.shape[-1]
    rank = whole_number("rank", problem.shape[0] if rank is None else rank, 1)
    if rank <= k:
        raise InputError(f"a tail shows only beyond the true rank: rank is above {k}; got {rank}")
    iterations = whole_number("iterations", iterations, 1)
    axes = [np.atleast_1d(positive_array("an axis", axis)) for axis in (strengths, d_inits, init_scales, step_sizes)]
    kappa, delta, xi, step = (axis[(..., *[None] * (4 - i))] for i, axis in enumerate(axes))  # (n, 1 ...)
    alpha = np.cbrt(bias_strength(s, 1.0) / kappa)  # (K, 1, 1, 1, 1)
    eta = step * largest_step(s, alpha, _fullest(problem), delta * alpha)  # (K, D, 1, H, problems)
    model = UDU(rank=rank, radius=alpha)
    late = [iterations - 1, iterations] if iterations > 1 else [iterations]
    grid = np.unique([*np.geomspace(10, iterations, 24).round().astype(int).clip(1, iterations), *late])
    trace = descend(
        problem,
        model,
        step_size=eta,
        iterations=iterations,
        init_scale=xi * alpha,
        d_init=delta * alpha,
        seed=seed,
        record_at=[0, *grid[grid > 1] - 1],
        record=("shrink",),
        device=device,
    )
    shape = trace.status.shape
    broken = trace.status == "diverged"
    spectrum = np.maximum(np.where(broken[..., None], 1.0, trace.singular_values), np.finfo(float).tiny)
    ranks = np.where(broken, 0, numerical_rank(spectrum, 1e-8))
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.broadcast_to(np.nan_to_num(truth.relative_error(trace), nan=np.inf), shape)
        objective = np.append(trace.objective[..., 1:], trace.final_objective[..., None], axis=-1)
        misfit = np.nan_to_num(objective / trace.objective[..., :1], nan=np.inf)
        rising = (misfit[..., -2:] > misfit[..., -3:-1] * (1 + 1e-9)).any(-1) & (misfit[..., -1] > 1e-12)
    tail = np.where(broken, np.nan, spectrum[..., k] / spectrum[..., 0])
    above = misfit > ARRIVED
    last_above = above.shape[-1] - 1 - np.argmax(above[..., ::-1], axis=-1)
    ends = np.append(trace.iteration[1:] + 1, np.inf)  # misfit[..., i] is that before this update
    converged = np.where(above.any(-1), ends[np.minimum(last_above + 1, len(ends) - 1)], ends[0])
    outcome = dict(rank=ranks, tail=tail, error=error, misfit=misfit[..., -1], converged=converged)
    region = _regions(**outcome, k=k, oscillating=broken | rising)
    expected = expected_shrink(s, alpha, delta * alpha)
    return Atlas(*axes, **outcome, shrink=trace.log_shrink[..., -1], region=region, expected=expected, true_rank=k)


def _regions(rank, error, misfit, k, oscillating, **_):
    rules = [
        (error <= RIGHT) & (rank <= k),
        error <= RIGHT,
        oscillating,
        (misfit <= FITTED) & (rank > k),
        rank < k,
    ]
    names = ["low rank, right", "right, with a tail", "oscillating", "lazy", "rank too low"]
    return np.select(rules, names, default="too slow")


def _fullest(problem):
    """Share of the entries observed in the fullest row and column of each problem."""
    d = problem.shape[0]

    def one(rows, cols):
        return (np.bincount(rows, minlength=d) + np.bincount(cols, minlength=d)).max() / (2 * d)

    rows, cols = np.atleast_2d(problem.rows.numpy()), np.atleast_2d(problem.cols.numpy())
    return np.array([one(i, j) for i, j in zip(rows, cols, strict=True)]).reshape(problem.batch_shape)
