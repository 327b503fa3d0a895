"""The laboratory as a reader uses it: presets, keyboard, screen reader, calm pages, tables pasted."""

import pytest

PRESETS = ("udu", "bm", "weak", "strong", "lazy", "oscillating", "noise", "scale", "deep")
HOSTILE = """name,<img src=x onerror="window.stolen=1">,b
<script>window.stolen=1</script>,1,2
=1+1,2,
c,3,6
d,,8
e,5,10"""


@pytest.fixture
def page(html, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.goto((html / "book" / "laboratory.html").as_uri())
    page.wait_for_selector("#lab[data-ready]")
    yield page
    assert page.faults == []
    page.close()


def state(page):
    return page.evaluate("""(() => { const s = laboratory.state();
      return {iteration: s.iteration, drawn: s.drawn, playing: s.playing, status: s.status, residual: s.residual,
              spectrum: Array.from(s.spectrum), model: s.chosen.model}; })()""")


def until(page, iteration):
    page.wait_for_function(f"laboratory.state().iteration >= {iteration}", timeout=60_000)


@pytest.mark.chromium
@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_runs(page, name):
    page.click(f"[data-preset={name}]")
    until(page, 200)
    seen = state(page)
    assert seen["playing"] and seen["residual"] < 1.5
    assert page.inner_text("#lab-preset-text").count(".") >= 1


@pytest.mark.chromium
def test_udu_is_truly_of_low_rank_and_bm_is_not(page):
    page.click("[data-preset=udu]")
    until(page, 4000)
    udu = state(page)["spectrum"]
    page.click("[data-preset=bm]")
    until(page, 4000)
    bm = state(page)["spectrum"]
    assert udu[3] < 1e-15 * udu[0] and bm[3] > 1e-8 * bm[0]


@pytest.mark.chromium
def test_it_is_worked_by_keyboard_alone(page):
    page.focus("#lab-run")
    page.keyboard.press("Enter")
    until(page, 50)
    page.keyboard.press("Space")
    page.wait_for_function("!laboratory.state().playing")
    assert "Iteration" in page.inner_text("#lab-live")  # what a screen reader is told
    page.focus("[name=radius]")
    page.keyboard.press("Control+A")
    page.keyboard.type("2")
    assert state(page)["iteration"] == 0


@pytest.mark.chromium
def test_drawings_say_what_they_show(page):
    labels = page.eval_on_selector_all("#lab canvas", "all => all.map(one => one.getAttribute('aria-label'))")
    assert len(labels) == 4 and all(len(label) > 20 for label in labels)


@pytest.mark.chromium
def test_reduced_motion_draws_seldom(page):
    page.emulate_media(reduced_motion="reduce")
    page.click("[data-preset=udu]")
    before = state(page)["drawn"]
    page.wait_for_timeout(2500)
    assert 1 <= state(page)["drawn"] - before <= 5


@pytest.mark.chromium
def test_a_setting_out_of_range_starts_nothing(page):
    page.fill("[name=stepSize]", "-1")
    page.fill("[name=d]", "1000000")
    assert state(page)["iteration"] == 0
    assert page.eval_on_selector("[name=d]", "one => !one.checkValidity()")


@pytest.mark.chromium
def test_a_pasted_table_is_completed(page):
    """A table of rank one plus column means: the holes are filled with what was taken out."""
    rows = [[round(10 + 3 * j + (1 + j % 3) * a, 3) for j in range(8)] for a in (-3, -2, -1, 0, 1, 2, 3, 4, 5, 6)]
    holes = {(i, (3 * i + 1) % 8) for i in range(10)}
    text = "\n".join(
        ";".join("" if (i, j) in holes else str(v).replace(".", ",") for j, v in enumerate(row))
        for i, row in enumerate(rows)
    )
    page.fill("#lab-table", text)
    page.click("#lab-complete")
    cells = page.eval_on_selector_all(
        "#lab-table-out tbody tr", "r => r.map(x => [...x.cells].map(c => c.textContent))"
    )
    filled = {(i, j) for i, row in enumerate(cells) for j, cell in enumerate(row) if cell.startswith("≈")}
    assert filled == holes
    assert max(abs(float(cells[i][j].lstrip("≈ ")) - rows[i][j]) for i, j in holes) < 1.0
    assert "10 holes filled, with rank 1" in page.inner_text("#lab-table-status")


@pytest.mark.chromium
def test_what_is_pasted_is_never_html(page):
    page.fill("#lab-table", HOSTILE)
    page.click("#lab-complete")
    assert page.evaluate("window.stolen") is None
    assert page.query_selector("#lab-table-out img, #lab-table-out script") is None
    assert "<script>" in page.inner_text("#lab-table-out")


@pytest.mark.chromium
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2", "at least two lines"),
        ("1,2\n3,x", "is no number"),
        ("1,2\n,", "too few numbers"),
        ("1\n2\n3", "two columns"),
        ("\n".join(["1,2"] * 201), "At most 200 rows"),
    ],
)
def test_a_table_that_cannot_be_read_is_answered(page, text, said):
    page.fill("#lab-table", text)
    page.click("#lab-complete")
    assert said in page.inner_text("#lab-table-status")
