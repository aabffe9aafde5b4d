"""Fixtures that several test files share: tiny labelled volumes, and one finished run of a single step."""

import shutil
from pathlib import Path

import pytest
from helpers import tiny_settings, write_pair

import keras_unet3d
from keras_unet3d.listener import SILENT


def pytest_addoption(parser):
    parser.addoption("--moments", type=int, default=6, help="at how many moments every writing command is killed")


# Where a core would wait at the end if they came last: folders of tests with trainings, the longest first.
_LONGEST = ("workflows/fit", "zoo", "training", "cli", "docs", "network", "workflows", "prediction", "patches")


def pytest_collection_modifyitems(items):
    def rank(item) -> int:
        path = item.path.as_posix()
        return next((number for number, folder in enumerate(_LONGEST) if f"/tests/{folder}/" in path), len(_LONGEST))

    items.sort(key=rank)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """A folder with two HDF5 files of labelled volumes."""
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("a.h5", "b.h5")):
        write_pair(folder / name, seed)
    return folder


@pytest.fixture(scope="session")
def tiny_fit(tiny_data, tmp_path_factory):
    """A finished fit on `tiny_data`: what `fit` returned. Copy its folder before changing anything in it."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    return keras_unet3d.fit([tiny_data], out, settings=tiny_settings(), listener=SILENT)


@pytest.fixture(scope="session")
def tiny_run(tiny_fit) -> Path:
    """The run folder of `tiny_fit`."""
    return tiny_fit.path


@pytest.fixture(scope="session")
def tiny_folds(tiny_data, tmp_path_factory):
    """Two finished folds on `tiny_data`: what `fit_folds` returned. Copy their folder before changing anything in it."""
    out = tmp_path_factory.mktemp("folds") / "tiny"
    return keras_unet3d.fit_folds(tiny_data, out, 2, settings=tiny_settings())


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window, for tests that are marked `browser`."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra browser")
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as running:
        # Within a container there is no sandbox to be had; the pages are our own.
        started = running.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield started
        started.close()
