"""MRC: mapped, in angstrom, beginning where its source does; the types that it lacks."""

import mrcfile
import numpy as np
import pytest
import strangers
from helpers import says

from keras_unet3d.errors import InputError
from keras_unet3d.volumes import from_array, open_volume, write_volume

VOXELS = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)


@pytest.mark.parametrize("suffix", [".mrc", ".rec", ".map"])
def test_a_map_is_read_by_crops_and_written_where_it_lies(tmp_path, suffix):
    source = open_volume(strangers.mrc(tmp_path / f"a{suffix}", VOXELS))
    box = (slice(1, 4), slice(0, 2), slice(3, 7))
    np.testing.assert_array_equal(source.read(box)[..., 0], VOXELS[box])
    assert (source.unit, source.packed) == ("angstrom", False)
    assert source.spacing == pytest.approx(strangers.SPACING, rel=1e-6)
    labels = (VOXELS > 0).astype(np.uint8)
    write_volume(tmp_path / f"out{suffix}", labels, source)
    assert mrcfile.validate(tmp_path / f"out{suffix}")
    with mrcfile.open(tmp_path / f"out{suffix}") as file:
        np.testing.assert_array_equal(file.data, labels)
        assert tuple(file.header.origin.tolist()) == (1, 2, 3)
        assert file.voxel_size.tolist() == pytest.approx(strangers.SPACING[::-1], rel=1e-6)
        assert file.is_volume()


def test_axes_in_another_order_are_turned_and_turned_back(tmp_path):
    path = strangers.mrc(tmp_path / "a.mrc", VOXELS.transpose(1, 0, 2))
    with mrcfile.open(path, "r+") as file:
        # Columns are x, rows z, sections y.
        file.header.mapc, file.header.mapr, file.header.maps = 1, 3, 2
    source = open_volume(path)
    np.testing.assert_array_equal(source.array()[..., 0], VOXELS)
    write_volume(tmp_path / "b.mrc", source.array()[..., 0], source)
    with mrcfile.open(tmp_path / "b.mrc") as file:
        np.testing.assert_array_equal(file.data, VOXELS.transpose(1, 0, 2))
        assert [int(file.header[name]) for name in ("mapc", "mapr", "maps")] == [1, 3, 2]


def test_a_size_of_zero_is_not_known(tmp_path):
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(VOXELS)
        file.voxel_size = 0
    assert open_volume(tmp_path / "a.mrc").spacing is None


@pytest.mark.parametrize(
    "dtype, high, written",
    [
        ("uint8", 200, "int16"), ("int8", 100, "int8"), ("int32", 30000, "int16"), ("int32", 60000, "uint16"),
        ("int64", 2**24, "float32"), ("float64", 0.5, "float32"), ("bool", 1, "int16"),
    ],
)  # fmt: skip
def test_a_type_that_mrc_lacks_becomes_one_that_holds_the_values(tmp_path, dtype, high, written):
    array = np.zeros((3, 4, 5), dtype)
    array[1, 2, 3] = high
    write_volume(tmp_path / "a.mrc", array, from_array(array.astype(float)))
    opened = open_volume(tmp_path / "a.mrc")
    assert opened.dtype == np.dtype(written)
    np.testing.assert_array_equal(opened.array()[..., 0], array)


def test_what_mrc_cannot_hold_is_refused(tmp_path):
    source = from_array(VOXELS)
    with pytest.raises(InputError, match=says("MRC: expected labels that it can hold", f"found {2**24 + 1}")):
        write_volume(tmp_path / "a.mrc", np.full((5, 6, 7), 2**24 + 1), source)
    with pytest.raises(InputError, match=says("MRC: expected one channel", "found 2; write .h5 or .tif")):
        write_volume(tmp_path / "a.mrc", np.zeros((5, 6, 7, 2)), source)
    assert not (tmp_path / "a.mrc").exists()


@pytest.mark.parametrize("share", [0.1, 0.9, 0.999])
def test_truncated_files_are_refused(tmp_path, share):
    path = strangers.mrc(tmp_path / "a.mrc", np.ones((10, 20, 30), np.float32))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=says("a.mrc: expected")):
        open_volume(path).array()


def test_complex_maps_and_single_planes_are_refused(tmp_path):
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(np.zeros((3, 4, 5), np.complex64))
    with pytest.raises(InputError, match=says("a.mrc: expected numbers, found voxels of type complex64")):
        open_volume(tmp_path / "a.mrc")
    with mrcfile.new(tmp_path / "b.mrc") as file:
        file.set_data(VOXELS[0])
    with pytest.raises(InputError, match=says("b.mrc: expected a volume of three axes", "found shape (6, 7)")):
        open_volume(tmp_path / "b.mrc")
