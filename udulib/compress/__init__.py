r"""Pruning of UDV and UV blocks without retraining, to plain linear layers, and what it saves.

A block :math:`\varphi(x) = V\,\mathrm{diag}(D)\,U^\top x` with m neurons can be cut to k in three ways:

``"svd"``
    the paper's (equations 8 and 9): :math:`U\,\mathrm{diag}(D) = \mathsf P\,\mathsf S\,\mathsf Q^\top`, of which the
    first k terms are kept: :math:`U' = \mathsf P_k`, :math:`D' = \mathsf S_k`, :math:`V' = V\mathsf Q_k`;
``"neurons"``
    whole neurons, the k largest by :math:`|D_j|\,\|u_j\|\,\|v_j\|`; the only one that a ReLU block allows;
``"product"``
    the SVD of the matrix :math:`V\,\mathrm{diag}(D)\,U^\top`: the best k-term approximation of the map.

A linear block of any width equals one matrix of shape (out, in). This *collapsed* layer is the yardstick: k neurons are
smaller only below the `break_even` rank. `compress` returns whichever is smaller.
"""

from udulib.compress.costs import Cost, costs
from udulib.compress.layers import Compressed, compress, compress_all
from udulib.compress.ranking import Ranked, break_even, ranked, width

__all__ = ["Compressed", "Cost", "Ranked", "break_even", "compress", "compress_all", "costs", "ranked", "width"]
