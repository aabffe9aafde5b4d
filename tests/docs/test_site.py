"""The built site, opened from its folder in a real browser: `pytest -m browser`, with the extras browser and docs."""

import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True)
    return folder


def test_the_search_finds_a_name_and_nothing_is_asked_of_the_web(site, browser):
    tab, asked, errors = browser.new_page(), [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto((site / "index.html").as_uri())
    tab.click(".md-search__input")
    tab.keyboard.type("surface_distances")
    tab.wait_for_selector(".md-search-result__link[href*='reference/figures.html']")
    assert not errors
    assert not [url for url in asked if not url.startswith(("file:", "data:", "about:"))]


def test_a_link_out_of_the_folder_of_the_pages_leads_to_a_page(site, browser):
    tab = browser.new_page()
    tab.goto((site / "labels.html").as_uri())
    tab.click("text=Back to the README")
    assert tab.title().startswith("The README")
    tab.click("text=benchmarks/RESULTS.md")
    assert "Results" in tab.inner_text("h1")
