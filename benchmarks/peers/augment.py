"""Other libraries' side of benchmarks/augment.py: python benchmarks/peers/augment.py [--threads N ...] [--json FILE]

Patches per second of spatial augmentation. Every library augments float32 smooth noise and its sign, the uint8 labels, by rotation, scaling and deformation, or what it has
of them. N threads are N worker processes of one core and thread each, as under a DataLoader; their rates are summed.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

RNG = np.random.default_rng(0)
DEGREES, SCALES = 15.0, (0.85, 1.2)
ANGLE, SPACING, DEVIATION = np.radians(DEGREES), 32, 4.0  # of and between the control points, voxels
SIGMA = 12.0  # smooths white noise about as far; the peers' magnitudes make that deviation of it at 64^3


@dataclass(frozen=True)
class Peer:
    """A peer's module, what it does, and `build(module, patch)`, which returns a function of image and labels."""

    module: str
    what: str
    build: Callable


def main() -> None:
    """Print a row per peer and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patch", type=int, nargs=3, default=(64, 64, 64), metavar=("Z", "Y", "X"))
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--seconds", type=float, default=6.0, help="per figure")
    parser.add_argument("--only", nargs="+", choices=PEERS, default=PEERS, metavar="NAME", help="; ".join(PEERS))
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if max(options.threads) > (cores := len(os.sched_getaffinity(0))):
        parser.error(f"--threads: expected at most {cores}, the cores of this process.")
    os.environ |= {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}  # PyTorch's too, in the workers
    print("| | " + "".join(f"{count} thread(s), patches/s | " for count in options.threads) + "|")
    print("| --- " * (2 + len(options.threads)) + "|")
    results = {name: report(name, options) for name in options.only}
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def report(name: str, options: argparse.Namespace) -> dict | None:
    """Print a peer's row and return it; None for one that cannot be imported."""
    peer = PEERS[name]
    try:
        importlib.import_module(peer.module)
    except ImportError as error:
        print(f"| {name} | {'| ' * len(options.threads)}skipped: {error} |", flush=True)
        return None
    rates = {str(count): rate(name, tuple(options.patch), count, options.seconds) for count in options.threads}
    release = version(peer.module.partition(".")[0])
    print(f"| {name} {release} | {''.join(f'{figure:.1f} | ' for figure in rates.values())}{peer.what} |", flush=True)
    return rates | {"what": peer.what, "version": release}


def rate(name: str, patch, count: int, seconds: float) -> float:
    """Return the summed rate of so many workers, which start together."""
    context, cores = multiprocessing.get_context("spawn"), sorted(os.sched_getaffinity(0))[:count]
    with context.Manager() as manager, ProcessPoolExecutor(count, mp_context=context) as pool:
        return sum(pool.map(partial(work, name, patch, seconds, manager.Barrier(count, timeout=300)), cores))


def work(name: str, patch, seconds: float, start, core: int) -> float:
    """Return patches per second of one worker on its core, after three calls to warm up."""
    os.sched_setaffinity(0, {core})
    image = gaussian_filter(np.random.default_rng(0).normal(size=patch), 2).astype(np.float32)
    labels = (image > 0).astype(np.uint8)
    augment = PEERS[name].build(importlib.import_module(PEERS[name].module), patch)
    for _ in range(3):
        augment(image, labels)
    start.wait()
    done, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        augment(image, labels)
        done += 1
    return done / passed


def batchgeneratorsv2(module, patch):
    """Build `SpatialTransform` with nnU-Net's arguments, but for probabilities and strengths."""
    smooth = {"elastic_deform_scale": lambda image, dim, patch_size: SIGMA / patch_size[dim]}
    deform = {"p_elastic_deform": 1, "elastic_deform_magnitude": 10.4, **smooth}
    scale = {"p_scaling": 1, "scaling": SCALES, "p_synchronize_scaling_across_axes": 1}
    transform = module.SpatialTransform(patch, 0, False, p_rotation=1, rotation=(-ANGLE, ANGLE), **deform, **scale)
    tensor = importlib.import_module("torch").from_numpy
    return lambda image, labels: transform(image=tensor(image[None]), segmentation=tensor(labels[None]))


def monai(module, patch, name: str, **deform):
    """Build the dictionary transform `name`."""
    affine = {"rotate_range": [ANGLE] * 3, "scale_range": [tuple(scale - 1 for scale in SCALES)] * 3}
    transform = getattr(module, name)(("image", "labels"), mode=("bilinear", "nearest"), prob=1, **affine, **deform)
    return lambda image, labels: transform({"image": image[None], "labels": labels[None]})


def torchio(module, patch):
    """Build both transforms; displacements go up to half the spacing, beyond which TorchIO warns of folding."""
    deform = {"max_displacement": SPACING / 2, "locked_borders": 0}
    elastic = module.RandomElasticDeformation(tuple(count + 2 for count in points(patch)), **deform)
    transform = module.Compose([elastic, module.RandomAffine(SCALES, DEGREES, isotropic=True)])
    make, label = module.ScalarImage, module.LabelMap
    return lambda image, labels: transform(
        module.Subject(image=make(tensor=image[None]), labels=label(tensor=labels[None]))
    )


def pytorch_3dunet(module, patch):
    """Build a transform for the image and one for the labels from the same seed, as its data loader does."""
    strength = {"alpha": 726, "sigma": SIGMA, "execution_probability": 1}
    raw, classes = (module.ElasticDeformation(np.random.RandomState(0), order, **strength) for order in (3, 0))
    return lambda image, labels: (raw(image), classes(labels))


def plain_scipy(module, patch, order: int):
    """Build the map from SciPy's parts, image and labels along it."""

    def augment(image, labels):
        matrix, field = draw(patch)
        positions = np.tensordot(matrix[:, :3], np.indices(patch), 1) + matrix[:, 3, None, None, None]
        positions += [module.zoom(along, np.divide(patch, along.shape), order=3, mode="nearest") for along in field]
        moved = module.map_coordinates(image, positions, order=order, mode="mirror")
        return moved, module.map_coordinates(labels, positions, order=0, cval=255)

    return augment


def elasticdeform(module, patch, affine: bool):
    """Build `deform_grid` of image and labels, with rotation and scaling if `affine`."""

    def augment(image, labels):
        matrix, field = draw(patch)
        return module.deform_grid([image, labels], field, order=[3, 0], affine=matrix if affine else None)

    return augment


def draw(patch):
    """Draw rotation and scaling about the centre, `(3, 4)`, and the control points' displacements."""
    turn, centre = Rotation.from_euler("xyz", RNG.uniform(-ANGLE, ANGLE, 3)).as_matrix(), np.subtract(patch, 1) / 2
    linear = turn * RNG.uniform(*SCALES)
    return np.column_stack([linear, centre - linear @ centre]), RNG.normal(scale=DEVIATION, size=(3, *points(patch)))


def points(patch) -> tuple[int, ...]:
    """Return the number of control points along each axis."""
    return tuple(max(round((size - 1) / SPACING), 1) + 1 for size in patch)


ALL = "rotation, scaling, deformation"
ELASTIC = {"name": "Rand3DElasticd", "sigma_range": (SIGMA, SIGMA), "magnitude_range": (2340, 2340)}
PEERS = {
    "batchgeneratorsv2": Peer(
        "batchgeneratorsv2.transforms.spatial.spatial", f"{ALL}; linear, labels by linear vote", batchgeneratorsv2
    ),
    "MONAI": Peer("monai.transforms", f"{ALL}; linear, labels nearest", partial(monai, **ELASTIC)),
    "TorchIO": Peer("torchio", f"{ALL}, resampled twice; linear, labels nearest", torchio),
    "pytorch-3dunet": Peer("pytorch3dunet.augment.transforms", "deformation; cubic, labels nearest", pytorch_3dunet),
    "SciPy, linear": Peer("scipy.ndimage", f"{ALL}; linear, labels nearest", partial(plain_scipy, order=1)),
    "SciPy, cubic": Peer("scipy.ndimage", f"{ALL}; cubic, labels nearest", partial(plain_scipy, order=3)),
    "elasticdeform": Peer("elasticdeform", "deformation; cubic, labels nearest", partial(elasticdeform, affine=False)),
    "elasticdeform, affine": Peer(
        "elasticdeform", f"{ALL}; cubic, labels nearest", partial(elasticdeform, affine=True)
    ),
    "MONAI, affine": Peer(
        "monai.transforms", "rotation, scaling; linear, labels nearest", partial(monai, name="RandAffined")
    ),
}

if __name__ == "__main__":
    main()
