"""The embedded data sets once they are learnt: their dense segmentation against the full truth."""

from collections.abc import Callable

import numpy as np

from keras_unet3d.datasets import CELLS, SAMPLE
from keras_unet3d.datasets.cells import UNLABELLED as NOT_PAINTED
from keras_unet3d.datasets.cells import touching_cells
from keras_unet3d.datasets.phantom import NAMES, UNLABELLED, phantom
from keras_unet3d.evaluation.cells import common, matches
from keras_unet3d.evaluation.overlap import count, figures
from keras_unet3d.files import write_json
from keras_unet3d.listener import Listener
from keras_unet3d.pictures.drawing import COLOURS
from keras_unet3d.pictures.slices import draw_slices
from keras_unet3d.prediction.predictor import Predictor
from keras_unet3d.run_folder import RunFolder
from keras_unet3d.segments.cells import evidence, instances_of
from keras_unet3d.segments.measures import NoObject
from keras_unet3d.volumes import from_array, write_volume
from keras_unet3d.workflows.measure import measure


def segment_sample(predictor: Predictor, run: RunFolder, listener: Listener) -> None:
    """Write the dense segmentation into the run folder: labels, a picture, figures."""
    stack = phantom()
    volume = from_array(stack.image, SAMPLE, stack.spacing, "um")
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


def segment_cells(predictor: Predictor, run: RunFolder, listener: Listener) -> None:
    """Write the cells into the run folder: their numbers, a table, a picture, figures."""
    stack = touching_cells()
    volume = from_array(stack.image, CELLS, stack.spacing, "um")
    cells = instances_of(
        evidence(predictor.uncalibrated.predict(volume, "probabilities")), stack.spacing, predictor.spec.instances
    )
    write_volume(run.dense_labels, cells, volume)
    figures = matches(common(stack.truth, cells)).figures
    annotated = float((stack.sparse != NOT_PAINTED).mean())
    write_json(run.dense_figures, {**figures, "annotated": annotated})
    sparse = np.where(stack.sparse == NOT_PAINTED, -1, stack.sparse.astype(int))
    columns = {
        "image": stack.image.astype(float),
        "annotated": sparse,
        "segmented": cells.astype(int),
        "truth": stack.truth,
    }
    # Colours come round again: the background keeps the first for itself.
    coloured = {title: _recoloured(array) if title != "image" else array for title, array in columns.items()}
    draw_slices(coloured, [23, 56, 30], run.dense_picture, spacing=stack.spacing)
    listener.say(
        f"cells from {annotated:.0%} annotated voxels: {figures['found']} of {figures['instances']} found, "
        f"{figures['predicted_instances']} predicted; average precision {figures['average_precision_50']:.3f} at IoU 0.5, "
        f"{figures['average_precision']:.3f} over 0.5 to 0.95\n"
        f"pictures: {run.dense_picture}, {run.slices}, {run.curves}; labels: {run.dense_labels}"
    )
    try:
        measure(cells, stack.image, run.dense_table, spacing=stack.spacing, overwrite=True, listener=listener)
    except NoObject:
        listener.say("no table: the network has found no cell yet; train it for longer")


def _recoloured(cells: np.ndarray) -> np.ndarray:
    numbers = cells.astype(int)
    return np.where(numbers > 0, 1 + numbers % (len(COLOURS) - 1), numbers)


# Word of DATA -> what a fit to it ends with.
SEGMENT: dict[str, Callable[[Predictor, RunFolder, Listener], None]] = {SAMPLE: segment_sample, CELLS: segment_cells}
