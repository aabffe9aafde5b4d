"""Instances of a large volume: python benchmarks/instances.py --size 1024 --out FOLDER [--scheduler ADDRESS]

Boundary probabilities of touching cells, about 24 voxels wide, with noise and gaps, a pattern of 256^3 voxels that repeats itself, are
cut block by block as `predict --instances --scheduler here` does. Printed are the time of the cut, without the network, and the
most memory that the process held. A crop of 256^3 is cut in blocks and in one go, and both must be the same.
"""

import argparse
import resource
import time
from itertools import product
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from keras_unet3d.files import remove_path
from keras_unet3d.listener import Listener
from keras_unet3d.segments.cells import CERTAIN, InstanceSettings, instances_of
from keras_unet3d.volumes import NewVolume, Volume, from_array, open_volume, start_zarr
from keras_unet3d.workflows.predict.cluster import HERE
from keras_unet3d.workflows.predict.cutting import EVIDENCE, CutJob, cut_boxes

PERIOD, CELL, CHUNK = 256, 24, 64


def main() -> None:
    """Print sizes, time, memory, and whether blocks and the whole are the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--block", type=int, default=192, help="voxels per axis")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scheduler", default=HERE)
    options = parser.parse_args()
    pattern = boundaries()
    crop = cut(pattern, PERIOD, 64, options.out / "crop", HERE)
    whole = instances_of(pattern[..., None], None, InstanceSettings())
    same = bool(np.array_equal(open_volume(crop, "label").array()[..., 0], whole))
    print(f"{PERIOD}^3: {int(whole.max())} instances; in blocks the same: {same}", flush=True)
    begun = time.perf_counter()
    cut(pattern, options.size, options.block, options.out / "large", options.scheduler)
    minutes = (time.perf_counter() - begun) / 60
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{options.size}^3: {minutes:.1f} min, peak memory {peak:.2f} GB", flush=True)


def boundaries() -> np.ndarray:
    """Return how much of a boundary a voxel is, uint8 `(z, y, x)`, of one period."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(0, PERIOD, PERIOD / round(PERIOD / CELL))] * 3, indexing="ij"), -1).reshape(
        -1, 3
    )
    points = (grid + rng.uniform(-0.4, 0.4, grid.shape) * CELL) % PERIOD
    tree, result = cKDTree(points, boxsize=PERIOD), np.empty((PERIOD,) * 3, np.uint8)
    plane = np.stack(np.meshgrid(np.arange(PERIOD), np.arange(PERIOD), indexing="ij"), -1).reshape(-1, 2)
    for z in range(PERIOD):
        near, _ = tree.query(np.insert(plane, 0, z, axis=1), k=2)
        wall = np.clip(1.5 - (near[:, 1] - near[:, 0]) / 2, 0, 1) * rng.uniform(0.6, 1, len(plane))
        result[z] = np.round(CERTAIN * np.maximum(wall, rng.uniform(0, 0.1, len(plane)))).reshape(PERIOD, PERIOD)
    return result


def cut(pattern: np.ndarray, size: int, block: int, folder: Path, scheduler: str) -> Path:
    """Return the Zarr folder of the instances of a volume of `size` voxels per axis, made of the pattern."""
    remove_path(folder)
    like = Volume("boundaries", (size,) * 3, 1, np.dtype(np.uint8), lambda box: pattern[..., None])
    source = folder / "source.zarr"
    write = start_zarr(source, NewVolume(np.dtype(np.uint8), like, EVIDENCE, 1, (CHUNK,) * 3))
    for corner in product(range(0, size, PERIOD), repeat=3):
        box = tuple(slice(start, min(start + PERIOD, size)) for start in corner)
        write(box, from_array(pattern).read(tuple(slice(0, s.stop - s.start) for s in box)))
    begun = time.perf_counter()

    def said(done: int, of: int) -> None:
        if done == of:
            print(f"  {of} boxes after {(time.perf_counter() - begun) / 60:.1f} min", flush=True)

    boxes = (-(-block // CHUNK) * CHUNK,) * 3
    job = CutJob(
        folder, source, (str(source), EVIDENCE, None), like.shape, None, (CHUNK,) * 3, boxes, InstanceSettings()
    )
    return cut_boxes(job, scheduler, Listener(print, said))


if __name__ == "__main__":
    main()
