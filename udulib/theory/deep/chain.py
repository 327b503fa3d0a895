r"""One update of gradient descent on a chain of factors, for NumPy arrays and PyTorch tensors alike.

:math:`X = F_1 F_2 \cdots F_N`, the factors in the order in which they are multiplied; with :math:`G = \nabla f(X)`,

.. math:: F_j \leftarrow F_j - \eta\,(F_1 \cdots F_{j-1})^\top\, G\, (F_{j+1} \cdots F_N)^\top .
"""


def products(factors):
    """F_1, F_1 F_2, ..., X; and, counted alike, X, F_2 ... F_N, ..., F_N."""
    heads, tails = [factors[0]], [factors[-1]]
    for factor in factors[1:]:
        heads.append(heads[-1] @ factor)
    for factor in factors[-2::-1]:
        tails.append(factor @ tails[-1])
    return heads, tails[::-1]


def updated(factors, sides, G, step_size):
    """All factors after one update, from their ``products`` and G."""
    (heads, tails), last = sides, len(factors) - 1
    moved = []
    for j, factor in enumerate(factors):
        slope = heads[j - 1].swapaxes(-1, -2) @ G if j else G
        slope = slope @ tails[j + 1].swapaxes(-1, -2) if j < last else slope
        moved.append(factor - step_size * slope)
    return moved
