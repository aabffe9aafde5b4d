"""Where patches are taken: exact indices, every class alike or by its voxels, labels in reach."""

from dataclasses import replace

import numpy as np
import pytest

from keras_unet3d.labels import UNLABELLED
from keras_unet3d.patches.source import Source, draw_patch_start, draw_voxel, index_labels, read_filled, seeing_labels
from keras_unet3d.volumes import from_array
from keras_unet3d.volumes.grey_values import Statistics


def sparse_classes(shape=(40, 70, 50)):
    """Class 0 almost everywhere in two slices, one voxel of class 1, one of class 2; the rest unlabelled."""
    classes = np.full(shape, UNLABELLED, np.uint8)
    classes[10], classes[:, :, 33] = 0, 0
    classes[10, 5, 5], classes[39, 69, 33] = 1, 2
    return classes


def source(classes, index=None):
    volume = from_array(classes)
    index = index or index_labels(volume, 3)
    return Source("test", from_array(np.zeros(classes.shape)), volume, None, Statistics(0, 1, 0, 0), index)


def test_index_counts_every_labelled_voxel():
    classes = sparse_classes((140, 70, 50))  # more than one block of reading
    index = index_labels(from_array(classes), 3)
    np.testing.assert_array_equal(index.per_class, [np.sum(classes == c) for c in range(3)])
    assert len(index.corners) < np.prod([5, 3, 2]), "blocks without labels are left out"


def test_whether_a_box_sees_labels_is_known_mostly_without_reading():
    classes = np.full((70, 100, 45), UNLABELLED, np.uint8)
    classes[40], classes[3, 4, 5] = 1, 0
    where, reads = source(classes), []
    spied = replace(where.classes, read=lambda box: reads.append(box) or where.classes.read(box))
    sees, rng = seeing_labels(replace(where, classes=spied)), np.random.default_rng(0)
    for _ in range(300):
        start, size = rng.integers(-20, 100, 3), rng.integers(1, 60, 3)
        inside = tuple(slice(max(a, 0), max(a + n, 0)) for a, n in zip(start, size, strict=True))
        assert sees(start, size) == (classes[inside] != UNLABELLED).any()
    assert 0 < len(reads) < 150


def test_every_class_is_drawn_alike_and_every_voxel_of_it():
    classes = np.full((33, 40, 40), UNLABELLED, np.uint8)
    classes[0, 0, :4], classes[32, 39, 0], classes[5] = 1, 2, 0
    drawn = [tuple(draw_voxel(np.random.default_rng(i), source(classes))) for i in range(1500)]
    of_class = np.array([classes[voxel] for voxel in drawn])
    np.testing.assert_allclose(np.bincount(of_class, minlength=3) / len(drawn), 1 / 3, atol=0.05)
    ones = [voxel[2] for voxel, c in zip(drawn, of_class, strict=True) if c == 1]
    np.testing.assert_allclose(np.bincount(ones, minlength=4) / len(ones), 1 / 4, atol=0.08)


def test_by_voxels_a_class_is_drawn_as_often_as_it_is_labelled():
    classes = np.full((33, 40, 40), UNLABELLED, np.uint8)
    classes[5, :20], classes[5, 20:25], classes[32] = 0, 1, 2  # 800, 200 and 1600 voxels, in two blocks
    where = source(classes)
    drawn = np.array([draw_voxel(np.random.default_rng(i), where, "voxels") for i in range(1500)])
    of_class = np.bincount(classes[tuple(drawn.T)], minlength=3)
    np.testing.assert_allclose(of_class / len(drawn), np.array([800, 200, 1600]) / 2600, atol=0.04)
    rows = np.bincount(drawn[drawn[:, 0] == 5][:, 1], minlength=40)[:25]
    np.testing.assert_allclose(rows / rows.sum(), 1 / 25, atol=0.03)


@pytest.mark.parametrize("how", ["classes", "voxels"])
def test_only_labelled_voxels_are_drawn(how):
    classes = sparse_classes()
    classes[classes == 1] = 0  # a class that is nowhere
    where = source(classes)
    for i in range(200):
        assert classes[tuple(draw_voxel(np.random.default_rng(i), where, how))] in (0, 2)


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


@pytest.mark.parametrize(
    ("extent", "starts"), [(10, (-7, 1)), (16, (-4, 4)), (20, (-2, 6)), (24, (0, 8)), (40, (0, 24))]
)
def test_patches_of_sparse_labels_stick_out_of_a_volume_that_is_about_as_large(extent, starts):
    rng, size, shape = np.random.default_rng(0), (16, 16, 16), (extent, extent, extent)
    voxels = rng.integers(0, extent, (3000, 3))
    drawn = np.array([draw_patch_start(rng, voxel, size, size, shape, sparse=True) for voxel in voxels])
    assert (drawn.min(), drawn.max()) == starts, "the place varies by 8 at least, half of the patch"
    assert ((voxels >= drawn) & (voxels < drawn + 16)).all()


@pytest.mark.parametrize(("labelled", "sparse"), [(4, True), (19, True), (20, False), (40, False)])
def test_labels_are_sparse_where_less_than_half_of_the_voxels_have_one(labelled, sparse):
    classes = np.full((40, 6, 7), UNLABELLED, np.uint8)
    classes[:labelled] = 1
    assert source(classes).sparse == sparse


def test_read_filled():
    volume = from_array(np.arange(6, dtype=np.uint8).reshape(1, 1, 6))
    row = read_filled(volume, (0, 0, -2), (1, 1, 10), 9)[0, 0, :, 0]
    np.testing.assert_array_equal(row, [9, 9, 0, 1, 2, 3, 4, 5, 9, 9])
    assert (read_filled(volume, (5, 0, 0), (2, 1, 3), 9) == 9).all()


@pytest.mark.parametrize(
    ("labelled", "planes"), [(20, range(10)), (2, range(3)), (37, range(7, 10)), (0, [0]), (39, [9])]
)
def test_a_labelled_section_lies_anywhere_in_the_patches_of_a_stack(labelled, planes):
    rng, size, shape, voxel = np.random.default_rng(0), (10, 8, 8), (40, 40, 40), (labelled, 20, 20)
    starts = np.array([draw_patch_start(rng, voxel, size, size, shape, (0,)) for _ in range(1000)])
    found, counts = np.unique(labelled - starts[:, 0], return_counts=True)
    assert found.tolist() == [*planes]
    np.testing.assert_allclose(counts / 1000, 1 / len(planes), atol=0.05)
    assert set((20 - starts[:, 1]).tolist()) == {2, 3, 4, 5}, "in the plane it is the middle half"
    assert draw_patch_start(rng, (3, 3, 3), (10, 8, 8), (10, 8, 8), (6, 40, 40), (0,))[0] == -2, "a small stack"
