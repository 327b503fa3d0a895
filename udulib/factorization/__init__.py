"""X = U diag(D) Vᵀ: models of it, the loop that descends on its factors, and what is read off a run.

===================  ====================================================================================
``models``           BM, UDU, UV and UDV: factors, gradient, projection
``descent``          ``descend``, the one loop, for a batch of runs at once
``engines``          which of its engines a descent gets
``trace``            what a descent did
``spectra``          singular values and ranks
``radius``           settings that are read off the data
``stopping``         the plateau of the rank, and when to stop
``live_columns``     going on with the columns that are alive, and the certificate for it
===================  ====================================================================================
"""

from udulib.factorization.descent import descend
from udulib.factorization.live_columns import LiveColumns, live_columns
from udulib.factorization.models import BM, UDU, UDV, UV, Model
from udulib.factorization.radius import IndefiniteWarning, suggest_radius
from udulib.factorization.spectra import effective_rank, numerical_rank, singular_values
from udulib.factorization.stopping import Plateau, rank_plateau
from udulib.factorization.trace import Trace

__all__ = [
    "BM",
    "UDU",
    "UDV",
    "UV",
    "IndefiniteWarning",
    "LiveColumns",
    "Model",
    "Plateau",
    "Trace",
    "descend",
    "effective_rank",
    "live_columns",
    "numerical_rank",
    "rank_plateau",
    "singular_values",
    "suggest_radius",
]
