"""Volumes are written box by box, in any order, as if they had been written whole."""

from itertools import pairwise

import nibabel
import numpy as np
import pytest

from keras_unet3d.volumes import create_volume, from_array, open_volume, scratch, write_volume

SHAPE = (9, 14, 11)
SUFFIXES = (".h5", ".zarr", ".nii", ".nii.gz", ".tif")
# Axes swapped and mirrored, so that a box lies elsewhere in the file than in the volume.
AFFINE = np.array([[0, -1.5, 0, 12.0], [1.0, 0, 0, -7.0], [0, 0, -2.5, 3.0], [0, 0, 0, 1.0]])


def random_boxes(rng):
    """Return boxes that cover the volume once, in random order."""
    cuts = [sorted({0, size, *rng.integers(1, size, 2).tolist()}) for size in SHAPE]
    sides = [[slice(a, b) for a, b in pairwise(along)] for along in cuts]
    boxes = [(z, y, x) for z in sides[0] for y in sides[1] for x in sides[2]]
    return [boxes[i] for i in rng.permutation(len(boxes))]


def liked(kind, tmp_path):
    if kind == "array":
        return from_array(np.zeros(SHAPE), spacing=(3.0, 2.0, 1.0), unit="um")
    nibabel.save(nibabel.Nifti1Image(np.zeros((14, 11, 9), np.float32), AFFINE), tmp_path / "like.nii")
    return open_volume(tmp_path / "like.nii")


@pytest.fixture(params=["in memory", "in a file"])
def threshold(request, monkeypatch):
    if request.param == "in a file":
        monkeypatch.setattr(scratch, "MOST_BYTES", 0)


@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("kind", ["array", "nifti"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_boxes_in_any_order_are_the_whole(tmp_path, threshold, suffix, kind, channels):
    rng = np.random.default_rng(0)
    like = liked(kind, tmp_path)
    shape = like.shape if channels is None else (*like.shape, channels)
    array = rng.integers(0, 200, shape).astype(np.float32 if channels else np.uint8)
    with create_volume(tmp_path / f"boxes{suffix}", array.dtype, like, channels=channels) as write:
        for z, y, x in random_boxes(rng):
            box = tuple(slice(s.start, min(s.stop, n)) for s, n in zip((z, y, x), like.shape, strict=True))
            write(box, array[box])
    write_volume(tmp_path / f"whole{suffix}", array, like)
    # Of the formats, NIfTI alone does not say which axis the channels are.
    axes = "zyxc" if channels and "nii" in suffix else None
    boxes, whole = (open_volume(tmp_path / f"{name}{suffix}", "label", axes) for name in ("boxes", "whole"))
    np.testing.assert_array_equal(boxes.array(), array if channels else array[..., None])
    np.testing.assert_array_equal(whole.array(), boxes.array())
    assert (boxes.dtype, boxes.spacing) == (whole.dtype, whole.spacing)
    left = {path.name for path in tmp_path.iterdir()} - {"like.nii"}
    assert left == {f"boxes{suffix}", f"whole{suffix}"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_error_in_the_middle_leaves_what_was_there(tmp_path, threshold, suffix):
    like = liked("array", tmp_path)
    before = np.full(SHAPE, 7, np.uint8)
    write_volume(tmp_path / f"a{suffix}", before, like)
    with pytest.raises(RuntimeError), create_volume(tmp_path / f"a{suffix}", np.uint8, like) as write:
        write((slice(0, 4), slice(0, 14), slice(0, 11)), before[:4])
        raise RuntimeError
    np.testing.assert_array_equal(open_volume(tmp_path / f"a{suffix}", "label").array()[..., 0], before)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_chunks_of_zarr_are_those_asked_for(tmp_path):
    import zarr

    with create_volume(tmp_path / "a.zarr", np.uint8, liked("array", tmp_path), chunks=(4, 5, 100)) as write:
        write(tuple(slice(0, size) for size in SHAPE), np.ones(SHAPE, np.uint8))
    assert zarr.open_group(tmp_path / "a.zarr", mode="r")["label"].chunks == (4, 5, 11)
