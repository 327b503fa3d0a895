r"""Least squares with a ridge on both factors at once.

Alternating least squares moves one factor while the other one rests, and is slow where entries are few. Here both
move: each step is a damped Gauss-Newton step (Levenberg-Marquardt), found by conjugate gradients whose preconditioner
are the normal equations of each row and column, which are what the alternating method would solve. The damping is a
share of the same blocks, so that a step does not depend on how the columns are scaled.
"""

from dataclasses import dataclass, field

import torch

ROUND_OFF = 1e-30  # misfit over the square of the data
TINY = 1e-13  # of a column's mean weight: so that a row with few entries has one answer
FIRST, LEAST, MOST = 1e-2, 1e-12, 1e6  # damping: of the first step, the smallest, and where a fit is given up
EASIER, HARDER = 8.0, 8.0  # the damping after a step that helped is so much smaller; after one that did not, larger
NO_RIDGE = (0.0, 0.0)
INNER_STEPS, INNER_TOL = 60, 0.1  # of conjugate gradients; they need not be exact, the next step corrects them


@dataclass
class Work:
    """What refits have cost: Gauss-Newton steps, and steps of conjugate gradients."""

    outer: int = field(default=0)
    inner: int = field(default=0)


def refit(entries, fit, ridge=0.0, mean_ridge=NO_RIDGE, steps=60, tol=1e-3, work=None):
    r"""Lower :math:`\tfrac12\|(X - T)_\Omega\|^2 + \tfrac\rho2(\|U\|^2 + \|V\|^2)` from where ``fit`` is.

    Parameters
    ----------
    entries : Entries
    fit : Factors
    ridge : float
        :math:`\rho`.
    mean_ridge : (float, float)
        The same for row means and for column means: a mean over n entries is shrunk by n / (n + ridge).
    steps : int
        At most.
    tol : float
        Stop when a step lowers the objective by less than this share.
    work : Work, optional
        Counts what it cost.

    Returns
    -------
    fit : Factors
        Balanced.
    misfit : float
        :math:`\tfrac12\|(X - T)_\Omega\|^2`.
    """
    work = Work() if work is None else work
    weights = tuple(_weights(fit, side, ridge, mean_ridge) for side in (0, 1))
    fit, damping = fit.balanced(), FIRST
    misfit, G = entries.misfit(fit.L, fit.R)
    objective = misfit + _penalty(fit, weights)
    for _ in range(steps):
        if objective <= ROUND_OFF * entries.square:
            break
        step = _Step(entries, fit, G, weights)
        while damping < MOST:
            moved = fit.moved(*step.solve(damping, work))
            new_misfit, new_G = entries.misfit(moved.L, moved.R)
            new = new_misfit + _penalty(moved, weights)
            if new < objective:
                break
            damping = HARDER * max(damping, 1e-6)
        else:
            break
        work.outer += 1
        slow = objective - new < tol * objective
        fit, misfit, G, objective, damping = moved, new_misfit, new_G, new, max(damping / EASIER, LEAST)
        if slow:
            break
    return fit.balanced(), misfit


class _Step:
    """The Gauss-Newton equations at a fit: (JᵀJ + W + damping · blocks) x = -gradient."""

    def __init__(self, entries, fit, G, weights):
        self.entries, self.weights = entries, weights
        left, right = fit.free
        self.beside = fit.R[:, left], fit.L[:, right]  # what multiplies the unknowns of L, and those of R
        own = fit.L[:, left], fit.R[:, right]
        self.gradient = tuple(g + x * w for g, x, w in zip(self._back(G), own, weights, strict=True))
        ones = entries.ones()
        self.blocks = _blocks(ones, self.beside[0]), _blocks(ones.mH, self.beside[1])

    def _back(self, G):
        return G @ self.beside[0], G.mH @ self.beside[1]

    def _times(self, x, damping):
        R, L = self.beside
        seen = self._back(self.entries.product(torch.cat([x[0], L], 1), torch.cat([R, x[1]], 1)))
        damped = (damping * _each(B, y) for B, y in zip(self.blocks, x, strict=True))
        return tuple(s + y * w + b for s, y, w, b in zip(seen, x, self.weights, damped, strict=True))

    def solve(self, damping, work):
        """x by conjugate gradients."""
        inverse = [_inverse(B, w, damping) for B, w in zip(self.blocks, self.weights, strict=True)]

        def preconditioned(y):
            return tuple(_each(B, part) for B, part in zip(inverse, y, strict=True))

        x = tuple(torch.zeros_like(g) for g in self.gradient)
        left = tuple(-g for g in self.gradient)
        p = z = preconditioned(left)
        size = first = _dot(left, z)
        for _ in range(INNER_STEPS):
            Hp = self._times(p, damping)
            curvature = _dot(p, Hp)
            if not (size > 0 and curvature > 0):
                break
            work.inner += 1
            x, left = _plus(x, size / curvature, p), _plus(left, -size / curvature, Hp)
            z = preconditioned(left)
            before, size = size, _dot(left, z)
            if size <= INNER_TOL**2 * first:
                break
            p = _plus(z, size / before, p)
        return x


def _weights(fit, side, ridge, mean_ridge):
    return fit.L.new_tensor([mean_ridge[side] if i < len(fit.means) else ridge for i in fit.free[side]])


def _penalty(fit, weights):
    left, right = fit.free
    return 0.5 * float((fit.L[:, left] ** 2 @ weights[0]).sum() + (fit.R[:, right] ** 2 @ weights[1]).sum())


def _blocks(ones, M):
    """The sum of m mᵀ over the rows m of M that an entry joins to each row: shape (d, r, r)."""
    i, j = torch.triu_indices(M.shape[1], M.shape[1], device=M.device)
    upper = ones @ (M[:, i] * M[:, j])
    blocks = upper.new_empty(len(upper), M.shape[1], M.shape[1])
    blocks[:, i, j] = upper
    blocks[:, j, i] = upper
    return blocks


def _inverse(blocks, weights, damping):
    k = torch.arange(len(weights), device=weights.device)
    A = blocks * (1 + damping)
    A[:, k, k] += weights + TINY * blocks[:, k, k].mean(0) + torch.finfo(A.dtype).tiny
    return torch.linalg.inv_ex(A)[0]


def _each(blocks, x):
    return torch.bmm(blocks, x[..., None])[..., 0]


def _dot(a, b):
    return float(sum(torch.sum(x * y) for x, y in zip(a, b, strict=True)))


def _plus(a, t, b):
    return tuple(x + t * y for x, y in zip(a, b, strict=True))


def complete_rows(entries, fit, ridge=0.0, mean_ridge=NO_RIDGE, passes=3):
    """``fit`` with an L that is the best for its R, for the rows of ``entries``, which may be new ones.

    The normal equations of each row, solved again for what round-off leaves.
    """
    fit = fit.for_rows(entries.shape[0])
    left, _ = fit.free
    if not left:
        return fit
    weights, R = _weights(fit, 0, ridge, mean_ridge), fit.R[:, left]
    inverse = _inverse(_blocks(entries.ones(), R), weights, 0.0)
    still = fit.R.new_zeros(len(fit.R), len(fit.free[1]))
    for _ in range(passes):
        gradient = entries.misfit(fit.L, fit.R)[1] @ R + fit.L[:, left] * weights
        fit = fit.moved(-_each(inverse, gradient), still)
    return fit
