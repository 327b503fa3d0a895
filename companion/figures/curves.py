"""Curves of several seeds."""

import numpy as np


def band(axis, x, values, label, color, over=0, **style):
    """Draw the median over the seeds as a line, and smallest to largest as a band.

    Parameters
    ----------
    axis : matplotlib Axes
    x : array, shape (n,)
    values : array, with n numbers for each seed
    label : str
    color : a matplotlib colour
    over : {0, 1}, default 0
        The axis of ``values`` along which the seeds are.
    **style
        Of the line.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> fig, axis = plt.subplots()
    >>> band(axis, [1, 2], np.array([[1.0, 2.0], [3.0, 4.0], [2.0, 2.5]]), "error", "C0")
    >>> axis.lines[0].get_ydata().tolist()
    [2.0, 2.5]
    >>> plt.close(fig)
    """
    axis.fill_between(x, values.min(over), values.max(over), color=color, alpha=0.2, linewidth=0)
    axis.plot(x, np.median(values, over), label=label, color=color, **style)
