"""The built pages: complete without a network, readable on a phone, in light and dark, every formula rendered."""

import http.server
import json
import re
import subprocess
import threading
from collections import defaultdict
from functools import partial
from html.parser import HTMLParser

import pytest

import udulib
from tools import build, stage
from tools.tree import ToolError, Tree, write_whole

PAGES = stage.listed(stage.contents(Tree()))


class Links(HTMLParser):
    """What a page loads, and its images."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.images = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "link" and attributes.get("rel") not in ("canonical", "next", "prev", "index", "search"):
            self.loads.append(attributes.get("href"))
        if tag in ("script", "img", "iframe", "source", "video", "object"):
            self.loads.append(attributes.get("src") or attributes.get("data"))
        if tag == "img":
            self.images.append(attributes)


def parsed(html):
    return {page: Links((html / f"{page}.html").read_text()) for page in PAGES}


def test_every_page_of_the_contents_is_there(html):
    assert [page for page in PAGES if not (html / f"{page}.html").exists()] == []


def test_pages_load_nothing_from_elsewhere(html):
    """Also in what the style sheets import. The files that the pages name are all there."""
    remote = re.compile(r"^(https?:)?//")
    for page, links in parsed(html).items():
        loads = [link for link in links.loads if link]
        assert not [link for link in loads if remote.match(link)], page
        folder = (html / page).parent
        local = [link.split("?")[0].split("#")[0] for link in loads if not link.startswith("data:")]
        assert not [link for link in local if not (folder / link).exists()], page
    for sheet in html.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\s]+", sheet.read_text()), sheet


def test_images_say_what_they_show(html):
    for page, links in parsed(html).items():
        silent = [image["src"] for image in links.images if len(image.get("alt") or "") < 5]
        assert not silent, page


def test_figures_of_notebooks_are_numbered(html):
    """Each figure shown by a notebook has its number and caption."""
    for name in Tree().names():
        shown = Tree().source(name).read_text().count("figures.show(")
        captions = re.findall(r'class="caption-number">Fig\. \d', (html / "notebooks" / f"{name}.html").read_text())
        assert len(captions) >= shown > 0, name


def test_tables_that_cells_put_out_are_tables(html):
    raw = [page for page in PAGES if "<p>|" in (html / f"{page}.html").read_text()]
    assert raw == []


def test_no_page_loads_what_it_does_not_use(html):
    """Thebe's script, which Jupyter Book adds twice, ends in an error in the console."""
    assert [page for page in PAGES if "thebe_js_url" in (html / f"{page}.html").read_text().lower()] == []


def test_every_public_name_is_documented(html):
    text = (html / "book" / "api.html").read_text()
    modules = [name for name in udulib.__all__ if type(getattr(udulib, name)) is type(udulib)]
    objects = {name: getattr(udulib, name) for name in udulib.__all__ if name not in modules}
    places = {name: (f'id="udulib.{name}"', f'id="{found.__module__}.{name}"') for name, found in objects.items()}
    assert [name for name, ids in places.items() if not any(id in text for id in ids)] == []
    assert [name for name in modules if f'"module-udulib.{name}"' not in text] == []


def test_pages_end_in_their_provenance(html):
    for name in Tree().names():
        assert "Made at size ci in" in (html / "notebooks" / f"{name}.html").read_text()


def test_an_unchanged_book_is_not_built_again(html, monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError("the book was built again")

    monkeypatch.setattr(build.subprocess, "run", fail)
    out = html.parents[1]
    assert build.pages(Tree(), out / "_build" / "stage", out) == html


@pytest.mark.slow
def test_a_warning_stops_the_build_and_stops_it_again(tree):
    """A broken reference is an error, and remains one when nothing else has changed."""
    folder = tree.root / "_build" / "stage"
    write_whole(folder / "book" / "index.md", "# Title\n\n{ref}`nowhere`\n")
    write_whole(folder / "book" / "_toc.yml", "format: jb-book\nroot: book/index\n")
    write_whole(folder / "_config.yml", 'title: T\nonly_build_toc_files: true\nexecute: {execute_notebooks: "off"}\n')
    for _ in range(2):
        with pytest.raises(ToolError, match="undefined label: 'nowhere'"):
            build.pages(tree, folder, tree.root)
    write_whole(folder / "book" / "index.md", "# Title\n")
    assert (build.pages(tree, folder, tree.root) / "book" / "index.html").exists()


# In a browser ---------------------------------------------------------------------------------------------------------

# Opens each page in a frame as wide as a phone, in both themes, and reports what a reader would see.
LOOK = """<!doctype html><meta charset="utf-8"><body><script>
const pause = time => new Promise(resolve => setTimeout(resolve, time));

function luminance([r, g, b]) {
  const [R, G, B] = [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * R + 0.7152 * G + 0.0722 * B;
}
const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
function ground(view, element) {
  for (let at = element; at; at = at.parentElement) {
    const colour = numbers(view.getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] > 0.5) return colour;
  }
  return [255, 255, 255];
}
function contrast(view, element) {
  const [a, b] = [numbers(view.getComputedStyle(element).color), ground(view, element)].map(luminance);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}

async function look(page, theme) {
  localStorage.setItem('mode', theme);
  localStorage.setItem('theme', theme);
  const frame = document.createElement('iframe');
  frame.width = 390; frame.height = 844; frame.src = page;
  const loaded = new Promise(resolve => frame.onload = resolve);
  document.body.append(frame);
  await loaded;
  const view = frame.contentWindow, doc = frame.contentDocument;
  const formulas = doc.querySelectorAll('span.math, div.math');
  for (let wait = 0; formulas.length && !view.MathJax?.startup?.promise && wait < 100; wait++) await pause(100);
  await view.MathJax?.startup?.promise;
  if (page.includes('search.html'))
    for (let wait = 0; !doc.querySelector('#search-results li a') && wait < 100; wait++) await pause(100);
  const still = doc.createElement('style');
  still.textContent = '* { transition: none !important; }';
  doc.head.append(still);
  await pause(50);
  const texts = ['article p', 'article a', 'div.proof a', 'figcaption, figcaption *', 'article td', 'article code',
                 'nav a', 'article h1', '.ledger-badge', '.header-article button svg', '.search-button__default-text'];
  const faint = {};
  for (const selector of texts)
    for (const element of doc.querySelectorAll(selector)) {
      const text = element.textContent.trim() || element.tagName === 'svg';
      if (!text || element.closest('mjx-container, .headerlink')) continue;
      const found = contrast(view, element);
      if (found < (faint[selector]?.[0] ?? 4.5)) faint[selector] = [found, element.outerHTML.slice(0, 200)];
    }
  const found = {
    page, theme, faint, formulas: formulas.length,
    shown: doc.documentElement.dataset.theme,
    rendered: [...formulas].filter(formula => formula.querySelector('mjx-container')).length,
    errors: doc.querySelectorAll('mjx-merror').length,
    width: doc.documentElement.scrollWidth,
    results: doc.querySelectorAll('#search-results li a').length,
  };
  frame.remove();
  return found;
}

(async () => {
  const found = [];
  for (const theme of ['light', 'dark'])
    for (const page of PAGES) found.push(await look(page, theme));
  await fetch('/found', {method: 'POST', body: JSON.stringify(found)});
})();
</script>"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the book, and takes two reports: what was seen, and each address elsewhere that a page asked for."""

    def end_headers(self):
        own = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
        self.send_header("Content-Security-Policy-Report-Only", f"{own}; report-uri /left")
        super().end_headers()

    def do_GET(self):
        if self.path != "/look.html":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.server.look.encode())

    def do_POST(self):
        report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        if self.path == "/left":
            self.server.left.append(report["csp-report"]["blocked-uri"])
        else:
            self.server.found = report
            self.server.done.set()

    def log_message(self, *arguments):
        pass


def look_at(folder, chromium, profile, pages):
    """What Chromium shows of the pages: one report a page and theme, and the addresses it asked other machines for."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    server.look, server.left, server.found = LOOK.replace("PAGES", json.dumps(pages)), [], None
    server.done = threading.Event()
    server.handle_error = lambda *arguments: None  # the browser hangs up when it has seen enough
    address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    quiet = ["--no-first-run", "--disable-background-networking", "--proxy-server=http://127.0.0.1:9"]  # its own calls
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *quiet]
    command += ["--remote-debugging-port=0", f"--user-data-dir={profile}", f"{address}/look.html"]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert server.done.wait(timeout=240), "Chromium did not report in time"
    finally:
        browser.terminate()
        browser.wait(timeout=30)
        server.shutdown()
        server.server_close()
    return server.found, server.left


@pytest.fixture(scope="module")
def seen(html, chromium, tmp_path_factory):
    pages = [f"{page}.html" for page in PAGES] + ["search.html?q=rank"]
    return look_at(html, chromium, tmp_path_factory.mktemp("profile"), pages)


@pytest.mark.chromium
def test_every_formula_is_rendered(seen):
    reports, _ = seen
    assert sum(report["formulas"] for report in reports) > 50
    assert [report for report in reports if report["rendered"] < report["formulas"] or report["errors"]] == []


@pytest.mark.chromium
def test_no_request_leaves_the_machine(seen):
    _, left = seen
    assert left == []


@pytest.mark.chromium
def test_nothing_scrolls_sideways_on_a_phone(seen):
    reports, _ = seen
    assert [(report["page"], report["width"]) for report in reports if report["width"] > 390] == []


@pytest.mark.chromium
def test_light_and_dark_are_both_legible(seen):
    """Text has a contrast of at least 4.5 with its ground."""
    reports, _ = seen
    assert {report["shown"] for report in reports} == {"light", "dark"}
    assert [(report["page"], report["theme"], report["faint"]) for report in reports if report["faint"]] == []


@pytest.mark.chromium
def test_search_finds(seen):
    reports, _ = seen
    assert all(report["results"] > 0 for report in reports if "search.html" in report["page"])


SPOILED = """<!doctype html><html data-theme="light"><head><script src="https://example.org/x.js" async></script></head>
<body><article><p style="color: #bbb">faint</p><span class="math">x</span><div style="width: 600px">wide</div></article>
<div id="search-results"></div></body></html>"""


@pytest.mark.chromium
def test_looking_finds_what_is_wrong(tmp_path, chromium):
    """The same look at a page with a remote script, faint text, an unrendered formula and something too wide."""
    write_whole(tmp_path / "html" / "bad.html", SPOILED)
    reports, left = look_at(tmp_path / "html", chromium, tmp_path / "profile", ["bad.html"])
    assert any("example.org" in address for address in left)
    for report in reports:
        assert (report["formulas"], report["rendered"]) == (1, 0)
        assert report["width"] > 390 and report["faint"]["article p"][0] < 4.5


VERDICTS = [  # where a page shows one: a row of the ledger's table, a link to it, a notebook's badge, its last table
    r'id="claim-(?P<id>[\w-]+)"><span class="ledger-badge ledger-(?P<word>[\w-]+)',
    r'href="[^"]*#claim-(?P<id>[\w-]+)"[^>]*><span class="ledger-badge ledger-(?P<word>[\w-]+)',
    r'white-space: nowrap">\S+ (?P<word>[^<]+)</strong>[^<]*(?:<(?!code|/div)[^<]*)*<code>(?P<id>[\w-]+)</code>',
    r"<code>(?P<id>[\w-]+)</code></td><td[^>]*>\S+ (?P<word>[^<]+)</td>",
]


def test_a_claim_has_one_verdict_on_all_pages(html):
    words = defaultdict(lambda: defaultdict(set))
    for page in html.rglob("*.html"):
        text = page.read_text()
        for pattern in VERDICTS:
            found = [(one["id"], one["word"]) for one in re.finditer(pattern, text)]
            for id, word in found:
                words[id][word.replace(" ", "-")].add(page.name)
    assert len(words) > 150 and sum(len(set().union(*pages.values())) > 1 for pages in words.values()) > 100
    assert {id: dict(pages) for id, pages in words.items() if len(pages) > 1} == {}
