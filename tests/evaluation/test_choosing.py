"""Which cleaning is chosen, by hand: where it helps in enough volumes, and nowhere else."""

import numpy as np
import pytest

from keras_unet3d.errors import InputError
from keras_unet3d.evaluation.choosing import choose_cleaning
from keras_unet3d.segments.cleaning import ClassCleaning


def cubes(count, value=3):
    """Return volumes with a cube of 6 x 6 x 6 voxels each."""
    volumes = np.zeros((count, 12, 12, 12), np.uint8)
    volumes[:, 3:9, 3:9, 3:9] = value
    return volumes


def with_specks(volumes, which, value=3):
    """Return the volumes with ten single voxels of a class in some of them, where nothing of it should be."""
    spoilt = volumes.copy()
    for number in which:
        spoilt[number, 0, ::2, 1] = value
        spoilt[number, 0, ::3, 10] = value
    return spoilt


def test_specks_in_enough_volumes_are_removed():
    truth = cubes(8)
    # Of five volumes that change, and all for the better, p is 1 / 32.
    chosen = choose_cleaning(truth, with_specks(truth, range(5)))
    assert [step.value for step in chosen] == [3]
    assert chosen[0].keep_largest or chosen[0].remove_small
    assert choose_cleaning(truth, with_specks(truth, range(4))) == ()


def test_a_true_second_piece_is_kept():
    truth = cubes(6)
    truth[:, 9:, :3, :3] = 3
    # It has 27 voxels, which neither the largest piece alone nor pieces of 30 would leave.
    assert choose_cleaning(truth, with_specks(truth, range(6))) == (ClassCleaning(value=3, remove_small=10),)


def test_holes_are_filled_and_pieces_removed_of_the_class_that_has_them():
    truth = cubes(6)
    truth[:, 10:, 10:, 10:] = 7
    predicted = with_specks(truth, range(6), value=7)
    predicted[:, 5, 5, 5:7] = 0
    for step in choose_cleaning(truth, predicted):
        assert step.fill_holes == (step.value == 3)
        assert (step.keep_largest or step.remove_small > 0) == (step.value == 7)
    assert len(choose_cleaning(truth, predicted)) == 2


def test_another_background():
    truth = cubes(6) + 1
    assert [step.value for step in choose_cleaning(truth, with_specks(truth, range(6), 4), background=1)] == [4]


def test_a_class_that_should_not_be_there_is_removed():
    truth = cubes(6)
    chosen = choose_cleaning(truth, with_specks(truth, range(6), value=5))
    assert chosen == (ClassCleaning(value=5, remove_small=10),)


@pytest.mark.parametrize("spoilt", [(), range(3)])
def test_what_is_right_or_of_few_volumes_stays_as_it_is(spoilt):
    truth = cubes(3)
    assert choose_cleaning(truth, with_specks(truth, spoilt)) == ()
    assert choose_cleaning([], []) == ()


def test_volumes_that_do_not_belong_together_are_refused():
    with pytest.raises(InputError, match="predicted: expected a volume for each of `truth`, of the same shape"):
        choose_cleaning(cubes(2), cubes(1))
