"""Neurites of a made block of electron microscopy: python benchmarks/neurites.py --out FOLDER [--minutes 5]

Processes that bend, branch nowhere and fill a block of 160x200x200 voxels of 10 nm, with membranes that are weak in places, dark
bodies inside, blur and noise. A network is trained on one half by `fit --target boundaries` as a user runs it, and its boundary
probabilities of the other half are cut twice: as `predict --instances` does, and by one watershed from the peaks of the
distance from boundaries, as PlantSeg begins.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.segmentation import watershed

from keras_unet3d import zoo
from keras_unet3d.evaluation.cells import adapted_rand_error, common, matches, variation_of_information
from keras_unet3d.labels import boundaries
from keras_unet3d.segments.cells import evidence, instances_of
from keras_unet3d.volumes import open_volume

SHAPE, NEURITES, EDGE = (160, 200, 200), 220, 0.01


def main() -> None:
    """Print a row per way of cutting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    image, label = block(options.seed)
    for name, half in (("train", slice(0, 100)), ("test", slice(100, 200))):
        with h5py.File(options.out / f"{name}.h5", "w") as file:
            for key, array in (("raw", image), ("label", label)):
                file.create_dataset(key, data=array[..., half]).attrs["element_size_um"] = (EDGE,) * 3
    run, words = options.out / "run", ["--target", "boundaries", "--minutes", f"{options.minutes:g}", "--overwrite"]
    command = [sys.executable, "-m", "keras_unet3d.cli", "fit", options.out / "train.h5", "--out", run, *words]
    subprocess.run(command, check=True, stdout=sys.stderr)
    predictor, test = zoo.predictor(run), open_volume(options.out / "test.h5")
    said = predictor.uncalibrated.predict(test, "probabilities")
    truth = label[..., 100:]
    touching, predicted = boundaries(truth) == 1, said[..., 1] > 0.5
    print(f"boundary IoU {(touching & predicted).sum() / (touching | predicted).sum():.3f}")
    print(
        "| cut by | instances | adapted Rand error | splits | merges | AP at IoU 0.5 |\n| --- | --- | --- | --- | --- | --- |"
    )
    ours = instances_of(evidence(said), test.spacing, predictor.spec.instances)
    for name, cells in (("joined pieces", ours), ("one watershed", one_watershed(said[..., 1]))):
        pairs = common(truth, cells)
        splits, merges = variation_of_information(pairs) or (0.0, 0.0)
        print(
            f"| {name} | {len(np.unique(cells))} of {len(np.unique(truth))} | {adapted_rand_error(pairs):.3f} | {splits:.2f} | "
            f"{merges:.2f} | {matches(pairs).figures['average_precision_50']:.3f} |"
        )


def block(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return image and labels of a block, `(z, y, x)`, uint8 and uint16."""
    rng = np.random.default_rng(seed)
    lines = [_line(rng) for _ in range(NEURITES)]
    owner = np.repeat(np.arange(NEURITES) + 1, [len(line) for line in lines])
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    warp = np.stack([_noise(rng, 5) for _ in range(3)], axis=-1)
    _, nearest = cKDTree(np.concatenate(lines)).query((grid + 4 * warp).reshape(-1, 3))
    label = _connected(owner[nearest].reshape(SHAPE))
    depth = ndimage.distance_transform_edt(boundaries(label) == 0)
    stain = rng.normal(165, 12, label.max() + 1)[label] + 8 * _noise(rng, 1.5)
    # Here and there a membrane is hardly to be seen.
    weak = 40 * np.clip(_noise(rng, 6) - 1, 0, 2)
    stain = np.where(depth < 0.8, 70 + weak, stain)
    for _ in range(150):
        centre, radius = rng.uniform(0, 1, 3) * SHAPE, rng.uniform(3, 7, 3)
        box = tuple(slice(max(int(c - 10), 0), int(c + 10)) for c in centre)
        out = (((grid[box] - centre) / radius) ** 2).sum(axis=-1)
        stain[box] = np.where((out < 1) & (depth[box] > 2), np.where(out > 0.6, 85, 120), stain[box])
    image = ndimage.gaussian_filter(stain, 0.9) + rng.normal(0, 12, SHAPE)
    return np.clip(image, 0, 255).astype(np.uint8), label


def _noise(rng: np.random.Generator, width: float) -> np.ndarray:
    noise = ndimage.gaussian_filter(rng.normal(size=SHAPE), width)
    return noise / noise.std()


def _line(rng: np.random.Generator) -> np.ndarray:
    """Return points of a bent line."""
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    t = np.linspace(-1, 1, 160)[:, None]
    bends = sum(
        rng.normal(size=3) * width * np.sin(3.1 * often * t + rng.uniform(0, 2 * np.pi))
        for width, often in ((12, 1.3), (6, 3.1), (3, 7))
    )
    return rng.uniform(-0.05, 1.05, 3) * SHAPE + t * direction * rng.uniform(15, 130) + bends


def _connected(owner: np.ndarray) -> np.ndarray:
    """Return a number for every connected piece of 200 voxels or more; what is smaller goes to the nearest of those."""
    label, count = np.zeros(SHAPE, np.uint16), 0
    for number, box in enumerate(ndimage.find_objects(owner), 1):
        if box is None:
            continue
        pieces, _ = ndimage.label(owner[box] == number)
        for piece in np.flatnonzero(np.bincount(pieces.ravel()) >= 200):
            if piece:
                count += 1
                label[box][pieces == piece] = count
    nearest = ndimage.distance_transform_edt(label == 0, return_distances=False, return_indices=True)
    return label[tuple(nearest)]


def one_watershed(boundary: np.ndarray, smoothing: float = 2.0, least: int = 100) -> np.ndarray:
    """Return instances flooded from the peaks of the smoothed distance; small ones are given to their neighbours."""
    distance = ndimage.distance_transform_edt(boundary < 0.5)
    smooth = ndimage.gaussian_filter(distance, smoothing)
    peaks = (smooth == ndimage.maximum_filter(smooth, 9)) & (distance > 0)
    seeds, _ = ndimage.label(peaks, np.ones((3, 3, 3)))
    cells = watershed(boundary - 0.01 * smooth / smooth.max(), seeds)
    cells[np.bincount(cells.ravel())[cells] < least] = 0
    return watershed(boundary, cells)


if __name__ == "__main__":
    main()
