"""Figures: alternative text is required, the bytes are the same on any day, and what a notebook receives is whole."""

import base64
import io
import json

import matplotlib
import matplotlib.pyplot as plt
import pytest

from companion import figures
from udulib.errors import InputError

GOOD = {"alt": "A straight line from zero to one.", "caption": "A *line*.", "name": "fig-line"}


@pytest.fixture(autouse=True)
def no_figure_is_left():
    matplotlib.use("Agg")
    with matplotlib.rc_context():
        yield
        plt.close("all")


def line():
    figures.use_style()
    fig, ax = plt.subplots()
    ax.plot([0, 1], [0, 1], label="line")
    ax.legend()
    return fig


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *(("alt", value) for value in ("", "A line.", " " * 40, None, 20)),
        *(("caption", value) for value in ("", "  ", None)),
        *(("name", value) for value in ("line", "fig-", "fig-Line", "fig line", "fig-a_b", None)),
    ],
)
def test_what_a_figure_needs_is_required(argument, value):
    with pytest.raises(InputError, match=argument):
        figures.show(line(), **{**GOOD, argument: value})


@pytest.mark.parametrize("missing", GOOD)
def test_nothing_is_left_to_a_default(missing):
    with pytest.raises(TypeError, match=missing):
        figures.show(line(), **{key: value for key, value in GOOD.items() if key != missing})


def test_the_bytes_do_not_depend_on_the_machines_settings():
    before = figures.png(line())
    plt.close("all")
    matplotlib.rcParams["font.size"] = 30
    matplotlib.rcParams["axes.facecolor"] = "black"
    assert figures.png(line()) == before


def test_a_figure_is_white_and_wide_enough_for_a_phone():
    pixels = plt.imread(io.BytesIO(figures.png(line())))
    assert (pixels[0, 0] == 1).all() and (pixels[-1, -1] == 1).all()
    height, width, _ = pixels.shape
    on_phone = 390 / width * plt.rcParams["font.size"] * figures.DPI / 72  # the type's height in pixels
    assert on_phone >= 9 and height < width


def relative_luminance(colour):
    parts = matplotlib.colors.to_rgb(colour)
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_lines_are_visible_on_white_and_differ():
    assert len(set(figures.COLOURS)) == len(figures.COLOURS) >= 6
    assert all(1.05 / (relative_luminance(colour) + 0.05) > 2 for colour in figures.COLOURS)
    figures.use_style()
    assert plt.rcParams["axes.prop_cycle"].by_key()["color"] == list(figures.COLOURS)


def test_show_closes_the_figure_and_returns_nothing(capsys):
    fig = line()
    assert figures.show(fig, **GOOD) is None
    assert not plt.fignum_exists(fig.number)
    assert capsys.readouterr().out.splitlines() == [GOOD["alt"], GOOD["caption"]]


def test_a_notebook_receives_the_image_and_then_the_caption():
    from nbclient import NotebookClient
    from nbformat import v4

    cell = v4.new_code_cell(
        "import matplotlib.pyplot as plt\n"
        "from companion import figures\n"
        "figures.use_style()\n"
        "fig, ax = plt.subplots()\n"
        "ax.plot([0, 1], [0, 1], label='line')\n"
        "ax.legend()\n"
        f"figures.show(fig, **{GOOD!r})"
    )
    notebook = v4.new_notebook(cells=[cell])
    NotebookClient(notebook, kernel_name="python3").execute()
    image, caption = notebook.cells[0].outputs  # and the open figure is not shown a second time
    assert base64.b64decode(image.data["image/png"]) == figures.png(line())  # the same bytes as in this process
    assert image.data["text/plain"] == GOOD["alt"]
    assert image.metadata["udulib_figure"] == GOOD and image.metadata["image/png"] == {"alt": GOOD["alt"]}
    assert caption.data["text/markdown"] == GOOD["caption"]
    assert caption.metadata == {"udulib_caption": True}
    json.dumps(notebook)  # plain data, as it is stored
