"""The unit of each column, read off its entries."""

import numpy as np


def column_scales(X):
    r"""Standard deviation of each column's known entries, drawn towards the others' as far as they are uncertain.

    The logarithm of a standard deviation of n entries is uncertain by :math:`1/\sqrt{2(n-1)}`. What the columns differ
    by beyond that is theirs (empirical Bayes): columns of different units keep their own, those of a small table in
    one unit share it.

    Parameters
    ----------
    X : array, shape (n, c)
        NaN where nothing is known.

    Returns
    -------
    array, shape (c,)
        Above zero; constant and nearly empty columns take what the others have, and 1 if there is none.

    Examples
    --------
    >>> column_scales(np.array([[1.0, 100.0], [2.0, 300.0], [3.0, np.nan]])).shape
    (2,)
    """
    known = ~np.isnan(X)
    count = known.sum(0)
    filled = np.where(known, X, 0.0)
    mean = filled.sum(0) / np.maximum(count, 1)
    square = np.where(known, X - mean, 0.0) ** 2
    spread = np.sqrt(square.sum(0) / np.maximum(count - 1, 1))
    sure = (count > 1) & (spread > 1e-12 * np.abs(mean))
    if not sure.any():
        return np.ones(X.shape[1])
    logs, doubt = np.log(spread[sure]), 1 / (2 * (count[sure] - 1))
    centre = np.average(logs, weights=1 / doubt)
    between = max(0.0, np.average((logs - centre) ** 2 - doubt, weights=1 / doubt))
    scales = np.full(X.shape[1], np.exp(centre))
    scales[sure] = np.exp(centre + (logs - centre) * between / (between + doubt))
    return scales
