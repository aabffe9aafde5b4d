"""Where patches are taken: exact indices, every class alike, labels in reach, honest validation."""

import numpy as np
import pytest

from keras_unet3d import sampling
from keras_unet3d.errors import InputError
from keras_unet3d.intensity import Statistics
from keras_unet3d.labels import UNLABELLED
from keras_unet3d.sampling import Source, draw_patch_start, draw_voxel, index_labels
from keras_unet3d.volumes import from_array


def sparse_classes(shape=(40, 70, 50)):
    """Class 0 almost everywhere in two slices, one voxel of class 1, one of class 2; the rest unlabelled."""
    classes = np.full(shape, UNLABELLED, np.uint8)
    classes[10], classes[:, :, 33] = 0, 0
    classes[10, 5, 5], classes[39, 69, 33] = 1, 2
    return classes


def source(classes, index=None):
    volume = from_array(classes)
    index = index or index_labels(volume, 3)
    return Source("test", from_array(np.zeros(classes.shape)), volume, None, Statistics(0, 1), index)


def test_index_counts_every_labelled_voxel():
    classes = sparse_classes((140, 70, 50))  # more than one block of reading
    index = index_labels(from_array(classes), 3)
    np.testing.assert_array_equal(index.per_class, [np.sum(classes == c) for c in range(3)])
    assert len(index.corners) < np.prod([5, 3, 2]), "blocks without labels are left out"


def test_every_class_is_drawn_alike_and_every_voxel_of_it():
    classes = np.full((33, 40, 40), UNLABELLED, np.uint8)
    classes[0, 0, :4], classes[32, 39, 0], classes[5] = 1, 2, 0
    drawn = [tuple(draw_voxel(np.random.default_rng(i), source(classes))) for i in range(1500)]
    of_class = np.array([classes[voxel] for voxel in drawn])
    np.testing.assert_allclose(np.bincount(of_class, minlength=3) / len(drawn), 1 / 3, atol=0.05)
    ones = [voxel[2] for voxel, c in zip(drawn, of_class, strict=True) if c == 1]
    np.testing.assert_allclose(np.bincount(ones, minlength=4) / len(ones), 1 / 4, atol=0.08)


@pytest.mark.parametrize("patch", [(8, 16, 16), (16, 16, 64)])
@pytest.mark.parametrize("inset", [0, 4])
def test_the_drawn_voxel_is_in_the_output_which_stays_in_the_volume(patch, inset):
    shape, output = np.array((40, 70, 50)), np.array(patch) - 2 * inset
    output = np.maximum(output, 1)
    patch = output + 2 * inset
    for i in range(200):
        rng = np.random.default_rng(i)
        voxel = rng.integers(0, shape)
        first = draw_patch_start(rng, voxel, patch, output, shape) + inset
        fits = shape >= output
        assert ((first >= 0) & (first + output <= shape))[fits].all()
        assert ((voxel >= first) & (voxel < first + output)).all()


def test_a_small_volume_lies_in_the_middle_of_the_patch():
    start = draw_patch_start(np.random.default_rng(0), (1, 1, 1), (16, 16, 16), (16, 16, 16), (4, 20, 10))
    assert start[0] == -6 and start[2] == -3


def test_read_filled():
    volume = from_array(np.arange(6, dtype=np.uint8).reshape(1, 1, 6))
    row = sampling.read_filled(volume, (0, 0, -2), (1, 1, 10), 9)[0, 0, :, 0]
    np.testing.assert_array_equal(row, [9, 9, 0, 1, 2, 3, 4, 5, 9, 9])
    assert (sampling.read_filled(volume, (5, 0, 0), (2, 1, 3), 9) == 9).all()


def test_split_by_volume():
    kept, held = sampling.split_by_volume(208, 0.2, seed=0)
    assert len(held) == 42 and sorted(kept + held) == list(range(208))
    assert sampling.split_by_volume(208, 0.2, seed=0) == (kept, held)
    assert sampling.split_by_volume(208, 0.2, seed=1) != (kept, held)
    assert [len(part) for part in sampling.split_by_volume(2, 0.01, seed=0)] == [1, 1]


def test_split_by_region_shares_the_labels_without_contact():
    classes = sparse_classes()
    classes[10, ::3] = 1
    first, last, said = sampling.split_by_region(from_array(classes), 0.2, 3)
    training, validation = first.array()[..., 0], last.array()[..., 0]
    labelled = [part != UNLABELLED for part in (training, validation)]
    assert not (labelled[0] & labelled[1]).any()
    for part, where in zip((training, validation), labelled, strict=True):
        np.testing.assert_array_equal(part[where], classes[where])
    planes = [np.flatnonzero(where.any(axis=(0, 2))) for where in labelled]
    assert planes[0].max() + 2 < planes[1].min()
    assert 0.1 < labelled[1].sum() / (classes != UNLABELLED).sum() < 0.35
    assert said.startswith("y >= ")


def test_what_cannot_be_split_says_so():
    classes = np.full((8, 8, 8), UNLABELLED, np.uint8)
    classes[4, 4, 4] = 1
    with pytest.raises(InputError, match="found too few; annotate more slices, or give another volume with --val"):
        sampling.split_by_region(from_array(classes), 0.2, 3)
