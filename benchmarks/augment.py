"""Patches per second of the augmentation engines: python benchmarks/augment.py [--peers PYTHON] [--patch Z Y X] [--cores N ...]

Image and labels of one patch: rotation, scaling and B-spline deformation as `fit` draws them. Ours take their voxels from
a region around the patch, so that no invented border enters, and change the grey values too, but for "map alone"; the
peers get the bare patch and leave grey values as they are.
Every figure is of a process of its own that may use so many cores: ours with as many threads, as in `tf.data`; the peers
(`peers/augment.py`, run by the PYTHON of an environment of their own, see README.md) with as many worker processes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SIDES = (
    "native engine",
    "native engine, map alone",
    "elasticdeform engine",
    "elasticdeform engine, map alone",
)
DRAWS = 8


def main() -> None:
    """Print a row per side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patch", type=int, nargs=3, default=(64, 64, 64), metavar=("Z", "Y", "X"))
    parser.add_argument("--cores", type=int, nargs="+", default=sorted({1, os.cpu_count()}))
    parser.add_argument("--seconds", type=float, default=8.0, help="per figure")
    parser.add_argument("--peers", metavar="PYTHON", help="of the environment in which the peers are installed")
    parser.add_argument("--side", choices=SIDES, help="measure one, in this process, and print its rate")
    options = parser.parse_args()
    if options.side:
        print(rate(options.side, tuple(options.patch), options.cores[0], options.seconds))
        return
    print("| | " + " | ".join(f"{count} core(s), patches/s" for count in options.cores) + " | |")
    print("| --- " * (2 + len(options.cores)) + "|")
    for side in SIDES:
        rates = [in_a_process_of_its_own(side, cores, options) for cores in options.cores]
        print(f"| {side} | " + " | ".join(f"{figure:.1f}" for figure in rates) + " | |", flush=True)
    for name, peer in peers(options).items():
        if peer:
            rates = [peer[str(count)] for count in options.cores]
            print(
                f"| {name} {peer['version']} | "
                + " | ".join(f"{figure:.1f}" for figure in rates)
                + f" | {peer['what']} |"
            )


def in_a_process_of_its_own(side: str, cores: int, options) -> float:
    """Return the rate of a side that has never had more than `cores` cores: thread pools are as large as that."""
    wanted = ["--side", side, "--cores", cores, "--seconds", options.seconds, "--patch", *options.patch]
    program = [sys.executable, __file__, *map(str, wanted)]
    pinned = lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])  # noqa: E731
    done = subprocess.run(program, preexec_fn=pinned, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(done.stdout.splitlines()[-1])


def peers(options) -> dict:
    """Return what the peers' program measured; nothing where their environment is not given."""
    if not options.peers:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "peers.json"
        wanted = ["--threads", *options.cores, "--seconds", options.seconds, "--patch", *options.patch, "--json", file]
        program = [options.peers, Path(__file__).parent / "peers" / "augment.py", *wanted]
        subprocess.run(list(map(str, program)), check=True, stdout=subprocess.DEVNULL)
        return json.loads(file.read_text())


def rate(side: str, patch: tuple, threads: int, seconds: float) -> float:
    """Return patches per second on so many threads, after every shape has been seen once."""
    import numpy as np
    from scipy.ndimage import gaussian_filter

    from keras_unet3d.augment import ENGINES, elastic, native
    from keras_unet3d.augment.draw import AugmentSettings, draw, generator
    from keras_unet3d.machine.compiled import compiled_for_host

    moved = compiled_for_host(native.moved)
    augment = {
        "native engine": ENGINES["native"],
        "elasticdeform engine": ENGINES["elasticdeform"],
        "elasticdeform engine, map alone": elastic.moved,
        "native engine, map alone": lambda *job: moved({name: x[None] for name, x in native.packed(*job).items()}),
    }[side]
    jobs = []
    for index in range(DRAWS):
        drawn = draw(generator(0, index), AugmentSettings(), patch)
        region = tuple(size + 2 * margin for size, margin in zip(patch, drawn.margin, strict=True))
        image = gaussian_filter(np.random.default_rng(index).normal(size=region), 2).astype(np.float32)
        jobs.append((drawn, image[..., None], (image > 0).astype(np.uint8), None))
    for job in jobs:
        augment(*job)
    done, start = 0, time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        while time.perf_counter() - start < seconds:
            list(pool.map(lambda job: augment(*job), jobs * threads))
            done += len(jobs) * threads
    return done / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
