"""Folders of pictures, N5, and volumes that a path names inside of a file."""

import h5py
import imagecodecs
import numpy as np
import pytest
import strangers
import tifffile
from helpers import says

from keras_unet3d.datasets import DataKeys, Globs, find_data
from keras_unet3d.datasets.pairing import find_pairs
from keras_unet3d.errors import InputError
from keras_unet3d.volumes import open_inside, open_volume, result_suffix, stem

VOXELS = np.random.default_rng(0).integers(0, 999, (5, 6, 7)).astype(np.uint16)
WRITE = {
    ".png": lambda path, plane: path.write_bytes(imagecodecs.png_encode(plane)),
    ".jp2": lambda path, plane: path.write_bytes(imagecodecs.jpeg2k_encode(plane, level=0, reversible=True)),
    ".tif": lambda path, plane: tifffile.imwrite(path, plane, compression="lzw"),
    ".TIFF": tifffile.imwrite,
}


def pictures(folder, suffix=".png", planes=VOXELS, first=8):
    folder.mkdir()
    for number, plane in enumerate(planes, first):
        WRITE[suffix](folder / f"scan3_{number}{suffix}", plane)
    return folder


@pytest.mark.parametrize("suffix", WRITE)
def test_pictures_are_slices_by_their_numbers(tmp_path, suffix):
    # The numbers 8 to 12 are not in the order of the alphabet.
    folder = pictures(tmp_path / "brain.v1", suffix)
    volume = open_volume(folder)
    np.testing.assert_array_equal(volume.array()[..., 0], VOXELS)
    box = (slice(1, 3), slice(0, 4), slice(2, 5))
    np.testing.assert_array_equal(volume.read(box)[..., 0], VOXELS[box])
    assert (volume.packed, volume.spacing, stem(folder), result_suffix(folder)) == (True, None, "brain.v1", ".tif")


def refused(folder, *words):
    with pytest.raises(InputError, match=says(*words)):
        open_volume(folder).array()


def test_a_number_that_is_missing_is_refused(tmp_path):
    folder = pictures(tmp_path / "a")
    (folder / "scan3_10.png").unlink()
    refused(folder, "expected slices numbered in equal steps, found none of number 10; add what is missing")


def test_names_that_say_no_order_are_refused(tmp_path):
    folder = pictures(tmp_path / "a")
    WRITE[".png"](folder / "overview.png", VOXELS[0])
    refused(folder, "overview.png: expected a number in the name")
    (folder / "overview.png").rename(folder / "other_8.png")
    refused(folder, "scan3_8.png: expected a number in the name that says which slice it is, as no other has")


def test_pictures_of_other_sizes_types_and_formats_are_refused(tmp_path):
    folder = pictures(tmp_path / "a")
    WRITE[".png"](folder / "scan3_10.png", VOXELS[0, :3])
    refused(folder, "scan3_10.png: expected 6 x 7 pixels of uint16 like scan3_8.png, found 3 x 7 of uint16")
    WRITE[".png"](folder / "scan3_10.png", VOXELS[0].astype(np.uint8))
    refused(folder, "scan3_10.png: expected 6 x 7 pixels of uint16 like scan3_8.png, found 6 x 7 of uint8")
    WRITE[".tif"](folder / "scan3_10.tif", VOXELS[0])
    refused(folder, "expected slices of one format, found .png, .tif")


def test_colours_and_stacks_are_refused(tmp_path):
    refused(
        pictures(tmp_path / "a", planes=np.zeros((2, 6, 7, 3), np.uint8)),
        "expected a slice of grey values",
        "(6, 7, 3)",
    )
    refused(pictures(tmp_path / "b", ".tif", VOXELS[None]), "scan3_8.tif: expected a slice of grey values", "(5, 6, 7)")


@pytest.mark.parametrize("share", [0, 0.5, 0.9])
@pytest.mark.parametrize("suffix", [".png", ".jp2", ".tif"])
def test_truncated_pictures_are_refused(tmp_path, suffix, share):
    file = pictures(tmp_path / "a", suffix) / f"scan3_9{suffix}"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    refused(file.parent, f"scan3_9{suffix}: expected a readable {suffix} volume, found a broken or truncated file")


def test_a_folder_of_anything_else_is_no_volume(tmp_path):
    (tmp_path / "a").mkdir()
    refused(tmp_path / "a", "a: expected a volume file ending in .h5", "or a folder of slices ending in .dcm, .png")
    (tmp_path / "a" / "letter.txt").write_text("dear all")
    refused(tmp_path / "a", "a: expected a volume file ending in .h5", "or a folder of slices ending in .dcm, .png")


# ---- N5 ------------------------------------------------------------------------------------------


def test_data_sets_and_full_resolutions_of_n5_are_found(tmp_path):
    arrays = {"raw/s0": VOXELS, "raw/s1": VOXELS[::2, ::2, ::2], "seg": VOXELS % 3}
    path = strangers.n5(tmp_path / "a.n5", arrays, ["raw"])
    for key in (None, "raw", "raw/s0"):
        volume = open_volume(path, key)
        np.testing.assert_array_equal(volume.array()[..., 0], VOXELS)
        assert (volume.unit, volume.spacing) == ("nm", strangers.SPACING)
    box = (slice(1, 3), slice(0, 4), slice(2, 5))
    np.testing.assert_array_equal(volume.read(box)[..., 0], VOXELS[box])
    small = open_volume(path, "raw/s1")
    assert (small.shape, small.spacing) == ((3, 3, 4), None)
    np.testing.assert_array_equal(open_inside(path, "seg").array()[..., 0], VOXELS % 3)
    np.testing.assert_array_equal(open_volume(f"{path}:/seg").array()[..., 0], VOXELS % 3)


def test_what_n5_has_not_is_refused_with_what_it_has(tmp_path):
    path = strangers.n5(tmp_path / "a.n5", {"one/s0": VOXELS, "two": VOXELS})
    for call in (open_volume, open_inside):
        with pytest.raises(InputError, match=says("a.n5: expected a data set 'label', found one/s0, two")):
            call(path, "label")


def test_n5_that_lost_its_chunks_is_refused(tmp_path):
    path = strangers.n5(tmp_path / "a.n5", {"raw": np.zeros((4, 4, 4), np.uint8)})
    file = path / "raw" / "attributes.json"
    file.write_text(file.read_text().replace("[4,4,4]", "[400000,400000,400000]"))
    with pytest.raises(InputError, match=says("a.n5:raw: expected", "bytes or more for the voxels")):
        open_volume(path)


def test_broken_descriptions_of_n5_are_refused(tmp_path):
    path = strangers.n5(tmp_path / "a.n5", {"raw": VOXELS})
    (path / "raw" / "attributes.json").write_text('{"dimensions": [7, 6')
    with pytest.raises(InputError, match=says("attributes.json: expected the attributes of N5")):
        open_volume(path)


# ---- volumes inside of files -----------------------------------------------------------------------


def several(path, names):
    with h5py.File(path, "w") as file:
        for number, name in enumerate(names):
            file[name] = VOXELS + number
    return path


def test_a_path_names_the_volume_in_a_file(tmp_path):
    path = several(tmp_path / "a.h5", ["one/raw", "two/raw"])
    for name, more in {"/one/raw": 0, "two/raw": 1}.items():
        volume = open_volume(f"{path}:{name}", "raw")
        np.testing.assert_array_equal(volume.array()[..., 0], VOXELS + more)
        assert (volume.path, stem(tmp_path / f"a.h5:{name}")) == (path, "a")
    with pytest.raises(InputError, match=says("a.h5: expected a data set 'three', found one/raw, two/raw")):
        open_volume(f"{path}:/three")


def test_patterns_name_volumes_in_files(tmp_path):
    for name in ("a.h5", "b.h5"):
        several(tmp_path / name, ["v/raw", "v/seg"])
    cases = find_pairs(Globs(f"{tmp_path}/*.h5:/v/raw", f"{tmp_path}/*.h5:/v/seg"), DataKeys()).cases
    examples = [case.opened() for case in cases]
    assert [case.name for case in cases] == ["a.h5", "b.h5"]
    assert [example.file for example in examples] == [f"{tmp_path}/a.h5:/v/raw", f"{tmp_path}/b.h5:/v/raw"]
    for example in examples:
        np.testing.assert_array_equal(example.label.array(), example.image.array() + 1)


def test_a_volume_in_a_file_and_a_folder_of_slices_are_no_data_by_themselves(tmp_path):
    path = several(tmp_path / "a.h5", ["raw"])
    with pytest.raises(
        InputError, match=says("found the name of one volume in it; give both by `images` and `labels`")
    ):
        find_data(f"{path}:/raw", DataKeys())
    with pytest.raises(InputError, match=says("or of folders of slices, give `images=GLOB` and `labels=GLOB`")):
        find_data(pictures(tmp_path / "a"), DataKeys())
