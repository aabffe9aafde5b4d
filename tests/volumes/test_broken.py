"""What readers refuse in one sentence: forged headers, links that lead elsewhere, several volumes in one file."""

import errno
import gzip
from pathlib import Path

import h5py
import mrcfile
import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
import zarr
from helpers import says

from keras_unet3d.errors import InputError
from keras_unet3d.volumes import WRITTEN, from_array, open_inside, open_volume, write_volume
from keras_unet3d.volumes.reading import readable

ARRAY = (np.arange(5 * 6 * 7) % 200).reshape(5, 6, 7).astype(np.uint8)
AGAIN = "copy it again from its source"


# ---- whatever is raised belongs to the file --------------------------------------------------------


@pytest.mark.parametrize("error", [ZeroDivisionError, AttributeError, np.linalg.LinAlgError, RecursionError, KeyError])
def test_errors_of_the_program_are_not_shown(error):
    said = f"a.nii.gz: expected a readable .nii.gz volume, found a broken or truncated file; {AGAIN}."
    with pytest.raises(InputError) as caught, readable(Path("a.nii.gz")):
        raise error("SVD did not converge")
    assert str(caught.value) == said


def test_the_reason_of_the_system_is_said_in_its_words():
    with pytest.raises(InputError) as caught, readable(Path("a.h5")):
        raise PermissionError(errno.EACCES, "[Errno 13] Unable to open file", "a.h5")
    assert str(caught.value) == (
        "a.h5: expected a readable .h5 volume, found that the system does not give it (permission denied); "
        "check the path, who may read it, and whether it is in use."
    )


def test_hdf5_says_why_without_its_functions(tmp_path):
    (tmp_path / "a.h5").write_text("a letter")
    with pytest.raises(InputError) as caught:
        open_volume(tmp_path / "a.h5")
    assert str(caught.value).endswith(f"found a broken or truncated file (file signature not found); {AGAIN}.")


@pytest.mark.parametrize("error", [MemoryError, ImportError, KeyboardInterrupt, InputError])
def test_what_says_nothing_about_the_file_passes(error):
    with pytest.raises(error, match="^as it is$"), readable(Path("a.nii")):
        raise error("as it is")


@pytest.mark.parametrize("suffix", [suffix for suffix in WRITTEN if suffix != ".dcm"])
def test_opening_and_reading_are_guarded(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a{suffix}"
    write_volume(path, ARRAY, from_array(ARRAY), "raw")
    volume = open_volume(path)

    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(h5py.Dataset, "__getitem__", broken)
    monkeypatch.setattr(h5py, "File", broken)
    monkeypatch.setattr(zarr.Array, "__getitem__", broken)
    monkeypatch.setattr(zarr, "open", broken)
    monkeypatch.setattr(nibabel.arrayproxy.ArrayProxy, "__getitem__", broken)
    monkeypatch.setattr(nibabel, "load", broken)
    monkeypatch.setattr(tifffile, "TiffFile", broken)
    monkeypatch.setattr(tifffile, "imread", broken)
    monkeypatch.setattr(np, "memmap", broken)
    monkeypatch.setattr(SimpleITK, "ImageFileReader", broken)
    monkeypatch.setattr(mrcfile, "open", broken)
    monkeypatch.setattr(mrcfile, "mmap", broken)
    for call in (volume.array, lambda: open_volume(path)):
        with pytest.raises(InputError, match=says(f"a{suffix}: expected a readable {suffix} volume")):
            call()


# ---- headers that declare what is not there ----------------------------------------------------------


def dimension(number, size):
    return 40 + 2 * number, np.int16(size)


HUGE = [dimension(number, 32767) for number in (1, 2, 3)]
# What is put where in the header, and the sentence.
FORGED = {
    "negative": ([dimension(1, -5)], "expected voxels along every axis, found an array of shape (-5, 6, 5)"),
    "infinite affine": (
        [(254, np.int16(1)), (280, np.float32(np.nan))],
        "expected an affine that maps three voxel axes",
    ),
    "unknown unit": ([(123, np.uint8(77))], f"found a broken or truncated file; {AGAIN}"),
}


def forge(path, changes):
    nibabel.save(nibabel.Nifti1Image(ARRAY.transpose(2, 1, 0), np.eye(4)), path.with_name("good.nii"))
    content = bytearray(path.with_name("good.nii").read_bytes())
    for place, value in changes:
        content[place : place + value.nbytes] = value.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("changes, said", FORGED.values(), ids=FORGED)
def test_a_forged_nifti_header_is_refused(tmp_path, suffix, changes, said):
    with pytest.raises(InputError, match=says(f"a{suffix}: expected", said)):
        open_volume(forge(tmp_path / f"a{suffix}", changes))


def hollow_nifti(path):
    forge(path, HUGE)


def hollow_tiff(compression, tag=60000):
    def write(path):
        with tifffile.TiffWriter(path) as file:
            for plane in ARRAY:
                file.write(plane, metadata=None, contiguous=False, compression=compression, rowsperstrip=2**20)
        with tifffile.TiffFile(path, mode="r+") as file:
            for page in file.pages:
                for name in ("ImageWidth", "ImageLength"):
                    page.tags[name].overwrite(tag, dtype="I")

    return write


def hollow_hdf5(chunks, side=10**5):
    def write(path):
        with h5py.File(path, "w") as file:
            file.create_dataset("raw", (side,) * 3, "u2", chunks=chunks)

    return write


def hollow_zarr(number):
    def write(path):
        zarr.create_array(path, shape=(10**5,) * 3, dtype="u2", chunks=(64,) * 3, zarr_format=number)

    return write


HOLLOW = {
    "nifti": ("a.nii", hollow_nifti, "35,181,150,962,015"),
    "nifti gz": ("a.nii.gz", hollow_nifti, "31,982,864,511"),
    "tiff": ("a.tif", hollow_tiff(None), "18,000,000,000"),
    "tiff zlib": ("a.tif", hollow_tiff("zlib"), "274,659"),
    "hdf5": ("a.h5", hollow_hdf5(None), "953,674,317"),
    "hdf5 chunks": ("a.h5", hollow_hdf5((64,) * 3), "953,674,317"),
    "zarr 2": ("a.zarr", hollow_zarr(2), "953,674,317"),
    "zarr 3": ("a.zarr", hollow_zarr(3), "953,674,317"),
}


@pytest.mark.parametrize("name, write, needed", HOLLOW.values(), ids=HOLLOW)
def test_a_file_that_cannot_hold_what_it_declares_is_refused(tmp_path, name, write, needed):
    write(tmp_path / name)
    words = (
        f"expected {needed} bytes or more for the voxels that the header declares, found",
        "truncated, or its header",
    )
    with pytest.raises(InputError, match=says(f"{tmp_path / name}", *words, AGAIN)):
        open_volume(tmp_path / name)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_chunks_that_nobody_wrote_are_legal(tmp_path, compression):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        labels = file.create_dataset("raw", (2048,) * 3, "u1", chunks=(64,) * 3, fillvalue=255, compression=compression)
        labels[1000, :60, :60] = 1
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("raw", (2048,) * 3, "u1", chunks=(64,) * 3)
    assert open_volume(tmp_path / "b.h5").shape == (2048,) * 3
    assert open_volume(tmp_path / "a.h5").read((slice(1000, 1001), slice(59, 61), slice(0, 1))).ravel().tolist() == [
        1,
        255,
    ]
    stored = zarr.create_array(tmp_path / "a.zarr", shape=(2048,) * 3, dtype="u1", chunks=(100,) * 3, fill_value=255)
    assert open_volume(tmp_path / "a.zarr").read((slice(0, 1),) * 3).item() == stored[0, 0, 0] == 255


@pytest.mark.parametrize("name", ["a.nii.gz", "a.tif", "a.h5", "a.zarr"])
def test_nothing_packs_more_than_is_allowed(tmp_path, name):
    empty = np.zeros((64, 512, 512), np.uint8)
    write_volume(tmp_path / name, empty, from_array(empty), "raw")
    assert open_volume(tmp_path / name).shape == empty.shape
    if name == "a.tif":
        tifffile.imwrite(tmp_path / name, empty, compression="zstd")
        assert open_volume(tmp_path / name).shape == empty.shape


# ---- HDF5 that names other files -----------------------------------------------------------------------


def with_link(link):
    def write(path):
        with h5py.File(path, "w") as file:
            file["raw"] = link

    return write


def virtual(source, key="raw"):
    def write(path):
        layout = h5py.VirtualLayout(ARRAY.shape, np.uint8)
        layout[:] = h5py.VirtualSource(source, key, ARRAY.shape)
        with h5py.File(path, "w") as file:
            file.create_virtual_dataset("raw", layout)

    return write


def outside(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("raw", ARRAY.shape, "u1", external=[("/etc/passwd", 0, ARRAY.nbytes)])


LEADS = {
    "soft link": (
        with_link(h5py.SoftLink("/gone")),
        "expected a data set 'raw', found a link to /gone, which leads nowhere",
    ),
    "external link": (with_link(h5py.ExternalLink("gone.h5", "/raw")), "a link to gone.h5:/raw, which leads nowhere"),
    "link elsewhere": (with_link(h5py.ExternalLink("../far.h5", "/raw")), "in files beside or below it, found them in"),
    "external": (outside, "expected the voxels within the file, found them in /etc/passwd; save them within it"),
    "virtual without its file": (virtual("gone.h5"), "gone.h5, which holds a part of the voxels, found no such file"),
    "virtual without its data": (virtual("near.h5", "gone"), "expected the data set 'gone' in"),
    "virtual elsewhere": (virtual("../far.h5"), "in files beside or below it, found them in"),
    "virtual of a virtual one": (virtual("sub/virtual.h5"), "in files beside or below it, found them in"),
}


@pytest.fixture
def folder(tmp_path):
    """A folder with a good file, one above it, and one below that takes its voxels from the one above."""
    (tmp_path / "data" / "sub").mkdir(parents=True)
    for path in ("far.h5", "data/near.h5", "data/sub/below.h5"):
        write_volume(tmp_path / path, ARRAY, from_array(ARRAY), "raw")
    virtual("../../far.h5")(tmp_path / "data" / "sub" / "virtual.h5")
    return tmp_path / "data"


@pytest.mark.parametrize("write, said", LEADS.values(), ids=LEADS)
@pytest.mark.parametrize("opened", [open_volume, lambda path: open_inside(path, "raw")], ids=["open", "inside"])
def test_voxels_that_are_not_there_are_refused(folder, write, said, opened):
    write(folder / "a.h5")
    with pytest.raises(InputError, match=says("a.h5: expected", said)) as caught:
        opened(folder / "a.h5")
    # As a missing key, a weight would be left out without a word.
    assert type(caught.value) is InputError


@pytest.mark.parametrize(
    "write", [virtual("near.h5"), virtual("sub/below.h5"), with_link(h5py.ExternalLink("near.h5", "/raw"))]
)
def test_voxels_beside_and_below_the_file_are_read(folder, monkeypatch, write):
    write(folder / "a.h5")
    np.testing.assert_array_equal(open_volume(folder / "a.h5").array()[..., 0], ARRAY)
    monkeypatch.chdir(folder)
    np.testing.assert_array_equal(open_volume("a.h5").array()[..., 0], ARRAY)


# ---- TIFF of several volumes ------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}], ids=["imagej", "ome"])
def test_a_time_series_is_no_stack(tmp_path, options):
    series = np.stack([ARRAY] * 3)
    tifffile.imwrite(tmp_path / "a.tif", series, metadata={"axes": "TZYX"}, **options)
    said = "a.tif: expected one point in time, found 3 (axes tzyx, shape (3, 5, 6, 7)); save the one to segment"
    with pytest.raises(InputError, match=says(said)):
        open_volume(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", ARRAY, metadata={"axes": "TYX"}, **options)
    said = "b.tif: expected one point in time, found 5 (axes tyx, shape (5, 6, 7))"
    with pytest.raises(InputError, match=says(said, "or add `axes=zyx` if it is a stack of planes")):
        open_volume(tmp_path / "b.tif")
    np.testing.assert_array_equal(open_volume(tmp_path / "b.tif", axes="zyx").array()[..., 0], ARRAY)


def write_spread(path, other, planes):
    """Write an OME-TIFF of five planes, of which two are those of the file `other`."""
    size = 'SizeX="7" SizeY="6" SizeZ="5" SizeC="1" SizeT="1"'
    parts = "".join(
        f'<TiffData FirstZ="{first}" PlaneCount="{count}"><UUID FileName="{name}">urn:{name}</UUID></TiffData>'
        for first, count, name in ((0, 3, path.name), (3, 2, other))
    )
    xml = f'<OME UUID="urn:{path.name}"><Image><Pixels DimensionOrder="XYZCT" Type="uint8" {size}>{parts}</Pixels></Image></OME>'
    write_pages(path, planes, description=xml)


def write_pages(path, planes, description=None):
    with tifffile.TiffWriter(path, ome=False) as file:
        for plane in planes:
            file.write(plane, description=description, metadata=None, contiguous=False)
            description = None


def test_planes_in_other_files_must_be_there_and_near(tmp_path):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "a.tif"
    for other in ("near.tif", "../far.tif"):
        write_pages(tmp_path / "data" / other, ARRAY[3:])
        write_spread(path, other, ARRAY[:3])
        if other == "near.tif":
            np.testing.assert_array_equal(open_volume(path).array()[..., 0], ARRAY)
    with pytest.raises(
        InputError, match=says("a.tif: expected voxels in files beside or below it, found them in", "far.tif")
    ):
        open_volume(path)
    (tmp_path / "far.tif").unlink()
    with pytest.raises(
        InputError, match=says("expected 5 planes, found 2 to be in files that are not there; put them beside")
    ):
        open_volume(path)


def write_series(path, *shapes, **options):
    with tifffile.TiffWriter(path) as file:
        for number, shape in enumerate(shapes):
            file.write(np.full(shape, number + 1, np.uint8), **(options if number else {}))
    return path


@pytest.mark.parametrize("other", [(7, 60, 50), (5, 60, 60), (40, 20, 20)])
def test_several_volumes_in_a_tiff_are_refused(tmp_path, other):
    path = write_series(tmp_path / "a.tif", (5, 64, 64), other)
    said = f"expected one volume, found 2: 5 x 64 x 64, {' x '.join(map(str, other))}; save the one to use"
    with pytest.raises(InputError, match=says("a.tif", said)):
        open_volume(path)


@pytest.mark.parametrize(
    "other, options", [((16, 16), {}), ((60, 60), {}), ((5, 32, 32), {}), ((3, 60, 60), {"subfiletype": 1})]
)
def test_thumbnails_and_pyramids_are_no_volumes(tmp_path, other, options):
    volume = open_volume(write_series(tmp_path / "a.tif", (5, 64, 64), other, **options))
    assert (volume.shape, int(volume.array().max())) == ((5, 64, 64), 1)


# ---- axes that the array has not ------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [suffix for suffix in WRITTEN if suffix != ".dcm"])
def test_an_image_without_the_axis_of_channels_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_volume(path, ARRAY, from_array(ARRAY), "raw")
    with pytest.raises(InputError, match=says(f"a{suffix}", "expected 4 axes", "found an array of shape", "`axes`")):
        open_volume(path, axes="czyx")
