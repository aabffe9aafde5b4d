"""Cell boundaries on a stack not trained on: python benchmarks/boundaries.py TRAIN TRAIN TEST --out FOLDER [--peers PYTHON]

Ours is `unet3d-cli fit --target boundaries` on the first two stacks, nothing held out. With `--peers PYTHON` pytorch-3dunet's
network is trained on the same two for the same minutes, with its own transforms and loss (`peers/boundaries.py`). Both
predict the third stack in one pass; boundary IoU at probability 0.5, and the adapted Rand error of the cells that the same
watershed (`segments.cells.instances`) cuts along the probabilities, over labelled voxels.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from keras_unet3d import zoo
from keras_unet3d.evaluation.cells import adapted_rand_error, common
from keras_unet3d.labels import class_volume
from keras_unet3d.labels.table import BOUNDARY_TABLE
from keras_unet3d.segments.cells import instances
from keras_unet3d.volumes import open_volume


def main() -> None:
    """Print a row per side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stacks", nargs=3, type=Path, metavar="STACK")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--options", default="", help="of fit, as one word")
    parser.add_argument("--peers", metavar="PYTHON", help="of an environment with PyTorch and pytorch-3dunet")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    *training, test = options.stacks
    begun = time.perf_counter()
    run = options.out / "run"
    wanted = ["--target", "boundaries", "--validation-share", "0", "--overwrite", *options.options.split()]
    subprocess.run([sys.executable, "-m", "keras_unet3d.cli", "fit", *training, "--out", run, *wanted], check=True)
    minutes = (time.perf_counter() - begun) / 60
    print(f"ours took {minutes:.1f} minutes")
    report("ours", zoo.predictor(run).predict(open_volume(test), "probabilities")[..., 1], test)
    if options.peers:
        program, target = Path(__file__).parent / "peers" / "boundaries.py", options.out / "peers.npy"
        subprocess.run([options.peers, program, *options.stacks, target, str(minutes)], check=True)
        report("pytorch-3dunet", np.load(target), test)


def report(side: str, boundary: np.ndarray, test: Path) -> None:
    """Print the figures of one side."""
    label, image = open_volume(test, "label"), open_volume(test, "raw")
    truth = class_volume(label, BOUNDARY_TABLE).array()[..., 0] == 1
    predicted = boundary > 0.5
    cells = label.array()[..., 0]
    cut = instances(np.clip(boundary, 0, 1), spacing=image.spacing)
    iou = float((truth & predicted).sum() / (truth | predicted).sum())
    figures = {"boundary_iou": iou, "adapted_rand_error": adapted_rand_error(common(cells, cut))}
    print(f"{side}: {json.dumps(figures)}, {int(cut.max())} cells of {len(np.unique(cells)) - 1}", flush=True)


if __name__ == "__main__":
    main()
