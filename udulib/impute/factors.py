"""Means and factors of a matrix, as one pair of factors."""

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Factors:
    r""":math:`X = L R^\top`, where the first columns of L or R may be ones: those hold the means.

    Attributes
    ----------
    L : torch.Tensor, shape (d, m + r)
    R : torch.Tensor, shape (c, m + r)
    means : str
        One letter for each of the m first columns: ``"c"`` for column means (L holds ones), ``"r"`` for row means
        (R does).
    """

    L: torch.Tensor
    R: torch.Tensor
    means: str = ""

    @classmethod
    def without_rank(cls, shape, means, like):
        """Means of zero, and no further column."""

        def side(size, letter):
            return torch.stack([like.new_full((size,), float(k == letter)) for k in means], 1)  # (size, m)

        if not means:
            return cls(like.new_empty(shape[0], 0), like.new_empty(shape[1], 0))
        return cls(side(shape[0], "c"), side(shape[1], "r"), means)

    @property
    def rank(self):
        """Columns beside the means."""
        return self.L.shape[1] - len(self.means)

    @property
    def free(self):
        """Indices of the columns of L that are unknown, and of those of R."""
        rest = list(range(len(self.means), self.L.shape[1]))
        left = [i for i, k in enumerate(self.means) if k == "r"] + rest
        right = [i for i, k in enumerate(self.means) if k == "c"] + rest
        return left, right

    @property
    def low_rank(self):
        """U (d, r) and V (c, r), without the means."""
        m = len(self.means)
        return self.L[:, m:], self.R[:, m:]

    def at(self, rows, cols):
        """X at (rows[i], cols[i])."""
        return torch.linalg.vecdot(self.L[rows], self.R[cols])

    def moved(self, left, right):
        """With ``left`` and ``right`` added to the unknown columns."""
        L, R = self.L.clone(), self.R.clone()
        L[:, self.free[0]] += left
        R[:, self.free[1]] += right
        return replace(self, L=L, R=R)

    def grown(self, u, v):
        """With the columns u (d, k) and v (c, k) beside the others."""
        return replace(self, L=torch.cat([self.L, u], 1), R=torch.cat([self.R, v], 1))

    def for_rows(self, count):
        """The same R for ``count`` other rows, of which nothing is known: the unknown columns of L are zero."""
        L = self.L.new_zeros(count, self.L.shape[1])
        for i, kind in enumerate(self.means):
            L[:, i] = float(kind == "c")
        return replace(self, L=L)

    def balanced(self, rank=None):
        """The same X, its low-rank part as (P √s)(Q √s)ᵀ; cut to ``rank`` where one is given."""
        U, V = self.low_rank
        P, s, Q = svd(U, V)
        m, root = len(self.means), s[:rank].sqrt()
        kept = slice(None, rank)
        return replace(
            self,
            L=torch.cat([self.L[:, :m], P[:, kept] * root], 1),
            R=torch.cat([self.R[:, :m], Q[:, kept] * root], 1),
        )


def svd(U, V):
    """Singular value decomposition of U Vᵀ without forming it, shapes (d, k), (k,) and (c, k)."""
    (P, S), (Q, T) = torch.linalg.qr(U), torch.linalg.qr(V)
    left, s, right = torch.linalg.svd(S @ T.mT, full_matrices=False)
    return P @ left, s, Q @ right.mT
