"""What a fit chooses: by hand for typical volumes, legal for any."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_unet3d.network.architecture import Architecture
from keras_unet3d.workflows.fit.sizes import CPU_VOXELS, plan_levels, plan_patch


def architecture(shape, spacing, **options):
    kernels, pools = plan_levels(shape, spacing, options.get("depth", 3))
    return Architecture(kernel_sizes=kernels, pool_sizes=pools, **{"depth": 3} | options)


def test_cubic_voxels_are_pooled_alike():
    assert plan_levels((64, 64, 64), None, 3) == ([(3, 3, 3)] * 3, [(2, 2, 2)] * 2)


def test_long_voxels_wait_until_the_others_are_as_coarse():
    # 2 x 1 x 1 um: the first level convolves and pools y and x only; from then on voxels are cubes.
    assert plan_levels((40, 96, 96), (2.0, 1.0, 1.0), 3) == ([(1, 3, 3), (3, 3, 3), (3, 3, 3)], [(1, 2, 2), (2, 2, 2)])
    # 5 mm slices of 1 mm pixels: two levels, after which they are 5 x 4 x 4 mm.
    kernels, pools = plan_levels((30, 256, 256), (5.0, 1.0, 1.0), 4)
    assert kernels == [(1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3)]
    assert pools == [(1, 2, 2), (1, 2, 2), (2, 2, 2)]


def test_thin_stacks_keep_their_planes_and_a_single_plane_is_2d():
    assert plan_levels((5, 64, 64), None, 3)[1] == [(1, 2, 2), (1, 2, 2)]
    assert plan_levels((1, 64, 64), None, 3) == ([(1, 3, 3)] * 3, [(1, 2, 2)] * 2)


def test_a_small_volume_is_one_patch():
    geometry = architecture((35, 51, 36), None).geometry
    assert plan_patch((35, 51, 36), (1, 1, 1), geometry, CPU_VOXELS) == (36, 52, 36)


@given(
    st.tuples(*[st.integers(1, 600)] * 3),
    st.tuples(*[st.floats(0.1, 10)] * 3),
    st.sampled_from(["same", "valid"]),
    st.integers(1, 4),
)
@settings(max_examples=80, deadline=None)
def test_any_plan_is_legal_and_within_the_limit(shape, spacing, padding, depth):
    planned = architecture(shape, spacing, padding=padding, depth=depth)
    patch = plan_patch(shape, spacing, planned.geometry, CPU_VOXELS)
    planned.geometry.check(patch, "patch")
    output = [planned.geometry.output_size(size, axis) for axis, size in enumerate(patch)]
    assert np.prod(output) <= CPU_VOXELS
    assert all(o < n + d for o, n, d in zip(output, shape, planned.geometry.divisor, strict=True))


@pytest.mark.parametrize("spacing", [(3.0, 1.0, 1.0), (1.0, 1.0, 1.0)])
def test_a_cut_down_patch_is_near_a_cube_in_space(spacing):
    shape = (400, 400, 400)
    patch = plan_patch(shape, spacing, architecture(shape, spacing).geometry, CPU_VOXELS)
    extent = np.multiply(patch, spacing)
    assert extent.max() / extent.min() < 1.3
