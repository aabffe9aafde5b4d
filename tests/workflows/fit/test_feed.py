"""What feeds a fit: engine, device, memory and advice; the sheet of samples; and all of it without TensorFlow."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import says, tiny_settings, write_pair

from keras_unet3d import FitSettings, InputError, fit
from keras_unet3d.augment import native
from keras_unet3d.augment.draw import AugmentSettings, draw, generator
from keras_unet3d.datasets import Example
from keras_unet3d.labels import LabelTable
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.pictures import slices
from keras_unet3d.volumes import from_array
from keras_unet3d.workflows.fit import feed, plan, sources

SPEC = ModelSpec(Architecture(num_classes=2), LabelTable((0, 1), ("a", "b")), "zscore", (8, 8, 8))


def a_split(in_memory=True):
    return sources.Split([], [], "", True, in_memory)


def told(**changes):
    return tiny_settings(**{"augment": True} | changes)


# ---- the engine ------------------------------------------------------------------------------------


def chosen(monkeypatch, sample, forward, **changes):
    """Return the engine chosen where a sample and a forward pass take so long, and what was said."""
    said, times = [], iter((sample, forward))
    monkeypatch.setattr(feed, "compiled", lambda model: lambda batch: None)
    monkeypatch.setattr(feed, "_seconds", lambda function: next(times))
    return feed.chosen_engine(None, a_split(), SPEC, told(engine="auto", **changes), said.append), said


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
        settings = told(**changes)
        assert feed.chosen_engine(None, a_split(), SPEC, settings, print) == settings.engine


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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine": "elastic"}, ["engine: expected one of auto, elasticdeform, native", "'elastic'"]),
        ({"augment_on": "gpu"}, ["augment_on: expected one of host, device", "'gpu'"]),
        (
            {"augment_on": "device", "engine": "elasticdeform"},
            ["engine: expected native or auto with augment_on=device, found elasticdeform"],
        ),
        ({"flips": "xa"}, ["flips: expected some of the axes z, y and x, each once", "'xa'"]),
        ({"flips": "xx"}, ["flips: expected some of the axes z, y and x, each once", "'xx'"]),
        ({"deformation": 20.0}, ["deformation: expected at most half the grid_spacing, 16", "found 20.0"]),
        ({"memory": -1}, ["memory: expected a number of at least 0, found -1"]),
    ],
)
def test_settings_refuse(changes, words):
    with pytest.raises(InputError, match=says(*words)):
        FitSettings(**changes)


def test_flips_and_voxel_size_reach_the_augmentation():
    spec = ModelSpec(Architecture(num_classes=2), SPEC.labels, "zscore", (8, 8, 8), (2.0, 0.5, 0.5), "um")
    changes = plan.patch_settings(spec, told(flips="yx"), augment=True).augment
    assert (changes.flips, changes.voxel) == ((1, 2), 0.5)
    assert plan.describe_changes(spec, told(flips="yx", deformation=3.0)).endswith(
        "control points 32 voxels = 16 um apart moved by 3 voxels = 1.5 um, grey values, mirrored along yx"
    )
    assert plan.describe_changes(spec, told(augment=False)) == "augmentation: none"


# ---- the advice ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "in_memory", "gpu", "said"),
    [
        ({"engine": "elasticdeform", "workers": 4}, True, False, "use --engine native"),
        ({"engine": "native", "workers": 1}, True, False, "use more --workers: 1 of 4 cores are used"),
        ({"augment": False, "workers": 1}, True, False, "use more --workers: 1 of 4 cores are used"),
        ({"engine": "native", "workers": 4}, False, False, "use a larger --memory"),
        ({"engine": "native", "workers": 4}, True, True, "use --augment-on device"),
        ({"engine": "native", "workers": 4}, True, False, "use --no-augment or a machine with more cores"),
    ],
)
def test_advice(changes, in_memory, gpu, said, monkeypatch):
    monkeypatch.setattr(feed.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(feed.runtime, "has_gpu", lambda: gpu)
    assert feed.advice(a_split(in_memory), told(**changes)).startswith(said)


# ---- memory ----------------------------------------------------------------------------------------


def an_example(size):
    image = from_array(np.zeros((size, 16, 16), np.float32))
    return Example(str(size), image, from_array(np.zeros((size, 16, 16), np.uint8)), None)


def test_the_smallest_volumes_are_held_until_the_memory_is_used_up():
    examples = [an_example(size) for size in (32, 8, 16)]
    # Five bytes a voxel: 40, 10 and 20 KiB.
    for most, held in (
        (70, [True, True, True]),
        (69, [False, True, True]),
        (10, [False, True, False]),
        (0, [False] * 3),
    ):
        assert sources.held_in_memory(examples, most / 2**20) == held


def test_volumes_beyond_the_memory_are_read_crop_by_crop_and_trained_on_alike(tmp_path):
    for seed, name in enumerate(("a.h5", "b.h5")):
        write_pair(tmp_path / name, seed)
    said, histories = [], []
    for memory in (1.0, 0.0):
        settings = told(engine="native", memory=memory)
        histories.append(
            fit(tmp_path, tmp_path / f"run{memory}", settings=settings, listener=Listener(said.append)).history
        )
    assert histories[0]["val_loss"] == histories[1]["val_loss"]
    lines = [line for line in said if line.startswith("memory:")]
    assert lines[0] == "memory: holding 2 volumes, 0 MB"
    assert lines[1].startswith("memory: holding 0 of 2 volumes, 0 MB; the others, 0 MB, are read crop by crop")
    assert "--memory 1 would hold all; now 0 GB" in lines[1]


# ---- the device ------------------------------------------------------------------------------------


def test_augmentation_on_the_device_trains_on_the_same_samples(tmp_path):
    write_pair(tmp_path / "a.h5")
    losses = []
    for where in ("host", "device"):
        settings = told(engine="native", augment_on=where, epochs=2, steps_per_epoch=2, batch_size=2)
        losses.append(fit(tmp_path, tmp_path / where, settings=settings, listener=SILENT).history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


# ---- the sheet -------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_run_shows_its_samples(tmp_path, padding):
    size = {"same": 8, "valid": 18}[padding]
    settings = told(engine="native", padding=padding, patch=(size,) * 3)
    run = fit(write_pair(tmp_path / "a.h5"), tmp_path / "run", settings=settings, listener=SILENT)
    assert (run.path / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_the_sheet_is_drawn_with_flat_and_unlabelled_patches(tmp_path):
    drawn = draw(generator(0, 0), AugmentSettings(), (4, 6, 8))
    source = native.source_positions(drawn, (4, 6, 8))
    flat = np.zeros((4, 6, 8), np.float32)
    rows = [slices.Change(flat, flat, np.full((4, 6, 8), classes), source, None) for classes in (-1, 1)]
    slices.changes(rows, tmp_path / "a.png", ["a", "b"])
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_source_positions_are_those_of_the_map():
    still = AugmentSettings(rotation=0, scaling=(1, 1), deformation=0)
    found = native.source_positions(draw(generator(0, 0), still, (3, 4, 5)), (3, 4, 5))
    np.testing.assert_allclose(found, np.indices((3, 4, 5)), atol=1e-5)
    shrunk = AugmentSettings(rotation=0, scaling=(0.5, 0.5), deformation=0)
    found = native.source_positions(draw(generator(0, 0), shrunk, (3, 4, 5)), (3, 4, 5))
    centre = np.array([1, 1.5, 2])[:, None, None, None]
    np.testing.assert_allclose(found, 2 * (np.indices((3, 4, 5)) - centre) + centre, atol=1e-4)


# ---- without TensorFlow ----------------------------------------------------------------------------

PROGRAM = """
import sys
sys.modules["tensorflow"] = None  # an import of it fails
import json
from keras_unet3d import FitSettings, fit
for where in ("host", "device"):
    settings = FitSettings(patch=(8, 8, 8), batch_size=2, epochs=2, steps_per_epoch=3, base_filters=2, depth=2,
                           unlabelled=(9,), workers=2, engine="native", augment_on=where)
    print(json.dumps(fit(sys.argv[1], f"{sys.argv[1]}.{where}", settings=settings).history))
"""


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
