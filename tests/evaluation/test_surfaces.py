"""Distances between surfaces, by hand and against a slow search of all pairs."""

import numpy as np
import pytest
from scipy import ndimage

from keras_unet3d.errors import InputError
from keras_unet3d.evaluation.surfaces import surface_distances, surface_figures


def cube(start, size=4, shape=(10, 10, 10)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, a + size) for a in start)] = True
    return mask


def test_a_mask_is_at_no_distance_from_itself():
    distances = surface_distances(cube((3, 3, 3)), cube((3, 3, 3)))
    # All of 4 x 4 x 4 but the 2 x 2 x 2 within.
    assert distances.of_truth.tolist() == distances.of_prediction.tolist() == [0.0] * 56
    figures = surface_figures(distances, 0.0)
    assert figures == {"hausdorff_95": 0.0, "surface_distance": 0.0, "surface_dice": 1.0}


def test_two_cubes_shifted_by_one():
    distances = surface_distances(cube((3, 3, 3)), cube((4, 3, 3)))
    # Of 56 voxels the 16 of the plane that sticks out are one apart from the other surface, and so are the 4 in the middle
    # of the opposite plane, which lie one deep in the other cube.
    assert sorted(distances.of_truth) == [0.0] * 36 + [1.0] * 20
    assert sorted(distances.of_prediction) == [0.0] * 36 + [1.0] * 20
    figures = surface_figures(distances, 0.5)
    assert figures["hausdorff_95"] == 1.0
    assert figures["surface_distance"] == pytest.approx(20 / 56)
    assert figures["surface_dice"] == pytest.approx(36 / 56)
    assert surface_figures(distances, 1.0)["surface_dice"] == 1.0


@pytest.mark.parametrize("axis, size", [(0, 5.0), (1, 1.0), (2, 0.5)])
def test_distances_are_in_the_units_of_the_voxel_size(axis, size):
    start = [3, 3, 3]
    start[axis] += 1
    distances = surface_distances(cube((3, 3, 3), 2), cube(start, 2), (5.0, 1.0, 0.5))
    assert distances.of_truth.max() == size
    assert (distances.of_truth == size).sum() == 4


def test_all_pairs_searched_give_the_same():
    rng = np.random.default_rng(0)
    for spacing in ((1.0, 1.0, 1.0), (3.0, 0.7, 1.3)):
        first, second = (ndimage.gaussian_filter(rng.normal(size=(9, 10, 11)), 1.5) > 0 for _ in range(2))
        distances = surface_distances(first, second, spacing)
        points = [[], []]
        for mask, found in zip((first, second), points, strict=True):
            for z, y, x in np.argwhere(mask):
                beside = [(z + 1, y, x), (z - 1, y, x), (z, y + 1, x), (z, y - 1, x), (z, y, x + 1), (z, y, x - 1)]
                if not all(min(at) >= 0 and np.all(np.less(at, mask.shape)) and mask[at] for at in beside):
                    found.append(np.multiply((z, y, x), spacing))
        apart = np.linalg.norm(np.array(points[0])[:, None] - np.array(points[1])[None], axis=-1)
        np.testing.assert_allclose(distances.of_truth, apart.min(axis=1))
        np.testing.assert_allclose(distances.of_prediction, apart.min(axis=0))
        figures = surface_figures(distances, 1.0)
        both = np.concatenate([apart.min(axis=1), apart.min(axis=0)])
        assert figures["surface_dice"] == pytest.approx((both <= 1).mean())
        assert figures["surface_distance"] == pytest.approx(both.mean())
        assert figures["hausdorff_95"] == pytest.approx(
            max(np.percentile(apart.min(axis=1), 95), np.percentile(apart.min(axis=0), 95))
        )


def test_without_a_surface_there_is_no_distance():
    nothing, something = np.zeros((10, 10, 10), bool), cube((3, 3, 3))
    for truth, predicted in ((nothing, something), (something, nothing)):
        figures = surface_figures(surface_distances(truth, predicted), 1.0)
        assert figures == {"hausdorff_95": None, "surface_distance": None, "surface_dice": 0.0}
    figures = surface_figures(surface_distances(nothing, nothing), 1.0)
    assert figures == {"hausdorff_95": None, "surface_distance": None, "surface_dice": None}


def test_masks_of_other_shapes_are_refused():
    with pytest.raises(
        InputError, match=r"expected two masks \(z, y, x\) of the same shape, found \(4, 4, 4\) and \(4, 4\)"
    ):
        surface_distances(np.ones((4, 4, 4), bool), np.ones((4, 4), bool))
