"""Tiles cover every voxel, meet the pooling grid, and are legal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_unet3d.architecture import Architecture
from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Geometry
from keras_unet3d.tiling import largest_tile, plan

SAME = Architecture(depth=3).geometry
VALID = Architecture(depth=2, padding="valid").geometry
FREE = Geometry(((1, 1, 1),), (), "same")

shapes = st.tuples(*[st.integers(1, 60)] * 3)


def test_a_row_of_tiles_by_hand():
    tiling = plan((1, 1, 40), SAME, tile=(4, 4, 16), overlap=0.25)
    assert tiling.stride == (4, 4, 12)  # 16 * 0.75, a multiple of the pooling of 4
    assert [start[2] for start in tiling.starts()] == [0, 12, 24]
    assert tiling.count == 3


def test_valid_tiles_do_not_overlap():
    tiling = plan((4, 4, 20), VALID, tile=(20, 20, 24), overlap=0.5)
    assert (tiling.output, tiling.margin, tiling.stride) == ((4, 4, 8), (8, 8, 8), (4, 4, 8))
    assert [start[2] for start in tiling.starts()] == [0, 8, 16]


@given(shapes, st.sampled_from([SAME, VALID, FREE]), st.floats(0, 0.9), st.tuples(*[st.integers(20, 50)] * 3))
@settings(max_examples=60, deadline=None)
def test_every_voxel_is_covered_from_a_legal_tile_on_the_pooling_grid(shape, geometry, overlap, wish):
    tile = tuple(geometry.legal_at_least(size, axis) for axis, size in enumerate(wish))
    tiling = plan(shape, geometry, tile, overlap)
    covered = np.zeros(shape, int)
    starts = list(tiling.starts())
    assert len(starts) == tiling.count
    for start in starts:
        assert all(s % d == 0 for s, d in zip(start, geometry.divisor, strict=True))
        assert all(s < n for s, n in zip(start, shape, strict=True)), "a tile outside the volume"
        covered[tuple(slice(s, s + o) for s, o in zip(start, tiling.output, strict=True))] += 1
    assert covered.min() >= 1


@given(shapes, st.sampled_from([SAME, VALID]), st.integers(20**3, 60**3))
@settings(max_examples=40, deadline=None)
def test_the_chosen_tile_is_legal_and_small_enough_or_as_small_as_it_gets(shape, geometry, most):
    tile = largest_tile(shape, geometry, most)
    geometry.check(tile, "tile")
    outputs = [geometry.output_size(size, axis) for axis, size in enumerate(tile)]
    assert np.prod(tile) <= most or max(outputs) < 8 * max(geometry.divisor)


def test_a_small_volume_is_one_tile():
    tiling = plan((35, 50, 36), SAME)
    assert (tiling.count, tiling.tile) == (1, (36, 52, 36))


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 2])
def test_an_impossible_overlap_is_refused(overlap):
    with pytest.raises(InputError, match="overlap: expected a share from 0 to below 1"):
        plan((9, 9, 9), SAME, overlap=overlap)


def test_an_illegal_tile_is_refused():
    with pytest.raises(InputError, match="tile: size 30 along y is illegal .* nearest legal: 28 or 32"):
        plan((40, 40, 40), SAME, tile=(32, 30, 32))
