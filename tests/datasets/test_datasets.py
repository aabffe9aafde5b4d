"""datasets: DATA as users give it, to images with their labels; and a sentence about what is missing."""

import json
import os

import h5py
import nibabel
import numpy as np
import pytest
import tifffile
from helpers import says

from keras_unet3d.datasets import DataKeys, Example, Globs, open_examples
from keras_unet3d.datasets.phantom import NAMES, phantom
from keras_unet3d.errors import InputError
from keras_unet3d.volumes import from_array

SHAPE = (4, 5, 6)


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
    data = open_examples([write_h5(tmp_path / "a.h5", raw=raw(), label=raw(1))])
    (example,) = data.examples
    check(example, raw(), raw(1), "a.h5")
    assert (example.weight, data.label_names, data.unlabelled) == (None, {}, ())


def test_a_weight_is_used_where_there_is_one(tmp_path):
    path = write_h5(tmp_path / "a.h5", raw=raw(), label=raw(1), weight=raw(2) / 2)
    (example,) = open_examples([path]).examples
    np.testing.assert_array_equal(example.weight.array()[..., 0], raw(2) / 2)


def test_a_weight_that_was_asked_for_must_be_there(tmp_path):
    path = write_h5(tmp_path / "a.h5", raw=raw(), label=raw(1), weights=raw(2))
    with pytest.raises(InputError, match=says("a.h5: expected a data set 'weigths'", "Did you mean 'weights'")):
        open_examples([path], DataKeys(weight="weigths"))


def test_keys_and_axes_are_those_given(tmp_path):
    image = np.stack([raw(), raw(9)])  # channels first, then x, y, z
    path = write_h5(tmp_path / "a.h5", v__em=image, v__seg=raw(1), v__w=raw(2))
    (example,) = open_examples([path], DataKeys("v/em", "v/seg", "v/w", "cxyz")).examples
    check(example, image.transpose(3, 2, 1, 0), raw(1).transpose(2, 1, 0))
    np.testing.assert_array_equal(example.weight.array()[..., 0], raw(2).transpose(2, 1, 0))


def test_a_folder_is_its_hdf5_files_in_order(tmp_path):
    for number, name in enumerate(("b.h5", "a.hdf5", "C.H5")):
        write_h5(tmp_path / "data" / name, raw=raw(number), label=raw(number + 1))
    (tmp_path / "data" / "notes.txt").write_text("mine")
    for hidden in (".partial.d.h5", "._a.h5"):
        (tmp_path / "data" / hidden).write_text("half")
    examples = open_examples([tmp_path / "data"]).examples
    assert [example.name for example in examples] == ["C.H5", "a.hdf5", "b.h5"]
    check(examples[1], raw(1), raw(2))


def test_several_sources_are_taken_together(tmp_path):
    write_h5(tmp_path / "one" / "a.h5", raw=raw(), label=raw())
    path = write_h5(tmp_path / "b.h5", raw=raw(1), label=raw(1))
    data = open_examples([path, str(tmp_path / "one"), "sample"])
    assert [example.name for example in data.examples] == ["b.h5", "a.h5", "sample"]


# ---- the sample ----------------------------------------------------------------------------------


def test_the_word_sample_is_the_phantom_sparsely_labelled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = open_examples(["sample"])
    (example,) = data.examples
    check(example, phantom().image, phantom().sparse, "sample")
    assert (example.image.spacing, example.image.unit) == (phantom().spacing, "um")
    assert data.label_names == dict(enumerate(NAMES))
    assert data.unlabelled == (3,)
    assert os.listdir(tmp_path) == []


# ---- globs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix, write", [(".nii.gz", write_nii), (".tif", write_tif)])
def test_globs_pair_files_of_unrelated_names_in_sorted_order(tmp_path, suffix, write):
    for number in (2, 1, 3):
        write(tmp_path / "image" / f"case{number}{suffix}", raw(number))
        write(tmp_path / "mask" / f"seg{number}{suffix}", raw(number + 10))
    data = open_examples([], globs=Globs(f"{tmp_path}/image/*{suffix}", f"{tmp_path}/**/seg*{suffix}"))
    assert len(data.examples) == 3
    for number, example in enumerate(data.examples, start=1):
        check(example, raw(number), raw(number + 10), f"case{number}{suffix}")


def test_globs_may_pair_formats_and_join_other_data(tmp_path):
    write_tif(tmp_path / "a.tif", raw())
    write_h5(tmp_path / "a.h5", seg=raw(1))
    keys = DataKeys(label="seg")
    data = open_examples(["sample"], keys, Globs(f"{tmp_path}/*.tif", f"{tmp_path}/*.h5"))
    assert [example.name for example in data.examples] == ["sample", "a.tif"]
    check(data.examples[1], raw(), raw(1))


@pytest.mark.parametrize("images, labels", [(2, 1), (1, 3)])
def test_globs_of_different_counts_are_refused(tmp_path, images, labels):
    for number in range(images):
        write_tif(tmp_path / "image" / f"stack{number}.tif", raw())
    for number in range(labels):
        write_tif(tmp_path / "label" / f"cells{number}.tif", raw())
    words = ("expected as many labels as images", f"found {images} images and {labels} labels", "correct the globs")
    with pytest.raises(InputError, match=says("`images` and `labels`", *words)):
        open_examples([], globs=Globs(f"{tmp_path}/image/*", f"{tmp_path}/label/*"))


def write_pairs(folder, pairs):
    """Write an image and labels under each pair of names; the labels hold the image plus 100."""
    for number, (image, label) in enumerate(pairs):
        write_tif(folder / "image" / image, raw(number))
        write_tif(folder / "label" / label, raw(number + 100))
    return Globs(f"{folder}/image/*", f"{folder}/label/*")


@pytest.mark.parametrize(
    "pairs",
    [
        [("a.tif", "a.tif"), ("b.tif", "b.tiff")],
        [("ant_raw.tif", "seg_ant.tif"), ("bee_raw.tif", "gt_bee.tif"), ("cow_image.tif", "Cow-Mask.tif")],
        [("img_7.tif", "labels_7.tif"), ("img_10.tif", "mask_10.tif")],
        [("CELL 01.tif", "seg cell_01.tif"), ("y.tif", "labels (Y).tif")],
        [("a_0000.tif", "seg_a.tif"), ("b_0000.tif", "b.tif")],
    ],
)
def test_globs_pair_files_by_the_words_in_their_names(tmp_path, pairs):
    examples = open_examples([], globs=write_pairs(tmp_path, pairs)).examples
    assert [example.name for example in examples] == sorted(image for image, _ in pairs)
    for example in examples:
        np.testing.assert_array_equal(example.label.array(), example.image.array() + 100)


def test_names_that_say_the_same_of_two_files_fall_back_to_the_order(tmp_path):
    globs = write_pairs(tmp_path, [("cell.tif", "mask1.tif"), ("cell_raw.tif", "mask2.tif")])
    first, second = open_examples([], globs=globs).examples
    check(first, raw(0), raw(100), "cell.tif")
    check(second, raw(1), raw(101), "cell_raw.tif")


@pytest.mark.parametrize(
    "missing, shown", [("label/bee_seg.tif", "image/bee_raw.tif"), ("image/bee_raw.tif", "label/bee_seg.tif")]
)
def test_a_file_without_a_partner_is_named_with_its_folder(tmp_path, missing, shown):
    globs = write_pairs(tmp_path, [("ant_raw.tif", "ant_seg.tif"), ("bee_raw.tif", "bee_seg.tif")])
    (tmp_path / missing).unlink()
    words = ("`images` and `labels`: expected a partner for every file", "found none for", shown, "add the missing")
    with pytest.raises(InputError, match=says(*words)) as caught:
        open_examples([], globs=globs)
    assert "ant" not in str(caught.value)


def test_files_that_are_the_only_ones_without_a_partner_are_never_paired_with_each_other(tmp_path):
    globs = write_pairs(tmp_path, [("ant.tif", "ant.tif"), ("bee.tif", "cow.tif")])
    with pytest.raises(InputError, match=says("found none for", "bee.tif", "cow.tif")):
        open_examples([], globs=globs)


def test_of_many_files_without_a_partner_a_few_are_named(tmp_path):
    globs = write_pairs(tmp_path, [(f"{letter}.tif", f"{letter}.tif") for letter in "abcdefgh"])
    for letter in "bcdefgh":
        (tmp_path / "label" / f"{letter}.tif").unlink()
    with pytest.raises(InputError, match=says("b.tif", "d.tif, ... and 4 more;")):
        open_examples([], globs=globs)


def test_globs_may_name_weights(tmp_path):
    globs = write_pairs(tmp_path, [("a.tif", "a.tif"), ("b.tif", "b.tif")])
    for number, name in enumerate(("weight_b.tif", "weights-a.tif")):
        write_tif(tmp_path / "weight" / name, raw(number).astype(np.float32) / 2)
    first, second = open_examples([], globs=Globs(globs.images, globs.labels, f"{tmp_path}/weight/*")).examples
    np.testing.assert_array_equal(first.weight.array()[..., 0], raw(1).astype(np.float32) / 2)
    np.testing.assert_array_equal(second.weight.array()[..., 0], raw(0) / 2)


def test_weights_need_a_partner_and_a_shape_like_the_labels(tmp_path):
    globs = write_pairs(tmp_path, [("a.tif", "a.tif"), ("b.tif", "b.tif")])
    globs = Globs(globs.images, globs.labels, f"{tmp_path}/weight/*")
    with pytest.raises(InputError, match=says("`weights=", "weight/*`: expected files, found none")):
        open_examples([], globs=globs)
    write_tif(tmp_path / "weight" / "a.tif", raw())
    with pytest.raises(InputError, match=says("`images` and `weights`: expected a partner", "b.tif")):
        open_examples([], globs=globs)
    write_tif(tmp_path / "weight" / "b.tif", raw(shape=(4, 5, 7)))
    with pytest.raises(InputError, match=says("weight/b.tif: expected the shape of the image", "image/b.tif")):
        open_examples([], globs=globs)


def test_weights_alone_are_refused(tmp_path):
    with pytest.raises(InputError, match=says("`images` and `labels`: expected both, found neither")):
        open_examples([], globs=Globs(weights=f"{tmp_path}/*"))


@pytest.mark.parametrize("option", ["images", "labels"])
def test_one_glob_alone_is_refused(tmp_path, option):
    with pytest.raises(InputError, match=says("`images` and `labels`: expected both, found one")):
        open_examples([], globs=Globs(**{option: f"{tmp_path}/*"}))


def test_a_glob_is_a_text():
    with pytest.raises(InputError, match=says("images: expected a text, found 5.")):
        Globs(5)


@pytest.mark.parametrize("missing, option", [("image", "images"), ("label", "labels")])
def test_a_glob_that_finds_nothing_is_refused(tmp_path, missing, option):
    write_tif(tmp_path / "image" / "a.tif", raw())
    write_tif(tmp_path / "label" / "a.tif", raw())
    (tmp_path / missing / "a.tif").unlink()
    words = (f"`{option}={tmp_path}/{missing}/*.tif`: expected files, found none", "quote the pattern")
    with pytest.raises(InputError, match=says(*words)):
        open_examples([], globs=Globs(f"{tmp_path}/image/*.tif", f"{tmp_path}/label/*.tif"))


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
    data = open_examples([decathlon(tmp_path / "Task", channels)])
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
    data = open_examples([nnunet(tmp_path / "Dataset001", channels, ending, write)])
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
        open_examples([folder])


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
        open_examples([described(tmp_path / "data", content)])


@pytest.mark.parametrize("make", [decathlon, nnunet])
@pytest.mark.parametrize("labels", [{"tumour": "one"}, {"tumour": 1.5}])
def test_labels_without_whole_numbers_are_refused(tmp_path, make, labels):
    words = ("dataset.json: expected labels that are whole numbers", repr(labels)[1:-1])
    with pytest.raises(InputError, match=says(*words)):
        open_examples([make(tmp_path / "data", labels=labels)])


def test_an_nnunet_image_without_labels_is_refused(tmp_path):
    folder = nnunet(tmp_path / "data")
    write_nii(folder / "imagesTr" / "case3_0000.nii.gz", raw(3))
    words = (f"{folder}/labelsTr/case3.nii.gz: expected labels for the image in imagesTr", "found no such file; add it")
    with pytest.raises(InputError, match=says(*words)):
        open_examples([folder])


def test_data_sets_that_agree_on_their_labels_are_taken_together(tmp_path):
    first = decathlon(tmp_path / "one", labels={"0": "air", "1": "wall"})
    second = nnunet(tmp_path / "two", channels=1, labels={"air": 0, "cell": 2, "ignore": 9})
    data = open_examples([first, second, write_h5(tmp_path / "a.h5", raw=raw(), label=raw())])
    assert len(data.examples) == 5
    assert data.label_names == {0: "air", 1: "wall", 2: "cell"}
    assert data.unlabelled == (9,)


@pytest.mark.parametrize(
    "labels, found",
    [
        ({"air": 0, "cell": 1}, "found 1 to mean 'wall' in one and 'cell' in another"),
        ({"air": 0, "ignore": 1}, "found 1 to mean 'wall' in one and 'unlabelled' in another"),
    ],
)
def test_data_sets_that_disagree_on_a_label_are_refused(tmp_path, labels, found):
    first = decathlon(tmp_path / "one", labels={"0": "air", "1": "wall"})
    second = nnunet(tmp_path / "two", channels=1, labels=labels)
    words = ("DATA: expected data sets that agree on their labels", found, "fit them apart")
    with pytest.raises(InputError, match=says(*words)):
        open_examples([first, second])


@pytest.mark.parametrize("make", [decathlon, nnunet])
def test_two_labels_of_one_data_set_have_names_of_their_own(tmp_path, make):
    # Results are told by name: one of the two would be lost.
    labels = {"1": "wall", "2": "wall"} if make is decathlon else {"wall": 1, "cell": 1}
    with pytest.raises(InputError, match=says("dataset.json: expected")):
        open_examples([make(tmp_path / "data", labels=labels)])


# ---- bad input -----------------------------------------------------------------------------------


def test_no_data_is_refused():
    with pytest.raises(
        InputError, match=says("DATA: expected HDF5 or Zarr volumes, a folder, `images` and `labels`", "sample")
    ):
        open_examples([])


@pytest.mark.parametrize("name", ["gone.h5", "gone", "gone.nii"])
def test_missing_data_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=says(tmp_path / name, "found no such file or folder; check the path")):
        open_examples([tmp_path / name])


def test_one_file_of_another_format_is_refused(tmp_path):
    path = write_tif(tmp_path / "a.tif", raw())
    with pytest.raises(
        InputError, match=says("a.tif: expected an HDF5 or Zarr volume", "found .tif", "`images=GLOB`", "`labels=GLOB`")
    ):
        open_examples([path])


@pytest.mark.parametrize("names", [[], ["a.tif", "notes.txt"]])
def test_a_folder_without_data_is_refused(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("")
    words = (
        f"{tmp_path}: expected HDF5 or Zarr volumes or a dataset.json, found neither",
        "`images=GLOB`",
        "`labels=GLOB`",
    )
    with pytest.raises(InputError, match=says(*words)):
        open_examples([tmp_path])


@pytest.mark.parametrize("given, missing", [("raw", "label"), ("label", "raw")])
def test_a_file_needs_image_and_labels(tmp_path, given, missing):
    path = write_h5(tmp_path / "a.h5", **{given: raw()})
    words = (f"a.h5: expected a data set {missing!r}", f"found {given}", "`raw_key`, `label_key`")
    with pytest.raises(InputError, match=says(*words)):
        open_examples([path])


def test_one_broken_file_of_a_folder_is_named(tmp_path):
    write_h5(tmp_path / "a.h5", raw=raw(), label=raw())
    (tmp_path / "b.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:700])
    with pytest.raises(InputError, match=says("b.h5: expected a readable .h5 volume", "broken or truncated")):
        open_examples([tmp_path])


@pytest.mark.parametrize("odd", ["label", "weight"])
def test_shapes_that_differ_are_refused(tmp_path, odd):
    arrays = {"raw": raw(), "label": raw(), "weight": raw()} | {odd: raw(shape=(4, 6, 5))}
    path = write_h5(tmp_path / "a.h5", **arrays)
    words = (f"a.h5:{odd}: expected the shape of the image", "a.h5:raw", "(4, 5, 6)", "found (4, 6, 5)", "and `axes`")
    with pytest.raises(InputError, match=says(*words)):
        open_examples([path])


def test_shapes_that_differ_between_files_are_refused(tmp_path):
    write_tif(tmp_path / "image.tif", raw())
    write_tif(tmp_path / "label.tif", raw(shape=(4, 5, 7)))
    words = ("label.tif: expected the shape of the image", "image.tif", "(4, 5, 6)", "found (4, 5, 7)")
    with pytest.raises(InputError, match=says(*words)):
        open_examples([], globs=Globs(f"{tmp_path}/im*", f"{tmp_path}/la*"))


def test_an_image_may_have_channels_that_its_labels_lack():
    image, label = from_array(np.zeros((*SHAPE, 3))), from_array(np.zeros(SHAPE))
    assert Example("mine", image, label).label is label


# ---- the same space ------------------------------------------------------------------------------


# Slices 2.5 mm apart, turned and shifted.
AFFINE = np.array([[0, -1.5, 0, 12.0], [1.0, 0, 0, -7.0], [0, 0, 2.5, 3.0], [0, 0, 0, 1.0]])


def in_space(path, array, affine):
    """Write an array in the order of the file."""
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


KINDS = ("image", "label", "weight")


def nifti_pair(folder, label_affine, label=None, weight_affine=None):
    array = raw(shape=(6, 5, 4))
    in_space(folder / "image.nii.gz", array, AFFINE)
    in_space(folder / "label.nii.gz", array if label is None else label, label_affine)
    if weight_affine is not None:
        in_space(folder / "weight.nii.gz", array, weight_affine)
    patterns = (f"{folder}/{kind}*" if kind != "weight" or weight_affine is not None else None for kind in KINDS)
    return open_examples([], globs=Globs(*patterns))


def shifted(*voxels):
    """Return the affine of a file whose voxel 0, 0, 0 is `voxels` further on."""
    moved = AFFINE.copy()
    moved[:3, 3] += AFFINE[:3, :3] @ voxels
    return moved


def test_labels_of_the_same_affine_are_accepted(tmp_path):
    (example,) = nifti_pair(tmp_path, AFFINE, weight_affine=AFFINE).examples
    np.testing.assert_array_equal(example.label.array(), example.image.array())


@pytest.mark.parametrize("voxels, apart", [((1, 0, 0), "1 "), ((0, 0, 2), "5 "), ((0.6, 0, 0), "0.6 ")])
def test_labels_that_lie_elsewhere_are_refused(tmp_path, voxels, apart):
    words = ("label.nii.gz: expected the affine of the image", "image.nii.gz", f"corners up to {apart}voxels apart")
    with pytest.raises(InputError, match=says(*words, "resample the labels to the image", "(docs/formats.md)")):
        nifti_pair(tmp_path, shifted(*voxels))


def test_weights_that_lie_elsewhere_are_refused(tmp_path):
    with pytest.raises(InputError, match=says("weight.nii.gz: expected the affine of the image")):
        nifti_pair(tmp_path, AFFINE, weight_affine=shifted(0, 3, 0))


@pytest.mark.parametrize("voxels", [(0.4, 0, 0), (0.01, 0.01, 0.01)])
def test_labels_that_lie_less_than_half_a_voxel_off_are_accepted(tmp_path, voxels):
    assert len(nifti_pair(tmp_path, shifted(*voxels)).examples) == 1


def test_labels_that_are_flipped_are_refused(tmp_path):
    flipped = AFFINE @ np.diag([-1, 1, 1, 1])  # about voxel 0: the other corners lie five voxels to the other side
    with pytest.raises(InputError, match=says("label.nii.gz: expected the affine of the image", "voxels apart")):
        nifti_pair(tmp_path, flipped)


def test_labels_of_another_voxel_size_are_refused(tmp_path):
    with pytest.raises(InputError, match=says("label.nii.gz: expected the affine of the image", "voxels apart")):
        nifti_pair(tmp_path, AFFINE @ np.diag([1, 1, 2, 1]))


@pytest.mark.parametrize(
    "axes, flips", [((0, 1, 2), (1, 2)), ((2, 0, 1), ()), ((1, 0, 2), (0,)), ((2, 1, 0), (0, 1, 2))]
)
def test_labels_that_are_stored_in_another_orientation_of_the_same_space_are_accepted(tmp_path, axes, flips):
    array = raw(shape=(6, 5, 4))
    # What turns the voxels of the file turned into those of the file as it was.
    turn = np.zeros((4, 4))
    for new, old in enumerate(axes):
        turn[old, new], turn[old, 3] = (-1, array.shape[old] - 1) if new in flips else (1, 0)
    turn[3, 3] = 1
    label = np.flip(array.transpose(axes), flips)
    assert label.shape == tuple(array.shape[axis] for axis in axes)
    (example,) = nifti_pair(tmp_path, AFFINE @ turn, label).examples
    np.testing.assert_array_equal(example.label.array(), example.image.array())


def sized(path, **sizes):
    arrays = {name: raw() for name in sizes}
    write_h5(path, **arrays)
    with h5py.File(path, "a") as file:
        for name, size in sizes.items():
            if size is not None:
                file[name].attrs["element_size_um"] = size
    return path


@pytest.mark.parametrize("odd", ["label", "weight"])
def test_voxel_sizes_that_differ_are_refused(tmp_path, odd):
    sizes = dict(raw=(2.0, 1.0, 0.5), label=(2.0, 1.0, 0.5), weight=(2.0, 1.0, 0.5)) | {odd: (2.0, 1.0, 1.0)}
    words = (f"a.h5:{odd}: expected the voxel size of the image", "a.h5:raw, 2 x 1 x 0.5 um; found 2 x 1 x 1 um;")
    with pytest.raises(InputError, match=says(*words, "correct the voxel size in the file")):
        open_examples([sized(tmp_path / "a.h5", **sizes)])


@pytest.mark.parametrize("size", [None, (2.0, 1.0, 0.5), (2.01, 1.0, 0.501)])
def test_voxel_sizes_that_are_the_same_or_not_said_are_accepted(tmp_path, size):
    (example,) = open_examples([sized(tmp_path / "a.h5", raw=(2.0, 1.0, 0.5), label=size)]).examples
    assert example.image.spacing == (2.0, 1.0, 0.5)


def test_voxel_sizes_in_other_units_are_compared_in_one(tmp_path):
    in_space(tmp_path / "image.nii", raw().T, np.diag([0.5, 1.0, 2.0, 1.0]))  # millimetres
    for size, fits in (((2000.0, 1000.0, 500.0), True), ((2.0, 1.0, 0.5), False)):
        sized(tmp_path / "label.h5", label=size)
        globs = Globs(f"{tmp_path}/image.nii", f"{tmp_path}/label.h5")
        if fits:
            assert len(open_examples([], globs=globs).examples) == 1
        else:
            with pytest.raises(InputError, match=says("label.h5:label: expected the voxel size of the image")):
                open_examples([], globs=globs)
