"""Stitching: a whole pass as the oracle, volumes of any size, and what is refused."""

from dataclasses import replace

import ml_dtypes
import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_unet3d
from keras_unet3d import predict_volume
from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Geometry
from keras_unet3d.labels import LabelTable
from keras_unet3d.listener import Listener
from keras_unet3d.model_spec import untrained_spec
from keras_unet3d.network.unet import architecture_of
from keras_unet3d.patches.source import read_mirrored
from keras_unet3d.prediction.array_api import network_predictor
from keras_unet3d.prediction.memory import TileMemory
from keras_unet3d.prediction.merging import Blend, Exact
from keras_unet3d.prediction.predictor import Predictor
from keras_unet3d.prediction.tiling import blocks
from keras_unet3d.segments.cleaning import ClassCleaning, keep_largest
from keras_unet3d.settings import PredictSettings
from keras_unet3d.volumes import from_array, write_volume
from keras_unet3d.volumes.grey_values import measure

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def valid():
    return keras_unet3d.build_model(base_filters=2, depth=2, padding="valid", seed=0)


@pytest.fixture(scope="module")
def same():
    return keras_unet3d.build_model(base_filters=2, depth=2, seed=0)


def whole_pass(model, volume, least=(0, 0, 0)):
    """The slow oracle: mirror the volume to one legal size, one pass, cut out the volume.

    An axis that a tile asked for covers at once is as long as the tile, `least`.
    """
    geometry = architecture_of(model).geometry
    margin = geometry.margin
    size = [
        geometry.legal_at_least(max(n + 2 * m, length), axis)
        for axis, (n, m, length) in enumerate(zip(volume.shape, margin, least, strict=True))
    ]
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


NETWORKS = {
    "plain": dict(depth=2),
    "three levels": dict(depth=3),
    "residual": dict(depth=2, block="residual"),
    "interpolate": dict(depth=3, upsampling="interpolate"),
    "anisotropic": dict(depth=3, kernel_sizes=((1, 3, 3), (3, 5, 3), (3, 3, 3)), pool_sizes=((1, 2, 2), (3, 2, 2))),
    "valid": dict(depth=2, padding="valid"),
    "no normalisation": dict(depth=2, normalization="none"),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """A network whose normalisation has seen data, so that zero padding is not zero after it."""
    model = keras_unet3d.build_model(base_filters=2, seed=0, **NETWORKS[request.param])
    for layer in model.layers:
        if "_norm_" in layer.name and layer.weights:
            layer.set_weights([RANDOM.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return model


@given(data=st.data())
@settings(max_examples=4, deadline=None)
def test_exact_tiles_equal_one_pass_over_the_whole(network, data):
    geometry = architecture_of(network).geometry
    shape = data.draw(st.tuples(st.integers(1, 60), st.integers(1, 70), st.integers(40, 110)), "shape")
    least = [2 * (c + m) + d for c, m, d in zip(geometry.context, geometry.margin, geometry.divisor, strict=True)]
    tile = tuple(
        geometry.legal_at_least(data.draw(st.integers(size, size + 24), "tile"), axis)
        for axis, size in enumerate(least)
    )
    volume = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    tiled = predict_volume(
        network,
        volume,
        output="probabilities",
        tile=tile,
        merge="exact",
        batch_size=data.draw(st.integers(1, 3), "batch"),
    )
    whole = whole_pass(network, volume, tile)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_the_chosen_tiles_are_exact_too(same):
    volume = RANDOM.normal(size=(20, 90, 100)).astype(np.float32)
    predictor = replace(network_predictor(same), memory=TileMemory(1e6, held_before=0))
    settings = PredictSettings(max_ram="56G")
    tiling = predictor.tiling(volume.shape, settings)
    assert (tiling.merge, tiling.count > 4) == (Exact(), True)
    tiled = predictor.predict(from_array(volume), "probabilities", settings)
    np.testing.assert_allclose(tiled, whole_pass(same, volume), atol=1e-5)


def test_a_seam_is_there_without_context_and_gone_with_it(same):
    # The check of the checks: tiles that only touch differ from one pass by more than the exact ones may.
    volume = RANDOM.normal(size=(16, 16, 96)).astype(np.float32)
    whole = whole_pass(same, volume)
    apart = predict_volume(same, volume, output="probabilities", tile=(16, 16, 32), merge="blend", overlap=0)
    assert abs(apart - whole).max() > 1e-3


@pytest.mark.parametrize("batch_size", [2, 3, 100])
@pytest.mark.parametrize("merge", ["exact", "blend"])
def test_the_batch_size_changes_nothing(same, merge, batch_size):
    volume = RANDOM.normal(size=(18, 30, 60)).astype(np.float32)
    options = dict(output="probabilities", tile=(18, 24, 24), merge=merge)
    one = predict_volume(same, volume, **options)
    np.testing.assert_allclose(predict_volume(same, volume, batch_size=batch_size, **options), one, atol=1e-6)


@pytest.mark.parametrize("merge", ["exact", "blend"])
def test_parts_of_a_plan_are_the_whole(same, merge):
    volume = from_array(RANDOM.normal(size=(18, 40, 70)).astype(np.float32))
    predictor = network_predictor(same)
    settings = PredictSettings(tile=(18, 24, 24), merge=merge)
    tiling = predictor.tiling(volume.shape, settings, uniform=True)
    result = np.full((*volume.shape, 2), np.nan, np.float32)
    for box in blocks(tiling):
        for inner, values in predictor.boxes(volume, "probabilities", settings, tiling=tiling.part(box)):
            result[inner] = values
    np.testing.assert_allclose(result, predictor.predict(volume, "probabilities", settings), atol=1e-6)


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


def a_spec(table):
    """Return the spec of a network that takes any size and returns the same, of classes with these values."""
    return replace(untrained_spec(keras_unet3d.Architecture(depth=1)), labels=table)


def test_a_predictor_gives_raw_values_and_normalises():
    table = LabelTable((7, 40), ("inside", "outside"))
    bright = Predictor(lambda batch: np.concatenate([batch, -batch], -1), a_spec(table))
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
        (dict(tile=(8, 8)), r"tile: expected three whole numbers \(z, y, x\), found \(8, 8\)"),
        (dict(tile=(9, 8, 8)), "tile: size 9 along z is illegal .* multiple of 2"),
        (
            dict(output="label"),
            "output: expected one of labels, classes, masks, probabilities, logits, uncertainty; found 'label'",
        ),
        (dict(merge="best"), "merge: expected one of auto, exact, blend; found 'best'"),
        (dict(border="wrap"), "border: expected one of mirror, edge; found 'wrap'"),
        (dict(max_ram="lots"), "max_ram: expected an amount of memory like 4G or 500M, found 'lots'"),
        (dict(max_ram="1M"), "max_ram: expected at least .*G for 1 tile of .* voxels and this network, found 1M"),
        (dict(batch_size=0), "batch_size: expected a whole number of at least 1, found 0"),
        (dict(flips="xx"), "flips: expected some of the axes z, y and x, each once, like yx; found 'xx'"),
        (dict(output="logits", skip_below=0.0), "skip_below: expected none with logits"),
        (dict(overlap=1), "overlap: expected a share"),
        (dict(overlap=0.25, merge="exact"), "overlap: expected none with `merge=exact`, whose tiles do not overlap"),
        (dict(out="x.tif"), "out: expected a volume file as input"),
        (dict(normalization="minmax"), "normalization: expected one of zscore, sections, none; found 'minmax'"),
        (dict(volume=5), "volume: expected an array or a path, found 5"),
        (dict(volume=np.zeros((8, 8, 8), complex)), "array: expected grey values, real numbers; found complex128"),
        (dict(volume=np.zeros((8, 8, 8), object)), "array: expected grey values, real numbers; found object"),
        (dict(volume=np.zeros((8, 8, 8), "U1")), "array: expected grey values, real numbers; found <U1"),
        (
            dict(volume=np.zeros((8, 8, 8), "M8[s]")),
            r"array: expected grey values, real numbers; found datetime64\[s\]",
        ),
        (
            dict(volume=np.zeros((8, 8, 8), "m8[s]")),
            r"array: expected grey values, real numbers; found timedelta64\[s\]",
        ),
        (dict(output=["labels"]), r"output: expected a text, found \['labels'\]"),
        (dict(geometry="same"), "geometry: expected a Geometry, found 'same'"),
        (dict(key=5), "key: expected a text, found 5"),
        (dict(out=5), "out: expected a path, found 5"),
        (dict(model=int), "model: expected a network, a predictor or a function of batches, found the class int"),
        (dict(model={}), "model: expected a network, a predictor or a function of batches, found {}"),
        (
            dict(tile=(8, 8, 10**9)),
            r"tile: expected three whole numbers \(z, y, x\) of at most 1000000, found \(8, 8, 1000000000\)",
        ),
    ],
)
def test_bad_input_is_explained(same, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        predict_volume(**{"model": same, "volume": RANDOM.normal(size=(8, 8, 8))} | arguments)


@pytest.mark.parametrize("dtype", ["bool", "uint64", "float16", "longdouble", ml_dtypes.bfloat16])
def test_every_type_of_real_numbers_is_taken(dtype):
    volume = (RANDOM.normal(size=(4, 4, 4)) > 0).astype(dtype)
    predicted = predict_volume(
        lambda batch: batch, volume, output="probabilities", normalization="none", batch_size=np.int64(1)
    )
    np.testing.assert_array_equal(predicted[..., 0], volume)


def test_a_network_of_logits_predicts_as_the_same_one_of_probabilities():
    logits, probabilities = (
        keras_unet3d.build_model(base_filters=2, depth=2, seed=0, output=output)
        for output in ("logits", "probabilities")
    )
    volume = RANDOM.normal(size=(8, 8, 8))
    for output in ("probabilities", "logits", "labels"):
        expected = predict_volume(probabilities, volume, output=output)
        np.testing.assert_allclose(predict_volume(logits, volume, output=output), expected, rtol=1e-6)


def test_a_function_of_another_size_is_refused():
    with pytest.raises(InputError, match="network: expected an output of .* pass the network's geometry"):
        predict_volume(lambda batch: batch[:, 1:-1], RANDOM.normal(size=(8, 8, 8)))


def test_logits_of_a_plain_function_are_refused():
    with pytest.raises(
        InputError, match="output: expected one of what the network returns, probabilities; found 'logits'"
    ):
        predict_volume(lambda batch: batch, RANDOM.normal(size=(8, 8, 8)), output="logits")


@pytest.mark.parametrize(
    "options", [dict(normalization="instance"), dict(normalization="group"), dict(block="residual_se")]
)
def test_exact_merging_is_refused_where_it_cannot_be(options):
    model = keras_unet3d.build_model(base_filters=8, depth=2, **options)
    volume = RANDOM.normal(size=(8, 8, 8)).astype(np.float32)
    with pytest.raises(
        InputError, match="merge: expected blend or auto for this network, found exact: its normalisation"
    ):
        predict_volume(model, volume, merge="exact")
    assert network_predictor(model).tiling((40, 40, 99), PredictSettings(tile=(16, 16, 16))).merge == Blend(0.5)


def test_exact_merging_of_a_plain_function_is_refused():
    with pytest.raises(InputError, match="found exact: how far a plain function looks is not known"):
        predict_volume(lambda batch: batch, RANDOM.normal(size=(8, 8, 8)), merge="exact")


def test_auto_is_exact_unless_tiles_would_be_context_above_all(same):
    predictor = network_predictor(same)
    assert predictor.tiling((64, 64, 200), PredictSettings(tile=(64, 64, 64))).merge == Exact()
    assert predictor.tiling((64, 64, 200), PredictSettings(tile=(18, 18, 18))).merge == Blend(0.5)


def test_outputs_agree(same):
    volume = RANDOM.normal(size=(8, 10, 12)).astype(np.float32)
    found = {
        output: predict_volume(same, volume, output=output)
        for output in ("labels", "classes", "probabilities", "logits", "uncertainty")
    }
    np.testing.assert_array_equal(found["labels"], found["probabilities"].argmax(-1))
    np.testing.assert_array_equal(found["classes"], found["labels"])
    exponent = np.exp(found["logits"])
    np.testing.assert_allclose(exponent / exponent.sum(-1, keepdims=True), found["probabilities"], atol=1e-5)
    by_hand = -(found["probabilities"] * np.log(found["probabilities"])).sum(-1) / np.log(2)
    np.testing.assert_allclose(found["uncertainty"], by_hand, atol=1e-5)
    assert {output: values.dtype.name for output, values in found.items()} == {
        "labels": "uint8",
        "classes": "uint8",
        "probabilities": "float32",
        "logits": "float32",
        "uncertainty": "float32",
    }


class Counting:
    """A network that returns its input and another class, and counts what it is asked."""

    def __init__(self):
        self.tiles = 0

    def __call__(self, batch):
        self.tiles += len(batch)
        return np.concatenate([batch, 1 - batch], -1)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_constant_tile_is_computed_once(batch_size):
    volume = np.zeros((4, 4, 64), np.float32)
    volume[..., :8] = RANDOM.normal(size=(4, 4, 8))
    network = Counting()
    options = dict(tile=(4, 4, 8), overlap=0, normalization="none", batch_size=batch_size)
    result = predict_volume(network, volume, output="probabilities", **options)
    np.testing.assert_allclose(result[..., 0], volume, atol=1e-6)
    assert network.tiles <= 1 + batch_size  # of eight


def test_tiles_below_a_value_are_background():
    volume = RANDOM.uniform(0, 5, (4, 4, 64)).astype(np.float32)
    volume[..., 32:] += 100
    table = LabelTable((3, 9), ("cell", "background"))
    network = Counting()
    predictor = Predictor(network, a_spec(table), inexact="unknown")
    settings = PredictSettings(tile=(4, 4, 8), overlap=0, skip_below=5.0)
    labels = predictor.predict(from_array(volume), "labels", settings)
    assert (labels[..., :32] == 9).all()
    assert network.tiles == 1 + 4  # once for all of the background
    np.testing.assert_array_equal(labels[..., 32:], predictor.predict(from_array(volume))[..., 32:])


def test_views_are_averaged_by_hand():
    ramp = lambda batch: batch * np.arange(batch.shape[3])[:, None]  # noqa: E731
    volume = np.ones((2, 3, 3), np.float32) + np.arange(2)[:, None, None]
    options = dict(output="probabilities", normalization="none")
    np.testing.assert_allclose(predict_volume(ramp, volume, **options)[0, 0, :, 0], [0, 1, 2])
    # Seen from both sides every column weighs alike: (0 + 2) / 2.
    np.testing.assert_allclose(predict_volume(ramp, volume, flips="x", **options)[0, :, :, 0], 1)
    # Seen from four sides: the mean of x, y, 2 - x and 2 - y.
    np.testing.assert_allclose(predict_volume(ramp, volume, rotations=True, **options)[1, :, :, 0], 2)
    np.testing.assert_allclose(predict_volume(ramp, volume, flips="zyx", rotations=True, **options)[1, :, :, 0], 2)


def test_views_of_a_flipped_volume_are_the_flipped_views(same):
    volume = RANDOM.normal(size=(8, 12, 12)).astype(np.float32)
    options = dict(output="probabilities", flips="zyx", rotations=True)
    straight = predict_volume(same, volume, **options)
    for turned in (lambda a: a[::-1], lambda a: a[:, :, ::-1], lambda a: np.rot90(a, 1, (1, 2))):
        np.testing.assert_allclose(
            predict_volume(same, np.ascontiguousarray(turned(volume)), **options), turned(straight), atol=1e-5
        )


def test_views_do_not_undo_exactness(same):
    volume = RANDOM.normal(size=(12, 20, 80)).astype(np.float32)
    options = dict(output="probabilities", flips="yx")
    tiled = predict_volume(same, volume, tile=(12, 20, 24), merge="exact", **options)
    np.testing.assert_allclose(tiled, predict_volume(same, volume, **options), atol=1e-5)


def test_quarter_turns_need_alike_axes():
    model = keras_unet3d.build_model(base_filters=2, depth=2, kernel_sizes=((3, 3, 1), (3, 3, 3)))
    with pytest.raises(InputError, match=r"rotations: expected a network of the same kernels .* found \(3, 3, 1\)"):
        predict_volume(model, RANDOM.normal(size=(8, 8, 8)), rotations=True)


def test_the_border_is_chosen():
    volume = np.arange(5, dtype=np.float32).reshape(1, 1, 5)
    seen = []
    network = lambda batch: seen.append(batch[0, 0, 0, :, 0].tolist()) or batch  # noqa: E731
    geometry = Geometry(((1, 1, 1),) * 2, ((1, 1, 4),), "same")
    for border, row in (("mirror", [0, 1, 2, 3, 4, 3, 2, 1]), ("edge", [0, 1, 2, 3, 4, 4, 4, 4])):
        predict_volume(network, volume, geometry=geometry, normalization="none", border=border, output="probabilities")
        assert seen.pop() == row


def test_memory_decides_the_tile(same):
    predictor = replace(network_predictor(same), memory=TileMemory(1e5, held_before=0))
    few, many = PredictSettings(max_ram="3G"), PredictSettings(max_ram="60G")
    sizes = [np.prod(predictor.tiling((200, 200, 200), settings).tile) for settings in (few, many)]
    assert 20_000 < sizes[0] <= 3 * 2**30 / 1e5
    assert 450_000 < sizes[1] <= 60 * 2**30 / 1e5


def test_a_call_takes_no_more_tiles_than_there_are(same):
    """A batch larger than the volume's tiles must not make smaller, blended ones of them."""
    alone, many = PredictSettings(), PredictSettings(batch_size=100_000)
    predictor = network_predictor(same)
    assert predictor.tiling((40, 40, 40), many) == predictor.tiling((40, 40, 40), alone)
    # Of several, all that are asked for fit together.
    limited = replace(predictor, memory=TileMemory(1e5, held_before=0))
    tiling = limited.tiling((100, 100, 100), PredictSettings(max_ram="60G", batch_size=4096))
    assert limited.memory.of_tiles(tiling.tile, min(tiling.count, 4096)) <= 60 * 2**30


def test_what_is_not_merged_exactly_is_said(same):
    said = []
    predictor = replace(network_predictor(same), memory=TileMemory(1e6, held_before=0))
    volume = from_array(RANDOM.normal(size=(20, 90, 100)).astype(np.float32))
    predictor.boxes(volume, settings=PredictSettings(max_ram="10G"), listener=Listener(said.append))
    assert "blended" in said[0] and "exact tiles would be mostly context" in said[0]
    predictor.boxes(volume, settings=PredictSettings(max_ram="56G", overlap=0.6), listener=Listener(said.append))
    assert said[1:] == ["array: merged exactly, where `overlap` has no part; for blended tiles add `merge=blend`"]


def test_a_tile_that_no_memory_holds_is_refused(same):
    with pytest.raises(InputError, match=r"tile: expected room for 1 tile of 100000 x 100000 x 100000 voxels, .* GB"):
        network_predictor(same).tiling((8, 8, 8), PredictSettings(tile=(100_000,) * 3))


def test_an_output_that_is_no_number_is_refused():
    with pytest.raises(InputError, match="array: expected numbers from the network, found some that are none"):
        predict_volume(lambda batch: np.full((*batch.shape[:4], 2), np.nan), RANDOM.normal(size=(8, 8, 8)))


def test_a_file_is_not_written_over_unasked(same, tmp_path):
    write_volume(
        tmp_path / "a.h5", RANDOM.normal(size=(8, 8, 8)).astype(np.float32), from_array(np.zeros((8, 8, 8))), "raw"
    )
    with pytest.raises(InputError, match=r"a\.h5: expected an output that is not the input"):
        predict_volume(same, tmp_path / "a.h5", tmp_path / "a.h5", overwrite=True)
    predict_volume(same, tmp_path / "a.h5", tmp_path / "o.h5")
    with pytest.raises(InputError, match=r"o\.h5: the output exists already"):
        predict_volume(same, tmp_path / "a.h5", tmp_path / "o.h5")
    predict_volume(same, tmp_path / "a.h5", tmp_path / "o.h5", overwrite=True)


# ---- what was fitted after the training -----------------------------------------------------------


def test_a_temperature_divides_the_logits_and_changes_no_label(same):
    plain = network_predictor(same)
    warm = replace(plain, spec=replace(plain.spec, temperature=1.7))
    volume = from_array(RANDOM.normal(size=(9, 10, 11)).astype(np.float32))
    powers = np.exp(plain.predict(volume, "logits") / 1.7)
    probabilities = powers / powers.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(warm.predict(volume, "probabilities"), probabilities, atol=1e-5)
    assert warm.predict(volume, "probabilities").dtype == np.float32
    by_hand = -(probabilities * np.log(probabilities)).sum(axis=-1) / np.log(2)
    np.testing.assert_allclose(warm.predict(volume, "uncertainty"), by_hand, atol=1e-5)
    for output in ("labels", "classes", "logits"):
        np.testing.assert_array_equal(warm.predict(volume, output), plain.predict(volume, output))
    as_the_network = warm.uncalibrated.predict(volume, "probabilities")
    np.testing.assert_array_equal(as_the_network, plain.predict(volume, "probabilities"))


def thresholded(values=(4, 9)):
    """Return a predictor of two classes, above and below the mean, of which the second keeps its largest piece."""

    def network(batch):
        return np.concatenate([batch < 0, batch >= 0], axis=-1).astype(np.float32)

    table = LabelTable(values, ("lumen", "wall"))
    spec = replace(untrained_spec(architecture_of(keras_unet3d.build_model(base_filters=2, depth=1))), labels=table)
    return Predictor(network, replace(spec, cleaning=(ClassCleaning(value=9, keep_largest=True),)))


def test_labels_are_cleaned_as_the_model_says():
    array = np.zeros((6, 7, 8), np.float32)
    array[1:4, 1:4, 1:4] = array[5, 6, 7] = 10
    predictor, volume = thresholded(), from_array(array)
    uncleaned = np.where(array > 0, 9, 4)
    cleaned = keep_largest(uncleaned, background=4)
    assert (cleaned != uncleaned).sum() == 1
    np.testing.assert_array_equal(predictor(array), cleaned)
    np.testing.assert_array_equal(predictor.predict(volume, "classes"), cleaned == 9)
    np.testing.assert_array_equal(predictor.predict(volume, settings=PredictSettings(clean=False)), uncleaned)
    np.testing.assert_array_equal(predict_volume(predictor, array, clean=False), uncleaned)
    np.testing.assert_array_equal(predictor.predict(volume, "probabilities")[..., 1], uncleaned == 9)
    # Boxes of a volume are given as they are finished.
    assert all((values == uncleaned[box]).all() for box, values in predictor.boxes(volume))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"temperature": 0.0}, "temperature: expected a number above 0, found 0.0"),
        ({"cleaning": (ClassCleaning(value=1),)}, "cleaning: expected classes of 4 lumen, 9 wall, found 1"),
    ],
)
def test_what_cannot_be_of_a_model_is_refused(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        replace(thresholded().spec, **changes)


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda batch: batch.argmax(-1), r"expected probabilities \(batch, z, y, x, classes\) of a batch, found an array of shape \(1, 8, 8, 8\)"),
        (lambda batch: batch[..., :1], r"expected two classes or more, .*, found one; return \(1 - p, p\) in the place of p"),
    ],
)  # fmt: skip
def test_a_function_that_gives_no_probabilities_is_refused(function, sentence):
    image = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    with pytest.raises(InputError, match=sentence):
        predict_volume(function, image)
