"""What is fitted after a training: on held-out volumes alone, with a network that is no network."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import a_plan

from keras_unet3d.datasets import Example
from keras_unet3d.evaluation.calibration import calibration, fit_temperature
from keras_unet3d.evaluation.choosing import choose_instances
from keras_unet3d.labels import UNLABELLED
from keras_unet3d.labels.table import CELL_TABLE
from keras_unet3d.listener import Listener
from keras_unet3d.patches.holdout import Holdout
from keras_unet3d.patches.source import read_source
from keras_unet3d.prediction.predictor import Predictor
from keras_unet3d.volumes import from_array
from keras_unet3d.volumes.grey_values import normalize
from keras_unet3d.workflows.fit import after
from keras_unet3d.workflows.fit.after import _see, settled


def network(batch):
    """Class 1 is where it is bright, and that is far too sure."""
    logits = np.concatenate([-20 * batch, 20 * batch], axis=-1)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


def volume(seed, shape=(12, 13, 14)):
    """Return a bright cube with noise, three specks elsewhere, and the labels of the cube; a few voxels of the cube are dark."""
    rng = np.random.default_rng(seed)
    label = np.zeros(shape, np.uint8)
    label[2:9, 2:9, 2:9] = 1
    image = label + rng.normal(0, 0.1, shape)
    image[11, 11, 1:13:4] = 1
    wrong = tuple(rng.integers(3, 8, (3, 4)))
    image[wrong] = 0.1
    return image.astype(np.float32), label


def sources(plan, count, change=lambda label: label):
    examples = []
    for seed in range(count):
        image, label = volume(seed)
        examples.append(Example(str(seed), from_array(image), from_array(change(label))))
    return [read_source(example, replace(plan.spec.labels, unlabelled=(9,))) for example in examples]


def settle(plan, holdout):
    said = []
    return settled(Predictor(network, plan.spec), holdout, plan, Listener(said.append)), said


@pytest.fixture(scope="module")
def plan():
    return a_plan(shape=(12, 13, 14))


def test_temperature_and_cleaning_are_those_of_the_held_out_volumes(plan):
    held_out = sources(plan, 6)
    spec, said = settle(plan, Holdout([], held_out, "", True))
    probabilities, classes = [], []
    for source in held_out:
        image = source.image.array()
        probabilities.append(network((image - image.mean()) / image.std()).reshape(-1, 2))
        classes.append(source.classes.array().ravel())
    probabilities, classes = np.concatenate(probabilities), np.concatenate(classes)
    by_hand = fit_temperature(probabilities, classes)
    assert spec.temperature == pytest.approx(by_hand, rel=1e-3) and by_hand > 1
    assert said[0].startswith(
        f"temperature {spec.temperature:.3f}, from 13104 voxels of 6 held-out volumes: "
        f"calibration error {calibration(classes, probabilities).error:.4f}, "
    )
    (step,) = spec.cleaning
    assert step.value == 1 and (step.keep_largest or step.remove_small) and step.fill_holes
    assert said[1] == f"cleaning, tried on 6 held-out volumes: b: {step.in_words()}"
    assert spec.unsettled == plan.spec


def test_a_temperature_that_calibrates_worse_is_left_out(plan, monkeypatch):
    monkeypatch.setattr(after, "fit_temperature", lambda *what: 50.0)
    spec, said = settle(plan, Holdout([], sources(plan, 6), "", True))
    assert spec.temperature == 1 and said[0].endswith("with it, so it is left out")


def test_nothing_is_fitted_to_what_was_trained_on(plan):
    trained_on = sources(plan, 1)
    spec, said = settle(plan, Holdout(trained_on, trained_on, "", False))
    assert spec == plan.spec and len(said) == 1 and said[0].startswith("nothing was held out to fit a temperature")


@pytest.mark.parametrize("background", [0, 7])
def test_instances_are_cut_as_the_held_out_volumes_ask_for(plan, background):
    table = replace(CELL_TABLE, unlabelled=(9,), background_value=background)
    architecture = replace(plan.spec.architecture, num_classes=3)
    plan = replace(plan, spec=replace(plan.spec, architecture=architecture, labels=table))
    image, label = volume(0)
    # Two cells that touch at x = 5, where the network is told so by a grey value; of the last planes nobody says anything.
    raw = np.where(label > 0, 1 + (np.indices(label.shape)[2] > 5), background)
    raw[11:] = 9
    image[:, :, 5:7][label[:, :, 5:7] > 0] = 0.5
    source = read_source(Example("a", from_array(image), from_array(raw)), table)
    seen = []

    def cells(batch):
        seen.append(batch.shape)
        grey = batch * image.std() + image.mean()
        boundary, inside = np.abs(grey - 0.5) < 0.1, grey > 0.6
        return np.concatenate([~boundary & ~inside, inside, boundary], axis=-1).astype(np.float32)

    said = []
    spec = settled(Predictor(cells, plan.spec), Holdout([], [source], "", True), plan, Listener(said.append))
    part = _see(Predictor(cells, plan.spec), source, 10**6, 10, np.random.default_rng(0)).to_cut
    assert sorted(np.unique(part.truth)) == [-1, 0, 2, 3] and (part.truth == -1).sum() == 13 * 14
    assert (spec.instances, spec.cleaning) == (choose_instances([part], "cells")[0], ())
    assert said[1].startswith("instances, tried on 1 held-out volume: a boundary from 0.5 on, ") and seen


def test_sparse_labels_have_a_temperature_and_no_cleaning(plan):
    def only_some(label):
        label = label.copy()
        label[::2] = 9
        return label

    spec, said = settle(plan, Holdout([], sources(plan, 6, only_some), "", True))
    assert spec.temperature != 1 and spec.cleaning == ()
    assert said[1:] == ["cleaning: none is tried, which takes whole held-out volumes of classes, labelled throughout"]


def test_a_part_of_a_volume_has_no_cleaning(plan):
    held_out = sources(plan, 6)
    assert settle(plan, Holdout([], held_out, "", False))[0].cleaning == ()


def test_what_is_right_is_not_cleaned(plan):
    found = [network(normalize(each.image.array(), each.statistics)).argmax(axis=-1) for each in sources(plan, 6)]
    right = [
        replace(each, classes=from_array(classes.astype(np.uint8)))
        for each, classes in zip(sources(plan, 6), found, strict=True)
    ]
    spec, said = settle(plan, Holdout([], right, "", True))
    assert spec.cleaning == () and said[1].endswith("none")


@pytest.mark.parametrize(
    ("budget", "count", "whole"), [(5 * 2184, 5, True), (5 * 2184 - 1, 6, False), (2**20, 6, True)]
)
def test_as_many_whole_volumes_as_the_budget_has_room_for(plan, budget, count, whole):
    seen = list(after._looked_at(Predictor(network, plan.spec), sources(plan, 6), budget))
    assert len(seen) == count and all(volume.is_whole == whole for volume in seen)


def test_large_volumes_are_looked_at_in_part_around_a_labelled_voxel(plan):
    def one_voxel(label):
        sparse = np.full_like(label, 9)
        sparse[10, 11, 12] = 0
        return sparse

    looked_at = list(after._looked_at(Predictor(network, plan.spec), sources(plan, 6, one_voxel), 6 * 200))
    assert all(100 < seen.truth.size <= 200 and (seen.truth != UNLABELLED).sum() == 1 for seen in looked_at)
    assert all(seen.classes.tolist() == [0] and not seen.is_whole for seen in looked_at)


def test_at_most_twenty_volumes_are_looked_at(plan):
    held_out = sources(plan, 2)
    many = [replace(held_out[0], name=str(number)) for number in range(50)]
    seen = list(after._looked_at(Predictor(network, plan.spec), many, 2**20))
    assert len(seen) == 20 and all(volume.is_whole for volume in seen)
    # As many voxels of each as make the fixed number together.
    assert sum(len(volume.classes) for volume in seen) == 20 * 12 * 13 * 14


def test_a_part_of_a_stack_is_normalised_by_its_own_sections(plan, monkeypatch):
    """Sections of very different grey values: those of others would make all of a part one class."""
    image, label = volume(0, (40, 13, 14))
    label = np.arange(13 * 14).reshape(13, 14) % 2 * np.ones_like(label)
    image = label + 100.0 * np.arange(40, dtype=np.float32)[:, None, None]
    spec = replace(plan.spec, normalization="sections", labels=replace(plan.spec.labels, unlabelled=(9,)))
    stack = read_source(Example("a", from_array(image), from_array(label)), spec.labels, normalization="sections")
    monkeypatch.setattr(after, "_LEAST_VOXELS", 8 * 13 * 14)
    small = replace(plan, spec=spec, schedule=replace(plan.schedule, epochs=1, steps_per_epoch=1))
    seen = []
    monkeypatch.setattr(after, "_see", lambda *arguments: seen.append(_see(*arguments)) or seen[-1])
    settle(small, Holdout([], [stack], "", True))
    assert seen[0].truth.shape[0] < 40
    np.testing.assert_array_equal(seen[0].predicted, seen[0].truth)


def test_a_short_training_that_looks_at_parts_says_so(plan, monkeypatch):
    monkeypatch.setattr(after, "voxels_looked_at", lambda plan: 2000)
    spec, said = settle(plan, Holdout([], sources(plan, 6), "", True))
    assert spec.cleaning == ()
    assert said[1:] == [
        "cleaning: none is tried, for which parts of the held-out volumes are too little, and so short a training looks at "
        "no more"
    ]
