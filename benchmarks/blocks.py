"""Dice from a few labelled blocks of a cohort: python benchmarks/blocks.py DATA --out FOLDER [--minutes 10] ...

DATA is a folder with `dataset.json`. Of the volumes of four of the five folds of `quality.py`, 60 random blocks of 20^3 voxels stay
labelled, as in the comparisons of active learning with nnU-Net (nnActive); volumes without one have no labels. A network is
trained on the blocks by `fit`; a second one learns from it by `distill` on all images of the four folds, labelled or not. Both are
measured on the fifth fold, which neither has seen.
"""

import argparse
from itertools import product
from pathlib import Path

import nibabel
import numpy as np
from quality import FOLDS, folders, measured, row

from keras_unet3d import FitSettings, Listener, Teacher, fit, zoo
from keras_unet3d.files import read_json, write_json

UNLABELLED = 255
SIDES = ("blocks", "blocks, distilled")


def main() -> None:
    """Print a row for the network of the blocks, and one for what was distilled from it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10, help="of each of the two trainings")
    parser.add_argument("--blocks", type=int, default=60)
    parser.add_argument("--edge", type=int, default=20, help="of a block, voxels")
    parser.add_argument("--folds", type=int, nargs="+", default=(1,), choices=range(1, FOLDS + 1))
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2), help="of blocks and trainings")
    options = parser.parse_args()
    results = [of_seed(number, seed, options) for number, seed in product(options.folds, options.seeds)]
    print(
        "| trained on | trainings | mean Dice per volume | by class | all voxels together |\n| --- | --- | --- | --- | --- |"
    )
    for side in SIDES:
        figures = np.array(
            [[np.mean(result[side]["per_volume"], axis=0), result[side]["pooled"]] for result in results]
        )
        print(f"| {side} | {len(results)} | {row(figures)} |")


def of_seed(number: int, seed: int, options: argparse.Namespace) -> dict[str, dict]:
    """Return the figures of both networks on a fold, measured now or before."""
    out = options.out / f"fold{number}_seed{seed}_{options.blocks}x{options.edge}_{options.minutes:g}min"
    result = out / "figures.json"
    if not result.exists():
        training, test = folders(options.data, options.out / f"fold{number}", number)
        labelled = with_blocks(training, out / "labelled", options, seed)
        settings = FitSettings(minutes=options.minutes, seed=seed, unlabelled=(UNLABELLED,))
        listener = Listener(print)
        fit(labelled, out / "first", settings=settings, overwrite=True, listener=listener)
        teacher = Teacher(*zoo.open_model(out / "first"), "the network of the blocks")
        images = str(out / "labelled" / "unlabelled" / "*.nii.gz")
        settings = FitSettings(minutes=options.minutes, seed=seed)
        fit(
            labelled,
            out / "distilled",
            images=images,
            teacher=teacher,
            settings=settings,
            overwrite=True,
            listener=listener,
        )
        write_json(
            result,
            {side: measured(out / run, test) for side, run in zip(SIDES, ("first", "distilled"), strict=True)},
        )
    return read_json(result, "figures")


def with_blocks(training: Path, out: Path, options: argparse.Namespace, seed: int) -> Path:
    """Return a data folder of the volumes with a block; images of the others are links in its folder `unlabelled`."""
    description = read_json(training / "dataset.json", "a description of volumes")
    entries = description["training"]
    rng = np.random.default_rng(seed)
    labels: dict[int, np.ndarray] = {}
    for number in rng.integers(len(entries), size=options.blocks).tolist():
        truth = np.asarray(nibabel.load(training / entries[number]["label"]).dataobj)
        kept = labels.setdefault(number, np.full(truth.shape, UNLABELLED, np.uint8))
        corner = [int(rng.integers(max(size - options.edge, 0) + 1)) for size in truth.shape]
        box = tuple(slice(first, first + options.edge) for first in corner)
        kept[box] = truth[box]
    for number, entry in enumerate(entries):
        image = out / (entry["image"] if number in labels else f"unlabelled/{Path(entry['image']).name}")
        image.parent.mkdir(parents=True, exist_ok=True)
        if not image.exists():
            image.symlink_to((training / entry["image"]).resolve())
        if number in labels:
            path = out / entry["label"]
            path.parent.mkdir(parents=True, exist_ok=True)
            affine = nibabel.load(training / entry["label"]).affine
            nibabel.save(nibabel.Nifti1Image(labels[number], affine), path)
    chosen = [entries[number] for number in sorted(labels)]
    write_json(out / "dataset.json", description | {"training": chosen, "numTraining": len(chosen)})
    voxels = sum(int((kept != UNLABELLED).sum()) for kept in labels.values())
    print(f"{options.blocks} blocks in {len(chosen)} of {len(entries)} volumes: {voxels:,} labelled voxels", flush=True)
    return out


if __name__ == "__main__":
    main()
