"""Steps that nobody projected: the layer itself says so, once, where no projection comes behind its optimizer."""

import warnings

import torch
from torch import nn

from udulib.nn.balls import inside

PATIENCE = 5  # steps outside its set, of a layer that was never projected
INNER = 100  # of one that was: LBFGS calls the layer with as many points before its step ends


class UnprojectedWarning(UserWarning):
    """A layer trains outside its set, because no projection comes behind the steps of its optimizer."""


class Watch:
    """What a module knows of its own training. A copy of the module starts with a new one: hooks are not copied."""

    def __init__(self):
        self.steps = 0  # changes of D that forward has seen since the last projection
        self.patience = PATIENCE
        self.said = False
        self.version = None

    def __reduce__(self):
        return Watch, ()

    def projected(self):
        """A projection came, or will come behind every step."""
        self.steps, self.patience = 0, INNER

    def outlasted(self, D):
        """Whether this call of the module is the one to look whether it is in its set."""
        changed = self.version is not None and D._version != self.version  # of PyTorch's own count: no look at numbers
        self.version = D._version
        self.steps += changed
        return self.steps >= self.patience


def watch_of(module):
    """The watch of a module; a new one for a module of another kind, which has none.

    Examples
    --------
    >>> from udulib.nn import UDVLinear
    >>> watch_of(UDVLinear(4, 2, hidden=3)).steps
    0
    """
    watch = getattr(module, "watch", None)
    return watch if isinstance(watch, Watch) else Watch()


def notice_steps(module):
    """Count the steps that a module was trained without projection, and warn once when it has left its set for many.

    A module calls it in ``forward``. It costs a comparison of two numbers; compiled code leaves it out.

    Examples
    --------
    >>> from udulib.nn import UDVLinear
    >>> notice_steps(UDVLinear(4, 2, hidden=3))  # nothing was trained yet
    """
    if torch.compiler.is_compiling() or not (module.training and torch.is_grad_enabled()):
        return
    watch, D = module.watch, module.D
    if watch.said or not isinstance(D, nn.Parameter) or not watch.outlasted(D):
        return
    watch.steps = 0
    if not inside(module, 1e-3):
        watch.said = True
        warnings.warn(
            f"a {type(module).__name__} {tuple(module.U.shape)} was trained for {watch.patience} steps outside its "
            "set: no projection comes behind the steps of its optimizer. Hooks are not copied with an optimizer, and "
            "do not know layers that were added later. Call udulib.nn.attach(optimizer, model), again after copying or "
            "adding; or, in a loop without an optimizer of PyTorch's, udulib.nn.project_(model) after each step",
            UnprojectedWarning,
            stacklevel=3,
        )
