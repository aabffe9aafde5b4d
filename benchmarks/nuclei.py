"""Nuclei on a stack not trained on: python benchmarks/nuclei.py STACK STACK --out FOLDER --minutes 5 [--peers PYTHON] [--stardist PYTHON]

Every side is trained on one stack for so many minutes and tested on the other, both ways: ours is `fit --target cells` with
nothing held out. With `--peers PYTHON` also pytorch-3dunet with PlantSeg's watershed (`peers/nuclei.py`), with `--stardist PYTHON`
StarDist 3D (`peers/star_convex.py`); each needs an environment of its own. What is there already is not done again.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

from keras_unet3d import zoo
from keras_unet3d.evaluation.cells import adapted_rand_error, common, matches
from keras_unet3d.files import write_array
from keras_unet3d.segments.cells import evidence, instances_of
from keras_unet3d.volumes import open_volume

PEERS = Path(__file__).parent / "peers"


def main() -> None:
    """Print a row per side and test stack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stacks", nargs=2, type=Path, metavar="STACK")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--options", default="--validation-share 0", help="of fit, as one word")
    parser.add_argument("--peers", metavar="PYTHON", help="of an environment with PyTorch and pytorch-3dunet")
    parser.add_argument("--stardist", metavar="PYTHON", help="of an environment with StarDist")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print("| side | tested on | found | predicted | AP at IoU 0.5 | AP 0.5 to 0.95 | adapted Rand error |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    programs = {"stardist": (options.stardist, "star_convex.py"), "pytorch-3dunet": (options.peers, "nuclei.py")}
    for train, test in (options.stacks, options.stacks[::-1]):
        sides = {"ours": lambda result, train=train, test=test: ours(train, test, result, options)}
        for name, (python, program) in programs.items():
            if python:
                command = [python, PEERS / program, train, test]
                sides[name] = lambda result, command=command: subprocess.run(
                    [*command, result, str(options.minutes)], check=True, stdout=sys.stderr
                )
        for name, make in sides.items():
            result = options.out / f"{name}_{test.stem}_{options.minutes:g}min.npy"
            if not result.exists():
                make(result)
            print(row(name, test, np.load(result)), flush=True)


def ours(train: Path, test: Path, result: Path, options: argparse.Namespace) -> None:
    """Train as a user does, and write the instances of the test stack."""
    run = result.with_suffix("")
    words = ["--target", "cells", "--minutes", f"{options.minutes:g}", "--overwrite", *options.options.split()]
    command = [sys.executable, "-m", "keras_unet3d.cli", "fit", train, "--out", run, *words]
    subprocess.run(command, check=True, stdout=sys.stderr)
    predictor, image = zoo.predictor(run), open_volume(test)
    said = predictor.uncalibrated.predict(image, "probabilities")
    write_array(result, instances_of(evidence(said), image.spacing, predictor.spec.instances))


def row(side: str, test: Path, cells: np.ndarray) -> str:
    """Return the figures of one side."""
    pairs = common(open_volume(test, "label").array()[..., 0], cells)
    figures, error = matches(pairs).figures, adapted_rand_error(pairs)
    return (
        f"| {side} | {test.stem} | {figures['found']} of {figures['instances']} | {figures['predicted_instances']} | "
        f"{figures['average_precision_50']:.3f} | {figures['average_precision']:.3f} | {error:.3f} |"
    )


if __name__ == "__main__":
    main()
