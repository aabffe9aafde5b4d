"""Tiles cover every voxel, meet the pooling grid, are legal, and cost what the drawing says."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Geometry
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.prediction.merging import Blend, Exact
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


def test_costs_by_hand():
    tiling = plan((2, 2, 70), SMALL, (2, 2, 32))
    assert tiling.count == 4
    assert tiling.recomputation == pytest.approx(4 * 2 * 2 * 32 / (2 * 2 * 70))
    assert block_size(plan((2, 2, 70), SMALL, (2, 2, 32), uniform=True)) == (2, 2, 16)


def test_valid_tiles_do_not_overlap():
    tiling = plan((4, 4, 20), VALID, (20, 20, 24))
    assert (tiling.output, tiling.margin) == ((4, 4, 8), (8, 8, 8))
    assert cuts(tiling) == [(0, 0, 8), (8, 8, 16), (12, 16, 20)]


merges = st.one_of(st.just(Exact()), st.builds(Blend, st.floats(0, 0.9)))


@given(shapes, geometries, merges, st.integers(1, 40**3), st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_voxel_is_decided_from_legal_tiles_on_the_pooling_grid(shape, geometry, merge, most, uniform):
    tiling = plan(shape, geometry, merge=merge, most_voxels=most, uniform=uniform)
    geometry.check(tiling.tile, "tile")
    for axis, size in enumerate(shape):
        covered = np.zeros(size)
        for cut in tiling.cuts[axis]:
            assert cut.start % geometry.divisor[axis] == 0
            assert cut.start <= cut.first < cut.stop <= min(size, cut.start + tiling.output[axis])
            covered[cut.first : cut.stop] += 1 if cut.weights is None else cut.weights
        np.testing.assert_allclose(covered, 1, atol=1e-6)


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


@given(shapes, geometries, st.sampled_from([Exact(), Blend()]))
@settings(max_examples=60, deadline=None)
def test_blocks_cover_the_volume_and_their_parts_decide_it_alone(shape, geometry, merge):
    tiling = plan(shape, geometry, merge=merge, most_voxels=30**3, uniform=True)
    covered = np.zeros(shape, int)
    assume(tiling.count < 200)
    for box in blocks(tiling):
        covered[box] += 1
        part = tiling.part(box)
        assert merge == Blend() or part.count == 1
        for axis, side in enumerate(box):
            within = np.zeros(shape[axis])
            for cut in part.cuts[axis]:
                within[cut.first : cut.stop] += 1 if cut.weights is None else cut.weights
            np.testing.assert_allclose(within[side], 1, atol=1e-6)
            assert within.sum() == pytest.approx(side.stop - side.start, abs=1e-4)
    assert (covered == 1).all()


@pytest.mark.parametrize("merge", [Exact(), Blend()], ids=["exact", "blend"])
def test_a_small_volume_is_one_tile(merge):
    tiling = plan((35, 50, 36), SAME, merge=merge)
    assert (tiling.count, tiling.tile) == (1, (36, 52, 36))


def test_more_memory_means_less_recomputation():
    factors = [plan((512,) * 3, SAME, most_voxels=side**3).recomputation for side in (96, 128, 200, 256, 512)]
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == 1
    assert factors[3] < 2


def test_an_illegal_tile_is_refused():
    with pytest.raises(InputError, match="tile: size 30 along y is illegal .* nearest legal: 28 or 32"):
        plan((40, 40, 40), SAME, tile=(32, 30, 32))


@pytest.mark.parametrize(
    "shape, merge, line",
    [
        ((2, 2, 32), Exact(), "1 tile of 2 x 2 x 32, every voxel computed 1.0 times"),
        ((2, 2, 70), Exact(), "4 tiles of 2 x 2 x 32, merged exactly, every voxel computed 1.8 times"),
        ((2, 2, 70), Blend(0.25), "3 tiles of 2 x 2 x 32, blended, every voxel computed 1.4 times"),
    ],
)
def test_a_tiling_is_told(shape, merge, line):
    assert plan(shape, SMALL, (2, 2, 32), merge=merge).in_words() == line
