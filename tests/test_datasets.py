"""datasets: DATA as users give it, to images with their labels; and a sentence about what is missing."""

import json
import os
import re

import h5py
import nibabel
import numpy as np
import pytest
import tifffile

from keras_unet3d.datasets import DataKeys, Example, open_data
from keras_unet3d.errors import InputError
from keras_unet3d.sample import NAMES, phantom
from keras_unet3d.volumes import from_array

SHAPE = (4, 5, 6)


def says(*words):
    """Return a pattern that a sentence matches if every one of `words` is in it."""
    return "(?s)^" + "".join(f"(?=.*{re.escape(str(word))})" for word in words)


def raw(number=0, shape=SHAPE):
    return (np.arange(np.prod(shape)).reshape(shape) + number).astype(np.uint8)


def write_h5(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key.replace("__", "/")] = array
    return path


def write_nii(path, array):
    """Write `(z, y, x[, c])` in the order of NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0, *range(3, array.ndim)), np.eye(4)), path)
    return path


def write_tif(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, array, metadata={"axes": "ZYX"})
    return path


def check(example, image, label, name=None):
    """Assert what an example holds; image `(z, y, x)` or with channels."""
    np.testing.assert_array_equal(example.image.array(), image.reshape(*image.shape[:3], -1))
    np.testing.assert_array_equal(example.label.array()[..., 0], label)
    assert name is None or example.name == name


def described(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


# ---- HDF5 files and folders of them --------------------------------------------------------------


def test_an_hdf5_file_is_one_example(tmp_path):
    data = open_data([write_h5(tmp_path / "a.h5", raw=raw(), label=raw(1))])
    (example,) = data.examples
    check(example, raw(), raw(1), "a.h5")
    assert (example.weight, data.label_names, data.unlabelled) == (None, {}, ())


def test_a_weight_is_used_where_there_is_one(tmp_path):
    path = write_h5(tmp_path / "a.h5", raw=raw(), label=raw(1), weight=raw(2) / 2)
    (example,) = open_data([path]).examples
    np.testing.assert_array_equal(example.weight.array()[..., 0], raw(2) / 2)


def test_a_weight_that_was_asked_for_must_be_there(tmp_path):
    path = write_h5(tmp_path / "a.h5", raw=raw(), label=raw(1), weights=raw(2))
    with pytest.raises(InputError, match=says("a.h5: expected a data set 'weigths'", "Did you mean 'weights'")):
        open_data([path], DataKeys(weight="weigths"))


def test_keys_and_axes_are_those_given(tmp_path):
    image = np.stack([raw(), raw(9)])  # channels first, then x, y, z
    path = write_h5(tmp_path / "a.h5", v__em=image, v__seg=raw(1), v__w=raw(2))
    (example,) = open_data([path], DataKeys("v/em", "v/seg", "v/w", "cxyz")).examples
    check(example, image.transpose(3, 2, 1, 0), raw(1).transpose(2, 1, 0))
    np.testing.assert_array_equal(example.weight.array()[..., 0], raw(2).transpose(2, 1, 0))


def test_a_folder_is_its_hdf5_files_in_order(tmp_path):
    for number, name in enumerate(("b.h5", "a.hdf5", "C.H5")):
        write_h5(tmp_path / "data" / name, raw=raw(number), label=raw(number + 1))
    (tmp_path / "data" / "notes.txt").write_text("mine")
    examples = open_data([tmp_path / "data"]).examples
    assert [example.name for example in examples] == ["C.H5", "a.hdf5", "b.h5"]
    check(examples[1], raw(1), raw(2))


def test_several_sources_are_taken_together(tmp_path):
    write_h5(tmp_path / "one" / "a.h5", raw=raw(), label=raw())
    path = write_h5(tmp_path / "b.h5", raw=raw(1), label=raw(1))
    data = open_data([path, str(tmp_path / "one"), "sample"])
    assert [example.name for example in data.examples] == ["b.h5", "a.h5", "sample"]


# ---- the sample ----------------------------------------------------------------------------------


def test_the_word_sample_is_the_phantom_sparsely_labelled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = open_data(["sample"])
    (example,) = data.examples
    check(example, phantom().image, phantom().sparse, "sample")
    assert (example.image.spacing, example.image.unit) == (phantom().spacing, "um")
    assert data.label_names == dict(enumerate(NAMES))
    assert data.unlabelled == (3,)
    assert os.listdir(tmp_path) == []


# ---- globs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix, write", [(".nii.gz", write_nii), (".tif", write_tif)])
def test_globs_pair_files_in_sorted_order(tmp_path, suffix, write):
    for number in (2, 1, 3):
        write(tmp_path / "image" / f"case{number}{suffix}", raw(number))
        write(tmp_path / "mask" / f"seg{number}{suffix}", raw(number + 10))
    data = open_data([], images=f"{tmp_path}/image/*{suffix}", labels=f"{tmp_path}/**/seg*{suffix}")
    assert len(data.examples) == 3
    for number, example in enumerate(data.examples, start=1):
        check(example, raw(number), raw(number + 10), f"case{number}{suffix}")


def test_globs_may_pair_formats_and_join_other_data(tmp_path):
    write_tif(tmp_path / "a.tif", raw())
    write_h5(tmp_path / "a.h5", seg=raw(1))
    keys = DataKeys(label="seg")
    data = open_data(["sample"], keys, images=f"{tmp_path}/*.tif", labels=f"{tmp_path}/*.h5")
    assert [example.name for example in data.examples] == ["sample", "a.tif"]
    check(data.examples[1], raw(), raw(1))


@pytest.mark.parametrize("images, labels", [(2, 1), (1, 3)])
def test_globs_of_different_counts_are_refused(tmp_path, images, labels):
    for number in range(images):
        write_tif(tmp_path / "image" / f"{number}.tif", raw())
    for number in range(labels):
        write_tif(tmp_path / "label" / f"{number}.tif", raw())
    words = ("expected as many labels as images", f"found {images} images and {labels} labels", "correct the globs")
    with pytest.raises(InputError, match=says("--images and --labels", *words)):
        open_data([], images=f"{tmp_path}/image/*", labels=f"{tmp_path}/label/*")


@pytest.mark.parametrize("option", ["images", "labels"])
def test_one_glob_alone_is_refused(tmp_path, option):
    with pytest.raises(InputError, match=says("--images and --labels: expected both, found one")):
        open_data([], **{option: f"{tmp_path}/*"})


@pytest.mark.parametrize("missing, option", [("image", "--images"), ("label", "--labels")])
def test_a_glob_that_finds_nothing_is_refused(tmp_path, missing, option):
    write_tif(tmp_path / "image" / "a.tif", raw())
    write_tif(tmp_path / "label" / "a.tif", raw())
    (tmp_path / missing / "a.tif").unlink()
    words = (f"{option} {tmp_path}/{missing}/*.tif: expected files, found none", "quote the pattern")
    with pytest.raises(InputError, match=says(*words)):
        open_data([], images=f"{tmp_path}/image/*.tif", labels=f"{tmp_path}/label/*.tif")


# ---- a folder with dataset.json ------------------------------------------------------------------


def decathlon(folder, channels=1, **changes):
    for number in (1, 2):
        image = raw(number) if channels == 1 else np.stack([raw(number + c) for c in range(channels)], -1)
        write_nii(folder / "imagesTr" / f"case{number}.nii.gz", image)
        write_nii(folder / "labelsTr" / f"case{number}.nii.gz", raw(number + 10))
    training = [{"image": f"./imagesTr/case{n}.nii.gz", "label": f"./labelsTr/case{n}.nii.gz"} for n in (2, 1)]
    content = {
        "modality": {str(channel): "MRI" for channel in range(channels)},
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "training": training,
    }
    return described(folder, content | changes)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_decathlon_folder(tmp_path, channels):
    data = open_data([decathlon(tmp_path / "Task", channels)])
    assert [example.name for example in data.examples] == ["case2.nii.gz", "case1.nii.gz"]
    check(data.examples[1], np.stack([raw(1 + channel) for channel in range(channels)], -1), raw(11))
    assert data.label_names == {0: "background", 1: "Anterior", 2: "Posterior"}
    assert data.unlabelled == ()


def nnunet(folder, channels=2, ending=".nii.gz", write=write_nii, **changes):
    for number in (2, 1):
        for channel in range(channels):
            write(folder / "imagesTr" / f"case{number}_{channel:04d}{ending}", raw(number + 5 * channel))
        write(folder / "labelsTr" / f"case{number}{ending}", raw(number + 10))
    content = {
        "channel_names": {str(channel): f"T{channel}" for channel in range(channels)},
        "labels": {"background": 0, "tumour": 1, "ignore": 2},
        "numTraining": 2,
        "file_ending": ending,
    }
    return described(folder, content | changes)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("ending, write", [(".nii.gz", write_nii), (".tif", write_tif)])
def test_an_nnunet_folder(tmp_path, channels, ending, write):
    data = open_data([nnunet(tmp_path / "Dataset001", channels, ending, write)])
    assert [example.name for example in data.examples] == ["case1", "case2"]
    check(data.examples[1], np.stack([raw(2 + 5 * channel) for channel in range(channels)], -1), raw(12))
    assert data.label_names == {0: "background", 1: "tumour"}
    assert data.unlabelled == (2,)


@pytest.mark.parametrize("make", [decathlon, nnunet])
def test_a_file_that_the_description_names_must_be_there(tmp_path, make):
    folder = make(tmp_path / "data")
    gone = sorted((folder / "imagesTr").iterdir())[-1]
    gone.unlink()
    with pytest.raises(InputError, match=says(gone.name, "expected a volume file, found no such file")):
        open_data([folder])


BROKEN = {
    "no JSON": ('{"training": [', ("expected the description of a data set in JSON", "found something unreadable")),
    "empty": ("", ("expected the description of a data set in JSON", "found something unreadable")),
    "a list": ([], ("expected the description of a data set, a JSON object", "found a list")),
    "no training": ({"training": []}, ("expected training volumes, found none",)),
    "no volumes": ({"labels": {}}, ("expected training volumes, found none",)),
    "no label": ({"training": [{"image": "a.nii"}]}, ("expected an image and a label", "found {'image': 'a.nii'}")),
    "no pairs": ({"training": ["a.nii"]}, ("expected an image and a label", "found 'a.nii'")),
    "training is null": ({"training": None}, ("expected", "training", "None")),
    "training is a number": ({"training": 3}, ("expected", "training", "3")),
    "an image that is a number": ({"training": [{"image": 1, "label": 2}]}, ("expected", "'image': 1")),
    "ending": ({"file_ending": ".png"}, ("expected a file_ending of .h5", "found '.png'")),
    "ending is a list": ({"file_ending": [".nii"]}, ("expected a file_ending of .h5", "found ['.nii']")),
    "channels are a number": ({"channel_names": 1}, ("expected", "channel_names", "1")),
}


@pytest.mark.parametrize("content, words", BROKEN.values(), ids=BROKEN)
def test_a_broken_description_is_refused(tmp_path, content, words):
    with pytest.raises(InputError, match=says("dataset.json: ", *words)):
        open_data([described(tmp_path / "data", content)])


@pytest.mark.parametrize("make", [decathlon, nnunet])
@pytest.mark.parametrize("labels", [{"tumour": "one"}, {"whole tumour": [1, 2]}, {"tumour": 1.5}])
def test_labels_without_whole_numbers_are_refused(tmp_path, make, labels):
    words = ("dataset.json: expected labels that are whole numbers", repr(labels)[1:-1])
    with pytest.raises(InputError, match=says(*words)):
        open_data([make(tmp_path / "data", labels=labels)])


# ---- bad input -----------------------------------------------------------------------------------


def test_no_data_is_refused():
    with pytest.raises(InputError, match=says("DATA: expected HDF5 files, a folder, --images and --labels", "sample")):
        open_data([])


@pytest.mark.parametrize("name", ["gone.h5", "gone", "gone.nii"])
def test_missing_data_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=says(tmp_path / name, "found no such file or folder; check the path")):
        open_data([tmp_path / name])


def test_one_file_of_another_format_is_refused(tmp_path):
    path = write_tif(tmp_path / "a.tif", raw())
    with pytest.raises(InputError, match=says("a.tif: expected an HDF5 file", "found .tif", "--images", "--labels")):
        open_data([path])


@pytest.mark.parametrize("names", [[], ["a.tif", "notes.txt"]])
def test_a_folder_without_data_is_refused(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("")
    words = (f"{tmp_path}: expected HDF5 files or a dataset.json, found neither", "--images", "--labels")
    with pytest.raises(InputError, match=says(*words)):
        open_data([tmp_path])


@pytest.mark.parametrize("given, missing", [("raw", "label"), ("label", "raw")])
def test_a_file_needs_image_and_labels(tmp_path, given, missing):
    path = write_h5(tmp_path / "a.h5", **{given: raw()})
    words = (f"a.h5: expected a data set {missing!r}", f"found {given}", "--raw-key, --label-key")
    with pytest.raises(InputError, match=says(*words)):
        open_data([path])


def test_one_broken_file_of_a_folder_is_named(tmp_path):
    write_h5(tmp_path / "a.h5", raw=raw(), label=raw())
    (tmp_path / "b.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:700])
    with pytest.raises(InputError, match=says("b.h5: expected a readable .h5 volume", "broken or truncated")):
        open_data([tmp_path])


@pytest.mark.parametrize("odd", ["label", "weight"])
def test_shapes_that_differ_are_refused(tmp_path, odd):
    arrays = {"raw": raw(), "label": raw(), "weight": raw()} | {odd: raw(shape=(4, 6, 5))}
    path = write_h5(tmp_path / "a.h5", **arrays)
    words = (f"a.h5:{odd}: expected the shape of the image", "a.h5:raw", "(4, 5, 6)", "found (4, 6, 5)", "--axes")
    with pytest.raises(InputError, match=says(*words)):
        open_data([path])


def test_shapes_that_differ_between_files_are_refused(tmp_path):
    write_tif(tmp_path / "image.tif", raw())
    write_tif(tmp_path / "label.tif", raw(shape=(4, 5, 7)))
    words = ("label.tif: expected the shape of the image", "image.tif", "(4, 5, 6)", "found (4, 5, 7)")
    with pytest.raises(InputError, match=says(*words)):
        open_data([], images=f"{tmp_path}/im*", labels=f"{tmp_path}/la*")


def test_an_image_may_have_channels_that_its_labels_lack():
    image, label = from_array(np.zeros((*SHAPE, 3))), from_array(np.zeros(SHAPE))
    assert Example("mine", image, label).label is label
