"""Volumes are written box by box, in any order, as if they had been written whole."""

import os
from contextlib import contextmanager
from itertools import pairwise, permutations, product

import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from keras_unet3d.errors import InputError
from keras_unet3d.volumes import fill_volume, from_array, open_volume, scratch, tiff, whole_volume, write_volume
from keras_unet3d.volumes.axes import from_order, place_in_order, shape_in_order

SHAPE = (9, 14, 11)
SUFFIXES = (".h5", ".zarr", ".nii", ".nii.gz", ".tif")
# Axes swapped and mirrored, so that a box lies elsewhere in the file than in the volume.
AFFINE = np.array([[0, -1.5, 0, 12.0], [1.0, 0, 0, -7.0], [0, 0, -2.5, 3.0], [0, 0, 0, 1.0]])
ORDERS = ["".join(order) for letters in ("zyx", "zyxc") for order in permutations(letters)]


@contextmanager
def create_volume(path, dtype, like, **options):
    with whole_volume(path) as partial, fill_volume(partial, dtype, like, **options) as write:
        yield write


class Interrupted(BaseException):
    """Stands for Ctrl-C: no `Exception`."""


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
        for box in random_boxes(rng):
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


@pytest.mark.parametrize("flips", product((1, -1), repeat=3))
@pytest.mark.parametrize("axes", permutations(range(3)))
def test_boxes_in_every_orientation_of_nifti(tmp_path, monkeypatch, axes, flips):
    monkeypatch.setattr(scratch, "MOST_BYTES", 0)
    affine = np.eye(4)
    affine[:3, :3] = np.diag((0.5, 1.5, 2.0))[:, axes] * flips
    stored = tuple(SHAPE[::-1][axis] for axis in axes)
    nibabel.save(nibabel.Nifti1Image(np.zeros(stored, np.uint8), affine), tmp_path / "like.nii")
    like = open_volume(tmp_path / "like.nii")
    assert like.shape == SHAPE
    rng = np.random.default_rng(axes)
    array = rng.integers(0, 1000, SHAPE).astype(np.int16)
    with create_volume(tmp_path / "a.nii", np.int16, like) as write:
        for box in random_boxes(rng):
            write(box, array[box])
    np.testing.assert_array_equal(open_volume(tmp_path / "a.nii").array()[..., 0], array)
    # Read by another program: the voxels lie where those of `like` do.
    image = nibabel.load(tmp_path / "a.nii")
    assert image.shape == stored
    np.testing.assert_array_equal(image.affine, affine)
    closest = nibabel.as_closest_canonical(image)
    np.testing.assert_array_equal(np.asarray(closest.dataobj).transpose(2, 1, 0), array)


@given(st.sampled_from(ORDERS), st.sets(st.sampled_from("zyx")), st.integers(0, 2**32 - 1))
def test_a_box_lies_where_the_whole_puts_it(order, flipped, seed):
    rng = np.random.default_rng(seed)
    channels = 2 if "c" in order else None
    array = rng.random((*SHAPE, 2) if channels else SHAPE)
    filled = np.full(shape_in_order(SHAPE, channels, order), np.nan)
    for box in random_boxes(rng):
        filled[place_in_order(box, SHAPE, order, flipped)] = from_order(array[box], order, flipped)
    np.testing.assert_array_equal(filled, from_order(array, order, flipped))


@pytest.mark.parametrize("error", [RuntimeError, Interrupted])
@pytest.mark.parametrize(
    "suffix, when",
    # HDF5 and Zarr are written as the boxes come.
    [*product(SUFFIXES, ["at once", "in the middle"]), *product([".nii", ".nii.gz", ".tif"], ["while saving"])],
)
def test_an_error_leaves_what_was_there(tmp_path, threshold, monkeypatch, suffix, error, when):
    like = liked("array", tmp_path)
    before = np.full(SHAPE, 7, np.uint8)
    write_volume(tmp_path / f"a{suffix}", before, like)

    def broken(*_, **__):
        raise error

    if when == "while saving":
        monkeypatch.setattr(tifffile, "imwrite", broken)
        monkeypatch.setattr(nibabel, "save", broken)
    with pytest.raises(error), create_volume(tmp_path / f"a{suffix}", np.uint8, like) as write:
        if when != "at once":
            write((slice(0, 4), slice(0, 14), slice(0, 11)), before[:4] + 1)
        if when != "while saving":
            raise error
    np.testing.assert_array_equal(open_volume(tmp_path / f"a{suffix}", "label").array()[..., 0], before)
    assert os.listdir(tmp_path) == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".tif"])
def test_a_large_volume_waits_in_a_file_that_dies_with_the_process(tmp_path, monkeypatch, suffix):
    size, asked = int(np.prod(SHAPE)) * 2, []
    unnamed = scratch.unnamed_file
    monkeypatch.setattr(scratch, "unnamed_file", lambda *arguments: asked.append(arguments) or unnamed(*arguments))
    for most, expected in ((size - 1, [(tmp_path, size)]), (size, [])):
        asked.clear()
        monkeypatch.setattr(scratch, "MOST_BYTES", most)
        with create_volume(tmp_path / f"a{suffix}", np.uint16, liked("array", tmp_path)) as write:
            assert asked == expected
            # It has no name that anybody would have to clear away.
            assert set(os.listdir(tmp_path)) <= {f".a{suffix}.lock", f"a{suffix}"}
            write(tuple(slice(0, each) for each in SHAPE), np.ones(SHAPE, np.uint16))
        assert os.listdir(tmp_path) == [f"a{suffix}"]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="the system does not list what is mapped")
def test_nothing_stays_mapped_between_boxes(tmp_path, monkeypatch):
    def mapped():
        with open("/proc/self/maps") as file:
            return str(tmp_path) in file.read()

    monkeypatch.setattr(scratch, "MOST_BYTES", 0)
    with create_volume(tmp_path / "a.nii", np.uint8, liked("array", tmp_path)) as write:
        for box in random_boxes(np.random.default_rng(0)):
            write(box, np.ones(tuple(side.stop - side.start for side in box), np.uint8))
            assert not mapped()
    tifffile.imwrite(tmp_path / "a.tif", np.ones(SHAPE, np.uint8))
    volume = open_volume(tmp_path / "a.tif")
    assert volume.array().all()
    assert not mapped()


@pytest.mark.parametrize("channels", [None, 2])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int32"])
def test_a_tiff_too_large_for_32_bits_keeps_its_voxel_size(tmp_path, monkeypatch, dtype, channels):
    monkeypatch.setattr(tiff, "_MOST_BYTES", 100)
    array = np.random.default_rng(0).integers(0, 200, (*SHAPE, channels) if channels else SHAPE).astype(dtype)
    write_volume(tmp_path / "a.tif", array, liked("array", tmp_path))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert (file.is_bigtiff, file.is_imagej) == (True, False)
    opened = open_volume(tmp_path / "a.tif")
    assert (opened.spacing, opened.unit) == (pytest.approx((3.0, 2.0, 1.0)), "um")
    np.testing.assert_array_equal(opened.array().reshape(array.shape), array)


def test_a_mapped_tiff_that_went_away_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.ones(SHAPE, np.uint8))
    volume = open_volume(tmp_path / "a.tif")
    (tmp_path / "a.tif").unlink()
    with pytest.raises(InputError, match=r"a\.tif: expected a readable \.tif volume"):
        volume.array()


def test_a_box_of_another_shape_is_an_error(tmp_path):
    for suffix in SUFFIXES:
        with (
            pytest.raises((ValueError, TypeError)),
            create_volume(tmp_path / f"a{suffix}", np.uint8, liked("array", tmp_path)) as write,
        ):
            write((slice(0, 4), slice(0, 14), slice(0, 11)), np.zeros((4, 14, 10), np.uint8))
        assert os.listdir(tmp_path) == []


def test_chunks_of_zarr_are_those_asked_for(tmp_path):
    import zarr

    with create_volume(tmp_path / "a.zarr", np.uint8, liked("array", tmp_path), chunks=(4, 5, 100)) as write:
        write(tuple(slice(0, size) for size in SHAPE), np.ones(SHAPE, np.uint8))
    assert zarr.open_group(tmp_path / "a.zarr", mode="r")["label"].chunks == (4, 5, 11)


@pytest.fixture
def small_disk():
    """A function after which no file of this process may hold more than 20 kB: to a program, a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", [".h5", ".nii", ".nii.gz", ".tif"])
def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path, small_disk, suffix):
    path, like = tmp_path / f"a{suffix}", from_array(np.zeros((40, 70, 80)))
    before = np.full(like.shape, 7, np.uint8)
    write_volume(path, before, like)
    small_disk()
    noise = np.random.default_rng(0).integers(0, 255, like.shape).astype(np.uint8)
    with pytest.raises(
        InputError, match=r"expected room for the result, found it larger than a file may be here; make room"
    ):
        write_volume(path, noise, like)
    np.testing.assert_array_equal(open_volume(path, "label").array()[..., 0], before)
    assert os.listdir(tmp_path) == [f"a{suffix}"]
