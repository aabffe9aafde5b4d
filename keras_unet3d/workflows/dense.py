"""The embedded sample once it is learnt: its dense segmentation against the full truth."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_unet3d import report, sample
from keras_unet3d.evaluation import count, figures
from keras_unet3d.files import write_json
from keras_unet3d.prediction import Predictor
from keras_unet3d.volumes import from_array, write_volume


def segment_sample(predictor: Predictor, out: Path, say: Callable[[str], None]) -> None:
    """Write `dense.tif`, `dense.png` and `dense.json` into the run folder `out`."""
    phantom = sample.phantom()
    volume = from_array(phantom.image, "sample", phantom.spacing, "um")
    classes = predictor.predict(volume)
    write_volume(out / "dense.tif", classes, volume)
    by_class = figures(count(phantom.truth, classes, len(sample.NAMES)), sample.NAMES)
    mean = float(np.mean([figure["iou"] for figure in by_class.values()]))
    annotated = float((phantom.sparse != sample.UNLABELLED).mean())
    write_json(out / "dense.json", {"classes": by_class, "mean_iou": mean, "annotated": annotated})
    shown = phantom.sparse.astype(int)
    shown[phantom.sparse == sample.UNLABELLED] = -1
    columns = {
        "image": phantom.image.astype(float),
        "annotated": shown,
        "segmented": classes.astype(int),
        "truth": phantom.truth.astype(int),
    }
    report.slices(columns, [14, 43, 52], out / "dense.png", sample.NAMES, phantom.spacing)
    each = ", ".join(f"{name} {figure['iou']:.3f}" for name, figure in by_class.items())
    say(
        f"dense segmentation from {annotated:.0%} annotated voxels: mean IoU against the full truth {mean:.3f} ({each})\n"
        f"pictures: {out / 'dense.png'}, {out / 'slices.png'}, {out / 'curves.png'}; labels: {out / 'dense.tif'}"
    )
