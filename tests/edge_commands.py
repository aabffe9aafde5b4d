"""Commands that write, for tests that kill them or start two at once."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keras_unet3d.files import sha256
from keras_unet3d.run_folder import RunFolder
from keras_unet3d.volumes import open_volume
from keras_unet3d.zoo.archives import check_sums

TINY = ["--epochs", "1", "--steps-per-epoch", "1", "--patch", "8", "8", "8", "--batch-size", "1", "--base-filters", "2"]
TINY += ["--depth", "2", "--no-augment", "--unlabelled", "9", "--workers", "1", "--seed", "0"]


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes:
        words: of it, in a folder `world`, which writes into the folder `place`.
        target: what it writes, in `place`.
        check: raises where the target is not whole.
        before: words of the command that wrote what is there before; the same where nobody says.
    """

    words: Callable[[Path, Path], list]
    target: str
    check: Callable[[Path], object]
    before: Callable[[Path, Path], list] | None = None


def _labels(path: Path) -> None:
    assert set(open_volume(path, "label").array().ravel().tolist()) <= {0, 5, 9}


def _run(path: Path) -> None:
    """A run that has a network is whole; one that has none yet can begin anew."""
    run = RunFolder(path)
    if run.is_run:
        run.read_config()
    for name in ("model.keras", "last.keras"):
        if (path / name).exists():
            from keras_unet3d.zoo.loading import read_network

            read_network(path / name)


def _table(path: Path) -> None:
    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["label", "5", "9"]


def _web_zoo(index: Path) -> None:
    for entry in json.loads(index.read_text())["models"]:
        assert sha256(index.parent / entry["file"]) == entry["sha256"]


COMMANDS = {
    "measure": Command(
        lambda world, place: ["measure", world / "a.h5", world / "a.h5", "--out", place / "t.csv"], "t.csv", _table
    ),
    "merge": Command(lambda world, place: ["merge", world / "slices", "--out", place / "o.h5"], "o.h5", _labels),
    "predict": Command(
        lambda world, place: ["predict", world / "run", world / "a.h5", "--out", place / "o.h5"], "o.h5", _labels
    ),
    "predict zarr": Command(
        lambda world, place: ["predict", world / "run", world / "a.h5", "--out", place / "o.zarr"], "o.zarr", _labels
    ),
    "export": Command(
        lambda world, place: ["export", world / "run", "--name", "tiny", "--out", place, "--slim"],
        "tiny/1.0.0",
        check_sums,
    ),
    "install": Command(
        lambda world, place: ["zoo", "install", world / "models" / "tiny" / "1.0.0", "--to", place],
        "tiny/1.0.0",
        check_sums,
        # The very same would not be written again.
        lambda world, place: ["zoo", "install", world / "others" / "tiny" / "1.0.0", "--to", place],
    ),
    "publish": Command(
        lambda world, place: ["zoo", "publish", world / "models" / "tiny" / "1.0.0", "--to", place],
        "index.json",
        _web_zoo,
        lambda world, place: ["zoo", "publish", world / "others" / "tiny" / "1.0.0", "--to", place],
    ),
    "fit": Command(lambda world, place: ["fit", world / "a.h5", "--out", place / "run", *TINY], "run", _run),
}


def content(place: Path) -> list[str]:
    # TensorBoard puts the time into the names of its files.
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if "logs" not in path.parts)
