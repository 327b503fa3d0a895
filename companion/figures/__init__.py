"""One style for every figure, and one way to show it: with alternative text, a caption and a name.

A figure is a PNG on white, so that it reads the same in the book, in Colab and on a hosting site, light or dark.
"""

from companion.figures.curves import band
from companion.figures.show import png, show
from companion.figures.style import COLOURS, DPI, use_style
from companion.figures.tables import mean_deviation, mean_error, median_range, table

__all__ = [
    "COLOURS",
    "DPI",
    "band",
    "mean_deviation",
    "mean_error",
    "median_range",
    "png",
    "show",
    "table",
    "use_style",
]
