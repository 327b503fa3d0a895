r"""What a user would pick instead of UDU for matrix completion, and a recipe that joins the two.

Nuclear norm (soft-impute), alternating least squares, two factors with weight decay, biased matrix factorization from
the library cornac, and UDU to find the rank followed by alternating least squares to finish. We know no maintained
package of soft-impute, or of least squares on observed real-valued entries, that installs beside today's NumPy
(``implicit`` counts what is missing as zero), so the two short algorithms stand here.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from udulib.checks import positive_array, whole_number
from udulib.errors import InputError
from udulib.factorization.descent import descend
from udulib.factorization.models import UDU, UDV, UV
from udulib.factorization.radius import suggest_radius
from udulib.factorization.stopping import rank_plateau
from udulib.factors import product
from udulib.problems import Completion
from udulib.seeds import generator

EXACT = 1e-22  # misfit over the data's square that counts as zero
DENSE_UP_TO = 100_000  # entries of X up to which least squares works on the whole matrix, not row by row
TINY_RIDGE = 1e-12  # of a row's mean squared weight, so that a row with few entries still has one answer


@dataclass(frozen=True)
class Fit:
    r"""A completed matrix, as factors: :math:`X = U V^\top`.

    Attributes
    ----------
    factors : dict of array
        ``"U"`` (d, r) and ``"V"`` (c, r).
    objective : array, shape (sweeps,)
        :math:`\tfrac12\|\mathcal A(X) - b\|^2` after each sweep, without the penalty.
    """

    factors: dict
    objective: np.ndarray = field(repr=False)

    @property
    def rank(self):
        """Columns of the factors."""
        return self.factors["U"].shape[-1]

    def product(self):
        """X itself, shape (d, c)."""
        return product(self.factors)

    def entries(self, rows, cols):
        """X at (rows[i], cols[i]), without forming the rest."""
        return np.einsum("ij,ij->i", self.factors["U"][rows], self.factors["V"][cols])


# Nuclear norm --------------------------------------------------------------------------------------------------------


def soft_impute(problem, penalty, rank, sweeps=200, tol=1e-5, start=None):
    r"""Nuclear norm by soft-thresholding: :math:`\min_X \tfrac12\|\mathcal A(X) - b\|^2 + \mu\|X\|_*`.

    Proximal gradient with unit step (Mazumder, Hastie, Tibshirani 2010): fill the missing entries with those of X, take
    singular values down by :math:`\mu`. The singular vectors are followed by one step of subspace iteration a sweep.

    Parameters
    ----------
    problem : Completion
        One problem, not a stack.
    penalty : float
        :math:`\mu`, positive.
    rank : int
        Columns kept. The answer is the nuclear norm's as long as it has fewer.
    sweeps : int, default 200
        At most.
    tol : float, default 1e-5
        Stop when a sweep moves the singular values by less than this, relative to their norm.
    start : Fit, optional
        Of a larger penalty say: warm starts save most of the work.

    Returns
    -------
    Fit
        Its factors are :math:`U\sqrt S` and :math:`V\sqrt S`; columns that were thresholded away are left out.

    Raises
    ------
    InputError
        A stack, or numbers that are not as said above.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_completion(d=(30, 40), rank=2, observed=700, spectrum=(2.0, 1.0), seed=0)
    >>> fit = soft_impute(problem, penalty=0.01, rank=10, sweeps=500)
    >>> fit.rank, bool(truth.relative_error(fit) < 0.05)
    (2, True)
    """
    _one_problem(problem)
    penalty = float(positive_array("penalty", penalty))
    rank = min(whole_number("rank", rank, 1), *problem.shape)
    Q = torch.from_numpy(generator("soft-impute", 0).standard_normal((problem.shape[1], rank)))
    L = R = torch.zeros(0)
    if start is not None:
        L, R = (torch.from_numpy(start.factors[name]) for name in "UV")
        Q[:, : R.shape[1]] = R[:, :rank]
    Q = torch.linalg.qr(Q)[0]
    s, objective = torch.zeros(rank, dtype=Q.dtype), []
    for _ in range(whole_number("sweeps", sweeps, 1)):
        residual = problem.b - (problem.measure(L, R) if L.numel() else 0.0)
        fill = problem.adjoint(residual)

        def filled(M, fill=fill, L=L, R=R):  # (X + A*(b - A X)) M
            return fill @ M + (L @ (R.mT @ M) if L.numel() else 0.0)

        def filled_back(M, fill=fill, L=L, R=R):
            return fill.mH @ M + (R @ (L.mT @ M) if L.numel() else 0.0)

        P = torch.linalg.qr(filled(Q))[0]
        W, t, Zh = torch.linalg.svd(filled_back(P).mT, full_matrices=False)  # (r, r), (r,), (r, c)
        Q, before, s = Zh.mT, s, (t - penalty).clamp(min=0.0)
        root = torch.sqrt(s)
        L, R = (P @ W) * root, Q * root
        objective.append(float(problem.objective(L, V=R)))
        if torch.linalg.vector_norm(s - before) <= tol * torch.linalg.vector_norm(s):
            break
    kept = s > 0
    return Fit({"U": L[:, kept].numpy(), "V": R[:, kept].numpy()}, np.array(objective))


# Alternating least squares -------------------------------------------------------------------------------------------


def als(problem, rank, ridge=0.0, weighted=False, sweeps=100, tol=1e-6, start=None, seed=0, watch=None):
    r"""Alternating (ridge) least squares: each factor in turn is the best for the other.

    .. math:: \min_{U, V} \tfrac12\|\mathcal A(UV^\top) - b\|^2
              + \tfrac\rho2 \Big(\sum_i w_i \|u_i\|^2 + \sum_j w_j \|v_j\|^2\Big)

    with :math:`w = 1`, or, ``weighted``, the number of entries of each row and column (Zhou et al. 2008). The entries
    of a symmetric problem are used at (i, j) and (j, i).

    Parameters
    ----------
    problem : Completion
        One problem, not a stack.
    rank : int
        Columns of U and V.
    ridge : float, default 0
        :math:`\rho`, at least 0. A row with fewer entries than columns gets its smallest solution.
    weighted : bool, default False
        Count-weighted ridge.
    sweeps : int, default 100
        At most; each updates both factors.
    tol : float, default 1e-6
        Stop when a sweep lowers the misfit by less than this share, or when it is round-off. Zero: never.
    start : array, shape (c, rank), optional
        V to start from; random if left out.
    seed : int, default 0
        Of the random start.
    watch : callable, optional
        Called with the :class:`Fit` so far after each sweep; a true answer stops.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        A stack, or numbers and shapes that are not as said above.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_completion(d=(30, 40), rank=2, observed=700, spectrum=(2.0, 1.0), seed=0)
    >>> bool(truth.relative_error(als(problem, rank=2)) < 1e-8)
    True
    """
    _one_problem(problem)
    rank, ridge = whole_number("rank", rank, 1), float(positive_array("ridge", ridge, allow_zero=True))
    rows, cols, values = problem.rows.numpy(), problem.cols.numpy(), problem.b.numpy()
    if problem.symmetric:
        off = rows != cols
        rows, cols = np.append(rows, cols[off]), np.append(cols, rows[off])
        values = np.append(values, values[off])
    d, c = problem.shape
    by_row, by_col = _Grouped(rows, cols, values, (d, c)), _Grouped(cols, rows, values, (c, d))
    V = generator("als", seed).standard_normal((c, rank)) / np.sqrt(c) if start is None else np.asarray(start, float)
    if V.shape != (c, rank):
        raise InputError(f"start is V, of shape {(c, rank)}; got {V.shape}")
    objective = []
    for _ in range(whole_number("sweeps", sweeps, 1)):
        U = by_row.solve(V, ridge, weighted)
        V = by_col.solve(U, ridge, weighted)
        fit = Fit({"U": U, "V": V}, np.array(objective))
        misfit = fit.entries(problem.rows.numpy(), problem.cols.numpy()) - problem.b.numpy()
        objective.append(0.5 * float(misfit @ misfit))
        if watch is not None and watch(fit):
            break
        slow = len(objective) > 1 and abs(objective[-2] - objective[-1]) < tol * objective[-2]
        if tol and (slow or objective[-1] < EXACT * float(values @ values)):
            break
    return Fit({"U": U, "V": V}, np.array(objective))


class _Grouped:
    """Entries by row, and the least-squares problem of each row."""

    def __init__(self, rows, cols, values, shape):
        self.counts = np.bincount(rows, minlength=shape[0])
        self.dense = shape[0] * shape[1] <= DENSE_UP_TO
        if self.dense:
            self.seen, self.filled = np.zeros(shape), np.zeros(shape)
            np.add.at(self.seen, (rows, cols), 1.0)
            np.add.at(self.filled, (rows, cols), values)
            return
        order = np.argsort(rows, kind="stable")
        ends = np.cumsum(self.counts)
        self.slices = [slice(e - n, e) for n, e in zip(self.counts, ends, strict=True)]
        self.cols, self.values = cols[order], values[order]

    def solve(self, V, ridge, weighted):
        r = V.shape[1]
        gram, right = self._dense(V) if self.dense else self._row_by_row(V)
        weight = ridge * (self.counts if weighted else np.ones_like(self.counts))
        diagonal = np.arange(r)
        least = TINY_RIDGE * np.trace(gram, axis1=1, axis2=2) / r
        gram[:, diagonal, diagonal] += np.where(self.counts > 0, weight + least, 1.0)[:, None]
        empty = ~gram.any(axis=(1, 2))  # a row whose entries meet nothing but zeros of V
        gram[empty] = np.eye(r)
        return np.linalg.solve(gram, right[..., None])[..., 0]

    def _dense(self, V):
        r = V.shape[1]
        squares = (V[:, :, None] * V[:, None, :]).reshape(len(V), r * r)
        return (self.seen @ squares).reshape(-1, r, r), self.filled @ V

    def _row_by_row(self, V):
        r = V.shape[1]
        gram, right = np.empty((len(self.slices), r, r)), np.empty((len(self.slices), r))
        gathered = V[self.cols]  # (n, r)
        for i, own in enumerate(self.slices):
            gram[i] = gathered[own].T @ gathered[own]
            right[i] = gathered[own].T @ self.values[own]
        return gram, right


# The recipe ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
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
    Recipe

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
    return Recipe(
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
    (_, S), (Q, T) = np.linalg.qr(left), np.linalg.qr(right)
    _, s, Zh = np.linalg.svd(S @ T.T)
    return (Q @ Zh.T)[:, :rank] * np.sqrt(s[:rank])


# Weight decay --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DecayedUV(UV):
    r"""Two factors with weight decay: :math:`\tfrac12\|\mathcal A(UV^\top) - b\|^2 + \tfrac w2(\|U\|_F^2 + \|V\|_F^2)`.

    At its minimum over enough columns this is the nuclear norm's problem with penalty w (Srebro et al. 2005).

    Parameters
    ----------
    rank : int
        Columns r of U and V.
    weight_decay : float, default 0
        w, at least 0.

    Raises
    ------
    InputError
        If ``rank`` is below 1 or ``weight_decay`` is negative.

    Examples
    --------
    >>> DecayedUV(rank=5, weight_decay=0.1).names
    ('U', 'V')
    """

    weight_decay: float = 0.0
    names: ClassVar[tuple] = ("U", "V")

    def __post_init__(self):
        super().__post_init__()
        positive_array("weight_decay", self.weight_decay, allow_zero=True)

    def gradient(self, problem, factors):
        objective, gradients = super().gradient(problem, factors)
        return objective, {name: g + self.weight_decay * factors[name] for name, g in gradients.items()}


# Ratings -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Means:
    """A mean for everything, and one for each row and column on top of it: the prediction without any factor.

    Attributes
    ----------
    overall : float
    rows : array, shape (d,)
    cols : array, shape (c,)
    """

    overall: float
    rows: np.ndarray = field(repr=False)
    cols: np.ndarray = field(repr=False)

    def at(self, rows, cols):
        """The sum of the three at (rows[i], cols[i])."""
        return self.overall + self.rows[rows] + self.cols[cols]


def means(problem, ridge=(10.0, 5.0), sweeps=15):
    r"""Row and column means by ridge least squares, alternating (Koren 2010).

    Parameters
    ----------
    problem : Completion
        One problem, not a stack.
    ridge : (float, float), default (10, 5)
        For rows (users) and columns (items); a mean over n entries is shrunk by :math:`n/(n + \text{ridge})`.
    sweeps : int, default 15

    Returns
    -------
    Means

    Raises
    ------
    InputError
        A stack, or numbers that are not positive.

    Examples
    --------
    >>> import udulib as ul
    >>> problem = ul.Completion([0, 0, 1], [0, 1, 0], [5.0, 3.0, 4.0], shape=(2, 2))
    >>> round(float(means(problem, ridge=(1e-9, 1e-9), sweeps=200).at(1, 1)), 6)
    2.0
    """
    _one_problem(problem)
    row_ridge, col_ridge = positive_array("ridge", ridge)
    i, j, values = problem.rows.numpy(), problem.cols.numpy(), problem.b.numpy()
    (d, c), overall = problem.shape, float(values.mean())
    n_rows, n_cols = np.bincount(i, minlength=d), np.bincount(j, minlength=c)
    rows = np.zeros(d)
    for _ in range(whole_number("sweeps", sweeps, 1)):
        cols = np.bincount(j, values - overall - rows[i], c) / (n_cols + col_ridge)
        rows = np.bincount(i, values - overall - cols[j], d) / (n_rows + row_ridge)
    return Means(overall, rows, cols)


@dataclass(frozen=True)
class BiasedFit(Fit):
    """A fit on top of :class:`Means`; ``product`` and ``entries`` include them."""

    means: Means = None

    def product(self):
        return super().product() + self.means.overall + self.means.rows[:, None] + self.means.cols

    def entries(self, rows, cols):
        return super().entries(rows, cols) + self.means.at(rows, cols)


def biased_factorization(problem, rank, ridge=0.02, step_size=0.01, epochs=20, start=None, seed=0):
    r"""Matrix factorization with row and column means, by stochastic gradient descent: ``MF`` of the library cornac.

    Parameters
    ----------
    problem : Completion
        One problem, not a stack; not symmetric.
    rank, ridge, step_size, epochs
        ``k``, ``lambda_reg``, ``learning_rate``, ``max_iter`` of ``cornac.models.MF``; the defaults are its own.
    start : BiasedFit, optional
        To go on from; random factors and no means if left out.
    seed : int, default 0
        Of the start, and of the order in which the entries are visited: cornac takes them as they come, every epoch.

    Returns
    -------
    BiasedFit

    Raises
    ------
    InputError
        If cornac is not installed, a stack, a symmetric problem.

    Examples
    --------
    >>> import udulib as ul
    >>> problem, truth = ul.planted_completion(d=(30, 40), rank=2, observed=700, seed=0)
    >>> biased_factorization(problem, rank=5).product().shape  # doctest: +SKIP
    (30, 40)
    """
    _one_problem(problem)
    if problem.symmetric:
        raise InputError("biased_factorization is for rectangular problems; got a symmetric one")
    try:
        from cornac.data import Dataset
        from cornac.models import MF
    except ImportError:
        raise InputError("biased_factorization runs cornac, which is not installed; pip install cornac") from None
    order = generator("biased factorization", seed).permutation(problem.b.shape[0])
    rows, cols, values = (array.numpy()[order] for array in (problem.rows, problem.cols, problem.b))
    names = [{i: i for i in range(n)} for n in problem.shape]
    given = {"k": rank, "lambda_reg": ridge, "learning_rate": step_size, "max_iter": epochs, "seed": seed}
    if start is not None:
        parts = start.factors | {"Bu": start.means.rows, "Bi": start.means.cols}
        given["init_params"] = {name: part.astype(np.float32) for name, part in parts.items()}
    model = MF(num_threads=1, **given)
    model.fit(Dataset(*problem.shape, *names, (rows, cols, values)))
    U, V, over_rows, over_cols = (
        np.asarray(part, float) for part in (model.u_factors, model.i_factors, model.u_biases, model.i_biases)
    )
    return BiasedFit({"U": U, "V": V}, np.empty(0), Means(float(model.global_mean), over_rows, over_cols))


def _one_problem(problem):
    if not isinstance(problem, Completion) or problem.batch_shape:
        raise InputError("the baselines want one Completion problem; got another kind or a stack (take one by one)")
