"""Tables at the end of a cell, and what stands in them."""

import numpy as np


def table(head, rows):
    """A table for the end of a cell, in Markdown.

    Parameters
    ----------
    head : sequence of str
    rows : sequence of sequences
        Anything; what is no text is shown by ``str``.

    Returns
    -------
    IPython.display.Markdown

    Examples
    --------
    >>> print(table(["method", "rank"], [["BM", 86], ["UDU", 3]]).data)
    | method | rank |
    | --- | --- |
    | BM | 86 |
    | UDU | 3 |
    """
    from IPython.display import Markdown

    lines = [head, ["---"] * len(head), *rows]
    return Markdown("\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))


def median_range(values, style="{:.2f}", times=1.0):
    """Median over the seeds, and the range, as text.

    Examples
    --------
    >>> median_range([1.0, 2.0, 4.0], "{:.1f}"), median_range([0.5, 0.5], "{:.0f} %", times=100)
    ('2.0 (1.0 to 4.0)', '50 %')
    """
    low, middle, high = (style.format(times * v) for v in (np.min(values), np.median(values), np.max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def mean_error(values, style="{:.3f}", times=1.0):
    """Mean over the seeds and its standard error, as text.

    Examples
    --------
    >>> mean_error([1.0, 3.0], "{:.1f}")
    '2.0 ± 0.7'
    """
    return f"{style.format(times * np.mean(values))} ± {style.format(times * np.std(values) / len(values) ** 0.5)}"


def mean_deviation(values, style="{:.1f}"):
    """Mean and standard deviation over the seeds, as text.

    Examples
    --------
    >>> mean_deviation([1.0, 3.0], "{:+.1f}")
    '+2.0 ± 1.4'
    """
    return f"{style.format(np.mean(values))} ± {style.replace('+', '').format(np.std(values, ddof=1))}"
