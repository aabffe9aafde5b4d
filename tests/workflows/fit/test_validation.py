"""What a training is validated by, against the counts of whole volumes."""

from types import SimpleNamespace

import numpy as np
import pytest

import keras_unet3d
from keras_unet3d.labels import UNLABELLED, LabelTable, region_table, with_groups
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.network.unet import architecture_of
from keras_unet3d.patches.holdout import Holdout
from keras_unet3d.patches.source import Source, index_labels
from keras_unet3d.volumes import from_array
from keras_unet3d.volumes.grey_values import measure
from keras_unet3d.workflows.fit import validation
from keras_unet3d.workflows.fit.validation import training_predictor, validator

RNG = np.random.default_rng(0)


def source(shape, labelled=slice(None)):
    image = from_array(RNG.normal(size=shape).astype(np.float32))
    classes = np.full(shape, UNLABELLED, np.uint8)
    classes[labelled] = RNG.integers(0, 3, shape)[labelled]
    volume = from_array(classes)
    return Source("a", image, volume, None, measure(image), index_labels(volume, 3))


@pytest.fixture(scope="module")
def network():
    return keras_unet3d.build_model(num_classes=3, base_filters=2, depth=2, seed=0)


def plan(network, patch=(8, 8, 8)):
    table = LabelTable((0, 1, 2), ("background", "a", "b"))
    spec = ModelSpec(architecture_of(network), table, "zscore", patch)
    return SimpleNamespace(spec=spec, patches=SimpleNamespace(patch=patch))


def by_hand(network, sources):
    """Return cross-entropy, IoU and Dice of whole volumes, voxel by voxel."""
    truth, predicted, loss = [], [], []
    for one in sources:
        labels = one.classes.array()[..., 0]
        probabilities = training_predictor(network, plan(network).spec).predict(one.image, "probabilities")
        known = labels != UNLABELLED
        truth.append(labels[known])
        predicted.append(probabilities.argmax(-1)[known])
        loss.append(-np.log(probabilities[known][np.arange(known.sum()), labels[known]]))
    truth, predicted, loss = (np.concatenate(parts) for parts in (truth, predicted, loss))
    both = [((truth == c) & (predicted == c)).sum() for c in (1, 2)]
    either = [((truth == c) | (predicted == c)).sum() for c in (1, 2)]
    iou = np.array(both) / either
    return loss.mean(), iou.mean(), (2 * iou / (1 + iou)).mean()


def test_figures_of_whole_volumes(network):
    sources = [source((10, 9, 12)), source((7, 16, 8), labelled=(slice(2, 4),))]
    figures = validator(Holdout([], sources, "", True), plan(network))(network)
    assert tuple(figures) == ("val_loss", "val_iou", "val_dice")
    assert tuple(figures.values()) == pytest.approx(by_hand(network, sources), rel=1e-4)


def test_the_figures_go_with_the_weights(network):
    measured = validator(Holdout([], [source((8, 8, 8))], "", True), plan(network))
    first = measured(network)
    weights = network.get_weights()
    network.set_weights([weight + 0.1 for weight in weights])
    second = measured(network)
    network.set_weights(weights)
    assert second != first and measured(network) == first


def test_an_even_share_of_many_volumes(network, monkeypatch):
    monkeypatch.setattr(validation, "_PATCHES", 4)
    sources = [source((8, 8, 8)) for _ in range(9)]
    figures = validator(Holdout([], sources, "", True), plan(network))(network)
    assert tuple(figures.values()) == pytest.approx(by_hand(network, [sources[i] for i in (0, 3, 5, 8)]), rel=1e-4)


def test_of_a_large_volume_only_patches_with_labels(network, monkeypatch):
    monkeypatch.setattr(validation, "_PATCHES", 16)
    large = source((16, 16, 96), labelled=(slice(None), slice(None), slice(90, 92)))
    asked = []
    original = validation.Predictor.boxes

    def boxes(self, volume, output, **options):
        asked.extend(options["tiling"].tiles())
        return original(self, volume, output, **options)

    monkeypatch.setattr(validation.Predictor, "boxes", boxes)
    figures = validator(Holdout([], [large], "", True), plan(network))(network)
    # Blocks of 32 voxels are what the index knows.
    assert len(asked) == 16
    assert all(tile[2].first >= 64 for tile in asked)
    assert 0 < figures["val_iou"] < 1


def test_figures_of_a_network_without_numbers_are_none(network):
    weights = network.get_weights()
    network.set_weights([weight * np.float32(np.nan) for weight in weights])
    figures = validator(Holdout([], [source((8, 8, 8))], "", True), plan(network))(network)
    network.set_weights(weights)
    assert np.isnan(list(figures.values())).all()


def test_nothing_but_background(network):
    background = source((8, 8, 8))
    classes = np.where(np.indices((8, 8, 8))[0] < 4, 0, UNLABELLED).astype(np.uint8)
    background = Source(
        "a", background.image, from_array(classes), None, background.statistics, index_labels(from_array(classes), 3)
    )
    weights = network.get_weights()
    # Its last offset makes everything background.
    network.get_layer("logits").bias.assign([100.0, 0.0, 0.0])
    figures = validator(Holdout([], [background], "", True), plan(network))(network)
    network.set_weights(weights)
    assert figures["val_iou"] == figures["val_dice"] == 1.0


def test_the_crossentropy_of_labels_that_say_several_things_by_hand():
    partly = with_groups(LabelTable((0, 1, 2), ("a", "b", "c")), [(0, 1)])
    p = np.array([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3]], np.float32)
    # Label 3 may be class 0 or class 2.
    np.testing.assert_allclose(
        validation._crossentropy(p, np.array([3, 1]), partly), -np.log([0.5 + 0.3, 0.6]), rtol=1e-6
    )
    regions = region_table({"whole": (1, 2), "core": (2,)})
    expected = [-np.log(0.9 * 0.6) / 2, -np.log(0.4 * 0.8) / 2]
    q = np.array([[0.9, 0.4], [0.4, 0.8]], np.float32)
    np.testing.assert_allclose(validation._crossentropy(q, np.array([1, 2]), regions), expected, rtol=1e-6)
