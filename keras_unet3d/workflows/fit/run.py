"""`fit`: from volumes with a few labels to a run folder with a trained network."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_unet3d.augment.elastic import load_elasticdeform
from keras_unet3d.datasets import Globs
from keras_unet3d.errors import InputError, expect, refuse
from keras_unet3d.fields import argument
from keras_unet3d.files import refuse_full
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.machine import devices, hosts, precision, versions
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.network.copies import float32_copy
from keras_unet3d.network.unet import build
from keras_unet3d.patches.holdout import Holdout, hold_out
from keras_unet3d.patches.samples import Transform, validation_positions, validation_sample
from keras_unet3d.pictures.slices import minority
from keras_unet3d.prediction.array_api import trained_predictor
from keras_unet3d.prediction.predictor import Predictor
from keras_unet3d.run_folder import RunConfig, RunData, RunFolder
from keras_unet3d.settings import FitSettings
from keras_unet3d.training.callbacks import WAITING
from keras_unet3d.training.loop import train, training_loss
from keras_unet3d.training.schedule import OwnParts, Shown
from keras_unet3d.training.trackers import TRACKERS, tracked
from keras_unet3d.workflows.data import LabelledData, listed, open_data
from keras_unet3d.workflows.fit.after import settled, voxels_looked_at
from keras_unet3d.workflows.fit.embedded import SEGMENT
from keras_unet3d.workflows.fit.feed import chosen_engine, make_feed
from keras_unet3d.workflows.fit.grey_values import settled_on
from keras_unet3d.workflows.fit.memory import memory_in_words, refuse_hopeless, say_costs
from keras_unet3d.workflows.fit.pages import PageAfterEpoch
from keras_unet3d.workflows.fit.plan import Plan, changes_in_words, make_plan, network_in_words, sections_in_words
from keras_unet3d.workflows.fit.profile import write_profile
from keras_unet3d.workflows.fit.resume import content, go_on, resumed_settings, say_other_versions
from keras_unet3d.workflows.fit.samples_sheet import draw_sheet
from keras_unet3d.workflows.fit.sources import bordered, padding_in_words, read_sources, weigh_classes
from keras_unet3d.workflows.fit.start import Start, other_settings, refuse_other_kind, take_weights
from keras_unet3d.workflows.fit.teacher import (
    Teacher,
    refuse_other_plan,
    taught_data,
    taught_plan,
    taught_settings,
    taught_spec,
)
from keras_unet3d.workflows.report.run import look_at, write_page

# Files of the size of the weights that a run keeps: networks, state, and one that is being written.
_FILES = 8
# Validation patches among which the one with most to see is drawn after every epoch.
_LOOKED_AT = 8


@dataclass(frozen=True)
class Run:
    """A finished fit.

    Attributes:
        path: the run folder.
        history: figures per epoch, a list per metric.
        best: the figures of the epoch whose network is kept as the best.
        data: what it was trained on.
    """

    path: Path
    history: dict[str, list[float]]
    best: dict[str, float]
    data: LabelledData = field(repr=False)


@dataclass(frozen=True)
class _Named:
    """What the caller names as data."""

    data: list[str | Path]
    val: list[str | Path]
    globs: Globs

    def __bool__(self) -> bool:
        return bool(self.data or self.globs)


def fit(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    val: str | Path | Sequence[str | Path] = (),
    images: str | None = None,
    labels: str | None = None,
    weights: str | None = None,
    settings: FitSettings = FitSettings(),
    start: Start | None = None,
    teacher: Teacher | None = None,
    loss: keras.losses.Loss | Callable | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    transforms: Sequence[Transform] = (),
    resume: bool = False,
    profile: bool = False,
    overwrite: bool = False,
    listener: Listener = SILENT,
) -> Run:
    """Train a 3D U-Net on sparsely or densely labelled volumes.

    Processes that `jax.distributed` has joined call it alike, and train one network together; the first one alone writes and
    tells its listener.

    Args:
        data: HDF5 or Zarr volumes, folders of them, folders with a `dataset.json`, or "sample"; one or several.
        out: the run folder to make.
        val: further data, held out for validation; without it a part of `data` is.
        images, labels, weights: globs of image, label and weight files, instead of or beside `data`.
        settings: everything else; what is None is chosen and said.
        start: a network that is trained further instead of a new one, also on other classes or channels.
        teacher: a model that the network learns from, beside the labels: all voxels count then, and `images` may have no
            `labels`. Nothing but `val` is held out, as the teacher may have seen it.
        loss: what is minimised in the place of `settings.loss`: a Keras loss `loss(y, p, w)` of labels `(batch, z, y, x)`,
            probabilities `(batch, z, y, x, classes)` (logits where its `from_logits` is true) and sample weights, or a
            function of y and p with a value per voxel.
        callbacks: Keras' callbacks, called after this package's own.
        transforms: what is done to every training sample last: functions of x `(z, y, x, channels)` float32, y int32 and w
            float32 `(z, y, x)`, and a NumPy generator, that return x, y and w in the same shapes.
        resume: whether a run at `out` that was stopped goes on, to the result that it would have had; without one there a
            run begins. Data that are not given are those of the run; epochs may be more than before.
        profile: whether the time of a step is measured first, into `profile.json`.
        overwrite: whether an earlier run at `out` may be replaced.
        listener: is told a line at a time, and steps done and steps in all; `Listener(print)` prints the lines.

    Returns:
        The run; its folder holds `config.json`, `model.keras`, `history.csv` and pictures.

    Raises:
        InputError: a `ValueError`: anything wrong with the data or the settings; an earlier run is still there then.
        HostLost: a `RuntimeError`: another of several processes has ended; the run goes on with `resume`.
    """
    expect("settings", settings, FitSettings)
    expect("listener", listener, Listener, "Listener(print) prints the lines")
    if start is not None:
        expect("start", start, Start, "give keras_unet3d.Start(model, name)")
    hosts.refuse_several(teacher=teacher, profile=profile)
    listener = listener if hosts.leads() else SILENT
    if teacher is not None:
        expect("teacher", teacher, Teacher, "give keras_unet3d.Teacher(*zoo.open_model(name), name)")
        settings = taught_settings(settings, teacher)
    page = PageAfterEpoch(listener)
    run, own = RunFolder(Path(argument("out", str | Path, out))), OwnParts(loss, callbacks, transforms)
    named = _Named(listed(data), listed(val), Globs(images, labels, weights))
    with hosts.lost_in_words(), ExitStack() as stack:
        before = _before(stack, run, named, resume, overwrite, listener)
        if before:
            settings, named = resumed_settings(run, before, settings), named or _named_before(before)
            say_other_versions(before, listener)
        if settings.track and hosts.leads():
            own = replace(own, callbacks=[*own.callbacks, TRACKERS[settings.track]()])
        stack.enter_context(tracked(own.callbacks, run, listener))
        _refuse_early(settings, start, teacher, before, own)
        opened = _opened(named, settings, teacher, listener)
        listener.say(opened.in_words())
        # A run that goes on has its weights already.
        begins_with = before.model.architecture if before else start.architecture if start else None
        plan = make_plan(opened, settings, begins_with, transforms)
        refuse_hopeless(plan)
        if start:
            refuse_other_kind(start, plan)
        if teacher:
            plan = taught_plan(plan, teacher, settings)
            refuse_other_plan(teacher, plan)
        holdout, plan = _held_out(opened, plan, run, teacher, listener)
        plan = plan.with_class_weights(weigh_classes(holdout, opened.table, settings.class_weights, listener))
        # What cannot be trained by is refused before the run takes the place of an earlier one.
        training_loss(plan.schedule, own, plan.spec.labels)
        with devices.spread_over(plan.devices), memory_in_words(plan):
            with precision.dtype_policy(plan.precision):
                model = build(plan.spec.architecture)
            plan = plan.with_engine(hosts.of_first(lambda: chosen_engine(model, holdout, plan, listener)))
            if teacher:
                own = replace(own, teacher=teacher.probabilities(), teacher_name=teacher.name)
            config = _config(named, holdout, plan, own, start)
            listener.say(network_in_words(model.count_params(), plan))
            say_costs(plan, listener)
            for line in (*sections_in_words(plan), changes_in_words(plan.settings, plan.spec)):
                listener.say(line)
            hosts.of_first(lambda: _refuse_last(run, before, config, plan, model, start, listener))
            # Only now that everything is known to be good does an earlier run go.
            with hosts.by_first(run.begun(goes_on=bool(before))):
                if start:
                    listener.say(take_weights(model, start))
                if hosts.leads():
                    run.write_config(config)
                if hosts.leads() and plan.patches.augment and not before:
                    draw_sheet(holdout.training, plan, run.samples)
                feed = make_feed(holdout, plan)
                if profile:
                    write_profile(run.profile, plan, feed, own, listener)
                listener.phase("training")
                shown = _shown(holdout, plan)
                own = replace(own, callbacks=[*own.callbacks, page.begun(run)])
                try:
                    rows, best = train(
                        model, feed, plan.schedule, run, shown=shown, own=own, resume=resume, listener=listener
                    )
                finally:
                    feed.end()
        plan = replace(plan, spec=taught_spec(plan.spec, teacher)) if teacher else plan
        listener.phase("looking at the best network")
        waiting = {"waiting": float(np.mean([row[WAITING] for row in rows]))}
        config = replace(config, best=best, input=waiting)
        hosts.of_first(lambda: _settle(run, config, named, opened, holdout, plan, page, listener))
    return Run(run.path, {name: [row[name] for row in rows] for name in rows[0]}, best, opened)


def _settle(
    run: RunFolder,
    config: RunConfig,
    named: _Named,
    opened: LabelledData,
    holdout: Holdout,
    plan: Plan,
    page: PageAfterEpoch,
    listener: Listener,
) -> None:
    """Do what follows the training, and write the configuration of a run that is done."""
    run.write_config(config)
    best = config.best or {}
    listener.say(f"best: epoch {best['epoch']}, validation IoU {best['val_iou']:.3f}, Dice {best['val_dice']:.3f}")
    predictor = kept_predictor(run, plan.spec)
    spec = settled(predictor, holdout, plan, listener)
    predictor = replace(predictor, spec=spec)
    config = replace(config, model=spec, input={**(config.input or {}), "seconds": page.seconds()})
    run.write_config(config)
    if len(named.data) == 1 and named.data[0] in SEGMENT and not named.globs:
        SEGMENT[str(named.data[0])](predictor, run, listener)
    write_page(run, look_at(predictor, opened, config.data, voxels_looked_at(plan)))


def kept_predictor(run: RunFolder, spec: ModelSpec) -> Predictor:
    """Return the predictor of the best network of a run that was made here."""
    network = keras.models.load_model(run.network, compile=False, safe_mode=True)
    return trained_predictor(float32_copy(network), spec)


def _before(
    stack: ExitStack, run: RunFolder, named: _Named, resume: bool, overwrite: bool, listener: Listener
) -> RunConfig | None:
    """Hold the run folder, and return the configuration of the run that goes on; None where one begins."""

    def begun() -> dict[str, Any] | None:
        stack.enter_context(run.held(resume))
        before = _begun(run, named, resume, overwrite, listener)
        return before.config() if before else None

    before = hosts.of_first(begun)
    return RunConfig.from_config(before, str(run.path)) if before else None


def _refuse_last(
    run: RunFolder,
    before: RunConfig | None,
    config: RunConfig,
    plan: Plan,
    model: keras.Model,
    start: Start | None,
    listener: Listener,
) -> None:
    """Raise `InputError` for what stands in the way of a run that is all but begun, and say how one goes on."""
    refuse_full(run.path, _FILES * 4 * model.count_params())
    if before:
        go_on(run, before, config, plan.schedule, bool(start), listener)


def _begun(run: RunFolder, named: _Named, resume: bool, overwrite: bool, listener: Listener) -> RunConfig | None:
    """Return the configuration of the run that goes on; None where one begins, whose place is free then."""
    if resume and overwrite:
        raise InputError("resume: expected to go on with a run or to overwrite it, found both; leave one of them out.")
    before = run.stopped() if resume else None
    if before:
        return before
    run.refuse_existing(overwrite, [*named.data, *named.val, *named.globs.files()])
    if resume and not named:
        raise InputError(f"{run.path}: expected a run to resume, found none; give DATA to begin one.")
    if resume:
        listener.say(f"resume: there is no run at {run.path} yet; it begins")
    return None


def _named_before(before: RunConfig) -> _Named:
    """Return the data of a run that goes on."""
    return _Named([*before.data.arguments], [*before.data.val], Globs(*before.data.globs))


def _refuse_early(
    settings: FitSettings, start: Start | None, teacher: Teacher | None, before: RunConfig | None, own: OwnParts
) -> None:
    """Raise `InputError` for what can be refused before any file is opened."""
    # Packed samples are as large as the largest of their batch, of which each process knows only its part.
    hosts.refuse_several(augment_on=settings.augment_on == "device")
    taught = before.parts.get("teacher") if before else None
    if taught and not teacher:
        raise InputError(
            f"teacher: expected {taught} again, which the run was begun with, found none; give it (distill)."
        )
    refuse(other_settings(settings, start) if start else ())
    if settings.freeze_encoder and not start and not (before and before.start):
        raise InputError(
            f"freeze_encoder: expected a trained network to begin with (`start`), found none, where {settings.freeze_encoder} "
            "would keep an encoder that has learnt nothing; leave it out."
        )
    if settings.augment and settings.engine == "elasticdeform":
        load_elasticdeform()
    if own.transforms and settings.augment and settings.augment_on == "device":
        raise InputError(
            "transforms: expected `augment_on=host`, found device, where samples never pass; leave one out."
        )


def _opened(named: _Named, settings: FitSettings, teacher: Teacher | None, listener: Listener) -> LabelledData:
    if teacher:
        return taught_data(teacher, named.data, named.val, named.globs, settings, listener)
    return open_data(named.data, val=named.val, **vars(named.globs), options=settings, listener=listener)


def _held_out(
    data: LabelledData, plan: Plan, run: RunFolder, teacher: Teacher | None, listener: Listener
) -> tuple[Holdout, Plan]:
    """Read and index every volume, and tell training from validation; in the plan is then what they say of grey values."""
    settings = plan.settings
    examples = [*bordered(data.training, data.table, settings, listener), *data.validation]
    sources = read_sources(examples, data.table, settings.memory, listener, plan.patches.normalization, beside=run.path)
    for line in padding_in_words(data.examples, plan.patches.patch):
        listener.say(line)
    count = len(data.training)
    if settings.grey_values:
        declared = settings.grey_values == ",".join(data.grey_values)
        why = ", as dataset.json says (`grey_values=zscore` would not)" if declared else ""
        sources, how = settled_on(sources, count, settings.grey_values, data.table, listener, why)
        plan = plan.with_normalization(how)
    training = teacher.completed(sources[:count], listener) if teacher else sources[:count]
    holdout = hold_out(training, sources[count:], settings.validation_share, settings.seed, settings.held_fold)
    listener.say(f"validation: {holdout.in_words}")
    return holdout, plan


def _config(named: _Named, holdout: Holdout, plan: Plan, own: OwnParts, start: Start | None) -> RunConfig:
    weights = plan.schedule.class_weights
    data = RunData(
        arguments=tuple(str(path) for path in named.data),
        val=tuple(str(path) for path in named.val),
        globs=(named.globs.images, named.globs.labels, named.globs.weights),
        content={"training": content(holdout.training), "validation": content(holdout.validation)},
        training=tuple(source.name for source in holdout.training),
        validation=tuple(source.name for source in holdout.validation),
        split=holdout.in_words,
        class_weights=None if weights is None else tuple(weights),
        held_out_files=tuple(source.file for source in holdout.validation) if holdout.whole_volumes else (),
    )
    return RunConfig(
        settings=plan.settings.config(),
        model=plan.spec,
        data=data,
        versions=versions.package_versions(),
        start=start.name if start else None,
        parts=own.names(),
        machine=versions.machine_facts(),
    )


def _shown(holdout: Holdout, plan: Plan) -> Shown:
    """Return the validation patch, of a few, that has most to see."""
    positions = validation_positions(holdout.validation, plan.unchanged_patches, _LOOKED_AT)
    samples = (validation_sample(holdout.validation, plan.unchanged_patches, position) for position in positions)
    most = max(samples, key=lambda sample: minority(sample[1], sample[2] > 0).sum())
    return Shown(most, plan.spec.labels, plan.spec.spacing)
