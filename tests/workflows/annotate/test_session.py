"""What the buttons of a viewer do, without a viewer."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from helpers import UNLABELLED, tiny_volume, write_pair

from keras_unet3d import predict
from keras_unet3d.datasets import DataKeys, open_partly_labelled
from keras_unet3d.errors import InputError
from keras_unet3d.labels import LabelTable
from keras_unet3d.labels.table import CELL_TABLE
from keras_unet3d.volumes import from_array, open_volume
from keras_unet3d.workflows.annotate.painting import Slice, value_for_unlabelled
from keras_unet3d.workflows.annotate.session import (
    free_run,
    labels_to_paint,
    new_instance,
    next_slices,
    save_painted,
    segmented,
    specification,
)


@pytest.fixture
def stack(tmp_path):
    """An HDF5 stack of which two planes are labelled: its path."""
    _, label = tiny_volume()
    sparse = np.full_like(label, UNLABELLED)
    sparse[[4, 12]] = label[[4, 12]]
    return write_pair(tmp_path / "stack.h5", label=sparse)


@pytest.fixture
def opened(stack):
    return open_partly_labelled(stack, DataKeys(), None)


def test_segmented_is_what_predict_writes(predictor, stack, opened, tmp_path):
    labels, table = segmented(predictor, opened[0])
    predict(predictor, [stack], tmp_path / "out.h5")
    np.testing.assert_array_equal(labels, open_volume(tmp_path / "out.h5", "label").array()[..., 0])
    assert table == predictor.spec.labels and specification(predictor) == predictor.spec


def test_a_network_of_cells_numbers_them(predictor):
    def network(batch):
        # Two bright blocks are the insides of cells, with a background between them.
        bright = np.asarray(batch)[..., 0] > 0
        return np.stack([~bright, bright, np.zeros_like(bright)], -1).astype(np.float32)

    image = np.zeros((8, 16, 24), np.float32)
    image[:, 2:14, 2:10] = image[:, 2:14, 14:22] = 100.0
    spec = replace(
        predictor.spec,
        labels=CELL_TABLE,
        cleaning=(),
        architecture=replace(predictor.spec.architecture, num_classes=3),
    )
    labels, _ = segmented(replace(predictor, network=network, spec=spec), from_array(image))
    assert sorted(np.unique(labels)) == [0, 1, 2]
    assert labels[4, 8, 5] != labels[4, 8, 18] and labels[4, 8, 12] == 0


def test_labels_to_paint_are_those_so_far(predictor, opened):
    labels, table, unlabelled = labels_to_paint(predictor, *opened)
    np.testing.assert_array_equal(labels, opened[1].array()[..., 0])
    assert (table, unlabelled) == (predictor.spec.labels, UNLABELLED)
    fresh, _, _ = labels_to_paint(predictor, opened[0], None)
    assert fresh.shape == opened[0].shape and set(np.unique(fresh)) == {UNLABELLED}


def test_labels_of_instances_have_room_for_more(predictor, opened):
    spec = replace(predictor.spec, labels=CELL_TABLE, architecture=replace(predictor.spec.architecture, num_classes=3))
    labels, _, unlabelled = labels_to_paint(replace(predictor, spec=spec), opened[0], None)
    assert (labels.dtype, unlabelled) == (np.uint16, 255)


def test_a_new_instance_has_a_number_of_its_own():
    assert new_instance(np.array([0, 3, 255], np.uint16), 255) == 4
    assert new_instance(np.array([254, 255], np.uint16), 255) == 256
    assert new_instance(np.array([255], np.uint16), 255) == 1


def test_next_slices_are_not_labelled_yet(predictor, opened):
    labelled = opened[1].array()[..., 0] != UNLABELLED
    slices = next_slices(predictor, opened[0], labelled, 3)
    assert len(slices) == 3 and not {Slice("z", 4), Slice("z", 12)} & set(slices)
    with pytest.raises(InputError, match="expected voxels without a label, found none"):
        next_slices(predictor, opened[0], np.ones(opened[0].shape, bool), 1)


def test_painted_labels_are_saved_on_the_voxels_of_their_image(predictor, stack, opened, tmp_path):
    labels, table, unlabelled = labels_to_paint(predictor, *opened)
    labels[7] = 5
    painting = save_painted(tmp_path / "new.nii.gz", labels, opened[0], table, unlabelled)
    saved = open_volume(tmp_path / "new.nii.gz")
    np.testing.assert_array_equal(saved.array()[..., 0], labels)
    assert saved.spacing == pytest.approx((2.0, 1.0, 1.0))
    assert (painting.volume, painting.labels) == (str(stack), str(tmp_path / "new.nii.gz"))


def test_an_image_without_a_file_is_written_beside_its_labels(predictor, tmp_path):
    array, label = tiny_volume()
    image = from_array(array, "filtered", (2.0, 1.0, 1.0), "um")
    painting = save_painted(tmp_path / "new.h5", label, image, predictor.spec.labels, UNLABELLED)
    assert painting.volume == str(tmp_path / "new_image.h5")
    with h5py.File(painting.volume) as file:
        np.testing.assert_array_equal(file["raw"][:], array)
        assert file["raw"].attrs["element_size_um"] == pytest.approx((2.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("value", "name", "sentence"),
    [
        (3, "new.h5", "new.h5: expected the labels 0, 5; found 3 (256 voxels); paint with those, or 9"),
        (UNLABELLED, "new.h5", "new.h5: expected painted labels, found none; paint some slices first."),
        (5, "stack.h5", "stack.h5: expected a new file for the labels, found the image; choose another name."),
    ],
    ids=["no-label", "nothing-painted", "the-image"],
)
def test_what_cannot_be_saved(predictor, stack, opened, tmp_path, value, name, sentence):
    labels = np.full(opened[0].shape, UNLABELLED, np.uint8)
    labels[3] = value
    before = stack.read_bytes()
    with pytest.raises(InputError) as error:
        save_painted(tmp_path / name, labels, opened[0], predictor.spec.labels, UNLABELLED)
    assert sentence in str(error.value)
    assert [*tmp_path.iterdir()] == [stack] and stack.read_bytes() == before


def test_the_first_run_that_is_free(tmp_path):
    assert free_run(tmp_path / "labels.nii.gz") == tmp_path / "labels-run1"
    (tmp_path / "labels-run1").mkdir()
    assert free_run(tmp_path / "labels.nii.gz") == tmp_path / "labels-run2"


@pytest.mark.parametrize(
    ("table", "values", "unlabelled"),
    [
        # As a network that was trained on dense labels has it: what is painted for it, here or by fit's own rules, is known again.
        (LabelTable((0, 5), ("0", "5")), (0, 5, 255), 255),
        (CELL_TABLE, (0, 1, 2, 65535), 65535),
        # A class, or the background of the cells, that fills all but whole slices is none.
        (LabelTable((0, 5, 9), ("0", "5", "9")), (0, 5, 9), 255),
        (CELL_TABLE, (1, 2, 0), 255),
    ],
)
def test_what_labels_obviously_have_for_unlabelled(table, values, unlabelled):
    labels = np.full((16, 16, 16), values[-1], np.uint16)
    labels[[3, 9]] = np.resize(values[:-1], 16)
    assert value_for_unlabelled(from_array(labels), table) == unlabelled
