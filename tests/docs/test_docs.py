"""The pages of the documentation: every snippet of them runs, and what they name is there."""

import re

import click
import pytest
from pages import GUIDES, PAGES, README, ROOT, blocks_of, name_of

import keras_unet3d
from keras_unet3d.cli import unet3d_cli

# Folds and what is distilled from them are three trainings; ONNX is made by compiling the network several times.
_SLOW = ("fit_folds", "zoo.complete")
SNIPPETS = [
    pytest.param(
        page, text, id=f"{name_of(page)}:{i}", marks=[pytest.mark.slow] if any(word in text for word in _SLOW) else []
    )
    for page in GUIDES
    for i, text in enumerate(blocks_of(page, "python"))
]


# ---- what runs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "snippet"), SNIPPETS)
@pytest.mark.usefixtures("here")
def test_python_snippets_run(page, snippet):
    exec(compile(snippet, name_of(page), "exec"), {"__name__": "snippet"})


def test_options_in_the_text_are_options_of_a_command():
    known = {"--help", "--debug", "--version"}
    for name in unet3d_cli.list_commands(None):
        command = unet3d_cli.get_command(None, name)
        for part in (command, *getattr(command, "commands", {}).values()):
            known |= {
                flag for each in part.get_params(click.Context(part)) for flag in (*each.opts, *each.secondary_opts)
            }
    for page in GUIDES:
        for code in re.findall(r"`(--[^`]+|unet3d-cli [^`]+)`", page.read_text("utf-8")):
            assert set(re.findall(r"(?<!\S)--[a-z][a-z-]*", code)) <= known, f"{name_of(page)}: {code}"


# ---- what the README promises ---------------------------------------------------------------------


def test_two_commands_of_one_line():
    lines = [line for line in README.splitlines() if line.startswith("python3.11 -m venv")]
    assert len(lines) == 2
    assert "fit sample --out runs/first" in lines[0]
    assert "pip install -e" in lines[1]
    assert lines[1].endswith(".venv/bin/python -m pytest")


def test_extras_of_the_pages_are_extras_of_the_package():
    extras = set(re.findall(r'^        "(\w+)":', (ROOT / "setup.py").read_text("utf-8"), re.MULTILINE))
    for page in PAGES:
        for named in re.findall(r'pip install (?:-e )?"\.\[([\w,]+)\]"', page.read_text("utf-8")):
            assert set(named.split(",")) <= extras, name_of(page)


def test_every_command_is_in_the_table_of_commands():
    commands = README.split("| command | does |")[1].split("\n\n")[0]
    table = {row.split()[0] for row in re.findall(r"^\| `(\w+[^`]*)`", commands, re.MULTILINE)}
    assert table == set(unet3d_cli.list_commands(None))


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_every_public_type_is_in_the_guide_to_python():
    text = (ROOT / "docs" / "python.md").read_text("utf-8") + README
    functions = {
        "open_data",
        "make_batches",
        "fit",
        "predict",
        "evaluate",
        "measure",
        "check",
        "suggest",
        "merge",
        "phantom",
    }
    assert functions <= set(keras_unet3d.__all__)
    for name in functions | set(re.findall(r"keras_unet3d\.([A-Za-z]\w*)", text)):
        assert name in {*keras_unet3d.__all__, "zoo"}, name


def test_versions_are_one():
    version = keras_unet3d.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text("utf-8")


# ---- what the pages name ---------------------------------------------------------------------------

_FOLDERS = "keras_unet3d|cli|zoo|tests|docs|examples|benchmarks"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_a_page_names_are_there(page):
    text = page.read_text("utf-8")
    named = re.findall(rf"(?<![\w/.-])((?:{_FOLDERS}|\.ci)/[\w./-]*\w/?)", text)
    assert [
        path
        for path in named
        if not (ROOT / path.replace("NAME.sh", "hippocampus-mri.sh")).exists() and "NAME" not in path
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        target, _, anchor = link.partition("#")
        file = page.parent / target if target else page
        assert file.exists(), f"{name_of(page)}: {link}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_names_a_path_of_one_machine(page):
    assert not re.findall(r"(?<![\w.])/(?:work|home|root|tmp)/", page.read_text("utf-8"))
