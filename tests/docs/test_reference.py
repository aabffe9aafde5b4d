"""The pages of the site that follow the code: the reference has every public name, troubleshooting only what is really said."""

import ast
import functools
import re

import pytest
from pages import ROOT

import keras_unet3d
from keras_unet3d import zoo

_TROUBLE = ROOT / "docs" / "troubleshooting.md"
HEADINGS = re.findall(r"^### (.+)$", _TROUBLE.read_text("utf-8"), re.MULTILINE)


def test_every_public_name_is_on_a_page_of_the_reference_once():
    pages = [page.read_text("utf-8") for page in (ROOT / "docs" / "reference").glob("*.md")]
    named = [name for page in pages for name in re.findall(r"^::: keras_unet3d\.(.+)$", page, re.MULTILINE)]
    names = {*keras_unet3d.__all__} - {"__version__", "zoo"}
    assert sorted(named) == sorted(names | {f"zoo.{name}" for name in zoo.__all__})


@functools.cache
def _said() -> list[str]:
    """Return every text of the source, what is filled in left out."""
    files = [path for folder in ("keras_unet3d", "zoo", "cli") for path in (ROOT / folder).rglob("*.py")]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    whole = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    joined = [
        [part for part in node.values if isinstance(part, ast.Constant)]
        for node in nodes
        if isinstance(node, ast.JoinedStr)
    ]
    return whole + ["".join(str(part.value) for part in parts) for parts in joined]


@pytest.mark.parametrize("heading", HEADINGS)
def test_what_troubleshooting_speaks_of_is_said_by_the_code(heading):
    words = ".*".join(re.escape(part.strip()) for part in heading.split("..."))
    assert any(re.search(words, text, re.DOTALL) for text in _said()), heading


def test_troubleshooting_has_headings():
    assert 25 <= len(HEADINGS) <= 40
