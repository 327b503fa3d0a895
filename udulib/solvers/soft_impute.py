"""The nuclear norm, by soft-thresholding of singular values."""

import numpy as np
import torch

from udulib.checks import positive_number, whole_number
from udulib.seeds import generator
from udulib.solvers.fit import Fit, one_problem


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
        Its factors are :math:`U\sqrt S` and :math:`V\sqrt S`; columns that were thresholded away are left out. A small
        penalty, or few entries, wants far more sweeps than the default: look at ``converged``.

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
    one_problem(problem)
    penalty, tol = positive_number("penalty", penalty), positive_number("tol", tol, allow_zero=True)
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
        converged = bool(torch.linalg.vector_norm(s - before) <= tol * torch.linalg.vector_norm(s))
        if converged:
            break
    kept = s > 0
    return Fit({"U": L[:, kept].numpy(), "V": R[:, kept].numpy()}, np.array(objective), converged)
