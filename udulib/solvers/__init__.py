r"""What a user would take instead of UDU, one file a method, and what joins UDU with least squares.

Of completion: the nuclear norm (``soft_impute``), alternating least squares, two factors with weight decay, means,
biased matrix factorization from the library cornac, and ``udu_then_als``: UDU to find the rank,
least squares to finish.

Of phase retrieval: alternating projection, PIE and Wirtinger flow. All three look for the spectrum x itself, one vector
where the lifted problem has r columns, and take a :class:`udulib.Ptychography` problem, stacked or not, in any unit.
Each iteration transforms every window there and back once; one iteration of UDU with r columns does r times that.
"""

from udulib.solvers.alternating_projection import alternating_projection
from udulib.solvers.biased_factorization import BiasedFit, biased_factorization
from udulib.solvers.fit import Fit
from udulib.solvers.least_squares import als
from udulib.solvers.means import Means, means
from udulib.solvers.pie import pie
from udulib.solvers.retrieval import Retrieval, starting_spectrum
from udulib.solvers.soft_impute import soft_impute
from udulib.solvers.udu_then_als import OverfitWarning, TwoStageFit, leading_directions, udu_then_als
from udulib.solvers.weight_decay import DecayedUV
from udulib.solvers.wirtinger_flow import wirtinger_flow

__all__ = [
    "BiasedFit",
    "DecayedUV",
    "Fit",
    "Means",
    "OverfitWarning",
    "Retrieval",
    "TwoStageFit",
    "als",
    "alternating_projection",
    "biased_factorization",
    "leading_directions",
    "means",
    "pie",
    "soft_impute",
    "starting_spectrum",
    "udu_then_als",
    "wirtinger_flow",
]
