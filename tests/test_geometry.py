"""Sizes: what the integers say is what the network does."""

import numpy as np
import pytest

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Geometry
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.network.copies import logits_model
from keras_unet3d.network.unet import build


def test_the_papers_sizes():
    geometry = Architecture(padding="valid").geometry
    legal = [n for n in range(1, 150) if geometry.output_size(n, 0)]
    assert legal == [92, 100, 108, 116, 124, 132, 140, 148]
    assert [geometry.output_size(n, 0) for n in (132, 116, 92)] == [44, 28, 4]
    assert geometry.margin == (44, 44, 44)
    assert geometry.divisor == (8, 8, 8)
    assert [geometry.crop(level) for level in range(3)] == [(40,) * 3, (16,) * 3, (4,) * 3]


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_legal_sizes_are_those_that_the_network_takes(padding):
    architecture = Architecture(
        depth=3,
        base_filters=1,
        padding=padding,
        normalization="none",
        kernel_sizes=((1, 3, 5), (3, 3, 3), (3, 1, 3)),
        pool_sizes=((1, 2, 3), (2, 2, 2)),
    )
    geometry, model = architecture.geometry, build(architecture)
    fixed = [geometry.legal_at_least(1, axis) for axis in range(3)]
    for axis in range(3):
        for size in range(1, 60):
            shape = list(fixed)
            shape[axis] = size
            expected = geometry.output_size(size, axis)
            try:
                # "same" pooling drops what does not fit; the concatenation then finds sizes that differ.
                found = model.compute_output_shape((1, *shape, 1))[1 + axis]
                model_says = found if found and found > 0 else None
            except Exception:
                model_says = None
            if expected is not None:
                assert model_says == expected, (axis, size)
            elif padding == "same":
                assert size % geometry.divisor[axis], (axis, size)


def test_neighbouring_legal_sizes():
    geometry = Architecture(padding="valid").geometry
    assert geometry.legal_at_least(1, 0) == 92
    assert geometry.legal_at_least(93, 0) == geometry.legal_at_most(107, 0) == 100
    assert geometry.legal_at_most(91, 0) is None


def test_an_illegal_size_is_explained():
    with pytest.raises(
        InputError, match="patch: size 33 along x is illegal .* a multiple of 4; nearest legal: 32 or 36"
    ):
        Architecture(depth=3).geometry.check((32, 32, 33), "patch")


def test_open_sizes_are_legal():
    Architecture().geometry.check((None, None, None), "input_shape")


def test_crop_centres_the_skip_connection():
    # A valid network whose kernels pass their centre value on gives back the centre of its input.
    architecture = Architecture(base_filters=1, depth=2, num_classes=2, padding="valid", normalization="none")
    model = build(architecture)
    for layer in model.layers:
        if layer.name.startswith(("analysis", "synthesis", "up", "logits")) and layer.weights:
            kernel = np.zeros(layer.weights[0].shape, np.float32)
            centre = tuple(n // 2 for n in kernel.shape[:3])
            if layer.name != "up_0":
                kernel[(*centre, 0, 0)] = 1
            layer.set_weights([kernel, *(np.zeros(w.shape, np.float32) for w in layer.weights[1:])])
    image = np.random.default_rng(0).uniform(0.1, 1, size=(1, 24, 28, 32, 1)).astype(np.float32)
    margin = architecture.geometry.margin[0]
    output = np.asarray(logits_model(model)(image))[..., 0]
    np.testing.assert_allclose(output, image[:, margin:-margin, margin:-margin, margin:-margin, 0], atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        dict(depth=2),
        dict(depth=4),
        dict(depth=3, kernel_sizes=((1, 3, 3), (3, 5, 3), (3, 3, 3)), pool_sizes=((1, 2, 2), (3, 2, 2))),
        dict(depth=3, upsampling="interpolate", block="residual"),
    ],
)
def test_the_context_is_how_far_the_network_looks(options):
    architecture = Architecture(base_filters=1, normalization="none", output="logits", **options)
    geometry, model = architecture.geometry, build(architecture)
    for weight in model.weights:
        # Nothing is cut off by a ReLU, nothing cancels.
        weight.assign(np.full(weight.shape, 0.1 if "bias" in weight.path else 0.5))
    for axis in range(3):
        divisor, context = geometry.divisor[axis], geometry.context[axis]
        sizes = list(geometry.divisor)
        sizes[axis] = 2 * context + 5 * divisor
        block = slice(context + 2 * divisor, context + 3 * divisor)
        # One image per position, with a bright plane there.
        images = np.zeros((sizes[axis], *sizes, 1), np.float32)
        for position, image in enumerate(images):
            np.moveaxis(image, axis, 0)[position] = 1e6
        dark = np.asarray(model(np.zeros((1, *sizes, 1), np.float32)))
        change = np.moveaxis(np.abs(np.asarray(model.predict(images, verbose=0)) - dark), axis + 1, 1)[:, block]
        seen = np.flatnonzero(change.any(axis=(1, 2, 3, 4)))
        reach = block.start - seen[0]
        assert seen[-1] - (block.stop - 1) == reach
        assert context == -(-reach // divisor) * divisor


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((None, None, None), "kernel_sizes: expected a list of triples (z, y, x) of at least 1, found None."),
        ((((3, 3, 3),), (), "full"), "padding: expected one of same, valid; found 'full'."),
        (
            (((3, 3, 3),), ((2, 2, 2),), "same"),
            "pool_sizes: expected a triple (z, y, x) between every two of the 1 levels of `kernel_sizes`, found ((2, 2, 2),).",
        ),
        (
            (((3, 3, 3),) * 3, ((2, 2, 99),) * 2, "same"),
            "pool_sizes: expected to shrink a volume by a factor of at most 4096 in all, found 9801; take smaller ones, or a smaller `depth`.",
        ),
    ],
)
def test_what_is_no_geometry_is_refused(arguments, sentence):
    with pytest.raises(InputError) as caught:
        Geometry(*arguments)
    assert str(caught.value) == sentence


def test_the_sizes_of_every_level():
    padded = Geometry(((1, 3, 3), (3, 3, 3), (3, 3, 3)), ((1, 2, 2), (2, 2, 2)), "same")
    assert padded.sizes((4, 16, 24)) == [(4, 16, 24), (4, 8, 12), (2, 4, 6)]
    # The paper's, figure 2: two convolutions of 3 take 4 voxels of every level.
    unpadded = Geometry(((3, 3, 3),) * 4, ((2, 2, 2),) * 3, "valid")
    assert unpadded.sizes((132, 132, 116)) == [(132, 132, 116), (64, 64, 56), (30, 30, 26), (13, 13, 11)]
