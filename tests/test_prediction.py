"""Stitching: a whole pass as the oracle, volumes of any size, and what is refused."""

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_unet3d
from keras_unet3d import predict_volume
from keras_unet3d.errors import InputError
from keras_unet3d.intensity import measure
from keras_unet3d.labels import LabelTable
from keras_unet3d.model import architecture_of
from keras_unet3d.prediction import Predictor
from keras_unet3d.sampling import read_mirrored
from keras_unet3d.volumes import from_array

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def valid():
    return keras_unet3d.build_model(base_filters=2, depth=2, padding="valid", seed=0)


@pytest.fixture(scope="module")
def same():
    return keras_unet3d.build_model(base_filters=2, depth=2, seed=0)


def whole_pass(model, volume):
    """The slow oracle: mirror the volume to one legal size, one pass, cut out the volume."""
    geometry = architecture_of(model).geometry
    margin = geometry.margin
    size = [geometry.legal_at_least(n + 2 * margin[axis], axis) for axis, n in enumerate(volume.shape)]
    statistics = measure(from_array(volume))
    padded = np.pad(
        (volume - statistics.mean) / statistics.std,
        [(m, s - n - m) for m, s, n in zip(margin, size, volume.shape, strict=True)],
        mode="reflect",
    )
    output = np.asarray(model(padded[None, ..., None].astype(np.float32), training=False))[0]
    return output[tuple(slice(0, n) for n in volume.shape)]


@pytest.mark.parametrize("tile", [(24, 24, 24), (20, 28, 40), None])
def test_valid_tiles_equal_one_pass(valid, tile):
    volume = RANDOM.normal(size=(30, 41, 50)).astype(np.float32)
    tiled = predict_volume(valid, volume, output="probabilities", tile=tile)
    np.testing.assert_allclose(tiled, whole_pass(valid, volume), atol=1e-5)


def test_same_padding_in_one_tile_equals_one_pass(same):
    volume = RANDOM.normal(size=(13, 22, 31)).astype(np.float32)
    result = predict_volume(same, volume, output="probabilities")
    np.testing.assert_allclose(result, whole_pass(same, volume), atol=1e-5)


def test_same_padding_is_blended_without_a_seam():
    # A network of context 5: away from every tile's edge its output is exact, and the edges weigh least.
    blur = lambda batch: sum(np.roll(batch, shift, 3) for shift in (-2, -1, 0, 1, 2)) / 5  # noqa: E731
    volume = np.cumsum(RANDOM.normal(size=(4, 4, 200)), axis=2).astype(np.float32)
    tiled = predict_volume(blur, volume, output="probabilities", normalization="none", tile=(4, 4, 40), overlap=0.5)
    exact = sum(np.roll(volume, shift, 2) for shift in (-2, -1, 0, 1, 2)) / 5
    inside = slice(5, -5)
    wrong_at_edges = abs(volume[..., 39] - volume[..., 0]).max() / 5
    assert abs(tiled[..., inside, 0] - exact[..., inside]).max() < 0.02 * wrong_at_edges


@given(st.tuples(*[st.integers(1, 40)] * 3), st.tuples(*[st.integers(3, 24)] * 3), st.floats(0, 0.8), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_identity_is_reconstructed(shape, tile, overlap, channels):
    volume = np.random.default_rng(1).normal(size=(*shape, channels)).astype(np.float32)
    result = predict_volume(
        lambda batch: batch, volume, output="probabilities", normalization="none", tile=tile, overlap=overlap
    )
    np.testing.assert_allclose(result, volume, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 7), (1, 40, 40), (2, 3, 5), (33, 1, 17)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_volumes_smaller_than_a_tile_and_thin_stacks(same, valid, padding, shape):
    model = {"same": same, "valid": valid}[padding]
    labels = predict_volume(model, RANDOM.normal(size=shape))
    assert labels.shape == shape
    assert labels.dtype == np.uint8


def test_mirrored_borders_do_not_repeat_the_edge():
    volume = from_array(np.arange(5).reshape(1, 1, 5))
    row = read_mirrored(volume, (0, 0, -6), (1, 1, 17))[0, 0, :, 0]
    np.testing.assert_array_equal(row, np.pad(np.arange(5), 6, mode="reflect"))


def test_fixed_sizes_are_the_tile():
    model = keras_unet3d.build_model((16, 16, 16, 1), base_filters=2, depth=2, seed=0)
    assert predict_volume(model, RANDOM.normal(size=(20, 33, 9))).shape == (20, 33, 9)


def test_a_predictor_gives_raw_values_and_normalises():
    table = LabelTable((7, 40), ("inside", "outside"))
    bright = Predictor(
        lambda batch: np.concatenate([batch, -batch], -1), keras_unet3d.Architecture(depth=1).geometry, table=table
    )
    volume = np.full((4, 4, 4), 1000.0)
    volume[2:] = 3000.0
    labels = bright(volume)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.where(volume > 2000, 7, 40))
    np.testing.assert_array_equal(predict_volume(bright, volume), labels)


def test_file_to_file_keeps_the_geometry(same, tmp_path):
    affine = np.array([[-2.0, 0, 0, 10], [0, 0, 3, -5], [0, 1, 0, 7], [0, 0, 0, 1]])
    nibabel.save(
        nibabel.Nifti1Image(RANDOM.normal(size=(10, 12, 14)).astype(np.float32), affine), tmp_path / "a.nii.gz"
    )
    result = predict_volume(same, tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")
    written = nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(written.affine, affine)
    assert written.shape == (10, 12, 14)
    turned = nibabel.as_closest_canonical(written)
    np.testing.assert_array_equal(np.asarray(turned.dataobj).transpose(2, 1, 0), result)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (dict(volume=np.zeros((4, 4))), r"array: expected an array \(z, y, x\) or"),
        (dict(volume=np.ones((8, 8, 8))), "array: expected an image, found the constant value 1"),
        (
            dict(volume=np.full((8, 8, 8), np.nan)),
            "array: expected finite grey values, found NaN or infinity in 512 voxels",
        ),
        (dict(volume=RANDOM.normal(size=(8, 8, 8, 3))), "array: expected 1 channels, .*; found 3"),
        (dict(tile=(9, 8, 8)), "tile: size 9 along z is illegal .* multiple of 2"),
        (dict(output="label"), "output: expected one of labels, probabilities; found 'label'"),
        (dict(overlap=1), "overlap: expected a share"),
        (dict(out="x.tif"), "out: expected a volume file as input"),
        (dict(normalization="minmax"), "normalization: expected one of zscore, none; found 'minmax'"),
    ],
)
def test_bad_input_is_explained(same, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        predict_volume(same, **{"volume": RANDOM.normal(size=(8, 8, 8))} | arguments)


def test_logits_are_refused():
    model = keras_unet3d.build_model(base_filters=2, depth=2, output="logits")
    with pytest.raises(InputError, match="expected output='probabilities', found 'logits'"):
        predict_volume(model, RANDOM.normal(size=(8, 8, 8)))


def test_a_function_of_another_size_is_refused():
    with pytest.raises(InputError, match="network: expected an output of .* pass the network's geometry"):
        predict_volume(lambda batch: batch[:, 1:-1], RANDOM.normal(size=(8, 8, 8)))
