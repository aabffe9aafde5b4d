"""One DICOM file: many frames of an image, or a segmentation (DICOM-SEG), whose label values are its segment numbers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box
from keras_unet3d.volumes.axes import from_order, in_order, order_of, place_in_order, shape_in_order
from keras_unet3d.volumes.dicom_series import sorted_slices
from keras_unet3d.volumes.orientation import LPS, spacing_of, turned, written_affine, written_order
from keras_unet3d.volumes.reading import package
from keras_unet3d.volumes.scratch import scratch
from keras_unet3d.volumes.volume import NewVolume, Volume, checked_spacing

# A segment takes a bit per voxel in the form that every viewer knows; more segments are kept as one map of labels.
_MOST_SEGMENTS, _MOST_LABEL = 255, 65535


def open_dicom(path: Path, key: str | None, axes: str | None) -> Volume:
    highdicom, pydicom = package(path, "highdicom", "dicom"), package(path, "pydicom", "dicom")
    header = pydicom.dcmread(path, stop_before_pixels=True)
    is_labels = header.get("Modality") == "SEG"
    if not is_labels and int(header.get("NumberOfFrames") or 1) == 1:
        raise InputError(f"{path}: expected a volume, found one slice; give the folder that holds its series.")
    if is_labels and header.SegmentationType == "FRACTIONAL":
        raise InputError(f"{path}: expected segments that a voxel is in or not, found fractions of them.")
    reopened = highdicom.seg.segread if is_labels else highdicom.imread
    geometry = reopened(path).get_volume_geometry(allow_missing_positions=is_labels)
    if geometry is None:
        raise InputError(
            f"{path}: expected frames of one volume, one at every position and at equal distances, found others; save the "
            "volume as a file of its own."
        )
    shape = tuple(geometry.spatial_shape)
    # highdicom counts slices, rows, columns; files of other formats begin with columns.
    affine = LPS @ geometry.affine[:, [2, 1, 0, 3]]
    layout = turned(path, affine, shape[::-1]) | {"sparse": is_labels}
    spatial = layout["turned"][::-1]
    order = order_of(path, shape, axes and spatial + "c" * ("c" in axes), spatial)
    dtype = np.dtype(np.uint16 if is_labels else np.float32)
    how: dict[str, Any] = {"combine_segments": True, "allow_missing_positions": True} if is_labels else {}

    def read(index: Box) -> np.ndarray:
        planes, rows, columns = index
        try:
            # Anew, for what is open belongs to one thread.
            volume = reopened(path).get_volume(
                slice_start=planes.start,
                slice_end=planes.stop,
                row_start=rows.start,
                row_end=rows.stop,
                column_start=columns.start,
                column_end=columns.stop,
                as_indices=True,
                dtype=dtype,
                **how,
            )
        except RuntimeError as error:
            if "overlap" not in str(error):
                raise
            raise InputError(
                f"{path}: expected segments that share no voxel, found some that overlap; save those to learn in a file of their own."
            ) from error
        return volume.array

    zyx, channels, read_box = in_order(order, shape, read, layout["flipped"])
    spacing = checked_spacing(path, spacing_of(layout["affine"]))
    return Volume(str(path), zyx, channels, dtype, read_box, spacing, "mm", path, layout, packed=True)


@contextmanager
def create_dicom_seg(path: Path, new: NewVolume) -> Iterator[Callable[[Box, np.ndarray], None]]:
    package(path, "highdicom", "dicom")
    folder = new.like.layout.get("dicom")
    if folder is None:
        raise InputError(
            f"DICOM-SEG: expected a DICOM series that the labels belong to, found {new.like.name}; write another format."
        )
    if new.channels is not None or new.dtype.kind == "f":
        raise InputError(
            f"DICOM-SEG: expected labels, which are all that it holds, found {new.dtype} of {new.channels or 1} channels; write .nii.gz."
        )
    order, flipped = written_order(new.like)
    order = order[::-1]
    with scratch(path, shape_in_order(new.shape, None, order), new.dtype) as data:

        def write(box: Box, array: np.ndarray) -> None:
            data("r+")[place_in_order(box, new.shape, order, flipped)] = from_order(array, order, flipped)

        yield write
        _save(path, data("r"), new.like)


def _save(path: Path, labels: np.ndarray, like: Volume) -> None:
    import highdicom
    from pydicom.sr.codedict import codes

    from keras_unet3d import __version__

    slices, names = sorted_slices(like.layout["dicom"]), like.layout.get("names", {})
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > _MOST_LABEL:
        raise InputError(f"DICOM-SEG: expected labels from 0 to {_MOST_LABEL}, found {low} to {high}; write .nii.gz.")
    method = highdicom.AlgorithmIdentificationSequence("keras-unet3d", codes.DCM.ArtificialIntelligence, __version__)
    # Numbers of segments follow one another: those between that no voxel has are declared, too.
    segments = [
        highdicom.seg.SegmentDescription(
            number, names.get(number, str(number)), codes.SCT.Tissue, codes.SCT.Tissue, "AUTOMATIC", method
        )
        for number in range(1, max(high, *names, 1) + 1)
    ]
    for header in slices:
        # What a series says of the distance of its slices may be wrong; their positions, which `like` is made of, are right.
        header.SpacingBetweenSlices = float(np.linalg.norm(written_affine(like)[:3, 2]))
    segmentation = highdicom.seg.Segmentation(
        slices,
        labels.astype(np.uint16),
        "BINARY" if len(segments) <= _MOST_SEGMENTS else "LABELMAP",
        segments,
        series_instance_uid=highdicom.UID(),
        series_number=1,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="keras-unet3d",
        manufacturer_model_name="3D U-Net",
        software_versions=__version__,
        device_serial_number="0",
        content_label="SEGMENTATION",
    )
    segmentation.save_as(path)
