"""Dice on volumes never trained on, on fixed folds: python benchmarks/quality.py DATA --out FOLDER [--minutes 5 10 20] ...

DATA is a folder with `dataset.json`. Its volumes are dealt to five folds, always the same ones. For every fold, length and seed
a network is trained on the other four folds by `fit --minutes`, as a user runs it (it holds a part of them out
for itself), and measured on the fold by `evaluate`. With `--peers PYTHON` the program `peers/quality.py` trains MONAI's network
on the same volumes for the same minutes. What is there already is not done again: a table can grow over days.

Dice is given per class, as the mean over volumes and over all voxels together; the spread is that of folds and seeds.
"""

import argparse
import json
import shutil
import subprocess
from itertools import product
from pathlib import Path

import numpy as np

from keras_unet3d import FitSettings, Listener, evaluate, fit, zoo
from keras_unet3d.files import read_json, write_json

FOLDS = 5
# Of the deal: never changed, so that figures of different days are of the same folds.
DEAL = 2026


def main() -> None:
    """Print a row per side and length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs="+", default=(5, 10, 20))
    parser.add_argument("--folds", type=int, nargs="+", default=range(1, FOLDS + 1), choices=range(1, FOLDS + 1))
    parser.add_argument("--seeds", type=int, nargs="+", default=(0,))
    parser.add_argument("--settings", type=json.loads, default={}, help='of ours, JSON like {"optimizer": "adamw"}')
    parser.add_argument("--name", default="ours", help="of those settings")
    parser.add_argument("--peers", metavar="PYTHON", help="of an environment with MONAI")
    options = parser.parse_args()
    sides = {options.name: ours} | ({"MONAI UNet": peer} if options.peers else {})
    print(
        "| side | minutes | trainings | mean Dice per volume | by class | all voxels together |\n| --- | --- | --- | --- | --- | --- |"
    )
    for minutes, side in product(options.minutes, sides):
        measured = [
            of_fold(side, sides[side], minutes, number, seed, options)
            for number, seed in product(options.folds, options.seeds)
        ]
        per_volume = np.array([[np.mean(part["per_volume"], axis=0), part["pooled"]] for part in measured])
        print(f"| {side} | {minutes:g} | {len(measured)} | {row(per_volume)} |", flush=True)


def row(figures: np.ndarray) -> str:
    """Return the cells of figures `(trainings, 2, classes)`: means over the classes with their spread, and by class."""
    means = figures.mean(axis=2)
    spread = means.std(axis=0, ddof=min(1, len(means) - 1))
    of_volumes, pooled = (
        f"{mean:.4f} +- {deviation:.4f}" for mean, deviation in zip(means.mean(axis=0), spread, strict=True)
    )
    by_class = ", ".join(f"{value:.4f}" for value in figures[:, 0].mean(axis=0))
    return f"{of_volumes} | {by_class} | {pooled}"


def of_fold(side: str, train, minutes: float, number: int, seed: int, options: argparse.Namespace) -> dict:
    """Return Dice per volume and class and over all voxels together, of one training, done now or before."""
    name = f"{side.replace(' ', '-')}_{minutes:g}min_fold{number}_seed{seed}"
    result = options.out / f"{name}.json"
    if not result.exists():
        training, test = folders(options.data, options.out / f"fold{number}", number)
        write_json(result, train(training, test, minutes, seed, options.out / name, options))
    return read_json(result, "figures of a training")


def folders(data: Path, out: Path, number: int) -> tuple[Path, Path]:
    """Return two data folders of links: all folds but one, and that one."""
    description = json.loads((data / "dataset.json").read_text())
    order = np.random.default_rng(DEAL).permutation(len(description["training"]))
    for part in ("training", "test"):
        chosen = [i for place, i in enumerate(order) if (place % FOLDS == number - 1) == (part == "test")]
        linked(data, out / part, description, [description["training"][i] for i in sorted(chosen)])
    return out / "training", out / "test"


def linked(data: Path, out: Path, description: dict, entries: list[dict]) -> None:
    """Make a data folder of links to some of the volumes of another one."""
    for path in (out / entry[kind] for entry in entries for kind in ("image", "label")):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.symlink_to((data / path.relative_to(out)).resolve())
    write_json(out / "dataset.json", description | {"training": entries, "numTraining": len(entries), "test": []})


def ours(training: Path, test: Path, minutes: float, seed: int, run: Path, options: argparse.Namespace) -> dict:
    """Return the figures of `fit --minutes` by those of `evaluate`."""
    settings = FitSettings(minutes=minutes, seed=seed, **options.settings)
    fit(training, run, settings=settings, overwrite=True, listener=Listener(print))
    shutil.rmtree(run / "logs", ignore_errors=True)
    return measured(run, test)


def measured(run: Path, test: Path) -> dict:
    """Return Dice of a run per volume and class, without the background, and over all voxels together."""
    result = evaluate(zoo.predictor(run), test)
    # The first class is the background.
    names = list(result["classes"])[1:]
    dice = [[volume["classes"][name]["dice"] for name in names] for volume in result["volumes"]]
    return {"per_volume": dice, "pooled": [result["classes"][name]["dice"] for name in names]}


def peer(training: Path, test: Path, minutes: float, seed: int, run: Path, options: argparse.Namespace) -> dict:
    """Return the figures of MONAI's network."""
    program, result = Path(__file__).parent / "peers" / "quality.py", run.with_suffix(".peer.json")
    command = [options.peers, program, training, test, result, minutes, seed]
    subprocess.run(list(map(str, command)), check=True)
    return json.loads(result.read_text())


if __name__ == "__main__":
    main()
