"""Distillation: what a teacher adds to the labels and to the loss, and what it is refused for."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import UNLABELLED, VALUES, says, tiny_settings, write_pair

import keras_unet3d
from keras_unet3d import Teacher, zoo
from keras_unet3d.datasets import Globs
from keras_unet3d.errors import InputError
from keras_unet3d.labels import UNLABELLED as NOBODY
from keras_unet3d.listener import SILENT
from keras_unet3d.network.losses import SampleWeightedSparseCrossentropy
from keras_unet3d.run_folder import RunFolder
from keras_unet3d.segments.cleaning import ClassCleaning
from keras_unet3d.training.network import trained_network
from keras_unet3d.workflows.fit.sources import read_sources
from keras_unet3d.workflows.fit.teacher import taught_data, taught_settings


@pytest.fixture(scope="module")
def teacher(tiny_run) -> Teacher:
    """A single network, as good a teacher as an ensemble."""
    return Teacher(*zoo.open_model(tiny_run), "runs/teacher")


def opened(teacher, data, images=None):
    settings = taught_settings(tiny_settings(), teacher)
    return taught_data(teacher, [data] if data else [], [], Globs(images), settings, SILENT)


# ---- the labels -------------------------------------------------------------------------------------


def test_the_teacher_labels_what_nobody_has_labelled_and_nothing_else(teacher, tiny_run, tmp_path):
    data = opened(teacher, write_pair(tmp_path / "a.h5", 3))
    (source,) = read_sources(data.examples, data.table, 1.0)
    (complete,) = teacher.completed([source])
    before, after = (volume.array()[..., 0] for volume in (source.classes, complete.classes))
    unlabelled = before == NOBODY
    assert unlabelled.any() and not unlabelled.all()
    np.testing.assert_array_equal(after[~unlabelled], before[~unlabelled])
    predicted = zoo.predictor(tiny_run).predict(source.image, "classes")
    np.testing.assert_array_equal(after[unlabelled], predicted[unlabelled])
    assert complete.index.per_class.tolist() == np.bincount(after.ravel(), minlength=2).tolist()


def test_a_volume_that_is_labelled_all_over_stays_as_it_is(teacher, tmp_path):
    label = np.repeat(np.array(VALUES, np.uint8), 8 * 16 * 16).reshape(16, 16, 16)
    data = opened(teacher, write_pair(tmp_path / "a.h5", 3, label=label))
    (source,) = read_sources(data.examples, data.table, 1.0)
    assert teacher.completed([source]) == [source]


@pytest.mark.parametrize("unlabelled", [(UNLABELLED,), ()], ids=["with", "without"])
def test_images_without_labels_are_unlabelled_all_over(teacher, tmp_path, unlabelled):
    write_pair(tmp_path / "b.h5", label=None)
    table = replace(teacher.spec.labels, unlabelled=unlabelled)
    knows = replace(teacher, spec=replace(teacher.spec, labels=table))
    settings = taught_settings(keras_unet3d.FitSettings(), knows)
    data = taught_data(knows, [], [], Globs(str(tmp_path / "*.h5")), settings, SILENT)
    (source,) = read_sources(data.examples, data.table, 1.0)
    assert (source.classes.array() == NOBODY).all() and data.table.values == VALUES
    assert data.table.unlabelled == (unlabelled or (-1,))


# ---- the loss ---------------------------------------------------------------------------------------


def test_the_teachers_crossentropy_is_added_over_all_voxels():
    model = keras_unet3d.build_model((4, 4, 4, 1), base_filters=2, depth=2, seed=0)
    loss = SampleWeightedSparseCrossentropy(from_logits=True)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 4, 4, 1)).astype(np.float32)
    y, w = rng.integers(0, 2, (2, 4, 4, 4)).astype(np.int32), np.zeros((2, 4, 4, 4), np.float32)
    w[:, 0] = 1
    logits = rng.normal(size=(2, 4, 4, 4, 2)).astype(np.float32)
    p = np.exp(logits * 2) / np.exp(logits * 2).sum(-1, keepdims=True)
    plain, taught = (trained_network(model, loss, False, None, own) for own in (None, lambda batch: p))
    for network in (plain, taught):
        network.compile("sgd", loss)
    log_q = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = float(plain.compute_loss(x, y, logits, w)) - (p * log_q).sum(-1).mean()
    assert float(taught.compute_loss(x, y, logits, w)) == pytest.approx(expected, rel=1e-5)
    # A validation is of the labels alone.
    assert float(taught.compute_loss(x, y, logits, w, training=False)) == pytest.approx(
        float(plain.compute_loss(x, y, logits, w, training=False))
    )


def test_a_teacher_is_neither_trained_nor_saved(teacher):
    model = keras_unet3d.build_model((8, 8, 8, 1), base_filters=2, depth=2)
    loss = SampleWeightedSparseCrossentropy(from_logits=True)
    plain, taught = (trained_network(model, loss, False, None, own) for own in (None, teacher.probabilities()))
    assert len(taught.variables) == len(plain.variables)


# ---- the whole way ----------------------------------------------------------------------------------


def test_a_network_learns_from_an_ensemble_on_labelled_and_unlabelled_volumes(tiny_folds, tiny_data, tmp_path):
    write_pair(tmp_path / "alone.h5", 5, label=None)
    ensemble = Teacher(*zoo.open_model(tiny_folds.path), "runs/folds")
    cleaned = replace(ensemble.spec, cleaning=(ClassCleaning(value=VALUES[1], fill_holes=True),))
    ensemble = replace(ensemble, spec=cleaned)
    arguments = {"images": str(tmp_path / "alone.h5"), "teacher": ensemble}
    run = keras_unet3d.fit(tiny_data / "a.h5", tmp_path / "run", settings=tiny_settings(), **arguments)
    config = RunFolder(run.path).read_config()
    assert config.parts["teacher"] == "runs/folds"
    assert config.data.training == ("a.h5", "alone.h5")
    # Nothing was held out to choose how by.
    assert config.model.cleaning == cleaned.cleaning
    assert config.model.architecture.networks == 1 and config.model.labels.values == VALUES
    volume = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    assert set(np.unique(zoo.predictor(run.path)(volume))) <= set(VALUES)
    # It goes on with its teacher, and only with it.
    with pytest.raises(InputError, match=says("teacher: expected runs/folds again")):
        keras_unet3d.fit([], run.path, resume=True)
    again = keras_unet3d.fit([], run.path, teacher=ensemble, resume=True)
    assert again.history == run.history


# ---- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_classes": 3}, ("num_classes: expected what runs/teacher was trained with", "found 3")),
        ({"fold": "1/2"}, ("fold", "runs/teacher")),
        ({"validation_share": 0.5}, ("validation_share: expected none with a teacher", "found 0.5", "`val`")),
    ],
)
def test_settings_that_the_teacher_decides_are_refused(teacher, changes, words):
    with pytest.raises(InputError, match=says(*words)):
        taught_settings(tiny_settings(**changes), teacher)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"settings": tiny_settings(patch=(8, 9, 8))}, ("patch", "9")),
        ({"settings": tiny_settings(patch=(18, 24, 24), padding="valid")}, ("padding: expected same", "found valid")),
        ({"weights": "*.h5"}, ("weights: expected `labels` too",)),
        ({"val": "more.h5", "data": []}, ("val: expected labelled DATA",)),
        ({"teacher": "runs/folds"}, ("teacher: expected", "Teacher")),
    ],
    ids=["patch", "padding", "weights", "val", "name"],
)
def test_what_does_not_go_with_the_teacher_is_refused(teacher, tiny_data, tmp_path, given, words):
    arguments = {"data": [], "images": str(tiny_data / "*.h5"), "teacher": teacher, "settings": tiny_settings()}
    with pytest.raises(InputError, match=says(*words)):
        keras_unet3d.fit(out=tmp_path / "run", **arguments | given)
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_channels_is_refused(teacher, tmp_path):
    two = replace(teacher, spec=replace(teacher.spec, architecture=keras_unet3d.Architecture((None, None, None, 2))))
    write_pair(tmp_path / "a.h5")
    with pytest.raises(InputError, match=says("runs/teacher: expected a teacher of the same channels", "1", "found 2")):
        keras_unet3d.fit(tmp_path / "a.h5", tmp_path / "run", settings=tiny_settings(), teacher=two)
