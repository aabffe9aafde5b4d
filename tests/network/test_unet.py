"""The network: the paper's sizes and parameter count, every option, and what is refused."""

import keras
import numpy as np
import pytest

import keras_unet3d
from keras_unet3d.machine import precision
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.network.copies import float32_copy, folded_copy, logits_model
from keras_unet3d.network.unet import architecture_of, build


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def random_batch(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_paper_network():
    paper = dict(input_shape=(132, 132, 116, 3), num_classes=3, padding="valid")
    model = keras_unet3d.build_model(**paper)
    assert model.output_shape == (None, 44, 44, 28, 3)
    assert trainable(model) == 19_069_955 + 4_672
    assert trainable(keras_unet3d.build_model(**paper, normalization="none")) == 19_069_955


def test_paper_channels():
    model = keras_unet3d.build_model()
    analysis = [[model.get_layer(f"analysis_{level}_conv_{i}").filters for i in (0, 1)] for level in range(4)]
    assert analysis == [[32, 64], [64, 128], [128, 256], [256, 512]]
    assert [model.get_layer(f"up_{level}").filters for level in (2, 1, 0)] == [512, 256, 128]
    assert [model.get_layer(f"concat_{level}").output.shape[-1] for level in (2, 1, 0)] == [768, 384, 192]


def test_default_takes_any_legal_size():
    model = keras_unet3d.build_model(base_filters=2)
    for size in ((8, 16, 24), (40, 8, 32)):
        assert model(random_batch(1, *size, 1)).shape == (1, *size, 2)


def test_probabilities_sum_to_one_and_are_the_softmax_of_the_logits():
    model = keras_unet3d.build_model(base_filters=2, depth=2, num_classes=3, seed=0)
    batch = random_batch(2, 8, 8, 8, 1)
    probabilities, logits = model(batch), logits_model(model)(batch)
    np.testing.assert_allclose(np.sum(probabilities, axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(probabilities, keras.ops.softmax(logits, axis=-1), atol=1e-6)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("block", ["plain", "residual", "residual_se"])
@pytest.mark.parametrize("upsampling", ["transpose", "interpolate"])
def test_blocks_and_upsampling(padding, block, upsampling):
    options = dict(base_filters=2, depth=3, padding=padding, block=block, upsampling=upsampling)
    model = keras_unet3d.build_model(**options)
    geometry = Architecture(**options).geometry
    size = tuple(geometry.legal_at_least(44, axis) for axis in range(3))
    expected = tuple(geometry.output_size(n, axis) for axis, n in enumerate(size))
    output = model(random_batch(1, *size, 1))
    assert output.shape == (1, *expected, 2)
    assert np.isfinite(output).all()


@pytest.mark.parametrize("normalization", ["batch", "instance", "group", "none"])
def test_architecture_is_read_back_from_the_network(normalization):
    architecture = Architecture(
        input_shape=(None, 16, None, 2),
        num_classes=4,
        base_filters=3,
        depth=3,
        normalization=normalization,
        block="residual_se",
        kernel_sizes=((1, 3, 3), (3, 3, 3), (3, 5, 3)),
        pool_sizes=((1, 2, 2), (2, 2, 2)),
        upsampling="interpolate",
        dropout=0.25,
        l2=0.5,
        name="another",
    )
    assert architecture_of(build(architecture)) == architecture


@pytest.mark.parametrize("block", ["plain", "residual"])
@pytest.mark.parametrize("upsampling", ["transpose", "interpolate"])
def test_filters_per_level(block, upsampling):
    architecture = Architecture(filters=(3, 5, 4), depth=3, block=block, upsampling=upsampling)
    model = build(architecture)
    assert architecture_of(model) == architecture and architecture.base_filters == 3
    channels = {name: model.get_layer(name).filters for name in ("analysis_1_conv_0", "analysis_1_conv_1", "up_1")}
    assert channels == {"analysis_1_conv_0": 5, "analysis_1_conv_1": 5, "up_1": 5}
    assert model.get_layer("synthesis_0_conv_0").kernel.shape[3:] == (3 + 3, 3)
    assert Architecture(**architecture.config()) == architecture


def test_a_2d_network_is_a_case():
    model = keras_unet3d.build_model(
        base_filters=2, depth=3, kernel_sizes=[(1, 3, 3)] * 3, pool_sizes=[(1, 2, 2)] * 2, normalization="none"
    )
    volume = random_batch(1, 5, 16, 16, 1)
    together = np.asarray(model(volume))
    alone = np.concatenate([model(volume[:, z : z + 1]) for z in range(5)], axis=1)
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_pooling_of_the_bottom_level_may_be_given_or_left_out():
    short, long = (Architecture(depth=3, pool_sizes=[(1, 2, 2)] * n) for n in (2, 3))
    assert short == long


def test_instance_normalization_is_batch_normalization_with_current_statistics_at_batch_one():
    batch, instance = (
        keras_unet3d.build_model(base_filters=2, depth=2, normalization=kind, seed=1) for kind in ("batch", "instance")
    )
    volume = random_batch(1, 8, 8, 8, 1)
    np.testing.assert_allclose(batch(volume, training=True), instance(volume, training=False), atol=1e-5)


def test_seed_reproduces_the_weights_and_layers_differ():
    first, second, other = (keras_unet3d.build_model(base_filters=2, depth=2, seed=seed) for seed in (3, 3, 4))
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    kernel = "synthesis_0_conv_0", "synthesis_0_conv_1"
    assert not np.array_equal(first.get_layer(kernel[0]).kernel, other.get_layer(kernel[0]).kernel)
    same_shape = [w for w in first.get_weights() if w.shape == (3, 3, 3, 4, 4)]
    assert len(same_shape) >= 1
    assert not np.array_equal(first.get_layer("analysis_0_conv_0").kernel, first.get_layer("analysis_1_conv_0").kernel)


def test_l2_and_dropout_have_an_effect():
    model = keras_unet3d.build_model(base_filters=2, depth=2, l2=0.1, dropout=0.5, seed=0)
    squares = sum(float(np.square(w).sum()) for w in model.get_weights() if w.ndim == 5)
    assert float(sum(model.losses)) == pytest.approx(0.1 * squares, rel=1e-5)
    volume = random_batch(1, 8, 8, 8, 1)
    assert not np.allclose(model(volume, training=True), model(volume, training=False))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_output_is_float32_under_any_policy(policy):
    with precision.dtype_policy(policy):
        model = keras_unet3d.build_model(base_filters=2, depth=2)
    assert model.get_layer("analysis_0_conv_0").compute_dtype == policy.removeprefix("mixed_")
    assert model.output.dtype == model.get_layer("logits").output.dtype == "float32"


def test_float32_copy_of_a_mixed_network_computes_the_same():
    with precision.dtype_policy("mixed_bfloat16"):
        mixed = keras_unet3d.build_model(base_filters=2, depth=2, seed=0)
    copy = float32_copy(mixed)
    assert {layer.compute_dtype for layer in copy.layers} == {"float32"}
    for a, b in zip(mixed.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    volume = random_batch(1, 8, 8, 8, 1)
    np.testing.assert_allclose(mixed(volume), copy(volume), atol=0.03)  # bfloat16 has 8 bits
    assert float32_copy(copy) is copy


@pytest.mark.parametrize("block", ["plain", "residual_se"])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_folded_normalisation_computes_the_same(block, padding):
    model = keras_unet3d.build_model(base_filters=2, depth=2, seed=0, block=block, padding=padding)
    rng = np.random.default_rng(0)
    # Weights as after a training: no mean of 0, no variance of 1.
    model.set_weights([array + rng.uniform(0.1, 0.5, array.shape) for array in model.get_weights()])
    copy = folded_copy(model)
    assert not any("norm" in layer.name for layer in copy.layers)
    volume = random_batch(2, 20, 20, 20, 1)
    np.testing.assert_allclose(copy(volume), model(volume), atol=1e-5)
    assert folded_copy(copy) is copy


def test_saves_and_loads(tmp_path):
    model = keras_unet3d.build_model(base_filters=2, depth=2, seed=0, block="residual_se", dropout=0.1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    volume = random_batch(1, 8, 8, 8, 1)
    np.testing.assert_array_equal(model(volume), loaded(volume))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            dict(input_shape=(130, 132, 116, 1), padding="valid"),
            "130 along z .* at least 92 and 4 modulo 8; .* 124 or 132",
        ),
        (dict(input_shape=(32, 30, 32, 1)), "30 along y .* multiple of 8; nearest legal: 24 or 32"),
        (dict(input_shape=(32, 32, 4, 1)), "4 along x .* nearest legal: 8"),
        (dict(input_shape=(32, 32, 32)), r"input_shape: expected \(z, y, x, channels\)"),
        (dict(input_shape=(32, 32, 32, 0)), r"input_shape: expected \(z, y, x, channels\)"),
        (dict(num_classes=0), "num_classes: expected a whole number of at least 1, found 0"),
        (dict(filters=(8, 16)), r"filters: expected 4 whole numbers of at least 1, one per level; found \(8, 16\)"),
        (dict(base_filters=2.5), "base_filters: expected a whole number of at least 1, found 2.5"),
        (dict(depth=True), "depth: expected a whole number"),
        (dict(padding="full"), "padding: expected one of same, valid; found 'full'"),
        (dict(normalization="bach"), "normalization: expected one of .* Did you mean 'batch'"),
        (dict(block="dense"), "block: expected one of plain, residual, residual_se"),
        (dict(upsampling="bilinear"), "upsampling: expected one of transpose, interpolate"),
        (dict(output="softmax"), "output: expected one of probabilities, logits"),
        (dict(dropout=1.0), "dropout: expected a share from 0 to below 1, found 1.0"),
        (dict(l2=-1), "l2: expected a finite number of at least 0, found -1"),
        (dict(seed=-1), "seed: expected a whole number of at least 0"),
        (dict(kernel_sizes=[(3, 3, 3)]), "kernel_sizes: expected 4 triples"),
        (dict(kernel_sizes=[(2, 3, 3)] * 4), "kernel_sizes: expected odd sizes"),
        (
            dict(pool_sizes=[(2, 2)] * 3),
            r"pool_sizes: expected a list of triples \(z, y, x\) of at least 1, found \(\(2, 2\)",
        ),
        (dict(pool_sizes=[(2, 2, 2)] * 2), r"pool_sizes: expected 3 triples \(z, y, x\) of positive integers"),
        (dict(seed=2**32), "seed: expected a whole number of at most 4294967295, found 4294967296"),
        (dict(depth=40), "depth: expected a whole number of at most 12, found 40"),
        (dict(depth=12), "base_filters: expected at most 4096 channels on the lowest level, found 131072; take less"),
        (dict(num_classes=10**9), "num_classes: expected a whole number of at most 4096, found 1000000000"),
        (dict(input_shape=(8, 8, 8, 10**9)), "input_shape: expected at most 1000000 voxels along an axis, and 4096"),
        (
            dict(input_shape=(8, 8, 8 * 10**9, 1)),
            "input_shape: expected at most 1000000 voxels along an axis, and 4096",
        ),
        (
            dict(input_shape=(8, 8, 9, 1), padding="valid", depth=12, base_filters=1, kernel_sizes=[(63, 63, 63)] * 12),
            "input_shape: size 8 along z is illegal .* nearest legal: 761732",
        ),
        (dict(kernel_sizes=[(99, 3, 3)] * 4), "kernel_sizes: expected a list of triples .* of at most 63, found"),
        (dict(pool_sizes=[(2, 2, 10**9)] * 3), "pool_sizes: expected to shrink a volume by a factor of at most 4096"),
        (dict(l2=1e300), "l2: expected a finite number of at most 1000, found 1e"),
        (dict(input_shape=[8, 8, "8", 1]), r"input_shape: expected \(z, y, x, channels\)"),
        (dict(input_shape=None), "input_shape: expected a list, found None"),
    ],
)
def test_wrong_arguments_are_named(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        keras_unet3d.build_model(**arguments)


def test_computed_numbers_count_as_if_they_were_written():
    computed = keras_unet3d.build_model(
        np.array([8, 8, 8, 1]),
        num_classes=np.int64(3),
        base_filters=np.uint8(2),
        depth=np.array(2),
        dropout=np.float32(0.5),
    )
    assert computed.input_shape == (None, 8, 8, 8, 1) and computed.output_shape[-1] == 3


ELSEWHERE = {
    "groups before the convolutions": dict(
        base_filters=4, normalization="group", groups=4, order="norm-conv-relu", epsilon=1e-5
    ),
    "nearest": dict(filters=(4, 6, 16), first_filters=(2, 4, 8), upsampling="nearest"),
    "overlapping": dict(filters=(4, 8, 16), first_filters=(2, 4, 8), upsampling="overlapping", normalization="none"),
    "projected": dict(
        filters=(4, 8, 16), block="projected", upsampling="overlapping", joining="add", order="norm-conv-relu"
    ),
    "excited": dict(
        filters=(4, 8, 16), block="projected_scse", joining="add", normalization="instance", output="sigmoid"
    ),
}


@pytest.mark.parametrize("what", ELSEWHERE)
def test_options_of_networks_from_elsewhere_are_read_back_and_folded(what):
    architecture = Architecture(depth=3, **ELSEWHERE[what])
    model = build(architecture)
    assert architecture_of(model) == architecture
    volume = random_batch(1, 8, 8, 16, 1)
    np.testing.assert_allclose(model(volume), folded_copy(model)(volume), atol=1e-5)


def test_an_overlapping_up_convolution_reaches_one_voxel_further():
    plain, further = (Architecture(depth=2, filters=(2, 4), upsampling=how) for how in ("transpose", "overlapping"))
    assert further.geometry.context[0] > plain.geometry.context[0]


@pytest.mark.parametrize("kind, groups", [("group", 2), ("instance", None)])
def test_normalisation_is_exact_on_a_large_volume(kind, groups):
    # TensorFlow alone adds up voxel after voxel, and is several per cent off here.
    model = keras_unet3d.build_model(base_filters=4, depth=1, normalization=kind, groups=groups, epsilon=1e-5)
    part = keras.Model(model.get_layer("analysis_0_conv_1").output, model.get_layer("analysis_0_norm_1_last").output)
    x = np.maximum(random_batch(1, 32, 48, 48, 8), 0)
    voxels = x.astype(np.float64).reshape(-1, groups or 8, 8 // (groups or 8))
    mean, variance = voxels.mean(axis=(0, 2), keepdims=True), voxels.var(axis=(0, 2), keepdims=True)
    np.testing.assert_allclose(part(x), ((voxels - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape), atol=2e-5)


@pytest.mark.parametrize(
    "wrong, said",
    [
        (dict(normalization="group", groups=3, base_filters=4), "groups: expected a divisor of 4"),
        (dict(joining="add", upsampling="nearest"), "joining: expected concatenate"),
        (dict(first_filters=(2, 4)), "first_filters: expected 4 whole numbers"),
    ],
)
def test_options_that_do_not_go_together_are_refused(wrong, said):
    with pytest.raises(keras_unet3d.InputError, match=said):
        keras_unet3d.build_model(**wrong)
