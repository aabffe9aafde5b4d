"""Optimisers and the course of the learning rate."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_unet3d.machine.tensors import Tensor
from keras_unet3d.training.schedule import Schedule

_WEIGHT_DECAY = 1e-4
_MOMENTUM = 0.99
# Of Muon, whose steps are as large as AdamW's at the same rate (Liu et al. 2025, arXiv:2502.16982).
_MUON_MOMENTUM, _MUON_SCALE = 0.95, 0.2
# Coefficients of the iteration that makes all singular values about 1, and how often it is done (Jordan et al. 2024).
_QUINTIC, _ITERATIONS = (3.4445, -4.7750, 2.0315), 5
# A kernel of fewer inputs or outputs has too few directions.
_LEAST_CHANNELS = 4


class Muon(keras.optimizers.AdamW):
    """AdamW, but for the kernels of convolutions: their momentum is changed into one that moves all directions alike.

    A kernel counts as a matrix of all that a voxel sees by its output channels. The first and the last
    convolution, offsets and normalisation are left to AdamW.

    Source: Jordan et al. 2024, "Muon"; scaled to the steps of AdamW as in Liu et al. 2025 (arXiv:2502.16982).
    """

    def build(self, variables: list[keras.Variable]) -> None:
        super().build(variables)
        self._inner_kernels = [_is_inner_kernel(variable) for variable in variables]

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        number = self._get_variable_index(variable)
        if not self._inner_kernels[number]:
            super().update_step(gradient, variable, learning_rate)
            return
        momentum = self._momentums[number]
        gradient = ops.cast(gradient, variable.dtype)
        self.assign(momentum, _MUON_MOMENTUM * momentum + gradient)
        ahead = gradient + _MUON_MOMENTUM * momentum
        matrix = ops.reshape(ahead, (-1, ahead.shape[-1]))
        size = _MUON_SCALE * math.sqrt(max(matrix.shape)) * ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, size * ops.reshape(orthogonalized(matrix), variable.shape))


def _is_inner_kernel(variable: keras.Variable) -> bool:
    is_kernel = len(variable.shape) == 5 and min(variable.shape[-2:]) >= _LEAST_CHANNELS
    return is_kernel and "logits" not in variable.path


def orthogonalized(matrix: Tensor) -> Tensor:
    """Return the matrix with all its singular values moved to about 1 (0.7 to 1.2), by matrix products alone."""
    first, third, fifth = _QUINTIC
    is_tall = matrix.shape[0] > matrix.shape[1]
    # The products are as large as the shorter side.
    x = ops.transpose(matrix) if is_tall else matrix
    x = x / (ops.norm(x) + 1e-7)
    for _ in range(_ITERATIONS):
        square = ops.matmul(x, ops.transpose(x))
        x = first * x + ops.matmul(third * square + fifth * ops.matmul(square, square), x)
    return ops.transpose(x) if is_tall else x


# Name -> the optimiser of a learning rate and of what all have in common.
OPTIMIZERS: dict[str, Callable] = {
    "muon": lambda rate, common: Muon(rate, weight_decay=_WEIGHT_DECAY, **common),
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
    # By the clock it is set before every epoch.
    rate = LearningRate(schedule, begun) if schedule.minutes is None else schedule.learning_rate
    return OPTIMIZERS[schedule.optimizer](rate, common)


def swap_averages(optimizer: keras.optimizers.Optimizer, variables: list) -> None:
    """Exchange the trained weights and their running means, where the optimiser keeps any."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if not optimizer.use_ema:
        return
    for variable, mean in zip(variables, optimizer._model_variables_moving_average, strict=True):
        held = ops.convert_to_numpy(variable)
        variable.assign(mean)
        mean.assign(held)
