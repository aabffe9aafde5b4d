"""Samples: reproducible, with labels, the same eagerly and inside tf.data."""

import threading
import time
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from keras_unet3d.augment.draw import AugmentSettings
from keras_unet3d.augment.layer import Augmentation
from keras_unet3d.datasets import Example
from keras_unet3d.labels import UNLABELLED, LabelTable
from keras_unet3d.patches import batches, samples
from keras_unet3d.patches.batches import Batching
from keras_unet3d.patches.holdout import hold_out
from keras_unet3d.patches.samples import PatchSettings, sample_origin, training_sample, validation_sample
from keras_unet3d.patches.source import Source, draw_voxel, index_labels, read_source
from keras_unet3d.volumes import from_array
from keras_unet3d.volumes.grey_values import measure

SHRINKING = AugmentSettings(scaling=(0.6, 0.7), rotation=30)


def a_source(shape=(30, 40, 44), weight=None, annotate=lambda classes: None):
    rng = np.random.default_rng(0)
    image = from_array(rng.normal(100, 20, size=(*shape, 2)).astype(np.float32), spacing=(2, 1, 1))
    classes = np.full(shape, UNLABELLED, np.uint8)
    classes[15] = rng.integers(0, 2, shape[1:])
    annotate(classes)
    volume = from_array(classes)
    weight = from_array(weight) if weight is not None else None
    return Source("test", image, volume, weight, measure(image), index_labels(volume, 2))


def settings(augment=None, patch=(16, 20, 24), output=None):
    return PatchSettings(patch, output or patch, augment=augment)


@pytest.mark.parametrize("augment", [None, AugmentSettings(), SHRINKING])
def test_every_sample_has_labels(augment):
    # One annotated slice, one voxel thick: nearest-neighbour resampling may miss it.
    source = a_source()
    for index in range(25):
        x, y, w = training_sample([source], settings(augment), 0, index)
        assert w.any()
        assert set(np.unique(w)) <= {0, 1}
        assert set(np.unique(y)) <= {0, 1}, "no value that is not a class"
        assert np.isfinite(x).all()


def hardly_annotated(shape, annotated, values, seed):
    """Return a source of which one slice, or one voxel, is annotated with some of the classes 0 to 9."""
    rng = np.random.default_rng(seed)
    classes = np.full(shape, UNLABELLED, np.uint8)
    if annotated == "voxel":
        classes[tuple(rng.integers(0, shape))] = values[0]
    else:
        axis = "zyx".index(annotated)
        plane = (slice(None),) * axis + (int(rng.integers(shape[axis])),)
        classes[plane] = rng.choice(values, classes[plane].shape)
    image = from_array(rng.normal(size=(*shape, 1)).astype(np.float32), spacing=(2, 1, 1))
    volume = from_array(classes)
    return Source("test", image, volume, None, measure(image), index_labels(volume, 10))


@given(
    shape=st.tuples(*[st.integers(3, 40)] * 3),
    patch=st.tuples(*[st.integers(2, 7)] * 3),
    inset=st.integers(0, 3),
    annotated=st.sampled_from(["z", "y", "x", "voxel"]),
    values=st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True),
    changes=st.sampled_from([AugmentSettings(), SHRINKING, AugmentSettings(rotation=90, deformation=12, flips=(0, 2))]),
    seed=st.integers(0, 10**6),
)
@examples(max_examples=60, deadline=None)
def test_no_sample_is_without_labels_and_none_has_a_class_that_the_volume_lacks(
    shape, patch, inset, annotated, values, changes, seed
):
    output = tuple(2 * size for size in patch)
    larger = tuple(size + 2 * inset for size in output)
    source = hardly_annotated(shape, annotated, values, seed)
    x, y, w = training_sample([source], PatchSettings(larger, output, augment=changes), seed, seed % 7)
    assert (x.shape, y.shape, w.shape) == ((*larger, 1), output, output)
    assert np.isfinite(x).all()
    assert (w > 0).any()
    assert set(np.unique(w)) <= {0, 1}
    assert set(np.unique(y[w > 0])) <= set(np.unique(source.classes.array())) - {UNLABELLED}
    assert (y[w == 0] == 0).all()


@pytest.mark.parametrize("sampling", ["classes", "voxels"])
def test_a_voxel_of_weight_0_is_never_in_the_middle_of_a_patch(sampling):
    # Everything is labelled; only class 1 at x < 4 and two voxels of class 0 have a weight.
    classes = np.zeros((16, 16, 40), np.uint8)
    classes[:, 8:] = 1
    weight = np.zeros(classes.shape, np.float32)
    weight[:, 8:, :4], weight[3, 3, 36:38] = 0.5, 0.5
    image = np.random.default_rng(0).normal(size=classes.shape).astype(np.float32)
    example = Example("test", *map(from_array, (image, classes, weight)))
    (source,) = hold_out([read_source(example, LabelTable((0, 1), ("a", "b")))], [], 0.0, 0).training
    assert source.index.per_class.tolist() == [2, 16 * 8 * 4]
    for index in range(60):
        drawn = tuple(draw_voxel(np.random.default_rng(index), source, sampling))
        assert weight[drawn] == 0.5
        _, _, w = training_sample([source], PatchSettings((8, 8, 8), (8, 8, 8), sampling=sampling), 0, index)
        assert set(np.unique(w)) == {0, 0.5}


def test_a_sample_without_augmentation_is_a_crop():
    source = a_source()
    x, y, w = training_sample([source], settings(), 3, 4)
    image = source.image.array()
    normalised = (image - image.mean(axis=(0, 1, 2))) / image.std(axis=(0, 1, 2))
    first = np.argwhere((abs(normalised - x[0, 0, 0]) < 1e-4).all(axis=-1))
    assert len(first) == 1
    box = tuple(slice(a, a + n) for a, n in zip(first[0], (16, 20, 24), strict=True))
    np.testing.assert_allclose(x, normalised[box], atol=1e-4)
    classes = source.classes.array()[..., 0][box]
    np.testing.assert_array_equal(w > 0, classes != UNLABELLED)
    np.testing.assert_array_equal(y[w > 0], classes[w > 0])


def test_valid_padding_takes_the_centre_of_the_labels():
    plain, valid = (
        training_sample([a_source((60, 60, 60))], settings(patch=p, output=o), 0, 0)
        for p, o in (((24,) * 3, (24,) * 3), ((32,) * 3, (24,) * 3))
    )
    np.testing.assert_array_equal(plain[1], valid[1])
    np.testing.assert_array_equal(plain[2], valid[2])
    np.testing.assert_allclose(plain[0], valid[0][4:-4, 4:-4, 4:-4], atol=1e-5)


def test_weights_multiply_and_unlabelled_stays_zero():
    weight = np.random.default_rng(0).uniform(0.5, 2, size=(30, 40, 44)).astype(np.float32)
    x, y, with_weight = training_sample([a_source(weight=weight)], settings(), 0, 1)
    _, _, without = training_sample([a_source()], settings(), 0, 1)
    np.testing.assert_array_equal(with_weight > 0, without > 0)
    assert set(np.round(np.unique(with_weight[with_weight > 0]), 5)) <= set(np.round(np.unique(weight), 5))
    assert x.dtype == with_weight.dtype == np.float32 and y.dtype == np.int32


def test_a_volume_smaller_than_the_patch_is_mirrored_and_unlabelled_around():
    classes = np.ones((6, 40, 44), np.uint8)
    image = from_array(np.random.default_rng(0).normal(size=(6, 40, 44, 1)).astype(np.float32))
    volume = from_array(classes)
    small = Source("small", image, volume, None, measure(image), index_labels(volume, 2))
    x, _, w = training_sample([small], settings(), 0, 0)
    np.testing.assert_array_equal(w.any(axis=(1, 2)), [False] * 5 + [True] * 6 + [False] * 5)
    np.testing.assert_array_equal(x[4], x[6])


def test_samples_depend_on_seed_and_index_only():
    source, s = a_source(), settings(AugmentSettings())
    np.random.seed(0)
    first = training_sample([source], s, 1, 2)
    np.random.seed(5)
    again = training_sample([source], s, 1, 2)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    for seed, index in ((1, 3), (2, 2)):
        assert not np.array_equal(first[0], training_sample([source], s, seed, index)[0])


BATCHES = pytest.mark.parametrize("made_by", ["tensorflow", "other"])


def taken(data, count):
    """Return the first batches of a `tf.data.Dataset` or a `PyDataset` as tuples of arrays."""
    if isinstance(data, keras.utils.PyDataset):
        return [data[index] for index in range(count)]
    return list(data.take(count).as_numpy_iterator())


@BATCHES
def test_chains_give_the_samples_in_order_for_any_number_of_workers(made_by, monkeypatch):
    monkeypatch.setattr(batches, "_backend", lambda: made_by)
    source, s = a_source(), settings(AugmentSettings())
    expected = [training_sample([source], s, 0, index) for index in range(6)]
    for workers in (1, 3):
        data = batches.training_batches([source], s, Batching(2, workers))
        for part, arrays in enumerate(zip(*taken(data, 3), strict=True)):
            np.testing.assert_array_equal(np.concatenate(arrays), np.stack([sample[part] for sample in expected]))


def test_tf_data_knows_the_shapes():
    data = batches.training_batches([a_source()], settings(AugmentSettings()), Batching(2, 1))
    assert [tuple(spec.shape) for spec in data.element_spec] == [
        (None, 16, 20, 24, 2),
        (None, 16, 20, 24),
        (None, 16, 20, 24),
    ]


def test_batches_without_tensorflow_can_be_asked_for_in_any_order(monkeypatch):
    monkeypatch.setattr(batches, "_backend", lambda: "other")
    data = batches.training_batches([a_source()], settings(AugmentSettings()), Batching(1, 2))
    assert data.num_batches is None
    in_turn = [data[index][0] for index in range(4)]
    for index in (2, 0, 3, 3):
        np.testing.assert_array_equal(data[index][0], in_turn[index])


@BATCHES
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_chain_begins_at_any_batch(made_by, accumulate, monkeypatch):
    monkeypatch.setattr(batches, "_backend", lambda: made_by)
    batching = Batching(2, 2, accumulate=accumulate)
    chain = partial(batches.training_batches, [a_source()], settings(AugmentSettings()), batching)
    whole = taken(chain(), 7)
    for first in (2, 3, 5):
        for expected, found in zip(whole[first:], taken(chain(first=first), 7 - first), strict=True):
            for a, b in zip(expected, found, strict=True):
                np.testing.assert_array_equal(a, b)


@BATCHES
def test_weights_of_batches_whose_gradients_are_added_have_one_sum(made_by, monkeypatch):
    monkeypatch.setattr(batches, "_backend", lambda: made_by)
    chain = partial(batches.training_batches, [a_source()], settings(AugmentSettings()))
    together = Batching(2, 2, accumulate=3, class_weights=(1.0, 2.0, 3.0))
    plain, shared = taken(chain(Batching(2, 2)), 6), taken(chain(together), 6)
    for group in (slice(0, 3), slice(3, 6)):
        total = sum(float((w * np.array([1.0, 2.0, 3.0])[y]).sum()) for _, y, w in plain[group])
        for (x, y, w), (same_x, same_y, scaled) in zip(plain[group], shared[group], strict=True):
            np.testing.assert_array_equal(x, same_x)
            np.testing.assert_array_equal(y, same_y)
            # The optimiser takes the mean over 3 batches.
            np.testing.assert_allclose(scaled, 3 * w / total, rtol=1e-5)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("first", [0, 2])
def test_parts_of_a_batch_are_the_batch(accumulate, first, monkeypatch):
    monkeypatch.setattr(batches, "_backend", lambda: "other")
    # The sum of weights is that over all processes, which there are none of here.
    monkeypatch.setattr(batches, "weights_of_sum", lambda *_: lambda batch: batch)
    whole = Batching(6, 2, seed=5, accumulate=accumulate)
    made = [
        batches.training_batches([a_source()], settings(), batching, first)
        for batching in (whole, *(replace(whole, part=part, parts=3) for part in range(3)))
    ]
    for number in range(4):
        expected, *parts = (chain[number] for chain in made)
        assert [len(part[0]) for part in parts] == [2, 2, 2]
        for array, rows in zip(expected, zip(*parts, strict=True), strict=True):
            assert np.array_equal(array, np.concatenate(rows))


def test_weights_of_nothing_labelled_stay_zero():
    scaled = batches.weights_of_sum(2.0, None)((np.ones(3), np.zeros(3, int), np.zeros(3, np.float32)))
    np.testing.assert_array_equal(scaled[2], 0)


@BATCHES
@pytest.mark.parametrize("weighted", [False, True])
def test_the_device_makes_the_samples_of_the_host(made_by, weighted, monkeypatch):
    monkeypatch.setattr(batches, "_backend", lambda: made_by)
    weight = np.random.default_rng(1).uniform(0.5, 2, (30, 40, 44)).astype(np.float32)
    # Of two volumes only one has weights; the others are 1.
    sources = [a_source(), a_source(weight=weight if weighted else None)]
    s = settings(AugmentSettings(blur_share=0.5), patch=(16, 20, 24), output=(12, 16, 20))
    host, device = (
        batches.training_batches(sources, replace(s, engine="native"), Batching(2, 2, on_device=on_device))
        for on_device in (False, True)
    )
    layer = Augmentation(inset=(2, 2, 2))
    for expected, regions in zip(taken(host, 4), taken(device, 4), strict=True):
        x, y, w = map(np.asarray, layer(regions))
        assert (x.dtype, y.dtype, w.dtype) == tuple(part.dtype for part in expected)
        np.testing.assert_allclose(x, expected[0], atol=1e-4)
        np.testing.assert_array_equal(y, expected[1])
        np.testing.assert_allclose(w, expected[2])


def test_the_layer_maps_a_tf_data_chain_and_survives_saving():
    s = replace(settings(AugmentSettings()), engine="native")
    host, device = (
        batches.training_batches([a_source()], s, Batching(1, 1, on_device=on_device)) for on_device in (False, True)
    )
    layer = Augmentation.from_config(Augmentation(inset=(0, 1, 2)).get_config())
    x, y, _ = next(iter(device.map(layer).take(1).as_numpy_iterator()))
    expected = next(iter(host.take(1).as_numpy_iterator()))
    np.testing.assert_allclose(x, expected[0], atol=1e-4)
    np.testing.assert_array_equal(y, expected[1][:, :, 1:-1, 2:-2])


@BATCHES
@pytest.mark.parametrize("slow", ["making", "taking"])
def test_waiting_is_what_the_taker_waits(made_by, slow, monkeypatch):
    waiting, pause = batches.Waiting(), 0.1

    def sample(index):
        time.sleep(pause if slow == "making" else 0)
        return (np.full(3, index),)

    monkeypatch.setattr(batches, "_backend", lambda: made_by)
    data = batches.batches(batches.Chain(sample, batches.stacked, 1, 1), waiting)
    taken = iter(data) if made_by == "tensorflow" else (data[index] for index in range(6))
    for _ in range(6):
        time.sleep(pause if slow == "taking" else 0)
        next(taken)
    # Of 0.6 seconds: nearly all of them, or nearly none.
    assert waiting.seconds > 0.4 if slow == "making" else waiting.seconds < 0.2


def test_validation_positions_cover_the_labels_and_only_those():
    source = a_source(annotate=lambda classes: classes.__setitem__((slice(None), slice(None), 0), 1))
    s = settings(patch=(16, 20, 24))
    positions = samples.validation_positions([source], s, most=100)
    seen = sum(samples.validation_sample([source], s, position)[2].sum() for position in positions)
    assert seen >= (source.classes.array() != UNLABELLED).sum()
    assert all(samples.validation_sample([source], s, position)[2].any() for position in positions)
    assert len(samples.validation_positions([source], s, most=3)) == 3


@BATCHES
def test_validation_batches_are_finite_and_repeat_themselves(made_by, monkeypatch):
    monkeypatch.setattr(batches, "_backend", lambda: made_by)
    source, s = a_source(), settings()
    positions = samples.validation_positions([source], s, most=3)
    data = batches.validation_batches([source], s, Batching(2, 2), positions)
    if made_by == "other":
        assert data.num_batches == 2
    first, second = (taken(data, 2) for _ in range(2))
    assert [len(batch[0]) for batch in first] == [2, 1]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a[0], b[0])


def test_says_where_a_sample_was_taken():
    source, s = a_source(), settings(AugmentSettings())
    name, start = sample_origin([source], s, 0, 3)
    assert name == source.name and len(start) == 3
    plain = settings(None)
    name, start = sample_origin([source], plain, 0, 3)
    x, _, _ = training_sample([source], plain, 0, 3)
    expected, _, _ = validation_sample([source], plain, (0, np.array(start)))
    np.testing.assert_array_equal(x, expected)


def test_the_end_waits_for_samples_under_way_and_has_no_more_made():
    under_way, begun, done = batches.UnderWay(), threading.Event(), []

    def make():
        with under_way.one():
            begun.set()
            time.sleep(0.2)
            done.append(True)

    thread = threading.Thread(target=make)
    thread.start()
    begun.wait()
    under_way.end()
    assert done
    thread.join()
    with pytest.raises(RuntimeError, match="nobody waits"), under_way.one():
        pass
