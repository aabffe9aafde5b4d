"""Step time of `fit` with augmentation over that on a constant batch: python benchmarks/feeding.py [--patch Z Y X] ...

The embedded sample, repeated to 80x192x192 voxels; the network, the batches and the training loop of `fit`. The sides take
turns, so that other work on the machine falls on all of them; the median step counts. KERAS_BACKEND=jax runs it without
TensorFlow.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from keras_unet3d import Listener
from keras_unet3d.augment.draw import AugmentSettings
from keras_unet3d.augment.layer import Augmentation
from keras_unet3d.datasets import phantom
from keras_unet3d.labels import UNLABELLED, LabelTable
from keras_unet3d.machine import precision
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.network.unet import build
from keras_unet3d.patches.batches import (
    Batching,
    Chain,
    Waiting,
    batches,
    stacked,
    training_batches,
)
from keras_unet3d.patches.samples import PatchSettings, training_sample
from keras_unet3d.patches.source import Source, index_labels
from keras_unet3d.run_folder import RunFolder
from keras_unet3d.training.loop import train
from keras_unet3d.training.schedule import Feed, Schedule, Shown
from keras_unet3d.volumes import from_array
from keras_unet3d.volumes.grey_values import measure

CONSTANT = "constant batch"
SIDES = (CONSTANT, "native", "elasticdeform", "native, on the device")
# Compilation, of the step and of the warp for regions of a few sizes.
WARM_UP = 12


def main() -> None:
    """Print a row per side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patch", type=int, nargs=3, default=(64, 64, 64), metavar=("Z", "Y", "X"))
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--base-filters", type=int, default=8)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--steps", type=int, default=24, help="per side and round, and those of the warm-up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    options = parser.parse_args()
    source = phantom_source()
    times = {side: [] for side in options.sides}
    waits = {side: [] for side in options.sides}
    for _ in range(options.rounds):
        for side in options.sides:
            seconds, waited = run(side, source, options)
            times[side] += seconds
            waits[side].append(waited)
    print("| | step, s | over the constant batch | waiting for input |\n| --- | --- | --- | --- |")
    constant = np.median(times[CONSTANT])
    for side in options.sides:
        step = np.median(times[side])
        print(f"| {side} | {step:.3f} | {step / constant:.3f} | {np.mean(waits[side]):.1%} |")


def phantom_source() -> Source:
    """Return the embedded sample eight times over, half a stack in each direction beside itself."""
    stack = phantom.phantom()
    image = from_array(np.tile(stack.image, (2, 2, 2)), spacing=stack.spacing)
    classes = np.where(stack.sparse == phantom.UNLABELLED, UNLABELLED, stack.sparse).astype(np.uint8)
    classes = from_array(np.tile(classes, (2, 2, 2)))
    return Source("phantom", image, classes, None, measure(image), index_labels(classes, len(phantom.NAMES)))


def run(side: str, source: Source, options) -> tuple[list[float], float]:
    """Train for some steps and return the seconds of each after the warm-up, and the share of them spent waiting."""
    patch = tuple(options.patch)
    engine = "elasticdeform" if side == "elasticdeform" else "native"
    settings = PatchSettings(patch, patch, augment=AugmentSettings(), engine=engine)
    waiting, size = Waiting(), options.batch_size
    batching = Batching(size, options.workers, on_device=side.endswith("device"))
    if side == CONSTANT:
        fixed = [training_sample([source], settings, 0, index) for index in range(size)]
        training = batches(Chain(lambda index: fixed[index % size], stacked, size, 1), waiting)
    else:
        training = training_batches([source], settings, batching, waiting=waiting)
    figures = {"val_loss": 1.0, "val_iou": 0.0, "val_dice": 0.0}
    feed = Feed(
        lambda first: training,
        lambda network: figures,
        waiting,
        Augmentation() if batching.on_device else None,
        "",
        str,
    )
    with precision.dtype_policy(precision.resolve_precision(options.precision)):
        model = build(Architecture(num_classes=3, base_filters=options.base_filters, depth=3, seed=0))
    ends, waited = [], []

    def progress(done, of):
        ends.append(time.perf_counter())
        waited.append(waiting.seconds)

    shown = Shown(training_sample([source], settings, 0, 0), LabelTable((0, 1, 2), phantom.NAMES), None)
    schedule = Schedule(1, WARM_UP + options.steps, 1e-3, "crossentropy+dice")
    with tempfile.TemporaryDirectory() as folder:
        train(model, feed, schedule, RunFolder(Path(folder)), shown=shown, listener=Listener(print, progress))
    share = (waited[-1] - waited[WARM_UP]) / (ends[-1] - ends[WARM_UP])
    return np.diff(ends[WARM_UP:]).tolist(), share


if __name__ == "__main__":
    main()
