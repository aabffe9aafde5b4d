"""Tiles cover every voxel, meet the pooling grid, are legal, and cost what the drawing says."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Geometry
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.prediction.tiling import block_size, blocks, plan

SAME = Architecture(depth=3).geometry  # pooling 4, context 24
SMALL = Architecture(depth=2).geometry  # pooling 2, context 8
VALID = Architecture(depth=2, padding="valid").geometry  # pooling 2, margin 8
FLAT = Architecture(depth=2, kernel_sizes=((1, 3, 3),) * 2, pool_sizes=((1, 2, 2),)).geometry
FREE = Geometry(((1, 1, 1),), (), "same")

shapes = st.tuples(*[st.integers(1, 60)] * 3)
geometries = st.sampled_from([SAME, SMALL, VALID, FLAT, FREE])


def cuts(tiling, axis=2):
    return [(cut.start, cut.first, cut.stop) for cut in tiling.cuts[axis]]


def test_exact_cuts_by_hand():
    # Tiles of 32 keep 16 inside, and their whole half at the border of the volume.
    tiling = plan((2, 2, 70), SMALL, (2, 2, 32))
    assert cuts(tiling) == [(0, 0, 24), (16, 24, 40), (32, 40, 56), (38, 56, 70)]
    assert tiling.count == 4
    assert tiling.recomputation == pytest.approx(4 * 2 * 2 * 32 / (2 * 2 * 70))


def test_uniform_cuts_by_hand():
    tiling = plan((2, 2, 70), SMALL, (2, 2, 32), uniform=True)
    assert cuts(tiling) == [(0, 0, 16), (8, 16, 32), (24, 32, 48), (38, 48, 64), (38, 64, 70)]
    assert block_size(tiling) == (2, 2, 16)


def test_blended_cuts_by_hand():
    tiling = plan((1, 1, 40), SMALL, (2, 2, 16), merge="blend", overlap=0.25)
    assert cuts(tiling) == [(0, 0, 16), (12, 12, 28), (24, 24, 40)]  # 16 * 0.75
    assert cuts(tiling, axis=0) == [(0, 0, 1)]


def test_valid_tiles_do_not_overlap():
    tiling = plan((4, 4, 20), VALID, (20, 20, 24))
    assert (tiling.output, tiling.margin) == ((4, 4, 8), (8, 8, 8))
    assert cuts(tiling) == [(0, 0, 8), (8, 8, 16), (12, 16, 20)]


@given(shapes, geometries, st.sampled_from(["exact", "blend"]), st.floats(0, 0.9), st.integers(1, 40**3), st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_voxel_is_decided_from_legal_tiles_on_the_pooling_grid(shape, geometry, merge, overlap, most, uniform):
    tiling = plan(shape, geometry, merge=merge, overlap=overlap, most_voxels=most, uniform=uniform)
    geometry.check(tiling.tile, "tile")
    for axis, size in enumerate(shape):
        covered = np.zeros(size)
        for cut in tiling.cuts[axis]:
            assert cut.start % geometry.divisor[axis] == 0
            assert cut.start <= cut.first < cut.stop <= min(size, cut.start + tiling.output[axis])
            covered[cut.first : cut.stop] += 1 if cut.weights is None else cut.weights
        np.testing.assert_allclose(covered, 1, atol=1e-6)


@given(shapes, st.sampled_from([SAME, SMALL, FLAT]), st.integers(30**3, 60**3), st.booleans())
@settings(max_examples=60, deadline=None)
def test_an_exact_voxel_has_its_context_unless_there_is_none(shape, geometry, most, uniform):
    tiling = plan(shape, geometry, most_voxels=most, uniform=uniform)
    for axis, size in enumerate(shape):
        for cut in tiling.cuts[axis]:
            left, right = cut.first - cut.start, cut.start + tiling.tile[axis] - cut.stop
            assert cut.start == 0 or left >= geometry.context[axis]
            assert cut.start + tiling.tile[axis] >= size or right >= geometry.context[axis]


@given(shapes, geometries, st.integers(20**3, 60**3))
@settings(max_examples=60, deadline=None)
def test_the_chosen_exact_tile_is_the_best_that_is_small_enough(shape, geometry, most):
    tiling = plan(shape, geometry, most_voxels=most)
    if np.prod(tiling.tile) > most:
        return  # there is none that small
    for tile in ((24, 24, 24), (32, 32, 32), (40, 24, 32), (60, 60, 60)):
        tile = tuple(
            geometry.legal_at_least(min(t, n + 2 * m), a)
            for a, (t, n, m) in enumerate(zip(tile, shape, geometry.margin, strict=True))
        )
        try:
            other = plan(shape, geometry, tile)
        except InputError:
            continue
        assert np.prod(tile) > most or other.recomputation >= tiling.recomputation - 1e-9


@given(shapes, geometries, st.sampled_from(["exact", "blend"]))
@settings(max_examples=60, deadline=None)
def test_blocks_cover_the_volume_and_their_parts_decide_it_alone(shape, geometry, merge):
    tiling = plan(shape, geometry, merge=merge, most_voxels=30**3, uniform=True)
    covered = np.zeros(shape, int)
    assume(tiling.count < 200)
    for box in blocks(tiling):
        covered[box] += 1
        part = tiling.part(box)
        assert merge == "blend" or part.count == 1
        for axis, side in enumerate(box):
            within = np.zeros(shape[axis])
            for cut in part.cuts[axis]:
                within[cut.first : cut.stop] += 1 if cut.weights is None else cut.weights
            np.testing.assert_allclose(within[side], 1, atol=1e-6)
            assert within.sum() == pytest.approx(side.stop - side.start, abs=1e-4)
    assert (covered == 1).all()


@pytest.mark.parametrize("merge", ["exact", "blend"])
def test_a_small_volume_is_one_tile(merge):
    tiling = plan((35, 50, 36), SAME, merge=merge)
    assert (tiling.count, tiling.tile) == (1, (36, 52, 36))


def test_more_memory_means_less_recomputation():
    factors = [plan((512,) * 3, SAME, most_voxels=side**3).recomputation for side in (96, 128, 200, 256, 512)]
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == 1
    assert factors[3] < 2


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 2])
def test_an_impossible_overlap_is_refused(overlap):
    with pytest.raises(InputError, match="overlap: expected a share from 0 to below 1"):
        plan((9, 9, 9), SAME, overlap=overlap)


def test_an_unknown_merge_is_refused():
    with pytest.raises(InputError, match="merge: expected one of exact, blend; found 'best'"):
        plan((9, 9, 9), SAME, merge="best")


def test_an_illegal_tile_is_refused():
    with pytest.raises(InputError, match="tile: size 30 along y is illegal .* nearest legal: 28 or 32"):
        plan((40, 40, 40), SAME, tile=(32, 30, 32))


def test_a_tile_of_context_alone_is_refused():
    with pytest.raises(
        InputError, match="tile: expected at least 52 along z, found 48: .* take a larger tile, or --merge blend"
    ):
        plan((100, 20, 20), SAME, tile=(48, 20, 20))


def test_a_valid_tile_below_the_pooling_is_refused():
    geometry = Architecture(depth=3, padding="valid").geometry
    small = geometry.legal_at_least(1, 0)
    if geometry.output_size(small, 0) < geometry.divisor[0]:
        with pytest.raises(InputError, match="fewer than the network's pooling"):
            plan((50, 50, 50), geometry, (small,) * 3, merge="blend")
