"""How a fit feeds its network: which engine deforms the patches, where, and what to do if that is waited for."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import keras
import numpy as np

from keras_unet3d.augment.elastic import load_elasticdeform
from keras_unet3d.augment.layer import Augmentation
from keras_unet3d.errors import InputError
from keras_unet3d.machine import devices
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.patches.batches import Waiting, training_batches, validation_batches, weights_of_sum
from keras_unet3d.patches.samples import sample_origin, training_sample, validation_positions
from keras_unet3d.prediction.predictor import compiled
from keras_unet3d.settings.fit import FitSettings
from keras_unet3d.training import Feed
from keras_unet3d.workflows.fit import plan
from keras_unet3d.workflows.fit.sources import Split

VALIDATION_PATCHES = 32
# The reference engine may cost so much of a step.
_BEARABLE = 0.1
# A training step takes about so many forward passes.
_PASSES = 3
_TIMED = 3


def feed(split: Split, spec: ModelSpec, settings: FitSettings, class_weights: Sequence[float] | None) -> Feed:
    """Return the batches that the network is trained and validated on."""
    changed = plan.patch_settings(spec, settings, augment=settings.augment)
    plain = plan.patch_settings(spec, settings, augment=False)
    on_device = settings.augment and settings.augment_on == "device"
    waiting, batch, workers = Waiting(), settings.batch_size, settings.workers
    inset = tuple((p - o) // 2 for p, o in zip(changed.patch, changed.output, strict=True))
    positions = validation_positions(split.validation, plain, VALIDATION_PATCHES)

    def training(first: int):
        return training_batches(
            split.training,
            changed,
            batch,
            settings.seed,
            workers,
            waiting,
            on_device,
            first,
            settings.accumulate,
            class_weights,
        )

    def origin(number: int) -> str:
        indices = range(number * batch, (number + 1) * batch)
        origins = (sample_origin(split.training, changed, settings.seed, index) for index in indices)
        return ", ".join(f"{name} at (z, y, x) {start}" for name, start in origins)

    # A loss that leaves the division to the feed leaves it for the validation as well.
    finish = weights_of_sum(1.0, class_weights) if settings.accumulate > 1 else None
    return Feed(
        training,
        validation_batches(split.validation, plain, batch, positions, workers, finish),
        waiting,
        Augmentation(inset) if on_device else None,
        advice(split, settings),
        origin,
    )


def advice(split: Split, settings: FitSettings) -> str:
    """Return what to do where the network waits for its patches: the first of what is left to do."""
    cores = os.cpu_count() or 1
    on_host = settings.augment and settings.augment_on == "host"
    left = {
        "use --engine native": on_host and settings.engine == "elasticdeform",
        f"use more --workers: {settings.workers} of {cores} cores are used": settings.workers < cores,
        "use a larger --memory, so that all volumes are held in it": not split.in_memory,
        "use --augment-on device": on_host and devices.has_gpu(),
        "use --no-augment or a machine with more cores: there is nothing faster": True,
    }
    return next(what for what, helps in left.items() if helps)


def chosen_engine(
    model: keras.Model, split: Split, spec: ModelSpec, settings: FitSettings, say: Callable[[str], None]
) -> str:
    """Return the engine that `settings.engine` means, and say why where it is "auto".

    That takes the reference engine where it costs less than a tenth of a training step, and the native one elsewhere.
    """
    if settings.engine != "auto" or not settings.augment:
        return settings.engine
    if settings.augment_on == "device":
        say("engine: native, the one that runs on the device")
        return "native"
    try:
        load_elasticdeform()
    except InputError as error:
        say(f"engine: native ({error})")
        return "native"
    changed = replace(plan.patch_settings(spec, settings, augment=True), engine="elasticdeform")
    sample = _seconds(lambda index: training_sample(split.training, changed, settings.seed, index))
    patches = np.zeros((settings.batch_size, *settings.patch, spec.architecture.input_shape[3]), np.float32)
    network = compiled(model)
    step = _PASSES * _seconds(lambda index: network(patches))
    batch = sample * settings.batch_size / min(settings.workers, os.cpu_count() or 1)
    engine = "elasticdeform" if batch < _BEARABLE * step else "native"
    say(
        f"engine: {engine}, because elasticdeform takes {batch:.2g} s for the patches of a step "
        f"and the network about {step:.2g} s"
    )
    return engine


def _seconds(function: Callable[[int], object]) -> float:
    """Return the median time of a call, after a first one."""
    function(0)
    times = []
    for index in range(1, 1 + _TIMED):
        begun = time.perf_counter()
        function(index)
        times.append(time.perf_counter() - begun)
    return float(np.median(times))
