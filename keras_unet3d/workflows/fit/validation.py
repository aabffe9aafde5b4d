"""What a training is validated by: the figures that `evaluate` prints, of the held-out volumes or an even share of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from math import prod
from operator import add

import keras
import numpy as np

from keras_unet3d.evaluation.overlap import Counts, count, figures, means
from keras_unet3d.geometry import Triple
from keras_unet3d.labels import UNLABELLED, LabelTable
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.patches.holdout import Holdout
from keras_unet3d.patches.source import BLOCK, Source
from keras_unet3d.prediction.array_api import network_predictor
from keras_unet3d.prediction.outputs import OUTPUTS
from keras_unet3d.prediction.predictor import NotFinite, Predictor
from keras_unet3d.prediction.tiling import Tiling
from keras_unet3d.settings import PredictSettings
from keras_unet3d.workflows.fit.plan import Plan

# An epoch is validated on so many voxels as that many patches have: a twentieth of the time that its steps take.
_PATCHES = 32
# A smaller probability of the true class counts as this one.
_TINY = 1e-7


@dataclass(frozen=True)
class _Part:
    """A part of a volume that one tile decides."""

    source: Source
    tiling: Tiling

    @property
    def voxels(self) -> int:
        return prod(self.tiling.tile)


def validator(holdout: Holdout, plan: Plan) -> Callable[[keras.Model], dict[str, float]]:
    """Return a function that measures a network of the plan on what is held out.

    Its figures are "val_iou" and "val_dice", the means over classes without the background, of all labelled voxels
    together, as `evaluate` has them; and "val_loss", the mean cross-entropy of the labelled voxels. Where the held-out
    volumes have more voxels than a small share of an epoch they are those of an even share of them. A volume
    that takes several tiles is seen patch by patch without overlap, which gives figures a little below those of `evaluate`.
    Those of a network whose output is no number are NaN.
    """
    predictors: dict[int, Predictor] = {}
    parts: list[_Part] = []

    def measured(network: keras.Model) -> dict[str, float]:
        if not parts:
            # Its weights change from call to call, its graph does not.
            predictors[0] = training_predictor(network, plan.spec)
            parts.extend(_chosen(predictors[0], holdout.validation, plan.patches.patch))
        try:
            compared = [_compared(predictors[0], part, plan.spec.labels) for part in parts]
        except NotFinite:
            return dict.fromkeys(("val_loss", "val_iou", "val_dice"), float("nan"))
        counts, losses, voxels = zip(*compared, strict=True)
        return _figures(reduce(add, counts), sum(losses), sum(voxels), plan.spec.labels)

    return measured


def training_predictor(network: keras.Model, spec: ModelSpec) -> Predictor:
    """Return the predictor of a network in training: it goes with its weights."""
    predictor = network_predictor(network)
    return replace(predictor, spec=spec, tile=predictor.tile or (spec.patch if predictor.inexact else None))


def _chosen(predictor: Predictor, sources: list[Source], patch: Triple) -> list[_Part]:
    """Return the labelled parts of all volumes, or where they are too many an even share of them."""
    most_voxels = _PATCHES * prod(patch)
    parts = [part for source in sources for part in _labelled_parts(predictor, source, patch, most_voxels)]
    share = min(1.0, most_voxels / sum(part.voxels for part in parts))
    wanted = max(1, int(share * len(parts)))
    return [parts[number] for number in np.unique(np.linspace(0, len(parts) - 1, wanted).round().astype(int))]


def _labelled_parts(predictor: Predictor, source: Source, patch: Triple, most_voxels: int) -> Iterator[_Part]:
    tiling, corners = predictor.tiling(source.image.shape), source.index.corners
    if tiling.count > 1 or prod(tiling.tile) > most_voxels:
        tiling = predictor.tiling(source.image.shape, PredictSettings(tile=patch, merge="blend", overlap=0.0))
    for tile in tiling.tiles():
        box = tuple(slice(cut.first, cut.stop) for cut in tile)
        begin, end = np.array([(side.start, side.stop) for side in box]).T
        if ((corners < end) & (corners + BLOCK > begin)).all(axis=1).any():
            yield _Part(source, tiling.part(box))


def _compared(predictor: Predictor, part: _Part, table: LabelTable) -> tuple[Counts, float, int]:
    """Return the counts of a part, the sum of its labelled voxels' cross-entropy, and how many these are."""
    total, loss, voxels = [], 0.0, 0
    source = part.source
    predicted = predictor.boxes(source.image, "probabilities", tiling=part.tiling, statistics=source.statistics)
    for box, probabilities in predicted:
        truth = source.classes.read(box)[..., 0]
        total.append(count(truth, OUTPUTS[table.compared](probabilities, table), table.num_classes, table.meanings))
        labelled = truth != UNLABELLED
        loss += float(_crossentropy(probabilities[labelled], truth[labelled], table).sum(dtype=np.float64))
        voxels += int(labelled.sum())
    # A volume in which nobody looked for a class would show nothing but wrong predictions of it.
    return reduce(add, total).only(source.annotated(table.meanings)), loss, voxels


def _crossentropy(probabilities: np.ndarray, labels: np.ndarray, table: LabelTable) -> np.ndarray:
    """Return the cross-entropy of every voxel, as the loss of the training has it, of probabilities `(voxels, classes)`."""
    if table.overlapping:
        right = np.where(table.meanings[labels] == 1, probabilities, 1 - probabilities)
        return -np.log(np.maximum(right, _TINY)).mean(axis=-1)
    # A label that may be one of several classes has the sum of their probabilities.
    of_labels = probabilities if table.plain else probabilities @ (table.meanings != 0).T.astype(np.float32)
    of_truth = np.take_along_axis(of_labels, labels[:, None].astype(int), axis=1)[:, 0]
    return -np.log(np.maximum(of_truth, _TINY))


def _figures(counts: Counts, loss: float, labelled: int, table: LabelTable) -> dict[str, float]:
    by_class = figures(counts, table.names)
    mean = means(by_class, table.background_name)
    if mean["mean_iou"] is None:
        # Nothing but background, in truth and prediction.
        mean = means(by_class, None)
    return {
        "val_loss": loss / max(labelled, 1),
        "val_iou": float(mean["mean_iou"] or 0.0),
        "val_dice": float(mean["mean_dice"] or 0.0),
    }
