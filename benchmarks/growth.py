"""Memory over many samples: python benchmarks/growth.py [--samples 10000] [--engine native] [--training] [--tiles]

Resident memory of the process after every tenth of the samples, for both chains: `tf.data` and the `PyDataset` of the
other backends. A chain that keeps what it has handed out grows by 60 kB a sample here. With `--training` as many steps of
a whole `fit` instead, in ten epochs, with all that is written after each; with `--tiles` as many tiles, or some more, of a
whole `predict`, from file to file.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np

from keras_unet3d import FitSettings, Listener, PredictSettings, build_model, fit, predict
from keras_unet3d.augment.draw import AugmentSettings
from keras_unet3d.patches import batches as chains
from keras_unet3d.patches.samples import PatchSettings
from keras_unet3d.patches.source import Source, index_labels
from keras_unet3d.prediction.array_api import network_predictor
from keras_unet3d.volumes import from_array, write_volume
from keras_unet3d.volumes.grey_values import measure


def main() -> None:
    """Print a row per chain."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--patch", type=int, default=16)
    parser.add_argument("--engine", default="native")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--training", action="store_true")
    parser.add_argument("--tiles", action="store_true")
    options = parser.parse_args()
    if options.training or options.tiles:
        training(options) if options.training else tiles(options)
        return
    rng = np.random.default_rng(0)
    image, classes = from_array(rng.normal(size=(64,) * 3).astype(np.float32)), from_array(np.ones((64,) * 3, np.uint8))
    source = Source("noise", image, classes, None, measure(image), index_labels(classes, 2))
    patch = (options.patch,) * 3
    settings = PatchSettings(patch, patch, augment=AugmentSettings(), engine=options.engine)
    for backend in ("tensorflow", "other"):
        # Which chain is made is the Keras backend's; both run here.
        chains._backend = lambda backend=backend: backend
        data = chains.training_batches([source], settings, chains.Batching(1, options.workers))
        batches = (
            (data[index] for index in range(options.samples)) if backend == "other" else data.take(options.samples)
        )
        sizes = []
        for index, _ in enumerate(batches, 1):
            if index % (options.samples // 10) == 0:
                sizes.append(resident())
        kind = "PyDataset" if isinstance(data, keras.utils.PyDataset) else "tf.data"
        print(
            f"{kind}: " + ", ".join(f"{size:.0f}" for size in sizes) + f" MB after every {options.samples // 10}",
            flush=True,
        )


def training(options: argparse.Namespace) -> None:
    """Print a row for a training."""
    sizes = []

    def say(line: str) -> None:
        if line.startswith("epoch"):
            sizes.append(resident())

    settings = FitSettings(
        patch=(options.patch,) * 3,
        batch_size=1,
        filters="4,8",
        engine=options.engine,
        workers=options.workers,
        epochs=10,
        steps_per_epoch=options.samples // 10,
    )
    with TemporaryDirectory() as folder:
        fit("sample", Path(folder) / "run", settings=settings, listener=Listener(say))
    shown = ", ".join(f"{size:.0f}" for size in sizes)
    print(f"training: {shown} MB after every {options.samples // 10} steps")


def tiles(options: argparse.Namespace) -> None:
    """Print a row for a prediction."""
    along = int(np.ceil(options.samples ** (1 / 3)))
    image = np.random.default_rng(0).normal(size=(along * options.patch,) * 3).astype(np.float32)
    sizes = []

    def progress(done: int, of: int) -> None:
        if done * 10 // of > len(sizes):
            sizes.append(resident())

    predictor = network_predictor(build_model(base_filters=2, depth=2, seed=0))
    settings = PredictSettings(tile=(options.patch,) * 3, merge="blend", overlap=0.0)
    with TemporaryDirectory() as folder:
        write_volume(Path(folder) / "image.h5", image, from_array(image), "raw")
        paths = [Path(folder) / "image.h5"], Path(folder) / "labels.h5"
        predict(predictor, *paths, settings=settings, listener=Listener(progress=progress))
    shown = ", ".join(f"{size:.0f}" for size in sizes)
    print(f"tiles: {shown} MB after every tenth of {along**3}")


def resident() -> float:
    """Return the process's resident memory, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


if __name__ == "__main__":
    main()
