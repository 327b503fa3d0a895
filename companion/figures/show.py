"""A figure shown, with alternative text, a caption and a name."""

import base64
import io
import re

from companion.figures.style import DPI
from udulib.errors import InputError

ALT_NEEDED = 20  # characters; less than that describes no figure


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
