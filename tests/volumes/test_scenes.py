"""CZI, LIF, ND2 and TIFF of several scenes and points in time: one is chosen, and read right; else they are listed."""

import numpy as np
import pytest
import strangers
import tifffile
from helpers import says

from keras_unet3d.errors import InputError
from keras_unet3d.volumes import open_volume, result_suffix, write_volume

# Scene, t, z, c, y, x.
VOXELS = np.random.default_rng(0).integers(1, 999, (2, 3, 4, 2, 6, 7)).astype(np.uint16)


def czi(path, array):
    return strangers.czi(path, array.transpose(0, 1, 3, 2, 4, 5))


def lif(path, array):
    return strangers.lif(path, dict(zip(("left", "right"), array, strict=False)))


def ome(path, array):
    with tifffile.TiffWriter(path, ome=True) as file:
        for name, one in zip(("left", "right"), array, strict=False):
            metadata = {
                "axes": "TZCYX",
                "Name": name,
                "PhysicalSizeX": 0.5,
                "PhysicalSizeY": 0.75,
                "PhysicalSizeZ": 2.5,
            }
            file.write(one, metadata=metadata, photometric="minisblack", compression="zlib")
    return path


MADE = {".czi": (czi, "1"), ".lif": (lif, "right"), ".nd2": (strangers.nd2, "1"), ".tif": (ome, "right")}
# Those that are read by crops of planes.
LAZY = {".czi", ".nd2"}


@pytest.fixture(params=MADE)
def made(request, tmp_path):
    write, name = MADE[request.param]
    return write(tmp_path / f"a{request.param}", VOXELS), name


@pytest.mark.parametrize("time", [0, 2])
def test_a_scene_at_a_point_in_time_is_a_volume(made, time):
    path, name = made
    expected = VOXELS[1, time].transpose(0, 2, 3, 1)
    for scene in (name, "1"):
        volume = open_volume(path, scene=scene, time=time)
        np.testing.assert_array_equal(volume.array(), expected)
    box = (slice(1, 3), slice(2, 6), slice(0, 5))
    np.testing.assert_array_equal(volume.read(box), expected[box])
    assert volume.packed == (path.suffix not in LAZY)
    # ND2 has one size for both axes of a plane.
    size = (2.5, 0.5, 0.5) if path.suffix == ".nd2" else strangers.SPACING
    assert volume.micrometres == pytest.approx(size, rel=1e-6)


def test_several_scenes_are_listed(made):
    path, _ = made
    with pytest.raises(InputError, match=says(f"a{path.suffix}: expected one", "found 2", "6 x 7", "like `scene=0`")):
        open_volume(path)
    with pytest.raises(InputError, match=says(f"a{path.suffix}: expected one scene, found 'third' and these: 0", "1")):
        open_volume(path, scene="third")


def test_several_points_in_time_are_listed(made):
    path, name = made
    with pytest.raises(InputError, match=says("expected one point in time, found 3", "`time=0`")):
        open_volume(path, scene=name)
    with pytest.raises(
        InputError, match=says("expected one point in time, found 3, and 3 in the file", "one of 0 to 2")
    ):
        open_volume(path, scene=name, time=3)


@pytest.mark.parametrize("suffix", MADE)
def test_the_only_scene_and_point_in_time_need_not_be_chosen(tmp_path, suffix):
    write, _ = MADE[suffix]
    path = write(tmp_path / f"a{suffix}", VOXELS[:1, :1, :, :1])
    for choice in ({}, {"scene": "9", "time": 9}):  # labels have fewer than their image
        np.testing.assert_array_equal(open_volume(path, **choice).array()[..., 0], VOXELS[0, 0, :, 0])


@pytest.mark.parametrize("suffix", [".czi", ".lif", ".nd2"])
def test_microscopes_formats_are_read_alone_and_become_tiff(tmp_path, suffix):
    write, _ = MADE[suffix]
    path = write(tmp_path / f"a{suffix}", VOXELS[:1, :1])
    source = open_volume(path)
    assert result_suffix(path) == ".tif"
    with pytest.raises(InputError, match=says("b", suffix, "expected a format that can be written")):
        write_volume(tmp_path / f"b{suffix}", VOXELS[0, 0, :, 0], source)
    write_volume(tmp_path / "b.tif", source.array()[..., 0], source)
    assert open_volume(tmp_path / "b.tif").micrometres == pytest.approx(source.micrometres, rel=1e-6)


@pytest.mark.parametrize("suffix", [".czi", ".lif", ".nd2"])
def test_a_single_plane_is_no_volume(tmp_path, suffix):
    write, _ = MADE[suffix]
    path = write(tmp_path / f"a{suffix}", VOXELS[:1, :1, :1])
    with pytest.raises(InputError, match=says(f"a{suffix}", "expected a stack of planes, found axes")):
        open_volume(path)


@pytest.mark.parametrize("suffix", [".czi", ".lif", ".nd2"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_truncated_files_are_refused(tmp_path, suffix, share):
    write, _ = MADE[suffix]
    path = write(tmp_path / f"a{suffix}", VOXELS[:1, :1])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=says(f"a{suffix}", "expected", "found")):
        open_volume(path).array()


def test_the_full_resolution_of_a_pyramid_is_taken(tmp_path):
    image = VOXELS[0, 0, :, 0].repeat(6, axis=1).repeat(6, axis=2)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        file.write(image, subifds=2, metadata={"axes": "ZYX"}, tile=(16, 16), compression="zlib")
        for step in (2, 4):
            file.write(image[:, ::step, ::step], subfiletype=1, tile=(16, 16), compression="zlib")
    volume = open_volume(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(volume.array()[..., 0], image)
    np.testing.assert_array_equal(volume.read((slice(1, 2), slice(3, 20), slice(5, 9)))[..., 0], image[1:2, 3:20, 5:9])
