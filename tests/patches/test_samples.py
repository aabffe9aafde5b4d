"""What a caller does to a sample: last, by the sample's own random numbers, and wherever it is made."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from helpers import says

from keras_unet3d.augment.draw import AugmentSettings, generator
from keras_unet3d.errors import InputError
from keras_unet3d.labels import UNLABELLED
from keras_unet3d.patches import batches
from keras_unet3d.patches.batches import Batching
from keras_unet3d.patches.samples import (
    PatchSettings,
    sample_origin,
    training_sample,
    transformed,
    validation_positions,
    validation_sample,
)
from keras_unet3d.patches.source import Source, index_labels
from keras_unet3d.volumes import from_array
from keras_unet3d.volumes.grey_values import measure

PATCH, OUTPUT = (12, 16, 20), (8, 12, 16)


@pytest.fixture(scope="module")
def sources():
    rng = np.random.default_rng(0)
    image = from_array(rng.normal(100, 20, (20, 30, 34, 2)).astype(np.float32), spacing=(2, 1, 1))
    classes = np.full((20, 30, 34), UNLABELLED, np.uint8)
    classes[10] = rng.integers(0, 2, (30, 34))
    volume = from_array(classes)
    return [Source("test", image, volume, None, measure(image), index_labels(volume, 2))]


def settings(*transforms, augment=AugmentSettings()):
    return PatchSettings(PATCH, OUTPUT, augment=augment, engine="native", transforms=transforms)


def noisy(x, y, w, rng):
    return x + rng.normal(size=x.shape).astype(np.float32), y, w * np.float32(rng.uniform(0.5, 1))


def doubled(x, y, w, rng):
    return 2 * x, 1 - y, w


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    return True


@pytest.mark.parametrize("augment", [None, AugmentSettings()])
def test_a_transform_is_applied_last(sources, augment):
    seen = []

    def look(x, y, w, rng):
        seen.append((x.copy(), y.copy(), w.copy()))
        return doubled(x, y, w, rng)

    plain = training_sample(sources, settings(augment=augment), 3, 5)
    x, y, w = training_sample(sources, settings(look, augment=augment), 3, 5)
    # It is given what the network would have been: normalised, augmented, cut to the output, weight 0 where unlabelled.
    (given,) = seen
    assert same(given, plain)
    assert (given[0].shape, given[1].shape, given[2].shape) == ((*PATCH, 2), OUTPUT, OUTPUT)
    assert [array.dtype for array in given] == [np.float32, np.int32, np.float32]
    assert same((x, y, w), (2 * plain[0], 1 - plain[1], plain[2]))


def test_several_are_applied_one_after_the_other(sources):
    plain = training_sample(sources, settings(), 0, 0)
    rng = generator(0, 0, 2**20)
    expected = noisy(*doubled(*plain, rng), rng)
    assert same(training_sample(sources, settings(doubled, noisy), 0, 0), expected)
    turned = training_sample(sources, settings(noisy, doubled), 0, 0)
    assert not np.array_equal(turned[0], expected[0])


def test_random_numbers_of_transforms_are_of_seed_and_index_alone(sources):
    first = training_sample(sources, settings(noisy), 1, 2)
    np.random.seed(0)
    assert same(training_sample(sources, settings(noisy), 1, 2), first)
    # Nothing that is drawn before moves them: patches that are not augmented get the same noise.
    noise = [
        training_sample(sources, settings(noisy, augment=a), 1, 2)[0]
        - training_sample(sources, settings(augment=a), 1, 2)[0]
        for a in (None, AugmentSettings())
    ]
    np.testing.assert_allclose(noise[0], noise[1], atol=1e-5)
    for seed, index in ((1, 3), (2, 2)):
        other = training_sample(sources, settings(noisy), seed, index)[0]
        plain = training_sample(sources, settings(), seed, index)[0]
        assert abs((other - plain) - noise[1]).max() > 0.1


def test_a_transform_does_not_move_the_sample(sources):
    def drawing(x, y, w, rng):
        rng.random(1000)
        return x, y, w

    for index in range(4):
        assert same(
            training_sample(sources, settings(drawing), 0, index), training_sample(sources, settings(), 0, index)
        )
        assert sample_origin(sources, settings(drawing), 0, index) == sample_origin(sources, settings(), 0, index)


def taken(data, count):
    """Return the first batches of a `tf.data.Dataset` or a `PyDataset` as tuples of arrays."""
    if isinstance(data, keras.utils.PyDataset):
        return [data[index] for index in range(count)]
    return list(data.take(count).as_numpy_iterator())


@pytest.mark.parametrize("made_by", ["tensorflow", "other"])
@pytest.mark.parametrize("workers", [1, 3])
def test_chains_hold_the_same_samples_for_any_number_of_workers(sources, made_by, workers, monkeypatch):
    monkeypatch.setattr(batches, "_backend", lambda: made_by)
    expected = [training_sample(sources, settings(noisy, doubled), 7, index) for index in range(6)]
    data = batches.training_batches(sources, settings(noisy, doubled), Batching(2, workers, seed=7))
    for part, arrays in enumerate(zip(*taken(data, 3), strict=True)):
        np.testing.assert_array_equal(np.concatenate(arrays), np.stack([sample[part] for sample in expected]))


def test_other_types_become_those_of_the_sample(sources):
    def other_types(x, y, w, rng):
        return x.astype(np.float64), y.astype(np.int64).tolist(), w > 0

    plain = training_sample(sources, settings(), 0, 0)
    assert same(training_sample(sources, settings(other_types), 0, 0), plain)


def cropped(x, y, w, rng):
    return x[:-1], y, w


@pytest.mark.parametrize(
    "transform, found",
    [
        (cropped, "[(11, 16, 20, 2), (8, 12, 16), (8, 12, 16)]"),
        (lambda x, y, w, rng: (x, w), "[(12, 16, 20, 2), (8, 12, 16)]"),
        (lambda x, y, w, rng: (x, y, w, w), "[(12, 16, 20, 2), (8, 12, 16), (8, 12, 16), (8, 12, 16)]"),
        (lambda x, y, w, rng: (x[..., 0], y, w), "[(12, 16, 20), (8, 12, 16), (8, 12, 16)]"),
        (lambda x, y, w, rng: (x, y, 1.0), "[(12, 16, 20, 2), (8, 12, 16), ()]"),
        (lambda x, y, w, rng: None, "None"),
    ],
    ids=["cropped", "two", "four", "no channels", "a number", "nothing"],
)
def test_other_shapes_are_refused_in_one_sentence(sources, transform, found):
    words = (
        f"expected {transform.__name__} to return x, y and w of shapes",
        "(12, 16, 20, 2), (8, 12, 16), (8, 12, 16);",
    )
    with pytest.raises(InputError, match=says("transforms: ", *words, f"found {found}.")) as caught:
        training_sample(sources, settings(doubled, transform), 0, 0)
    assert "\n" not in str(caught.value)


def test_a_transform_may_be_any_callable(sources):
    class Brighter:
        def __init__(self, by):
            self.by = by

        def __call__(self, x, y, w, rng):
            return x + np.float32(self.by), y, w

        def __repr__(self):
            return f"Brighter({self.by})"

    x, y, w = training_sample(sources, settings(), 0, 0)
    assert same(training_sample(sources, settings(Brighter(1)), 0, 0), (x + 1, y, w))
    sample = (x, y, w)
    assert same(transformed(sample, [Brighter(1), Brighter(2)], generator(0, 0)), (x + 1 + 2, y, w))
    with pytest.raises(InputError, match=says("transforms: expected Brighter(1) to return x, y and w")):
        transformed(
            (x, y, w), [lambda *sample: sample[:3], type("B", (Brighter,), {"__call__": lambda *_: 5})(1)], None
        )


def test_patches_for_validation_are_not_transformed(sources):
    (position,) = validation_positions(sources, settings(), most=1)
    assert same(validation_sample(sources, settings(noisy), position), validation_sample(sources, settings(), position))


@pytest.mark.parametrize("padding", [(0, 0, 0), (2, 4, 6)])
def test_the_inset_is_what_the_output_lacks_on_each_side(padding):
    patch = tuple(size + 2 * inset for size, inset in zip(OUTPUT, padding, strict=True))
    assert replace(settings(), patch=patch).inset == padding
