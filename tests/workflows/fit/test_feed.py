"""What feeds a fit: engine, device and advice; and all of it without TensorFlow."""

import csv
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import a_plan, tiny_settings, write_pair

from keras_unet3d import InputError, fit
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.patches.holdout import Holdout
from keras_unet3d.workflows.fit import feed


def a_holdout(in_memory=True):
    return Holdout([SimpleNamespace(in_memory=in_memory)], [], "", True)


def told(**changes):
    return tiny_settings(**{"augment": True} | changes)


# ---- the engine ------------------------------------------------------------------------------------


def chosen(monkeypatch, sample, forward, **changes):
    """Return the engine chosen where a sample and a forward pass take so long, and what was said."""
    said, times = [], iter((sample, forward))
    monkeypatch.setattr(feed, "compiled_network", lambda model: lambda batch: None)
    monkeypatch.setattr(feed, "_seconds", lambda function: next(times))
    plan = a_plan(augment=True, engine="auto", **changes)
    return feed.chosen_engine(SimpleNamespace(variables=()), a_holdout(), plan, Listener(said.append)), said


def test_auto_takes_the_reference_engine_where_it_costs_less_than_a_tenth(monkeypatch):
    # A step is about three forward passes: 3 s; two patches on one thread 0.2 s.
    engine, said = chosen(monkeypatch, 0.1, 1.0, batch_size=2)
    assert engine == "elasticdeform"
    assert said == [
        "engine: elasticdeform, because elasticdeform takes 0.2 s for the patches of a step and the network about 3 s"
    ]


def test_auto_takes_the_native_engine_elsewhere(monkeypatch):
    engine, said = chosen(monkeypatch, 0.2, 1.0, batch_size=2)
    assert engine == "native"
    assert said[0].startswith("engine: native, because elasticdeform takes 0.4 s for the patches of a step and")


def test_auto_takes_the_native_engine_where_elasticdeform_is_broken(monkeypatch):
    def broken():
        raise InputError("elasticdeform: expected a working installation, found none.")

    monkeypatch.setattr(feed, "load_elasticdeform", broken)
    engine, said = chosen(monkeypatch, 0.0, 1.0)
    assert (engine, said) == (
        "native",
        ["engine: native (elasticdeform: expected a working installation, found none.)"],
    )


def test_what_is_not_auto_is_taken_unmeasured(monkeypatch):
    def never(function):
        raise AssertionError

    monkeypatch.setattr(feed, "_seconds", never)
    for changes in ({"engine": "native"}, {"engine": "elasticdeform"}, {"engine": "auto", "augment": False}):
        plan = a_plan(**{"augment": True} | changes)
        assert (
            feed.chosen_engine(SimpleNamespace(variables=()), a_holdout(), plan, SILENT)
            == plan.patches.engine
            == changes["engine"]
        )


@pytest.mark.slow
def test_the_config_keeps_the_engine_that_was_chosen_and_the_waiting(tmp_path):
    said = []
    run = fit(write_pair(tmp_path / "a.h5"), tmp_path / "run", settings=told(), listener=Listener(said.append))
    config = json.loads((run.path / "config.json").read_text())
    (line,) = [line for line in said if line.startswith("engine: ")]
    assert config["settings"]["engine"] == line.split()[1].rstrip(",")
    assert 0 <= config["input"]["waiting"] <= 1
    with (run.path / "history.csv").open() as file:
        assert [float(row["waiting"]) for row in csv.DictReader(file)] == pytest.approx([config["input"]["waiting"]])
    assert any("waiting for input" in line for line in said if line.startswith("epoch"))
    assert "augmentation: rotation up to 15 degrees" in "\n".join(said)
    assert "32 voxels = 32 um" in "\n".join(said)


# ---- the advice ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "in_memory", "gpu", "said"),
    [
        ({"engine": "elasticdeform", "workers": 4}, True, False, "use `engine=native`"),
        ({"engine": "native", "workers": 1}, True, False, "use more `workers`: 1 of 4 cores are used"),
        ({"augment": False, "workers": 1}, True, False, "use more `workers`: 1 of 4 cores are used"),
        ({"engine": "native", "workers": 4}, False, False, "use a larger `memory`, so that all volumes are held in it"),
        ({"engine": "native", "workers": 4}, True, True, "use `augment_on=device`"),
        (
            {"engine": "native", "workers": 4},
            True,
            False,
            "use `augment=False` or a machine with more cores: there is nothing faster",
        ),
    ],
)
def test_advice(changes, in_memory, gpu, said, monkeypatch):
    monkeypatch.setattr(feed.os, "cpu_count", lambda: 4)
    plan = a_plan(**{"augment": True} | changes)
    monkeypatch.setattr(feed.devices, "has_gpu", lambda: gpu)
    assert feed.advice(a_holdout(in_memory), plan) == said


# ---- the device ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_augmentation_on_the_device_trains_on_the_same_samples(tmp_path):
    write_pair(tmp_path / "a.h5")
    losses = []
    for where in ("host", "device"):
        settings = told(engine="native", augment_on=where, epochs=2, steps_per_epoch=2, batch_size=2)
        losses.append(fit(tmp_path, tmp_path / where, settings=settings).history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


# ---- without TensorFlow ----------------------------------------------------------------------------

PROGRAM = """
import sys
sys.modules["tensorflow"] = None  # an import of it fails
import json
from keras_unet3d import FitSettings, Listener, fit
for where in ("host", "device"):
    settings = FitSettings(patch=(8, 8, 8), batch_size=2, epochs=2, steps_per_epoch=3, base_filters=2, depth=2,
                           unlabelled=(9,), workers=2, engine="native", augment_on=where)
    run = fit(sys.argv[1], f"{sys.argv[1]}.{where}", settings=settings, listener=Listener(print))
    print(json.dumps(run.history))
"""


@pytest.mark.slow
def test_fit_runs_on_jax_where_there_is_no_tensorflow(tmp_path):
    pytest.importorskip("jax")
    path = write_pair(tmp_path / "a.h5")
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "waiting for input" in done.stdout
    host, device = (json.loads(line)["loss"] for line in done.stdout.splitlines() if line.startswith("{"))
    np.testing.assert_allclose(host, device, rtol=1e-3)
    for where in ("host", "device"):
        found = {each.name for each in (tmp_path / f"a.h5.{where}").iterdir()}
        assert {"config.json", "model.keras", "history.csv", "samples.png"} <= found
