"""What it costs to train on a volume that is read by crops: python benchmarks/reading.py --folder FOLDER [--size 1024]

Makes (once) a volume of SIZE^3 voxels, uint16, with five annotated slices, as HDF5 and as Zarr, and a tiny one that is
held in memory. Fits the same network on each in a process of its own and prints its peak memory, what of that is due to
the volume, the seconds of preparation (survey, statistics, index, split), of the start (validation patches, compilation
and the first step), and per step.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHUNK, COARSE, TINY, UNLABELLED = 64, 33, 96, 255
VOLUMES = {"tiny, in memory": "tiny.h5", "HDF5": "large.h5", "Zarr": "large.zarr"}
GB = 2**30


def main() -> None:
    """Print one line per volume."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the volumes are, or are made")
    parser.add_argument("--size", type=int, default=1024, help="voxels along an axis, a multiple of 64")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--fit", metavar="NAME", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        return make(given.folder, given.size)
    if given.fit:
        return print(json.dumps(fit(given.folder / given.fit, given.steps)))
    if not (given.folder / "made.json").is_file():
        # In a process of its own, because the peak memory of a process begins with that of the one that starts it.
        _again(given, "--make")
    print(Path(given.folder / "made.json").read_text().strip())
    print(f"{'volume':<16} {'peak':>8} {'more':>8} {'preparation':>12} {'start':>8} {'per step':>9}")
    own = None
    for name, file in VOLUMES.items():
        figures = json.loads(_again(given, "--fit", file).splitlines()[-1])
        own = own or figures["peak"]
        print(
            f"{name:<16} {figures['peak'] / GB:>5.2f} GB {(figures['peak'] - own) / GB:>5.2f} GB "
            f"{figures['preparation']:>10.1f} s {figures['start']:>6.1f} s {figures['per_step']:>7.2f} s",
            flush=True,
        )


def _again(given, *words: str) -> str:
    command = [sys.executable, __file__, "--folder", given.folder, "--size", given.size, "--steps", given.steps, *words]
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def fit(path: Path, steps: int) -> dict:
    """Fit a small network and return the peak memory in bytes and the seconds."""
    import keras_unet3d
    from keras_unet3d.machine import kernels

    settings = keras_unet3d.FitSettings(
        patch=(64, 64, 64),
        batch_size=1,
        epochs=1,
        steps_per_epoch=steps,
        base_filters=8,
        depth=3,
        unlabelled=(UNLABELLED,),
    )
    kernels.load_backend_quietly()
    start, ticks, said = time.perf_counter(), {}, {}

    def say(line: str) -> None:
        print(line, file=sys.stderr)
        said.setdefault(line.split(":")[0], time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        keras_unet3d.fit(
            path,
            Path(folder) / "run",
            settings=settings,
            listener=keras_unet3d.Listener(say, lambda done, of: ticks.setdefault(done, time.perf_counter())),
        )
    first, last = min(ticks), max(ticks)
    return {
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "preparation": said["network"] - start,
        "start": ticks[first] - said["network"],
        "per_step": (ticks[last] - ticks[first]) / (last - first),
    }


# ---- making the volumes --------------------------------------------------------------------------


def make(folder: Path, size: int) -> None:
    """Write the volumes, a row of chunks at a time."""
    import h5py
    import numpy as np
    import zarr

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    coarse = rng.random((COARSE,) * 3, np.float32)
    weights = _interpolation(np, size)
    planes = sorted({size // 5, size // 2, 4 * size // 5})
    with h5py.File(folder / "large.h5", "w") as file, h5py.File(folder / "tiny.h5", "w") as tiny:
        group = zarr.create_group(folder / "large.zarr", overwrite=True)
        kinds = {"raw": "uint16", "label": "uint8"}
        in_hdf5 = {
            key: file.create_dataset(key, (size,) * 3, dtype, chunks=(CHUNK,) * 3, compression="lzf")
            for key, dtype in kinds.items()
        }
        in_zarr = {
            key: group.create_array(key, shape=(size,) * 3, dtype=dtype, chunks=(CHUNK,) * 3)
            for key, dtype in kinds.items()
        }
        for z in range(0, size, CHUNK):
            field = np.einsum("az,zyx->ayx", weights[z : z + CHUNK], coarse)
            field = np.matmul(np.matmul(weights, field), weights.T)
            raw = (field * 20000 + rng.integers(0, 500, field.shape, np.uint16)).astype(np.uint16)
            classes = (field > 0.5).astype(np.uint8)
            label = np.full_like(classes, UNLABELLED)
            across_z = [plane - z for plane in planes if z <= plane < z + CHUNK]
            for index in (np.s_[across_z], np.s_[:, size // 2], np.s_[:, :, size // 3]):
                label[index] = classes[index]
            for key, array in {"raw": raw, "label": label}.items():
                in_hdf5[key][z : z + CHUNK] = in_zarr[key][z : z + CHUNK] = array
            if z == 0:
                shown = label[:, :TINY, :TINY].copy()
                shown[[CHUNK // 4, CHUNK // 2]] = classes[[CHUNK // 4, CHUNK // 2], :TINY, :TINY]
                tiny["raw"], tiny["label"] = raw[:, :TINY, :TINY], shown
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sizes = {name: _bytes(folder / name) / GB for name in ("large.h5", "large.zarr")}
    on_disk = ", ".join(f"{name} {size:.2f} GB" for name, size in sizes.items())
    said = f"{size}^3 voxels, {3 * size**3 / GB:.1f} GB of image and labels; on disk {on_disk}; made with {peak:.2f} GB"
    (folder / "made.json").write_text(json.dumps(said) + "\n")


def _interpolation(np, size: int):
    """Return the matrix `(size, COARSE)` that interpolates linearly."""
    position = np.linspace(0, COARSE - 1, size, dtype=np.float32)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(COARSE, dtype=np.float32)))


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


if __name__ == "__main__":
    main()
