"""Patches per second of the two augmentation engines: python benchmarks/augment.py [--patch Z Y X] [--threads N ...]

Image and labels of one patch, rotation, scaling and B-spline deformation as `fit` draws them. Beside the engines stand
plain SciPy (`map_coordinates` along the same map) and elasticdeform called bare, without rotation, scaling and the context
that the engines read around a patch. Threads share the work as in `tf.data`: each makes whole patches.
"""

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import elasticdeform
import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from keras_unet3d.augment import ENGINES
from keras_unet3d.augment.draw import AugmentSettings, Draw, draw, generator
from keras_unet3d.augment.native import spline_weights

DRAWS = 6


@dataclass(frozen=True)
class Job:
    """One drawn sample: the draw, and image `(z, y, x, 1)` and classes `(z, y, x)` of its region."""

    drawn: Draw
    image: np.ndarray
    classes: np.ndarray

    @property
    def patch(self) -> tuple[int, ...]:
        """Size of the patch in the middle of the region."""
        return tuple(size - 2 * margin for size, margin in zip(self.classes.shape, self.drawn.margin, strict=True))


def main() -> None:
    """Print a row per engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patch", type=int, nargs=3, default=(64, 64, 64), metavar=("Z", "Y", "X"))
    parser.add_argument("--threads", type=int, nargs="+", default=(1, os.cpu_count()))
    parser.add_argument("--seconds", type=float, default=8.0, help="per figure")
    options = parser.parse_args()
    jobs = [job(tuple(options.patch), index) for index in range(DRAWS)]
    print("| | " + " | ".join(f"{count} thread(s), patches/s" for count in options.threads) + " |")
    print("| --- " * (1 + len(options.threads)) + "|")
    for name, side in SIDES.items():
        rates = [rate(side, jobs, count, options.seconds) for count in options.threads]
        print(f"| {name} | " + " | ".join(f"{each:.1f}" for each in rates) + " |", flush=True)


def job(patch, index: int) -> Job:
    """Return a drawn sample of smooth noise and its sign."""
    drawn = draw(generator(0, index), AugmentSettings(), patch, None)
    region = tuple(size + 2 * margin for size, margin in zip(patch, drawn.margin, strict=True))
    image = gaussian_filter(np.random.default_rng(index).normal(size=region), 2).astype(np.float32)
    return Job(drawn, image[..., None], (image > 0).astype(np.uint8))


def rate(side, jobs: list[Job], threads: int, seconds: float) -> float:
    """Return patches per second of `side` on so many threads, after every shape has been seen once."""
    for each in jobs:
        side(each)
    done, start = 0, time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        while time.perf_counter() - start < seconds:
            list(pool.map(side, jobs * threads))
            done += len(jobs) * threads
    return done / (time.perf_counter() - start)


def scipy_side(each: Job, order: int):
    """Move image and labels along the draw's map by SciPy."""
    drawn, patch = each.drawn, each.patch
    centred = np.stack(np.meshgrid(*(np.arange(size) - (size - 1) / 2 for size in patch), indexing="ij"))
    field = np.einsum("dabc,za,yb,xc->dzyx", drawn.displacement, *spline_weights(drawn, patch), optimize=True)
    middle = (np.array(each.classes.shape) - 1) / 2
    positions = np.einsum("ij,jzyx->izyx", drawn.matrix, centred) + field + middle[:, None, None, None]
    map_coordinates(each.image[..., 0], positions, order=order, mode="mirror")
    map_coordinates(each.classes, positions, order=0, cval=255)


def bare_elasticdeform(each: Job):
    """Deform the middle of image and labels alone, nothing else."""
    middle = tuple(slice(m, m + size) for m, size in zip(each.drawn.margin, each.patch, strict=True))
    arrays = [np.ascontiguousarray(each.image[middle][..., 0]), np.ascontiguousarray(each.classes[middle])]
    grid = np.random.default_rng(0).normal(size=(3, *(max(round((size - 1) / 32), 1) + 1 for size in each.patch))) * 4
    elasticdeform.deform_grid(arrays, grid, order=[3, 0])


SIDES = {
    "native engine": lambda each: ENGINES["native"](each.drawn, each.image, each.classes, None),
    "elasticdeform engine": lambda each: ENGINES["elasticdeform"](each.drawn, each.image, each.classes, None),
    "elasticdeform, bare": bare_elasticdeform,
    "SciPy, linear": lambda each: scipy_side(each, 1),
    "SciPy, cubic": lambda each: scipy_side(each, 3),
}

if __name__ == "__main__":
    main()
