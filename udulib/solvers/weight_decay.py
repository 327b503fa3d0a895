"""Two factors with weight decay: the nuclear norm in another form."""

from dataclasses import dataclass
from typing import ClassVar

from udulib.checks import positive_array
from udulib.factorization.models import UV


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
