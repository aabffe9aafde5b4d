"""What it costs to find and draw labelled voxels of a large volume: python benchmarks/index.py [--shape Z Y X]

Writes a chunked HDF5 volume with five annotated slices to a temporary folder, and prints the seconds that the survey of
its values, its annotated slices and its index take, the milliseconds of a drawn voxel, and the peak memory.
"""

import argparse
import resource
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from keras_unet3d.labels import annotated_slices, class_volume, infer_table, survey
from keras_unet3d.patches.source import Source, draw_voxel, index_labels
from keras_unet3d.volumes import open_volume
from keras_unet3d.volumes.grey_values import Statistics

CLASSES, UNLABELLED, CHUNK, DRAWS = 3, 255, 64, 500


def main() -> None:
    """Print one line per step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 1024, 1024), metavar=("Z", "Y", "X"))
    shape = tuple(parser.parse_args().shape)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.h5"
        write(path, shape)
        label = open_volume(path, "label")
        with timed("survey of the values"):
            values = survey(label)
        classes = class_volume(label, infer_table({"labels": values.counts}, unlabelled=[UNLABELLED]))
        with timed("annotated slices"):
            slices = annotated_slices(classes)
        with timed("index"):
            index = index_labels(classes, CLASSES)
        one = np.ones(1)
        source = Source("labels", label, classes, None, Statistics(one, one, one, one), index)
        rng, start = np.random.default_rng(0), time.perf_counter()
        for _ in range(DRAWS):
            draw_voxel(rng, source)
        print(f"drawing a voxel: {(time.perf_counter() - start) / DRAWS * 1e3:.2f} ms")
        size = (index.corners.nbytes + index.counts.nbytes) / 2**10
        print(f"{np.prod(shape) / 1e6:.0f} million voxels, {slices.shown()}; the index takes {size:.0f} kB")
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MB")


def write(path: Path, shape) -> None:
    """Write labels in three z slices, a y slice and an x slice."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        options = {"chunks": (CHUNK,) * 3, "compression": "gzip", "compression_opts": 1}
        label = file.create_dataset("label", shape, np.uint8, fillvalue=UNLABELLED, **options)
        for z in (shape[0] // 5, shape[0] // 2, 4 * shape[0] // 5):
            label[z] = rng.integers(0, CLASSES, shape[1:])
        label[:, shape[1] // 2] = rng.integers(0, CLASSES, (shape[0], shape[2]))
        label[:, :, shape[2] // 3] = rng.integers(0, CLASSES, shape[:2])


@contextmanager
def timed(what: str):
    """Print the seconds that the block takes."""
    start = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
