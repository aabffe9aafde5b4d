"""The two ways to make a volume of tiles, by hand: which voxels a tile decides, and what becomes of the answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Geometry
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.prediction.merging import Blend, Cut, Exact
from keras_unet3d.prediction.tiling import plan
from keras_unet3d.settings import PredictSettings

SAME = Architecture(depth=3).geometry  # pooling 4, context 24
SMALL = Architecture(depth=2).geometry  # pooling 2, context 8
FLAT = Architecture(depth=2, kernel_sizes=((1, 3, 3),) * 2, pool_sizes=((1, 2, 2),)).geometry
FREE = Geometry(((1, 1, 1),), (), "same")


def cuts(merge, size, tile, geometry=SMALL, uniform=False):
    """Return the tiles along an axis as (start, first, stop)."""
    return [(cut.start, cut.first, cut.stop) for cut in merge.cuts(size, tile, geometry, 2, uniform)]


def answers(tiling, output):
    """Return every tile with what `output` says of it, a number or an array `(z, y, x, classes)`."""
    return [(tile, np.broadcast_to(output(tile), (*tiling.output, 1)).astype(np.float32)) for tile in tiling.tiles()]


def whole(shape, boxes):
    """Return the boxes as one array; assert that they hold every voxel once."""
    result, times = np.full((*shape, 1), np.nan, np.float32), np.zeros(shape, int)
    for box, values in boxes:
        assert values.shape[:3] == tuple(side.stop - side.start for side in box)
        result[box] = values
        times[box] += 1
    assert (times == 1).all()
    return result


# ---- which voxels a tile decides -----------------------------------------------------------------


def test_exact_cuts_by_hand():
    # Tiles of 32 keep 16 inside, and their whole half at the border of the volume.
    assert cuts(Exact(), 70, 32) == [(0, 0, 24), (16, 24, 40), (32, 40, 56), (38, 56, 70)]


def test_uniform_cuts_by_hand():
    assert cuts(Exact(), 70, 32, uniform=True) == [(0, 0, 16), (8, 16, 32), (24, 32, 48), (38, 48, 64), (38, 64, 70)]


def test_blended_cuts_by_hand():
    assert cuts(Blend(0.25), 40, 16) == [(0, 0, 16), (12, 12, 28), (24, 24, 40)]  # 16 * 0.75
    assert cuts(Blend(0.25), 1, 2) == [(0, 0, 1)]


@pytest.mark.parametrize("merge", [Exact(), Blend()])
def test_a_tile_that_holds_the_axis_decides_it_alone(merge):
    (cut,) = merge.cuts(31, 32, SMALL, 2, False)
    assert (cut.start, cut.first, cut.stop, cut.weights) == (0, 0, 31, None)


def test_weights_are_largest_in_the_middle_and_add_up_to_one():
    first, second = Blend(0.5).cuts(24, 16, SMALL, 2, False)
    assert (first.start, second.start) == (0, 8)
    # Alone on the first and last 8, where the bell is divided by itself.
    np.testing.assert_allclose(first.weights[:8], 1)
    np.testing.assert_allclose(second.weights[8:], 1)
    np.testing.assert_allclose(first.weights[8:] + second.weights[:8], 1)
    assert (np.diff(first.weights[8:]) < 0).all()
    # The Gaussians, of a deviation of 2, stand at 7.5 and 15.5: in voxel 11 4 and 4 are 3.5 and 4.5 away.
    near, far = np.exp(-0.5 * (3.5 / 2) ** 2), np.exp(-0.5 * (4.5 / 2) ** 2)
    assert first.weights[11] == pytest.approx(near / (near + far), rel=1e-5)


def test_a_cut_is_cut():
    cut = Cut(0, 2, 6, np.arange(4))
    assert cut.within(0, 9) == cut
    inner = cut.within(3, 5)
    assert (inner.start, inner.first, inner.stop, inner.weights.tolist()) == (0, 3, 5, [1, 2])
    assert Cut(0, 2, 6).within(4, 9) == Cut(0, 4, 6)
    assert cut.within(6, 9) is cut.within(0, 2) is None


@pytest.mark.parametrize("merge", [Exact(), Blend(0.0)])
@pytest.mark.parametrize("geometry", [SMALL, FLAT, FREE], ids=["small", "flat", "free"])
def test_of_the_tiles_that_are_asked_for_no_more_are_needed(merge, geometry):
    for size, count in ((70, 2), (70, 3), (200, 5)):
        divisor = geometry.divisor[2]
        tile = -(-merge.output_of(size, count, geometry, 2) // divisor) * divisor
        assert len(cuts(merge, size, tile, geometry)) <= count


def test_the_output_of_a_tile_by_hand():
    # Both context of the ends, and a third of the rest; or the first tile, and twice what the others add.
    assert Exact().output_of(70, 3, SMALL, 2) == 16 + 18
    assert Blend(0.5).output_of(70, 3, SMALL, 2) == 35
    assert Blend(0.75).output_of(70, 3, SMALL, 2) == 47


shapes = st.tuples(*[st.integers(1, 60)] * 3)


@given(shapes, st.sampled_from([SAME, SMALL, FLAT]), st.integers(30**3, 60**3), st.booleans())
@settings(max_examples=60, deadline=None)
def test_an_exact_voxel_has_its_context_unless_there_is_none(shape, geometry, most, uniform):
    tiling = plan(shape, geometry, most_voxels=most, uniform=uniform)
    for axis, size in enumerate(shape):
        for cut in tiling.cuts[axis]:
            left, right = cut.first - cut.start, cut.start + tiling.tile[axis] - cut.stop
            assert cut.start == 0 or left >= geometry.context[axis]
            assert cut.start + tiling.tile[axis] >= size or right >= geometry.context[axis]


# ---- what becomes of the answers -----------------------------------------------------------------


def test_exact_boxes_come_tile_by_tile():
    tiling = plan((2, 2, 70), SMALL, (2, 2, 32))
    boxes = list(Exact().stitched(iter(answers(tiling, lambda tile: tile[2].first)), tiling.cuts))
    row = whole((2, 2, 70), boxes)[0, 0, :, 0]
    np.testing.assert_array_equal(row, np.repeat([0, 24, 40, 56], [24, 16, 16, 14]))
    assert [(box[2].start, box[2].stop) for box, _ in boxes] == [(0, 24), (24, 40), (40, 56), (56, 70)]


def test_exact_voxels_are_those_of_their_tile():
    # A tile answers with the positions that it stands for.
    tiling = plan((2, 2, 70), SMALL, (2, 2, 32))
    found = answers(tiling, lambda tile: (tile[2].start + np.arange(32))[:, None])
    np.testing.assert_array_equal(whole((2, 2, 70), Exact().stitched(iter(found), tiling.cuts))[1, 1, :, 0], range(70))


def test_blended_voxels_are_the_weighted_mean():
    tiling = plan((1, 1, 24), FREE, (1, 1, 16), merge=Blend(0.5))
    _, second = tiling.cuts[2]
    row = whole((1, 1, 24), Blend(0.5).stitched(iter(answers(tiling, lambda tile: tile[2].start)), tiling.cuts))
    expected = np.zeros(24)
    expected[8:] = 8 * second.weights
    np.testing.assert_allclose(row[0, 0, :, 0], expected, rtol=1e-5)


def test_blended_slabs_are_finished_as_early_as_they_can_be():
    tiling = plan((40, 3, 24), FREE, (16, 3, 16), merge=Blend(0.5))
    asked = []

    def given_out():
        for tile, output in answers(tiling, lambda tile: tile[0].start):
            asked.append(tile[0].start)
            yield tile, output

    seen = []
    for box, values in Blend(0.5).stitched(given_out(), tiling.cuts):
        # Of the tiles further down only the first was asked for: there a row begins.
        assert sum(start > box[0].start for start in asked) <= 1
        assert (box[1], box[2]) == (slice(0, 3), slice(0, 24)) and values.shape[1:] == (3, 24, 1)
        seen.append((box[0].start, box[0].stop))
    assert seen == [(0, 8), (8, 16), (16, 24), (24, 40)]


@given(shapes, st.sampled_from([Exact(), Blend(), Blend(0.3)]), st.integers(1, 20**3))
@settings(max_examples=40, deadline=None)
def test_answers_that_agree_are_what_they_say(shape, merge, most):
    tiling = plan(shape, FREE, merge=merge, most_voxels=most)
    if tiling.count > 200:
        return
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    def output(tile):
        box = tuple(slice(cut.start, cut.start + size) for cut, size in zip(tile, tiling.output, strict=True))
        return values[box][..., None]

    found = whole(shape, merge.stitched(iter(answers(tiling, output)), tiling.cuts))
    np.testing.assert_allclose(found[..., 0], values, atol=1e-6)


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overlap, found",
    [
        (-0.1, "expected a finite number of at least 0, found -0.1"),
        (1.0, "expected a share from 0 to below 1, found 1.0"),
        (2, "expected a share from 0 to below 1, found 2"),
    ],
)
def test_an_impossible_overlap_is_refused(overlap, found):
    with pytest.raises(InputError, match=f"overlap: {found}"):
        PredictSettings(overlap=overlap)


def test_an_unknown_merge_is_refused():
    with pytest.raises(InputError, match="merge: expected one of auto, exact, blend; found 'best'"):
        PredictSettings(merge="best")


def test_a_tile_of_context_alone_is_refused():
    with pytest.raises(
        InputError, match="tile: expected at least 52 along z, found 48: .* take a larger tile, or `merge=blend`"
    ):
        plan((100, 20, 20), SAME, tile=(48, 20, 20))


def test_a_valid_tile_below_the_pooling_is_refused():
    geometry = Architecture(depth=4, padding="valid").geometry
    small = geometry.legal_at_least(1, 0)
    sentence = "size 92 along z gives 4 voxels of output, fewer than the network's pooling of 8; expected 100 or more"
    with pytest.raises(InputError, match=sentence):
        plan((50, 50, 50), geometry, (small,) * 3, merge=Blend())
