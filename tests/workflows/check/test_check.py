"""check: what volumes hold, and everything that is wrong with them, in one go and without ever raising."""

import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from helpers import UNLABELLED, tiny_volume, write_pair

from keras_unet3d import DataOptions, FitSettings, check
from keras_unet3d.cli import main
from keras_unet3d.datasets.phantom import phantom
from keras_unet3d.listener import Listener

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
NINE = DataOptions(unlabelled=(UNLABELLED,))


def in_json(value):
    """Return what comes back from JSON: lists for tuples, and nothing else is another one."""
    if isinstance(value, dict):
        return {key: in_json(each) for key, each in value.items()}
    return [in_json(each) for each in value] if isinstance(value, list | tuple) else value


def checked(*data, settings=NINE, progress=lambda done, of: None, **more):
    """Return what `check` returns, with the lines that it said."""
    said = []
    result = check(data, settings=settings, listener=Listener(said.append, progress), **more)
    assert json.loads(json.dumps(result, allow_nan=False)) == in_json(result)
    return in_json(result) | {"said": said}


def faults(*data, **more):
    return checked(*data, **more)["faults"]


def sparse_volume(seed=0):
    """Return an image and labels 0 and 5 in three slices across z; the rest is unlabelled."""
    image, label = tiny_volume(seed)
    sparse = np.full_like(label, UNLABELLED)
    sparse[[2, 7, 12]] = label[[2, 7, 12]]
    return image, sparse


def cut_off(path):
    """Leave out the last bytes of a file, which must be longer than its header by then."""
    path.write_bytes(path.read_bytes()[:-30])
    return path


def write_nifti(path, array, affine=AFFINE):
    """Write `(z, y, x[, c])` in the order of NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0, *range(3, array.ndim)), affine), path)
    return path


def write_nifti_pair(folder, name, image=None, label=None, affine=AFFINE):
    good = tiny_volume()
    write_nifti(folder / "image" / name, good[0] if image is None else image)
    write_nifti(folder / "label" / name, good[1] if label is None else label, affine)
    return {"images": f"{folder}/image/*", "labels": f"{folder}/label/*"}


# ---- good data -------------------------------------------------------------------------------------


def test_the_sample_by_hand():
    image, sparse = phantom().image, phantom().sparse
    result = checked("sample", settings=DataOptions())
    assert set(result) == {"volumes", "labels", "faults", "notes", "said"}
    assert (result["faults"], result["notes"]) == ([], [])
    assert result["labels"] == {
        "values": [0, 1, 2],
        "names": ["lumen", "wall", "background"],
        "unlabelled": [3],
        "target": "semantic",
        "background_value": 0,
        "partial": [],
        "regions": [],
    }
    (volume,) = result["volumes"]
    grey = volume.pop("grey_values")
    assert grey == {
        "low": [image.min()],
        "high": [image.max()],
        "mean": [pytest.approx(image.mean())],
        "std": [pytest.approx(image.std())],
    }
    assert volume == {
        "name": "sample",
        "shape": [40, 96, 96],
        "channels": 1,
        "voxel_size": [2.0, 1.0, 1.0],
        "unit": "um",
        "dtype": "uint8",
        "label_values": {str(value): int((sparse == value).sum()) for value in range(4)},
        "labelled": {
            "lumen": int((sparse == 0).sum()),
            "wall": int((sparse == 1).sum()),
            "background": int((sparse == 2).sum()),
        },
        "unlabelled": int((sparse == 3).sum()),
        "annotated_slices": {"z": [8, 20, 31], "y": [24, 62], "x": [30, 74]},
        "dense": False,
        "weights": False,
    }


def test_what_is_said_of_the_sample():
    said = checked("sample", settings=DataOptions())["said"]
    assert said[0] == "sample"
    assert said[1].startswith("  image: 40 x 96 x 96 (z y x), voxel 2 x 1 x 1 um, uint8, grey values ")
    assert said[2] == ("  labels: 11.3% of the voxels; lumen: 7697, wall: 7443, background: 26568")
    assert said[3:] == [
        "  annotated slices: z 8, 20, 31; y 24, 62; x 30, 74",
        "classes: 0 lumen, 1 wall, 2 background; taken as unlabelled: 3",
        "no faults in 1 volume",
    ]


def test_a_folder_of_hdf5_files(tmp_path):
    image, label = sparse_volume()
    write_pair(tmp_path / "a.h5", raw=image, label=label)
    write_pair(tmp_path / "b.h5", 1, spacing=(1.0, 0.5, 0.25), weight=np.ones((16, 16, 16)))
    steps = []
    result = checked(tmp_path, progress=lambda *step: steps.append(step))
    first, second = result["volumes"]
    assert (result["faults"], steps) == ([], [(1, 2), (2, 2)])
    assert result["labels"]["values"] == [0, 5]
    assert (first["name"], first["voxel_size"], first["weights"]) == ("a.h5", [2.0, 1.0, 1.0], False)
    assert first["label_values"] == {"0": 3 * 128, "5": 3 * 128, "9": 13 * 256}
    assert (first["labelled"], first["unlabelled"]) == ({"0": 384, "5": 384}, 3328)
    assert (first["annotated_slices"], first["dense"]) == ({"z": [2, 7, 12], "y": [], "x": []}, False)
    assert (second["name"], second["voxel_size"], second["weights"]) == ("b.h5", [1.0, 0.5, 0.25], True)
    assert (second["labelled"], second["dense"]) == ({"0": 1920, "5": 1920}, True)
    assert "  labels: 18.8% of the voxels; 0: 384, 5: 384" in result["said"]
    assert result["said"][-2:] == ["classes: 0, 5; taken as unlabelled: 9", "no faults in 2 volumes"]


def test_globs_and_channels(tmp_path):
    image, _ = tiny_volume()
    globs = write_nifti_pair(tmp_path, "a.nii.gz", np.stack([image, image + 100], -1).astype(np.float32))
    write_nifti_pair(tmp_path, "b.nii.gz", np.stack([image, image], -1).astype(np.float32))
    result = checked(settings=FitSettings(unlabelled=(9,), axes="zyxc", classes="0=air,5=wall"), **globs)
    assert result["faults"] == []
    first = result["volumes"][0]
    assert (first["name"], first["channels"], first["unit"], first["dtype"]) == ("a.nii.gz", 2, "mm", "float32")
    assert first["grey_values"]["low"] == pytest.approx([image.min(), image.min() + 100])
    assert first["labelled"] == {"air": 1920, "wall": 1920}
    assert "  image: 16 x 16 x 16 (z y x), 2 channels, voxel 2 x 1 x 1 mm, float32, grey" in result["said"][1]


def test_a_folder_with_dataset_json(tmp_path):
    write_nifti_pair(tmp_path, "a.nii.gz")
    described = {"labels": {"background": 0, "cell": 5, "wall": 6, "ignore": 9}, "file_ending": ".nii.gz"}
    (tmp_path / "image").rename(tmp_path / "imagesTr")
    (tmp_path / "label").rename(tmp_path / "labelsTr")
    (tmp_path / "imagesTr" / "a.nii.gz").rename(tmp_path / "imagesTr" / "a_0000.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    result = checked(tmp_path, settings=DataOptions())
    assert result["faults"] == []
    assert result["notes"] == ["the class 6 wall is declared, but occurs in no volume"]
    assert result["volumes"][0]["labelled"] == {"background": 1920, "cell": 1920, "wall": 0}
    assert result["labels"]["unlabelled"] == [9]


def test_instances(tmp_path):
    z, y, x = np.indices((16, 16, 16)) // 8
    label = 500 * z + 100 * y + x  # eight cubes
    write_pair(tmp_path / "a.h5", label=label)
    result = checked(tmp_path / "a.h5", settings=FitSettings(target="boundaries"))
    (volume,) = result["volumes"]
    assert (result["faults"], volume["labelled"], volume["dense"]) == ([], None, True)
    assert volume["label_values"] == {str(value): 512 for value in (0, 1, 100, 101, 500, 501, 600, 601)}
    assert "  labels: 100.0% of the voxels; 8 values" in result["said"]


def test_of_many_volumes_twenty_are_told_of(tmp_path):
    for number in range(22):
        write_pair(tmp_path / f"{number:02}.h5", number)
    result = checked(tmp_path)
    assert len(result["volumes"]) == 22
    assert [line for line in result["said"] if line.endswith(".h5")] == [f"{number:02}.h5" for number in range(20)]
    assert "... and 2 more volumes (the JSON has them all)" in result["said"]


# ---- what is worth a word ----------------------------------------------------------------------------


def test_a_value_that_is_inferred_to_be_unlabelled_is_said(tmp_path):
    image, label = sparse_volume()
    write_pair(tmp_path / "a.h5", raw=image, label=np.where(label == UNLABELLED, 255, label))
    result = checked(tmp_path / "a.h5", settings=DataOptions())
    (note,) = result["notes"]
    assert note.startswith("unlabelled: 255, far above the other values, 0, 5 (if that is wrong, declare")
    assert f"note: {note}" in result["said"]
    assert result["labels"]["unlabelled"] == [255]


def test_a_class_that_may_mean_unlabelled_is_said(tmp_path):
    label = np.zeros((16, 16, 16), np.uint8)
    label[8, 2:14, 8], label[8, 8, 2:14] = 1, 2
    write_pair(tmp_path / "a.h5", label=label)
    (note,) = checked(tmp_path / "a.h5", settings=FitSettings(validation_share=0))["notes"]
    assert note == "99.4% of the labelled voxels are 0; if that means unlabelled, add `unlabelled=0`"


def test_a_label_that_is_in_one_of_many_volumes_only_is_said(tmp_path):
    for seed in range(3):
        write_pair(tmp_path / f"{seed}.h5", seed)
    _, label = tiny_volume()
    label[3, 3, 3:5] = 6
    write_pair(tmp_path / "1.h5", label=label)
    (note,) = checked(tmp_path)["notes"]
    assert note == (
        f"{tmp_path}/1.h5:label: the only one of 3 volumes with the label 6 (2 voxels); if it is a mistake, correct it"
    )


# ---- the split -------------------------------------------------------------------------------------


def test_one_volume_that_cannot_be_split_is_a_fault_unless_nothing_is_held_out(tmp_path):
    label = np.full((16, 16, 16), UNLABELLED)
    label[3, 3, 3:5] = 0, 5
    path = write_pair(tmp_path / "a.h5", label=label)
    (fault,) = faults(path)
    assert "a.h5:label: expected annotations that can be split into training and validation" in fault
    assert faults(path, settings=FitSettings(unlabelled=(9,), validation_share=0)) == []
    assert faults(path, write_pair(tmp_path / "b.h5", 1, label=label)) == []


def test_one_volume_whose_weights_leave_too_little_to_split_is_a_fault(tmp_path):
    image, label = sparse_volume()
    weight = np.zeros(label.shape, np.float32)
    weight[2, 6:10, 3] = 1
    (fault,) = faults(write_pair(tmp_path / "a.h5", raw=image, label=label, weight=weight))
    assert "expected annotations that can be split into training and validation" in fault


# ---- ten faults in one go ----------------------------------------------------------------------------


def changed(array, value, dtype=None):
    """Return the array with another value in its middle."""
    array = array.astype(dtype or array.dtype)
    array[8, 8, 8:10] = value
    return array


IMAGE, LABEL = tiny_volume()
NOISE = np.random.default_rng(0).choice([0, 5, 9], LABEL.shape).astype(np.uint8)
TEXTS = np.full(LABEL.shape, b"x")
# File -> what replaces the good arrays in it, and the fault that must be named.
PLANTED = {
    "no_label": (dict(label=None), ": expected a data set 'label', found raw; name it by `raw_key`, `label_key` or"),
    "shape": (dict(label=LABEL[:, :12]), ":label: expected the shape of the image"),
    "value": (dict(label=changed(LABEL, 7)), ":label: expected the labels 0 air, 5 wall; found 7 (2 voxels); correct"),
    "nan": (dict(raw=changed(IMAGE, np.nan)), ":raw: expected finite grey values, found NaN or infinity in 2 voxels"),
    "fraction": (dict(label=changed(LABEL, 0.5, float)), ":label: expected labels that are whole numbers, found 0.5"),
    "text": (dict(raw=TEXTS), ":raw: expected numbers, found voxels of type |S1"),
    "constant": (dict(raw=np.full_like(IMAGE, 3)), ":raw: expected an image, found the constant value 3"),
    "empty": (dict(label=np.full_like(LABEL, 9)), ":label: expected some labelled voxels, found nothing labelled"),
    "channels": (dict(raw=np.stack([IMAGE] * 2, -1)), ":raw: expected 1 channels like"),
    "weight": (dict(weight=changed(np.ones(LABEL.shape), -1)), ":weight: expected finite weights of 0 or more"),
    "flat": (dict(raw=IMAGE[0]), ":raw: expected 4 axes (zyxc), found an array of shape (16, 16); correct `axes`"),
}
DECLARED = DataOptions(unlabelled=(9,), classes="0=air,5=wall", axes="zyxc")


def write_channels(path, seed=0, **arrays):
    """Write a pair whose image has an axis of channels, the last one."""
    raw = arrays.get("raw", tiny_volume(seed)[0])
    raw = raw[..., None] if raw is not None and raw.ndim == 3 else raw
    return write_pair(path, seed, **arrays | {"raw": raw})


def plant(folder, *names):
    """Write the good files a.h5 and b.h5, and those with the faults named; return the sentences to expect."""
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate("ab"):
        write_channels(folder / f"{name}.h5", seed)
    for name in names:
        write_channels(folder / f"{name}.h5", **PLANTED[name][0])
    return [f"{folder / name}.h5{PLANTED[name][1]}" for name in names]


def same(found, expected):
    """Assert that every expected sentence begins one of those found, and that there are no others."""
    found = list(found)
    for sentence in expected:
        matching = [fault for fault in found if fault.startswith(sentence)]
        assert len(matching) == 1, f"{sentence} in {found}"
        found.remove(matching[0])
    assert found == []


def test_every_fault_of_a_folder_of_hdf5_files_is_named(tmp_path):
    expected = plant(tmp_path / "data", *PLANTED)
    cut = cut_off(write_channels(tmp_path / "data" / "cut.h5"))
    sized = write_channels(tmp_path / "data" / "sized.h5")
    with h5py.File(sized, "a") as file:
        file["label"].attrs["element_size_um"] = (1.0, 1.0, 1.0)
    expected += [
        f"{cut}: expected a readable .h5 volume, found a broken or truncated file",
        f"{sized}:label: expected the voxel size of the image {sized}:raw, 2 x 1 x 1 um; found 1 x 1 x 1 um",
        f"{tmp_path}/data/a.h5:raw: expected every volume once, found it twice",
        f"{tmp_path}/gone.h5: expected data, found no such file or folder",
    ]
    result = checked(tmp_path / "data", tmp_path / "data" / "a.h5", tmp_path / "gone.h5", settings=DECLARED)
    # Image and labels cannot be read from the file that was cut off.
    assert result["faults"].count(next(fault for fault in result["faults"] if fault.startswith(expected[-4]))) <= 3
    same(dict.fromkeys(result["faults"]), expected)
    assert len(expected) == 15
    for number, fault in enumerate(result["faults"], 1):
        assert f"fault {number}: {fault}" in result["said"]
    assert [volume["name"] for volume in result["volumes"]].count("a.h5") == 2
    assert not any(line.startswith("no faults") for line in result["said"])


def test_every_fault_of_files_in_globs_is_named(tmp_path):
    moved = AFFINE.copy()
    moved[0, 3] = 7
    planted = {
        "affine": (dict(affine=moved), "label", "expected the affine of the image"),
        "channels": (dict(image=np.stack([IMAGE] * 2, -1)), "image", "expected 1 channels like"),
        "constant": (dict(image=np.zeros_like(IMAGE)), "image", "expected an image, found the constant value 0"),
        "empty": (dict(label=np.full_like(LABEL, 9)), "label", "expected some labelled voxels, found nothing labelled"),
        "fraction": (dict(label=LABEL + np.float32(0.5)), "label", "expected labels that are whole numbers"),
        "image_nan": (dict(image=changed(IMAGE, np.nan)), "image", "expected finite grey values, found NaN"),
        "shape": (dict(label=LABEL[:12]), "label", "expected the shape of the image"),
        "value": (dict(label=changed(LABEL, 7)), "label", "expected the labels 0 air, 5 wall; found 7 (2 voxels)"),
    }
    planted_or_good = {"a": {}, "b": {}, "cut": {}, "lost": {"label": NOISE}} | {n: p[0] for n, p in planted.items()}
    for name, arrays in planted_or_good.items():
        image = arrays.get("image", IMAGE)
        arrays = arrays | {"image": image[..., None] if image.ndim == 3 else image}
        globs = write_nifti_pair(tmp_path, f"{name}.nii.gz", **arrays)
        write_nifti(tmp_path / "weight" / f"{name}.nii.gz", np.ones_like(IMAGE))
    expected = [f"{tmp_path}/{kind}/{name}.nii.gz: {said}" for name, (_, kind, said) in planted.items()]
    for kind, name in (("image", "cut"), ("label", "lost")):
        path = cut_off(tmp_path / kind / f"{name}.nii.gz")
        expected.append(f"{path}: expected a readable .nii.gz volume, found a broken or truncated file")
    bad = write_nifti(tmp_path / "weight" / "b.nii.gz", changed(np.ones_like(IMAGE), -1))
    expected.append(f"{bad}: expected finite weights of 0 or more, found NaN or negative ones")
    assert len(expected) == 11
    settings = FitSettings(unlabelled=(9,), classes="0=air,5=wall", axes="zyxc")
    same(faults(settings=settings, weights=f"{tmp_path}/weight/*", **globs), expected)


def test_a_file_without_a_partner_does_not_hide_the_faults_of_the_others(tmp_path):
    globs = write_nifti_pair(tmp_path, "a.nii.gz")
    write_nifti_pair(tmp_path, "constant.nii.gz", image=np.zeros_like(IMAGE))
    write_nifti_pair(tmp_path, "alone.nii.gz")
    (tmp_path / "label" / "alone.nii.gz").unlink()
    told = faults(**globs)
    assert len(told) == 2, told
    assert "expected a partner for every file, found none for" in told[0] and "alone.nii.gz" in told[0]
    assert told[1].startswith(f"{tmp_path}/image/constant.nii.gz: expected an image, found the constant value 0")


# ---- faults one by one -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLANTED)
def test_every_fault_alone(tmp_path, name):
    expected = plant(tmp_path / "data", name)
    result = checked(tmp_path / "data", settings=DECLARED)
    same(result["faults"], expected)
    assert [volume["name"] for volume in result["volumes"]] == sorted(["a.h5", "b.h5", f"{name}.h5"])


def test_the_data_set_of_a_file_that_holds_no_numbers_is_named(tmp_path):
    plant(tmp_path / "data", "text")
    (fault,) = faults(tmp_path / "data", settings=DECLARED)
    assert "text.h5:raw" in fault


WORSE = {
    "instances": (dict(label=np.arange(16**3).reshape(16, 16, 16) // 8), "expected at most 64 classes, found 511"),
    "image as labels": (dict(label=np.resize([-20000, 0, 20000], (16, 16, 16)).astype(np.int16)), "found -20000 ("),
    "no data as the smallest float": (dict(label=changed(LABEL, -3.4e38, np.float32)), "expected labels that are"),
    "a group": (dict(raw=None, raw__x=IMAGE), "expected a data set 'raw', found"),
    "no voxels": (
        dict(label=np.zeros((0, 16, 16), np.uint8)),
        "expected voxels along every axis, found an array of shape (0, 16, 16)",
    ),
    "complex": (dict(raw=IMAGE.astype(complex)), "expected numbers, found voxels of type complex128"),
    "weights with channels": (dict(raw=IMAGE, weight=np.ones((16, 16, 16, 2))), ":weight: expected"),
    "weights of nothing labelled": (dict(weight=(LABEL == 9) * 1.0), "expected weights above 0 at labelled voxels"),
    "weights of another shape": (dict(weight=np.ones((16, 16, 4))), "expected the shape of the image"),
    "endless grey values": (dict(raw=IMAGE * 1e200), "expected"),
}


@pytest.mark.parametrize("name", WORSE)
def test_check_never_raises(tmp_path, name):
    arrays, said = WORSE[name]
    write_channels(tmp_path / "good.h5")
    path = write_channels(tmp_path / "a.h5", **{key.replace("__", "/"): array for key, array in arrays.items()})
    (fault,) = faults(tmp_path, settings=FitSettings(unlabelled=(9,), axes="zyxc"), picture=tmp_path / "p.png")
    assert fault.startswith(str(path))
    assert said in fault


@pytest.mark.parametrize("content", [b"", b"not an HDF5 file", None])
def test_check_never_raises_for_a_broken_file(tmp_path, content):
    path = write_pair(tmp_path / "a.h5")
    cut_off(path) if content is None else path.write_bytes(content)
    (fault,) = faults(path)
    assert fault.startswith(f"{path}: expected a readable .h5 volume, found a broken or truncated file")


@pytest.mark.parametrize("broken", ["image", "label", "weight"])
def test_check_never_raises_for_a_file_that_is_cut_off(tmp_path, broken):
    globs = write_nifti_pair(tmp_path, "a.nii.gz", label=NOISE)
    write_nifti(tmp_path / "weight" / "a.nii.gz", IMAGE)
    path = cut_off(tmp_path / broken / "a.nii.gz")
    (fault,) = faults(weights=f"{tmp_path}/weight/*", picture=tmp_path / "p.png", **globs)
    assert fault.startswith(f"{path}: expected a readable .nii.gz volume, found a broken or truncated file")


@pytest.mark.parametrize(
    "data, more, said",
    [
        (
            [],
            {},
            "DATA: expected HDF5 or Zarr volumes, a folder, `images` and `labels`, or a word, sample or cells; found none",
        ),
        (["gone.h5"], {}, "gone.h5: expected data, found no such file or folder"),
        ([], {"images": "*.tif"}, "`images` and `labels`: expected both, found one"),
        ([], {"images": "*.tif", "labels": "*.tif"}, "`images=*.tif`: expected files, found none"),
        (["notes.txt"], {}, "notes.txt: expected an HDF5 or Zarr volume that holds image and labels, found .txt"),
        (["broken"], {}, "broken/dataset.json: expected the description of a data set in JSON"),
    ],
)
def test_data_that_cannot_be_found_are_a_fault(tmp_path, monkeypatch, data, more, said):
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("mine")
    Path("broken").mkdir()
    Path("broken/dataset.json").write_text("{")
    result = checked(*data, **more)
    (fault,) = result["faults"]
    assert fault.startswith(said)
    assert (result["volumes"], result["labels"]) == ([], None)


def test_data_sets_that_disagree_are_a_fault_and_still_read(tmp_path):
    for number, names in enumerate(({"0": "air", "5": "wall"}, {"0": "wall", "5": "air"})):
        folder = tmp_path / str(number)
        write_nifti_pair(folder, "a.nii.gz", label=np.where(LABEL == 9, 0, LABEL))
        training = [{"image": "image/a.nii.gz", "label": "label/a.nii.gz"}]
        (folder / "dataset.json").write_text(json.dumps({"labels": names, "training": training}))
    result = checked(tmp_path / "0", tmp_path / "1", settings=DataOptions())
    (fault,) = result["faults"]
    assert fault.startswith("DATA: expected data sets that agree on their labels, found 0 to mean 'air' in one and")
    assert [volume["labelled"] for volume in result["volumes"]] == [{"0": 2176, "5": 1920}] * 2


# ---- one fault does not hide another of the same file --------------------------------------------------

NEGATIVE = changed(np.ones(LABEL.shape), -1)


@pytest.mark.parametrize(
    "arrays, said",
    [
        (
            dict(raw=changed(IMAGE, np.nan), label=changed(LABEL, 0.5, float)),
            (":raw: expected finite grey values", ":label: expected labels that are whole numbers"),
        ),
        (
            dict(raw=np.zeros_like(IMAGE), label=LABEL[:, :12]),
            (":raw: expected an image, found the constant", ":label: expected the shape of the image"),
        ),
        (
            dict(raw=np.zeros((16, 16, 12)), label=changed(LABEL, 7)),
            (":raw: expected an image", ":label: expected the shape", ":label: expected the labels 0 air, 5 wall"),
        ),
        (
            dict(raw=None, label=np.full_like(LABEL, 9)),
            (": expected a data set 'raw'", ":label: expected some labelled"),
        ),
        (dict(raw=None, label=None), (": expected a data set 'raw'", ": expected a data set 'label'")),
        (dict(label=changed(LABEL, 7), weight=NEGATIVE), (":label: expected the labels", ":weight: expected finite")),
        (dict(label=np.full_like(LABEL, 9), weight=NEGATIVE), (":label: expected some", ":weight: expected finite")),
        (dict(label=None, weight=NEGATIVE), (": expected a data set 'label'", ":weight: expected finite weights")),
        (dict(label=LABEL[:9], weight=NEGATIVE), (":label: expected the shape", ":weight: expected finite weights")),
        (
            dict(raw=np.stack([IMAGE * 0] * 2, -1), weight=NEGATIVE),
            (":raw: expected an image", ":raw: expected 1 channels", ":weight: expected finite weights"),
        ),
    ],
)
def test_one_fault_does_not_hide_another_of_the_same_file(tmp_path, arrays, said):
    for seed, name in enumerate("ab"):
        write_channels(tmp_path / f"{name}.h5", seed)
    path = write_channels(tmp_path / "c.h5", **arrays)
    same(faults(tmp_path, settings=DECLARED), [f"{path}{part}" for part in said])


# ---- the picture -------------------------------------------------------------------------------------


def test_the_annotated_slices_are_drawn(tmp_path):
    for seed, name in enumerate(("a", "b", "cut")):
        image, label = sparse_volume(seed)
        write_pair(tmp_path / f"{name}.h5", raw=image, label=label[: 8 if name == "cut" else None])
    said = checked(tmp_path, picture=tmp_path / "new" / "p.png")["said"]
    picture = (tmp_path / "new" / "p.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n") and len(picture) > 5000
    assert said[-1] == f"picture: {tmp_path}/new/p.png"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["p.png"]


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 40, 3)])
def test_a_dense_volume_of_any_size_is_drawn(tmp_path, shape):
    image, label = np.random.default_rng(0).normal(size=shape), np.resize([0, 5], shape)
    path = write_pair(tmp_path / "a.h5", raw=image, label=label)
    checked(path, picture=tmp_path / "p.png", settings=FitSettings(validation_share=0))
    assert (tmp_path / "p.png").is_file()


def test_a_picture_of_nothing_is_not_written(tmp_path):
    said = checked(write_pair(tmp_path / "a.h5", raw=None), picture=tmp_path / "p.png")["said"]
    assert said[-1] == f"picture: nothing to draw, {tmp_path}/p.png is not written"
    assert not (tmp_path / "p.png").exists()


# ---- the command -------------------------------------------------------------------------------------


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """A function that runs `unet3d-cli check` in an empty folder; exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["check", *map(str, arguments)])
        said = capsys.readouterr()
        return stop.value.code or 0, said.out, said.err

    return run


def test_good_data_exit_0(call):
    write_pair(Path("a.h5"))
    code, out, error = call("a.h5", "--unlabelled", 9)
    assert (code, error) == (0, "")
    assert out.splitlines()[0] == "a.h5"
    assert out.splitlines()[-2:] == ["classes: 0, 5; taken as unlabelled: 9", "no faults in 1 volume"]
    assert sorted(Path().iterdir()) == [Path("a.h5")]


def test_faults_exit_2_after_all_of_them_are_named(call):
    plant(Path("data"), "nan", "value", "empty")
    code, out, error = call("data", "--axes", "zyxc", "--unlabelled", 9, "--classes", "0=air,5=wall")
    assert code == 2
    assert [line.partition(":")[0] for line in out.splitlines() if line.startswith("fault")] == [
        "fault 1",
        "fault 2",
        "fault 3",
    ]
    assert error == "unet3d-cli: expected data without faults, found 3, named above; mend and check again.\n"


def test_json_is_what_python_returns(call):
    write_pair(Path("a.h5"), raw=np.zeros((16, 16, 16)))
    Path("b.h5").write_bytes(write_pair(Path("b.h5"), 1, label=changed(LABEL, 7)).read_bytes())

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    code, _, _ = call("a.h5", "b.h5", "--unlabelled", 9, "--classes", "0=air,5=wall", "--json", "c.json")
    assert code == 2
    written = json.loads(Path("c.json").read_text(), parse_constant=refuse)
    result = checked("a.h5", "b.h5", settings=FitSettings(unlabelled=(9,), classes="0=air,5=wall"))
    assert written == {key: value for key, value in result.items() if key != "said"}
    assert len(written["faults"]) == 2
    assert written["volumes"][0]["grey_values"] is None


def test_json_and_picture_are_written_and_not_written_over(call):
    arguments = ["sample", "--json", "c.json", "--picture", "p.png"]
    assert call(*arguments)[0] == 0
    assert json.loads(Path("c.json").read_text())["volumes"][0]["annotated_slices"]["z"] == [8, 20, 31]
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")
    Path("c.json").write_text("precious")
    code, _, error = call(*arguments)
    assert (code, Path("c.json").read_text()) == (2, "precious")
    assert error.startswith("unet3d-cli: c.json: the output exists already")
    assert call(*arguments, "--overwrite")[0] == 0
    assert Path("c.json").read_text() != "precious"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--json", "c.txt"], "c.txt: expected a file ending in .json; choose another name."),
        (["--picture", "p.jpg"], "p.jpg: expected a file ending in .png; choose another name."),
        (["--json", "a.h5", "--overwrite"], "a.h5: expected a file ending in .json"),
        (["--picture", "folder.png"], "folder.png: expected a file to write the output to, found a folder"),
        (["--classes", "0=air"], "--classes: expected 2 to 64 classes, found 1"),
        (["--epochs", "3"], "No such option"),
    ],
)
def test_wrong_options_exit_2_before_anything_is_read(call, arguments, said):
    write_pair(Path("a.h5"))
    Path("folder.png").mkdir()
    before = Path("a.h5").read_bytes()
    code, out, error = call("a.h5", *arguments)
    assert (code, out) == (2, "")
    assert error.startswith(f"unet3d-cli: {said}")
    assert Path("a.h5").read_bytes() == before


def test_check_of_the_command_line_takes_the_options_of_fit_that_are_about_data(call):
    with h5py.File("a.h5", "w") as file:
        file["v/em"] = np.stack([IMAGE, IMAGE])
        file["v/seg"] = np.where(LABEL == 9, 0, LABEL)
        file["v/w"] = np.ones(LABEL.shape)
    keys = ["--raw-key", "v/em", "--label-key", "v/seg", "--weight-key", "v/w", "--axes", "czyx"]
    code, out, error = call("a.h5", *keys, "--num-classes", 6, "--validation-share", 0, "--json", "c.json")
    assert (code, error) == (0, "")
    assert "2 channels" in out
    result = json.loads(Path("c.json").read_text())
    assert (result["labels"]["values"], result["volumes"][0]["weights"]) == ([0, 1, 2, 3, 4, 5], True)


# ---- notes on what may be a mistake --------------------------------------------------------------------


def test_a_volume_of_one_class_among_others_is_noted(tmp_path):
    for seed, name in enumerate("ab"):
        write_pair(tmp_path / f"{name}.h5", seed)
    write_pair(tmp_path / "c.h5", label=np.zeros((16, 16, 16), np.uint8))
    result = checked(tmp_path)
    assert result["faults"] == []
    (note,) = result["notes"]
    assert note.startswith(f"{tmp_path}/c.h5:label: holds the label 0 alone; if something was not annotated")


def test_a_voxel_size_unlike_the_others_is_noted(tmp_path):
    for seed, name in enumerate("ab"):
        write_pair(tmp_path / f"{name}.h5", seed)
    write_pair(tmp_path / "c.h5", spacing=(2.0, 10.0, 10.0))
    (note,) = checked(tmp_path)["notes"]
    assert note.startswith(f"{tmp_path}/c.h5:raw: voxel size 2 x 10 x 10 um, the median is 2 x 1 x 1 um; correct it")
