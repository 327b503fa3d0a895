"""One style for every figure."""

# Okabe and Ito's colours without the yellow: told apart by every kind of colour vision, each visible on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
DPI = 110


def use_style():
    """Set matplotlib's defaults for all figures that follow: large type, thin grid, colours safe for every eye.

    Figures are 6.4 inches wide, so that the type is still readable on a phone (390 pixels). Stack panels one above the
    other rather than side by side where that is at stake.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> use_style()
    >>> plt.rcParams["figure.dpi"]
    110.0
    """
    import matplotlib.pyplot as plt

    plt.rcdefaults()  # whatever the machine's own settings are
    plt.rcParams.update(
        {
            "figure.figsize": (6.4, 4.0),
            "figure.dpi": DPI,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 12,
            "axes.prop_cycle": plt.cycler(color=COLOURS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#d9d9d9",
            "grid.linewidth": 0.6,
            "lines.linewidth": 1.8,
            "legend.frameon": False,
            "image.cmap": "viridis",
        }
    )
