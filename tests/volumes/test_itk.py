"""NRRD and MetaImage: where ITK puts them, read and written; crops of plain MetaImage alone; what is broken is said."""

import re

import numpy as np
import pytest
import SimpleITK
import strangers
from helpers import says

from keras_unet3d.errors import InputError
from keras_unet3d.volumes import open_volume, result_suffix, write_volume

VOXELS = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
# Two turns, and a mirror.
DIRECTIONS = [
    np.eye(3),
    [[0, 0, -1], [1, 0, 0], [0, -1, 0]],
    [[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1]],
    np.diag([1.0, -1.0, 1.0]),
]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_voxels_lie_where_itk_puts_them(tmp_path, suffix, direction):
    path = strangers.itk(tmp_path / f"a{suffix}", VOXELS, direction)
    volume, image = open_volume(path), SimpleITK.ReadImage(str(path))
    array = volume.array()[..., 0]
    for k, j, i in [(0, 0, 0), (4, 5, 6), (3, 1, 2)]:
        x, y, z = image.TransformIndexToPhysicalPoint((i, j, k))
        place = (np.linalg.inv(volume.affine) @ (-x, -y, z, 1))[:3]
        np.testing.assert_allclose(place, place.round(), atol=1e-6)
        assert array[tuple(place.round().astype(int)[::-1])] == VOXELS[k, j, i]
    box = (slice(1, 3), slice(0, 4), slice(2, 5))
    np.testing.assert_array_equal(volume.read(box)[..., 0], array[box])


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("written", [".nrrd", ".mha", ".nii"])
@pytest.mark.parametrize("channels", [None, 2])
def test_what_is_written_lies_where_its_source_does(tmp_path, written, direction, channels):
    source = open_volume(strangers.itk(tmp_path / "in.mha", VOXELS, direction))
    array = source.array()[..., 0] if channels is None else np.repeat(source.array(), 2, axis=3)
    write_volume(tmp_path / f"out{written}", array, source)
    opened = open_volume(tmp_path / f"out{written}", axes="zyxc" if channels and written == ".nii" else None)
    np.testing.assert_array_equal(opened.array(), array.reshape(opened.array().shape))
    np.testing.assert_allclose(opened.affine, source.affine, rtol=0, atol=1e-6)
    image = SimpleITK.ReadImage(str(tmp_path / f"out{written}"))
    np.testing.assert_allclose(image.GetSpacing()[:3], strangers.SPACING[::-1], rtol=1e-6)


@pytest.mark.parametrize("name", ["uint8", "int16", "uint32", "float64"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_types_are_known_before_anything_is_read(tmp_path, suffix, name):
    path = strangers.itk(tmp_path / f"a{suffix}", np.ones((3, 4, 5), name))
    volume = open_volume(path)
    assert volume.dtype == volume.array().dtype == np.dtype(name)


def test_crops_are_read_of_plain_meta_image_alone(tmp_path):
    packed = {suffix: open_volume(strangers.itk(tmp_path / f"a{suffix}", VOXELS)).packed for suffix in SUFFIXES}
    assert packed == {".nrrd": True, ".nhdr": True, ".mha": False, ".mhd": False}
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VOXELS), str(tmp_path / "b.mha"), True)
    assert open_volume(tmp_path / "b.mha").packed


def test_what_is_made_of_two_files_is_one(tmp_path):
    assert [result_suffix(tmp_path / f"a{suffix}") for suffix in SUFFIXES] == [".nrrd", ".nrrd", ".mha", ".mha"]
    with pytest.raises(InputError, match=says("a.mhd: expected a format that can be written, .h5")):
        write_volume(tmp_path / "a.mhd", VOXELS, open_volume(strangers.itk(tmp_path / "a.nrrd", VOXELS)))


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
def test_truncated_files_are_refused(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 255, (20, 20, 20)).astype(np.uint8)
    path = strangers.itk(tmp_path / f"a{suffix}", noise)
    voxels = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
    voxels.write_bytes(voxels.read_bytes()[: int(voxels.stat().st_size * share)])
    with pytest.raises(InputError, match=says(f"a{suffix}: expected")):
        open_volume(path).array()


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_voxels_elsewhere_and_nowhere_are_refused(tmp_path, suffix):
    (tmp_path / "in").mkdir()
    path = strangers.itk(tmp_path / "in" / f"a{suffix}", VOXELS)
    voxels = next(file for file in path.parent.iterdir() if file != path)
    voxels.rename(tmp_path / voxels.name)
    with pytest.raises(InputError, match=says(f"a{suffix}: expected its voxels in", voxels.name, "found no such file")):
        open_volume(path)
    header = path.read_text("latin-1")
    path.write_text(re.sub(rf"\b{voxels.name}", f"../{voxels.name}", header), "latin-1")
    with pytest.raises(InputError, match=says(f"a{suffix}: expected voxels in files beside or below it")):
        open_volume(path)
    path.write_text(re.sub(rf"\b{voxels.name}", "LIST", header), "latin-1")
    with pytest.raises(InputError, match=says(f"a{suffix}: expected voxels in one file, found a list of files")):
        open_volume(path)


def test_other_numbers_of_axes_and_complex_voxels_are_refused(tmp_path):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((2, 3, 4, 5)), isVector=False), str(tmp_path / "a.nrrd"))
    with pytest.raises(InputError, match=says("a.nrrd: expected a volume of three axes", "found 4 axes (5, 4, 3, 2)")):
        open_volume(tmp_path / "a.nrrd")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.complex64)), str(tmp_path / "b.nrrd"))
    with pytest.raises(InputError, match=says("b.nrrd: expected numbers, found voxels of type complex")):
        open_volume(tmp_path / "b.nrrd")


@pytest.mark.parametrize("suffix, head", [(".mhd", "Comment = "), (".nhdr", "NRRD0004\n#")])
def test_a_header_that_hides_where_its_voxels_are_is_refused(tmp_path, suffix, head):
    path = strangers.itk(tmp_path / f"a{suffix}", VOXELS)
    path.write_text(head + "x" * 2**16 + "\n" + path.read_text().removeprefix("NRRD0004\n"))
    with pytest.raises(InputError, match=says(f"a{suffix}: expected a readable {suffix} volume")):
        open_volume(path)
