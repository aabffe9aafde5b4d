"""Border weights: by hand, and as distance transforms of the whole volume say, object by object."""

import numpy as np
import pytest
from helpers import says, write_pair
from scipy.ndimage import distance_transform_edt

from keras_unet3d import AugmentationOptions, DataOptions, make_batches, open_data
from keras_unet3d.datasets.cells import UNLABELLED as NOT_PAINTED
from keras_unet3d.datasets.cells import touching_cells
from keras_unet3d.errors import InputError
from keras_unet3d.labels import LabelTable, border_weights
from keras_unet3d.labels.table import BOUNDARY_TABLE, CELL_TABLE
from keras_unet3d.settings import PatchOptions
from keras_unet3d.volumes import from_array
from keras_unet3d.workflows.fit.sources import bordered, read_sources


def weights(labels, table=CELL_TABLE, largest=10.0, sigma=5.0, spacing=None):
    return border_weights(from_array(np.asarray(labels)), table, largest, sigma, spacing).array()[..., 0]


def slow(labels, table, largest, sigma, spacing):
    """Return the same by a distance transform per object, and the sum of both distances."""
    others = {*table.unlabelled, *((table.background_value,) if table.target == "cells" else ())}
    size = np.ones(3) if spacing is None else np.asarray(spacing) / min(spacing)
    distances = [
        distance_transform_edt(labels != value, sampling=size) for value in np.unique(labels) if value not in others
    ]
    apart = np.sum(np.sort(distances, axis=0)[:2], axis=0) if len(distances) > 1 else np.full(labels.shape, np.inf)
    return 1 + np.where(apart <= 3 * sigma, largest * np.exp(-(apart**2) / (2 * sigma**2)), 0), apart


def scattered(seed, shape, count, values):
    """Return random boxes of random objects."""
    rng, labels = np.random.default_rng(seed), np.zeros(shape, values)
    for number in range(1, count + 1):
        middle, half = rng.integers(0, shape), rng.integers(1, 6, 3)
        labels[tuple(slice(max(m - h, 0), m + h) for m, h in zip(middle, half, strict=True))] = number
    return labels


def assert_same(found, expected, apart, reach):
    # At the end of the reach it is rounding that decides.
    decided = ~np.isclose(apart, reach)
    np.testing.assert_allclose(found[decided], expected[decided], atol=1e-4)


def test_by_hand():
    # Objects 7 and 8 with three voxels of background between them, and a third that is far away.
    line = np.zeros((1, 1, 40), np.uint8)
    line[..., 2], line[..., 6], line[..., 39] = 7, 8, 9
    found = weights(line, sigma=2.0)[0, 0]
    # d1 + d2 is 4 between them and within them; outside, 1 + 5 and 2 + 6 (more than 3 sigma = 6).
    between = 1 + 10 * np.exp(-(4**2) / 8)
    assert found[2:7] == pytest.approx([between] * 5)
    assert found[[1, 7]] == pytest.approx([1 + 10 * np.exp(-(6**2) / 8)] * 2)
    assert found[[0, 8, 20, 39]].tolist() == [1, 1, 1, 1]


def test_objects_that_touch():
    line = np.array([[[1, 1, 2, 2, 2]]])
    found = weights(line, BOUNDARY_TABLE, sigma=1.0)[0, 0]
    # 0 to the own object, 2, 1, 1, 2 and 3 to the other one.
    assert found == pytest.approx(1 + 10 * np.exp(-np.array([4, 1, 1, 4, 9]) / 2))


def test_distances_are_physical():
    # Two voxels apart along z, which are three times as long.
    labels = np.zeros((3, 1, 1), np.uint8)
    labels[0], labels[2] = 1, 2
    found = weights(labels, spacing=(0.6, 0.2, 0.2))[:, 0, 0]
    assert found == pytest.approx([1 + 10 * np.exp(-(6**2) / 50)] * 3)


@pytest.mark.parametrize("seed, spacing, sigma", [(0, None, 0.7), (1, (3.0, 1.0, 1.0), 2.0), (2, (1.0, 0.5, 0.7), 3.0)])
@pytest.mark.parametrize(
    "table, values", [(CELL_TABLE, "uint16"), (LabelTable((0, 1), ("a", "b"), (0,), "boundaries"), "int64")]
)
def test_blocks_are_what_whole_distance_transforms_say(seed, spacing, sigma, table, values):
    labels = scattered(seed, (12, 70, 131), 60, values)
    expected, apart = slow(labels, table, 10, sigma, spacing)
    found = weights(labels, table, sigma=sigma, spacing=spacing)
    assert_same(found, expected, apart, 3 * sigma)
    assert (found > 2).any() and (found == 1).any()
    volume = border_weights(from_array(labels), table, 10, sigma, spacing)
    box = (slice(3, 9), slice(60, 68), slice(50, 120))
    np.testing.assert_array_equal(volume.read(box)[..., 0], found[box])


def test_the_embedded_cells():
    stack = touching_cells()
    table = LabelTable(CELL_TABLE.values, CELL_TABLE.names, (NOT_PAINTED,), "cells")
    sparse = stack.sparse[:, :50, :50]
    expected, apart = slow(sparse, table, 10, 2.0, stack.spacing)
    found = weights(sparse, table, sigma=2.0, spacing=stack.spacing)
    assert_same(found, expected, apart, 6)


def test_one_object_has_no_border():
    assert (weights(scattered(0, (5, 20, 20), 1, "uint8")) == 1).all()


def test_classes_have_no_borders():
    with pytest.raises(
        InputError, match=says("border_weight: expected labels of instances, `target=cells`", "found classes")
    ):
        weights(np.zeros((2, 2, 2), int), LabelTable((0, 1), ("a", "b")))


@pytest.mark.parametrize("memory", [1.0, 0.0])
def test_they_are_multiplied_by_the_weights_of_a_file_and_kept(tmp_path, memory):
    labels = scattered(0, (16, 16, 16), 6, "uint8")
    own = np.random.default_rng(0).uniform(0.5, 2, labels.shape).astype(np.float32)
    own[3] = 0
    data = open_data(write_pair(tmp_path / "a.h5", label=labels, weight=own), options=DataOptions(target="cells"))
    options = PatchOptions(border_weight=4.0, border_sigma=2.0)
    (source,) = read_sources(bordered(data.training, data.table, options), data.table, memory)
    assert source.in_memory == bool(memory) and not source.weight.packed
    expected, _ = slow(labels, data.table, 4, 2, (2.0, 1.0, 1.0))
    np.testing.assert_allclose(source.weight.array()[..., 0], expected * own, rtol=1e-4)
    assert (source.classes.array()[3] == 255).all(), "a voxel of weight 0 stays unlabelled"
    assert bordered(data.training, data.table, PatchOptions()) == [*data.training], "off by default"


def test_batches_have_them(tmp_path):
    labels = scattered(0, (16, 16, 16), 6, "uint8")
    data = open_data(
        write_pair(tmp_path / "a.h5", label=labels), options=DataOptions(target="cells", validation_share=0)
    )
    plain = AugmentationOptions(augment=False)
    training, _ = make_batches(data, (16, 16, 16), 1, augmentation=plain, border_weight=10, border_sigma=2, workers=1)
    expected, _ = slow(labels, data.table, 10, 2, (2.0, 1.0, 1.0))
    np.testing.assert_allclose(next(iter(training))[2][0], expected, rtol=1e-4)
