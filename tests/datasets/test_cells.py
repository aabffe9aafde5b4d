"""The embedded cells: what is in them, and that they are the same everywhere."""

import hashlib

import numpy as np
import pytest
from scipy import ndimage

from keras_unet3d import InputError, open_data
from keras_unet3d.datasets import find_data
from keras_unet3d.datasets.cells import SPACING, UNLABELLED, touching_cells
from keras_unet3d.datasets.example import DataKeys
from keras_unet3d.labels import class_volume


def test_cells_touch_and_are_connected():
    stack = touching_cells()
    numbers = np.unique(stack.truth)
    assert numbers[0] == 0 and len(numbers) - 1 == 85
    assert 0.1 < (stack.truth > 0).mean() < 0.4
    _, count = ndimage.label(stack.truth > 0)
    # Fewer clumps than cells: many of them touch.
    assert count < 60
    assert sum(ndimage.label(stack.truth == number)[1] == 1 for number in numbers[1:]) >= 84


def test_a_handful_of_slices_is_annotated():
    stack = touching_cells()
    labelled = stack.sparse != UNLABELLED
    np.testing.assert_array_equal(stack.sparse[labelled], stack.truth[labelled])
    assert 0.1 < labelled.mean() < 0.2 and labelled[5].all() and labelled[:, 16].all() and labelled[:, :, 80].all()


def test_they_are_the_same_at_every_call():
    stack = touching_cells(0)
    assert stack.image is touching_cells(0).image and not stack.image.flags.writeable
    assert not np.array_equal(stack.truth, touching_cells(1).truth)
    assert (stack.image.dtype, stack.truth.dtype, stack.spacing) == (np.uint8, np.uint16, (2.0, 1.0, 1.0))
    assert hashlib.sha256(stack.truth.tobytes()).hexdigest() == TRUTH


TRUTH = "052204ada6ea936133fea75ff6402452db1e8771b3658f54acac0bb377ce6cd9"


def test_the_word_opens_them_as_cells(tmp_path, monkeypatch):
    data = open_data("cells")
    assert data.table.target == "cells" and data.table.unlabelled == (UNLABELLED,)
    (example,) = data.training
    assert (example.image.spacing, example.image.unit) == (SPACING, "um")
    classes = class_volume(example.label, data.table).array()
    assert sorted(np.unique(classes)) == [0, 1, 2, 255]
    # A folder of that name is not left out in silence.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cells").mkdir()
    with pytest.raises(InputError, match="cells: expected one meaning, found the embedded data set of that name and a"):
        find_data("cells", DataKeys())


def test_data_of_another_kind_are_refused_beside_them():
    with pytest.raises(InputError, match="expected data sets whose labels are of one kind, found"):
        open_data(["cells", "sample"])
