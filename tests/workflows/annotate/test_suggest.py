"""suggest and merge: slices to paint on, and back into a label volume without a change that nobody painted."""

import json
import shutil
from dataclasses import replace

import h5py
import nibabel
import numpy as np
import pytest
import tifffile
from helpers import UNLABELLED, tiny_settings, tiny_volume, write_pair

from keras_unet3d import fit, merge, suggest, zoo
from keras_unet3d.errors import InputError
from keras_unet3d.labels import LabelTable
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.prediction.predictor import Predictor
from keras_unet3d.workflows.annotate.painting import LIST, Painting, Slice


@pytest.fixture(scope="module")
def predictor(tiny_run):
    return zoo.predictor(tiny_run)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """An HDF5 stack of which three planes are labelled; nobody may change it."""
    _, label = tiny_volume()
    sparse = np.full_like(label, UNLABELLED)
    sparse[[4, 12]], sparse[:, 3] = label[[4, 12]], label[:, 3]
    return write_pair(tmp_path_factory.mktemp("stack") / "stack.h5", label=sparse)


@pytest.fixture(scope="module")
def suggested(predictor, stack, tmp_path_factory):
    out = tmp_path_factory.mktemp("suggested") / "next"
    suggest(predictor, stack, out, count=3, across="z")
    return out


@pytest.fixture
def painted(suggested, tmp_path):
    """A folder of three suggested z slices, not painted yet."""
    return shutil.copytree(suggested, tmp_path / "next")


def labels_of(path, key="label"):
    with h5py.File(path) as file:
        return file[key][:]


def paint(folder, number, array=None, value=5):
    """Paint the slice of that rank, all over with `value` or with an array, and return its index."""
    listed = json.loads((folder / LIST).read_text())["slices"][number]
    path = folder / f"{listed['axis']}{listed['index']:03d}_labels.tif"
    before = tifffile.imread(path)
    tifffile.imwrite(path, np.full_like(before, value) if array is None else array)
    return listed["index"]


def test_the_folder_holds_a_list_a_picture_and_three_files_per_slice(painted, stack):
    listed = json.loads((painted / LIST).read_text())
    assert listed["volume"] == str(stack)
    assert listed["unlabelled"] == UNLABELLED
    indices = [each["index"] for each in listed["slices"]]
    assert len(set(indices)) == 3 and not set(indices) & {4, 12}
    expected = {f"z{index:03d}_{kind}.tif" for index in indices for kind in ("image", "labels", "predicted")}
    assert {path.name for path in painted.iterdir()} == expected | {LIST, "suggestions.png", "report.html"}
    raw, label = labels_of(stack, "raw"), labels_of(stack)
    for index in indices:
        np.testing.assert_array_equal(tifffile.imread(painted / f"z{index:03d}_image.tif"), raw[index])
        np.testing.assert_array_equal(tifffile.imread(painted / f"z{index:03d}_labels.tif"), label[index])
        assert set(np.unique(tifffile.imread(painted / f"z{index:03d}_predicted.tif"))) <= {0, 5}


def test_painted_slices_come_back_beside_the_old_labels(painted, stack, tmp_path):
    before = labels_of(stack)
    index = paint(painted, 0)
    lines = []
    merge(painted, tmp_path / "new.h5", listener=Listener(lines.append))
    expected = before.copy()
    expected[index] = 5
    np.testing.assert_array_equal(labels_of(tmp_path / "new.h5"), expected)
    np.testing.assert_array_equal(labels_of(stack), before)
    changed = int((expected != before).sum())
    over = int((before[index] != UNLABELLED).sum() - (before[index] == 5).sum())
    assert over > 0, "some had another label before"
    assert lines[0] == f"z{index:03d}_labels.tif: {changed} voxels painted, {over} of them over earlier labels"
    assert sum("nothing painted" in line for line in lines) == 2
    assert lines[3] == (
        f"{tmp_path / 'new.h5'}: {int((expected != UNLABELLED).sum())} labelled voxels; {changed} voxels painted, {over} of them "
        "over earlier labels; the earlier file is as it was"
    )
    assert len(lines) == 4


def test_the_printed_command_trains_on_them(painted, stack, tmp_path):
    paint(painted, 0)
    merge(painted, tmp_path / "new.h5")
    settings = tiny_settings(classes="0,5")
    run = fit(
        [], tmp_path / "run", images=str(stack), labels=str(tmp_path / "new.h5"), settings=settings, listener=SILENT
    )
    assert "annotated slices" in json.loads((run.path / "config.json").read_text())["data"]["split"]


def test_slices_may_cross(predictor, stack, tmp_path):
    Painting(str(stack), None, predictor.spec.keys, predictor.spec.labels, 9, (Slice("z", 8), Slice("x", 10))).write(
        tmp_path
    )
    before = labels_of(stack)
    first, second = before[8].copy(), before[:, :, 10].copy()
    first[:] = 5  # the second slice does not know of it
    tifffile.imwrite(tmp_path / "z008_labels.tif", first)
    second[0] = 0
    tifffile.imwrite(tmp_path / "x010_labels.tif", second)
    lines = []
    merge(tmp_path, tmp_path / "new.h5", listener=Listener(lines.append))
    # Where they cross, the first one has a 5, which the second one, of the labels before, does not change.
    assert "otherwise than in a slice before" not in lines[1]
    expected = before.copy()
    expected[8], expected[0, :, 10] = 5, 0
    np.testing.assert_array_equal(labels_of(tmp_path / "new.h5"), expected)


def test_a_label_can_be_taken_away(predictor, stack, tmp_path):
    Painting(str(stack), None, predictor.spec.keys, predictor.spec.labels, 9, (Slice("z", 4),)).write(tmp_path)
    tifffile.imwrite(tmp_path / "z004_labels.tif", np.full((16, 16), 9, np.uint8))
    merge(tmp_path, tmp_path / "new.h5")
    assert (labels_of(tmp_path / "new.h5")[4] == 9).all()


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.int32])
def test_a_painting_program_may_change_the_type(painted, tmp_path, dtype):
    index = paint(painted, 0, np.full((1, 16, 16), 5, dtype))
    merge(painted, tmp_path / "new.h5")
    assert (labels_of(tmp_path / "new.h5")[index] == 5).all()


def test_a_slice_whose_file_was_taken_away_is_left_out(painted, tmp_path):
    index = paint(painted, 0)
    gone = json.loads((painted / LIST).read_text())["slices"][1]["index"]
    (painted / f"z{gone:03d}_labels.tif").unlink()
    lines = []
    merge(painted, tmp_path / "new.h5", listener=Listener(lines.append))
    assert f"z{gone:03d}_labels.tif: the file is gone, left out" in lines
    assert (labels_of(tmp_path / "new.h5")[index] == 5).all()


def test_labels_in_a_file_of_their_own_and_without_a_value_for_unlabelled(tiny_run, tmp_path):
    image, label = tiny_volume()
    for name, array in (("image", image), ("label", np.where(label == 9, 0, label))):
        nibabel.save(nibabel.Nifti1Image(array.T, np.diag([2, 2, 2, 1.0])), tmp_path / f"{name}.nii.gz")
    spec = zoo.predictor(tiny_run).spec
    without = Predictor(_unsure, replace(spec, labels=LabelTable((0, 5), ("a", "b"))))
    suggest(without, tmp_path / "image.nii.gz", tmp_path / "next", count=1)
    (slice_,) = Painting.read(tmp_path / "next").slices
    path = tmp_path / "next" / slice_.file("labels")
    assert (tifffile.imread(path) == 255).all(), "255 is no label of the table"
    tifffile.imwrite(path, np.full((16, 16), 5, np.uint8))
    merge(tmp_path / "next", tmp_path / "new.nii.gz")
    written = nibabel.load(tmp_path / "new.nii.gz")
    np.testing.assert_array_equal(written.affine, np.diag([2, 2, 2, 1.0]))
    assert np.asarray(written.dataobj).dtype == np.uint8
    assert (np.asarray(written.dataobj) == 5).sum() == 256
    with pytest.raises(InputError, match="expected voxels without a label, found none; there is nothing to annotate"):
        suggest(without, tmp_path / "image.nii.gz", tmp_path / "b", labels=tmp_path / "label.nii.gz")


def _unsure(batch):
    return np.full((*batch.shape[:-1], 2), 0.5, np.float32)


def test_instances_are_painted_as_instances(tmp_path):
    image, _ = tiny_volume()
    cells = np.zeros((16, 16, 16), np.uint16)
    cells[4] = np.arange(256).reshape(16, 16) // 50 + 300
    path = write_pair(tmp_path / "cells.h5", raw=image, label=np.where(cells, cells, 999))
    settings = tiny_settings(target="boundaries", unlabelled=(999,), validation_share=0.0)
    run = fit([path], tmp_path / "run", settings=settings)
    suggest(zoo.predictor(run.path), path, tmp_path / "next", count=1, across="z")
    index = paint(tmp_path / "next", 0, value=4000)
    merge(tmp_path / "next", tmp_path / "new.h5")
    assert (labels_of(tmp_path / "new.h5")[index] == 4000).all()


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plane, said",
    [
        (np.zeros((16, 16, 3), np.uint8), "found (16, 16, 3); save it as labels of 8 or 16 bit, not in colours"),
        (np.zeros((8, 16), np.uint8), "expected one label per pixel, (rows, columns) = (16, 16); found (8, 16)"),
        (np.full((16, 16), 7, np.uint8), "expected the labels 0, 5; found 7 (256 voxels); paint with those, or 9 for"),
        (np.full((16, 16), 0.5, np.float32), "expected labels that are whole numbers, found 0.5"),
        (np.full((16, 16), np.nan, np.float32), "expected labels that are whole numbers, found nan"),
    ],
)
def test_what_is_not_labels_is_refused_and_nothing_written(painted, tmp_path, plane, said):
    index = paint(painted, 0, plane)
    with pytest.raises(InputError) as caught:
        merge(painted, tmp_path / "new.h5")
    assert f"z{index:03d}_labels.tif" in str(caught.value) and said in str(caught.value)
    assert not (tmp_path / "new.h5").exists()


def test_a_broken_slice_is_refused(painted, tmp_path):
    index = paint(painted, 0)
    (painted / f"z{index:03d}_labels.tif").write_text("not a picture")
    with pytest.raises(InputError, match=f"z{index:03d}_labels.tif: expected a readable .tif"):
        merge(painted, tmp_path / "new.h5")


def test_nothing_painted_is_refused(painted, tmp_path):
    with pytest.raises(InputError, match=r"expected painted slices, found none; paint a \*_labels.tif"):
        merge(painted, tmp_path / "new.h5")


def test_merge_never_writes_over_the_volume(painted, stack):
    paint(painted, 0)
    with pytest.raises(InputError, match="expected a new file for the labels, found the volume or its old labels"):
        merge(painted, stack, overwrite=True)


def test_merge_writes_over_a_file_only_when_told(painted, tmp_path):
    paint(painted, 0)
    merge(painted, tmp_path / "new.h5")
    with pytest.raises(InputError, match="exists already; choose another path or add `overwrite=True`"):
        merge(painted, tmp_path / "new.h5")
    merge(painted, tmp_path / "new.h5", overwrite=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"slices": [{"axis": "../..", "index": 1}]}, "axis: expected one of z, y, x; found '../..'"),
        ({"slices": [{"axis": "z", "index": -1}]}, "index: expected a whole number of at least 0, found -1"),
        ({"slices": [{"axis": "z", "index": "1"}]}, "index: expected a whole number of at least 0, found '1'"),
        ({"slices": "z"}, "slices: expected a list of Slices, found 'z'"),
        ({"slices": None}, "slices: expected a list of Slices, found None"),
        (
            {"table": {"values": [0, 5], "names": ["a"]}},
            "label table: expected a name per value, found ('a',) for (0, 5)",
        ),
        ({"keys": {"raw": "raw", "other": 1}}, "expected entries of names in the files, found 'other'"),
        ({"keys": {"raw": 5}}, "raw: expected a text, found 5"),
        ({"unlabelled": "9"}, "unlabelled: expected a whole number, found '9'"),
        ({"unlabelled": 5}, "expected a value for unlabelled that is no class, found 5"),
        ({"volume": 3}, "volume: expected a text, found 3"),
        ({"labels": 3}, "labels: expected a text, found 3"),
        ({"more": 1}, "expected entries of the list of slices that suggest wrote, found 'more'"),
    ],
)
def test_a_list_of_another_kind_is_refused(painted, tmp_path, change, said):
    listed = json.loads((painted / LIST).read_text())
    (painted / LIST).write_text(json.dumps(listed | change))
    with pytest.raises(InputError) as caught:
        merge(painted, tmp_path / "new.h5")
    assert str(caught.value) == f"{painted / LIST}: {said}; run suggest again."


@pytest.mark.parametrize("missing", ["volume", "labels", "keys", "table", "unlabelled", "slices"])
def test_a_list_with_an_entry_less_is_refused(painted, tmp_path, missing):
    listed = json.loads((painted / LIST).read_text())
    del listed[missing]
    (painted / LIST).write_text(json.dumps(listed))
    said = f"suggestions.json: expected the entry '{missing}' of the list of slices that suggest wrote, found none; run suggest"
    with pytest.raises(InputError, match=said):
        merge(painted, tmp_path / "new.h5")


def test_any_other_folder_is_refused(tmp_path):
    with pytest.raises(
        InputError,
        match="suggestions.json: expected the list of slices that suggest wrote, found no such file; run suggest again",
    ):
        merge(tmp_path, tmp_path / "new.h5")


def test_a_slice_beyond_the_volume_is_refused(painted, tmp_path):
    listed = json.loads((painted / LIST).read_text())
    (painted / LIST).write_text(json.dumps(listed | {"slices": [{"axis": "z", "index": 16}]}))
    with pytest.raises(InputError, match="expected the volume of the suggestions, with a slice z = 16; found one of"):
        merge(painted, tmp_path / "new.h5")


def test_a_volume_that_moved_away_is_named(painted, tmp_path):
    listed = json.loads((painted / LIST).read_text())
    (painted / LIST).write_text(json.dumps(listed | {"volume": str(tmp_path / "stack.h5")}))
    with pytest.raises(InputError, match="stack.h5: expected a volume file, found no such file"):
        merge(painted, tmp_path / "new.h5")


def test_suggest_keeps_an_earlier_folder(predictor, painted, stack, tmp_path):
    with pytest.raises(InputError, match="the folder of suggestions exists already"):
        suggest(predictor, stack, painted)
    other = tmp_path / "mine"
    shutil.copytree(painted, other)
    (other / LIST).unlink()
    with pytest.raises(InputError, match=f"expected an earlier folder of suggestions to overwrite.*without {LIST}"):
        suggest(predictor, stack, other, overwrite=True)


def test_suggest_never_overwrites_what_somebody_has_painted(predictor, painted, stack):
    suggest(predictor, stack, painted, count=3, across="z", overwrite=True)
    index = paint(painted, 1)
    with pytest.raises(InputError) as error:
        suggest(predictor, stack, painted, overwrite=True)
    assert str(error.value) == (
        f"{painted}: expected a folder without painted slices to overwrite, found z{index:03d}_labels.tif; merge them and "
        "choose another path, or remove the folder."
    )
    assert (tifffile.imread(painted / f"z{index:03d}_labels.tif") == 5).all()


@pytest.mark.parametrize("more", [{"count": 0}, {"across": ""}, {"across": "zc"}])
def test_suggest_refuses_a_count_or_an_axis_that_is_none(predictor, stack, tmp_path, more):
    with pytest.raises(InputError, match="suggest: expected a count of 1 or more, across z, y or x"):
        suggest(predictor, stack, tmp_path / "next", listener=SILENT, **more)


def test_suggest_refuses_labels_that_the_network_does_not_know(predictor, tmp_path):
    path = write_pair(tmp_path / "a.h5", label=np.full((16, 16, 16), 77, np.uint8))
    with pytest.raises(InputError, match=r"a.h5:label: expected the labels 0, 5; found 77 \(4096 voxels\); give the"):
        suggest(predictor, path, tmp_path / "next")
    assert not (tmp_path / "next").exists()


def test_suggest_refuses_labels_of_another_shape(predictor, stack, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), tmp_path / "l.nii")
    with pytest.raises(InputError, match=r"l.nii: expected the shape of the image .*\(16, 16, 16\); found \(4, 4, 4\)"):
        suggest(predictor, stack, tmp_path / "next", labels=tmp_path / "l.nii")
