"""Every page in headless Chromium: nothing in the console, nothing from elsewhere, nothing in a reader's way."""

import http.server
import threading
from functools import partial
from importlib.resources import files

import pytest

from tools import stage
from tools.tree import Tree

pytestmark = [pytest.mark.chromium, pytest.mark.browser]  # minutes: each page, twice

PAGES = [f"{page}.html" for page in stage.listed(stage.contents(Tree()))]
PAGES += ["search.html", "genindex.html", "prf-prf.html", "404.html"]

# Rules of axe that the theme breaks and this book does not mend, each with its reason.
EXCEPTIONS = {
    "label-content-name-mismatch": "the theme names its icon buttons by what they do, beside the text of their tooltip",
}
AXE = """async () => {
  await window.MathJax?.startup?.promise;
  const found = await axe.run(document, {resultTypes: ['violations'], preload: false});
  return found.violations.filter(one => ['serious', 'critical'].includes(one.impact))
    .flatMap(one => one.nodes.map(node => [one.id, node.html.slice(0, 160)]));
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def address(html):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def seen(browser, address, theme):
    """What each page left in the console, asked for, and failed of axe's rules; its width on a phone."""
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text()
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.add_init_script(f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}');")
    reports = {}
    for name in PAGES:
        page, report = context.new_page(), {"console": [], "requests": []}
        page.on("console", lambda m, to=report["console"]: m.type in ("error", "warning") and to.append(m.text))
        page.on("pageerror", lambda error, to=report["console"]: to.append(str(error)))
        page.on("request", lambda request, to=report["requests"]: to.append(request.url))
        page.goto(address + name, wait_until="load")
        page.evaluate(axe)
        report["axe"] = page.evaluate(AXE)
        page.set_viewport_size({"width": 390, "height": 844})
        report["width"] = page.evaluate("document.documentElement.scrollWidth")
        reports[name] = report
        page.close()
    context.close()
    return reports


@pytest.fixture(scope="module", params=["light", "dark"])
def reports(request, browser, address):
    return seen(browser, address, request.param)


def test_the_console_is_silent(reports):
    assert {name: report["console"] for name, report in reports.items() if report["console"]} == {}


def test_nothing_is_asked_of_other_machines(reports, address):
    away = {url for report in reports.values() for url in report["requests"]}
    assert [url for url in away if not url.startswith((address, "data:", "blob:"))] == []


def test_axe_finds_nothing_serious(reports):
    assert len(EXCEPTIONS) <= 3
    found = {name: [one for one in report["axe"] if one[0] not in EXCEPTIONS] for name, report in reports.items()}
    assert {name: some for name, some in found.items() if some} == {}


def test_no_page_is_wider_than_a_phone(reports):
    assert {name: report["width"] for name, report in reports.items() if report["width"] > 390} == {}


def test_a_first_visit_is_silent_too(browser, address):
    """No theme has been chosen yet."""
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.goto(address + PAGES[0], wait_until="load")
    page.wait_for_timeout(300)
    page.close()
    assert said == []


def test_paper_shows_what_the_screen_folds(browser, address):
    """Printed, no bar is left, no code is clipped, and every solution is open."""
    page = browser.new_page(viewport={"width": 680, "height": 900})
    page.goto(f"{address}notebooks/02_completion.html", wait_until="load")
    page.emulate_media(media="print")
    clipped = "all => all.filter(one => one.scrollWidth > one.clientWidth + 2).map(one => one.textContent.slice(0, 80))"
    assert page.eval_on_selector_all("div.highlight pre, .cell_output pre", clipped) == []
    shut = "all => all.filter(one => one.getBoundingClientRect().height === 0).length"
    assert page.eval_on_selector_all("details > *, .toggle-hidden > *", shut) == 0
    for bar in (".bd-sidebar-primary", ".bd-header-article", ".prev-next-footer"):
        assert not page.is_visible(bar)
    page.close()


def test_a_description_and_code_links_on_each_notebook(browser, address):
    page = browser.new_page()
    for name in Tree().names():
        page.goto(f"{address}notebooks/{name}.html")
        assert len(page.get_attribute('meta[name="description"]', "content")) > 40, name
        assert page.query_selector_all("a.sphinx-codeautolink-a[href*='api.html#']"), name
    page.close()


def test_paper_has_the_title_of_each_page(browser, address):
    page = browser.new_page()
    page.emulate_media(media="print")
    for name in PAGES[:3]:
        page.goto(address + name, wait_until="load")
        assert page.eval_on_selector_all("h1", "all => all.some(one => one.getBoundingClientRect().height > 0)"), name
    page.close()
