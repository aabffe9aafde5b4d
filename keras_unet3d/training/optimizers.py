"""Optimisers and the course of the learning rate."""

import math
from collections.abc import Callable

import keras
from keras import ops

from keras_unet3d.training.schedule import Schedule

_WEIGHT_DECAY = 1e-4
_MOMENTUM = 0.99

# Name -> the optimiser of a learning rate and of what all have in common.
OPTIMIZERS: dict[str, Callable] = {
    "adamw": lambda rate, common: keras.optimizers.AdamW(rate, weight_decay=_WEIGHT_DECAY, **common),
    "sgd": lambda rate, common: keras.optimizers.SGD(rate, momentum=_MOMENTUM, nesterov=True, **common),
}

# Name -> factor of the learning rate at a share of the training, 0 to 1.
DECAYS: dict[str, Callable] = {
    "polynomial": lambda share: (1.0 - share) ** 0.9,
    "cosine": lambda share: 0.5 * (1.0 + ops.cos(math.pi * share)),
    "constant": lambda share: share * 0.0 + 1.0,
}


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate at a step: it rises over the warm-up, then decays to the end of the last epoch.

    Args:
        schedule: largest value, warm-up, decay and steps.
        begun: steps of the training that were done before the optimiser's first one.
    """

    def __init__(self, schedule: Schedule, begun: int = 0):
        self.schedule, self.begun = schedule, begun

    def __call__(self, step):
        schedule, warmup = self.schedule, self.schedule.warmup
        step = ops.cast(step, "float32") + self.begun
        share = ops.clip((step - warmup) / max(schedule.steps - warmup, 1), 0.0, 1.0)
        # The first step of a warm-up is not wasted on a rate of 0.
        risen = ops.minimum((step + 1.0) / max(warmup, 1), 1.0)
        return schedule.learning_rate * risen * DECAYS[schedule.decay](share)

    def get_config(self) -> dict:
        return {"schedule": self.schedule, "begun": self.begun}


def make_optimizer(schedule: Schedule, begun: int = 0) -> keras.optimizers.Optimizer:
    """Return the optimiser of a schedule; `begun` as in `LearningRate`."""
    common = {
        "global_clipnorm": schedule.clip or None,
        "use_ema": bool(schedule.ema),
        # Keras checks it even where it is not used.
        "ema_momentum": schedule.ema or 0.99,
        "gradient_accumulation_steps": schedule.accumulate if schedule.accumulate > 1 else None,
    }
    return OPTIMIZERS[schedule.optimizer](LearningRate(schedule, begun), common)


def swap_averages(optimizer: keras.optimizers.Optimizer, variables: list) -> None:
    """Exchange the trained weights and their running means, where the optimiser keeps any."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if not optimizer.use_ema:
        return
    for variable, mean in zip(variables, optimizer._model_variables_moving_average, strict=True):
        held = ops.convert_to_numpy(variable)
        variable.assign(mean)
        mean.assign(held)
