"""One style for every figure, and one way to show it: with alternative text, a caption and a name.

A figure is a PNG on white, so that it reads the same in the book, in Colab and on a hosting site, light or dark.
"""

import base64
import io
import re

from udulib.errors import InputError

# Okabe and Ito's colours without the yellow: told apart by every kind of colour vision, each visible on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
DPI = 110
ALT_NEEDED = 20  # characters; less than that describes no figure


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


def show(fig, *, alt, caption, name):
    """Show a figure at the end of a cell, with its caption below it, and close it.

    Parameters
    ----------
    fig : matplotlib.figure.Figure
    alt : str, at least 20 characters
        What the figure shows, for a reader who cannot see it.
    caption : str
        Markdown. The book numbers it; Colab and the hosting site show it as a line of its own.
    name : str
        ``fig-`` and lower case letters, digits and hyphens: what the book refers to.

    Raises
    ------
    InputError
        Alternative text that is missing or too short, no caption, or a name of another form.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> fig, ax = plt.subplots()
    >>> show(fig, alt="Empty axes from zero to one.", caption="Nothing yet.", name="fig-empty")
    Empty axes from zero to one.
    Nothing yet.
    """
    import matplotlib.pyplot as plt

    if not isinstance(alt, str) or len(alt.strip()) < ALT_NEEDED:
        raise InputError(f"alt says in at least {ALT_NEEDED} characters what the figure shows; got {alt!r}")
    if not isinstance(caption, str) or not caption.strip():
        raise InputError(f"caption is a sentence or two in Markdown; got {caption!r}")
    if not isinstance(name, str) or not re.fullmatch(r"fig(-[a-z0-9]+)+", name):
        raise InputError(f"name is fig- and lower case letters, digits and hyphens, such as fig-spectra; got {name!r}")
    image = base64.b64encode(png(fig)).decode("ascii")
    plt.close(fig)
    about = {"udulib_figure": {"alt": alt, "caption": caption, "name": name}, "image/png": {"alt": alt}}
    _publish({"image/png": image, "text/plain": alt}, about)
    _publish({"text/markdown": caption, "text/plain": caption}, {"udulib_caption": True})


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


def png(fig) -> bytes:
    """The figure as PNG: the same figure gives the same bytes, on any day.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> png(plt.figure()) == png(plt.figure())
    True
    >>> plt.close("all")
    """
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _publish(data, metadata):
    """Send an output to the notebook; outside of one, print its text."""
    try:
        from IPython import get_ipython
        from IPython.display import publish_display_data
    except ImportError:
        shell = None
    else:
        shell = get_ipython()
    if shell is None:
        print(data["text/plain"])
    else:
        publish_display_data(data, metadata)
