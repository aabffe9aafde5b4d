"""Volumes that other programs wrote, through `check`, `predict` and (slow) a fit of one step: voxels and geometry come back."""

import h5py
import imagecodecs
import numpy as np
import pytest
import strangers
import tifffile
from helpers import VALUES, tiny_settings, tiny_volume

from keras_unet3d import check, fit, predict, zoo
from keras_unet3d.datasets import DataKeys, Globs, on_voxels_of
from keras_unet3d.datasets.pairing import find_pairs
from keras_unet3d.prediction.array_api import function_predictor
from keras_unet3d.settings import DataOptions
from keras_unet3d.volumes import open_volume

IMAGE = tiny_volume()[0].astype(np.int16)
# As the values of DICOM-SEG are, labels are classes from 0.
LABELS = (tiny_volume()[1] == VALUES[1]).astype(np.uint8)
TILTED = [[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1]]


def dicom(folder):
    strangers.dicom_slices(folder / "scans" / "a", IMAGE, orientation=strangers.OBLIQUE)
    (folder / "segs").mkdir()
    strangers.dicom_segmentation(folder / "segs" / "a.dcm", folder / "scans" / "a", LABELS)
    return "scans/*", "segs/*.dcm", {}


def itk(suffix):
    def make(folder):
        strangers.itk(folder / f"a{suffix}", IMAGE, TILTED)
        strangers.itk(folder / "a_seg.nrrd", LABELS, TILTED)
        return f"a{suffix}", "a_seg.nrrd", {}

    return make


def mrc(folder):
    strangers.mrc(folder / "a.rec", IMAGE)
    strangers.mrc(folder / "a_label.mrc", LABELS.astype(np.int8))
    return "a.rec", "a_label.mrc", {}


def labels_tiff(folder):
    tifffile.imwrite(folder / "a_label.tif", LABELS, metadata={"axes": "ZYX"})
    return "a_label.tif"


def czi(folder):
    array = np.stack([np.stack([IMAGE * 0, IMAGE])] * 2)[:, :, None].astype(np.uint16)
    strangers.czi(folder / "a.czi", array)
    return "a.czi", labels_tiff(folder), {"scene": "1", "time": 1}


def lif(folder):
    other = np.zeros((1, 3, 1, 5, 6), np.uint16)
    strangers.lif(
        folder / "a.lif", {"other": other, "mine": np.stack([IMAGE * 0, IMAGE])[:, :, None].astype(np.uint16)}
    )
    return "a.lif", labels_tiff(folder), {"scene": "mine", "time": 1}


def nd2(folder):
    array = np.stack([np.stack([IMAGE * 0, IMAGE])] * 2)[:, :, :, None].astype(np.uint16)
    strangers.nd2(folder / "a.nd2", array)
    return "a.nd2", labels_tiff(folder), {"scene": "1", "time": 1}


def pyramid(folder):
    metadata = {"axes": "ZYX", "PhysicalSizeZ": 2.5, "PhysicalSizeY": 0.75, "PhysicalSizeX": 0.5}
    with tifffile.TiffWriter(folder / "a.ome.tif", ome=True) as file:
        file.write(IMAGE, subifds=2, metadata=metadata, tile=(16, 16), compression="zlib")
        for step in (2, 4):
            file.write(IMAGE[:, ::step, ::step], subfiletype=1, tile=(16, 16), compression="zlib")
    return "a.ome.tif", labels_tiff(folder), {}


def n5(folder):
    strangers.n5(folder / "a.n5", {"raw/s0": IMAGE, "raw/s1": IMAGE[::2, ::2, ::2], "label": LABELS}, ["raw"])
    return "a.n5", "a.n5", {}


def sequence(folder):
    for name, array in {"raw": IMAGE.astype(np.uint16), "label": LABELS}.items():
        (folder / f"a_{name}").mkdir()
        for number, plane in enumerate(array):
            (folder / f"a_{name}" / f"{number + 1}.png").write_bytes(imagecodecs.png_encode(plane))
    return "a_raw", "a_label", {}


def inside_hdf5(folder):
    with h5py.File(folder / "a.h5", "w") as file:
        for name, array in {"one/image": IMAGE, "one/truth": LABELS}.items():
            file.create_dataset(name, data=array).attrs["element_size_um"] = strangers.SPACING
    return "a.h5:/one/image", "a.h5:/one/truth", {}


MADE = {
    "dicom": (dicom, ".nii.gz"),
    "nrrd": (itk(".nrrd"), ".nrrd"),
    "nhdr": (itk(".nhdr"), ".nrrd"),
    "mha": (itk(".mha"), ".mha"),
    "mhd": (itk(".mhd"), ".mha"),
    "mrc": (mrc, ".rec"),
    "czi": (czi, ".tif"),
    "lif": (lif, ".tif"),
    "nd2": (nd2, ".tif"),
    "pyramid": (pyramid, ".tif"),
    "n5": (n5, ".zarr"),
    "sequence": (sequence, ".tif"),
    "hdf5": (inside_hdf5, ".h5"),
}


def first_channel(batch):
    return np.concatenate([1 - batch, batch], axis=-1)


@pytest.fixture(params=MADE, ids=MADE)
def made(request, tmp_path):
    """Return globs of images and labels, what chooses the scene, the suffix of results, and the folder."""
    make, suffix = MADE[request.param]
    images, labels, which = make(tmp_path)
    return str(tmp_path / images), str(tmp_path / labels), which, suffix, tmp_path


def test_a_volume_of_another_program_is_checked_and_predicted_where_it_lies(made):
    images, labels, which, suffix, folder = made
    result = check((), images=images, labels=labels, settings=DataOptions(**which))
    assert (result["faults"], result["volumes"][0]["label_values"]) == ([], {"0": 2176, "1": 1920})
    (case,) = find_pairs(Globs(images, labels), DataKeys(**which)).cases
    example = case.opened()
    image, label = example.image.array()[..., 0], example.label.array()[..., 0]
    # Whatever way it was turned, every label is with its grey value.
    pairs = np.unique(np.stack([image.ravel(), label.ravel()]), axis=1)
    expected = np.unique(np.stack([IMAGE.ravel(), LABELS.ravel()]), axis=1)
    np.testing.assert_array_equal(pairs, expected)
    (written,) = predict(
        function_predictor(first_channel), [example.image.layout.get("dicom", images)], folder / "out",
        output="uncertainty", **which,
    )  # fmt: skip
    assert written.name.endswith(suffix)
    result = open_volume(written, "uncertainty")
    assert result.shape == example.image.shape
    assert result.micrometres == (example.image.micrometres and pytest.approx(example.image.micrometres, rel=1e-6))
    if example.image.affine is not None:
        np.testing.assert_allclose(result.affine, example.image.affine, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_volume_of_another_program_is_learnt_from(made):
    images, labels, which, _, folder = made
    run = folder / "run"
    fit((), run, images=images, labels=labels, settings=tiny_settings(unlabelled=(), **which))
    (source,) = [case.opened() for case in find_pairs(Globs(images, labels), DataKeys(**which)).cases]
    path = source.image.layout.get("dicom", images)
    (written,) = predict(zoo.predictor(str(run)), [path], folder / "out")
    result = open_volume(written, "label")
    assert result.shape == source.image.shape and set(np.unique(result.array())) <= {0, 1}
    if source.image.affine is not None:
        np.testing.assert_allclose(result.affine, source.image.affine, rtol=0, atol=1e-6)
    if "dicom" in source.image.layout:
        (segmentation,) = predict(zoo.predictor(str(run)), [path], folder / "out", suffix=".dcm")
        opened = on_voxels_of(source.image, open_volume(segmentation))
        np.testing.assert_array_equal(opened.array(), result.array())
