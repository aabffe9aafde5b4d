"""labels: raw values to classes and back, boundaries between instances, and sentences about what cannot be right."""

import numpy as np
import pytest
from helpers import says
from scipy.ndimage import generate_binary_structure, maximum_filter, minimum_filter

from keras_unet3d.errors import InputError
from keras_unet3d.labels import (
    UNLABELLED,
    LabelTable,
    boundaries,
    class_volume,
    infer_table,
    parse_classes,
    propose_table,
    survey,
    table_faults,
    unknown_in,
    value_faults,
)
from keras_unet3d.volumes import from_array

U = UNLABELLED


def table_of(raw, **options):
    volume = from_array(np.asarray(raw), "my labels")
    return infer_table({volume.name: survey(volume).counts}, **options)


def instances(shape, count=40, seed=0):
    """Return a dense volume of Voronoi cells numbered from 0."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(size=(count, 3)) * shape
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    distance = np.stack([np.square(grid - point).sum(-1) for point in points])
    return distance.argmin(0).astype(np.uint16)


# ---- values and classes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values, dtype",
    [((0, 1), "uint8"), ((0, 255), "uint8"), ((0, 256), "uint16"), ((3, 70000), "uint32"), ((5, 2**33), "uint64")],
)
@pytest.mark.parametrize("stored", ["uint64", "int64", "float64"])
def test_values_come_back_in_the_smallest_type(values, dtype, stored):
    raw = np.resize(values, (2, 3, 4)).astype(stored)
    table = table_of(raw)
    back = table.to_values(table.to_classes(raw))
    assert table.values == values
    assert back.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(back, raw)


def test_gaps_in_the_values_close_to_classes():
    raw = np.array([[[300, 2, 7, 9, 2]]], np.uint16)
    table = table_of(raw, unlabelled=[9])
    assert table == LabelTable((2, 7, 300), ("2", "7", "300"), (9,))
    classes = table.to_classes(raw)
    assert classes.dtype == np.uint8
    assert classes.tolist() == [[[2, 0, 1, U, 0]]]


@pytest.mark.parametrize("stored", ["uint8", "int16", "float32"])
def test_several_values_may_mean_unlabelled(stored):
    raw = np.array([[[0, 1, 5, 255, 1]]], stored)
    table = table_of(raw, unlabelled=[255, 5, 77])
    assert table.values == (0, 1)
    assert table.to_classes(raw).tolist() == [[[0, 1, U, U, 1]]]


@pytest.mark.parametrize("stored", ["uint8", "uint16", "int8", "int32", "float32"])
def test_minus_one_is_not_the_largest_value(stored):
    raw = np.array([[[0, 1, 1, 0]]], stored)
    raw[..., 3] = np.iinfo(stored).max if raw.dtype.kind == "u" else -1
    with_minus_one = LabelTable((0, 1), ("a", "b"), (-1,))
    if raw.dtype.kind == "u":
        with pytest.raises(InputError, match=says("expected the labels 0 a, 1 b;", f"found {raw.max()} (1 voxels)")):
            with_minus_one.to_classes(raw)
    else:
        assert with_minus_one.to_classes(raw).tolist() == [[[0, 1, 1, U]]]


def test_unknown_values_are_named_with_their_counts():
    raw = np.array([[[0, 1, 4, 4, 9, 10, 11, 12, 13]]])
    words = (
        "scan: expected the labels 0 a, 1",
        "4 (2 voxels), 9 (1 voxels)",
        ", ... and 3 more;",
        "correct the labels",
    )
    with pytest.raises(InputError, match=says(*words)) as caught:
        LabelTable((0, 1), ("a", "1")).to_classes(raw, "scan")
    assert "13" not in str(caught.value)


def test_a_large_unknown_value_is_named_in_full():
    with pytest.raises(InputError, match=says("found 16777215 (1 voxels)")):
        LabelTable((0, 1), ("a", "b")).to_classes(np.array([[[0, 1, 16777215]]]))


@pytest.mark.parametrize(
    "values, dtype",
    [((7, 40), "uint8"), ((-1, 1), "int8"), ((-1, 200), "int16"), ((-1, 300), "int16"), ((-1, 2**33), "int64")],
)
def test_the_values_of_a_prediction_are_in_the_smallest_type_that_holds_them(values, dtype):
    written = LabelTable(values, ("a", "b")).to_values(np.array([[[0, 1, 1]]]))
    assert written.tolist() == [[[values[0], values[1], values[1]]]]
    assert written.dtype == np.dtype(dtype)


def test_values_come_back_wherever_they_are_labelled():
    table = LabelTable((40, -3, 7), ("wall", "hole", "cell"), (255, 0, 11))
    raw = np.random.default_rng(0).choice([40, -3, 7, 255, 0, 11], (5, 6, 7))
    classes = table.to_classes(raw)
    labelled = classes != U
    np.testing.assert_array_equal(labelled, np.isin(raw, [40, -3, 7]))
    np.testing.assert_array_equal(table.to_values(classes[labelled]), raw[labelled])


def test_a_table_is_shown_with_its_names_where_they_say_more():
    assert LabelTable((7, 40), ("cell", "wall")).shown() == "7 cell, 40 wall"
    assert LabelTable((0, 5), ("0", "tubule")).shown() == "0, 5 tubule"
    assert LabelTable((), ()).shown() == ""


def test_a_table_is_declared_as_it_was():
    for text in ("0=background,7=cell,40", "-1=hole,2"):
        classes = parse_classes(text)
        assert LabelTable(tuple(classes), tuple(classes.values())).declared() == text


@pytest.mark.parametrize("values, unlabelled", [((0, 0), ()), ((0, 1), (1,))])
def test_a_table_has_every_value_once(values, unlabelled):
    with pytest.raises(InputError, match=says("label table: expected every label value once", values, unlabelled)):
        LabelTable(values, ("a", "b"), unlabelled)


@pytest.mark.parametrize("value", [1.5, True, "1", None])
def test_the_values_of_a_table_are_whole_numbers(value):
    with pytest.raises(InputError, match=says("values: expected a list of whole numbers", f"found (0, {value!r})")):
        LabelTable((0, value), ("a", "b"))


def test_a_table_is_rebuilt_from_its_config():
    table = LabelTable((0, 7), ("a", "b"), (9,), "semantic")
    assert table.config() == {
        "values": (0, 7),
        "names": ("a", "b"),
        "unlabelled": (9,),
        "target": "semantic",
        "background_value": 0,
        "partial": (),
        "regions": (),
    }
    assert LabelTable(**table.config()) == LabelTable.from_config(table.config(), "a file") == table
    assert table.num_classes == 2


def test_a_table_needs_a_name_per_value():
    with pytest.raises(InputError, match=says("label table: expected a name per value", "('a',)", "(0, 1)")):
        LabelTable((0, 1), ("a",))


def test_a_table_needs_a_known_target():
    with pytest.raises(InputError, match=says("target: expected one of semantic, boundaries, cells; found 'edges'")):
        LabelTable((0, 1), ("a", "b"), target="edges")


def test_whole_numbers_stored_as_floats_are_labels():
    raw = np.array([[[0.0, 1.0, 2.0, 1.0]]], np.float32)
    table = table_of(raw)
    assert table.values == (0, 1, 2)
    assert table.to_classes(raw).tolist() == [[[0, 1, 2, 1]]]
    assert table.to_values(table.to_classes(raw)).dtype == np.uint8


# ---- declared classes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, classes",
    [
        ("0=background,7=cell,40=wall", {0: "background", 7: "cell", 40: "wall"}),
        ("40=wall,7", {40: "wall", 7: "7"}),
        ("1,2", {1: "1", 2: "2"}),
        (" 0 = inner part , 7 ", {0: "inner part", 7: "7"}),
        ("-1=hole,0=cell", {-1: "hole", 0: "cell"}),
        ("0=a=b,1=", {0: "a=b", 1: "1"}),
    ],
)
def test_classes_are_values_with_or_without_names(text, classes):
    assert parse_classes(text) == classes
    assert list(parse_classes(text)) == list(classes), "in the order they were given"


@pytest.mark.parametrize("part", ["cell", "a=1", "1.5=cell", "--1=cell", "=cell", "", "1-3", "0x1=a", "²=a"])
def test_classes_without_a_whole_number_are_refused(part):
    words = ("classes: expected whole numbers with names, like 0=background", f"found {part!r}.")
    with pytest.raises(InputError, match=says(*words)):
        parse_classes(f"0=background,{part},9=wall")


@pytest.mark.parametrize(
    "text, part", [("0=a,0=b", "0=b"), ("0=a,00=b", "00=b"), ("0=a,1=a", "1=a"), ("1,0=1", "0=1"), ("0=1,1", "1")]
)
def test_classes_that_occur_twice_are_refused(text, part):
    with pytest.raises(InputError, match=says("expected every value and every name once", f"found {part!r} again")):
        parse_classes(text)


@pytest.mark.parametrize("count", [1, 65])
def test_a_wrong_number_of_classes_is_refused(count):
    with pytest.raises(InputError, match=says("classes: expected 2 to 64 classes", f"found {count}: '0=class0")):
        parse_classes(",".join(f"{value}=class{value}" for value in range(count)))


def test_as_many_classes_as_fit_may_be_declared():
    assert list(parse_classes(",".join(map(str, range(64))))) == list(range(64))


# ---- inferring the table -------------------------------------------------------------------------


def test_classes_are_the_values_of_all_volumes():
    counts = {"a": {0: 5, 2: 1}, "b": {0: 5, 1: 1}, "c": {9: 3, 2: 1}}
    assert infer_table(counts, unlabelled=[9]) == LabelTable((0, 1, 2), ("0", "1", "2"), (9,))


def test_num_classes_counts_from_zero_whatever_occurs():
    assert table_of([[[0, 2]]], num_classes=4) == LabelTable((0, 1, 2, 3), ("0", "1", "2", "3"))


def test_declared_names_are_the_classes_in_their_order_also_where_they_do_not_occur():
    table = table_of([[[0, 2, 9]]], declared={2: "wall", 0: "air", 1: "dust", 9: "ignored"}, unlabelled=[9])
    assert table == LabelTable((2, 0, 1), ("wall", "air", "dust"), (9,))


def test_a_value_outside_the_declared_names_is_refused_with_file_value_and_count():
    words = ("my labels: expected the labels 7 cell, 40 wall", "found 255 (2 voxels)", "correct the labels")
    with pytest.raises(
        InputError, match=says(*words, "`classes=255=NAME,...`", "`unlabelled=255` if it means unlabelled")
    ):
        table_of([[[7, 40, 255, 255]]], declared={7: "cell", 40: "wall"})


def test_one_volume_may_lack_a_class():
    assert infer_table({"a": {0: 1}, "b": {1: 1}}).values == (0, 1)


def test_negative_labels_are_no_classes_unless_declared():
    words = ("my labels: expected the labels 0, 1", "found -1 (2 voxels)", "`classes=-1=NAME,...`", "`unlabelled=-1`")
    with pytest.raises(InputError, match=says(*words)):
        table_of([[[0, 1, -1, -1]]])
    assert table_of([[[0, 1, -1, -1]]], declared={-1: "hole", 0: "a", 1: "b"}).values == (-1, 0, 1)


def test_negative_labels_may_mean_unlabelled():
    assert table_of([[[0, 1, -1, -1]]], unlabelled=[-1]) == LabelTable((0, 1), ("0", "1"), (-1,))


@pytest.mark.parametrize("value", [3, 255])
def test_labels_beyond_num_classes_are_refused(value):
    words = ("my labels: expected the labels 0, 1, 2;", f"found {value} (2 voxels)", f"`classes={value}=NAME,...`")
    with pytest.raises(InputError, match=says(*words, f"`unlabelled={value}`")):
        table_of([[[0, 1, value, value]]], num_classes=3)


@pytest.mark.parametrize("unlabelled, found", [([5], "5"), ([5, 6], "5 or 6")])
@pytest.mark.parametrize("target", ["semantic", "boundaries"])
def test_nothing_labelled_is_refused(unlabelled, found, target):
    words = (
        "my labels: expected some labelled voxels",
        "found nothing labelled",
        f"every voxel is {found},",
        "annotate",
    )
    with pytest.raises(InputError, match=says(*words)):
        table_of(np.resize(unlabelled, (2, 3, 4)), unlabelled=unlabelled, target=target)


def test_the_one_volume_of_which_nothing_is_labelled_is_named():
    with pytest.raises(InputError, match=says("second: expected some labelled voxels")):
        infer_table({"first": {0: 1, 1: 1}, "second": {9: 8}}, unlabelled=[9])


@pytest.mark.parametrize("options", [{}, {"num_classes": 1}])
def test_one_class_is_refused(options):
    words = (
        "my labels: expected at least two classes",
        "found only the label 0",
        "annotate a second",
        "declare it by `classes`",
    )
    with pytest.raises(InputError, match=says(*words)):
        table_of(np.zeros((2, 3, 4), np.uint8), **options)


@pytest.mark.parametrize("count", [65, 300])
def test_too_many_classes_are_refused(count):
    words = ("my labels: expected at most 64 classes", f"found {count} label values", "`target=boundaries`")
    with pytest.raises(InputError, match=says(*words)):
        table_of(np.arange(count).reshape(1, 1, -1))


def test_the_volumes_that_hold_too_many_classes_are_named():
    good, bad = {0: 5, 1: 5}, dict.fromkeys(range(19588), 1)
    table = propose_table({"good": good, "bad": bad})
    assert list(table_faults(table, {"good": good, "bad": bad})) == [
        "bad: expected at most 64 classes, found 19588 label values; are these instances? Then add `target=boundaries`."
    ]
    assert table.shown() == "0, 1, 2, ... and 19,585 more"
    halves = {"a": dict.fromkeys(range(40), 1), "b": dict.fromkeys(range(40, 80), 1)}
    (fault,) = table_faults(propose_table(halves), halves)
    assert fault.startswith("a and the others: expected at most 64 classes, found 80 label values")


def test_as_many_classes_as_fit_are_taken():
    raw = np.arange(64).reshape(1, 8, 8)
    table = table_of(raw)
    np.testing.assert_array_equal(table.to_classes(raw), raw)


def test_instances_of_any_number_have_two_classes():
    table = table_of(np.arange(300).reshape(1, 1, -1), target="boundaries", unlabelled=[7])
    assert table == LabelTable((0, 1), ("interior", "boundary"), (7,), "boundaries")


def test_a_negative_instance_is_refused():
    with pytest.raises(InputError, match=says("my labels: expected labels of 0 or more", "found -3 (1 voxels)")):
        table_of([[[0, 1, -3]]], target="boundaries")


# ---- every fault at once -------------------------------------------------------------------------


def test_every_fault_of_every_volume_is_told():
    counts = {
        "good": {0: 5, 1: 5},
        "other": {0: 3, 4: 2, 8: 1},
        "empty": {9: 8},
        "odd": {0: 1, 3: 6},
    }
    table = propose_table(counts, unlabelled=[9], declared={0: "air", 1: "wall"})
    faults = list(table_faults(table, counts))
    assert [fault.partition(":")[0] for fault in faults] == ["other", "empty", "odd"]
    assert "found 4 (2 voxels), 8 (1 voxels); correct" in faults[0]
    assert "found nothing labelled: every voxel is 9" in faults[1]
    assert "found 3 (6 voxels)" in faults[2]


def test_too_few_classes_do_not_hide_a_wrong_value():
    counts = {"a": {0: 8}, "b": {0: 7, -1: 1}}
    faults = list(table_faults(propose_table(counts), counts))
    assert [fault.partition(":")[0] for fault in faults] == ["b", "a"]
    assert "found -1 (1 voxels)" in faults[0]
    assert "expected at least two classes" in faults[1]


def test_a_table_without_faults_has_none():
    counts = {"a": {0: 5, 1: 5, 9: 1}, "b": {1: 1}}
    table = propose_table(counts, unlabelled=[9])
    assert list(table_faults(table, counts)) == []
    assert list(value_faults("a", counts["a"], table)) == []


def test_what_to_do_about_an_unknown_value_may_be_said_by_the_command():
    table = LabelTable((0, 1), ("air", "wall"))
    (fault,) = unknown_in("a", {0: 5, 6: 2, 7: 1}, table, "write VALUE on paper")
    assert fault == "a: expected the labels 0 air, 1 wall; found 6 (2 voxels), 7 (1 voxels); write 6 on paper."
    assert list(unknown_in("a", {0: 5}, table)) == []


# ---- boundaries ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(9, 20, 17), (1, 12, 12), (30, 2, 5)])
def test_boundaries_are_where_a_face_has_another_instance(shape, seed):
    dense = instances(shape, seed=seed)
    faces = generate_binary_structure(3, 1)
    options = {"footprint": faces, "mode": "nearest"}
    expected = maximum_filter(dense, **options) != minimum_filter(dense, **options)
    found = boundaries(dense)
    assert found.dtype == np.uint8
    assert expected.any()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("seed", range(3))
def test_boundaries_beside_unlabelled_voxels(seed):
    raw = instances((7, 9, 8), 12, seed) + 1
    raw[np.random.default_rng(seed).uniform(size=raw.shape) < 0.3] = 0
    expected = np.zeros(raw.shape, np.uint8)
    for here in np.ndindex(raw.shape):
        if raw[here] == 0:
            expected[here] = U
            continue
        for axis, step in ((axis, step) for axis in range(3) for step in (-1, 1)):
            there = tuple(place + step * (a == axis) for a, place in enumerate(here))
            inside = all(0 <= place < size for place, size in zip(there, raw.shape, strict=True))
            if inside and raw[there] not in (0, raw[here]):
                expected[here] = 1
    np.testing.assert_array_equal(boundaries(raw, [0]), expected)


@pytest.mark.parametrize(
    "raw, expected",
    [
        ([[[1, 1, 2, 2]]], [[[0, 1, 1, 0]]]),
        ([[[0, 0, 2, 2]]], [[[0, 1, 1, 0]]]),
        ([[[1, 9, 2, 2]]], [[[0, U, 0, 0]]]),
        ([[[1, 8, 9, 2]]], [[[0, U, U, 0]]]),
        ([[[1, 9], [9, 2]]], [[[0, U], [U, 0]]]),
        ([[[1, 1], [2, 9]]], [[[1, 0], [1, U]]]),
        ([[[1, 9]], [[2, 9]]], [[[1, U]], [[1, U]]]),
        ([[[1]], [[1]], [[3]]], [[[0]], [[1]], [[1]]]),
        ([[[9, 9]]], [[[U, U]]]),
    ],
)
def test_boundaries_by_hand(raw, expected):
    assert boundaries(np.array(raw), [9, 8]).tolist() == expected


@pytest.mark.parametrize("stored", ["uint8", "int32", "float32"])
def test_boundaries_read_in_blocks_are_those_of_the_whole(stored):
    raw = instances((3, 131, 259), 60).astype(stored)
    raw[:, 40:44, 100:140] = 99
    raw[1, 127:129] = 99
    volume = class_volume(from_array(raw), table_of(raw, target="boundaries", unlabelled=[99]))
    assert volume.dtype == np.uint8
    whole = boundaries(raw, [99])
    assert set(np.unique(whole)) == {0, 1, U}
    np.testing.assert_array_equal(volume.array()[..., 0], whole)
    for box, block in volume.blocks():
        assert block.dtype == np.uint8
        np.testing.assert_array_equal(block[..., 0], whole[box])


def test_cells_by_hand():
    # Two that touch, background (0), one that touches the background, what nobody labelled (9).
    raw = np.array([[[1, 1, 2, 2, 2, 0, 0, 3, 3, 3, 9]]])
    table = table_of(raw, target="cells", unlabelled=[9])
    assert table == LabelTable((0, 1, 2), ("background", "inside", "boundary"), (9,), "cells")
    classes = class_volume(from_array(raw), table).array()[0, 0, :, 0]
    assert classes.tolist() == [1, 2, 2, 1, 2, 0, 0, 2, 1, 1, UNLABELLED]
    # Of any box, and with another background.
    moved = np.where(raw == 0, 7, raw)
    table = infer_table({"v": survey(from_array(moved)).counts}, unlabelled=[9], target="cells", background=7)
    box = (slice(0, 1), slice(0, 1), slice(4, 8))
    assert class_volume(from_array(moved), table).read(box)[0, 0, :, 0].tolist() == [2, 0, 0, 2]


@pytest.mark.parametrize(
    ("values", "options", "sentence"),
    [
        (
            [0, 0, 9],
            {"target": "cells", "unlabelled": [9]},
            "expected labels of cells beside the background 0, found none",
        ),
        ([7, 7, 9], {"target": "boundaries", "unlabelled": [9]}, "expected at least two instances, .* found only 7"),
        (
            [0, 1],
            {"target": "cells", "unlabelled": [0]},
            "background: expected a value of its own, found 0, which means",
        ),
    ],
)
def test_too_few_instances_are_explained(values, options, sentence):
    with pytest.raises(InputError, match=sentence):
        table_of([[values]], **options)


def test_boundaries_of_any_crop_are_those_of_the_whole():
    raw = instances((9, 12, 11), 20)
    volume = class_volume(from_array(raw), table_of(raw, target="boundaries"))
    rng = np.random.default_rng(5)
    for _ in range(40):
        starts = [rng.integers(0, size) for size in raw.shape]
        box = tuple(slice(a, rng.integers(a, n) + 1) for a, n in zip(starts, raw.shape, strict=True))
        np.testing.assert_array_equal(volume.read(box)[..., 0], boundaries(raw)[box])


def test_class_volume_of_a_semantic_table_is_read_by_crops():
    raw = np.resize([3, 8, 5], (4, 5, 6)).astype(np.int16)
    volume = class_volume(from_array(raw), LabelTable((3, 8), ("a", "b"), (5,)))
    box = (slice(1, 3), slice(0, 5), slice(2, 4))
    expected = np.select([raw == 3, raw == 8], [0, 1], U)
    assert volume.dtype == volume.read(box).dtype == np.uint8
    np.testing.assert_array_equal(volume.read(box)[..., 0], expected[box])


def test_class_volume_names_the_volume_with_an_unknown_value():
    volume = class_volume(from_array(np.full((2, 3, 4), 6), "my labels"), LabelTable((0, 1), ("a", "b")))
    with pytest.raises(InputError, match=says("my labels: expected the labels 0 a, 1 b;", "found 6 (24 voxels)")):
        volume.array()
