"""What the site has beside its Markdown: files from outside docs/, the help of the commands, the names of the reference."""

import importlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path

import click
from mkdocs.structure.files import File

from keras_unet3d.cli import unet3d_cli

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
# Where files of other folders are in the site.
_OUTSIDE = "project"
# The target of a link or a picture, and what of it is meant.
_LINK = re.compile(r"(?<=\]\()([^()\s#]+)(#[^()\s]*)?(?=\))")
# What stands on the page of the commands until the site is built.
_COMMANDS = "This page is filled when the site is built; until then, ask the commands themselves."
# A public name, as users write it, on a line of its own.
_NAME = re.compile(r"^::: (keras_unet3d|keras_unet3d\.zoo)\.(\w+)$", re.MULTILINE)


def on_config(config):
    """Put the pages that a pattern names into the navigation, each once; a part that has no pages is left out."""
    for part in config.nav:
        for title, entries in part.items():
            pages = [page for entry in entries for page in _pages(entry)]
            part[title] = [page for i, page in enumerate(pages) if page not in pages[:i]]
    config.nav = [part for part in config.nav if any(part.values())]
    return config


def _pages(entry) -> list:
    if not isinstance(entry, str) or "*" not in entry:
        return [entry]
    return [_place(path).replace(".ipynb", ".md") for path in sorted(DOCS.glob(entry))]


def on_files(files, config):
    """Add notebooks as pages, what pages link to outside docs/, and what that links to in turn."""
    waiting = [Path(file.abs_src_path) for file in files.documentation_pages()]
    while waiting:
        page = waiting.pop()
        for target in _linked(page):
            if not target.is_relative_to(DOCS) and files.get_file_from_path(_place(target)) is None:
                files.append(File.generated(config, _place(target), abs_src_path=str(target)))
                waiting += [target] if target.suffix == ".md" else []
    for path in DOCS.glob("**/*.ipynb"):
        files.append(File.generated(config, _place(path.with_suffix(".md")), content=_as_markdown(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Lead links to where their files are in the site, and fill the pages of the reference."""
    source = Path(page.file.abs_src_path or DOCS / page.file.src_uri)
    markdown = _LINK.sub(lambda link: _led(link, source), markdown)
    markdown = _NAME.sub(lambda name: _documented(*name.groups()), markdown)
    if _COMMANDS in markdown:
        root = unet3d_cli.make_context("unet3d-cli", [], resilient_parsing=True, terminal_width=80)
        markdown = markdown.replace(_COMMANDS, "\n".join(_helps(unet3d_cli, root)))
    return markdown


# ---- links ---------------------------------------------------------------------------------------


def _place(path: Path) -> str:
    """Return where a file is in the site."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    return f"{_OUTSIDE}/{path.relative_to(ROOT).as_posix()}"


def _linked(page: Path) -> list[Path]:
    targets = [(page.parent / link[0]).resolve() for link in _LINK.findall(page.read_text("utf-8"))]
    return [target for target in targets if target.is_relative_to(ROOT) and target.is_file()]


def _led(link: re.Match, page: Path) -> str:
    target = (page.parent / link[1]).resolve()
    if not (target.is_relative_to(ROOT) and target.is_file()):
        return link[0]
    return os.path.relpath(_place(target), os.path.dirname(_place(page))) + (link[2] or "")


# ---- notebooks -----------------------------------------------------------------------------------


def _as_markdown(path: Path) -> str:
    """Return the texts of a notebook, its code, and what the code has printed and drawn."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    parts = [part for cell in cells for part in _CELLS[cell["cell_type"]](cell)]
    return "\n\n".join([*parts, f"[This page as a notebook]({path.name})"])


def _of_code(cell: dict) -> Iterator[str]:
    yield f"```python\n{''.join(cell['source'])}\n```"
    for output in cell["outputs"]:
        shown = output.get("data", {})
        if "image/png" in shown:
            yield f"![](data:image/png;base64,{''.join(shown['image/png']).strip()})"
        elif printed := "".join(output.get("text") or shown.get("text/plain", "")):
            yield f"```text\n{printed.rstrip()}\n```"


_CELLS = {"markdown": lambda cell: ["".join(cell["source"])], "code": _of_code}


# ---- the reference -------------------------------------------------------------------------------


def _helps(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield what `--help` prints, of a command and all that are in it."""
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        one = command.get_command(context, name)
        yield from _helps(one, one.make_context(name, [], parent=context, resilient_parsing=True))


def _documented(module: str, name: str) -> str:
    """Return what mkdocstrings makes the documentation of a public name of, by the module where it is written."""
    package = importlib.import_module(module)
    home = package._HOMES[name].replace("keras_unet3d.zoo.", "zoo.")
    said = f"::: {home}.{name}\n    options:\n      heading: {module}.{name}\n      toc_label: {name}\n"
    # Nothing else is imported: it would load TensorFlow.
    settings = getattr(package, name) if name.endswith(("Options", "Settings")) else None
    if settings is None or not any("help" in field.metadata for field in fields(settings)):
        return said
    return f"{said}      members: false\n      show_signature: false\n      separate_signature: false\n\n{_options(settings)}"


def _options(settings: type) -> str:
    """Return a table of the fields of a settings class that are its own; their texts are those of the options."""
    own = [field for field in fields(settings) if field.name in settings.__annotations__]
    rows = [f"| `{field.name}` | `{field.default!r}` | {_text(field)} |" for field in own]
    return "\n".join(["| field | default | |", "| --- | --- | --- |", *rows]) + "\n" if rows else ""


def _text(field: Field) -> str:
    choices = ", ".join(f"`{choice}`" for choice in field.metadata["choices"])
    return f"{field.metadata['help']}{choices and f' One of {choices}.'}".replace("|", "\\|")
