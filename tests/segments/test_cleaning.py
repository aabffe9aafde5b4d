"""Cleaning label volumes, by hand."""

import numpy as np
import pytest
from scipy import ndimage

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import beside_faces
from keras_unet3d.segments import regions
from keras_unet3d.segments.cleaning import (
    ClassCleaning,
    Cleaning,
    clean,
    cleaned,
    fill_holes,
    keep_largest,
    remove_small,
)


def row(*values, dtype=np.uint8):
    return np.array(values, dtype).reshape(1, 1, -1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32])
def test_the_largest_piece_of_every_class_stays(dtype):
    labels = row(1, 1, 0, 1, 9, 9, 9, 0, 9, 1, dtype=dtype)
    found = keep_largest(labels)
    np.testing.assert_array_equal(found, row(1, 1, 0, 0, 9, 9, 9, 0, 0, 0))
    assert found.dtype == dtype


def test_voxels_that_meet_at_an_edge_are_apart():
    labels = np.array([[[5, 0], [0, 5]], [[5, 0], [0, 0]]])
    np.testing.assert_array_equal(keep_largest(labels), [[[5, 0], [0, 0]], [[5, 0], [0, 0]]])


def test_another_background():
    labels = row(3, 7, 3, 3, 7)
    np.testing.assert_array_equal(keep_largest(labels, background=7), row(7, 7, 3, 3, 7))
    np.testing.assert_array_equal(keep_largest(labels, background=3), row(3, 7, 3, 3, 3))


def test_small_pieces_go():
    labels = row(1, 1, 0, 1, 2, 2, 2, 0, 2)
    np.testing.assert_array_equal(remove_small(labels, 2), row(1, 1, 0, 0, 2, 2, 2, 0, 0))
    np.testing.assert_array_equal(remove_small(labels, 3), row(0, 0, 0, 0, 2, 2, 2, 0, 0))
    np.testing.assert_array_equal(remove_small(labels, 1), labels)


def test_only_the_classes_that_are_named_are_cleaned():
    labels = row(1, 1, 0, 1, 2, 2, 2, 0, 2)
    np.testing.assert_array_equal(keep_largest(labels, only=(2,)), row(1, 1, 0, 1, 2, 2, 2, 0, 0))
    np.testing.assert_array_equal(remove_small(labels, 3, only=(1,)), row(0, 0, 0, 0, 2, 2, 2, 0, 2))
    np.testing.assert_array_equal(keep_largest(labels, only=()), labels)
    holes = np.zeros((3, 3, 6), np.uint8)
    holes[..., :3], holes[..., 3:] = 4, 8
    holes[1, 1, 1] = holes[1, 1, 4] = 0
    filled = fill_holes(holes, only=(8,))
    assert (filled[1, 1, 1], filled[1, 1, 4]) == (0, 8)


def test_every_class_is_cleaned_in_its_own_way():
    labels = row(1, 1, 0, 1, 2, 2, 2, 0, 2, 9)
    steps = [ClassCleaning(value=1, keep_largest=True), ClassCleaning(value=2, remove_small=4)]
    np.testing.assert_array_equal(clean(labels, steps), row(1, 1, 0, 0, 0, 0, 0, 0, 0, 9))
    np.testing.assert_array_equal(clean(labels, steps, background=9), row(1, 1, 0, 9, 9, 9, 9, 0, 9, 9))
    ring = np.full((3, 3, 3), 5)
    ring[1, 1, 1] = 0
    assert (clean(ring, [ClassCleaning(value=5, fill_holes=True)]) == 5).all()
    assert clean(labels, []) is labels


def test_a_cleaning_in_words():
    every = ClassCleaning(value=1, keep_largest=True, remove_small=30, fill_holes=True)
    assert every.in_words() == "keep the largest piece, remove pieces below 30 voxels, fill holes"
    assert ClassCleaning(value=1).in_words() == "nothing"
    with pytest.raises(InputError, match="remove_small: expected a whole number of at least 0, found -1"):
        ClassCleaning(value=1, remove_small=-1)


def test_holes_are_filled_by_what_is_around_most_of_them():
    labels = np.zeros((5, 5, 9), np.uint8)
    labels[1:4, 1:4, 1:4] = 6
    labels[1:4, 1:4, 4:8] = 2
    expected = labels.copy()
    labels[2, 2, 2] = 0  # within 6
    labels[2, 2, 4:6] = 0  # at 6 by one face, at 2 by nine
    expected[2, 2, 4:6] = 2
    np.testing.assert_array_equal(fill_holes(labels), expected)


def test_what_is_open_to_a_side_is_no_hole():
    labels = np.full((3, 3, 3), 4)
    labels[1, 1, :2] = 0
    np.testing.assert_array_equal(fill_holes(labels), labels)


@pytest.mark.parametrize("clean", [keep_largest, fill_holes, lambda labels: remove_small(labels, 9)])
def test_nothing_stays_nothing_and_the_input_is_left_alone(clean):
    labels = np.zeros((2, 3, 4), np.uint8)
    found = clean(labels)
    np.testing.assert_array_equal(found, labels)
    labels[0, 0, 0] = 1
    assert found[0, 0, 0] == 0


@pytest.mark.parametrize(("dtype", "value"), [(np.uint64, 2**60 + 1), (np.int8, -4)])
def test_holes_take_values_of_any_integer_type(dtype, value):
    labels = np.full((3, 3, 3), value, dtype)
    labels[1, 1, 1] = 0
    found = fill_holes(labels)
    assert found.dtype == dtype and (found == dtype(value)).all()


@pytest.mark.parametrize("call", [keep_largest, fill_holes, lambda labels: remove_small(labels, 9)])
def test_a_volume_without_voxels_stays_one(call):
    assert call(np.zeros((0, 3, 4), np.uint8)).shape == (0, 3, 4)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: remove_small(np.zeros((2, 2, 2), int), 0), "remove_small: expected a number of voxels .* found 0"),
        (lambda: keep_largest(np.zeros((2, 2), int)), r"labels: expected an array \(z, y, x\), found shape \(2, 2\)"),
        (lambda: fill_holes(np.zeros((2, 2), int)), r"labels: expected an array \(z, y, x\)"),
    ],
)
def test_bad_arguments_are_explained(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()


# ---- against one class after the other, in the whole volume ---------------------------------------


def without_pieces(labels, background, only, unwanted):
    """Turn pieces of every class to background: those that `unwanted` picks by their sizes."""
    result = labels.copy()
    for value in set(np.unique(labels).tolist()) - {background}:
        if only is None or value in only:
            pieces, _ = ndimage.label(labels == value)
            result[np.append(False, unwanted(np.bincount(pieces.ravel())[1:]))[pieces]] = background
    return result


def with_holes_filled(labels, background, only):
    """Fill every hole, one after the other, with the class of most of its faces."""
    result = labels.copy()
    pieces, count = ndimage.label(labels == background)
    for number in range(1, count + 1):
        hole = pieces == number
        if any(hole.take(side, axis).any() for axis in range(3) for side in (0, -1)):
            continue
        around = []
        for axis in range(3):
            before, behind = beside_faces(axis)
            around += [*labels[behind][hole[before]], *labels[before][hole[behind]]]
        classes, faces = np.unique([value for value in around if value != background], return_counts=True)
        chosen = classes[len(faces) - 1 - faces[::-1].argmax()]
        if only is None or chosen in only:
            result[hole] = chosen
    return result


def by_the_slow_way(labels, cleanings, background):
    for cleaning in cleanings:
        if cleaning.keep_largest:
            others = lambda sizes: np.arange(len(sizes)) != sizes.argmax()  # noqa: E731
            labels = without_pieces(labels, background, cleaning.only, others)
        if cleaning.remove_small:
            few = lambda sizes, least=cleaning.remove_small: sizes < least  # noqa: E731
            labels = without_pieces(labels, background, cleaning.only, few)
        if cleaning.fill_holes:
            labels = with_holes_filled(labels, background, cleaning.only)
    return labels


@pytest.mark.parametrize("planes", [1, 2, 100])
@pytest.mark.parametrize("seed", range(12))
def test_a_volume_in_slabs_is_cleaned_as_in_one_go(monkeypatch, planes, seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(size) for size in rng.integers(1, 14, 3))
    noise = ndimage.gaussian_filter(rng.normal(size=shape), seed % 3 / 2)
    labels = (
        np.digitize(noise / noise.std(), [-0.5, 0, 0.5]).astype([np.uint8, np.int16, np.int64][seed % 3]) * 3 - seed % 2
    )
    background = int(labels.flat[rng.integers(labels.size)])
    classes = [int(value) for value in np.unique(labels) if value != background]
    draws = [
        dict(keep_largest=bool(rng.integers(2)), remove_small=int(rng.integers(6)), fill_holes=True) for _ in range(4)
    ]
    cleanings = [ClassCleaning(value=value, **draw) for value, draw in zip(classes, draws, strict=False)]
    cleanings.append(Cleaning(**draws[3]))
    monkeypatch.setattr(regions, "SLAB", planes * shape[1] * shape[2])
    monkeypatch.setattr(regions, "FEWEST_PLANES", 1)
    expected = by_the_slow_way(labels, cleanings, background)
    np.testing.assert_array_equal(clean(labels, cleanings, background), expected)
    # Box by box, in place: what has been yielded is not read again.
    for box, values in cleaned(shape, labels.__getitem__, cleanings, background):
        assert values.dtype == labels.dtype and values.shape[0] <= planes
        labels[box] = values
    np.testing.assert_array_equal(labels, expected)


def test_holes_and_pieces_that_run_through_many_slabs_are_one(monkeypatch):
    monkeypatch.setattr(regions, "SLAB", 1)
    monkeypatch.setattr(regions, "FEWEST_PLANES", 1)
    labels = np.zeros((9, 7, 7), np.uint8)
    labels[1:8, 1:6, 1:6] = 4
    labels[2:7, 2:5, 2:5] = 0
    labels[4, 3, 3] = 8
    labels[0, 0, 0] = 4
    filled = clean(labels, [Cleaning(keep_largest=True, remove_small=2, fill_holes=True)])
    expected = np.zeros((9, 7, 7), np.uint8)
    expected[1:8, 1:6, 1:6] = 4
    np.testing.assert_array_equal(filled, expected)
    # Left where it is, the single voxel is an island in the hole.
    expected[4, 3, 3], expected[0, 0, 0] = 8, 4
    np.testing.assert_array_equal(fill_holes(labels), expected)


def test_slabs_of_large_planes_are_not_thin():
    boxes = [*regions.slab_boxes((20, 2048, 2048))]
    assert [box[0] for box in boxes] == [slice(0, 8), slice(8, 16), slice(16, 20)]
