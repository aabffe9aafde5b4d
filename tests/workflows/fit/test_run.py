"""fit as a user means it: volumes with labels in, a run folder out; what is refused leaves nothing behind."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import h5py
import keras
import nibabel
import numpy as np
import pytest
import tifffile
from helpers import UNLABELLED, VALUES, says, tiny_settings, tiny_volume, write_pair

import keras_unet3d
from keras_unet3d import FitSettings, InputError, evaluate, fit, open_data, predict, zoo
from keras_unet3d.datasets.cells import touching_cells
from keras_unet3d.labels import LabelTable
from keras_unet3d.listener import Listener
from keras_unet3d.run_folder import RunFolder
from keras_unet3d.volumes import open_volume

# A turned, mirrored and shifted geometry: a writer that drops any of it is found out.
AFFINE = np.array([[0, -1.5, 0, 12.0], [1.0, 0, 0, -7.0], [0, 0, 2.5, 3.0], [0, 0, 0, 1.0]])


def _quick(data, out, **more):
    return fit(data, out, settings=more.pop("settings", tiny_settings()), **more)


def _config(run: Path) -> dict:
    return json.loads((run / "config.json").read_text())


# ---- the run folder --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "model.keras", "history.csv", "curves.png", "slices.png", "logs"])
def test_the_run_folder_holds_what_the_contract_says(tiny_run, name):
    assert (tiny_run / name).exists()


def test_nothing_half_written_is_left(tiny_run):
    assert not [path for path in tiny_run.rglob("*") if "partial" in path.name]


def test_the_settings_in_the_config_are_settings_again(tiny_run):
    written = _config(tiny_run)["settings"]
    settings = FitSettings.from_config(written, "config.json")
    assert json.loads(json.dumps(asdict(settings))) == written
    # What was asked for is kept, what was open is decided.
    assert (settings.patch, settings.epochs, settings.base_filters) == ((8, 8, 8), 1, 2)
    assert settings.unlabelled == (UNLABELLED,)
    assert settings.precision == "float32"


def test_the_config_tells_the_data_the_split_and_the_versions(tiny_run, tiny_data):
    config = _config(tiny_run)
    assert config["data"]["arguments"] == [str(tiny_data)]
    assert sorted(config["data"]["training"] + config["data"]["validation"]) == ["a.h5", "b.h5"]
    assert config["versions"]["keras"] == keras.__version__
    assert config["versions"]["keras-unet3d"] == keras_unet3d.__version__
    assert config["model"]["labels"]["values"] == list(VALUES)
    assert config["model"]["spacing"] == [2.0, 1.0, 1.0]


def test_the_history_has_a_row_per_epoch_and_the_best_is_in_it(tiny_fit):
    rows = (tiny_fit.path / "history.csv").read_text().splitlines()
    assert len(rows) == 2
    assert {"epoch", "loss", "iou", "dice", "val_loss", "val_iou", "val_dice"} <= set(rows[0].split(","))
    assert tiny_fit.best["epoch"] == 1
    assert tiny_fit.best["val_iou"] == tiny_fit.history["val_iou"][0]
    assert _config(tiny_fit.path)["best"] == tiny_fit.best


def test_the_figures_of_a_training_are_those_of_evaluate(tiny_fit, tiny_data):
    evaluated = evaluate(zoo.predictor(tiny_fit.path), tiny_data, only=zoo.held_out_files(tiny_fit.path))
    assert 0 < evaluated["mean_iou"] < 1
    assert tiny_fit.best["val_iou"] == pytest.approx(evaluated["mean_iou"], abs=1e-6)
    assert tiny_fit.best["val_dice"] == pytest.approx(evaluated["mean_dice"], abs=1e-6)


@pytest.mark.slow
def test_a_fit_by_the_clock(tiny_data, tmp_path):
    said = []
    settings = tiny_settings(minutes=0.1, epochs=None, steps_per_epoch=None)
    run = fit([tiny_data], tmp_path / "run", settings=settings, listener=Listener(said.append))
    assert run.history["minutes"] == sorted(run.history["minutes"])
    assert 0.05 < run.history["minutes"][-1] < 0.5
    assert any("0.1 minutes" in line for line in said) and any(" of 0.1 min  loss" in line for line in said)
    config = _config(run.path)["settings"]
    assert (config["minutes"], config["epochs"], config["steps_per_epoch"]) == (0.1, None, None)
    fit([], run.path, resume=True, listener=Listener(said.append))
    assert any("of 0.1 minutes of" in line for line in said)


def test_the_network_in_the_run_is_the_one_that_was_asked_for(tiny_run):
    model = keras.models.load_model(tiny_run / "model.keras", compile=False)
    assert model.input_shape == (None, None, None, None, 1)
    assert model.output_shape[-1] == 2
    assert not model.compiled


def test_the_same_seed_gives_the_same_network(tiny_fit, tiny_data, tmp_path):
    again = _quick([tiny_data], tmp_path / "again")
    first, second = (zoo.load(run.path) for run in (tiny_fit, again))
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert again.history["val_loss"] == pytest.approx(tiny_fit.history["val_loss"], rel=1e-3)


def test_overwrite_replaces_a_run(tiny_run, tiny_data, tmp_path):
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    (run / "old.txt").write_text("of the first run")
    (run / "profile.json").write_text("{}")
    with pytest.raises(InputError, match="the run exists already"):
        _quick([tiny_data], run)
    assert (run / "old.txt").exists()
    _quick([tiny_data], run, overwrite=True)
    # What the run had made is gone, and what somebody put beside it is kept.
    assert (run / "old.txt").read_text() == "of the first run"
    assert not (run / "profile.json").exists()
    assert (run / "model.keras").exists()


def test_fit_leaves_the_global_precision_as_it_was(tiny_data, tmp_path):
    _quick([tiny_data], tmp_path / "run", settings=tiny_settings(precision="mixed_bfloat16"))
    assert keras.config.dtype_policy().name == "float32"
    assert {str(variable.dtype) for variable in zoo.load(tmp_path / "run").weights} == {"float32"}


# ---- kinds of data ---------------------------------------------------------------------------------


@pytest.fixture
def decathlon(tmp_path) -> Path:
    """A data set in the layout of the Medical Segmentation Decathlon; labels 0 and 5 have names."""
    folder = tmp_path / "Task99"
    training = []
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
    for seed, name in enumerate(("one", "two")):
        image, label = tiny_volume(seed)
        label[label == UNLABELLED] = 0
        entry = {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
        nibabel.save(nibabel.Nifti1Image(image.T, AFFINE), folder / entry["image"])
        nibabel.save(nibabel.Nifti1Image(label.T, AFFINE), folder / entry["label"])
        training.append(entry)
    described = {"modality": {"0": "MRI"}, "labels": {"0": "background", "5": "organ"}, "training": training}
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


def test_fit_and_predict_on_the_decathlon_layout(decathlon, tmp_path):
    run = _quick([decathlon], tmp_path / "run").path
    config = _config(run)
    assert config["model"]["labels"]["names"] == ["background", "organ"]
    assert config["model"]["labels"]["values"] == [0, 5]
    assert sorted(config["data"]["training"] + config["data"]["validation"]) == ["one.nii.gz", "two.nii.gz"]
    result = evaluate(zoo.predictor(run), [decathlon])
    assert set(result["classes"]) == {"background", "organ"}
    # The mean leaves out the background.
    assert result["mean_dice"] == pytest.approx(result["classes"]["organ"]["dice"])


def test_fit_on_globs_of_tiff_files(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for seed, name in enumerate(("a", "b")):
        image, label = tiny_volume(seed)
        tifffile.imwrite(tmp_path / "images" / f"{name}.tif", image)
        tifffile.imwrite(tmp_path / "labels" / f"{name}.tif", label)
    globs = {"images": str(tmp_path / "images" / "*.tif"), "labels": str(tmp_path / "labels" / "*.tif")}
    run = _quick([], tmp_path / "run", **globs)
    assert _config(run.path)["model"]["labels"]["values"] == list(VALUES)
    assert np.isfinite(run.history["val_loss"]).all()
    result = evaluate(zoo.predictor(run.path), [], **globs)
    assert [volume["file"] for volume in result["volumes"]] == ["a.tif", "b.tif"]


def test_fit_on_one_volume_splits_it_by_region(tmp_path):
    run = _quick(write_pair(tmp_path / "a.h5"), tmp_path / "run")
    data = _config(run.path)["data"]
    assert data["training"] == data["validation"] == ["a.h5"]
    assert "for validation" in data["split"]


@pytest.mark.slow
def test_fit_with_weights_channels_valid_padding_and_augmentation(tmp_path):
    image, label = tiny_volume(shape=(24, 32, 32))
    pair = {"raw": np.stack([image, -image]), "label": label, "weight": np.full(label.shape, 0.5, np.float32)}
    write_pair(tmp_path / "a.h5", **pair)
    settings = tiny_settings(patch=(18, 18, 18), padding="valid", axes="czyx", augment=True)
    run = _quick([tmp_path / "a.h5"], tmp_path / "run", settings=settings)
    assert np.isfinite(run.history["val_loss"]).all()
    predictor = zoo.predictor(run.path)
    assert predictor(np.moveaxis(pair["raw"], 0, -1)).shape == label.shape


# ---- what the labels mean --------------------------------------------------------------------------


def _cells(seed: int = 0) -> dict[str, np.ndarray]:
    """Return an image with the labels 7 and 40 in three quarters and one, and 255 in the first plane."""
    image, label = tiny_volume(seed)
    label = np.where(np.arange(16)[:, None] < 12, 7, 40) * np.ones_like(label)
    label[0] = 255
    return {"raw": image, "label": label.astype(np.uint8)}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        pytest.param({"unlabelled": ()}, ["7", "40"], marks=pytest.mark.slow),
        pytest.param({"unlabelled": (255,)}, ["7", "40"], marks=pytest.mark.slow),
        ({"unlabelled": (255,), "classes": "7=cell,40=wall"}, ["cell", "wall"]),
    ],
    ids=["inferred", "unlabelled", "classes"],
)
def test_raw_label_values_go_all_the_way_round(tmp_path, settings, names):
    write_pair(tmp_path / "a.h5", **_cells())
    said = []
    run = fit(
        tmp_path / "a.h5", tmp_path / "run", settings=tiny_settings(**settings), listener=Listener(said.append)
    ).path
    labels = _config(run)["model"]["labels"]
    assert (labels["values"], labels["names"], labels["unlabelled"]) == ([7, 40], names, [255])
    inferred = [line for line in said if line.startswith("unlabelled: 255, far above the other values, 7, 40")]
    assert len(inferred) == (settings == {"unlabelled": ()})
    # In the files it writes, and in the arrays of the run and of the bundle.
    (written,) = predict(zoo.predictor(run), [tmp_path / "a.h5"], tmp_path / "o.h5")
    bundled = zoo.predictor(zoo.export_run(run, zoo.Card("tiny"), tmp_path / "zoo"))
    with h5py.File(written, "r") as file:
        predicted = file["label"][:]
    assert predicted.dtype == np.uint8
    assert set(np.unique(predicted)) <= {7, 40}
    np.testing.assert_array_equal(bundled(_cells()["raw"]), predicted)
    assert bundled.spec.labels == LabelTable((7, 40), names, (255,))


def test_nothing_held_out_and_balanced_classes(tmp_path):
    for seed, name in enumerate(("a.h5", "b.h5")):
        write_pair(tmp_path / name, **_cells(seed))
    said = []
    settings = tiny_settings(unlabelled=(), validation_share=0, class_weights="balanced")
    run = fit([tmp_path], tmp_path / "run", settings=settings, listener=Listener(said.append))
    config = _config(run.path)
    assert config["data"]["training"] == config["data"]["validation"] == ["a.h5", "b.h5"]
    assert config["data"]["held_out_files"] == []
    assert config["data"]["split"] == "nothing held out: its figures are of the training labels"
    assert config["settings"]["class_weights"] == "balanced"
    # Three quarters of the labelled voxels are of class 7.
    assert config["data"]["class_weights"] == pytest.approx([2 / 3, 2])
    assert "class weights: 7: 0.667, 40: 2" in said
    assert np.isfinite(run.history["loss"]).all()


def test_fit_on_slices_holds_out_whole_ones(tmp_path):
    image, label = tiny_volume()
    sparse = np.full_like(label, UNLABELLED)
    sparse[[2, 7, 12]] = label[[1, 7, 12]]
    write_pair(tmp_path / "a.h5", raw=image, label=sparse)
    split = _config(_quick(tmp_path / "a.h5", tmp_path / "run").path)["data"]["split"]
    assert split.startswith("1 of 3 annotated slices (z ")
    assert split.endswith("), kept from training with 2 voxels on either side")


# ---- what fit refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "more", "said"),
    [
        (
            [],
            {},
            "DATA: expected HDF5 or Zarr volumes, a folder, `images` and `labels`, or a word, sample or cells; found none",
        ),
        (["none.h5"], {}, "none.h5: expected data, found no such file or folder; check the path"),
        (["notes.txt"], {}, "notes.txt: expected an HDF5 or Zarr volume that holds image and labels, found .txt"),
        (["empty"], {}, "empty: expected HDF5 or Zarr volumes or a dataset.json, found neither"),
        ([], {"images": "*.tif"}, "`images` and `labels`: expected both, found one"),
        ([], {"images": "*.tif", "labels": "*.h5"}, "`images=*.tif`: expected files, found none"),
        ([], {"images": "?.h5", "labels": "a.h5"}, "expected a partner for every file, found none for b.h5"),
        (["a.h5"], {"val": ["none.h5"]}, "none.h5: expected data, found no such file or folder"),
        (["a.h5"], {"out": "a.h5", "overwrite": True}, "a.h5: expected a folder to write the run to, found a file"),
        (["a.h5"], {"settings": {"patch": (8, 8, 7)}}, "patch: size 7 along x is illegal for this network"),
        (["a.h5"], {"settings": {"num_classes": 3}}, "a.h5:label: expected the labels 0, 1, 2; found 5 (1920 voxels)"),
        (
            ["a.h5", "b.h5"],
            {"settings": {"classes": "0=air,5=wall", "unlabelled": ()}},
            "a.h5:label: expected the labels 0 air, 5 wall; found 9 (256 voxels); correct the labels, declare the value",
        ),
        (["a.h5"], {"val": ["other.h5"]}, "other.h5:label: expected the labels 0, 5; found 3 (1920 voxels)"),
        (["a.h5"], {"settings": {"class_weights": "6=2"}}, "class_weights: expected classes of 0, 5; found '6'"),
        (["a.h5"], {"settings": {"unlabelled": (0, 5, 9)}}, "found nothing labelled"),
        (["a.h5"], {"settings": {"raw_key": "image"}}, "a.h5: expected a data set 'image', found label, raw"),
        (["a.h5"], {"settings": {"weight_key": "w"}}, "a.h5: expected a data set 'w', found label, raw"),
        (["a.h5"], {"settings": {"axes": "xy"}}, "axes: expected z, y, x and perhaps c, each once"),
    ],
)
def test_fit_refuses(tmp_path, monkeypatch, data, more, said):
    monkeypatch.chdir(tmp_path)
    write_pair(Path("a.h5"))
    write_pair(Path("b.h5"), 1)
    write_pair(Path("other.h5"), 1, label=np.where(tiny_volume()[1] == 5, 3, tiny_volume()[1]))
    Path("notes.txt").write_text("")
    Path("empty").mkdir()
    before = {path: path.stat().st_size for path in tmp_path.rglob("*")}
    more = dict(more)
    settings = tiny_settings(**more.pop("settings", {}))
    with pytest.raises(InputError) as caught:
        _quick(data, more.pop("out", "run"), settings=settings, **more)
    assert said in str(caught.value)
    assert {path: path.stat().st_size for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("content", ["{", "[]", '{"training": []}'])
def test_fit_refuses_a_broken_dataset_json_by_name(decathlon, tmp_path, content):
    (decathlon / "dataset.json").write_text(content)
    with pytest.raises(InputError, match=r"dataset\.json: expected"):
        _quick([decathlon], tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"training": 5},
        {"training": None},
        {"training": [5]},
        {"training": [{"image": "a.nii.gz"}]},
        {"training": [{"image": 1, "label": 2}]},
        {"modality": 5},
        {"modality": {"0": "T1", "1": "T2"}},
        {"labels": {"organ": [1, "two"]}},
        {"labels": {"organ": 1.5}},
        {"labels": 5},
    ],
)
def test_fit_refuses_a_wrong_entry_of_dataset_json(decathlon, tmp_path, changes):
    path = decathlon / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError, match=r"dataset\.json"):
        _quick([decathlon], tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def nnunet(decathlon) -> Path:
    """The same data in nnU-Net's layout, the unlabelled voxels marked as it marks them."""
    for path in (decathlon / "imagesTr").iterdir():
        path.rename(path.with_name(path.name.replace(".nii.gz", "_0000.nii.gz")))
    described = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "organ": 5, "ignore": UNLABELLED}}
    (decathlon / "dataset.json").write_text(json.dumps(described | {"numTraining": 2, "file_ending": ".nii.gz"}))
    return decathlon


def test_the_layout_of_nnunet_declares_its_labels(nnunet):
    table = open_data(nnunet, options=tiny_settings(unlabelled=())).table
    assert (table.values, table.names, table.unlabelled) == ((0, 5), ("background", "organ"), (UNLABELLED,))


@pytest.mark.parametrize(
    "changes", [{"channel_names": 5}, {"channel_names": {}}, {"file_ending": [".nii.gz"]}, {"file_ending": ".png"}]
)
def test_fit_refuses_a_wrong_entry_of_nnunet(nnunet, tmp_path, changes):
    path = nnunet / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError, match=r"dataset\.json"):
        _quick([nnunet], tmp_path / "run")


def test_fit_refuses_volumes_of_different_channels(tmp_path):
    for name, channels in (("a", 1), ("b", 2)):
        write_pair(tmp_path / f"{name}.h5", raw=np.zeros((16, 16, 16, channels)))
    with pytest.raises(InputError, match=r"b\.h5:raw: expected 1 channels like .*a\.h5:raw, found 2"):
        _quick([tmp_path], tmp_path / "run", settings=tiny_settings(axes="zyxc"))


def test_fit_refuses_one_volume_under_two_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_pair(Path("a.h5"))
    for again in ({"data": [path, path.resolve()]}, {"data": [path], "val": [path.resolve()]}):
        with pytest.raises(InputError, match=r"a\.h5:raw: expected every volume once, found it twice"):
            _quick(again.pop("data"), tmp_path / "run", **again)


def test_fit_refuses_validation_data_that_disagree_on_a_label(decathlon, tmp_path):
    other = Path(shutil.copytree(decathlon, tmp_path / "other"))
    described = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps(described | {"labels": {"0": "organ", "5": "background"}}))
    for path in sorted(other.glob("*/*.nii.gz")):
        path.rename(path.with_name("new_" + path.name))
    text = (other / "dataset.json").read_text()
    (other / "dataset.json").write_text(text.replace("Tr/", "Tr/new_"))
    with pytest.raises(InputError, match=r"expected data sets that agree on their labels, found 0 to mean"):
        _quick([decathlon], tmp_path / "run", val=[other], settings=tiny_settings(unlabelled=()))


def test_fit_refuses_weights_with_channels(tmp_path):
    image, _ = tiny_volume()
    write_pair(tmp_path / "a.h5", raw=np.stack([image] * 2, -1), weight=np.ones((16, 16, 16, 2), np.float32))
    with pytest.raises(InputError, match=r"a\.h5:weight: expected one"):
        _quick([tmp_path / "a.h5"], tmp_path / "run", settings=tiny_settings(axes="zyxc"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (dict(devices=2), "devices: expected at most the 1 of this host, found 2; ask for fewer"),
        (dict(devices=2, batch_size=3), "batch_size: expected a multiple of the 2 devices, found 3; add `devices=1`"),
        (dict(deep_supervision=True, padding="valid", patch=(28, 28, 28)), "deep_supervision: expected `padding=same`"),
        (dict(devices=2, batch_size=2, accumulate=2), "accumulate: expected 1 on 2 devices of the TensorFlow backend"),
    ],
)
def test_what_does_not_go_together_is_refused(tiny_data, tmp_path, settings, sentence):
    settings = dict(batch_size=2) | settings
    with pytest.raises(InputError, match=says(sentence)):
        _quick([tiny_data], tmp_path / "run", settings=tiny_settings(**settings))
    assert not (tmp_path / "run").exists()


def test_a_full_or_protected_disk_is_said_at_the_start(tiny_data, tmp_path, monkeypatch):
    from collections import namedtuple

    from keras_unet3d import files

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(
        InputError, match=r"run: expected \d+ kB of free space, found 1 kB; make room, or choose another"
    ):
        _quick([tiny_data], tmp_path / "run", settings=tiny_settings())
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_refused_leaves_nothing_or_the_earlier_run(tiny_run, tiny_data, tmp_path, monkeypatch):
    def refuse(*arguments, **others):
        raise InputError("out of memory")

    monkeypatch.setattr("keras_unet3d.workflows.fit.run.train", refuse)
    shutil.copytree(tiny_run, tmp_path / "earlier")
    (tmp_path / "earlier" / "thesis.txt").write_text("precious")
    before = {path: path.read_bytes() for path in (tmp_path / "earlier").rglob("*") if path.is_file()}
    for name, overwrite in (("new", False), ("earlier", True)):
        with pytest.raises(InputError, match="out of memory"):
            _quick([tiny_data], tmp_path / name, settings=tiny_settings(), overwrite=overwrite)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_run_folder_is_written_by_one_process(tiny_data, tmp_path):
    sentence = says(tmp_path / "run", "expected a place that nobody else writes to", f"found process {os.getpid()} on")
    with RunFolder(tmp_path / "run").held(), pytest.raises(InputError, match=sentence):
        _quick([tiny_data], tmp_path / "run", settings=tiny_settings())
    assert not (tmp_path / "run").exists()


def test_a_step_that_takes_many_times_the_memory_is_refused_at_once(tiny_data, tmp_path):
    with pytest.raises(InputError, match=r"out of memory: expected room for a step of 1000000 patches"):
        _quick([tiny_data], tmp_path / "run", settings=tiny_settings(batch_size=1_000_000))
    assert not (tmp_path / "run").exists()


def test_the_embedded_cells_end_with_a_table(tmp_path):
    said = []
    settings = FitSettings(epochs=1, steps_per_epoch=1, base_filters=2, depth=2, patch=(8, 16, 16), workers=1)
    run = fit("cells", tmp_path / "run", settings=settings, listener=Listener(said.append))
    assert run.data.table.target == "cells"
    stack = touching_cells()
    cells = open_volume(run.path / "dense.tif").array()[..., 0]
    assert cells.shape == stack.truth.shape
    figures = json.loads((run.path / "dense.json").read_text("utf-8"))
    assert figures["instances"] == len(np.unique(stack.truth)) - 1
    assert figures["predicted_instances"] == len(np.unique(cells[cells > 0]))
    rows = (run.path / "cells.csv").read_text("utf-8").splitlines()
    assert len(rows) == 1 + figures["predicted_instances"]
    assert any(line.startswith("instances, tried on 1 held-out volume: ") for line in said)
    assert "mirrored along zyx" in "".join(said)
