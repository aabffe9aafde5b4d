"""Several devices: two virtual CPUs compute what one does on the whole batch."""

import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

PROGRAM = """
import json, sys
import numpy as np
import keras
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    cpus = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from pathlib import Path
from tempfile import mkdtemp
from keras_unet3d import FitSettings, fit

folder, cases = sys.argv[1], json.loads(sys.argv[2])
for (normalization, accumulate), devices in ((case, devices) for case in cases for devices in (1, 2)):
    settings = FitSettings(patch=(8, 8, 8), batch_size=4, epochs=2, steps_per_epoch=3, base_filters=2, depth=2, workers=1,
                           optimizer="sgd", learning_rate=0.05, normalization=normalization, engine="native",
                           devices=devices, accumulate=accumulate, augment=False, class_weights="balanced")
    out = Path(mkdtemp()) / "run"
    history = fit(folder, out, settings=settings).history
    model = keras.models.load_model(out / "last.keras", compile=False)
    weights = [weight.tolist() for weight in model.get_weights()]
    print(json.dumps({"history": history, "weights": weights}))
"""


@pytest.fixture(scope="module")
def sparse_folder(tmp_path_factory):
    """Two volumes with a few annotated slices: replicas see different numbers of labelled voxels, some none."""
    folder = tmp_path_factory.mktemp("sparse")
    rng = np.random.default_rng(0)
    for number in range(3):
        raw = rng.normal(size=(12, 16, 16)).astype("f")
        label = np.full(raw.shape, 255, np.uint8)
        label[5] = raw[5] > 0
        label[:, 3, :4] = raw[:, 3, :4] > 0
        with h5py.File(folder / f"{number}.h5", "w") as file:
            file["raw"], file["label"] = raw, label
    return folder


@pytest.mark.parametrize(
    ("backend", "cases"),
    # Normalisation, and batches per change of the weights.
    [
        pytest.param("tensorflow", [("batch", 1)], marks=pytest.mark.slow),
        pytest.param("jax", [("batch", 1), ("none", 3)], marks=pytest.mark.slow),
        pytest.param("tensorflow", [("none", 1), ("instance", 1)], marks=pytest.mark.long),
    ],
)
def test_two_devices_learn_what_one_does(sparse_folder, backend, cases):
    environment = os.environ | {"KERAS_BACKEND": backend, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    command = [sys.executable, "-c", PROGRAM, str(sparse_folder), json.dumps(cases)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    found = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert len(found) == 2 * len(cases)
    for one, two in zip(found[::2], found[1::2], strict=True):
        for a, b in zip(one["weights"], two["weights"], strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
        for name in set(one["history"]) - {"waiting"}:
            np.testing.assert_allclose(one["history"][name], two["history"][name], rtol=0, atol=1e-5, err_msg=name)
