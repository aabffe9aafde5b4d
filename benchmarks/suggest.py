"""Is "annotate next" worth it? Five suggested slices against five random ones, simulated on a dense volume.

    python benchmarks/suggest.py sample --rounds 4 --out results/suggest

Each round begins with one annotated slice per direction, at a random place, trains, and asks for five more. Three
annotators add five slices: the suggested ones, random ones, and evenly spaced ones across the three axes; each then
trains anew, for as many steps and with the same seed. IoU is of the voxels that none of them has annotated.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
from semi_automated import TARGETS, Variant, keep, learn, load, score

from keras_unet3d.labels import UNLABELLED
from keras_unet3d.prediction.entropy import entropy
from keras_unet3d.workflows.annotate.ranking import REACH, suggest_slices


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="DATA as in unet3d-cli fit, densely labelled")
    parser.add_argument("--volume", help="part of the name of the volume to take, where DATA has several")
    parser.add_argument("--target", choices=TARGETS, default=TARGETS[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--first", type=int, default=0, help="seed of the first round")
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--reach", type=float, default=REACH)
    parser.add_argument("--only", nargs="+", choices=("suggested", "random", "even"), help="leave the others out")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    dense = load(arguments.data, arguments.target, arguments.volume)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(arguments.first, arguments.first + arguments.rounds):
        rows += one_round(dense, seed, arguments)
        (arguments.out / "suggest.json").write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    print(table(rows))
    (arguments.out / "suggest.md").write_text(table(rows), "utf-8")


def one_round(dense, seed: int, arguments) -> list[dict]:
    """Return a row per annotator, and one for the network that all begin with."""
    rng = np.random.default_rng(seed)
    shape, variant = dense.classes.shape, Variant(seed=seed, steps=arguments.steps)
    begun = [(axis, int(rng.integers(size // 5, size - size // 5))) for axis, size in enumerate(shape)]
    classes = keep(dense.classes, begun)
    first = learn(dense, classes, variant).predict(dense.image, "probabilities")
    suggestions = suggest_slices(
        entropy(first), classes != UNLABELLED, arguments.count, (0, 1, 2), dense.image.spacing, arguments.reach
    )
    free = [(axis, plane) for axis, size in enumerate(shape) for plane in range(size) if (axis, plane) not in begun]
    drawn = rng.permutation(len(free))[: arguments.count]
    added = {
        "begun": [],
        "suggested": [(suggestion.axis, suggestion.plane) for suggestion in suggestions],
        "random": [free[number] for number in drawn],
        "even": evenly_spaced(shape, arguments.count, begun),
    }
    tested = np.ones(shape, bool)
    for axis, plane in itertools.chain(begun, *added.values()):
        tested[(slice(None),) * axis + (plane,)] = False
    rows = []
    for name, slices in added.items():
        if arguments.only and name not in ("begun", *arguments.only):
            continue
        given = keep(dense.classes, [*begun, *slices])
        probabilities = learn(dense, given, variant).predict(dense.image, "probabilities") if slices else first
        rows.append(
            {"seed": seed, "annotator": name, "slices": slices, "voxels": int((given != UNLABELLED).sum())}
            | {"iou": score(dense, probabilities.argmax(axis=-1), tested)}
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def evenly_spaced(shape, count: int, begun) -> list[tuple[int, int]]:
    """Return as many slices, in turn across z, y and x, each in the middle of the widest gap."""
    chosen = list(begun)
    for number in range(count):
        axis = number % 3
        planes = [-1, *sorted(plane for other, plane in chosen if other == axis), shape[axis]]
        low, high = max(itertools.pairwise(planes), key=lambda gap: gap[1] - gap[0])
        chosen.append((axis, (low + high) // 2))
    return chosen[len(begun) :]


def table(rows: list[dict]) -> str:
    """Return the mean IoU of every round and annotator as Markdown."""
    names = list(dict.fromkeys(row["annotator"] for row in rows))
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    figures = {(row["seed"], row["annotator"]): row["iou"]["mean"] or 0.0 for row in rows}
    lines = [f"| round | {' | '.join(names)} |", "| --- " * (len(names) + 1) + "|"]
    lines += [f"| {seed} | " + " | ".join(f"{figures[seed, name]:.3f}" for name in names) + " |" for seed in seeds]
    means = [np.mean([figures[seed, name] for seed in seeds]) for name in names]
    voxels = [np.mean([row["voxels"] for row in rows if row["annotator"] == name]) for name in names]
    lines.append("| mean | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    lines.append("| voxels annotated | " + " | ".join(f"{count:.0f}" for count in voxels) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
