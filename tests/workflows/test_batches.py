"""make_batches: what fit feeds its network, for a training loop of one's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import UNLABELLED, tiny_settings, tiny_volume, write_pair

from keras_unet3d import (
    AugmentationOptions,
    DataOptions,
    InputError,
    SampleWeightedSparseCrossentropy,
    build_model,
    make_batches,
    open_data,
)
from keras_unet3d.patches.holdout import hold_out
from keras_unet3d.workflows.fit.feed import make_feed
from keras_unet3d.workflows.fit.plan import make_plan
from keras_unet3d.workflows.fit.sources import read_sources

PATCH = (8, 8, 12)
STILL = AugmentationOptions(augment=False)


@pytest.fixture(scope="module")
def data(tiny_data):
    """Two volumes, of which one is held out."""
    return open_data(tiny_data, options=DataOptions(unlabelled=(UNLABELLED,)))


def first(batches, count: int) -> list[list[np.ndarray]]:
    return [[part.numpy() for part in batch] for batch in batches.take(count)]


def assert_same(ones, others):
    for one, other in zip(ones, others, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("augmentation", [STILL, AugmentationOptions()], ids=["still", "augmented"])
def test_a_batch_is_grey_values_labels_and_weights(data, augmentation):
    training, validation = make_batches(data, PATCH, 3, augmentation=augmentation)
    for batches in (training, validation):
        for x, y, w in first(batches, 2):
            assert (x.shape[1:], x.dtype) == ((*PATCH, 1), np.float32)
            assert (y.shape, y.dtype) == (x.shape[:4], np.int32)
            assert (w.shape, w.dtype) == (x.shape[:4], np.float32)
            assert set(np.unique(y)) <= {0, 1} and set(np.unique(w)) <= {0, 1}
            assert w.any() and np.isfinite(x).all()
            assert not y[w == 0].any()
    assert [len(x) for x, _, _ in first(training, 4)] == [3] * 4


def test_the_training_has_no_end_and_the_validation_sees_every_label_once(data):
    training, validation = make_batches(data, (16, 16, 16), 1, augmentation=STILL)
    assert len(first(training, 9)) == 9
    ((x, y, w),) = first(validation, 9)
    # One patch is the whole volume that is held out, normalised.
    (held,) = [example for example in data.training if np.allclose(_normalised(example.image.array()), x[0], atol=1e-4)]
    label = held.label.array()[..., 0]
    np.testing.assert_array_equal(w[0], label != UNLABELLED)
    np.testing.assert_array_equal(y[0], np.where(label == 5, 1, 0))


def _normalised(image: np.ndarray) -> np.ndarray:
    return (image - image.mean()) / image.std()


def test_validation_volumes_that_were_given_are_those_validated_on(tmp_path):
    for seed, name in enumerate(("a.h5", "b.h5", "c.h5")):
        write_pair(tmp_path / name, seed)
    options = DataOptions(unlabelled=(UNLABELLED,))
    given = open_data([tmp_path / "a.h5", tmp_path / "b.h5"], val=tmp_path / "c.h5", options=options)
    _, validation = make_batches(given, (16, 16, 16), 1, augmentation=STILL)
    ((x, _, _),) = first(validation, 9)
    np.testing.assert_allclose(x[0, ..., 0], _normalised(tiny_volume(2)[0]), atol=1e-4)


def test_nothing_is_held_out_for_a_share_of_nothing(data):
    _, validation = make_batches(data, (16, 16, 16), 1, augmentation=STILL, validation_share=0)
    assert len(first(validation, 9)) == 2


def test_the_share_is_that_of_the_options_unless_it_is_given(tiny_data):
    options = DataOptions(unlabelled=(UNLABELLED,), validation_share=0)
    data = open_data(tiny_data, options=options)
    for share, count in ((None, 2), (0.5, 1)):
        _, validation = make_batches(data, (16, 16, 16), 1, augmentation=STILL, validation_share=share)
        assert len(first(validation, 9)) == count


def test_the_same_seed_makes_the_same_batches_whatever_the_workers(data):
    calls = [
        dict(seed=3, workers=1),
        dict(seed=3, workers=3),
        dict(seed=3, workers=2, memory=0),
        dict(seed=4, workers=1),
    ]
    one, other, unheld, another = (make_batches(data, PATCH, 2, **call) for call in calls)
    batches = first(one[0], 5)
    assert_same(batches, first(other[0], 5))
    assert_same(batches, first(unheld[0], 5))
    assert_same(first(one[1], 5), first(other[1], 5))
    assert any((a[0] != b[0]).any() for a, b in zip(batches, first(another[0], 5), strict=True))


@pytest.mark.parametrize("augment", [False, True])
def test_they_are_the_batches_of_fit(data, augment):
    options = dict(augment=augment, engine="native", deformation=1.0)
    plan = make_plan(data, tiny_settings(batch_size=2, seed=5, workers=2, **options))
    feed = make_feed(hold_out(read_sources(data.examples, data.table, 1.0), [], 0.2, 5), plan)
    training, _ = make_batches(data, (8, 8, 8), 2, augmentation=AugmentationOptions(**options), seed=5)
    assert_same(first(training, 4), first(feed.training(0), 4))


def test_the_output_may_be_smaller_than_the_patch(data):
    training, validation = make_batches(data, (12, 14, 16), 2, output=(4, 6, 8), augmentation=STILL)
    for batches in (training, validation):
        ((x, y, w),) = first(batches, 1)
        assert x.shape[1:] == (12, 14, 16, 1)
        assert y.shape[1:] == w.shape[1:] == (4, 6, 8)


def test_transforms_are_applied_to_the_training_alone(data):
    def brighter(x, y, w, rng):
        return x + 100, y, w

    training, validation = make_batches(data, PATCH, 2, augmentation=STILL, transforms=[brighter])
    ((x, _, _),), ((other, _, _),) = first(training, 1), first(validation, 1)
    assert x.min() > 50 > other.max()


def test_sampling_is_by_class_or_by_voxel(tmp_path):
    label = np.zeros((16, 16, 16), np.uint8)
    label[8:10, 8:10, 8:10] = 5
    write_pair(tmp_path / "a.h5", label=label)
    data = open_data(tmp_path)
    rare = {}
    for sampling in ("classes", "voxels"):
        training, _ = make_batches(data, (4, 4, 4), 20, augmentation=STILL, sampling=sampling, validation_share=0)
        ((_, y, _),) = first(training, 1)
        rare[sampling] = (y == 1).any(axis=(1, 2, 3)).mean()
    # Every class alike often: in every second patch and more. Every voxel: 8 of 4096 are of the rare class.
    assert rare["classes"] > 0.4 > 0.2 > rare["voxels"]


def test_a_loop_of_ones_own_learns(data):
    training, _ = make_batches(data, (8, 8, 8), 2)
    model = build_model(base_filters=2, depth=2, seed=0)
    loss, optimizer = SampleWeightedSparseCrossentropy(), keras.optimizers.Adam(0.02)
    losses = []
    for x, y, w in training.take(12):
        with tf.GradientTape() as tape:
            losses.append(loss(y, model(x, training=True), w))
        gradients = tape.gradient(losses[-1], model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_keras_own_fit_takes_them(data):
    training, validation = make_batches(data, (8, 8, 8), 2)
    model = build_model(base_filters=2, depth=2, seed=0)
    model.compile("adam", loss=SampleWeightedSparseCrossentropy())
    history = model.fit(training, validation_data=validation, epochs=2, steps_per_epoch=2, verbose=0).history
    assert set(history) == {"loss", "val_loss"} and np.isfinite([*history["loss"], *history["val_loss"]]).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(patch=(8, 8)), "patch: expected three whole numbers (z, y, x) of at least 1, found (8, 8)."),
        (dict(patch=(8, 8, 0)), "patch: expected three whole numbers (z, y, x) of at least 1, found (8, 8, 0)."),
        (dict(patch=(8, 8, 8.0)), "patch: expected three whole numbers (z, y, x) of at least 1, found (8, 8, 8.0)."),
        (dict(data="a.h5"), "data: expected a LabelledData, found a str; give what open_data returned."),
        (dict(augmentation=dict()), "augmentation: expected an AugmentationOptions, found a dict."),
        (dict(patch=None), "patch: expected three whole numbers (z, y, x), found None."),
        (dict(batch_size=None), "batch_size: expected a whole number, found None."),
        (dict(output=5), "output: expected three whole numbers (z, y, x), found 5."),
        (dict(seed=10**30), f"seed: expected a whole number of at most 4294967295, found {10**30}."),
        (dict(transforms=[3]), "transforms: expected a list of transforms, found 3 in it."),
        (dict(batch_size=0), "batch_size: expected a whole number of at least 1, found 0."),
        (dict(sampling="slices"), "sampling: expected one of classes, voxels; found 'slices'."),
        (dict(validation_share=1.0), "validation_share: expected a share of at least 0 and below 1, found 1.0."),
        (dict(seed=0.5), "seed: expected a whole number of at least 0, found 0.5."),
        (dict(workers=0), "workers: expected a whole number of at least 1, found 0."),
        (dict(memory=-1), "memory: expected a finite number of at least 0, found -1."),
        (
            dict(output=(8, 8)),
            "output: expected three whole numbers (z, y, x), found (8, 8).",
        ),
        (
            dict(output=(0, 8, 8)),
            "output: expected the patch (8, 8, 8) less the same number of voxels on both sides, found (0, 8, 8).",
        ),
        (
            dict(output=(10, 8, 8)),
            "output: expected the patch (8, 8, 8) less the same number of voxels on both sides, found (10, 8, 8).",
        ),
        (
            dict(output=(7, 8, 8)),
            "output: expected the patch (8, 8, 8) less the same number of voxels on both sides, found (7, 8, 8).",
        ),
        (
            dict(augmentation=AugmentationOptions(augment_on="device")),
            "augment_on: expected host, found device: the batches would not be x, y and w.",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_words(data, changes, said):
    with pytest.raises(InputError) as caught:
        make_batches(**{"data": data, "patch": (8, 8, 8)} | changes)
    assert str(caught.value) == said


def test_volumes_with_too_few_annotations_to_hold_some_out_are_refused(tmp_path):
    label = np.full((16, 16, 16), UNLABELLED, np.uint8)
    label[3, 3, 3:5] = 0, 5
    write_pair(tmp_path / "a.h5", label=label)
    data = open_data(tmp_path, options=DataOptions(unlabelled=(UNLABELLED,)))
    with pytest.raises(InputError, match="expected annotations that can be split into training and validation"):
        make_batches(data, (8, 8, 8))


def test_volumes_of_other_channels_are_refused(tmp_path):
    for name, channels in (("a", 1), ("b", 2)):
        write_pair(tmp_path / f"{name}.h5", raw=np.random.default_rng(0).normal(size=(16, 16, 16, channels)))
    data = open_data(tmp_path, options=DataOptions(unlabelled=(UNLABELLED,), axes="zyxc"))
    with pytest.raises(
        InputError, match=r"b\.h5:raw: expected 1 channels like .*a\.h5:raw, found 2; leave the file out"
    ):
        make_batches(data, (8, 8, 8))
