"""StarDist's side of benchmarks/nuclei.py: python benchmarks/peers/star_convex.py TRAIN TEST RESULT.npy MINUTES [RATE]

`StarDist3D` as in its own example of training: 96 rays, the grid by the size of the objects, anisotropy measured on the labels, flips and
grey values changed, a rate made for few minutes (its own is 3e-4), thresholds optimised on the training stack afterwards, which comes on top of the minutes.
"""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import sys
import time
from pathlib import Path

import h5py
import numpy as np
import tensorflow as tf
from csbdeep.utils import normalize
from stardist import Rays_GoldenSpiral, calculate_extents
from stardist.models import Config3D, StarDist3D

PATCH = (32, 64, 64)
RATE = 1e-3


def main() -> None:
    """Train for so many minutes, and write the instances of the test stack."""
    train, test, result = (Path(word) for word in sys.argv[1:4])
    minutes = float(sys.argv[4])
    tf.keras.utils.set_random_seed(0)
    image, label = read(train)
    extents = calculate_extents([label])
    anisotropy = tuple(np.max(extents) / extents)
    # As its example does: every other voxel in the plane where objects allow it.
    grid = tuple(1 if a > 1.5 else 2 for a in anisotropy)
    config = Config3D(
        rays=Rays_GoldenSpiral(96, anisotropy=anisotropy),
        grid=grid,
        anisotropy=anisotropy,
        n_channel_in=1,
        train_patch_size=PATCH,
        train_batch_size=1,
        train_learning_rate=float(sys.argv[5]) if len(sys.argv) > 5 else RATE,
        train_steps_per_epoch=20,
        train_epochs=10_000,
        train_tensorboard=False,
        use_gpu=False,
    )
    model = StarDist3D(config, name="stardist", basedir=str(result.parent))
    model.prepare_for_training()
    begun = time.perf_counter()
    model.callbacks.append(Stop(begun + 60 * minutes))
    rng = np.random.default_rng(0)
    model.train(
        [image], [label], validation_data=([image], [label]), augmenter=lambda x, y: changed(x, y, rng), epochs=10_000
    )
    print(f"stardist: grid {grid}, {model.keras_model.count_params():,} parameters", flush=True)
    model.optimize_thresholds([image], [label])
    instances, _ = model.predict_instances(read(test)[0])
    np.save(result, instances)


class Stop(tf.keras.callbacks.Callback):
    """Ends the training at a time."""

    def __init__(self, end: float) -> None:
        super().__init__()
        self.end, self.steps = end, 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if time.perf_counter() > self.end:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        print(f"stardist: {self.steps} steps", flush=True)


def changed(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a patch mirrored and turned in the plane, its grey values scaled and shifted, with noise."""
    for axis in range(3):
        if rng.random() < 0.5:
            image, label = np.flip(image, axis), np.flip(label, axis)
    turns = int(rng.integers(4))
    image, label = np.rot90(image, turns, (1, 2)), np.rot90(label, turns, (1, 2))
    image = image * rng.uniform(0.6, 2) + rng.uniform(-0.2, 0.2)
    return image + 0.02 * rng.uniform(0, 1) * rng.normal(size=image.shape), label


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return a normalised image and its labels."""
    with h5py.File(path) as file:
        return normalize(file["raw"][...].astype(np.float32), 1, 99.8), file["label"][...].astype(np.int32)


if __name__ == "__main__":
    main()
