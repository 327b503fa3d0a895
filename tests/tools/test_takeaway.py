"""What a reader takes away: the site as one archive, the book as one PDF; and what an address turns on."""

import subprocess
import zipfile

import pytest
import yaml
from conftest import ROOT

from tools import printed, site, stage
from tools.tree import ToolError, write_whole


@pytest.fixture
def pages(tmp_path):
    for name in ("index.html", "book/one.html", "_static/a.css", "_sources/one.md"):
        write_whole(tmp_path / "html" / name, f"<p>{name}</p>")
    return tmp_path / "html"


def test_the_archive_is_the_same_again_and_its_sums_are_right(pages, tmp_path):
    first = site.archive(pages, tmp_path / "a").read_bytes()
    (pages / "index.html").touch()
    target = site.archive(pages, tmp_path / "b")
    assert target.read_bytes() == first
    assert subprocess.run(["sha256sum", "-c", f"{site.NAME}.zip.sha256"], cwd=tmp_path / "b").returncode == 0
    with zipfile.ZipFile(target) as packed:
        packed.extractall(tmp_path / "b")
        assert len(packed.namelist()) == 3  # without the sources
    assert subprocess.run(["sha256sum", "-c", f"{site.NAME}.manifest"], cwd=tmp_path / "b").returncode == 0
    (tmp_path / "b" / site.NAME / "index.html").write_text("changed")
    assert subprocess.run(["sha256sum", "-c", f"{site.NAME}.manifest"], cwd=tmp_path / "b").returncode != 0


def test_without_a_book_there_is_no_archive(tmp_path):
    with pytest.raises(ToolError, match="make book first"):
        site.archive(tmp_path, tmp_path / "out")


@pytest.mark.chromium
def test_the_pdf_binds_all_pages_with_numbers_and_contents(pages, tmp_path, browser):
    from pypdf import PdfReader

    write_whole(pages / "book" / "two.html", "<title>Two</title>" + "<p>long</p>" * 400)
    write_whole(pages / "book" / "one.html", "<title>One</title><details><summary>s</summary>hidden answer</details>")
    parts = printed.printed(browser, [pages / "book" / "one.html", pages / "book" / "two.html"], tmp_path / "parts")
    count = printed.bound(parts, tmp_path / "book.pdf")
    book = PdfReader(tmp_path / "book.pdf")
    texts = [page.extract_text() for page in book.pages]
    assert len(texts) == count > 3
    assert "One" in texts[0] and "Two" in texts[0]
    assert "hidden answer" in texts[1]
    assert [text.split()[-1] for text in texts] == [str(k + 1) for k in range(count)]
    assert [entry.title for entry in book.outline if not isinstance(entry, list)] == ["One", "Two"]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://github.com/Some/companion", "https://some.github.io/companion/"),
        ("https://github.com/some/companion.git", "https://some.github.io/companion/"),
        ("https://github.com/some/some.github.io", "https://some.github.io/"),
        ("https://example.org/companion", None),
    ],
)
def test_the_site_has_the_address_that_its_repository_gives_it(url, address):
    assert stage.site_address(url) == address


def test_an_address_turns_on_all_that_hangs_on_it():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["repository"]["url"] = "https://github.com/some/companion"
    made = stage.staged_config(config)
    assert made["launch_buttons"]["colab_url"] and made["html"]["use_edit_page_button"]
    assert made["sphinx"]["config"]["html_baseurl"] == "https://some.github.io/companion/"
    assert made["sphinx"]["config"]["notfound_urls_prefix"] == "/companion/"
    assert "sphinx_sitemap" in made["sphinx"]["extra_extensions"]


def test_a_figure_says_which_file_and_commit_made_it():
    made = {"commit": "0123456789abcdef", "dirty": False}
    link = "[01_one.py at 0123456](https://github.com/a/b/blob/0123456789abcdef/notebooks/01_one.py)"
    assert stage.source_link("01_one", made, "https://github.com/a/b") == f"Made by the cell above, {link}."
    assert stage.source_link("01_one", made, "") == "Made by the cell above, 01_one.py at 0123456."
    assert stage.source_link("01_one", {"commit": None, "dirty": False}, "") == ""
