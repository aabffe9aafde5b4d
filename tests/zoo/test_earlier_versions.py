"""Runs and bundles that version 0.1.0 wrote are still read: the literal text of what it wrote, with a new network."""

import json

import keras
import numpy as np
import pytest

from keras_unet3d import FitSettings, InputError, fit, zoo
from keras_unet3d.labels import LabelTable
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.network.unet import build
from keras_unet3d.run_folder import RunFolder
from keras_unet3d.zoo.archives import write_sums
from keras_unet3d.zoo.verifying import verify

SETTINGS = """
{"patch": [4, 8, 8], "batch_size": 2, "epochs": 2, "steps_per_epoch": 5, "num_classes": null, "classes": null,
 "unlabelled": [3], "target": "semantic", "raw_key": "raw", "label_key": "label", "weight_key": "weight", "axes": null,
 "base_filters": 2, "filters": null, "depth": 2, "padding": "same", "normalization": "batch", "block": "plain",
 "dropout": 0.0, "loss": "crossentropy+dice", "class_weights": null, "optimizer": "adamw", "learning_rate": 0.002,
 "decay": "polynomial", "warmup": 0, "clip": 0.0, "ema": 0.0, "accumulate": 1, "early_stop": null,
 "deep_supervision": false, "freeze_encoder": 0, "sampling": "classes", "augment": true, "engine": "native",
 "augment_on": "host", "rotation": 15.0, "grid_spacing": 32.0, "deformation": 3.0, "flips": null,
 "precision": "float32", "validation_share": 0.2, "memory": 1.0, "devices": 1, "workers": 2, "seed": 0}
"""
ARCHITECTURE = """
{"input_shape": [null, null, null, 1], "num_classes": 3, "base_filters": 2, "depth": 2, "padding": "same",
 "normalization": "batch", "block": "plain", "kernel_sizes": [[1, 3, 3], [3, 3, 3]], "pool_sizes": [[1, 2, 2]],
 "upsampling": "transpose", "dropout": 0.0, "l2": 0.0, "output": "probabilities", "seed": 0, "name": "unet3d",
 "filters": null}
"""
MODEL = f"""
{{"architecture": {ARCHITECTURE},
 "labels": {{"values": [0, 1, 7], "names": ["lumen", "wall", "background"], "unlabelled": [3], "target": "semantic"}},
 "normalization": "zscore", "patch": [4, 8, 8], "spacing": [2.0, 1.0, 1.0], "unit": "um",
 "keys": {{"raw": "raw", "label": "label", "weight": "weight", "axes": null}}}}
"""
VERSIONS = """
{"python": "3.11.7", "keras-unet3d": "0.1.0", "tensorflow": "2.21.0", "jax": "0.7.1", "keras": "3.15.1",
 "numpy": "1.26.4", "elasticdeform": "0.5.1", "scipy": "1.17.1"}
"""
CONFIG = f"""
{{"settings": {SETTINGS}, "model": {MODEL}, "start": null,
 "data": {{"arguments": ["sample"], "val": [], "globs": [null, null, null],
          "content": {{"training": ["90d19f8c01b13ae7"], "validation": ["000af98a420e5778"]}},
          "training": ["sample"], "validation": ["sample"],
          "split": "1 of 7 annotated slices (z 31), kept from training with 2 voxels on either side",
          "class_weights": null, "held_out_files": []}},
 "versions": {VERSIONS},
 "machine": {{"backend": "tensorflow", "devices": ["/device:CPU:0"], "cores": 2, "processor": "x86_64", "oneDNN": true}},
 "best": {{"epoch": 1, "dice": 0.34, "iou": 0.22, "loss": 1.95, "val_dice": 0.16, "val_iou": 0.10, "val_loss": 33.7,
          "waiting": 0.006}},
 "input": {{"waiting": 0.007}}}}
"""
CARD = f"""
{{"schema": 2, "name": "tubules", "version": "1.0.0", "aliases": [], "description": "", "authors": [], "cite": [],
 "training": {{"settings": {SETTINGS}, "data": {{"training": ["sample"], "validation": ["sample"], "split": "1 of 7"}}}},
 "evaluation": {{"on": "patches of the validation volumes", "val_dice": 0.95, "val_iou": 0.91, "val_loss": 0.28}},
 "intended_use": "", "limitations": "", "tolerance": 0.0001, "software": {VERSIONS}, "created": "2026-11-24",
 "licence": {{"weights": "not stated", "data": "not stated", "code": "MIT"}}, "model": {MODEL},
 "inputs": [{{"name": "volume", "axes": "bzyxc", "channels": 1, "dtype": "float32", "value_range": "after preprocessing",
             "voxel_size": [2.0, 1.0, 1.0], "unit": "um"}}],
 "outputs": [{{"name": "probabilities", "axes": "bzyxc", "channels": 3, "dtype": "float32", "value_range": [0, 1]}}],
 "geometry": {{"padding": "same", "divisible_by": [1, 2, 2], "minimum_shape": [1, 2, 2], "offset": [0, 0, 0],
              "halo": [2, 8, 8], "tile": [4, 8, 8]}},
 "preprocessing": [{{"name": "zscore", "over": "volume", "per": "channel"}}],
 "classes": [{{"class": 0, "value": 0, "name": "lumen"}}, {{"class": 1, "value": 1, "name": "wall"}},
             {{"class": 2, "value": 7, "name": "background"}}],
 "unlabelled": [3], "files": {{"model.keras": {{}}, "test_input.npy": {{}}, "test_output.npy": {{}}}}}}
"""
TABLE = LabelTable((0, 1, 7), ("lumen", "wall", "background"), (3,))
VOLUME = np.random.default_rng(0).gamma(4.0, 20.0, (6, 10, 12)).astype(np.float32)


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """A home of its own, to remember proofs in."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "KERAS_UNET3D_ZOO"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return build(Architecture.from_config(json.loads(ARCHITECTURE), "test"))


@pytest.fixture
def run(network, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(CONFIG)
    network.save(folder / "model.keras")
    return folder


def labels(network) -> np.ndarray:
    x = ((VOLUME - VOLUME.mean()) / VOLUME.std())[None, ..., None]
    return np.asarray(TABLE.values)[np.asarray(network(x))[0].argmax(-1)]


def test_a_run_folder_loads_and_predicts(run, network):
    config = RunFolder(run).read_config()
    assert config.model.labels == TABLE and config.model.spacing == (2.0, 1.0, 1.0)
    assert (config.versions["keras-unet3d"], config.parts) == ("0.1.0", {})
    assert (zoo.predictor(run)(VOLUME) == labels(network)).mean() > 0.99
    for found, wanted in zip(zoo.load(run).weights, network.weights, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_its_settings_are_options_of_fit_again(run):
    settings = FitSettings.from_config(RunFolder(run).read_config().settings, "config.json")
    assert (settings.patch, settings.depth, settings.deformation, settings.unlabelled) == ((4, 8, 8), 2, 3.0, (3,))
    assert json.loads(SETTINGS).items() <= json.loads(json.dumps(settings.config())).items()


def test_what_it_held_out_is_told(run):
    with pytest.raises(InputError, match="expected a run that held out whole volumes, found '1 of 7 annotated slices"):
        zoo.held_out_files(run)


def test_it_is_trained_further_and_exported(run, tmp_path):
    bundle = zoo.export_run(run, {"name": "old"}, tmp_path / "zoo", complete=False)
    assert zoo.card(bundle).training["settings"]["epochs"] == 2
    assert zoo.card(bundle).model.labels == TABLE
    # Nobody keeps the state of this one: it is refused, or goes on from its beginning, but its settings are known.
    with pytest.raises(InputError, match="batch_size: expected 2, as .* was begun with, found 3"):
        fit([], run, settings=FitSettings(batch_size=3), resume=True)


def test_a_bundle_loads_is_verified_and_predicts(network, tmp_path):
    bundle = tmp_path / "tubules" / "1.0.0"
    bundle.mkdir(parents=True)
    (bundle / "metadata.json").write_text(CARD)
    network.save(bundle / "model.keras")
    raw = VOLUME[None, ..., None]
    np.save(bundle / "test_input.npy", raw)
    np.save(bundle / "test_output.npy", np.asarray(network((raw - raw.mean()) / raw.std())))
    write_sums(bundle)
    assert [line.split(":")[0] for line in verify(bundle)][-1] == "model.keras"
    card = zoo.card(bundle)
    assert (card.name, card.version, card.model.labels, card.licence.code) == ("tubules", "1.0.0", TABLE, "MIT")
    assert (zoo.predictor(bundle)(VOLUME) == labels(network)).mean() > 0.99
    assert zoo.install(bundle) == zoo.find("tubules")
