"""Distillation: a network that learns what another model, mostly an ensemble, says of every voxel."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_unet3d.datasets import Example, Globs, find_images
from keras_unet3d.errors import InputError, refuse
from keras_unet3d.labels import UNLABELLED, LabelTable
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.network.copies import folded_copy
from keras_unet3d.patches.source import Source, index_labels
from keras_unet3d.prediction.array_api import trained_predictor
from keras_unet3d.settings import FitSettings
from keras_unet3d.volumes import Volume, from_array
from keras_unet3d.words import plural
from keras_unet3d.workflows.data import LabelledData, open_data, twice
from keras_unet3d.workflows.fit.plan import Plan


@dataclass(frozen=True)
class Teacher:
    """A model that another network learns from (Hinton et al. 2015, arXiv:1503.02531).

    It says twice what it knows. Before the training it labels every voxel that nobody has labelled, so that patches are drawn
    everywhere and the loss knows a class everywhere. And of every augmented patch, the very one that the network sees, its
    probabilities are learnt by cross-entropy beside that (a consistent teacher: Beyer et al. 2022, arXiv:2106.05237).

    Attributes:
        model: a network made by `build_model`, or an ensemble of some.
        spec: what it is and means.
        name: what the user calls it: a run folder, a bundle, or a name.
    """

    model: keras.Model = field(repr=False)
    spec: ModelSpec
    name: str

    def probabilities(self) -> Callable[[Any], Any]:
        """Return a function from a batch `(batch, z, y, x, channels)` to probabilities, tensors both."""
        return partial(folded_copy(self.model), training=False)

    def completed(self, sources: Sequence[Source], listener: Listener = SILENT) -> list[Source]:
        """Return the sources with the teacher's class where nobody said one; that is held in memory, a byte per voxel."""
        predictor = trained_predictor(self.model, self.spec)
        listener.say(f"teacher: {self.name} labels what is unlabelled of {plural(len(sources), 'volume')}")
        complete = []
        for done, source in enumerate(sources, 1):
            classes = source.classes.array()[..., 0]
            if (classes == UNLABELLED).any():
                classes = np.where(classes == UNLABELLED, predictor.predict(source.image, "classes"), classes)
                volume = from_array(classes.astype(np.uint8), source.classes.name)
                source = replace(source, classes=volume, index=index_labels(volume, self.spec.labels.num_labels))
            complete.append(source)
            listener.progress(done, len(sources))
        return complete


def taught_settings(settings: FitSettings, teacher: Teacher) -> FitSettings:
    """Return the settings of a fit with a teacher, which knows the classes, and has seen what could be held out.

    Raises:
        InputError: settings that say otherwise.
    """
    if teacher.spec.overlapping:
        raise InputError(
            f"{teacher.name}: expected a teacher of classes, found one whose classes may overlap (a sigmoid each); take another one."
        )
    default = FitSettings()
    for name in ("num_classes", "classes", "target", "background", "regions", "annotated", "fold"):
        if getattr(settings, name) != getattr(default, name):
            raise InputError(
                f"{name}: expected what {teacher.name} was trained with, found {getattr(settings, name)!r}; leave it out."
            )
    if settings.validation_share not in (default.validation_share, 0):
        raise InputError(
            f"validation_share: expected none with a teacher, which may have seen all volumes, found {settings.validation_share}; "
            "leave it out, or give others as `val`."
        )
    table, grey_values = teacher.spec.labels, teacher.spec.normalization
    return replace(
        settings,
        validation_share=0,
        unlabelled=tuple(dict.fromkeys((*table.unlabelled, *settings.unlabelled))),
        target=table.target,
        background=table.background_value,
        classes=None if table.of_instances else table.declared(),
        grey_values=settings.grey_values or (grey_values if isinstance(grey_values, str) else None),
    )


def taught_plan(plan: Plan, teacher: Teacher, settings: FitSettings) -> Plan:
    """Return the plan with the teacher's normalisation of grey values, unless `settings` ask for another one.

    There may be no word for it: it is what the foreground of other data was, or comes from elsewhere.
    """
    if settings.grey_values:
        return plan
    plan = plan.with_normalization(teacher.spec.normalization)
    return replace(plan, settings=replace(plan.settings, grey_values=None))


def taught_spec(spec: ModelSpec, teacher: Teacher) -> ModelSpec:
    """Return what a network is and means, with the teacher's ways of cleaning labels and of cutting instances."""
    return replace(spec, cleaning=teacher.spec.cleaning, instances=teacher.spec.instances)


def taught_data(
    teacher: Teacher, data: list, val: list, globs: Globs, settings: FitSettings, listener: Listener
) -> LabelledData:
    """Open DATA for a fit with a teacher: labelled volumes as in any fit, and images by themselves where `globs` has no labels.

    Raises:
        InputError: as `open_data`.
    """
    alone = [] if globs.labels or not globs.images else find_images(globs.images, settings.keys)
    if alone and globs.weights:
        raise InputError("weights: expected `labels` too, found none; leave them out.")
    opened = None
    if data or not alone:
        pairs = Globs() if alone else globs
        opened = open_data(data, val=val, **vars(pairs), options=settings, listener=listener)
    elif val:
        raise InputError("val: expected labelled DATA to be trained on too, found images alone; evaluate afterwards.")
    table = replace(teacher.spec.labels, unlabelled=opened.table.unlabelled if opened else settings.unlabelled)
    table = _with_unlabelled(table) if alone else table
    training, validation = (opened.training, opened.validation) if opened else ((), ())
    names = [image.path.name if image.path else image.name for image in alone]
    unlabelled = tuple(Example(name, image, _nothing(image, table)) for name, image in zip(names, alone, strict=True))
    refuse(twice([example.image for example in (*training, *unlabelled)]))
    return LabelledData(training + unlabelled, validation, table, settings)


def _with_unlabelled(table: LabelTable) -> LabelTable:
    """Return the table with a raw value that means unlabelled, which images without labels are filled with."""
    return table if table.unlabelled else replace(table, unlabelled=(min(0, *table.values) - 1,))


def _nothing(image: Volume, table: LabelTable) -> Volume:
    """Return the labels of an image that nobody labelled."""
    value = np.int64(table.unlabelled[0])

    def read(box) -> np.ndarray:
        return np.full((*(part.stop - part.start for part in box), 1), value)

    return replace(image, name=f"labels of {image.name}", channels=1, dtype=np.dtype(np.int64), read=read)


def refuse_other_plan(teacher: Teacher, plan: Plan) -> None:
    """Raise `InputError` where the teacher cannot take the patches that are planned."""
    refuse(_faults(teacher, plan))


def _faults(teacher: Teacher, plan: Plan) -> Iterator[str]:
    spec, patch = teacher.spec, plan.patches.patch
    for what in ("channels", "normalization"):
        if getattr(spec, what) != getattr(plan.spec, what):
            yield (
                f"{teacher.name}: expected a teacher of the same {what} as the data, {getattr(plan.spec, what)}, found "
                f"{getattr(spec, what)}; take another one."
            )
    spec.geometry.check(patch, "patch")
    if spec.geometry.output_of(patch) != plan.patches.output:
        yield f"padding: expected {spec.geometry.padding}, that of {teacher.name}, found {plan.spec.geometry.padding}."
