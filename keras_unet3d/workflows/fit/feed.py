"""How a fit feeds its network: which engine deforms the patches, where, and what to do if that is waited for."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_unet3d.augment.elastic import load_elasticdeform
from keras_unet3d.augment.layer import Augmentation
from keras_unet3d.errors import InputError
from keras_unet3d.listener import Listener
from keras_unet3d.machine import devices, hosts
from keras_unet3d.machine.compiled import compiled_network
from keras_unet3d.patches.batches import UnderWay, Waiting, training_batches
from keras_unet3d.patches.holdout import Holdout
from keras_unet3d.patches.samples import sample_origin, training_sample
from keras_unet3d.training.schedule import Feed
from keras_unet3d.workflows.fit.plan import Plan
from keras_unet3d.workflows.fit.validation import validator

# The reference engine may cost so much of a step.
_BEARABLE = 0.1
# A training step takes about so many forward passes.
_PASSES = 3


def make_feed(holdout: Holdout, plan: Plan) -> Feed:
    """Return the batches that the network is trained and validated on."""
    batching, waiting, under_way = plan.batching, Waiting(), UnderWay()

    def training(first: int) -> Any:
        return training_batches(holdout.training, plan.patches, batching, first, waiting, under_way)

    def origin(number: int) -> str:
        indices = range(number * batching.batch_size, (number + 1) * batching.batch_size)
        origins = (sample_origin(holdout.training, plan.patches, batching.seed, index) for index in indices)
        return ", ".join(f"{name} at (z, y, x) {start}" for name, start in origins)

    return Feed(
        training,
        validator(holdout, plan),
        waiting,
        Augmentation(plan.patches.inset) if batching.on_device else None,
        advice(holdout, plan),
        origin,
        under_way.end,
        plan.spec.labels,
        holdout.validation is not holdout.training,
    )


def advice(holdout: Holdout, plan: Plan) -> str:
    """Return what to do where the network waits for its patches: the first of what is left to do."""
    cores, workers = os.cpu_count() or 1, plan.batching.workers
    on_host = plan.patches.augment is not None and not plan.batching.on_device
    in_memory = all(source.in_memory for source in (*holdout.training, *holdout.validation))
    left = {
        "use `engine=native`": on_host and plan.patches.engine == "elasticdeform",
        f"use more `workers`: {workers} of {cores} cores are used": workers < cores,
        "use a larger `memory`, so that all volumes are held in it": not in_memory,
        "use `augment_on=device`": on_host and devices.has_gpu(),
        "use `augment=False` or a machine with more cores: there is nothing faster": True,
    }
    return next(what for what, helps in left.items() if helps)


def chosen_engine(model: keras.Model, holdout: Holdout, plan: Plan, listener: Listener) -> str:
    """Return the engine that the plan's means, and say why where it is "auto".

    That takes the reference engine where it costs less than a tenth of a training step, and the native one elsewhere.
    """
    if plan.patches.engine != "auto" or plan.patches.augment is None:
        return plan.patches.engine
    if plan.batching.on_device:
        listener.say("engine: native, the one that runs on the device")
        return "native"
    try:
        load_elasticdeform()
    except InputError as error:
        listener.say(f"engine: native ({error})")
        return "native"
    patches, batching = replace(plan.patches, engine="elasticdeform"), plan.batching
    sample = _seconds(lambda index: training_sample(holdout.training, patches, batching.seed, index))
    batch = np.zeros((batching.batch_size, *patches.patch, plan.spec.channels), np.float32)
    network = compiled_network(model)
    with hosts.alone(model.variables):
        step = _PASSES * _seconds(lambda index: network(batch))
    seconds = sample * batching.batch_size / min(batching.workers, os.cpu_count() or 1)
    engine = "elasticdeform" if seconds < _BEARABLE * step else "native"
    listener.say(
        f"engine: {engine}, because elasticdeform takes {seconds:.2g} s for the patches of a step "
        f"and the network about {step:.2g} s"
    )
    return engine


def _seconds(function: Callable[[int], object]) -> float:
    """Return the time of a call after a first one, which loads and compiles."""
    function(0)
    begun = time.perf_counter()
    function(1)
    return time.perf_counter() - begun
