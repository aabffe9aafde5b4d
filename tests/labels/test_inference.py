"""Which value means "unlabelled": what is obvious is inferred, and every near miss is left to the user."""

import numpy as np
import pytest

from keras_unet3d.labels import LabelTable, doubtful_values, infer_unlabelled, survey, unknown_in
from keras_unet3d.volumes import from_array

SHAPE = (20, 40, 50)


def infer(*volumes):
    return infer_unlabelled([survey(from_array(np.asarray(volume))) for volume in volumes])


def dense(values=(1, 2, 3), shape=SHAPE, seed=0):
    """Return a volume in which every plane has every value."""
    return np.random.default_rng(seed).choice(values, shape)


def sparse(z=(), y=(), x=(), around=0, values=(1, 2, 3), shape=SHAPE):
    """Return `around` everywhere but in whole slices."""
    full, raw = dense(values, shape), np.full(shape, around)
    raw[list(z)] = full[list(z)]
    raw[:, list(y)] = full[:, list(y)]
    raw[:, :, list(x)] = full[:, :, list(x)]
    return raw


# ---- a value that says it itself -------------------------------------------------------------------


def test_a_single_negative_value():
    assert infer(dense((-1, 0, 1))) == ((-1,), "the only negative value")
    assert infer(dense((0, 1)), dense((0, -7))) == ((-7,), "the only negative value")


@pytest.mark.parametrize("value", [255, 65535, -1])
def test_a_value_for_nothing_here_that_is_alone(value):
    assert infer(np.full(SHAPE, value)) == ((value,), "the only value")


@pytest.mark.parametrize("value", [0, 1, 254])
def test_a_class_that_is_alone_is_not_inferred(value):
    assert infer(np.full(SHAPE, value)) == ((), "")


def test_two_negative_values_are_not_inferred():
    assert infer(dense((-2, -1, 0, 1))) == ((), "")


def test_one_negative_value_beside_a_single_other_is_not_inferred():
    assert infer(dense((-1, 0))) == ((), "")


@pytest.mark.parametrize("largest", [255, 65535])
def test_the_largest_value_of_a_type_far_above_the_others(largest):
    assert infer(dense((7, 40, largest))) == ((largest,), "far above the other values, 7, 40")
    assert infer(dense((0, 63)), dense((0, largest))) == ((largest,), "far above the other values, 0, 63")


@pytest.mark.parametrize(
    "values",
    [(0, 255), (0, 65535), (0, 128, 255), (0, 64, 255), (0, 1, 254), (0, 1, 256), (0, 1, 32767), (0, 1, 255, 65535)],
)
def test_a_value_that_may_be_a_class_is_not_inferred(values):
    assert infer(dense(values)) == ((), "")


def test_instances_are_not_inferred():
    assert infer(np.arange(256).reshape(4, 8, 8)) == ((), "")
    assert infer(np.arange(-2, 254).reshape(4, 8, 8)) == ((), "")


def test_a_single_negative_value_among_instances():
    assert infer(np.arange(-1, 255).reshape(4, 8, 8)) == ((-1,), "the only negative value")


# ---- a value around whole slices -------------------------------------------------------------------

AROUND = "all that is not in slices labelled from corner to corner"


@pytest.mark.parametrize(
    "slices", [dict(z=[3, 11]), dict(z=[5]), dict(y=[7]), dict(x=[0, 49]), dict(z=[4, 15], y=[8, 31], x=[20])]
)
@pytest.mark.parametrize("around", [0, 4])
def test_a_value_around_whole_slices(slices, around):
    assert infer(sparse(**slices, around=around)) == ((around,), AROUND)


def test_a_value_around_whole_slices_of_more_than_one_block():
    assert infer(sparse(z=[1], x=[130], shape=(4, 20, 260))) == ((0,), AROUND)


def test_a_few_missed_voxels_do_not_matter():
    raw = sparse(z=[3, 11], y=[20])
    raw[3, 5, 10:20] = 0  # 10 of 2000
    raw[:3, 20, 4] = 0
    assert infer(raw) == ((0,), AROUND)


def test_more_than_a_few_missed_voxels_are_not_inferred():
    raw = sparse(z=[3, 11])
    raw[3, 5:7] = 0  # 100 of 2000
    assert infer(raw) == ((), "")


def test_slices_with_a_few_scribbles_beside_them_are_not_inferred():
    raw = sparse(z=[3, 11])
    raw[8, 10:20, 10:20] = 1
    assert infer(raw) == ((), "")


def test_every_sparse_volume_has_the_value_around_its_own_slices():
    assert infer(sparse(z=[3]), sparse(y=[5, 9]), dense()) == ((0,), AROUND)


def test_one_sparse_volume_and_one_with_that_value_for_a_class_are_not_inferred():
    assert infer(sparse(z=[3]), dense((0, 1, 2, 3))) == ((), "")


def test_dense_labels_with_a_background_are_not_inferred():
    raw = np.zeros(SHAPE, int)
    raw[5:12, 10:20, 10:30] = dense((1, 2), (7, 10, 20))
    assert infer(raw) == ((), "")


def test_layers_that_fill_whole_planes_are_not_inferred():
    raw = np.zeros(SHAPE, int)
    raw[12:15], raw[15:] = 1, 2
    assert infer(raw) == ((), "")


def test_thin_layers_in_a_background_are_not_inferred():
    raw = np.zeros(SHAPE, int)
    raw[4], raw[9], raw[15] = 1, 2, 1
    assert infer(raw) == ((), "")


def test_scribbles_are_not_inferred():
    raw = np.zeros(SHAPE, int)
    raw[3, 5:30, 10], raw[11, 20, 5:25] = 1, 2
    assert infer(raw) == ((), "")


def test_a_rectangle_in_a_slice_is_not_inferred():
    raw = np.zeros(SHAPE, int)
    raw[3, 5:30, 10:40] = dense((1, 2), (25, 30))
    assert infer(raw) == ((), "")


def test_slices_that_are_more_than_half_of_the_volume_are_not_inferred():
    assert infer(sparse(z=range(11))) == ((), "")


def test_two_values_are_never_inferred():
    assert infer(sparse(z=[3], values=(1,))) == ((), "")


# ---- a class that is nearly everything ---------------------------------------------------------------


def doubt(raw, **table):
    table = LabelTable(**dict(values=(0, 1, 2), names=("air", "wall", "cell")) | table)
    return list(doubtful_values([survey(from_array(raw))], table))


def painted(share):
    """Return 0 in all but `share` of 1000 voxels, which hold 1 and 2."""
    raw = np.zeros(1000, int)
    raw[: round(share * 1000)] = np.resize([1, 2], round(share * 1000))
    return raw.reshape(10, 10, 10)


def test_a_class_of_nearly_everything_is_doubtful():
    said = "95.0% of the labelled voxels are 0; if that means unlabelled, add `unlabelled=0`"
    assert doubt(painted(0.05)) == [said]


@pytest.mark.parametrize("values", [(0, 255), (0, 1, 255), (0, 65535)])
def test_a_class_of_the_largest_value_is_doubtful(values):
    said = f"the label {values[-1]} is taken as a class; if it means unlabelled, add `unlabelled={values[-1]}`"
    assert doubt(dense(values), values=values, names=tuple(map(str, values))) == [said]


@pytest.mark.parametrize("count, doubtful", [(12, False), (13, True), (64, True)])
def test_many_values_may_be_instances(count, doubtful):
    table = dict(values=tuple(range(count)), names=tuple(map(str, range(count))))
    said = f"{count} label values are taken as classes; if they are instances, add `target="
    assert doubt(dense(range(count)), **table) == ([f"{said}boundaries`"] if doubtful else [])
    # As many cells on a background.
    raw = np.concatenate([dense(range(count)), np.zeros(SHAPE, int)])
    assert doubt(raw, **table) == ([f"{said}cells`"] if doubtful else [])


def test_instances_of_another_kind_are_doubtful():
    touching = {"values": (0, 1), "names": ("interior", "boundary"), "target": "boundaries"}
    cells = {"values": (0, 1, 2), "names": ("background", "inside", "boundary"), "target": "cells"}
    assert doubt(dense(range(9)), **touching) == doubt(painted(0.05), **cells) == []
    said = "the label 0 is taken as an instance; if it is the background of the others, add `target=cells`"
    assert doubt(painted(0.05), **touching) == [said]
    said = "hardly a voxel is the background 0; if instances touch everywhere, add `target=boundaries`"
    assert doubt(dense(range(1, 9)), **cells) == [said]


@pytest.mark.parametrize(
    "raw, table",
    [
        (painted(0.1), {}),
        (painted(0.05) % 2, {"values": (0, 1), "names": ("air", "wall")}),
    ],
    ids=["nine tenths", "two classes"],
)
def test_what_is_usual_is_not_doubtful(raw, table):
    assert doubt(raw, **table) == []


def test_what_is_unlabelled_already_is_not_doubtful():
    raw = np.full((10, 10, 10), 9)
    raw[0] = np.resize([0, 1, 2], (10, 10))
    assert doubt(raw, unlabelled=(9,)) == []


def test_many_unknown_values_may_be_numbers_of_objects():
    table = LabelTable((1, 2), ("background", "nucleus"), (0,))
    few, many = (dict.fromkeys(range(1, last), 5) for last in (6, 40))
    (sentence,) = unknown_in("a.tif", few, table)
    assert "`unlabelled=3`" in sentence
    (sentence,) = unknown_in("a.tif", many, table)
    assert sentence.endswith(
        "if these are numbers of objects, train with `target=cells`, or give labels of those classes."
    )
