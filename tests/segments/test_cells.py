"""Instances along boundaries: pieces against a climber that goes voxel by voxel, joining against one that looks at everything anew."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import find_boundaries

from keras_unet3d.errors import InputError
from keras_unet3d.evaluation.cells import adapted_rand_error, common
from keras_unet3d.geometry import boxes_of
from keras_unet3d.segments.cells import Cut, Instances, InstanceSettings, evidence, instances, voxel_edges
from keras_unet3d.segments.joining import Contacts, contacts_of, joined, summed
from keras_unet3d.segments.pieces import Relief, number_type, pieces_of


def noise(shape, seed, width=2.0):
    """Smooth noise from 0 to 1."""
    values = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), width)
    return (values - values.min()) / np.ptp(values)


def balls():
    """Two balls that touch, and what is around them."""
    z, y, x = np.indices((24, 24, 44))
    left = (z - 12) ** 2 + (y - 12) ** 2 + (x - 14) ** 2 < 81
    right = (z - 12) ** 2 + (y - 12) ** 2 + (x - 30) ** 2 < 81
    return np.where(left, 1, np.where(right, 2, 3))


# ---- pieces --------------------------------------------------------------------------------------


def climbed(high):
    """The piece of every voxel, found by climbing from it; minus infinity is nothing."""
    peaks = np.zeros(high.shape, int)
    for voxel in np.ndindex(high.shape):
        if high[voxel] == -np.inf:
            continue
        place = voxel
        while True:
            # Lower places first: of equally high ones the last counts.
            near = [tuple(np.add(place, step)) for step in ((-1, 0, 0), (0, -1, 0), (0, 0, -1))]
            far = [tuple(np.add(place, step)) for step in ((0, 0, 1), (0, 1, 0), (1, 0, 0))]
            best = place
            for other in (*near, *far):
                if all(0 <= a < n for a, n in zip(other, high.shape, strict=True)):
                    later = other in far
                    if high[other] > high[best] or (later and high[other] == high[best]):
                        best = other
            if best == place:
                break
            place = best
        peaks[voxel] = np.ravel_multi_index(place, high.shape) + 1
    return peaks


@pytest.mark.parametrize("levels", [None, 4])
def test_every_voxel_belongs_to_the_peak_that_it_climbs_to(levels):
    boundary = noise((7, 8, 9), 0)
    # With few levels there are plains, over which every voxel must find its way too.
    boundary = np.round((boundary if levels is None else np.round(boundary * levels) / levels) * 255).astype(np.uint8)
    inside = noise((7, 8, 9), 1) > 0.3
    relief = Relief(128, 1.0, (1.0, 1.0, 1.0))
    whole = (slice(0, 7), slice(0, 8), slice(0, 9))
    found, pieces = pieces_of(whole, (7, 8, 9), lambda box: (boundary[box], inside[box]), relief)
    expected = climbed(relief.of(boundary, inside))
    np.testing.assert_array_equal(found, expected)
    of_expected, counts = np.unique(expected[expected > 0], return_counts=True)
    np.testing.assert_array_equal(pieces.numbers, of_expected)
    np.testing.assert_array_equal(pieces.voxels, counts)


def test_the_relief_is_the_smoothed_distance_less_the_boundary():
    boundary = np.zeros((5, 6, 40), np.uint8)
    boundary[..., 20] = 255
    distance = np.minimum(np.abs(np.arange(40) - 20), 16).astype(np.float32)
    smooth = ndimage.gaussian_filter1d(distance, 1.5, mode="nearest", truncate=3)
    found = Relief(128, 1.5, (1.0, 1.0, 1.0)).of(boundary, np.ones(boundary.shape, bool))
    np.testing.assert_allclose(found[2, 3], smooth - boundary[2, 3] / 255, rtol=1e-5)
    assert (Relief(128, 1.5, (1.0, 1.0, 1.0)).of(boundary, np.zeros(boundary.shape, bool)) == -np.inf).all()


# ---- joining -------------------------------------------------------------------------------------


def joined_slowly(voxels, contacts, below, least):
    """Instances by looking at all contacts anew after every step."""
    groups = [{piece} for piece in range(len(voxels))]

    def between(one, two):
        picked = [
            {*pair} <= one | two and bool({*pair} & one) and bool({*pair} & two) for pair in contacts.pairs.tolist()
        ]
        faces = contacts.faces[picked].sum()
        return contacts.evidence[picked].sum() / faces if faces else None

    def united(one, two):
        return [group for group in groups if group not in (one, two)] + [one | two]

    while True:
        means = [(between(a, b), i) for i, (a, b) in enumerate(combinations(groups, 2))]
        means = [mean for mean in means if mean[0] is not None and mean[0] < below]
        if not means:
            break
        groups = united(*list(combinations(groups, 2))[min(means)[1]])
    alone = set()
    while True:
        small = [g for g in groups if sum(voxels[p] for p in g) < least and not g <= alone]
        if not small:
            break
        one = min(small, key=lambda group: (sum(voxels[p] for p in group), min(group)))
        means = [(between(one, other), min(other), other) for other in groups if other is not one]
        means = [mean for mean in means if mean[0] is not None]
        if not means:
            alone |= one
            continue
        groups = united(one, min(means, key=lambda mean: mean[:2])[2])
    return {frozenset(group) for group in groups}, alone


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_joining_is_average_linkage(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 9))
    pairs = np.array([pair for pair in combinations(range(count), 2) if rng.random() < 0.6], np.int64).reshape(-1, 2)
    faces = rng.integers(1, 50, len(pairs))
    # No two sums are alike, so that nobody has to choose between equals.
    evidence_of = (faces * rng.random(len(pairs)) * 2550).astype(np.int64)
    contacts, voxels = Contacts(pairs, faces, evidence_of), rng.permutation(np.arange(1, 10 * count))[:count]
    found = joined(voxels, contacts, 1200.0, 15)
    groups, alone = joined_slowly(voxels.tolist(), contacts, 1200.0, 15)
    if len(alone) == count:
        alone = set()
    as_groups = {frozenset(np.flatnonzero(found == number).tolist()) for number in np.unique(found[found > 0])}
    assert as_groups == {group for group in groups if not group <= alone}
    assert {*np.flatnonzero(found == 0).tolist()} == alone
    assert sorted({*found.tolist()} - {0}) == list(range(1, len(as_groups) + 1))


def test_contacts_by_hand():
    pieces = np.array([[[1, 1, 2], [1, 0, 2]], [[3, 3, 3], [3, 3, 3]]], np.uint16)
    boundary = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 10
    contacts = contacts_of(pieces, boundary, (2, 2, 3))
    assert contacts.pairs.tolist() == [[1, 2], [1, 3], [2, 3]]
    # 1 and 2 touch once along x; the last layer touches three voxels of 1 and two of 2.
    assert contacts.faces.tolist() == [1, 3, 2]
    assert contacts.evidence.tolist() == [20, 60 + 70 + 90, 80 + 110]
    # Of the layer behind only the faces towards it count.
    first = contacts_of(pieces, boundary, (1, 2, 3))
    second = contacts_of(pieces[1:], boundary[1:], (1, 2, 3))
    both = summed([first, second])
    for name in ("pairs", "faces", "evidence"):
        np.testing.assert_array_equal(getattr(both, name), getattr(contacts, name))


# ---- instances -----------------------------------------------------------------------------------


def in_blocks(cut, size):
    numbers = np.zeros(cut.shape, number_type(cut.shape))
    boxes, pieces = [*boxes_of(cut.shape, size)], []
    for box in boxes:
        numbers[box], of_box = cut.pieces(box)
        pieces.append(of_box)
    contacts = [cut.contacts(box, numbers.__getitem__) for box in boxes]
    found = Instances.of(pieces, contacts, cut.settings, lambda places: numbers.ravel()[places.astype(int) - 1])
    return found(numbers)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2.3, 1, 1)])
@pytest.mark.parametrize("cells", [False, True])
def test_blocks_have_the_instances_of_the_whole(spacing, cells):
    shape = (40, 60, 52)
    boundary = np.clip(1 - np.abs(noise(shape, 0) - 0.5) * 6, 0, 1)
    said = np.stack([boundary, noise(shape, 1, 5)][: 1 + cells], axis=-1)
    said = np.round(said * 255).astype(np.uint8)
    cut = Cut(shape, said.__getitem__, voxel_edges(spacing), InstanceSettings(least=30, join_below=0.6))
    whole = cut.whole()
    assert whole.max() > 50 and (whole.min() == 0) == cells
    np.testing.assert_array_equal(in_blocks(cut, (16, 24, 20)), whole)
    np.testing.assert_array_equal(in_blocks(cut, (9, 60, 7)), whole)


def test_touching_instances_are_told_apart():
    labels = balls()
    uneven = np.random.default_rng(0).uniform(0, 0.3, labels.shape)
    boundary = np.where(find_boundaries(labels), 1 - uneven, uneven).astype(np.float32)
    found = instances(boundary)
    assert found.dtype == np.uint8 and found.min() == 1
    assert found[12, 12, 14] != found[12, 12, 30]
    assert adapted_rand_error(common(np.where(labels < 3, labels, 0), found)) < 0.05


def test_instances_of_thick_planes():
    # Planes twice as thick: the same balls, in voxels of another shape.
    labels, boundary = balls()[::2], find_boundaries(balls())[::2].astype(np.float32)
    found = instances(boundary, spacing=(2, 1, 1))
    assert found[6, 12, 14] != found[6, 12, 30]
    inside = (labels < 3) & (boundary == 0)
    assert adapted_rand_error(common(np.where(inside, labels, 0), found)) < 0.01


def test_cells_on_a_background():
    labels = balls()
    foreground = (labels < 3).astype(np.float32)
    found = instances(find_boundaries(labels).astype(np.float32) * foreground, foreground)
    assert sorted(np.unique(found)) == [0, 1, 2]
    np.testing.assert_array_equal(found == 0, labels == 3)
    assert adapted_rand_error(common(labels, found, background=3)) < 0.01


def test_the_channels_that_instances_are_cut_by():
    probabilities = np.array([0.5, 0.3, 0.2], np.float32).reshape(1, 1, 1, 3)
    assert evidence(probabilities).tolist() == [[[[51, 128]]]]
    assert evidence(probabilities[..., 1:]).tolist() == [[[[51]]]]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_boundary_and_nothing_else_is_one_instance(value):
    assert (instances(np.full((6, 7, 8), value, np.float32)) == 1).all()


def test_no_foreground_is_no_instance():
    assert not instances(np.zeros((6, 7, 8)), np.zeros((6, 7, 8))).any()


def test_small_instances_go_to_their_neighbours_or_with_none_to_the_background():
    boundary = np.zeros((9, 9, 40), np.float32)
    boundary[..., 4] = 1
    assert len(np.unique(instances(boundary, settings=InstanceSettings(least=1)))) == 2
    assert len(np.unique(instances(boundary, settings=InstanceSettings(least=500)))) == 1
    foreground = np.zeros(boundary.shape)
    foreground[..., :3] = foreground[..., 10:] = 1
    found = instances(np.zeros(boundary.shape), foreground, settings=InstanceSettings(least=500))
    np.testing.assert_array_equal(found[0, 0], np.arange(40) >= 10)


def test_a_volume_without_voxels_stays_one():
    assert instances(np.zeros((0, 3, 4))).shape == (0, 3, 4)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: instances(np.zeros((2, 2))), r"instances: expected an array \(z, y, x\)"),
        (lambda: instances(None), "boundary: expected an array, found None"),
        (
            lambda: instances(np.full((2, 2, 2), "a")),
            "instances: expected probabilities, numbers from 0 to 1, found <U1",
        ),
        (
            lambda: instances(np.zeros((2, 2, 2)), settings=0.5),
            "settings: expected the settings of instances, found 0.5",
        ),
        (lambda: instances(np.full((2, 2, 2), 3.0)), "instances: expected probabilities from 0 to 1, found 3 to 3"),
        (lambda: instances(np.full((2, 2, 2), np.nan)), "instances: expected probabilities from 0 to 1, found nan"),
        (
            lambda: instances(np.zeros((2, 2, 2)), np.zeros((2, 2, 3))),
            r"instances: expected a foreground of shape \(2, 2, 2\), found \(2, 2, 3\)",
        ),
        (lambda: InstanceSettings(threshold=1.0), "threshold: expected a number between 0 and 1, found 1.0"),
        (lambda: InstanceSettings(join_below=0.0), "join_below: expected a number between 0 and 1, found 0.0"),
        (lambda: InstanceSettings(least=0), "least: expected .* at least 1, found 0"),
        (lambda: InstanceSettings(smoothing=-1.0), "smoothing: expected .* at least 0, found -1"),
        (
            lambda: instances(np.zeros((2, 2, 2)), spacing=(1, 1)),
            r"instances: .* three numbers above 0, found \(1, 1\)",
        ),
        (lambda: instances(np.zeros((2, 2, 2)), spacing=(0, 1, 1)), "instances: expected a spacing of three numbers"),
    ],
)
def test_bad_arguments_are_explained(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()
