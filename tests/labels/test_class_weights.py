"""class_weights: every class given its own, or the same influence for all; and words that are no class."""

import numpy as np
import pytest
from helpers import says

from keras_unet3d.errors import InputError
from keras_unet3d.labels import LabelTable, check_class_weights, class_weights

TABLE = LabelTable((0, 7, 40), ("background", "cell", "wall"), (255,))
COUNTS = np.array([60, 30, 10])


def test_no_weights_are_none():
    assert class_weights(None, TABLE, COUNTS) is None


def test_balanced_by_hand():
    # A third of 100 voxels for each class.
    assert class_weights("balanced", TABLE, COUNTS) == pytest.approx([100 / 3 / 60, 100 / 3 / 30, 100 / 3 / 10])


@pytest.mark.parametrize("counts", [[60, 30, 10], [1, 1, 1], [1, 10**9, 7], [5, 0, 3]])
def test_balanced_gives_every_class_the_same_influence_and_the_voxels_a_mean_of_1(counts):
    counts = np.array(counts)
    weights = np.array(class_weights("balanced", TABLE, counts))
    influence = (weights * counts)[counts > 0]
    np.testing.assert_allclose(influence, influence[0], rtol=1e-12)
    assert np.dot(weights, counts) / counts.sum() == pytest.approx(1)


def test_a_class_that_is_not_labelled_keeps_1():
    assert class_weights("balanced", TABLE, np.array([30, 0, 10])) == pytest.approx([20 / 30, 1, 20 / 10])
    assert class_weights("balanced", TABLE, np.zeros(3)) == [1, 1, 1]


@pytest.mark.parametrize("text", ["cell=3,background=0.5", "7=3,0=0.5", " cell = 3 , 0 = .5 "])
def test_weights_are_given_by_name_or_value_and_are_1_elsewhere(text):
    assert class_weights(text, TABLE, COUNTS) == [0.5, 3, 1]


def test_a_name_wins_over_a_value():
    assert class_weights("1=3", LabelTable((0, 1), ("1", "0")), np.array([1, 1])) == [3, 1]


@pytest.mark.parametrize(
    "text, words",
    [
        ("cel=3", ("found 'cel'", "Did you mean 'cell'?")),
        ("bakground=3", ("found 'bakground'", "Did you mean 'background'?")),
        ("1=3", ("found '1'",)),
        ("255=3", ("found '255'",)),
    ],
)
def test_a_name_that_is_no_class_is_refused(text, words):
    first = "class_weights: expected classes of 0 background, 7 cell, 40 wall"
    with pytest.raises(InputError, match=says(first, *words)):
        class_weights(text, TABLE, COUNTS)


def test_a_class_that_is_given_twice_by_name_and_value_is_refused():
    with pytest.raises(InputError, match=says("class_weights: expected", "once", "7=2,cell=3")):
        class_weights("7=2,cell=3", TABLE, COUNTS)


@pytest.mark.parametrize(
    "text, counts", [("background=0,cell=0,wall=0", COUNTS), ("background=0", [60, 0, 0]), ("0=0,7=0,40=2", [6, 3, 0])]
)
def test_weights_that_leave_nothing_are_refused(text, counts):
    words = ("class_weights: expected a weight above 0 for a class that is labelled", f"found {text!r}")
    with pytest.raises(InputError, match=says(*words)):
        class_weights(text, TABLE, np.array(counts))


@pytest.mark.parametrize(
    "part", ["cell", "=3", "cell=", "cell=many", "cell=-1", "cell=nan", "cell=inf", "", "equal", "Balanced", "3"]
)
def test_other_texts_are_refused(part):
    words = ("class_weights: expected balanced, or every class once with a number from 0 to 1e+06", f"found {part!r}.")
    with pytest.raises(InputError, match=says(*words)):
        check_class_weights(f"wall=1,{part}" if part not in ("equal", "Balanced") else part)


def test_a_name_that_is_given_twice_is_refused():
    with pytest.raises(InputError, match=says("every class once", "found 'cell=2'")):
        check_class_weights("cell=1,cell=2")


def test_texts_are_read():
    assert check_class_weights("balanced") is None
    assert check_class_weights("lumen=3,a=b=0.5,0=0,x=1e-2") == {"lumen": 3, "a=b": 0.5, "0": 0, "x": 0.01}
