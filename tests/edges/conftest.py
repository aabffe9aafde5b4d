"""Commands that are killed, or that run side by side: a server that has loaded everything forks them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from edge_commands import TINY
from helpers import write_pair


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Iterator[Callable]:
    """A function that runs commands side by side, and returns exit code, output, seconds and changes of each."""
    home = tmp_path_factory.mktemp("home")
    environment = os.environ | {"HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("server.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert server.stdin and server.stdout
    assert server.stdout.readline() == "ready\n"

    def run(*calls, after=None, event=None) -> list[dict]:
        request = {"calls": [[str(word) for word in call] for call in calls], "after": after, "event": event}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    yield run
    server.stdin.close()
    server.wait(timeout=60)


@pytest.fixture(scope="module")
def world(together, tmp_path_factory) -> Path:
    """A folder with a volume, a run, a bundle and painted slices."""
    folder = tmp_path_factory.mktemp("world")
    write_pair(folder / "a.h5", 0)
    for call in (
        ["fit", folder / "a.h5", "--out", folder / "run", *TINY],
        ["export", folder / "run", "--name", "tiny", "--out", folder / "models", "--slim"],
        ["export", folder / "run", "--name", "tiny", "--out", folder / "others", "--slim", "--description", "another"],
        ["suggest", folder / "run", folder / "a.h5", "--out", folder / "slices", "--count", "2"],
    ):
        (done,) = together(call)
        assert done["code"] == 0, done["out"]
    for path in (folder / "slices").glob("*_labels.tif"):
        _paint(path)
    return folder


def _paint(path: Path) -> None:
    import tifffile

    plane = tifffile.imread(path)
    plane[:4] = 5
    tifffile.imwrite(path, plane)
