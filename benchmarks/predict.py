"""Voxels per second and peak memory of tiled prediction: python benchmarks/predict.py [--peers PYTHON] [--size N] [--tile N]

The same network (3 levels, 16 filters) over a volume of noise, probabilities of all voxels into memory; ours, exact and
blended, MONAI's sliding window (Gaussian) and pytorch-3dunet's predictor (HDF5 to HDF5, overlaps overwritten). Every side is
a process of its own, in float32 or in bfloat16; they take turns, and the best of the rounds counts. Memory: the most that the process held, and how much
of it before the first tile (the libraries themselves). With `--workers 1 2` the same by the workers of a local Dask cluster,
from Zarr to Zarr; with `--growth FOLDER [--sizes 512 1024 2048] [--kinds plain cleaned resampled]` the peak of `predict` over
volumes of these sizes there, with a stand-in for the network, pages of mapped files aside: it writes up to 2 bytes per voxel.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from peers.common import CLASSES, NETWORKS, peak, resident

# Name -> merging, most memory (None: the tile of the others), engine and precision.
OURS = {
    "ours, exact, 4 GB": ("exact", "4G", "keras", "float32"),
    "ours, exact, 4 GB, bfloat16": ("exact", "4G", "keras", "bfloat16"),
    "ours, exact, 4 GB, OpenVINO bfloat16": ("exact", "4G", "openvino", "bfloat16"),
    "ours, exact, 2 GB": ("exact", "2G", "keras", "float32"),
    "ours, exact, 2 GB, bfloat16": ("exact", "2G", "keras", "bfloat16"),
    "ours, blended, the tile of the others": ("blend", None, "keras", "float32"),
    "ours, blended, the tile of the others, bfloat16": ("blend", None, "keras", "bfloat16"),
    "ours, blended, 2 GB": ("blend", "2G", "keras", "float32"),
    "ours, blended, 2 GB, bfloat16": ("blend", "2G", "keras", "bfloat16"),
}

# What is done to large volumes: nothing more, all that cleans, and a prediction at twice the voxel size.
KINDS = ("plain", "cleaned", "resampled")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--tile", type=int, default=64)
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--peers", metavar="PYTHON", help="of an environment with PyTorch, MONAI and pytorch-3dunet")
    parser.add_argument("--workers", type=int, nargs="+", default=(), help="measure a local Dask cluster instead")
    parser.add_argument("--growth", type=Path, metavar="FOLDER", help="measure memory over large volumes instead")
    parser.add_argument("--sizes", type=int, nargs="+", default=(512, 1024, 2048), help="of these")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--format", default=".zarr")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side in OURS:
        print(json.dumps(ours(options)))
    elif options.side:
        print(json.dumps(grown(options)))
    elif options.growth:
        growth(options)
    elif options.workers:
        for workers in options.workers:
            print(f"{workers} Dask workers: {cluster(options, workers):.1f} s")
    else:
        table(options)


def table(options: argparse.Namespace) -> None:
    """Run all sides in turns and print them."""
    sides = {side: [sys.executable, __file__] for side in OURS}
    if options.peers:
        program = str(Path(__file__).parent / "peers" / "predict.py")
        names = json.loads(subprocess.run([options.peers, program], capture_output=True, check=True, text=True).stdout)
        sides |= {name: [options.peers, program] for name in names}
    rounds: dict[str, list[dict]] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side, command in sides.items():
            rounds[side].append(_run([*command, "--side", side], options))
    print(f"{options.network}, {options.size}^3 voxels, tile {options.tile}^3, overlap {options.overlap}\n")
    print("| | s | kvoxel/s | peak, GB | before the first tile, GB | |\n| --- | --- | --- | --- | --- | --- |")
    for side, results in rounds.items():
        if None in results:
            continue  # not installed
        one = min(results, key=lambda result: result["seconds"])
        print(
            f"| {side} | {one['seconds']:.2f} | {one['speed'] / 1e3:.0f} | {one['peak']:.2f} | {one['base']:.2f} | "
            f"{one.get('tiles', '')} |"
        )


def _run(command: list[str], options: argparse.Namespace) -> dict:
    given = ["--network", options.network, "--size", options.size, "--tile", options.tile, "--overlap", options.overlap]
    printed = subprocess.run([*command, *map(str, given)], capture_output=True, check=True, text=True).stdout
    return json.loads(printed.splitlines()[-1])


def ours(options: argparse.Namespace) -> dict:
    """Return the figures of one of our sides."""
    from keras_unet3d.machine import kernels

    kernels.prefer_fast_cpu_kernels()
    from keras_unet3d import PredictSettings
    from keras_unet3d.volumes import from_array

    merge, ram, engine, precision = OURS[options.side]
    predictor, volume = _predictor(options, engine, precision), from_array(_noise((options.size,) * 3))
    fixed = None if ram else (options.tile,) * 3
    overlap = {"overlap": options.overlap} if merge == "blend" else {}
    settings = PredictSettings(tile=fixed, merge=merge, max_ram=ram, **overlap)
    base, times = resident(), []
    tiles = predictor.tiling(volume.shape, settings).in_words()
    for _ in range(options.rounds):
        begun = time.perf_counter()
        predictor.predict(volume, "probabilities", settings)
        times.append(time.perf_counter() - begun)
    voxels = options.size**3
    return {"seconds": min(times), "speed": voxels / min(times), "peak": peak(), "base": base, "tiles": tiles}


def _predictor(options: argparse.Namespace, engine: str = "keras", precision: str = "float32"):
    from keras_unet3d import build_model
    from keras_unet3d.model_spec import untrained_spec
    from keras_unet3d.network.unet import architecture_of
    from keras_unet3d.zoo.engines import predictor_in

    base, depth = NETWORKS[options.network]
    model = build_model(num_classes=CLASSES, base_filters=base, depth=depth, seed=0)
    return predictor_in(engine, precision, "", model, untrained_spec(architecture_of(model)))


def _noise(shape: tuple) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def cluster_predictor(network: str):
    """Return the predictor of a worker; two of them share the cores."""
    return _predictor(argparse.Namespace(network=network))


def cluster(options: argparse.Namespace, workers: int) -> float:
    """Return the seconds of a prediction from Zarr to Zarr by so many workers of one thread each."""
    import os

    os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "TF_ENABLE_ONEDNN_OPTS": "1"}
    from distributed import LocalCluster

    from keras_unet3d import PredictSettings, Recipe, predict
    from keras_unet3d.volumes import from_array, write_volume

    with tempfile.TemporaryDirectory() as folder:
        image = _noise((options.size,) * 3)
        write_volume(Path(folder, "image.zarr"), image, from_array(image), "raw")
        with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as local:

            def call(out: str) -> float:
                begun = time.perf_counter()
                predict(
                    cluster_predictor(options.network),
                    [Path(folder, "image.zarr")],
                    Path(folder, out),
                    settings=PredictSettings(tile=(options.tile,) * 3, merge="exact"),
                    scheduler=local.scheduler_address,
                    recipe=Recipe(cluster_predictor, (options.network,)),
                )
                return time.perf_counter() - begun

            call("warm.zarr")
            return call("out.zarr")


def growth(options: argparse.Namespace) -> None:
    """Print the peak of file-to-file predictions of volumes of several sizes."""
    print("| voxels | format | | before, GB | at most, GB | s |\n| --- | --- | --- | --- | --- | --- |")
    for size in options.sizes:
        image = options.growth / f"image{size}{options.format}"
        if not image.exists():
            # In a process of its own, because what it took is not all given back.
            _run([*_grown(options), "--side", f"{image.name} write"], options)
        for kind in options.kinds:
            result = _run([*_grown(options), "--side", f"{image.name} {kind}"], options)
            figures = f"{result['base']:.2f} | {result['peak']:.2f} | {result['seconds']:.0f}"
            print(f"| {size}^3 | {options.format} | {kind} | {figures} |", flush=True)


def _grown(options: argparse.Namespace) -> list[str]:
    return [sys.executable, __file__, "--growth", str(options.growth)]


def grown(options: argparse.Namespace) -> dict:
    """Return time and peak of one prediction with a stand-in for the network, or write the volume."""
    from dataclasses import replace

    from keras_unet3d import CleanSettings, PredictSettings, predict
    from keras_unet3d.geometry import Geometry
    from keras_unet3d.prediction.array_api import function_predictor

    name, kind = options.side.split()
    source = options.growth / name
    if kind == "write":
        write_image(source, int(name.removeprefix("image").split(".")[0]))
        return {}
    # It looks at nothing beside a voxel, so that tiles have no context.
    geometry = Geometry(((1, 1, 1),), (), "same")
    stand_in = function_predictor(lambda batch: np.concatenate([-batch, batch], -1), geometry)
    # At twice the voxel size of the volume.
    stand_in = replace(stand_in, spec=replace(stand_in.spec, spacing=(2.0, 2.0, 2.0), unit="um"))
    cleaning = (
        CleanSettings(keep_largest=True, remove_small=100, fill_holes=True) if kind == "cleaned" else CleanSettings()
    )
    base, begun, own = own_memory(), time.perf_counter(), Watch()
    predict(
        stand_in,
        [source],
        options.growth / f"labels{source.suffix}",
        settings=PredictSettings(tile=(128,) * 3),
        cleaning=cleaning,
        resample=kind == "resampled",
        overwrite=True,
    )
    return {"seconds": time.perf_counter() - begun, "peak": own.most, "base": base, "speed": 0}


def write_image(path: Path, size: int) -> None:
    """Write a volume of smooth bodies with holes and islands in and beside them, 8 bits."""
    from scipy import ndimage

    from keras_unet3d.volumes import fill_volume, from_array, whole_volume

    noise = np.random.default_rng(0).normal(size=(128,) * 3)
    smooth = sum(
        part / part.std() for part in (ndimage.gaussian_filter(noise, sigma, mode="wrap") for sigma in (2, 12))
    )
    brick = np.clip(smooth * 40 + 128, 0, 255).astype(np.uint8)
    like = from_array(np.broadcast_to(np.uint8(0), (size,) * 3), spacing=(1.0, 1.0, 1.0), unit="um")
    with whole_volume(path) as partial, fill_volume(partial, np.uint8, like, "raw") as write:
        # Slabs that are no two the same, so that bodies end.
        for z in range(0, size, 64):
            slab = np.roll(np.tile(brick[z % 128 : z % 128 + 64], (1, -(-size // 128), -(-size // 128))), 7 * z, axis=2)
            write((slice(z, min(z + 64, size)), slice(0, size), slice(0, size)), slab[: size - z, :size, :size])


def own_memory() -> float:
    """Return the memory that is this process's alone, GB: pages of mapped files, which the system takes back, do not count."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 2**20


class Watch(threading.Thread):
    """Keeps the most memory that the process held."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most = 0.0
        self.start()

    def run(self):
        """Look every few milliseconds."""
        while True:
            self.most = max(self.most, own_memory())
            time.sleep(0.01)


if __name__ == "__main__":
    main()
