"""What is fitted once a network is trained, on what it was not trained on: its temperature, the cleaning of its labels, and how
instances are cut."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from keras_unet3d.evaluation.calibration import calibration, fit_temperature
from keras_unet3d.evaluation.choosing import (
    FEWEST_VOLUMES,
    INSTANCE_SCORES,
    NOT_LABELLED,
    CutVolume,
    choose_cleaning,
    choose_instances,
)
from keras_unet3d.geometry import Box, Triple
from keras_unet3d.labels import UNLABELLED
from keras_unet3d.listener import Listener
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.patches.holdout import Holdout
from keras_unet3d.patches.source import Source, draw_voxel
from keras_unet3d.prediction.predictor import Predictor
from keras_unet3d.segments.cells import InstanceSettings, evidence
from keras_unet3d.settings.predict import PredictSettings
from keras_unet3d.volumes import cropped
from keras_unet3d.words import plural
from keras_unet3d.workflows.fit.plan import Plan

# Held-out volumes, and voxels of them that a temperature is fitted to.
_MOST_VOLUMES, _FITTED = 20, 200_000
# Voxels that instances are cut out of, in a minute.
_MOST_CUT = 2**22
# A voxel is predicted for so many that were trained on: about 3 % of the time of a fit, as a step costs three passes and a
# tile twice its voxels. At least so many, which take a second.
_TRAINED_PER_VOXEL, _LEAST_VOXELS = 32, 2**16


@dataclass(frozen=True)
class _Seen:
    """A held-out volume, or a part of it, as the network sees it.

    Attributes:
        truth, predicted: classes `(z, y, x)`.
        classes: of some of its labelled voxels.
        probabilities: of the same voxels, `(voxels, classes)`.
        is_part: whether it is a part of a volume.
        is_whole: whether it is a whole volume that is labelled throughout.
        to_cut: where labels are instances, what they are cut out of.
    """

    truth: np.ndarray
    predicted: np.ndarray
    classes: np.ndarray
    probabilities: np.ndarray
    is_part: bool
    is_whole: bool
    to_cut: CutVolume | None = None


def settled(predictor: Predictor, holdout: Holdout, plan: Plan, listener: Listener) -> ModelSpec:
    """Return what a trained network is and means, with what was fitted to its held-out volumes, and say that.

    The temperature is fitted to labelled voxels of at most 20 volumes, and kept where it lowers their calibration error;
    the cleaning is chosen on those of them that are whole and labelled throughout, and the way of cutting instances on all.
    Nothing is fitted to what was trained on.

    Args:
        predictor: of the network that is kept.
        holdout: what was held out.
        plan: of the fit, whose length decides how much is looked at.
        listener: is told a line each.
    """
    spec = plan.spec
    if holdout.validation is holdout.training:
        listener.say(
            "nothing was held out to fit a temperature to, or to choose how labels are cleaned and instances cut"
        )
        return spec
    if spec.overlapping:
        listener.say("no temperature is fitted, and no cleaning chosen, where classes overlap")
        return spec
    budget = voxels_looked_at(plan)
    budget = min(budget, _MOST_CUT) if spec.labels.of_instances else budget
    seen = list(_looked_at(predictor, holdout.validation, budget))
    classes = np.concatenate([volume.classes for volume in seen])
    probabilities = np.concatenate([volume.probabilities for volume in seen])
    fitted = replace(spec, temperature=fit_temperature(probabilities, classes))
    before, after = (
        calibration(classes, each.convert(probabilities, "probabilities")).error or 0.0
        for each in (predictor, replace(predictor, spec=fitted))
    )
    # The likeliest temperature is not always the best calibrated one, least of all of a network that has hardly learnt.
    spec, kept = (fitted, "with it") if after < before else (spec, "with it, so it is left out")
    listener.say(
        f"temperature {fitted.temperature:.3f}, from {plural(len(classes), 'voxel')} of "
        f"{plural(len(seen), 'held-out volume')}: calibration error {before:.4f}, {after:.4f} {kept}"
    )
    if to_cut := [volume.to_cut for volume in seen if volume.to_cut]:
        return replace(spec, instances=_instances(to_cut, spec.labels.target, listener))
    if not (holdout.whole_volumes and all(volume.is_whole for volume in seen)):
        too_short = holdout.whole_volumes and any(volume.is_part for volume in seen)
        why = (
            "for which parts of the held-out volumes are too little, and so short a training looks at no more"
            if too_short
            else "which takes whole held-out volumes of classes, labelled throughout"
        )
        listener.say(f"cleaning: none is tried, {why}")
        return spec
    table = spec.labels
    cleaning = choose_cleaning(
        [table.to_values(volume.truth) for volume in seen],
        [table.to_values(volume.predicted) for volume in seen],
        table.values[table.background],
    )
    names = dict(zip(table.values, table.names, strict=True))
    in_words = "; ".join(f"{names[step.value]}: {step.in_words()}" for step in cleaning)
    listener.say(
        f"cleaning, tried on {plural(len(seen), 'held-out volume')}: "
        + (in_words or "neither large pieces, small ones nor holes matter enough; none")
    )
    return replace(spec, cleaning=cleaning)


def voxels_looked_at(plan: Plan) -> int:
    """Return how many voxels may be predicted after a fit, so that it takes little of its time."""
    # Fixed by the plan and not by the clock: a fit that is repeated is the same.
    schedule = plan.schedule
    trained = prod(plan.patches.patch) * plan.batching.batch_size * schedule.steps_per_epoch * schedule.epochs
    return max(trained // _TRAINED_PER_VOXEL, _LEAST_VOXELS)


def _instances(volumes: list[CutVolume], target: str, listener: Listener) -> InstanceSettings:
    """Return the settings by which instances are cut best, and say them."""
    chosen, score = choose_instances(volumes, target)
    what = INSTANCE_SCORES[target][0]
    listener.say(
        f"instances, tried on {plural(len(volumes), 'held-out volume')}: {chosen.in_words()} ({what} {score:.3f} there)"
    )
    return chosen


def _looked_at(predictor: Predictor, sources: list[Source], budget: int) -> Iterator[_Seen]:
    """Yield held-out volumes, evenly spread over all, and parts of those that are larger than their share of the budget."""
    count, whole = min(len(sources), _MOST_VOLUMES), budget // max(prod(source.image.shape) for source in sources)
    # Fewer whole volumes tell more than parts of many, where they are enough to choose a cleaning by.
    count = min(count, whole) if whole >= FEWEST_VOLUMES else count
    rng = np.random.default_rng(0)
    for number in np.linspace(0, len(sources) - 1, count).round().astype(int):
        yield _see(predictor, sources[number], budget // count, _FITTED // count, rng)


def _see(predictor: Predictor, source: Source, most: int, fitted: int, rng: np.random.Generator) -> _Seen:
    box = _part(source, most, rng)
    # A voxel that may be of several classes tells as little as one that nobody labelled.
    table = predictor.spec.labels
    truth = source.classes.read(box)[..., 0]
    truth = table.as_classes(truth) if table else truth
    labelled = truth != UNLABELLED
    # About as many voxels as are asked for, wherever they are.
    taken = labelled & (rng.random(truth.shape) * labelled.sum() < fitted)
    predicted = np.empty(truth.shape, np.uint8)
    classes, probabilities = [], []
    certain = None
    if source.label and table and table.of_instances:
        certain = np.empty((*truth.shape, table.num_classes - 1), np.uint8)
    image = cropped(source.image, box)
    statistics = source.statistics.of_planes(box[0])
    for part, values in predictor.boxes(image, "probabilities", _AS_IT_IS, statistics=statistics):
        predicted[part] = predictor.convert(values, "classes")
        classes.append(truth[part][taken[part]])
        probabilities.append(values[taken[part]])
        if certain is not None:
            certain[part] = evidence(values)
    is_part = truth.shape != source.image.shape
    is_whole = not is_part and bool(labelled.all())
    to_cut = None
    if certain is not None and source.label and table:
        raw = source.label.read(box)[..., 0].astype(np.int64)
        # The background may have any value, and an instance the value 0.
        instances = np.where(raw == table.background_value, 0, raw + 1)
        to_cut = CutVolume(certain, np.where(labelled, instances, NOT_LABELLED), source.image.spacing)
    return _Seen(truth, predicted, np.concatenate(classes), np.concatenate(probabilities), is_part, is_whole, to_cut)


_AS_IT_IS = PredictSettings(clean=False)


def _part(source: Source, most: int, rng: np.random.Generator) -> Box:
    """Return the whole volume, or a box of about `most` voxels in it, around a labelled one."""
    return box_around(draw_voxel(rng, source), source.image.shape, most)


def box_around(middle: Sequence[int] | np.ndarray, shape: Triple, most: int) -> Box:
    """Return a box of about `most` voxels in a volume of that shape, around a voxel where that is not near the border."""
    sizes, left, axes = {}, most, np.argsort(shape)
    for done, axis in enumerate(axes):
        # Shorter axes first: what they do not need is left for the longer ones.
        sizes[axis] = min(shape[axis], max(1, int(left ** (1 / (3 - done)))))
        left = max(1, left // sizes[axis])
    starts = [min(max(int(middle[axis]) - sizes[axis] // 2, 0), shape[axis] - sizes[axis]) for axis in range(3)]
    return tuple(slice(start, start + sizes[axis]) for axis, start in enumerate(starts))
