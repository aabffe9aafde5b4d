"""The embedded sample once it is learnt: its dense segmentation against the full truth."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_unet3d.datasets import phantom
from keras_unet3d.evaluation.overlap import count, figures
from keras_unet3d.files import write_json
from keras_unet3d.pictures import slices
from keras_unet3d.prediction.predictor import Predictor
from keras_unet3d.volumes import from_array, write_volume


def segment_sample(predictor: Predictor, out: Path, say: Callable[[str], None]) -> None:
    """Write `dense.tif`, `dense.png` and `dense.json` into the run folder `out`."""
    made = phantom.phantom()
    volume = from_array(made.image, "sample", made.spacing, "um")
    classes = predictor.predict(volume)
    write_volume(out / "dense.tif", classes, volume)
    by_class = figures(count(made.truth, classes, len(phantom.NAMES)), phantom.NAMES)
    mean = float(np.mean([figure["iou"] for figure in by_class.values()]))
    annotated = float((made.sparse != phantom.UNLABELLED).mean())
    write_json(out / "dense.json", {"classes": by_class, "mean_iou": mean, "annotated": annotated})
    shown = made.sparse.astype(int)
    shown[made.sparse == phantom.UNLABELLED] = -1
    columns = {
        "image": made.image.astype(float),
        "annotated": shown,
        "segmented": classes.astype(int),
        "truth": made.truth.astype(int),
    }
    slices.slices(columns, [14, 43, 52], out / "dense.png", phantom.NAMES, made.spacing)
    each = ", ".join(f"{name} {figure['iou']:.3f}" for name, figure in by_class.items())
    say(
        f"dense segmentation from {annotated:.0%} annotated voxels: mean IoU against the full truth {mean:.3f} ({each})\n"
        f"pictures: {out / 'dense.png'}, {out / 'slices.png'}, {out / 'curves.png'}; labels: {out / 'dense.tif'}"
    )
