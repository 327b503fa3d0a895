"""With a public address set in its one place, every address derived from it is right, and a file stands behind it."""

import re
from xml.etree import ElementTree

import pytest
from conftest import ROOT

from tools import build, stage
from tools.tree import Tree

URL, SITE = "https://github.com/some/companion", "https://some.github.io/companion/"


@pytest.fixture(scope="module")
def addressed(html, tmp_path_factory):
    """The book at size ci, built as for that address."""
    tree, config = Tree(), Tree().config()
    config["repository"]["url"] = URL
    out = tmp_path_factory.mktemp("addressed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tree, "config", lambda self: config)
        return build.pages(tree, stage.stage(tree, "ci", "cpu", out / "stage"), out)


def hrefs(path):
    return re.findall(r'(?:href|content)="(https://[^"]+)"', path.read_text())


def written(html):
    return [path for folder in ("book", "notebooks") for path in sorted((html / folder).glob("*.html"))]


@pytest.mark.browser
def test_buttons_lead_to_files_that_are_there(addressed):
    for page in written(addressed):
        name = page.relative_to(addressed).with_suffix("").as_posix()
        own = [link for link in hrefs(page) if re.search(r"/(?:blob|edit)/main/", link)]
        files = {re.split(r"/(?:blob|edit)/main/", link)[1] for link in own}
        assert files and all((ROOT / file).exists() for file in files), (name, files)
        assert all("/some/companion/" in link for link in own), name
        assert any(link.startswith(f"{URL}/issues/new") for link in hrefs(page)), name
        if name.startswith("notebooks/"):
            colab = f"https://colab.research.google.com/github/some/companion/blob/main/{name}.ipynb"
            assert colab in hrefs(page), name


@pytest.mark.browser
def test_canonical_social_and_sitemap_addresses_are_pages(addressed):
    for page in written(addressed):
        own = SITE + page.relative_to(addressed).as_posix()
        text = page.read_text()
        assert re.search(rf'<link rel="canonical" href="{own}"', text), own
        assert re.search(rf'<meta property="og:url" content="{own}"', text), own
    root = ElementTree.parse(addressed / "sitemap.xml").getroot()
    listed = [element.text for element in root.iter() if element.tag.endswith("}loc")]
    assert {SITE + page.relative_to(addressed).as_posix() for page in written(addressed)} <= set(listed)
    assert all((addressed / link.removeprefix(SITE)).exists() for link in listed)


@pytest.mark.browser
def test_the_page_for_lost_addresses_finds_its_styles(addressed):
    """It is shown at any depth, so it names them from the site's root."""
    text = (addressed / "404.html").read_text()
    assert "/companion/_static/" in text and 'href="_static/' not in text
