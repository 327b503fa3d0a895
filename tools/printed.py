"""The whole book as one PDF: each page printed by Chromium, then bound, with contents that lead to the chapters."""

import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import yaml

from tools.stage import listed
from tools.tree import ToolError, Tree, main

PATIENCE = 60_000  # ms for one page, formulas included
NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium():
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if not path:
        raise ToolError("the PDF is printed by Chromium, and there is none; on Debian: apt-get install chromium")
    return path


def chapters(tree, html):
    """The pages in the book's order that have been built."""
    toc = yaml.safe_load((tree.root / "book" / "_toc.yml").read_text())
    found = [html / f"{name}.html" for name in listed(toc)]
    if not found[0].exists():
        raise ToolError(f"no book in {html}; run make book first")
    return [path for path in found if path.exists()]


@contextmanager
def browsing():
    """Headless Chromium, driven by Playwright: one at a time in a thread."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def printed(browser, pages, folder):
    """(title, PDF) of each page; formulas rendered, light theme, solutions open."""
    folder.mkdir(parents=True, exist_ok=True)
    context = browser.new_context()
    context.add_init_script("localStorage.setItem('mode', 'light'); localStorage.setItem('theme', 'light');")
    return [print_page(context, path, folder / f"{number:02d}.pdf") for number, path in enumerate(pages)]


def print_page(context, path, target):
    page = context.new_page()
    page.goto(path.as_uri(), wait_until="load", timeout=PATIENCE)
    page.evaluate("async () => { await window.MathJax?.startup?.promise; }")
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    page.pdf(path=target, prefer_css_page_size=True, print_background=True, outline=True, tagged=True)
    title = page.title().split(" — ")[0]
    page.close()
    return title, target


def bound(parts, target):
    """One PDF of all parts, with an outline, a page of contents and page numbers; the number of its pages."""
    from pypdf import PdfReader, PdfWriter
    from pypdf.annotations import Link
    from pypdf.generic import Fit

    readers = [(title, PdfReader(path)) for title, path in parts]
    starts, page = [], 2  # the contents are page 1
    for _, reader in readers:
        starts.append(page)
        page += len(reader.pages)
    lines = [(title, start) for (title, _), start in zip(readers, starts, strict=True)]
    front, places = contents_page(lines, target.with_suffix(".front.pdf"))
    writer = PdfWriter()
    writer.append(front, import_outline=False)
    for title, reader in readers:
        writer.append(reader, outline_item=title)
    for (_, start), box in zip(lines, places, strict=True):
        writer.add_annotation(0, Link(rect=box, target_page_index=start - 1, fit=Fit.fit()))
    numbers = PdfReader(numbering(len(writer.pages), target.with_suffix(".numbers.pdf")))
    for sheet, number in zip(writer.pages, numbers.pages, strict=True):
        sheet.merge_page(number)
        sheet.compress_content_streams()
    writer.add_metadata({"/Title": lines[0][0]})
    writer.compress_identical_objects()
    writer.write(target)
    for leftover in (".front.pdf", ".numbers.pdf"):
        target.with_suffix(leftover).unlink()
    return len(writer.pages)


def contents_page(lines, target):
    """A sheet with each chapter and its page; and where on it each line stands."""
    from matplotlib.figure import Figure

    sheet, places = Figure(figsize=(8.27, 11.69)), []
    sheet.text(0.1, 0.92, "Contents", fontsize=22)
    for number, (title, start) in enumerate(lines):
        height = 0.86 - 0.03 * number
        sheet.text(0.1, height, title, fontsize=11, parse_math=False)
        sheet.text(0.9, height, str(start), fontsize=11, ha="right")
        places.append((0.1 * 595, height * 842 - 3, 0.9 * 595, height * 842 + 12))
    sheet.savefig(target)
    return target, places


def numbering(count, target):
    """As many empty sheets as the book has pages, with their numbers at the foot."""
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    with PdfPages(target) as sheets:
        for number in range(1, count + 1):
            sheet = Figure(figsize=(8.27, 11.69))
            sheet.patch.set_alpha(0)
            sheet.text(0.5, 0.03, str(number), fontsize=9, ha="center")
            sheets.savefig(sheet, transparent=True)
    return target


def make(tree, html, target):
    with browsing() as browser:
        parts = printed(browser, chapters(tree, html), html.parent / "pdf")
    count = bound(parts, target)
    print(f"== {count} pages: {target}")
    return target


if __name__ == "__main__":
    tree = Tree()
    html = Path(sys.argv[1]) if len(sys.argv) > 1 else tree.root / "_build" / "html"
    main(lambda: make(tree, html, tree.root / "_build" / "book.pdf"))
