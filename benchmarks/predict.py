"""Voxels per second and peak memory of tiled prediction: python benchmarks/predict.py [--peers PYTHON] [--size N] [--tile N]

The same network (3 levels, 16 filters) over a volume of noise, probabilities of all voxels into memory; ours, exact and
blended, MONAI's sliding window (Gaussian) and pytorch-3dunet's predictor (HDF5 to HDF5, overlaps overwritten). Every side is
a process of its own, in float32 or in bfloat16; they take turns, and the best of the rounds counts. Memory: the most that the process held, and how much
of it before the first tile (the libraries themselves). With `--workers 1 2` the same by the workers of a local Dask cluster,
from Zarr to Zarr; with `--growth FOLDER` the peak of `predict` over a volume of 1 GB and one of 8 GB there, with a stand-in for
the network, pages of mapped files aside.
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
    """Print the peak of file-to-file predictions of a volume and of one eight times as large."""
    for side in (512, 1024):
        for suffix in (".zarr", ".nii"):
            result = _run(
                [sys.executable, __file__, "--growth", str(options.growth), "--side", f"{side}{suffix}"], options
            )
            print(
                f"{side} x {side} x {2 * side} float32 ({side**3 * 8 / 1e9:.1f} GB) {suffix}: {result['peak']:.2f} GB at most, "
                f"{result['base']:.2f} GB before; {result['seconds']:.0f} s"
            )


def grown(options: argparse.Namespace) -> dict:
    """Return time and peak of one prediction with a stand-in for the network."""
    from keras_unet3d import Architecture, PredictSettings, predict
    from keras_unet3d.prediction.array_api import function_predictor
    from keras_unet3d.volumes import fill_volume, from_array, whole_volume

    side, suffix = options.side.split(".")
    shape, source = (int(side), int(side), 2 * int(side)), options.growth / f"image{options.side}"
    if not source.exists():
        like = from_array(np.broadcast_to(np.float32(0), shape))
        with whole_volume(source) as partial, fill_volume(partial, np.float32, like, "raw") as write:
            plane = np.random.default_rng(0).normal(size=(16, *shape[1:])).astype(np.float32)
            for z in range(0, shape[0], 16):
                write((slice(z, z + 16), slice(0, shape[1]), slice(0, shape[2])), plane)
    stand_in = function_predictor(
        lambda batch: np.concatenate([batch, -batch], -1), Architecture(depth=3).geometry, normalization="none"
    )
    base, begun, own = own_memory(), time.perf_counter(), Watch()
    target = options.growth / f"labels.{suffix}"
    predict(stand_in, [source], target, settings=PredictSettings(tile=(128,) * 3), overwrite=True)
    return {"seconds": time.perf_counter() - begun, "peak": own.most, "base": base, "speed": 0}


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
