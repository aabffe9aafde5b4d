"""Where the time of a training step goes."""

import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from keras_unet3d.files import write_json
from keras_unet3d.listener import Listener
from keras_unet3d.machine import precision
from keras_unet3d.network.unet import build
from keras_unet3d.training import fused
from keras_unet3d.training.loop import compiled_network
from keras_unet3d.training.schedule import Feed, OwnParts
from keras_unet3d.workflows.fit.memory import costs
from keras_unet3d.workflows.fit.plan import Plan

_TIMED = 5
_MATRIX = 2048


def write_profile(path: Path, plan: Plan, feed: Feed, own: OwnParts, listener: Listener) -> None:
    """Measure a step of a network like the one to be trained, write the figures as JSON, and say them.

    Seconds: `input`, one batch made by all workers; `forward`, the network and its loss; `backward`, the gradients;
    `optimizer`, the change of the weights and the metrics. GFLOP/s: of the convolutions over the step without input, and of
    the product of two float32 matrices on the same device.
    """
    with precision.dtype_policy(plan.precision):
        model = build(plan.spec.architecture)
    trained = compiled_network(model, plan.schedule, own, plan.spec.labels)
    batches = iter(feed.training(0))
    batch = next(batches)
    seconds = {"input": _seconds(lambda: next(batches))}
    if feed.augmentation:
        batch = feed.augmentation(batch)
    x, y, w = batch
    forward, gradients = fused.loss_and_gradients(trained)
    seconds["forward"] = _seconds(lambda: forward(x, y, w))
    both = _seconds(lambda: gradients(x, y, w))
    step = _seconds(lambda: trained.train_on_batch(x, y, sample_weight=w))
    seconds["backward"], seconds["optimizer"] = max(both - seconds["forward"], 0.0), max(step - both, 0.0)
    flops = costs(plan).flops
    rates = {"step": flops / step / 1e9, "matrix product": _matrix_rate()}
    write_json(path, {"seconds": seconds | {"step": step}, "gflop": flops / 1e9, "gflop_per_second": rates})
    shares = ", ".join(f"{name} {seconds[name]:.3f} s" for name in ("forward", "backward", "optimizer"))
    listener.say(f"profile: step {step:.3f} s ({shares}); a batch is made in {seconds['input']:.3f} s meanwhile")
    listener.say(
        f"profile: {rates['step']:.0f} GFLOP/s of convolutions, {rates['step'] / rates['matrix product']:.2f} of this device's "
        f"float32 matrix product ({rates['matrix product']:.0f}); see {path}"
    )


def _seconds(call: Callable[[], object]) -> float:
    """Return the median time of a call, after two: what is compiled is compiled then."""
    times = []
    for _ in range(2 + _TIMED):
        begun = time.perf_counter()
        # What a device computes is waited for.
        keras.tree.map_structure(keras.ops.convert_to_numpy, call())
        times.append(time.perf_counter() - begun)
    return float(np.median(times[2:]))


def _matrix_rate() -> float:
    """Return GFLOP/s of a float32 matrix product."""
    matrix = keras.random.normal((_MATRIX, _MATRIX), seed=0)
    seconds = _seconds(lambda: keras.ops.matmul(matrix, matrix)[0, 0])
    return 2 * _MATRIX**3 / seconds / 1e9
