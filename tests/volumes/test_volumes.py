"""volumes: what is written opens again, every format and orientation, by crops; broken files are refused."""

import gzip
import os
import re
from itertools import permutations, product

import h5py
import nibabel
import numpy as np
import pytest
import tifffile
from helpers import says

from keras_unet3d.errors import InputError
from keras_unet3d.volumes import (
    FORMATS,
    WRITTEN,
    Volume,
    from_array,
    in_memory,
    open_volume,
    read_plane,
    stacked,
    stem,
    volume_format,
    write_plane,
    write_volume,
)

SHAPE = (5, 6, 7)
SPACING = (2.0, 0.8, 0.5)
MICROMETRES = {
    "angstrom": 1e-4,
    "um": 1.0,
    "micron": 1.0,
    "mm": 1e3,
    "meter": 1e6,
    "m": 1e6,
    "nm": 1e-3,
    "inch": 25400.0,
}
BOXES = {
    "inside": (slice(1, 4), slice(2, 5), slice(3, 6)),
    "first": (slice(0, 1), slice(0, 1), slice(0, 1)),
    "last": (slice(4, 5), slice(5, 6), slice(6, 7)),
    "low corner": (slice(0, 2), slice(0, 4), slice(0, 3)),
    "high corner": (slice(2, 5), slice(3, 6), slice(1, 7)),
    "plane": (slice(3, 4), slice(0, 6), slice(0, 7)),
    "whole": (slice(0, 5), slice(0, 6), slice(0, 7)),
}


def voxels(shape=SHAPE, dtype="uint8"):
    """Return an array of which no two voxels are equal (as far as the type goes) and no axis is like another."""
    array = np.arange(np.prod(shape)).reshape(shape)
    return (array / 3 - 20 if np.dtype(dtype).kind == "f" else array % np.iinfo(dtype).max).astype(dtype)


def noise(shape=SHAPE, dtype="uint16"):
    """Return voxels that no compression shortens, none of them 0."""
    return np.random.default_rng(3).integers(1, np.iinfo(dtype).max, shape, dtype)


def write_h5(path, array, key="raw", **attributes):
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(key, data=array)
        dataset.attrs.update(attributes)
    return path


def write_nii(path, array, affine=None):
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def write_pages(path, array, **options):
    """Write one page after the other without any metadata, as most programs do."""
    with tifffile.TiffWriter(path) as file:
        for plane in array:
            file.write(plane, metadata=None, contiguous=False, **options)
    return path


def micrometres(volume):
    assert volume.spacing is not None
    return np.multiply(volume.spacing, MICROMETRES[volume.unit])


# ---- write, open ---------------------------------------------------------------------------------


# DICOM-SEG needs the series that its labels are of; MRC has neither channels nor every type (test_mrc.py).
WITHOUT_SERIES = [suffix for suffix in WRITTEN if suffix != ".dcm"]
ANYTHING = [suffix for suffix in WITHOUT_SERIES if suffix not in (".mrc", ".rec", ".map")]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("suffix", ANYTHING)
def test_written_voxels_open_again(tmp_path, suffix, channels, dtype):
    array = voxels(SHAPE if channels is None else (*SHAPE, channels), dtype)
    path = tmp_path / f"volume{suffix}"
    write_volume(path, array, from_array(array))
    # NIfTI has no name for an axis of channels.
    opened = open_volume(path, "label", "zyxc" if "nii" in suffix and channels else None)
    assert (opened.shape, opened.channels, opened.dtype) == (SHAPE, channels or 1, np.dtype(dtype))
    np.testing.assert_array_equal(opened.array(), array.reshape(*SHAPE, -1))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("unit", ["um", "mm"])
@pytest.mark.parametrize("suffix", WITHOUT_SERIES)
def test_written_voxel_size_opens_again(tmp_path, suffix, unit, dtype):
    array = voxels(dtype=dtype)
    path = tmp_path / f"volume{suffix}"
    like = from_array(array, spacing=SPACING, unit=unit)
    write_volume(path, array, like)
    opened = open_volume(path, "label")
    assert micrometres(opened) == pytest.approx(micrometres(like), rel=1e-5)


@pytest.mark.parametrize("dtype, written", [("int64", "int32"), ("uint64", "uint32"), ("float16", "float32")])
def test_nifti_avoids_types_that_readers_do_not_know(tmp_path, dtype, written):
    array = voxels(dtype=dtype)
    write_volume(tmp_path / "volume.nii", array, from_array(array))
    image = nibabel.load(tmp_path / "volume.nii")
    assert image.get_data_dtype() == np.dtype(written)
    np.testing.assert_array_equal(np.asarray(image.dataobj), array.transpose(2, 1, 0))


@pytest.mark.parametrize("suffix", ANYTHING)
@pytest.mark.parametrize(
    "dtype, values", [("int64", (-5, 2**32 + 3)), ("uint64", (0, 2**63 + 5)), ("int64", (1, 2**31))]
)
def test_values_that_need_64_bits_are_kept(tmp_path, suffix, dtype, values):
    array = np.resize(np.array(values, dtype), SHAPE)
    write_volume(tmp_path / f"volume{suffix}", array, from_array(array))
    np.testing.assert_array_equal(open_volume(tmp_path / f"volume{suffix}", "label").array()[..., 0], array)


@pytest.mark.parametrize(
    "dtype, high, written",
    [("int64", 7, "int32"), ("int64", 2**32 + 3, "int64"), ("uint64", 2**32 - 1, "uint32"), ("float16", 1, "float32")],
)
def test_a_slice_is_written_in_a_type_that_holds_it(tmp_path, dtype, high, written):
    plane = np.array([[0, high], [1, 1]], dtype)
    write_plane(tmp_path / "a.tif", plane)
    read = read_plane(tmp_path / "a.tif")
    assert read.dtype == np.dtype(written)
    np.testing.assert_array_equal(read, plane)


def source_hdf5(folder):
    return open_volume(write_h5(folder / "in.h5", voxels(), element_size_um=SPACING))


def source_hdf5_xyz(folder):
    array = voxels().transpose(2, 1, 0)
    return open_volume(write_h5(folder / "in.h5", array, element_size_um=SPACING), axes="xyz")


def source_nifti(folder):
    # Millimetres in the header; the first axis of the file runs from anterior to posterior.
    data = voxels().transpose(1, 2, 0)[::-1]
    affine = np.array([[0, 5e-4, 0, 1], [-8e-4, 0, 0, 2], [0, 0, 2e-3, 3], [0, 0, 0, 1.0]])
    return open_volume(write_nii(folder / "in.nii.gz", np.ascontiguousarray(data), affine))


def source_tiff(folder):
    metadata = {"axes": "ZYX", "spacing": 2.0, "unit": "um"}
    tifffile.imwrite(folder / "in.tif", voxels(), imagej=True, resolution=(2, 1.25), metadata=metadata)
    return open_volume(folder / "in.tif")


@pytest.mark.parametrize("suffix", [".h5", ".nii", ".nii.gz", ".tif", ".zarr"])
@pytest.mark.parametrize("source", [source_hdf5, source_hdf5_xyz, source_nifti, source_tiff])
def test_a_volume_of_any_format_is_written_in_any_format(tmp_path, source, suffix):
    like = source(tmp_path)
    np.testing.assert_array_equal(like.array()[..., 0], voxels())
    write_volume(tmp_path / f"out{suffix}", like.array()[..., 0], like)
    opened = open_volume(tmp_path / f"out{suffix}", "label")
    np.testing.assert_array_equal(opened.array(), like.array())
    assert micrometres(like) == pytest.approx(SPACING, rel=1e-5)
    assert micrometres(opened) == pytest.approx(SPACING, rel=1e-5)


@pytest.mark.parametrize("unit", ["meter", "mm", "micron"])
def test_units_of_nifti_become_micrometres_in_hdf5(tmp_path, unit):
    image = nibabel.Nifti1Image(voxels(), np.diag([4.0, 5.0, 6.0, 1.0]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "in.nii")
    like = open_volume(tmp_path / "in.nii")
    write_volume(tmp_path / "out.h5", like.array()[..., 0], like)
    opened = open_volume(tmp_path / "out.h5", "label")
    assert opened.unit == "um"
    assert opened.spacing == pytest.approx(np.multiply((6, 5, 4), MICROMETRES[unit]))


@pytest.mark.parametrize("suffix", [".h5", ".nii"])
@pytest.mark.parametrize("unit", ["pixel", "nm", "inch"])
def test_imagej_units_that_other_formats_do_not_have(tmp_path, unit, suffix):
    metadata = {"axes": "ZYX", "spacing": 2.0, "unit": unit}
    tifffile.imwrite(tmp_path / "in.tif", voxels(), imagej=True, resolution=(2, 1.25), metadata=metadata)
    like = open_volume(tmp_path / "in.tif")
    write_volume(tmp_path / f"out{suffix}", voxels(), like)
    opened = open_volume(tmp_path / f"out{suffix}", "label")
    np.testing.assert_array_equal(opened.array()[..., 0], voxels())
    if unit != "pixel":
        assert micrometres(opened) == pytest.approx(np.multiply(SPACING, MICROMETRES[unit]))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "volume.h5"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_volume(path, np.full(SHAPE, "text"), from_array(voxels()))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["volume.h5"]


def test_write_volume_makes_the_folder(tmp_path):
    write_volume(tmp_path / "new" / "folder" / "a.tif", voxels(), from_array(voxels()))
    assert os.listdir(tmp_path / "new" / "folder") == ["a.tif"]


# ---- crops ---------------------------------------------------------------------------------------


def hdf5_of_axes(axes):
    def make(folder):
        array = voxels((*SHAPE, 2), "uint16")
        array = array if "c" in axes else array[..., :1]
        stored = array.transpose(["zyxc".index(axis) for axis in axes]) if "c" in axes else array[..., 0]
        if "c" not in axes:
            stored = stored.transpose(["zyx".index(axis) for axis in axes])
        return open_volume(write_h5(folder / "in.h5", stored), axes=axes), array

    return make


def nifti_of(suffix, axes=None):
    def make(folder):
        array = voxels((*SHAPE, 2) if axes else (*SHAPE, 1), "int16")
        data = np.ascontiguousarray(array.transpose(1, 0, 2, 3)[::-1, :, ::-1])
        affine = np.array([[0, 0, -0.5, 3], [-0.8, 0, 0, 4], [0, 2, 0, 5], [0, 0, 0, 1]])
        data = data if axes else data[..., 0]
        return open_volume(write_nii(folder / f"in{suffix}", data, affine), axes=axes), array

    return make


def tiff_of(channels=None, pages=False, **options):
    def make(folder):
        array = voxels((*SHAPE, channels or 1), "uint16")
        stored = array.transpose(0, 3, 1, 2) if channels else array[..., 0]
        if pages:
            return open_volume(write_pages(folder / "in.tif", stored, **options)), array
        metadata = {"axes": "ZCYX" if channels else "ZYX"}
        tifffile.imwrite(folder / "in.tif", stored, metadata=metadata, **options)
        return open_volume(folder / "in.tif"), array

    return make


def array_volume(folder):
    array = voxels((*SHAPE, 2))
    return from_array(array), array


SOURCES = {
    "array": array_volume,
    **{f"hdf5 {axes}": hdf5_of_axes(axes) for axes in ("zyx", "xyz", "yxz", "czyx", "zyxc", "xyzc", "ycxz")},
    "nifti": nifti_of(".nii"),
    "nifti gz": nifti_of(".nii.gz"),
    "nifti channels": nifti_of(".nii.gz", "zyxc"),
    "tiff": tiff_of(),
    "tiff big-endian": tiff_of(byteorder=">"),
    "tiff imagej": tiff_of(imagej=True),
    "tiff imagej zlib": tiff_of(imagej=True, compression="zlib"),
    "tiff zlib": tiff_of(compression="zlib"),
    "tiff lzw": tiff_of(compression="lzw"),
    "tiff tiled": tiff_of(tile=(16, 16), compression="zlib"),
    "tiff pages": tiff_of(pages=True),
    "tiff pages lzw": tiff_of(pages=True, compression="lzw"),
    "tiff ome": tiff_of(ome=True),
    "tiff channels": tiff_of(channels=2),
    "tiff imagej channels": tiff_of(channels=2, imagej=True),
    "tiff ome channels": tiff_of(channels=2, ome=True, compression="zlib"),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_crops_are_slices_of_the_whole(tmp_path, source):
    volume, array = source(tmp_path)
    assert (volume.shape, volume.channels) == (SHAPE, array.shape[3])
    assert volume.nbytes == array.nbytes
    np.testing.assert_array_equal(volume.array(), array)
    for name, box in BOXES.items():
        np.testing.assert_array_equal(volume.read(box), array[box], err_msg=name)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_in_memory_is_the_same_volume_without_its_file(tmp_path, source):
    volume, array = source(tmp_path)
    loaded = in_memory(volume)
    if volume.path:
        volume.path.unlink()
    np.testing.assert_array_equal(loaded.read(BOXES["inside"]), array[BOXES["inside"]])
    assert (loaded.shape, loaded.channels, loaded.spacing) == (volume.shape, volume.channels, volume.spacing)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 130, 257), (128, 128, 2), (129, 4, 256)])
def test_blocks_cover_every_voxel_once(shape):
    array = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    covered = np.zeros(shape, int)
    for box, block in from_array(array).blocks():
        covered[box] += 1
        assert max(block.shape) <= 128
        np.testing.assert_array_equal(block[..., 0], array[box])
    assert (covered == 1).all()


# ---- laziness ------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes, index", [("zyx", (3000, 9000, 150)), ("xyz", (150, 9000, 3000))])
def test_a_crop_of_hdf5_does_not_read_the_rest(tmp_path, axes, index):
    shape = (20000, 20000, 200)
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        shape_in_file = shape if axes == "zyx" else shape[::-1]
        dataset = file.create_dataset("raw", shape_in_file, "uint16", chunks=(64, 64, 64), fillvalue=3)
        dataset[index] = 7
    volume = open_volume(tmp_path / "huge.h5", axes=axes)
    assert volume.shape == shape
    crop = volume.read((slice(2999, 3002), slice(8999, 9003), slice(149, 154)))[..., 0]
    expected = np.full((3, 4, 5), 3)
    expected[1, 1, 1] = 7
    np.testing.assert_array_equal(crop, expected)


def test_a_crop_of_nifti_does_not_read_the_rest(tmp_path):
    shape = (200, 20000, 20000)
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(shape)
    header.set_sform(np.eye(4), 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    with open(tmp_path / "huge.nii", "wb") as file:
        header.write_to(file)
        file.truncate(352 + int(np.prod(shape, dtype=np.int64)))  # a sparse file
        file.seek(352 + 150 + 200 * (9000 + 20000 * 3000))
        file.write(b"\7")
    volume = open_volume(tmp_path / "huge.nii")
    assert volume.shape == shape[::-1]
    crop = volume.read((slice(2999, 3002), slice(8999, 9003), slice(149, 154)))[..., 0]
    assert crop.shape == (3, 4, 5)
    assert np.argwhere(crop).tolist() == [[1, 1, 1]]


def test_a_crop_of_compressed_tiff_decodes_only_its_pages(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", voxels((20, 6, 7), "uint16"), compression="zlib")
    volume = open_volume(tmp_path / "a.tif")
    decoded, whole = [], tifffile.TiffPage.asarray

    def asarray(page, *args, **options):
        decoded.append(page.index)
        return whole(page, *args, **options)

    monkeypatch.setattr(tifffile.TiffPage, "asarray", asarray)
    monkeypatch.setattr(tifffile, "imread", None)
    volume.read((slice(4, 7), slice(0, 2), slice(0, 2)))
    assert len(decoded) == 3


def test_a_crop_of_plain_tiff_is_mapped(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", voxels())
    volume = open_volume(tmp_path / "a.tif")
    monkeypatch.setattr(tifffile, "TiffFile", None)
    monkeypatch.setattr(tifffile, "imread", None)
    crop = volume.read(BOXES["inside"])
    np.testing.assert_array_equal(crop[..., 0], voxels()[BOXES["inside"]])
    assert not isinstance(crop.base if crop.base is not None else crop, np.memmap)


def test_opening_reads_no_voxels(tmp_path, monkeypatch):
    path = write_h5(tmp_path / "a.h5", voxels())

    def read(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(h5py.Dataset, "__getitem__", read)
    volume = open_volume(path)
    with pytest.raises(KeyboardInterrupt):
        volume.array()


# ---- HDF5 ----------------------------------------------------------------------------------------


def test_hdf5_says_the_voxel_size_and_the_name(tmp_path):
    path = write_h5(tmp_path / "a.h5", voxels(), "volumes/raw", element_size_um=SPACING)
    volume = open_volume(path, "volumes/raw")
    assert (volume.spacing, volume.unit, volume.path) == (SPACING, "um", path)
    assert volume.name == f"{path}:volumes/raw"


def test_hdf5_without_a_voxel_size_has_none(tmp_path):
    volume = open_volume(write_h5(tmp_path / "a.h5", voxels()))
    assert (volume.spacing, volume.unit) == (None, None)


@pytest.mark.parametrize("axes", ["xyz", "yzx"])
def test_hdf5_keeps_the_order_of_its_axes(tmp_path, axes):
    stored = voxels().transpose(["zyx".index(axis) for axis in axes])
    like = open_volume(write_h5(tmp_path / "in.h5", stored), axes=axes)
    write_volume(tmp_path / "out.h5", voxels(), like)
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["label"][:], stored)
    np.testing.assert_array_equal(open_volume(tmp_path / "out.h5", "label").array()[..., 0], voxels())


# ---- NIfTI ---------------------------------------------------------------------------------------

ORIENTATIONS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def oriented(order, signs):
    """Return data and affine of a file whose axis j runs along the world's axis order[j], in direction signs[j].

    Its physical content is always `voxels()`, with x from 10, y from 20 and z from 30 mm on.
    """
    canonical = voxels().transpose(2, 1, 0)
    data, affine = canonical.transpose(order), np.eye(4)
    affine[:3, :3], affine[:3, 3] = 0, (10, 20, 30)
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        size = SPACING[2 - world]
        affine[world, axis] = sign * size
        if sign < 0:
            data = np.flip(data, axis)
            affine[world, 3] += size * (canonical.shape[world] - 1)
    return np.ascontiguousarray(data), affine


@pytest.mark.parametrize("order, signs", ORIENTATIONS)
def test_nifti_of_every_orientation(tmp_path, order, signs):
    data, affine = oriented(order, signs)
    path = write_nii(tmp_path / "in.nii", data, affine)
    canonical = nibabel.as_closest_canonical(nibabel.load(path))
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.array()[..., 0], np.asarray(canonical.dataobj).transpose(2, 1, 0))
    np.testing.assert_array_equal(volume.array()[..., 0], voxels())
    np.testing.assert_array_equal(volume.read(BOXES["inside"])[..., 0], voxels()[BOXES["inside"]])
    assert volume.spacing == pytest.approx(SPACING)
    assert volume.unit == "mm"

    labels = (voxels() % 5).astype(np.uint8)
    write_volume(tmp_path / "out.nii", labels, volume)
    written = nibabel.load(tmp_path / "out.nii")
    np.testing.assert_allclose(written.affine, affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj), data % 5)
    reopened = open_volume(tmp_path / "out.nii")
    np.testing.assert_array_equal(reopened.array()[..., 0], labels)
    assert reopened.spacing == pytest.approx(SPACING)


@pytest.mark.parametrize("order, signs", [((2, 0, 1), (-1, 1, -1)), ((0, 1, 2), (-1, -1, 1))])
def test_nifti_channels_are_turned_too(tmp_path, order, signs):
    data, affine = oriented(order, signs)
    path = write_nii(tmp_path / "in.nii.gz", np.stack([data, data + 1], -1), affine)
    volume = open_volume(path, axes="zyxc")
    array = np.stack([voxels(), voxels() + 1], -1)
    np.testing.assert_array_equal(volume.array(), array)
    write_volume(tmp_path / "out.nii.gz", array.astype(np.float32), volume)
    written = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(written.affine, affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj), np.stack([data, data + 1], -1))


def oblique():
    """Return an affine that is turned by 20 and 30 degrees, with anisotropic voxels and a flip."""
    (a, b), (c, d) = ((np.cos(t), np.sin(t)) for t in np.radians((20, 30)))
    turn = np.array([[a, -b, 0], [b, a, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -d], [0, d, c]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.5, 0.8, 2.0])
    affine[:3, 3] = (10, 20, 30)
    return affine


def test_oblique_nifti_is_turned_to_the_closest_axes(tmp_path):
    data = np.ascontiguousarray(voxels().transpose(2, 1, 0))
    path = write_nii(tmp_path / "in.nii", data, oblique())
    canonical = nibabel.as_closest_canonical(nibabel.load(path))
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.array()[..., 0], np.asarray(canonical.dataobj).transpose(2, 1, 0))
    assert volume.spacing == pytest.approx(SPACING)
    write_volume(tmp_path / "out.nii", volume.array()[..., 0], volume)
    written = nibabel.load(tmp_path / "out.nii")
    np.testing.assert_allclose(written.affine, oblique(), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(written.dataobj), data)


@pytest.mark.parametrize("qform, sform", [(1, 1), (0, 2), (1, 0), (2, 4), (4, 3), (0, 0)])
def test_nifti_keeps_the_codes_and_both_affines(tmp_path, qform, sform):
    shifted = oblique() + np.pad([[5.0], [6], [7]], ((0, 1), (3, 0)))
    image = nibabel.Nifti1Image(voxels().transpose(2, 1, 0), oblique())
    image.set_qform(oblique(), qform)
    image.set_sform(shifted, sform)
    nibabel.save(image, tmp_path / "in.nii")
    source = nibabel.load(tmp_path / "in.nii")
    volume = open_volume(tmp_path / "in.nii")
    write_volume(tmp_path / "out.nii", volume.array()[..., 0], volume)
    written = nibabel.load(tmp_path / "out.nii")
    assert (int(written.header["qform_code"]), int(written.header["sform_code"])) == (qform, sform)
    np.testing.assert_allclose(written.affine, source.affine, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(written.get_qform(), source.get_qform(), rtol=1e-6, atol=1e-6)
    if sform:
        np.testing.assert_allclose(written.get_sform(), source.get_sform(), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(written.dataobj), np.asarray(source.dataobj))


def test_nifti_with_a_scale_opens_as_floats(tmp_path):
    image = nibabel.Nifti1Image(voxels(dtype="int16").transpose(2, 1, 0), np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    nibabel.save(image, tmp_path / "a.nii")
    stored = np.asarray(nibabel.load(tmp_path / "a.nii").dataobj)
    volume = open_volume(tmp_path / "a.nii")
    assert volume.dtype == volume.array().dtype == np.float64
    np.testing.assert_allclose(volume.array()[..., 0], stored.transpose(2, 1, 0))
    np.testing.assert_allclose(volume.read(BOXES["inside"]), volume.array()[BOXES["inside"]])


@pytest.mark.parametrize("extra", [(1,), (1, 1)])
def test_nifti_with_one_time_needs_no_axes(tmp_path, extra):
    data = voxels().transpose(2, 1, 0).reshape(*SHAPE[::-1], *extra)
    volume = open_volume(write_nii(tmp_path / "a.nii", data))
    assert (volume.shape, volume.channels) == (SHAPE, 1)
    np.testing.assert_array_equal(volume.array()[..., 0], voxels())


def test_nifti_2_stays_nifti_2(tmp_path):
    nibabel.save(nibabel.Nifti2Image(voxels().transpose(2, 1, 0), np.eye(4)), tmp_path / "in.nii")
    volume = open_volume(tmp_path / "in.nii")
    write_volume(tmp_path / "out.nii", voxels(), volume)
    assert type(nibabel.load(tmp_path / "out.nii")) is nibabel.Nifti2Image


# ---- TIFF ----------------------------------------------------------------------------------------

PHYSICAL = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", SPACING, strict=True)}


def physical(unit):
    return PHYSICAL | {f"PhysicalSize{axis}Unit": unit for axis in "XYZ"}


IMAGEJ = {"imagej": True, "resolution": (1 / SPACING[2], 1 / SPACING[1])}
TIFF_SPACINGS = {
    "imagej micron": (IMAGEJ | {"metadata": {"axes": "ZYX", "spacing": 2.0, "unit": "micron"}}, SPACING),
    "imagej um": (IMAGEJ | {"metadata": {"axes": "ZYX", "spacing": 2.0, "unit": "um"}}, SPACING),
    "imagej \\u00B5m": (IMAGEJ | {"metadata": {"axes": "ZYX", "spacing": 2.0, "unit": "\\u00B5m"}}, SPACING),
    "ome default": ({"ome": True, "metadata": {"axes": "ZYX", **PHYSICAL}}, SPACING),
    "ome um": ({"ome": True, "metadata": {"axes": "ZYX", **physical("µm")}}, SPACING),
    "ome mm": ({"ome": True, "metadata": {"axes": "ZYX", **physical("mm")}}, np.multiply(SPACING, 1e3)),
    "ome nm": ({"ome": True, "metadata": {"axes": "ZYX", **physical("nm")}}, np.multiply(SPACING, 1e-3)),
}


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("options, expected", TIFF_SPACINGS.values(), ids=TIFF_SPACINGS)
def test_tiff_says_the_voxel_size(tmp_path, options, expected, compression):
    tifffile.imwrite(tmp_path / "a.tif", voxels(), compression=compression, **options)
    volume = open_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.array()[..., 0], voxels())
    assert micrometres(volume) == pytest.approx(expected)


def test_tiff_of_pages_without_metadata_has_no_voxel_size(tmp_path):
    volume = open_volume(write_pages(tmp_path / "a.tif", voxels(), resolution=(2, 2)))
    assert (volume.shape, volume.spacing, volume.unit) == (SHAPE, None, None)


def test_one_tiff_page_with_channels_is_no_stack(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", voxels((6, 7, 3)), photometric="rgb")
    with pytest.raises(InputError, match=says("a.tif", "expected a stack of planes", "found one plane", "YXS")):
        open_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}], ids=["imagej", "ome"])
def test_a_stack_that_was_saved_as_channels_opens_with_axes(tmp_path, options):
    # tifffile writes this where nobody says what the first axis is.
    tifffile.imwrite(tmp_path / "a.tif", voxels((15, 6, 7)), photometric="minisblack", **options)
    with pytest.raises(InputError, match=says("a.tif", "expected a stack of planes", "CYX", "add `axes=zyx`")):
        open_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(open_volume(tmp_path / "a.tif", axes="zyx").array()[..., 0], voxels((15, 6, 7)))


# ---- arrays, channels ----------------------------------------------------------------------------


def test_stacked_volumes_are_channels_in_order():
    parts = [voxels(), voxels((*SHAPE, 2), "uint16"), voxels(dtype="float32")]
    whole = stacked([from_array(part) for part in parts], "together")
    assert (whole.name, whole.shape, whole.channels, whole.dtype) == ("together", SHAPE, 4, np.float32)
    expected = np.concatenate([parts[0][..., None], parts[1], parts[2][..., None]], -1)
    np.testing.assert_array_equal(whole.read(BOXES["inside"]), expected[BOXES["inside"]])


def test_stacked_volumes_of_other_shapes_are_refused():
    volumes = [from_array(voxels(), "first"), from_array(voxels((5, 6, 8)), "second")]
    with pytest.raises(InputError, match=says("second: expected", "first", "(5, 6, 7)", "found (5, 6, 8)")):
        stacked(volumes, "together")


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4, 5, 6)])
def test_arrays_of_other_axes_are_refused(shape):
    with pytest.raises(InputError, match=says("mine: expected an array (z, y, x)", f"found shape {shape}")):
        from_array(np.zeros(shape), "mine")


@pytest.mark.parametrize("spacing", [(1, 2), (1, 0, 1), (1, -1, 1), (1, np.nan, 1), (1, 2, 3, 4)])
def test_voxel_sizes_that_are_none_are_refused(spacing):
    with pytest.raises(InputError, match=says("mine: expected a voxel size of three positive numbers", spacing)):
        from_array(voxels(), "mine", spacing)


@pytest.mark.parametrize(
    "name, suffix, bare",
    [("a.h5", ".h5", "a"), ("a.b.nii.gz", ".nii.gz", "a.b"), ("A.TIFF", ".tiff", "A"), ("a.nii", ".nii", "a")],
)
def test_suffix_and_stem(tmp_path, name, suffix, bare):
    assert (volume_format(tmp_path / name), stem(tmp_path / name)) == (suffix, bare)


# ---- bad input -----------------------------------------------------------------------------------

FILES = [suffix for suffix, each in FORMATS.items() if not each.is_folder]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_missing_volume_is_refused(tmp_path, suffix):
    kind = "file" if suffix in FILES else "folder"
    expected = says(f"gone{suffix}", f"expected a volume {kind}", f"no such {kind}", "check the path")
    with pytest.raises(InputError, match=expected):
        open_volume(tmp_path / f"gone{suffix}")


@pytest.mark.parametrize("suffix", FILES)
def test_a_folder_in_place_of_a_file_is_refused(tmp_path, suffix):
    (tmp_path / f"a{suffix}").mkdir()
    with pytest.raises(InputError, match=says(f"a{suffix}", "expected a volume file", "found a folder")):
        open_volume(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("name, found", [("a.vtk", ".vtk"), ("a.gz", ".gz"), ("a", "no suffix")])
@pytest.mark.parametrize("call", [open_volume, lambda path: write_volume(path, voxels(), from_array(voxels()))])
def test_an_unknown_suffix_is_refused(tmp_path, call, name, found):
    expected = says(name, "expected", ", ".join(FORMATS)) + f".*found '?{re.escape(found)}"
    with pytest.raises(InputError, match=expected):
        call(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_missing_data_set_is_refused_with_those_there_are(tmp_path):
    path = write_h5(tmp_path / "a.h5", voxels(), "volumes/raw_image")
    words = ("a.h5", "expected a data set 'volumes/raw_imag'", "found volumes/raw_image", "name it by `raw_key`")
    with pytest.raises(InputError, match=says(*words, "Did you mean 'volumes/raw_image'?")):
        open_volume(path, "volumes/raw_imag")


def test_a_group_is_no_data_set(tmp_path):
    path = write_h5(tmp_path / "a.h5", voxels(), "volumes/raw")
    with pytest.raises(InputError, match=says("a.h5", "expected a data set 'volumes'", "found volumes/raw")):
        open_volume(path, "volumes")


def test_an_hdf5_file_without_data_sets_is_refused(tmp_path):
    h5py.File(tmp_path / "a.h5", "w").close()
    with pytest.raises(InputError, match=says("a.h5", "expected a data set 'raw'", "found none")):
        open_volume(tmp_path / "a.h5")


def write_any(path, array):
    """Write the axes of `array` as they are."""
    if path.suffix == ".h5":
        return write_h5(path, array)
    if path.suffix == ".tif":
        tifffile.imwrite(path, array, photometric="minisblack")
        return path
    return write_nii(path, array)


@pytest.mark.parametrize("suffix", [".h5", ".nii", ".nii.gz", ".tif"])
def test_four_axes_need_to_be_told(tmp_path, suffix):
    path = write_any(tmp_path / f"a{suffix}", voxels((2, 3, 4, 5)))
    words = (f"a{suffix}", "expected to be told the order", "(2, 3, 4, 5)", "`axes=czyx`", "`axes=zyxc`")
    with pytest.raises(InputError, match=says(*words)):
        open_volume(path)


@pytest.mark.parametrize("suffix", [".h5", ".nii", ".tif"])
def test_two_axes_are_no_volume(tmp_path, suffix):
    path = write_any(tmp_path / f"a{suffix}", voxels((4, 5)))
    with pytest.raises(InputError, match=says(f"a{suffix}", "expected a volume of three axes", "found shape (4, 5")):
        open_volume(path)


@pytest.mark.parametrize("suffix", [".h5", ".nii", ".tif"])
@pytest.mark.parametrize("axes", ["", "zy", "zyxt", "zzyx", "czyxc", "cyx", "1234"])
def test_wrong_axes_are_refused(tmp_path, axes, suffix):
    path = write_any(tmp_path / f"a{suffix}", voxels())
    with pytest.raises(InputError, match=says("axes: expected z, y, x and perhaps c", "czyx", f"found {axes!r}")):
        open_volume(path, axes=axes)


@pytest.mark.parametrize("shape, axes", [((2, 3, 4, 5), "zyx"), ((4, 5), "zyx"), ((4, 5), "czyx"), (SHAPE, "czyx")])
@pytest.mark.parametrize("suffix", [".h5", ".tif"])
def test_as_many_axes_as_the_array_has(tmp_path, suffix, shape, axes):
    path = write_any(tmp_path / f"a{suffix}", voxels(shape))
    words = (f"a{suffix}", f"expected {len(axes)} axes ({axes})", f"shape {shape}", "correct `axes`")
    with pytest.raises(InputError, match=says(*words)):
        open_volume(path, axes=axes)


def test_hdf5_of_text_is_refused(tmp_path):
    path = write_h5(tmp_path / "a.h5", np.full(SHAPE, b"x"))
    with pytest.raises(InputError, match=says("a.h5", "expected numbers", "|S1")):
        open_volume(path)


@pytest.mark.parametrize("suffix", [".h5", ".tif"])
def test_complex_voxels_are_refused(tmp_path, suffix):
    path = write_any(tmp_path / f"a{suffix}", np.ones(SHAPE, np.complex64))
    with pytest.raises(InputError, match=says(f"a{suffix}", "expected numbers", "complex64")):
        open_volume(path)


def test_a_nifti_of_colours_is_refused(tmp_path):
    colours = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    with pytest.raises(InputError, match=says("a.nii", "expected numbers")):
        open_volume(write_nii(tmp_path / "a.nii", colours))


def test_a_broken_voxel_size_is_refused(tmp_path):
    path = write_h5(tmp_path / "a.h5", voxels(), element_size_um=(1.0, 2.0))
    with pytest.raises(InputError, match=says("a.h5", "expected a voxel size of three positive numbers", "2.")):
        open_volume(path)


def test_a_nifti_whose_affine_loses_an_axis_is_refused(tmp_path):
    image = nibabel.Nifti1Image(voxels(), np.eye(4))
    image.header["sform_code"], image.header["srow_z"] = 1, 0
    image.header["qform_code"] = 0
    raw = image.header.binaryblock + b"\0" * 4 + voxels().tobytes(order="F")
    broken = bytearray(raw)
    broken[108:112] = np.float32(352).tobytes()
    (tmp_path / "a.nii").write_bytes(broken)
    with pytest.raises(InputError, match=says("a.nii", "expected an affine that maps three voxel axes")):
        open_volume(tmp_path / "a.nii")


def test_ome_xml_that_is_none_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", voxels(), description="<OME><Pixels></OME>", metadata=None)
    with pytest.raises(InputError, match=says("a.tif", "expected a readable .tif volume")):
        open_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".h5", ".hdf5"])
def test_a_volume_without_voxels_is_refused(tmp_path, suffix):
    path = write_h5(tmp_path / f"a{suffix}", np.zeros((0, 6, 7), np.uint8))
    with pytest.raises(InputError, match=says(f"a{suffix}", "expected", "(0, 6, 7)")):
        open_volume(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"this is a letter, not a volume\n" * 50], ids=lambda c: c[:6])
@pytest.mark.parametrize("suffix", FILES)
def test_files_that_are_something_else_are_refused(tmp_path, suffix, content):
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=says(f"a{suffix}", f"expected a readable {suffix} volume", "found a broken")):
        open_volume(tmp_path / f"a{suffix}")


def test_a_text_file_in_gzip_is_no_nifti(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"this is a letter\n" * 50))
    with pytest.raises(InputError, match=says("a.nii.gz", "expected a readable .nii.gz volume")):
        open_volume(tmp_path / "a.nii.gz")


def complete_tiff(**options):
    return lambda path, array: tifffile.imwrite(path, array, **options)


ZYX = {"axes": "ZYX"}
COMPLETE = {
    "h5": (".h5", write_h5),
    "h5 gzip": (".h5", lambda path, array: write_volume(path, array, from_array(array), "raw")),
    "nii": (".nii", write_nii),
    "nii.gz": (".nii.gz", write_nii),
    "tif": (".tif", complete_tiff()),
    "tif zlib": (".tif", complete_tiff(compression="zlib")),
    "tif lzw": (".tif", complete_tiff(compression="lzw")),
    "tif imagej": (".tif", complete_tiff(imagej=True, metadata=ZYX)),
    "tif imagej zlib": (".tif", complete_tiff(imagej=True, metadata=ZYX, compression="zlib")),
    "tif ome": (".tif", complete_tiff(ome=True, metadata=ZYX)),
    "tif ome zlib": (".tif", complete_tiff(ome=True, metadata=ZYX, compression="zlib")),
    "tif pages": (".tif", write_pages),
    "tif pages lzw": (".tif", lambda path, array: write_pages(path, array, compression="lzw")),
    "tif bigtiff": (".tif", complete_tiff(bigtiff=True, compression="zlib")),
    "tif channels": (".tif", lambda path, array: write_volume(path, np.stack([array] * 2, -1), from_array(array))),
}


def complete_bytes(folder, suffix, write):
    path = folder / f"whole{suffix}"
    write(path, noise((8, 20, 30)))
    return path.read_bytes(), open_volume(path).array()


@pytest.mark.parametrize("share", [0.03, 0.2, 0.5, 0.75])
@pytest.mark.parametrize("suffix, write", COMPLETE.values(), ids=COMPLETE)
def test_truncated_files_are_refused(tmp_path, suffix, write, share):
    content, _ = complete_bytes(tmp_path, suffix, write)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=says(f"cut{suffix}", "expected", "found")):
        open_volume(path).array()


def joints(path):
    """Return where in a TIFF its pages begin and the voxels of each end: where cutting is hardest to see."""
    if path.suffix != ".tif":
        return set()
    with tifffile.TiffFile(path) as file:
        begins = {page.offset for page in file.pages}
        ends = {page.dataoffsets[-1] + page.databytecounts[-1] for page in file.pages}
    return {place + more for place in begins | ends for more in (0, 1, 2, 20)}


@pytest.mark.parametrize("suffix, write", COMPLETE.values(), ids=COMPLETE)
def test_files_cut_anywhere_are_refused_or_read_right(tmp_path, suffix, write):
    content, array = complete_bytes(tmp_path, suffix, write)
    path = tmp_path / f"cut{suffix}"
    cuts = {*np.linspace(1, len(content) - 1, 30).astype(int).tolist(), 2, 4, 6, len(content) - 2}
    faults = {}
    for end in sorted(cuts | joints(tmp_path / f"whole{suffix}")):
        path.write_bytes(content[:end])
        try:
            found = open_volume(path).array()
        except InputError:
            continue
        except Exception as error:
            faults[end] = f"{type(error).__name__}: {error}"
            continue
        if found.shape != array.shape or (found != array).any():
            faults[end] = f"shape {found.shape}, {(found == 0).sum()} zeros"
    assert not faults, f"of {len(content)} bytes"


def test_a_crop_of_a_file_that_went_away_is_refused(tmp_path):
    path = write_h5(tmp_path / "a.h5", voxels())
    volume = open_volume(path)
    path.unlink()
    with pytest.raises(InputError, match=says("a.h5", "expected a readable .h5 volume")):
        volume.array()


def test_names_of_volumes_are_their_files(tmp_path):
    path = write_nii(tmp_path / "a.nii", voxels())
    volume = open_volume(str(path))
    assert isinstance(volume, Volume)
    assert (volume.name, volume.path) == (str(path), path)


@pytest.mark.parametrize("suffix", WITHOUT_SERIES)
@pytest.mark.parametrize("unit, size", [("nm", 0.02), ("angstrom", 0.002), ("cm", 2e5)])
def test_a_unit_that_a_format_does_not_have_is_converted(tmp_path, suffix, unit, size):
    like = from_array(voxels(), spacing=(20.0, 20.0, 40.0), unit=unit)
    write_volume(tmp_path / f"a{suffix}", voxels(), like)
    assert open_volume(tmp_path / f"a{suffix}", "label").micrometres == pytest.approx((size, size, 2 * size))
