"""A stack of serial sections, four of twenty labelled: what each choice of `fit` for such stacks brings.

    python benchmarks/sections.py --out results/sections [--epochs 4 --steps 50] [--edge 384] [--only NAME ...]

Trains on the phantom of `datasets/sections.py`, one row of the table after the other, each with one thing more than the
row before, and measures IoU on the sections that are not labelled, over all of them and of the worst. What is no option
of `fit` is switched off by replacing what its plan would say.
"""

import argparse
import json
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import h5py
import numpy as np

from keras_unet3d import FitSettings, Listener, fit, zoo
from keras_unet3d.datasets.phantom import Phantom
from keras_unet3d.datasets.sections import MITOCHONDRION, UNLABELLED, serial_sections
from keras_unet3d.volumes import from_array
from keras_unet3d.workflows.fit import plan

# Row -> the options of it, and whether grey values change section by section, and labelled sections lie anywhere.
ROWS: dict[str, tuple[dict, bool, bool]] = {
    "as any volume": ({"sections": "no", "grey_values": "zscore"}, False, False),
    "+ normalised by section": ({"sections": "no", "grey_values": "sections"}, False, False),
    "+ grey values changed by section": ({"sections": "no", "grey_values": "sections"}, True, False),
    "+ moved within sections": ({"rotation": 15.0, "flips": ""}, True, False),
    "+ any rotation, mirrored": ({}, True, False),
    "+ labelled section anywhere in the patch": ({}, True, True),
    "+ centres by voxels": ({"sampling": "voxels"}, True, True),
}


def main() -> None:
    """Print the table, and write it with the IoU of every section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--edge", type=int, default=384, help="of a section, voxels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--filters", help="as in fit")
    parser.add_argument("--patch", type=int, nargs=3, help="as in fit")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=[*ROWS])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    stack = serial_sections(options.seed, (20, options.edge, options.edge))
    path = options.out / "stack.h5"
    with h5py.File(path, "w") as file:
        for key, array in (("raw", stack.image), ("label", stack.sparse)):
            file.create_dataset(key, data=array).attrs["element_size_um"] = stack.spacing
    results = []
    for name in options.only:
        results.append({"row": name} | trained(name, stack, path, options))
        print(json.dumps(results[-1]), flush=True)
        (options.out / "sections.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    (options.out / "sections.md").write_text(table(results), "utf-8")
    print(table(results))


def trained(name: str, stack: Phantom, path: Path, options: argparse.Namespace) -> dict:
    """Train one row, and return its figures."""
    given, by_section, anywhere = ROWS[name]
    changes_of = plan.changes_of
    begun, run = time.monotonic(), options.out / str([*ROWS].index(name))
    settings = FitSettings(
        epochs=options.epochs,
        steps_per_epoch=options.steps,
        seed=options.seed,
        filters=options.filters,
        patch=options.patch and tuple(options.patch),
        unlabelled=(UNLABELLED,),
        **given,
    )
    with ExitStack() as replaced:
        if not by_section:
            plain = patch.object(plan, "changes_of", lambda *what: replace(changes_of(*what), by_section=False))
            replaced.enter_context(plain)
        if not anywhere:
            replaced.enter_context(patch.object(plan, "anywhere_of", lambda stack: ()))
        fit(path, run, settings=settings, listener=Listener(print), overwrite=True)
    seconds = time.monotonic() - begun
    predicted = zoo.predictor(run).predict(from_array(stack.image, spacing=stack.spacing, unit="um"))
    np.save(run / "predicted.npy", predicted)
    return figures(predicted == MITOCHONDRION, stack) | {"seconds": round(seconds)}


def figures(predicted: np.ndarray, stack: Phantom) -> dict:
    """Return IoU over the sections that are not labelled, of the worst and the last of them, and of every section."""
    truth = stack.truth == MITOCHONDRION
    left = np.flatnonzero((stack.sparse == UNLABELLED).all(axis=(1, 2)))
    per_section = [overlap(one, other) for one, other in zip(predicted, truth, strict=True)]
    worst = min(left, key=lambda z: per_section[z])
    return {
        "iou": overlap(predicted[left], truth[left]),
        "worst": per_section[worst],
        "worst section": int(worst),
        "last": per_section[-1],
        "share": float(predicted[left].mean() / truth[left].mean()),
        "sections": [round(value, 3) for value in per_section],
    }


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the IoU of two masks."""
    return float((one & other).sum() / max((one | other).sum(), 1))


def table(results: list[dict]) -> str:
    """Return the rows as Markdown."""
    lines = ["| | IoU | worst section | last section | predicted / true voxels |", "| --- | --- | --- | --- | --- |"]
    for row in results:
        lines.append(
            f"| {row['row']} | {row['iou']:.3f} | {row['worst']:.3f} ({row['worst section']}) | {row['last']:.3f} | "
            f"{row['share']:.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
