"""Is "annotate next" worth it? Rounds of suggested, random and evenly spaced slices, simulated on a dense volume.

    python benchmarks/suggest.py sample --rounds 4 --out results/suggest

All annotators begin with one slice per direction, at a random place. In every round each trains on what it has, adds slices
and trains anew, for as many steps and with the same seed: the suggested ones, random ones, or evenly spaced ones across the
three axes. IoU is of the voxels that none of them has annotated in the end.
"""

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from semi_automated import TARGETS, Dense, Variant, keep, learn, load, score

from keras_unet3d.labels import UNLABELLED
from keras_unet3d.prediction.entropy import entropy
from keras_unet3d.workflows.annotate.ranking import slices_to_annotate

Slices = list[tuple[int, int]]


def main() -> None:
    """Print the table, and write it with every slice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="DATA as in unet3d-cli fit, densely labelled")
    parser.add_argument("--volume", help="part of the name of the volume to take, where DATA has several")
    parser.add_argument("--target", choices=TARGETS, default=TARGETS[0])
    parser.add_argument("--steps", type=int, default=150, help="of every training")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--count", type=int, default=3, help="slices that a round adds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the first slices and the trainings")
    parser.add_argument("--only", nargs="+", choices=ANNOTATORS, default=[*ANNOTATORS], help="leave the others out")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    dense = load(options.data, options.target, options.volume)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [row for seed in options.seeds for row in of_seed(dense, seed, options)]
    (options.out / "suggest.json").write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    (options.out / "suggest.md").write_text(table(rows), "utf-8")
    print(table(rows))


def of_seed(dense: Dense, seed: int, options: argparse.Namespace) -> list[dict]:
    """Return a row per annotator: its slices, and the IoU after every round."""
    rng, shape = np.random.default_rng(seed), dense.classes.shape
    begun = [(axis, int(rng.integers(size // 5, size - size // 5))) for axis, size in enumerate(shape)]

    def learnt(slices: Slices) -> np.ndarray:
        predictor = learn(dense, keep(dense.classes, slices), Variant(seed=seed, steps=options.steps))
        return predictor.predict(dense.image, "probabilities")

    first = learnt(begun)
    slices = {name: list(begun) for name in options.only}
    predicted = {name: [first.argmax(axis=-1)] for name in options.only}
    for name in options.only:
        probabilities = first
        for _ in range(options.rounds):
            slices[name] += ANNOTATORS[name](dense, probabilities, slices[name], options.count, rng)
            probabilities = learnt(slices[name])
            predicted[name].append(probabilities.argmax(axis=-1))
        print(name, slices[name], flush=True)
    tested = keep(dense.classes, list(itertools.chain(*slices.values()))) == UNLABELLED
    return [
        {
            "seed": seed,
            "annotator": name,
            "slices": slices[name],
            "voxels": int((keep(dense.classes, slices[name]) != UNLABELLED).sum()),
            "iou": [score(dense, volume, tested)["mean"] or 0.0 for volume in predicted[name]],
        }
        for name in options.only
    ]


def suggested(dense: Dense, probabilities: np.ndarray, slices: Slices, count: int, rng: np.random.Generator) -> Slices:
    """Return what `suggest` would."""
    labelled = keep(dense.classes, slices) != UNLABELLED
    unsure, spacing = entropy(probabilities), dense.image.spacing
    suggestions = slices_to_annotate(unsure, probabilities, labelled, count, spacing=spacing)
    return [(suggestion.axis, suggestion.plane) for suggestion in suggestions]


def random(dense: Dense, probabilities: np.ndarray, slices: Slices, count: int, rng: np.random.Generator) -> Slices:
    """Return slices at any place that has none."""
    free = [(axis, plane) for axis, size in enumerate(dense.classes.shape) for plane in range(size)]
    free = [one for one in free if one not in slices]
    return [free[number] for number in rng.permutation(len(free))[:count]]


def evenly_spaced(
    dense: Dense, probabilities: np.ndarray, slices: Slices, count: int, rng: np.random.Generator
) -> Slices:
    """Return slices in turn across z, y and x, each in the middle of the widest gap."""
    chosen = list(slices)
    for number in range(count):
        axis = number % 3
        planes = [-1, *sorted(plane for other, plane in chosen if other == axis), dense.classes.shape[axis]]
        low, high = max(itertools.pairwise(planes), key=lambda gap: gap[1] - gap[0])
        chosen.append((axis, (low + high) // 2))
    return chosen[len(slices) :]


# Annotator -> the slices that it adds.
ANNOTATORS: dict[str, Callable[..., Slices]] = {"suggested": suggested, "random": random, "even": evenly_spaced}


def table(rows: list[dict]) -> str:
    """Return the mean IoU after every round as Markdown, seeds averaged."""
    rounds = range(len(rows[0]["iou"]))
    lines = [f"| annotator | begun | {' | '.join(f'round {number}' for number in rounds[1:])} | voxels annotated |"]
    lines.append("| --- " * (len(rounds) + 2) + "|")
    for name in dict.fromkeys(row["annotator"] for row in rows):
        same = [row for row in rows if row["annotator"] == name]
        figures = " | ".join(f"{figure:.3f}" for figure in np.mean([row["iou"] for row in same], axis=0))
        lines.append(f"| {name} | {figures} | {np.mean([row['voxels'] for row in same]):.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
