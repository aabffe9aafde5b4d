"""fit, predict and evaluate as a user means them: files in, files out."""

import errno
import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import keras
import nibabel
import numpy as np
import pytest
import tifffile
from helpers import UNLABELLED, VALUES, says, tiny_settings, tiny_volume, write_pair

import keras_unet3d
from keras_unet3d import FitSettings, InputError, evaluate, fit, predict, zoo
from keras_unet3d.labels import LabelTable
from keras_unet3d.labels.table import BOUNDARY_TABLE
from keras_unet3d.listener import Listener
from keras_unet3d.segments.cells import instances
from keras_unet3d.segments.cleaning import fill_holes, keep_largest, remove_small
from keras_unet3d.settings import CleanSettings, PredictSettings
from keras_unet3d.volumes import from_array, open_volume, resampled

# A turned, mirrored and shifted geometry: a writer that drops any of it is found out.
AFFINE = np.array([[0, -1.5, 0, 12.0], [1.0, 0, 0, -7.0], [0, 0, 2.5, 3.0], [0, 0, 0, 1.0]])


def _silent(line: str) -> None:
    """Say nothing."""


def _quick(data, out, **more):
    return fit(data, out, settings=more.pop("settings", tiny_settings()), say=_silent, **more)


def _config(run: Path) -> dict:
    return json.loads((run / "config.json").read_text())


@pytest.fixture(scope="module")
def predictor(tiny_run):
    return zoo.predictor(tiny_run)


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
    with pytest.raises(InputError, match="the run exists already"):
        _quick([tiny_data], run)
    assert (run / "old.txt").exists()
    _quick([tiny_data], run, overwrite=True)
    assert not (run / "old.txt").exists()
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
    result = evaluate(zoo.predictor(run), [decathlon], say=_silent)
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
    result = evaluate(zoo.predictor(run.path), [], **globs, say=_silent)
    assert [volume["file"] for volume in result["volumes"]] == ["a.tif", "b.tif"]


def test_fit_on_one_volume_splits_it_by_region(tmp_path):
    run = _quick(write_pair(tmp_path / "a.h5"), tmp_path / "run")
    data = _config(run.path)["data"]
    assert data["training"] == data["validation"] == ["a.h5"]
    assert "for validation" in data["split"]


def test_fit_with_weights_channels_valid_padding_and_augmentation(tmp_path):
    image, label = tiny_volume(shape=(24, 32, 32))
    pair = {"raw": np.stack([image, -image]), "label": label, "weight": np.full(label.shape, 0.5, np.float32)}
    write_pair(tmp_path / "a.h5", **pair)
    settings = tiny_settings(patch=(18, 18, 18), padding="valid", axes="czyx", augment=True)
    run = _quick([tmp_path / "a.h5"], tmp_path / "run", settings=settings)
    assert np.isfinite(run.history["val_loss"]).all()
    predictor = zoo.predictor(run.path)
    assert predictor(np.moveaxis(pair["raw"], 0, -1)).shape == label.shape


# ---- what the labels mean ----------------------------------------------------------------------------


def _cells(seed: int = 0) -> dict[str, np.ndarray]:
    """Return an image with the labels 7 and 40 in three quarters and one, and 255 in the first plane."""
    image, label = tiny_volume(seed)
    label = np.where(np.arange(16)[:, None] < 12, 7, 40) * np.ones_like(label)
    label[0] = 255
    return {"raw": image, "label": label.astype(np.uint8)}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"unlabelled": ()}, ["7", "40"]),
        ({"unlabelled": (255,)}, ["7", "40"]),
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
    (written,) = predict(zoo.predictor(run), [tmp_path / "a.h5"], tmp_path / "o.h5", say=_silent)
    bundled = zoo.predictor(zoo.export_run(run, zoo.Card("tiny"), tmp_path / "zoo"))
    with h5py.File(written, "r") as file:
        predicted = file["label"][:]
    assert predicted.dtype == np.uint8
    assert set(np.unique(predicted)) <= {7, 40}
    np.testing.assert_array_equal(bundled(_cells()["raw"]), predicted)
    assert bundled.table == LabelTable((7, 40), names, (255,))


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
            "DATA: expected HDF5 or Zarr volumes, a folder, --images and --labels, or the word sample; found none",
        ),
        (["none.h5"], {}, "none.h5: expected data, found no such file or folder; check the path"),
        (["notes.txt"], {}, "notes.txt: expected an HDF5 or Zarr volume that holds image and labels, found .txt"),
        (["empty"], {}, "empty: expected HDF5 or Zarr volumes or a dataset.json, found neither"),
        ([], {"images": "*.tif"}, "--images and --labels: expected both, found one"),
        ([], {"images": "*.tif", "labels": "*.h5"}, "--images *.tif: expected files, found none"),
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
        (["a.h5"], {"settings": {"axes": "xy"}}, "--axes: expected z, y, x and perhaps c, each once"),
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
        {"labels": {"organ": [1, 2]}},
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


def test_fit_on_the_layout_of_nnunet(nnunet, tmp_path):
    run = _quick([nnunet], tmp_path / "run", settings=tiny_settings(unlabelled=())).path
    labels = _config(run)["model"]["labels"]
    assert (labels["values"], labels["names"], labels["unlabelled"]) == ([0, 5], ["background", "organ"], [UNLABELLED])


@pytest.mark.parametrize(
    "changes", [{"channel_names": 5}, {"channel_names": {}}, {"file_ending": [".nii.gz"]}, {"file_ending": ".png"}]
)
def test_fit_refuses_a_wrong_entry_of_nnunet(nnunet, tmp_path, changes):
    path = nnunet / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError, match=r"dataset\.json"):
        _quick([nnunet], tmp_path / "run")


def test_fit_refuses_volumes_of_different_channels(tmp_path):
    write_pair(tmp_path / "a.h5")
    write_pair(tmp_path / "b.h5", raw=np.zeros((16, 16, 16, 2)))
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
    ("changes", "said"),
    [
        ({"epochs": 0}, "epochs: expected a number of at least 1, found 0"),
        ({"filters": "8,x"}, "filters: expected whole numbers of at least 1, like 8,32,64,128; found '8,x'"),
        ({"filters": "8,0"}, "filters: expected whole numbers of at least 1"),
        ({"filters": "8,16", "base_filters": 4}, "filters: expected to be given without base_filters, found both"),
        ({"filters": "8,16", "depth": 3}, "filters: expected 3 numbers, one per level, found 2"),
        ({"optimizer": "adam"}, "optimizer: expected one of adamw, sgd; found 'adam'. Did you mean 'adamw'?"),
        ({"decay": "linear"}, "decay: expected one of polynomial, cosine, constant; found 'linear'"),
        ({"ema": 1.0}, "ema: expected a share of at least 0 and below 1, found 1.0"),
        ({"clip": -1.0}, "clip: expected a number of at least 0, found -1.0"),
        ({"accumulate": 0}, "accumulate: expected a number of at least 1, found 0"),
        ({"accumulate": 2, "augment_on": "device"}, "accumulate: expected 1 with augment_on=device, found more"),
        ({"ema": 0.9, "freeze_encoder": 1}, "ema: expected 0 with freeze_encoder, found more"),
        ({"early_stop": 0}, "early_stop: expected a number of at least 1, found 0"),
        ({"epochs": True}, "epochs: expected a whole number, found True"),
        ({"epochs": 1.5}, "epochs: expected"),
        ({"patch": (8, 8)}, "patch: expected three whole numbers (z, y, x), found (8, 8)"),
        ({"padding": "reflect"}, "padding: expected one of same, valid; found 'reflect'"),
        ({"loss": "crossentropy+dise"}, "Did you mean 'crossentropy+dice'"),
        ({"validation_share": 1.0}, "validation_share: expected a share of at least 0 and below 1, found 1.0"),
        ({"validation_share": -0.1}, "validation_share: expected a share of at least 0 and below 1, found -0.1"),
        ({"classes": "0=air,wall"}, "classes: expected whole numbers with names, like 0=background"),
        ({"classes": "0=air,5=wall", "num_classes": 2}, "classes: expected to be given alone, found num_classes too"),
        (
            {"classes": "0=a,5=b", "target": "boundaries"},
            "classes: expected to be given alone, found target=boundaries",
        ),
        ({"classes": "0=a,5=b,9=c", "unlabelled": (9,)}, "classes: expected"),
        ({"class_weights": "balance"}, "class_weights: expected balanced, or every class once with a number"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a finite number, found nan"),
        ({"augment": "no"}, "augment: expected"),
        ({"unlabelled": 3}, "unlabelled: expected"),
    ],
)
def test_settings_refuse(changes, said):
    with pytest.raises(InputError) as caught:
        FitSettings(**changes)
    assert said in str(caught.value)


# ---- predict ---------------------------------------------------------------------------------------


def test_predict_keeps_the_geometry_of_nifti(predictor, tmp_path):
    image = nibabel.Nifti1Image(tiny_volume(2, (9, 10, 11))[0].T, AFFINE)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "v.nii.gz")
    written = predict(predictor, [tmp_path / "v.nii.gz"], tmp_path / "out", say=_silent)
    assert written == [tmp_path / "out" / "v.nii.gz"]
    result = nibabel.load(written[0])
    np.testing.assert_allclose(result.affine, AFFINE, atol=1e-6)
    assert result.shape == (11, 10, 9)
    assert result.header.get_zooms() == pytest.approx((1.0, 1.5, 2.5))
    assert result.header.get_xyzt_units()[0] == "mm"
    assert result.get_data_dtype() == np.uint8
    assert set(np.unique(result.dataobj)) <= set(VALUES)


def test_predict_on_nifti_is_predict_on_its_array(predictor, tmp_path):
    # Turned to z, y, x of closest RAS+ by nibabel itself.
    image = nibabel.Nifti1Image(tiny_volume(2, (9, 10, 11))[0].T, AFFINE)
    nibabel.save(image, tmp_path / "v.nii")
    predict(predictor, [tmp_path / "v.nii"], tmp_path / "o.nii", say=_silent)
    array = np.asarray(nibabel.as_closest_canonical(image).dataobj).T
    result = np.asarray(nibabel.as_closest_canonical(nibabel.load(tmp_path / "o.nii")).dataobj).T
    np.testing.assert_array_equal(result, predictor(array))


def test_predict_keeps_format_shape_and_voxel_size_of_hdf5(predictor, tmp_path):
    write_pair(tmp_path / "v.h5", spacing=(3.0, 1.0, 0.5), label=None)
    predict(predictor, [tmp_path / "v.h5"], tmp_path / "o.h5", say=_silent)
    with h5py.File(tmp_path / "o.h5", "r") as file:
        assert file["label"].shape == (16, 16, 16)
        np.testing.assert_allclose(file["label"].attrs["element_size_um"], (3.0, 1.0, 0.5))


def test_predict_keeps_the_voxel_size_of_tiff(predictor, tmp_path):
    metadata = {"axes": "ZYX", "spacing": 2.0, "unit": "um"}
    tifffile.imwrite(tmp_path / "v.tif", tiny_volume()[0], imagej=True, resolution=(2, 4), metadata=metadata)
    predict(predictor, [tmp_path / "v.tif"], tmp_path / "o.tif", say=_silent)
    assert keras_unet3d.open_volume(tmp_path / "o.tif").spacing == pytest.approx((2.0, 0.25, 0.5))


def test_predict_of_probabilities(predictor, tmp_path):
    write_pair(tmp_path / "v.h5")
    predict(predictor, [tmp_path / "v.h5"], tmp_path / "o.h5", output="probabilities", say=_silent)
    with h5py.File(tmp_path / "o.h5", "r") as file:
        probabilities = file["probabilities"][:]
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(VALUES)[probabilities.argmax(-1)], predictor(tiny_volume()[0]))


def test_predict_of_many_files_tells_the_voxels(predictor, tmp_path):
    files = [write_pair(tmp_path / name) for name in ("a.h5", "b.h5")]
    steps = []
    written = predict(predictor, files, tmp_path / "o", say=_silent, progress=lambda *step: steps.append(step))
    assert [path.name for path in written] == ["a.h5", "b.h5"]
    voxels = int(np.prod(open_volume(files[0]).shape))
    assert steps == [(voxels, 2 * voxels), (2 * voxels, 2 * voxels)]


def test_predict_says_when_the_voxels_are_of_another_size(predictor, tmp_path):
    said = []
    write_pair(tmp_path / "v.h5", spacing=(2.0, 1.0, 4.0))
    predict(predictor, [tmp_path / "v.h5"], tmp_path / "o.h5", listener=Listener(said.append))
    assert "voxel size 2 x 1 x 4 um differs from the training's 2 x 1 x 1 um" in said[0]


def test_a_bad_input_does_not_stop_the_others_and_is_named(predictor, tmp_path):
    good = [write_pair(tmp_path / name) for name in ("a.h5", "d.h5")]
    bad = write_pair(tmp_path / "b.h5", raw=np.ones((8, 8, 8)), label=None)
    (tmp_path / "c.h5").write_bytes(b"nothing")
    with pytest.raises(InputError) as error:
        predict(predictor, [good[0], bad, tmp_path / "c.h5", good[1]], tmp_path / "o", say=_silent)
    sentences = str(error.value).splitlines()
    assert sentences[0] == "2 of 4 inputs failed, the others are done:"
    assert sorted(sentences[1:])[0].startswith(f"{bad}:raw: expected an image, found the constant value 1")
    assert sorted(sentences[1:])[1].startswith(f"{tmp_path / 'c.h5'}: expected a readable .h5 volume")
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["a.h5", "d.h5"]


def test_a_dry_run_says_and_does_nothing(predictor, tmp_path):
    said = []
    written = predict(
        predictor, [write_pair(tmp_path / "a.h5")], tmp_path / "o", dry_run=True, listener=Listener(said.append)
    )
    assert written == []
    assert not (tmp_path / "o").exists()
    assert re.search(
        r"a\.h5:raw: 1 tile of .*, every voxel computed 1\.\d times; 0\.\d+ GB for a tile, about \d+ s", said[0]
    )


def test_a_full_disk_is_said_and_leaves_nothing(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_unet3d.volumes.hdf5.from_order", _full_disk)
    with pytest.raises(InputError, match=r"o\.h5: expected room for the result, found the disk full; make room"):
        predict(predictor, [write_pair(tmp_path / "a.h5")], tmp_path / "o.h5", say=_silent)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def _full_disk(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_stopped_prediction_leaves_nothing(predictor, tmp_path):
    def stop(done, of):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(predictor, [write_pair(tmp_path / "a.h5")], tmp_path / "o.h5", say=_silent, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_resampled_prediction_comes_back_in_the_inputs_geometry(predictor, tmp_path):
    # Twice as fine as the training along every axis.
    write_pair(tmp_path / "v.h5", spacing=tuple(size / 2 for size in predictor.spacing))
    said = []
    predict(predictor, [tmp_path / "v.h5"], tmp_path / "o.h5", resample=True, listener=Listener(said.append))
    assert said[0].endswith("; resampled, and back")
    result, source = open_volume(tmp_path / "o.h5", "label"), open_volume(tmp_path / "v.h5")
    assert (result.shape, result.spacing) == (source.shape, source.spacing)
    shape = tuple(round(size / 2) for size in source.shape)
    coarse = predictor.predict(resampled(source, shape), "probabilities")
    by_hand = resampled(from_array(coarse), source.shape).array()
    np.testing.assert_array_equal(result.array()[..., 0], predictor.labels(by_hand))


def test_resampling_needs_voxel_sizes(predictor, tmp_path):
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, tiny_volume()[0])
    with pytest.raises(InputError, match="expected a voxel size to resample by, found none; leave out --resample"):
        predict(predictor, [path], tmp_path / "o.h5", resample=True, say=_silent)


def test_voxel_sizes_of_other_units_are_compared_in_micrometres(predictor, tmp_path):
    # The very voxel size of the training, which is in micrometres, as NIfTI has it.
    spacing = [size / 1000 for size in predictor.spacing[::-1]]
    nibabel.save(nibabel.Nifti1Image(tiny_volume()[0].T, np.diag([*spacing, 1])), tmp_path / "v.nii")
    said = []
    predict(predictor, [tmp_path / "v.nii"], tmp_path / "o.nii", resample=True, listener=Listener(said.append))
    assert len(said) == 1


def test_resampling_to_more_than_there_is_memory_for_is_refused(predictor, tmp_path):
    write_pair(tmp_path / "v.h5", spacing=tuple(size * 1000 for size in predictor.spacing))
    with pytest.raises(InputError, match=r"to hold the probabilities of \d+ x \d+ x \d+ voxels, .* correct the voxel"):
        predict(predictor, [tmp_path / "v.h5"], tmp_path / "o.h5", resample=True, say=_silent)


def test_labels_are_cleaned(predictor, tmp_path):
    path = write_pair(tmp_path / "v.h5")
    cleaning = CleanSettings(keep_largest=True, remove_small=3, fill_holes=True)
    predict(predictor, [path], tmp_path / "o.h5", cleaning=cleaning, say=_silent)
    plain = predictor.predict(open_volume(path))
    by_hand = fill_holes(remove_small(keep_largest(plain), 3))
    np.testing.assert_array_equal(open_volume(tmp_path / "o.h5", "label").array()[..., 0], by_hand)


def test_instances_are_numbered(predictor, tmp_path):
    path = write_pair(tmp_path / "v.h5")
    boundaries = replace(predictor, table=BOUNDARY_TABLE)
    predict(boundaries, [path], tmp_path / "o.h5", cleaning=CleanSettings(instances=True), say=_silent)
    found = open_volume(tmp_path / "o.h5", "label").array()
    assert found.min() >= 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            dict(output="probabilities", cleaning=CleanSettings(fill_holes=True)),
            "output: expected labels where they are",
        ),
        (
            dict(cleaning=CleanSettings(instances=True)),
            "instances: expected a network of boundaries .* found one of 0, 5",
        ),
        (
            dict(cleaning=CleanSettings(instances=True, fill_holes=True)),
            "instances: expected without keep_largest and fill",
        ),
        (dict(output="logits", resample=True), "resample: expected labels, probabilities or uncertainty, found logits"),
        (dict(suffix=".png"), r"suffix: expected one of \.h5, .*; found '\.png'"),
        (dict(settings=PredictSettings(max_ram="1M")), "max_ram: expected at least .* found 1M"),
        (dict(scheduler="here"), "scheduler: expected a trained model, and neither cleaning nor resampling"),
    ],
)
def test_what_predict_cannot_do_is_explained_and_nothing_written(predictor, tmp_path, options, sentence):
    path = write_pair(tmp_path / "v.h5")
    with pytest.raises(InputError, match=sentence):
        predict(predictor, [path], tmp_path / "o", say=_silent, **options)
    assert not (tmp_path / "o").exists()


def test_the_format_of_results_in_a_folder_is_chosen(predictor, tmp_path):
    predict(predictor, [write_pair(tmp_path / "v.h5")], tmp_path / "o", suffix=".nii.gz", say=_silent)
    assert open_volume(tmp_path / "o" / "v.nii.gz").shape == open_volume(tmp_path / "v.h5").shape


# ---- evaluate --------------------------------------------------------------------------------------


def test_evaluate_has_the_form_of_the_contract(predictor, tiny_data):
    result = evaluate(predictor, [tiny_data], say=_silent)
    assert set(result) == {"classes", "mean_iou", "mean_dice", "volumes"}
    assert set(result["classes"]) == {"0", "5"}
    for figure in result["classes"].values():
        assert set(figure) == {"iou", "dice"}
    assert [volume["file"] for volume in result["volumes"]] == ["a.h5", "b.h5"]
    assert all(set(volume["classes"]) == {"0", "5"} for volume in result["volumes"])
    json.dumps(result, allow_nan=False)


def test_evaluate_is_counted_over_the_labelled_voxels(predictor, tmp_path):
    image, label = tiny_volume(4)
    result = evaluate(predictor, [write_pair(tmp_path / "a.h5", raw=image, label=label)], say=_silent)
    labelled, predicted = label != UNLABELLED, predictor(image)
    for value in VALUES:
        truth, found = (label == value)[labelled], (predicted == value)[labelled]
        figure = result["classes"][str(value)]
        assert figure["iou"] == pytest.approx((truth & found).sum() / (truth | found).sum())
        assert figure["dice"] == pytest.approx(2 * (truth & found).sum() / (truth.sum() + found.sum()))
    # Without a class called background, class 0 is it: the mean is that of the other class.
    assert result["mean_iou"] == pytest.approx(result["classes"]["5"]["iou"])


def test_evaluate_compares_instances(predictor, tmp_path):
    boundaries = replace(predictor, table=BOUNDARY_TABLE)
    image = tiny_volume(4)[0]
    probabilities = boundaries.predict(from_array(image), "probabilities")
    # The truth is what the network finds, two cells apart, beside a file without any cell.
    cells = instances(probabilities[..., 1])
    cells[: len(cells) // 2] += cells.max()
    write_pair(tmp_path / "a.h5", raw=image, label=cells)
    write_pair(tmp_path / "b.h5", raw=image, label=np.zeros_like(cells))
    said = []
    result = evaluate(boundaries, [tmp_path], instances=True, listener=Listener(said.append))
    first, second = (volume["adapted_rand_error"] for volume in result["volumes"])
    assert 0 < first < 1 and second is None and result["adapted_rand_error"] == first
    assert said[-1] == f"adapted Rand error of the instances: {first:.4f}"
    without = evaluate(boundaries, [tmp_path], say=_silent)
    assert without["classes"] == result["classes"] and "adapted_rand_error" not in without


def test_evaluate_refuses_instances_of_classes(predictor, tiny_data):
    with pytest.raises(InputError, match="instances: expected a network of boundaries .* found one of 0, 5"):
        evaluate(predictor, [tiny_data], instances=True, say=_silent)


def test_a_class_in_neither_truth_nor_prediction_is_null(predictor, tmp_path):
    # The first half is what the network itself sees there, so that only one class occurs in both.
    image = tiny_volume(4)[0]
    predicted = predictor(image)
    common = VALUES[int((predicted == VALUES[1]).mean() > 0.5)]
    other = VALUES[1 - VALUES.index(common)]
    label = np.where(predicted == common, common, UNLABELLED)
    result = evaluate(predictor, [write_pair(tmp_path / "a.h5", raw=image, label=label)], say=_silent)
    assert result["classes"][str(common)] == {"iou": 1.0, "dice": 1.0}
    assert result["classes"][str(other)] is None
    assert result["volumes"][0]["classes"][str(other)] is None
    assert result["mean_iou"] == (1.0 if common == VALUES[1] else None)


def test_evaluate_refuses_a_volume_without_labels(predictor, tmp_path):
    write_pair(tmp_path / "a.h5", label=np.full((16, 16, 16), UNLABELLED))
    with pytest.raises(InputError, match=r"a\.h5:label: expected some labelled voxels"):
        evaluate(predictor, [tmp_path / "a.h5"], say=_silent)


def test_evaluate_takes_only_the_volumes_named(predictor, tiny_data):
    result = evaluate(predictor, [tiny_data], only=[str((tiny_data / "b.h5").resolve())], say=_silent)
    assert [volume["file"] for volume in result["volumes"]] == ["b.h5"]
    with pytest.raises(InputError, match="expected volumes that the fit held out"):
        evaluate(predictor, [tiny_data], only=["c.h5"], say=_silent)


def test_evaluate_prints_a_table(predictor, tiny_data):
    said = []
    evaluate(predictor, [tiny_data], listener=Listener(said.append))
    assert said[0].startswith("class")
    assert "labelled voxels of 2 volumes" in said[0]
    assert any(line.startswith("mean ") and "without 0" in line for line in said)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (dict(devices=2), "devices: expected at most the 1 of this host, found 2; ask for fewer"),
        (dict(devices=2, batch_size=3), "batch_size: expected a multiple of the 2 devices, found 3; add --devices 1"),
        (dict(deep_supervision=True, padding="valid", patch=(28, 28, 28)), "deep_supervision: expected padding=same"),
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
        InputError, match=r"run: expected \d+ MB of free space, found 0 MB; make room, or choose another"
    ):
        _quick([tiny_data], tmp_path / "run", settings=tiny_settings())
    monkeypatch.undo()
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match=r"run: expected a place to write to, found .* write-protected"):
        _quick([tiny_data], tmp_path / "run", settings=tiny_settings())
    assert not (tmp_path / "run").exists()


def test_the_defaults_are_planned_and_kept(tiny_data, tmp_path):
    settings = tiny_settings(patch=(16, 16, 16), base_filters=None, depth=None, batch_size=None, deformation=None)
    run = _quick([tiny_data], tmp_path / "run", settings=settings)
    kept = json.loads((run.path / "config.json").read_text())
    found = FitSettings(**kept["settings"])
    assert (found.filters, found.base_filters, found.depth) == ("8,32,64,128", None, 4)
    assert (found.batch_size, found.devices, found.learning_rate, found.deformation) == (2, 1, 2e-3, 0.8)
    assert kept["machine"]["oneDNN"] is True and kept["machine"]["backend"] == "tensorflow"


def test_the_profile_of_a_step(tiny_data, tmp_path):
    said = []
    settings = tiny_settings(deep_supervision=True, depth=3)
    run = fit([tiny_data], tmp_path / "run", settings=settings, profile=True, listener=Listener(said.append))
    profile = json.loads((run.path / "profile.json").read_text())
    assert set(profile["seconds"]) == {"input", "forward", "backward", "optimizer", "step"}
    assert all(value >= 0 for value in profile["seconds"].values()) and profile["seconds"]["forward"] > 0
    assert profile["gflop_per_second"]["matrix product"] > profile["gflop_per_second"]["step"] > 0
    assert [line.split(":")[0] for line in said].count("profile") == 2
    # It is another network that is timed: the training begins as without it.
    plain = _quick([tiny_data], tmp_path / "plain", settings=settings)
    assert plain.history["val_loss"] == run.history["val_loss"]
