"""Volumes of which any crop unpacks the whole file: they are read in large parts, and for crops unpacked once."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile

from keras_unet3d import InputError
from keras_unet3d.volumes import from_array, open_volume, readable_by_crops, scratch, unpacker, write_volume

ARRAY = np.random.default_rng(0).integers(1, 1000, (20, 30, 40)).astype(np.uint16)


@pytest.fixture(params=["a.nii.gz", "a.tif"])
def packed(request, tmp_path):
    path = tmp_path / request.param
    if path.suffix == ".tif":
        tifffile.imwrite(path, ARRAY, compression="zlib")
    else:
        write_volume(path, ARRAY, from_array(ARRAY, spacing=(1, 1, 1), unit="mm"))
    return open_volume(path)


def test_files_that_are_packed_are_known_as_such(packed, tmp_path):
    assert packed.packed
    plain = tmp_path / "b.tif"
    tifffile.imwrite(plain, ARRAY)
    assert not open_volume(plain).packed
    for name in ("b.nii", "b.h5", "b.zarr"):
        write_volume(tmp_path / name, ARRAY, packed, key="raw")
        assert not open_volume(tmp_path / name).packed


def test_they_are_read_in_large_parts(packed):
    volume = from_array(np.zeros((3, 4000, 5000), np.uint8))
    assert len(list(volume.boxes())) > 1000
    # As many planes as 2^25 voxels have.
    assert [box[0] for box in replace(volume, packed=True).boxes()] == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert len(list(packed.boxes())) == 1


def test_unpacked_they_have_the_same_voxels_and_are_read_by_crops(packed, tmp_path):
    files = sorted(tmp_path.iterdir())
    unpack = unpacker(tmp_path, 2 * packed.nbytes)
    for volume in (unpack(packed), unpack(packed)):
        assert not volume.packed and (volume.shape, volume.dtype, volume.path) == (
            ARRAY.shape,
            ARRAY.dtype,
            packed.path,
        )
        np.testing.assert_array_equal(volume.array()[..., 0], ARRAY)
        crop = volume.read((slice(3, 9), slice(1, 30), slice(17, 18)))
        np.testing.assert_array_equal(crop[..., 0], ARRAY[3:9, 1:30, 17:18])
        crop[:] = 0
        np.testing.assert_array_equal(volume.array()[..., 0], ARRAY)
    # The file has no name, so that it cannot be left behind.
    assert sorted(tmp_path.iterdir()) == files


@pytest.mark.parametrize("most", [2**28, 0])
def test_what_is_read_by_crops_anyway_stays_as_it_is(packed, tmp_path, monkeypatch, most):
    monkeypatch.setattr(scratch, "MOST_BYTES", most)
    volume = readable_by_crops(packed, tmp_path)
    assert not volume.packed
    np.testing.assert_array_equal(volume.array()[..., 0], ARRAY)
    assert readable_by_crops(volume, tmp_path) is volume


@pytest.mark.parametrize("damage", ["in the middle", "the checksum"])
def test_a_damaged_nifti_is_refused_when_it_is_read(tmp_path, damage):
    path = tmp_path / "a.nii.gz"
    write_volume(path, ARRAY, from_array(ARRAY))
    content = bytearray(path.read_bytes())
    place = len(content) // 2 if damage == "in the middle" else len(content) - 8
    content[place : place + 4] = bytes(byte ^ 255 for byte in content[place : place + 4])
    path.write_bytes(content)
    volume = open_volume(path)
    with pytest.raises(
        InputError, match=r"a.nii.gz: expected a readable .nii.gz volume, found a broken or truncated file"
    ):
        volume.read((slice(0, 1), slice(0, 1), slice(0, 1)))
