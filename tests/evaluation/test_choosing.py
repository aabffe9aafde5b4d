"""Which cleaning is chosen, by hand: where it helps in enough volumes, and nowhere else."""

import numpy as np
import pytest

from keras_unet3d.errors import InputError
from keras_unet3d.evaluation.choosing import CutVolume, choose_cleaning, choose_instances
from keras_unet3d.segments.cells import InstanceSettings
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


# ---- instances -----------------------------------------------------------------------------------


def cut_volume(weak, seed=0, speck=0):
    """Return two cells with a boundary that is `weak` in between, other weaker ones within, and perhaps a third that is none."""
    rng = np.random.default_rng(seed)
    truth = np.ones((12, 16, 40), np.int64)
    truth[..., 20:] = 2
    boundary = rng.uniform(0, 0.05, truth.shape)
    boundary[..., 19:21] = weak
    # Within a cell something looks like a boundary, but less.
    boundary[..., 9:11] = boundary[..., 29:31] = weak - 0.25
    foreground = np.ones(truth.shape)
    if speck:
        truth[:, 8:] = 0
        foreground[:, 8:] = 0
        foreground[:speck, 12:14, 12:14] = 1
    certain = np.round(np.stack([boundary, foreground], axis=-1) * 255).astype(np.uint8)
    return CutVolume(certain if speck else certain[..., :1], truth, None)


@pytest.mark.parametrize(("weak", "between"), [(0.95, (0.7, 0.95)), (0.6, (0.35, 0.6))])
def test_pieces_are_joined_below_what_tells_boundaries_from_others(weak, between):
    settings, score = choose_instances([cut_volume(weak, seed) for seed in range(2)], "boundaries")
    assert between[0] <= settings.join_below <= between[1] and score == pytest.approx(1, abs=1e-3)


def test_of_equally_good_settings_the_default_is_taken():
    assert choose_instances([cut_volume(0.99)], "boundaries") == (InstanceSettings(), pytest.approx(1, abs=1e-3))


def test_what_is_no_cell_is_left_out_by_its_size():
    volume = cut_volume(0.95, speck=12)
    # A speck of 48 voxels goes by the default, and one of 192 by more.
    settings, score = choose_instances([volume], "cells")
    assert settings.least == 100 and score == pytest.approx(1)
    volume.certain[:, 11:15, 12:16, 1] = 255
    settings, score = choose_instances([volume], "cells")
    assert settings.least == 300 and score == pytest.approx(1)
