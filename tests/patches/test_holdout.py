"""What is held out: whole volumes, whole annotated slices with a guard around them, or the end of a volume."""

import numpy as np
import pytest
from helpers import says

from keras_unet3d.datasets.phantom import phantom
from keras_unet3d.errors import InputError
from keras_unet3d.labels import UNLABELLED, AnnotatedSlices, annotated_slices
from keras_unet3d.patches.holdout import (
    GUARD,
    hold_out,
    split_by_region,
    split_by_slices,
    split_by_volume,
    split_one,
)
from keras_unet3d.patches.source import Source, index_labels
from keras_unet3d.volumes import from_array
from keras_unet3d.volumes.grey_values import measure

SHAPE = (24, 40, 36)


def annotated(z=(), y=(), x=(), shape=SHAPE, classes=3):
    """Return classes that are labelled in whole slices, every class in each."""
    full = np.random.default_rng(0).integers(0, classes, shape).astype(np.uint8)
    result = np.full(shape, UNLABELLED, np.uint8)
    result[list(z)] = full[list(z)]
    result[:, list(y)] = full[:, list(y)]
    result[:, :, list(x)] = full[:, :, list(x)]
    return result


def split(classes, share=0.2, num_classes=3, seed=0, how=split_one):
    """Return training labels, validation labels and what was said."""
    volume = from_array(classes, "my labels")
    index = index_labels(volume, num_classes)
    slices = () if how is split_by_region else (annotated_slices(volume),)
    parts = how(volume, index, *slices, share, *((seed,) if slices else ()))
    if parts is None:
        return None
    for part in (parts.training, parts.validation):
        assert_same_index(part.index, index_labels(part.classes, num_classes))
    return parts.training.classes.array()[..., 0], parts.validation.classes.array()[..., 0], parts.in_words


def assert_same_index(index, read_anew):
    """What was not read again is as it is when it is."""
    np.testing.assert_array_equal(index.corners, read_anew.corners)
    np.testing.assert_array_equal(index.counts, read_anew.counts)


def held_slices(said):
    """Return the (axis, plane) that the line on a split names."""
    names = said.partition("(")[2].partition(")")[0].split(", ")
    return [("zyx".index(name.split()[0]), int(name.split()[1])) for name in names]


def check(classes, training, validation, held):
    """Assert that validation has the labels of exactly `held`, and training all others outside of the guard."""
    in_held, in_guard = np.zeros(classes.shape, bool), np.zeros(classes.shape, bool)
    for axis, plane in held:
        near = slice(max(plane - GUARD, 0), plane + GUARD + 1)
        in_held[(slice(None),) * axis + (plane,)] = True
        in_guard[(slice(None),) * axis + (near,)] = True
    np.testing.assert_array_equal(validation, np.where(in_held, classes, UNLABELLED))
    np.testing.assert_array_equal(training, np.where(in_guard, UNLABELLED, classes))


# ---- whole volumes ---------------------------------------------------------------------------------


def test_split_by_volume():
    kept, held = split_by_volume(208, 0.2, seed=0)
    assert len(held) == 42 and sorted(kept + held) == list(range(208))
    assert split_by_volume(208, 0.2, seed=0) == (kept, held)
    assert split_by_volume(208, 0.2, seed=1) != (kept, held)
    assert [len(part) for part in split_by_volume(2, 0.01, seed=0)] == [1, 1]
    assert [len(part) for part in split_by_volume(2, 0.99, seed=0)] == [1, 1]


# ---- whole annotated slices ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("slices", [dict(z=range(0, 24, 5)), dict(z=[3, 11, 20], y=[8, 30], x=[0, 17, 35])])
def test_whole_slices_are_held_out_and_their_neighbours_kept_from_training(slices, seed):
    classes = annotated(**slices)
    training, validation, said = split(classes, seed=seed)
    held = held_slices(said)
    assert len(held) == 1
    assert said.startswith(f"1 of {sum(map(len, slices.values()))} annotated slices (")
    assert said.endswith("), kept from training with 2 voxels on either side")
    check(classes, training, validation, held)
    (axis, plane), labelled = held[0], np.argwhere(training != UNLABELLED)
    assert (abs(labelled[:, axis] - plane) > 2).all()


def test_the_share_of_slices_that_was_asked_for_is_held_out():
    classes = annotated(z=range(0, 24, 3))
    for share, count in ((0.01, 1), (0.25, 2), (0.5, 4), (0.7, 5)):
        training, validation, said = split(classes, share)
        assert said.startswith(f"{count} of 8 annotated slices")
        check(classes, training, validation, held_slices(said))


def test_every_slice_is_held_out_by_some_seed_and_always_the_same_one_by_a_seed():
    classes = annotated(z=[2, 8, 14], y=[9, 25])
    said = {seed: split(classes, seed=seed)[2] for seed in range(25)}
    assert {held_slices(line)[0] for line in said.values()} == {(0, 2), (0, 8), (0, 14), (1, 9), (1, 25)}
    assert all(split(classes, seed=seed)[2] == said[seed] for seed in range(5))


@pytest.mark.parametrize("gap, together", [(1, True), (GUARD, True), (GUARD + 1, False)])
def test_slices_within_the_guard_of_one_another_go_together(gap, together):
    classes = annotated(z=[3, 3 + gap, 15, 21])
    held = {tuple(held_slices(split(classes, 0.5, seed=seed)[2])) for seed in range(20)}
    assert any((0, 3) in each for each in held)
    assert all(((0, 3) in each) == ((0, 3 + gap) in each) for each in held) == together
    for seed in range(6):
        training, validation, said = split(classes, 0.5, seed=seed)
        check(classes, training, validation, held_slices(said))


@pytest.mark.parametrize("seed", range(10))
def test_training_keeps_every_class_where_some_choice_allows(seed):
    classes = annotated(z=[2, 8, 14, 20], classes=2)
    classes[8, 5, 5] = 2  # the only one
    training, _, said = split(classes, seed=seed)
    assert 2 in training
    assert (0, 8) not in held_slices(said)


def test_a_choice_that_loses_a_class_will_do_where_there_is_no_better():
    classes = annotated(z=[3, 18], classes=2)
    classes[3, 5, 5], classes[18, 5, 5] = 2, 3
    training, validation, said = split(classes, num_classes=4)
    assert said.startswith("1 of 2 annotated slices")
    assert {0, 1} <= set(np.unique(training)) and {0, 1} <= set(np.unique(validation))


def test_scribbles_beside_the_slices_are_trained_on_outside_of_the_guard():
    classes = annotated(z=[3, 12, 20])
    classes[7:17, 4, 4] = 1
    training, validation, said = split(classes)
    check(classes, training, validation, held_slices(said))
    assert (training[7:10, 4, 4] == 1).all()


def test_slices_at_the_border_are_held_out_like_others():
    classes = annotated(z=[0, 23])
    for seed in range(4):
        training, validation, said = split(classes, seed=seed)
        check(classes, training, validation, held_slices(said))


@pytest.mark.parametrize("slices", [dict(z=[10, 100, 200]), dict(y=[3, 150], z=[140])])
def test_the_index_of_a_part_is_that_of_its_labels(slices):
    split(annotated(**slices, shape=(210, 160, 140)))


@pytest.mark.parametrize("slices", [dict(z=[10, 128, 135]), dict(z=[3, 12], y=[40, 127], x=[131])])
def test_parts_are_read_by_crops_like_the_whole(slices):
    volume = from_array(annotated(**slices, shape=(140, 130, 132)))
    parts = split_one(volume, index_labels(volume, 3), annotated_slices(volume), 0.3, 0)
    rng = np.random.default_rng(0)
    for part in (parts.training.classes, parts.validation.classes):
        whole = part.array()
        assert part.shape == volume.shape and part.dtype == whole.dtype == np.uint8
        for box, block in part.blocks():
            np.testing.assert_array_equal(block, whole[box])
        for _ in range(40):
            starts = [int(rng.integers(0, size)) for size in volume.shape]
            box = tuple(slice(a, int(rng.integers(a, n)) + 1) for a, n in zip(starts, volume.shape, strict=True))
            np.testing.assert_array_equal(part.read(box), whole[box])


def test_the_sample_is_split_by_slices():
    training, validation, said = split(phantom().sparse.copy().choose([0, 1, 2, UNLABELLED]).astype(np.uint8))
    assert said.startswith("1 of 7 annotated slices")
    assert set(np.unique(training)) == set(np.unique(validation)) == {0, 1, 2, UNLABELLED}


# ---- the end of a volume ---------------------------------------------------------------------------


def sparse_classes(shape=(40, 70, 50)):
    """Class 0 almost everywhere in two slices, one voxel of class 1, one of class 2; the rest unlabelled."""
    classes = np.full(shape, UNLABELLED, np.uint8)
    classes[10], classes[:, :, 33] = 0, 0
    classes[10, 5, 5], classes[39, 69, 33] = 1, 2
    return classes


def test_split_by_region_shares_the_labels_without_contact():
    classes = sparse_classes()
    classes[10, ::3] = 1
    training, validation, said = split(classes, how=split_by_region)
    labelled = [part != UNLABELLED for part in (training, validation)]
    assert not (labelled[0] & labelled[1]).any()
    for part, where in zip((training, validation), labelled, strict=True):
        np.testing.assert_array_equal(part[where], classes[where])
    planes = [np.flatnonzero(where.any(axis=(0, 2))) for where in labelled]
    assert planes[0].max() + 2 < planes[1].min()
    assert 0.1 < labelled[1].sum() / (classes != UNLABELLED).sum() < 0.35
    assert said.startswith("y >= ")


@pytest.mark.parametrize(
    "classes",
    [
        np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8),
        annotated(z=[7]),
        annotated(z=[7, 8, 9]),
        annotated(z=[7, 9]),
    ],
    ids=["dense", "one slice", "adjacent slices", "slices within the guard"],
)
def test_what_has_no_slices_to_choose_from_is_split_by_region(classes):
    training, validation, said = split(classes)
    # Every row has as many labels: a fifth is reached at the 32nd of 40.
    assert said == "y >= 31 of 40 for validation, y < 29 for training"
    y = np.arange(40)[:, None]
    np.testing.assert_array_equal(training, np.where(y < 29, classes, UNLABELLED))
    np.testing.assert_array_equal(validation, np.where(y >= 31, classes, UNLABELLED))


def test_slices_of_one_class_each_are_split_by_region():
    classes = np.full(SHAPE, UNLABELLED, np.uint8)
    classes[4], classes[16] = 0, 1
    assert split(classes, how=split_by_slices) is None
    training, validation, said = split(classes)
    assert said.startswith("y >= ")
    assert {0, 1} <= set(np.unique(training)) and {0, 1} <= set(np.unique(validation))


def nothing_but_a_voxel():
    classes = np.full((8, 8, 8), UNLABELLED, np.uint8)
    classes[4, 4, 4] = 1
    return classes


@pytest.mark.parametrize(
    "classes",
    [nothing_but_a_voxel(), np.full((8, 8, 8), UNLABELLED, np.uint8), np.zeros((8, 8, 8), np.uint8)],
    ids=["one voxel", "nothing", "one class"],
)
def test_what_cannot_be_split_says_so(classes):
    words = ("my labels: expected annotations that can be split", "found too few", "annotate more slices", "as `val`")
    with pytest.raises(InputError, match=says(*words, "`validation_share=0`")):
        split(classes)


@pytest.mark.parametrize("seed", range(6))
def test_a_slab_is_not_held_out_where_single_slices_do(seed):
    classes = np.full((40, 20, 20), UNLABELLED, np.uint8)
    pattern = np.indices((20, 20)).sum(axis=0) % 2
    for plane in (*range(12), 20, 30):
        classes[plane] = pattern
    slices = AnnotatedSlices((*range(12), 20, 30), (), (), False)
    volume = from_array(classes)
    parts = split_by_slices(volume, index_labels(volume, 2), slices, 0.2, seed)
    held = np.flatnonzero((parts.validation.classes.array() != UNLABELLED).any(axis=(1, 2, 3)))
    assert set(held) <= {20, 30}


# ---- the whole decision ----------------------------------------------------------------------------


def source(classes, name="a"):
    volume = from_array(classes, f"{name} labels")
    image = from_array(np.random.default_rng(0).normal(size=classes.shape).astype(np.float32), name)
    return Source(name, image, volume, None, measure(image), index_labels(volume, 3))


def test_what_was_given_is_held_out_and_nothing_else():
    training, given = [source(annotated(z=[3, 9]), "a")], [source(annotated(z=[5]), name) for name in "bc"]
    for share in (0.0, 0.2):
        held = hold_out(training, given, share, 0)
        assert (held.training, held.validation, held.whole_volumes) == (training, given, True)
        assert held.in_words == "2 given volumes"
    assert hold_out(training, given[:1], 0.2, 0).in_words == "1 given volume"


@pytest.mark.parametrize(("count", "held_out"), [(2, 1), (10, 2), (100, 20), (208, 20)])
def test_a_fifth_is_held_out_by_default_but_not_more_volumes_than_are_needed(count, held_out):
    held = hold_out([source(annotated(z=[3, 9]))] * count, [], None, 0)
    assert (len(held.training), len(held.validation)) == (count - held_out, held_out)


def test_nothing_is_held_out_where_nobody_wants_it():
    for count in (1, 3):
        training = [source(annotated(z=[3, 9]), str(number)) for number in range(count)]
        held = hold_out(training, [], 0.0, 0)
        assert (held.training, held.validation, held.whole_volumes) == (training, training, False)
        assert held.in_words == "nothing held out: its figures are of the training labels"


def test_of_several_volumes_whole_ones_are_held_out():
    training = [source(annotated(z=[3, 9]), str(number)) for number in range(5)]
    held = hold_out(training, [], 0.4, 3)
    kept, tested = split_by_volume(5, 0.4, 3)
    assert held.training == [training[number] for number in kept]
    assert held.validation == [training[number] for number in tested]
    assert (held.in_words, held.whole_volumes) == ("2 of 5 volumes", True)


@pytest.mark.parametrize(
    "classes, line",
    [
        (annotated(z=[3, 9, 15, 21]), "1 of 4 annotated slices ("),
        (np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8), "y >= 31 of 40 for validation, y < 29 for"),
    ],
    ids=["slices", "region"],
)
def test_of_a_single_volume_a_part_is_held_out(classes, line):
    whole = source(classes)
    held = hold_out([whole], [], 0.2, 1)
    assert held.in_words.startswith(line) and not held.whole_volumes
    (kept,), (tested,) = held.training, held.validation
    training, validation, said = split(classes, 0.2, seed=1)
    assert held.in_words == said
    for part, expected in ((kept, training), (tested, validation)):
        np.testing.assert_array_equal(part.classes.array()[..., 0], expected)
        # Patches are drawn around the labels of the part, of the same image and by its statistics.
        assert part.index.per_class.tolist() == [int((expected == value).sum()) for value in range(3)]
        assert (part.image, part.statistics, part.name) == (whole.image, whole.statistics, whole.name)


def test_a_single_volume_that_cannot_be_split_says_so():
    words = ("a labels: expected annotations that can be split", "found too few", "`validation_share=0`")
    with pytest.raises(InputError, match=says(*words)):
        hold_out([source(nothing_but_a_voxel())], [], 0.2, 0)
    assert hold_out([source(nothing_but_a_voxel())], [], 0.0, 0).validation


# ---- folds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count, of", [(5, 5), (24, 5), (3, 2)])
def test_every_volume_is_held_out_by_one_fold(count, of):
    training = [source(annotated(z=[3, 9]), str(number)) for number in range(count)]
    folds = [hold_out(training, [], 0.2, seed, (number, of)) for seed, number in enumerate(range(1, of + 1))]
    assert sorted(held.name for fold in folds for held in fold.validation) == sorted(held.name for held in training)
    for number, fold in enumerate(folds, 1):
        assert not {id(held) for held in fold.validation} & {id(kept) for kept in fold.training}
        assert len(fold.training) + len(fold.validation) == count and fold.whole_volumes
        assert fold.in_words == f"fold {number} of {of}: {len(fold.validation)} of {count} volumes"
    sizes = [len(fold.validation) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def test_folds_are_the_same_whatever_the_seed():
    training = [source(annotated(z=[3, 9]), str(number)) for number in range(6)]
    first, other = (hold_out(training, [], 0.2, seed, (2, 3)).validation for seed in (0, 5))
    assert [held.name for held in first] == [held.name for held in other]


def test_every_annotated_slice_of_a_single_volume_is_held_out_by_one_fold():
    classes = annotated(z=[2, 8, 14], x=[5, 6, 20])
    whole = source(classes)
    held = []
    for number in (1, 2, 3):
        fold = hold_out([whole], [], 0.2, 0, (number, 3))
        assert fold.in_words.startswith(f"fold {number} of 3: ") and not fold.whole_volumes
        here = held_slices(fold.in_words.partition(": ")[2])
        (kept,), (tested,) = fold.training, fold.validation
        check(classes, kept.classes.array()[..., 0], tested.classes.array()[..., 0], here)
        held += here
    assert sorted(held) == [(0, 2), (0, 8), (0, 14), (2, 5), (2, 6), (2, 20)]


def test_too_few_volumes_or_slices_for_the_folds_are_refused():
    several = [source(annotated(z=[3, 9]), str(number)) for number in range(3)]
    with pytest.raises(InputError, match=says("at least 4 volumes for 4 folds", "found 3")):
        hold_out(several, [], 0.2, 0, (1, 4))
    with pytest.raises(InputError, match=says("3 annotated slices", "found 2 that lie apart")):
        hold_out([source(annotated(z=[3, 9]))], [], 0.2, 0, (1, 3))
    dense = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
    with pytest.raises(InputError, match=says("2 annotated slices", "found densely labelled ones")):
        hold_out([source(dense)], [], 0.2, 0, (1, 2))


def test_slices_of_one_class_are_no_folds():
    classes = np.full(SHAPE, UNLABELLED, np.uint8)
    classes[3], classes[9] = 0, 1
    with pytest.raises(InputError, match=says("of two classes each")):
        hold_out([source(classes)], [], 0.2, 0, (1, 2))


def test_a_fold_beside_given_volumes_is_refused():
    training = [source(annotated(z=[3, 9]), str(number)) for number in range(3)]
    with pytest.raises(InputError, match=says("fold", "without `val`", "1/2")):
        hold_out(training[:2], training[2:], 0.2, 0, (1, 2))
