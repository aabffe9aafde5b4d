"""The core on every Keras backend that is installed (pip install jax): the same network, loss and metrics."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

# Run in a process of its own: Keras decides its backend when it is imported.
PROGRAM = """
import json, sys
import numpy as np
import keras
import keras_unet3d
from keras_unet3d.augment import native
from keras_unet3d.augment.layer import Augmentation
from keras_unet3d.augment.draw import AugmentSettings, draw, generator
from keras_unet3d.network.copies import logits_model

rng = np.random.default_rng(0)
x = rng.normal(size=(2, 8, 8, 8, 1)).astype("float32")
y = rng.integers(0, 3, (2, 8, 8, 8))
w = (rng.random(y.shape) < 0.3).astype("float32")
y[w == 0] = 255
model = keras_unet3d.build_model(num_classes=3, base_filters=2, depth=2, block="residual_se", normalization="instance")
weights = [np.random.default_rng(i).normal(size=v.shape, scale=0.2) for i, v in enumerate(model.get_weights())]
model.set_weights(weights)
loss = keras_unet3d.SampleWeightedSparseCrossentropy(from_logits=True, dice_weight=1.0, class_weights=[1, 2, 3])
trained = logits_model(model)
values = {"loss": float(loss(y, trained(x), w))}
for metric in (keras_unet3d.IoU(3), keras_unet3d.Dice(3)):
    metric.update_state(y, model(x), w)
    values[metric.name] = float(metric.result())
values["empty"] = float(loss(y, trained(x), 0 * w))
values["regions"] = float(keras_unet3d.SampleWeightedSparseCrossentropy(
    True, dice_weight=1.0, meanings=[[0, 0, 0], [1, 0, -1], [1, 1, 0]], overlapping=True)(y, trained(x), w))
partly = {"meanings": [[1, 0, 0], [0, 1, 0], [-1, 0, -1]]}
values["partly"] = float(keras_unet3d.SampleWeightedSparseCrossentropy(True, dice_weight=1.0, **partly)(y, trained(x), w))
for metric in (keras_unet3d.IoU(3, **partly), keras_unet3d.IoU(3, name="over", threshold=0.3, **partly)):
    metric.update_state(y, model(x), w)
    values["partly " + metric.name] = float(metric.result())
trained.compile(keras.optimizers.SGD(0.1), loss, weighted_metrics=[keras_unet3d.IoU(3)])
trained.fit(x, y, sample_weight=w, batch_size=2, epochs=2, verbose=0, shuffle=False)
values["after"] = float(loss(y, trained(x), w))
values["tiled"] = float(keras_unet3d.predict_volume(model, x[0], output="probabilities", tile=(4, 8, 8)).std())
changes = AugmentSettings(grid_spacing=8, deformation=1.0, blur_share=1, low_resolution_share=1)
drawn = draw(generator(0, 0), changes, (8, 8, 8), (2.0, 1.0, 1.0), channels=2)
region = tuple(8 + 2 * margin for margin in drawn.margin)
image = rng.normal(size=(*region, 2)).astype("float32")
region = (drawn, image, (image[..., 0] > 0).astype("uint8"), image[..., 1])
moved, labels, weights = native.augment(*region)
values |= {"image": float(moved.std()), "labels": float(labels.sum()), "weights": float(weights.std())}
batch = native.stacked([native.packed(*region, complete=True)] * 2)
x, y, w = (keras.ops.convert_to_numpy(part) for part in Augmentation(inset=(1, 1, 1))(batch))
inner = (slice(1, -1),) * 3
labelled = labels[inner] != 255
for sample in range(2):
    np.testing.assert_allclose(x[sample], moved, atol=1e-5)
    np.testing.assert_array_equal(y[sample], np.where(labelled, labels[inner], 0))
    np.testing.assert_allclose(w[sample], labelled * weights[inner])
assert ("tensorflow" in sys.modules) == (keras.backend.backend() == "tensorflow")
print(json.dumps(values))
"""


def values_on(backend):
    environment = os.environ | {"KERAS_BACKEND": backend}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


BACKENDS = [name for name in ("jax", "torch", "tensorflow") if importlib.util.find_spec(name)]


@pytest.mark.long
def test_every_installed_backend_gives_the_same():
    found = {backend: values_on(backend) for backend in BACKENDS}
    first = found[BACKENDS[0]]
    assert first["empty"] == 0
    assert first["after"] < first["loss"]
    for values in found.values():
        np.testing.assert_allclose(list(values.values()), list(first.values()), rtol=1e-4)
