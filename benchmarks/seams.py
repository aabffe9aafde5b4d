"""How much tiling changes a prediction: python benchmarks/seams.py MODEL [--tile Z Y X] [--overlap SHARE ...]

Compares the tiled prediction of the embedded phantom with one pass over the whole volume: the share of voxels whose
class differs, the largest difference of probabilities, and the IoU against the full truth of both.
"""

import argparse

import numpy as np

from keras_unet3d import PredictSettings, zoo
from keras_unet3d.datasets import phantom
from keras_unet3d.evaluation.overlap import count, figures
from keras_unet3d.volumes import from_array


def mean_iou(classes) -> float:
    """Return the mean IoU over the classes against the phantom's full truth."""
    counted = count(phantom.phantom().truth, classes, len(phantom.NAMES))
    return float(np.mean([figure["iou"] for figure in figures(counted, phantom.NAMES).values()]))


def main() -> None:
    """Print one line for the whole pass and one per overlap."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a run on the embedded sample, or its bundle")
    parser.add_argument("--tile", type=int, nargs=3, default=(20, 48, 48), metavar=("Z", "Y", "X"))
    parser.add_argument("--overlap", type=float, nargs="+", default=(0.0, 0.25, 0.5))
    options = parser.parse_args()
    predictor = zoo.predictor(options.model)
    stack = phantom.phantom()
    volume = from_array(stack.image, "sample", stack.spacing, "um")
    whole = predictor.predict(volume, "probabilities")
    print(f"one pass: mean IoU {mean_iou(whole.argmax(-1)):.4f}")
    for overlap in options.overlap:
        settings = PredictSettings(tile=tuple(options.tile), merge="blend", overlap=overlap)
        tiled = predictor.predict(volume, "probabilities", settings)
        differ = float((tiled.argmax(-1) != whole.argmax(-1)).mean())
        print(
            f"tile {tuple(options.tile)}, overlap {overlap:.2f}: {differ:.2%} of the voxels in another class, "
            f"mean difference of probabilities {abs(tiled - whole).mean():.4f}, mean IoU {mean_iou(tiled.argmax(-1)):.4f}"
        )


if __name__ == "__main__":
    main()
