"""DICOM: series in any orientation lie where other programs put them; segmentations fit them; what is wrong is said."""

import shutil

import h5py
import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
import strangers
from helpers import says
from pydicom.data import get_testdata_file

from keras_unet3d.datasets import DataKeys, Globs
from keras_unet3d.datasets.example import misfits, on_voxels_of
from keras_unet3d.datasets.pairing import find_pairs
from keras_unet3d.errors import InputError
from keras_unet3d.volumes import open_volume, result_suffix, stem, write_volume

VOXELS = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
LABELS = np.zeros((5, 6, 7), np.uint8)
LABELS[1:3, 2:5, 1:4], LABELS[2, 0], LABELS[3, 5, 6] = 1, 2, 4
# Axial, sagittal, coronal from behind, and oblique.
ORIENTATIONS = [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, 0, 1), strangers.OBLIQUE]


def by_itk(folder):
    """Return the image that SimpleITK makes of a series."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_series_lies_where_itk_puts_it(tmp_path, orientation):
    folder = strangers.dicom_slices(tmp_path / "a", VOXELS, orientation=orientation)
    volume, image = open_volume(folder), by_itk(folder)
    array = volume.array()[..., 0]
    for k, j, i in [(0, 0, 0), (4, 5, 6), (3, 1, 2)]:
        x, y, z = image.TransformIndexToPhysicalPoint((i, j, k))
        place = (np.linalg.inv(volume.affine) @ (-x, -y, z, 1))[:3]
        np.testing.assert_allclose(place, place.round(), atol=1e-6)
        voxel = tuple(place.round().astype(int)[::-1])
        assert array[voxel] == image[i, j, k] == VOXELS[k, j, i]
    assert sorted(volume.spacing) == pytest.approx(sorted(strangers.SPACING), rel=1e-6)
    assert (volume.unit, volume.dtype, volume.packed) == ("mm", np.float32, True)
    assert (np.linalg.norm(volume.affine[:3, :3], axis=0)[::-1] == pytest.approx(volume.spacing)) and (
        np.diag(volume.affine)[:3] > 0
    ).all()


def test_crops_of_a_series_are_parts_of_it(tmp_path):
    volume = open_volume(strangers.dicom_slices(tmp_path / "a", VOXELS, orientation=(0, 1, 0, 0, 0, -1)))
    box = (slice(1, 4), slice(2, 5), slice(0, 3))
    np.testing.assert_array_equal(volume.read(box), volume.array()[box])


def test_names_of_slices_do_not_matter_and_notes_are_left_out(tmp_path):
    folder = strangers.dicom_slices(tmp_path / "scan.v2", VOXELS)
    expected = open_volume(folder).array()
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(folder / f"1.2.840.{90 - number}")
    (folder / "2notes.txt").write_text("seen by nobody")
    np.testing.assert_array_equal(open_volume(folder).array(), expected)
    assert (stem(folder), result_suffix(folder)) == ("scan.v2", ".nii.gz")


def test_real_slices_of_pydicom_are_read(tmp_path):
    # The same slice, plain and in four compressions.
    arrays = []
    for name in (
        "MR_small",
        "MR_small_RLE",
        "MR_small_jp2klossless",
        "MR_small_jpeg_ls_lossless",
        "MR_small_bigendian",
    ):
        (tmp_path / name).mkdir()
        shutil.copy(get_testdata_file(f"{name}.dcm", download=False), tmp_path / name / "slice")
        volume = open_volume(tmp_path / name)
        assert volume.micrometres == pytest.approx((800.0, 312.5, 312.5))
        arrays.append(volume.array())
    assert arrays[0].shape == (1, 64, 64, 1)
    for array in arrays[1:]:
        np.testing.assert_array_equal(array, arrays[0])


def test_a_series_becomes_nifti_that_nibabel_puts_at_the_same_place(tmp_path):
    folder = strangers.dicom_slices(tmp_path / "a", VOXELS, orientation=strangers.OBLIQUE)
    volume, image = open_volume(folder), by_itk(folder)
    write_volume(tmp_path / "a.nii.gz", volume.array()[..., 0], volume)
    written = nibabel.load(tmp_path / "a.nii.gz")
    # The axes are those of the series: columns, rows, slices.
    np.testing.assert_array_equal(np.asarray(written.dataobj), VOXELS.transpose(2, 1, 0))
    x, y, z = image.TransformIndexToPhysicalPoint((6, 5, 4))
    np.testing.assert_allclose(written.affine @ (6, 5, 4, 1), (-x, -y, z, 1), atol=1e-4)  # float32 of the header
    np.testing.assert_allclose(open_volume(tmp_path / "a.nii.gz").affine, volume.affine, atol=1e-5)


# ---- segmentations -------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_segmentation_of_another_program_lies_on_its_series(tmp_path, orientation):
    folder = strangers.dicom_slices(tmp_path / "scans" / "a", VOXELS, orientation=orientation)
    strangers.dicom_segmentation(tmp_path / "a_seg.dcm", folder, LABELS)
    (case,) = find_pairs(Globs(str(tmp_path / "scans" / "*"), str(tmp_path / "*.dcm")), DataKeys()).cases
    example = case.opened()
    assert not list(misfits(example.image, example.label))
    image, label = example.image.array()[..., 0], example.label.array()[..., 0]
    found = {(float(grey), int(value)) for grey, value in zip(image.ravel(), label.ravel(), strict=True)}
    assert found == {(float(grey), int(value)) for grey, value in zip(VOXELS.ravel(), LABELS.ravel(), strict=True)}


@pytest.mark.parametrize("high", [4, 300])
def test_written_segments_are_label_values_and_lie_on_the_series(tmp_path, high):
    folder = strangers.dicom_slices(tmp_path / "a", VOXELS, orientation=strangers.OBLIQUE)
    volume = open_volume(folder)
    labels = np.zeros(volume.shape, np.uint16)
    labels[1:4, 2:5, 1:3], labels[2, 2, 4] = 1, high
    write_volume(tmp_path / "a.dcm", labels, volume)
    opened = open_volume(tmp_path / "a.dcm")
    whole = on_voxels_of(volume, opened)
    np.testing.assert_array_equal(whole.array()[..., 0], labels)
    np.testing.assert_allclose(whole.affine, volume.affine, atol=1e-6)
    written = highdicom.seg.segread(tmp_path / "a.dcm")
    assert written.segmentation_type.value == ("BINARY" if high == 4 else "LABELMAP")
    source = pydicom.dcmread(next(folder.iterdir()))
    assert (written.PatientID, written.FrameOfReferenceUID) == (source.PatientID, source.FrameOfReferenceUID)


def test_segments_have_the_names_of_the_classes(tmp_path):
    volume = open_volume(strangers.dicom_slices(tmp_path / "a", VOXELS))
    volume.layout["names"] = {0: "background", 1: "liver", 2: "spleen"}
    write_volume(tmp_path / "a.dcm", np.ones(volume.shape, np.uint8), volume)
    described = highdicom.seg.segread(tmp_path / "a.dcm").SegmentSequence
    assert [(one.SegmentNumber, one.SegmentLabel) for one in described] == [(1, "liver"), (2, "spleen")]


def test_an_empty_segmentation_is_written(tmp_path):
    volume = open_volume(strangers.dicom_slices(tmp_path / "a", VOXELS))
    write_volume(tmp_path / "a.dcm", np.zeros(volume.shape, np.uint8), volume)
    assert not open_volume(tmp_path / "a.dcm").array().any()


@pytest.mark.parametrize(
    "array, said",
    [
        (np.zeros((5, 6, 7), np.float32), "expected labels, which are all that it holds, found float32 of 1 channels"),
        (np.zeros((5, 6, 7, 2), np.uint8), "expected labels, which are all that it holds, found uint8 of 2 channels"),
        (np.full((5, 6, 7), -1, np.int16), "expected labels from 0 to 65535, found -1 to -1"),
        (np.full((5, 6, 7), 70000, np.int32), "expected labels from 0 to 65535, found 70000 to 70000"),
    ],
)
def test_what_dicom_seg_cannot_hold_is_refused(tmp_path, array, said):
    volume = open_volume(strangers.dicom_slices(tmp_path / "a", VOXELS))
    with pytest.raises(InputError, match=says("DICOM-SEG: ", said, "write .nii.gz")):
        write_volume(tmp_path / "a.dcm", array, volume)
    assert not (tmp_path / "a.dcm").exists()


def test_a_segmentation_needs_its_series(tmp_path):
    strangers.itk(tmp_path / "a.nrrd", VOXELS)
    with pytest.raises(
        InputError, match=says("DICOM-SEG: expected a DICOM series that the labels belong to", "a.nrrd")
    ):
        write_volume(tmp_path / "a.dcm", LABELS, open_volume(tmp_path / "a.nrrd"))


def test_segments_that_overlap_are_refused(tmp_path):
    folder = strangers.dicom_slices(tmp_path / "a", VOXELS)
    strangers.dicom_segmentation(tmp_path / "a.dcm", folder, LABELS)
    spoiled = pydicom.dcmread(tmp_path / "a.dcm")
    first = spoiled.PerFrameFunctionalGroupsSequence[0]
    spoiled.PixelData = b"\xff" * len(spoiled.PixelData)
    assert first.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1
    spoiled.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match=says("a.dcm", "expected segments that share no voxel", "overlap")):
        open_volume(tmp_path / "a.dcm").array()


# ---- bad input -----------------------------------------------------------------------------------


def refused(folder, *words):
    with pytest.raises(InputError, match=says(*words)):
        open_volume(folder).array()


def test_two_series_in_a_folder_are_refused(tmp_path):
    def renamed(_, one):
        one.SeriesDescription = "T2 axial"

    folder = strangers.dicom_slices(tmp_path / "a", VOXELS)
    strangers.dicom_slices(tmp_path / "b", VOXELS[:2], change=renamed)
    for file in (tmp_path / "b").iterdir():
        file.rename(folder / f"other{file.name}")
    refused(folder, "expected one DICOM series, found 2", "(5 files)", "T2 axial (2 files)", "move each to a folder")


def test_a_folder_of_folders_of_slices_is_refused(tmp_path):
    folder = strangers.dicom_slices(tmp_path / "a", VOXELS)
    (folder / "IM0000.dcm").rename(tmp_path / "DICOMDIR")
    refused(tmp_path, "expected slices of a DICOM series, found none; give the folder that holds them")


def test_what_is_made_of_a_sagittal_series_has_the_usual_axes_in_other_formats(tmp_path):
    volume = open_volume(strangers.dicom_slices(tmp_path / "a", VOXELS, orientation=(0, 1, 0, 0, 0, -1)))
    write_volume(tmp_path / "a.h5", volume.array()[..., 0], volume)
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["label"], volume.array()[..., 0])
        assert file["label"].attrs["axes"] == "zyx"


def test_missing_slices_are_refused(tmp_path):
    folder = strangers.dicom_slices(tmp_path / "a", VOXELS)
    (folder / "IM0001.dcm").unlink()  # the fourth
    words = ("expected a slice every 2.5 mm, found 5 mm between IM0004.dcm and IM0003.dcm", "slices are missing")
    refused(folder, *words)


def test_unequal_distances_are_refused(tmp_path):
    folder = strangers.dicom_slices(tmp_path / "a", VOXELS, heights=[0, 2.5, 5, 8.7, 12.3])
    refused(folder, "expected slices at equal distances, found 2.5 to 3.7 mm", "resample the series first")


def test_positions_that_were_rounded_are_no_unequal_distances(tmp_path):
    folder = strangers.dicom_slices(tmp_path / "a", VOXELS, heights=[0, 0.6, 1.3, 1.9, 2.5])
    assert open_volume(folder).spacing[0] == pytest.approx(0.625)


def test_two_slices_at_one_place_are_refused(tmp_path):
    folder = strangers.dicom_slices(tmp_path / "a", VOXELS, heights=[0, 0, 2.5, 2.5, 5])
    refused(folder, "expected one slice at every position", "at the same", "points in time")


def test_slices_that_are_moved_sideways_are_refused(tmp_path):
    def tilted(number, one):
        one.ImagePositionPatient[1] += number

    refused(strangers.dicom_slices(tmp_path / "a", VOXELS, change=tilted), "moved sideways (a tilted gantry)")


@pytest.mark.parametrize(
    "field, value, said",
    [
        ("Rows", 3, "expected 6 x 7 pixels like IM0000.dcm, found 3 x 7"),
        ("PixelSpacing", [1, 1], "expected PixelSpacing 0.75 x 0.5 like IM0000.dcm, found 1 x 1"),
        ("ImageOrientationPatient", [0, 1, 0, 1, 0, 0], "expected ImageOrientationPatient 1 x 0 x 0 x 0 x 1 x 0"),
        ("ImagePositionPatient", None, "expected a slice that says where it lies, found none of ImagePositionPatient"),
        ("SamplesPerPixel", 3, "expected one slice of grey values, found 3 channels and 1 frames"),
    ],
)
def test_a_slice_unlike_the_others_is_refused(tmp_path, field, value, said):
    def changed(number, one):
        if number == 3:
            setattr(one, field, value) if value else delattr(one, field)

    folder = strangers.dicom_slices(tmp_path / "a", VOXELS, change=changed)
    refused(folder, "IM0001.dcm: ", said)


def test_a_compression_without_a_decoder_is_refused(tmp_path):
    def compressed(_, one):
        one.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
        one.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8" + bytes(200)])
        one["PixelData"].is_undefined_length = True

    folder = strangers.dicom_slices(tmp_path / "a", VOXELS, change=compressed)
    refused(folder, "expected a compression that can be decoded here, found JPEG Lossless", "pip install pylibjpeg")


def test_truncated_slices_are_refused(tmp_path):
    folder = strangers.dicom_slices(tmp_path / "a", np.zeros((3, 64, 64)))
    file = folder / "IM0001.dcm"
    content = file.read_bytes()
    for share, said in ((0.9, "expected"), (0.01, "found a broken or truncated file")):
        file.write_bytes(content[: int(len(content) * share)])
        refused(folder, "IM0001.dcm: ", said)


def test_one_slice_by_itself_is_no_volume(tmp_path):
    shutil.copy(get_testdata_file("MR_small.dcm", download=False), tmp_path / "a.dcm")
    refused(tmp_path / "a.dcm", "a.dcm: expected a volume, found one slice; give the folder that holds its series")


def test_many_frames_in_one_file_lie_where_their_series_does(tmp_path):
    series = strangers.dicom_slices(tmp_path / "a", VOXELS, orientation=strangers.OBLIQUE)
    slices = [pydicom.dcmread(file) for file in series.iterdir()]
    for one in slices:
        one.SpacingBetweenSlices, one.Laterality = strangers.SPACING[0], ""
    highdicom.legacy.LegacyConvertedEnhancedCTImage(
        slices, highdicom.UID(), 9, highdicom.UID(), 1
    ).save_as(tmp_path / "a.dcm")  # fmt: skip
    frames, volume = open_volume(tmp_path / "a.dcm"), open_volume(series)
    np.testing.assert_allclose(frames.affine, volume.affine, atol=1e-6)
    np.testing.assert_array_equal(frames.array(), volume.array())


def test_frames_that_say_no_place_are_no_volume(tmp_path):
    shutil.copy(get_testdata_file("SC_rgb_rle_2frame.dcm", download=False), tmp_path / "a.dcm")
    refused(tmp_path / "a.dcm", "a.dcm: expected")


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    folder = strangers.dicom_slices(tmp_path / "a", VOXELS)
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    refused(folder, "expected the package pydicom, found none; run pip install 'keras-unet3d[dicom]'")
