"""The embedded sample once it is learnt: its dense segmentation against the full truth."""

import numpy as np

from keras_unet3d.datasets.phantom import NAMES, UNLABELLED, phantom
from keras_unet3d.evaluation.overlap import count, figures
from keras_unet3d.files import write_json
from keras_unet3d.listener import Listener
from keras_unet3d.pictures.slices import draw_slices
from keras_unet3d.prediction.predictor import Predictor
from keras_unet3d.run_folder import RunFolder
from keras_unet3d.volumes import from_array, write_volume


def segment_sample(predictor: Predictor, run: RunFolder, listener: Listener) -> None:
    """Write the dense segmentation into the run folder: labels, a picture, figures."""
    stack = phantom()
    volume = from_array(stack.image, "sample", stack.spacing, "um")
    predicted = predictor.predict(volume)
    write_volume(run.dense_labels, predicted, volume)
    by_class = {
        name: figure
        for name, figure in figures(count(stack.truth, predicted, len(NAMES)), NAMES).items()
        if figure is not None
    }
    mean = float(np.mean([figure["iou"] for figure in by_class.values()]))
    annotated = float((stack.sparse != UNLABELLED).mean())
    write_json(run.dense_figures, {"classes": by_class, "mean_iou": mean, "annotated": annotated})
    columns = {
        "image": stack.image.astype(float),
        "annotated": np.where(stack.sparse == UNLABELLED, -1, stack.sparse.astype(int)),
        "segmented": predicted.astype(int),
        "truth": stack.truth.astype(int),
    }
    draw_slices(columns, [14, 43, 52], run.dense_picture, NAMES, stack.spacing)
    by_name = ", ".join(f"{name} {figure['iou']:.3f}" for name, figure in by_class.items())
    listener.say(
        f"dense segmentation from {annotated:.0%} annotated voxels: mean IoU against the full truth {mean:.3f} ({by_name})\n"
        f"pictures: {run.dense_picture}, {run.slices}, {run.curves}; labels: {run.dense_labels}"
    )
