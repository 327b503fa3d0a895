"""Updates on a GPU without Python between them: many steps are recorded as one CUDA graph and replayed.

A step on a small batch is some twenty short operations, and launching each from Python takes longer than doing it. A
graph holds them all, and the GPU goes through it by itself.
"""

import warnings

import torch

LENGTH = 50  # steps of the long graph; a short one of a single step does what remains
WARM_UP = 3  # steps before recording: libraries allocate in their first calls, which a graph cannot hold


class GraphSteps:
    r"""The steps of another stepper, recorded when they are first asked for and replayed from then on.

    Parameters
    ----------
    loop : object
        Its ``advance(factors, count)`` gives factors and the sum of :math:`\log(1/c)`, by operations on the GPU alone.
    record : callable
        Takes a function without arguments that works on tensors in their places; gives one that does the same again.
    """

    def __init__(self, loop, record=None):
        self.loop, self.record, self.factors, self.engine = loop, record or recorded, None, "graph"

    def advance(self, factors, count):
        """The factors ``count`` steps on, and the sum of log(1/c) over these steps."""
        if self.factors is None:
            self._prepare(factors)
        for name, factor in factors.items():
            self.factors[name].copy_(factor)
        self.shrink.zero_()
        for _ in range(count // LENGTH):
            self.many()
        for _ in range(count % LENGTH):
            self.one()
        return {name: factor.clone() for name, factor in self.factors.items()}, self.shrink.clone()

    def _prepare(self, factors):
        self.factors = {name: factor.clone() for name, factor in factors.items()}
        U = factors["U"]
        self.shrink = torch.zeros(U.shape[:-2], dtype=U.dtype.to_real(), device=U.device)
        self.one, self.many = self._steps(1), self._steps(LENGTH)
        try:
            self.one, self.many = self.record(self.one), self.record(self.many)
        except RuntimeError as error:
            self.engine = "loop"
            warnings.warn(f"the GPU does not record these steps, so they go one by one ({error})", stacklevel=2)

    def _steps(self, count):
        def steps():
            moved, shrink = self.loop.advance(self.factors, count)
            for name, factor in moved.items():
                self.factors[name].copy_(factor)
            self.shrink.add_(shrink)

        return steps


def recorded(steps, warm_up=WARM_UP):
    """``steps`` as a CUDA graph: a function that replays it. They are done ``warm_up`` times before."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(warm_up):
            steps()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        steps()
    return graph.replay
