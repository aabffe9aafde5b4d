"""How exact the surfaces of `measure` are, how fast it is, and how much memory it takes.

    python benchmarks/measure.py surfaces
    python benchmarks/measure.py speed --size 256 --objects 1000 --out results/measure

"surfaces" compares balls, ellipsoids and boxes, each at six places between the voxels, with their true areas, and a mesh of
the voxels (scikit-image) beside it. "speed" writes balls in a Zarr volume and measures them with an image, in seconds and in
peak memory.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from keras_unet3d import measure

SPACINGS = ((1, 1, 1), (2, 1, 1), (4, 1, 1), (2.24, 1, 1))
RADII = ((2, 2, 2), (3, 3, 3), (5, 5, 5), (10, 10, 10), (20, 20, 20), (24, 12, 12), (12, 24, 18))
PLACES = 6


def surfaces() -> None:
    from skimage.measure import marching_cubes, mesh_surface_area

    rng = np.random.default_rng(0)
    print(
        "| voxel | body | voxels | surface | mesh of the voxels | sphericity |\n| --- | --- | --- | --- | --- | --- |"
    )
    for spacing in SPACINGS:
        for radii in (*RADII, None):
            ours, mesh, spheres = [], [], []
            for _ in range(PLACES):
                labels, area = box(spacing) if radii is None else ellipsoid(radii, spacing, rng.random(3) - 0.5)
                table = measure(labels, spacing=spacing)
                vertices, faces, *_ = marching_cubes(np.pad(labels, 1).astype(float), 0.5, spacing=spacing)
                ours.append(table["surface_um2"][0] / area - 1)
                mesh.append(mesh_surface_area(vertices, faces) / area - 1)
                spheres.append(table["sphericity"][0])
            print(
                f"| {spacing} | {'box 20 x 40 x 25' if radii is None else f'radii {radii}'} | {int(labels.sum()):,} | "
                f"{np.mean(ours):+.1%} ± {np.std(ours):.1%} | {np.mean(mesh):+.1%} | {np.mean(spheres):.3f} |"
            )


def ellipsoid(radii, spacing, centre) -> tuple[np.ndarray, float]:
    along = []
    for radius, size, moved in zip(radii, spacing, centre, strict=True):
        count = int(np.ceil(radius / size)) + 2
        along.append((np.arange(-count, count + 1) + moved) * size / radius)
    z, y, x = np.meshgrid(*along, indexing="ij")
    a, b, c = radii
    polar, turn = np.meshgrid(
        (np.arange(500) + 0.5) * np.pi / 500, (np.arange(1000) + 0.5) * np.pi / 500, indexing="ij"
    )
    sides = (b * c * np.sin(polar) * np.cos(turn), a * c * np.sin(polar) * np.sin(turn), a * b * np.cos(polar))
    area = (np.sqrt(sum(side**2 for side in sides)) * np.sin(polar)).sum() * (np.pi / 500) ** 2
    return (z**2 + y**2 + x**2 <= 1).astype(np.uint8), area


def box(spacing) -> tuple[np.ndarray, float]:
    counts = [round(edge / size) for edge, size in zip((20, 40, 25), spacing, strict=True)]
    z, y, x = (count * size for count, size in zip(counts, spacing, strict=True))
    return np.pad(np.ones(counts, np.uint8), 1), 2 * (z * y + z * x + y * x)


def speed(size: int, objects: int, out: Path) -> None:
    import zarr

    out.mkdir(parents=True, exist_ok=True)
    arrays = {
        name: zarr.create_array(
            out / f"{name}.zarr", shape=(size,) * 3, chunks=(32, 64, 64), dtype=kind, overwrite=True
        )
        for name, kind in (("label", "uint32"), ("raw", "uint16"))
    }
    side = round(objects ** (1 / 3))
    pitch = size / side
    rng = np.random.default_rng(0)
    y, x = np.indices((size, size))
    # A slab of chunks at a time, so that the peak of memory is that of the measuring.
    for first in range(0, size, 32):
        z = np.arange(first, min(first + 32, size))[:, None, None]
        cells = [np.minimum(at / pitch, side - 1).astype(int) for at in (z, y, x)]
        apart = sum((at - (cell + 0.5) * pitch) ** 2 for at, cell in zip((z, y, x), cells, strict=True))
        numbers = (cells[0] * side + cells[1]) * side + cells[2] + 1
        arrays["label"][first : first + 32] = np.where(apart < (0.4 * pitch) ** 2, numbers * 7919, 0).astype(np.uint32)
        arrays["raw"][first : first + 32] = rng.integers(0, 2**16, numbers.shape, np.uint16)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    table = measure(out / "label.zarr", out / "raw.zarr", out / "table.csv", spacing=(2, 1, 1), overwrite=True)
    seconds = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{len(table['label']):,} objects in {size}^3 voxels: {seconds:.1f} s; peak {after / 2**20:.2f} GB, {before / 2**20:.2f} GB before"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("surfaces", "speed"))
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("results/measure"))
    given = parser.parse_args()
    surfaces() if given.what == "surfaces" else speed(given.size, given.objects, given.out)
