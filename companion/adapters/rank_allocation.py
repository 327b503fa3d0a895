r"""AdaLoRA's way to a lower rank (Zhang and others, arXiv 2303.10512), in the letters of this book.

Three factors :math:`U\,\mathrm{diag}(D)\,V^\top` without balls. A penalty draws the columns of U and of V towards
orthonormal ones, and while training goes on the less important entries of D, over all layers together, are set to zero.
"""

import torch
from torch import nn

INITIAL = 1.5  # times the final rank: peft's default, as are the next two
SMOOTHING = 0.85  # of importance and of its uncertainty
START = 0.02  # standard deviation of the factors at the start
WARM_UP, SETTLED = 0.1, 0.6  # shares of the steps: all entries stay until the one, the final number from the other on


def free(adapter, generator):
    """Make an ordinary adapter AdaLoRA's: D is trained and starts at zero, U and V at small random numbers."""
    start = {name: START * torch.randn(getattr(adapter, name).shape, generator=generator) for name in ("U", "V")}
    adapter.fill_(start["U"], torch.zeros_like(adapter.D), start["V"])
    D = adapter.D
    del adapter.D
    adapter.D = nn.Parameter(D)


def free_groups(adapters, learning_rate, factor):
    """Parameter groups for an optimizer: the rate of D is ``factor`` times larger, and nothing decays."""
    slow = [matrix for adapter in adapters for matrix in (adapter.U, adapter.V)]
    fast = [adapter.D for adapter in adapters]
    return [
        {"params": some, "lr": rate, "weight_decay": 0.0}
        for some, rate in ((slow, learning_rate), (fast, factor * learning_rate))
    ]


def orthogonality(adapters):
    r"""The sum of :math:`\|U^\top U - I\|_F^2 + \|V^\top V - I\|_F^2` over adapters."""
    matrices = [matrix for adapter in adapters for matrix in (adapter.U, adapter.V)]
    return sum((matrix.mT @ matrix - torch.eye(matrix.shape[-1])).square().sum() for matrix in matrices)


class RankAllocation:
    """Sets the least important entries of D to zero after each step; their number follows the paper's cubic schedule.

    The importance of an entry is that of itself, and the means of those of its columns in U and V. That of a number is
    its smoothed sensitivity, the size of number times gradient, times how much the sensitivity varies.

    Parameters
    ----------
    adapters : list
        Made by `free`.
    rank : int
        Mean number of entries that stay in an adapter.
    steps : int
        Of the whole training.
    """

    def __init__(self, adapters, rank, steps):
        self.adapters, self.steps, self.count = adapters, steps, 0
        self.first, self.last = (sum(len(a.D) for a in adapters), rank * len(adapters))
        self.smoothed = {p: (torch.zeros_like(p), torch.zeros_like(p)) for a in adapters for p in (a.U, a.D, a.V)}

    @torch.no_grad()
    def step(self):
        """To be called after the optimizer's step, while the gradients are still there."""
        self.count += 1
        for parameter, (sensitivity, uncertainty) in self.smoothed.items():
            now = (parameter * parameter.grad).abs()
            sensitivity.lerp_(now, 1 - SMOOTHING)
            uncertainty.lerp_((now - sensitivity).abs(), 1 - SMOOTHING)
        budget = self.budget()
        if budget < self.first:
            importance = torch.cat([self._importance(adapter) for adapter in self.adapters])
            stays = torch.zeros_like(importance, dtype=torch.bool)
            stays[importance.topk(budget).indices] = True
            own = stays.split([len(adapter.D) for adapter in self.adapters])
            for adapter, kept in zip(self.adapters, own, strict=True):
                adapter.D.mul_(kept)

    def budget(self):
        """How many entries stay after this many steps."""
        left = 1 - (self.count / self.steps - WARM_UP) / (SETTLED - WARM_UP)
        return self.last + round((self.first - self.last) * min(max(left, 0.0), 1.0) ** 3)

    def _importance(self, adapter):
        U, D, V = ((s * u) for s, u in (self.smoothed[p] for p in (adapter.U, adapter.D, adapter.V)))
        return D + U.mean(0) + V.mean(0)
