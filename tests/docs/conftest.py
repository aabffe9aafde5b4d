"""A folder in which the snippets and commands of the pages run."""

import os
import shlex
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from pages import enter, made_tiny, run, write_world


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A folder with all volumes, a run of one step, and its figures; it is copied before it is used."""
    folder, before = tmp_path_factory.mktemp("world"), Path.cwd()
    os.chdir(folder)
    try:
        write_world()
        for line in ("fit stack.h5 --out runs/stack", "evaluate runs/stack labelled.h5 --json figures.json"):
            run(shlex.split(made_tiny(f"unet3d-cli {line}"))[1:])
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def here(world, tmp_path, monkeypatch) -> None:
    """Work in a copy of the world."""
    shutil.copytree(world, tmp_path / "here")
    enter(tmp_path / "here", monkeypatch)


@pytest.fixture(scope="module")
def shared(world, tmp_path_factory) -> tuple[Path, set[str]]:
    """A copy of the world in which the commands of all pages run, and those that have run: each runs once."""
    folder = tmp_path_factory.mktemp("commands") / "here"
    shutil.copytree(world, folder)
    return folder, set()


@pytest.fixture(autouse=True)
def eagerly():
    """Compile nothing: a training of one step is over before its graph would be made."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
