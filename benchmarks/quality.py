"""Dice on held-out volumes after so many minutes: python benchmarks/quality.py DATA --out FOLDER [--minutes 5 10 20] ...

DATA is a folder with `dataset.json`. Ours is `fit` as a user runs it, validation and pictures included, in one run whose
learning rate falls to 0 at the last mark; at every mark the last network of it is kept. With `--peers PYTHON` the program
`peers/quality.py` trains MONAI's network afterwards, on the same volumes for the same minutes, with its own transforms.
Dice is per class and volume, averaged over the volumes.
"""

import argparse
import json
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_unet3d import FitSettings, Listener, fit, open_data, zoo
from keras_unet3d.prediction.array_api import trained_predictor
from keras_unet3d.run_folder import RunFolder


class _TimeIsUp(Exception):
    pass


def main() -> None:
    """Print a row per side and mark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs="+", default=(5, 10, 20))
    parser.add_argument("--config", type=Path, help="settings of ours, JSON")
    parser.add_argument("--epoch", type=float, default=30.0, help="seconds of an epoch, about")
    parser.add_argument("--peers", metavar="PYTHON", help="of an environment with MONAI")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    settings = FitSettings(**json.loads(options.config.read_text()) if options.config else {})
    step = step_seconds(options, settings)
    kept = train(options, replace(settings, **length(options, step)))
    held_out = zoo.held_out_files(options.out / "run")
    results = {"ours": {minutes: dice(path, options.data, held_out) for minutes, path in kept.items()}}
    if options.peers:
        results["MONAI"] = peers(options, held_out)
    print("| | minutes | mean Dice | by class |\n| --- | --- | --- | --- |")
    for side, marks in results.items():
        for minutes, scores in marks.items():
            print(f"| {side} | {minutes} | {np.mean(scores):.4f} | {', '.join(f'{value:.4f}' for value in scores)} |")
    (options.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")


def step_seconds(options: argparse.Namespace, settings: FitSettings) -> float:
    """Return the seconds of a step, by a short run with `--profile`."""
    run = RunFolder(options.out / "profile")
    fit(options.data, run.path, settings=replace(settings, epochs=1, steps_per_epoch=1), profile=True, overwrite=True)
    return json.loads(run.profile.read_text())["seconds"]["step"]


def length(options: argparse.Namespace, step: float) -> dict:
    """Return epochs and steps per epoch that take the last of the minutes, with a twentieth for all that is no step."""
    steps = max(int(options.epoch / step), 1)
    return {"steps_per_epoch": steps, "epochs": max(int(0.95 * max(options.minutes) * 60 / (steps * step)), 1)}


def train(options: argparse.Namespace, settings: FitSettings) -> dict[float, Path]:
    """Train until the last mark, and return the network that was there at each."""
    run, begun, kept = RunFolder(options.out / "run"), time.perf_counter(), {}
    before = options.out / "before.keras"
    before.unlink(missing_ok=True)

    def say(line: str) -> None:
        print(f"{time.perf_counter() - begun:7.0f} s  {line}", flush=True)
        if not line.startswith("epoch"):
            return
        for minutes in options.minutes:
            # The clock has passed a mark: the network of the epoch before is kept; before the second epoch that of the first.
            if minutes not in kept and time.perf_counter() - begun > 60 * minutes:
                network = before if before.exists() else run.last_network
                kept[minutes] = Path(shutil.copy(network, options.out / f"{minutes:g}.keras"))
        if len(kept) == len(options.minutes):
            raise _TimeIsUp
        shutil.copy(run.last_network, before)

    try:
        fit(options.data, run.path, settings=settings, listener=Listener(say), overwrite=True)
    except _TimeIsUp:
        return kept
    return kept | {minutes: before for minutes in options.minutes if minutes not in kept}


def dice(network: Path, data: Path, held_out: list[str]) -> list[float]:
    """Return the Dice of every class but the first, averaged over the volumes."""
    import keras

    spec = RunFolder(network.parent / "run").read_config().model
    predictor = trained_predictor(keras.models.load_model(network, compile=False), spec)
    scores = []
    for example in open_data(data).examples:
        if example.file in held_out:
            box = tuple(slice(0, size) for size in example.image.shape)
            truth = example.label.read(box)[..., 0]
            predicted = predictor(example.image.read(box))
            scores.append([overlap(predicted == value, truth == value) for value in spec.labels.values[1:]])
    return np.mean(scores, axis=0).tolist()


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Dice of two masks."""
    return float(2 * (one & other).sum() / max(one.sum() + other.sum(), 1))


def peers(options: argparse.Namespace, held_out: list[str]) -> dict[str, list[float]]:
    """Return what MONAI's network reaches."""
    program = Path(__file__).parent / "peers" / "quality.py"
    (options.out / "held_out.json").write_text(json.dumps(held_out))
    result = options.out / "peers.json"
    command = [options.peers, program, options.data, options.out / "held_out.json", result, *options.minutes]
    subprocess.run(list(map(str, command)), check=True)
    return json.loads(result.read_text())


if __name__ == "__main__":
    main()
