"""The README's Python examples run, and its commands are those of .ci/run and of the command line."""

import re
from pathlib import Path

import pytest

from keras_unet3d.cli import unet3d_cli

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.splitlines()[0])
def test_python_examples_run(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    variables = {}
    exec(compile(example, "README.md", "exec"), variables)
    assert variables["labels"].ndim == 3
    assert set(variables["labels"].ravel()) <= {0, 1, 2}


def test_there_are_examples():
    assert len(EXAMPLES) == 2


def test_two_commands_of_one_line():
    lines = [line for line in README.splitlines() if line.startswith("python3.11 -m venv")]
    assert len(lines) == 2
    assert "fit sample --out runs/first" in lines[0]
    assert lines[1].endswith(".venv/bin/python -m pytest")


def test_every_command_is_in_the_table_of_commands():
    commands = README.split("| command | does |")[1].split("\n\n")[0]
    table = {row.split()[0] for row in re.findall(r"^\| `(\w+[^`]*)`", commands, re.MULTILINE)}
    assert table == set(unet3d_cli.list_commands(None))
