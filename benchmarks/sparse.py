"""The paper's experiments on a densely labelled volume: how many annotated slices, 3D or 2D, with and without BN.

    python benchmarks/sparse.py sample --out results/phantom
    python benchmarks/sparse.py ovules/sample_ovule.h5 --target boundaries --out results/ovule

Keeps k slices per direction, trains on their voxels alone, and measures IoU on the voxels that are in no slice of
any k. "Dense" is trained on every voxel, those of the test among them: it is the ceiling. Every network takes the
same number of steps; its last state counts. One factor at a time: the 2D network differs in its kernels and pooling
(1 x 3 x 3, 1 x 2 x 2) alone.
"""

import argparse
import json
import time
from itertools import product
from pathlib import Path

import numpy as np
from semi_automated import TARGETS, Variant, evenly, keep, learn, load, score

from keras_unet3d.labels import UNLABELLED

DENSE = "dense"
KS = (1, 2, 3, 5, DENSE)
# Network -> its k, and what it differs in.
NETWORKS: dict[str, tuple[tuple, dict]] = {
    "3D with BN": (KS, {}),
    "3D without BN": ((3,), {"normalization": "none"}),
    "2D with BN": ((3,), {"dimensions": 2}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="DATA as in unet3d-cli fit, densely labelled")
    parser.add_argument("--volume", help="part of the name of the volume to take, where DATA has several")
    parser.add_argument("--target", choices=TARGETS, default=TARGETS[0])
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS], help="leave the others out")
    parser.add_argument("--k", nargs="+", choices=[*map(str, KS)], default=[*map(str, KS)], help="leave the others out")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    dense = load(arguments.data, arguments.target, arguments.volume)
    tested = np.ones(dense.classes.shape, bool)
    for k in KS[:-1]:
        for axis, plane in evenly(tested.shape, k):
            tested[(slice(None),) * axis + (plane,)] = False
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, k, variant in experiments(arguments):
        start = time.monotonic()
        classes = dense.classes if k == DENSE else keep(dense.classes, evenly(tested.shape, k))
        predicted = learn(dense, classes, variant).predict(dense.image, "classes")
        figures = score(dense, predicted, tested)
        rows.append(
            {"network": name, "k": k, "seed": variant.seed, "labelled": float((classes != UNLABELLED).mean())}
            | {"iou": figures, "seconds": round(time.monotonic() - start)}
        )
        print(json.dumps(rows[-1]), flush=True)
        (arguments.out / "sparse.json").write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    (arguments.out / "sparse.md").write_text(table(rows), "utf-8")
    print(table(rows))
    plot({Path(arguments.data).name: rows}, arguments.out / "sparse.png")


def experiments(arguments):
    """Yield name, k and variant of every experiment."""
    for seed, name in product(range(arguments.seeds), arguments.networks):
        ks, difference = NETWORKS[name]
        for k in ks:
            if str(k) in arguments.k:
                yield name, k, Variant(seed=seed, steps=arguments.steps, **difference)


def table(rows: list[dict]) -> str:
    """Return the rows as Markdown, seeds averaged."""
    classes = [name for name in rows[0]["iou"] if name != "mean"]
    lines = [f"| network | slices per direction | labelled | {' | '.join(classes)} | mean IoU |"]
    lines.append("| --- " * (4 + len(classes)) + "|")
    for network, k in dict.fromkeys((row["network"], row["k"]) for row in rows):
        same = [row for row in rows if (row["network"], row["k"]) == (network, k)]
        figures = [f"{np.mean([row['iou'][name] or 0 for row in same]):.3f}" for name in (*classes, "mean")]
        lines.append(f"| {network} | {k} | {same[0]['labelled']:.1%} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def plot(results: dict[str, list[dict]], path: Path) -> None:
    """Draw mean IoU over k, a panel per title and its rows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(results), 3.3), layout="constrained")
    panels = figure.subplots(1, len(results), squeeze=False)[0]
    for axis, (title, rows) in zip(panels, results.items(), strict=True):
        for network, mark in (("3D with BN", "o-"), ("3D without BN", "s--"), ("2D with BN", "^:")):
            values = [[row["iou"]["mean"] for row in rows if (row["network"], row["k"]) == (network, k)] for k in KS]
            shown = [position for position, seeds in enumerate(values) if seeds]
            axis.plot(shown, [np.mean(values[position]) for position in shown], mark, label=network)
        axis.set_xticks(range(len(KS)), KS)
        axis.set_xlabel("annotated slices per direction")
        axis.set_ylim(0, 1)
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    panels[0].set_ylabel("mean IoU of all other voxels")
    panels[0].legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
