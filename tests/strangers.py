"""Small volumes as other programs write them: by their own packages, or byte by byte where no package writes them.

Arrays are (z, y, x), spacings (z, y, x) in the unit that the format uses.
"""

import copy
import json
import struct

import numpy as np

SPACING = (2.5, 0.75, 0.5)
# Columns and rows of slices that lie oblique in the patient.
OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)


def dicom_slices(
    folder, array, *, orientation=(1, 0, 0, 0, 1, 0), heights=None, origin=(-10.0, 20.0, 30.0), change=None
):
    """Write a CT series over pydicom's example, files in another order than the slices; `change(number, dataset)` may spoil it."""
    import pydicom
    from pydicom.uid import generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    example = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm", download=False))
    series, study = generate_uid(), generate_uid()
    normal = np.cross(orientation[:3], orientation[3:])
    heights = np.arange(len(array)) * SPACING[0] if heights is None else heights
    for number, (plane, height) in enumerate(zip(array, heights, strict=True)):
        one = copy.deepcopy(example)
        one.SeriesInstanceUID, one.StudyInstanceUID, one.SOPInstanceUID = series, study, generate_uid()
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        one.Rows, one.Columns = plane.shape
        one.PixelSpacing, one.SliceThickness, one.SpacingBetweenSlices = list(SPACING[1:]), SPACING[0], 99
        one.ImageOrientationPatient = list(orientation)
        one.ImagePositionPatient = [round(float(value), 9) for value in np.array(origin) + normal * height]
        one.PixelRepresentation, one.RescaleIntercept = 1, -1024
        one.PixelData = (plane + 1024).astype("<i2").tobytes()
        if change:
            change(number, one)
        one.save_as(folder / f"IM{(number * 7) % len(array):04d}.dcm")
    return folder


def dicom_segmentation(path, folder, labels):
    """Write labels in the order of the slices of a series as highdicom does, without planes that are empty."""
    import highdicom
    import pydicom
    from pydicom.sr.codedict import codes

    slices = [pydicom.dcmread(file) for file in folder.iterdir()]
    normal = np.cross(*np.reshape(slices[0].ImageOrientationPatient, (2, 3)))
    slices.sort(key=lambda one: normal @ np.array(one.ImagePositionPatient, float))
    for one in slices:
        one.SpacingBetweenSlices = SPACING[0]
    method = highdicom.AlgorithmIdentificationSequence("other", codes.DCM.ArtificialIntelligence, "1")
    segments = [
        highdicom.seg.SegmentDescription(n, f"part {n}", codes.SCT.Organ, codes.SCT.Liver, "AUTOMATIC", method)
        for n in range(1, int(labels.max()) + 1)
    ]
    uids = {"series_instance_uid": highdicom.UID(), "sop_instance_uid": highdicom.UID()}
    highdicom.seg.Segmentation(
        slices, labels.astype(np.uint8), "BINARY", segments, series_number=5, instance_number=1, manufacturer="other",
        manufacturer_model_name="other", software_versions="1", device_serial_number="1", **uids,
    ).save_as(path)  # fmt: skip
    return path


def itk(path, array, direction=np.eye(3), origin=(1.0, 2.0, 3.0)):
    """Write NRRD or MetaImage by ITK."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING[::-1])
    image.SetOrigin(origin)
    image.SetDirection(np.ravel(direction).tolist())
    sitk.WriteImage(image, str(path))
    return path


def mrc(path, array, origin=(1.0, 2.0, 3.0)):
    """Write MRC by mrcfile."""
    import mrcfile

    with mrcfile.new(path) as file:
        file.set_data(array)
        file.set_volume()
        file.voxel_size = SPACING[::-1]
        file.header.origin = origin
    return path


def czi(path, array):
    """Write CZI by ZEISS' library; the array is (scene, t, c, z, y, x)."""
    from pylibCZIrw import czi as library

    with library.create_czi(str(path)) as file:
        for scene, t, c, z in np.ndindex(array.shape[:4]):
            where = {"T": t, "C": c, "Z": z}
            file.write(array[scene, t, c, z][..., None], location=(1000 * scene, 0), plane=where, scene=scene)
        z, y, x = (size * 1e-6 for size in SPACING)
        file.write_metadata("made", scale_x=x, scale_y=y, scale_z=z)
    return path


def lif(path, scenes):
    """Write LIF as Leica's programs lay it out; scenes are arrays (t, z, c, y, x) by name."""
    elements, blocks = [], b""
    for number, (name, array) in enumerate(scenes.items()):
        t, z, c, y, x = array.shape
        item, plane = array.itemsize, y * x * array.itemsize
        sides = (
            (1, x, SPACING[2] * 1e-6, item),
            (2, y, SPACING[1] * 1e-6, x * item),
            (3, z, SPACING[0] * 1e-6, plane * c),
            (4, t, 1, plane * c * z),
        )
        sides = "".join(
            f'<DimensionDescription DimID="{axis}" NumberOfElements="{count}" Origin="0" Length="{(count - 1) * step}" '
            f'Unit="{"s" if axis == 4 else "m"}" BitInc="0" BytesInc="{further}"/>'
            for axis, count, step, further in sides
            if count > 1
        )
        channels = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="{8 * item}" NameOfMeasuredQuantity="" Min="0" '
            f'Max="1" Unit="" LUTName="Gray" IsLUTInverted="0" BytesInc="{channel * plane}" BitInc="0"/>'
            for channel in range(c)
        )
        elements.append(
            f'<Element Name="{name}" Visibility="1" CopyOption="1" UniqueID="id{number}"><Data><Image TextDescription="">'
            f"<ImageDescription><Channels>{channels}</Channels><Dimensions>{sides}</Dimensions></ImageDescription></Image>"
            f'</Data><Memory Size="{array.nbytes}" MemoryBlockID="MemBlock_{number}"/><Children/></Element>'
        )
        block = f"MemBlock_{number}"
        head = b"*" + struct.pack("<Q", array.nbytes) + b"*" + _text(block)
        blocks += struct.pack("<II", 0x70, len(head)) + head + np.ascontiguousarray(array).tobytes()
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="made.lif" Visibility="1" CopyOption="1" UniqueID="root"><Data>'
        '<Experiment Path="made.lif" IsSavedFlag="1"/></Data><Memory Size="0" MemoryBlockID="MemBlock_root"/>'
        f"<Children>{''.join(elements)}</Children></Element></LMSDataContainerHeader>"
    )
    head = b"*" + _text(xml)
    path.write_bytes(struct.pack("<II", 0x70, len(head)) + head + blocks)
    return path


def _text(text):
    return struct.pack("<I", len(text)) + text.encode("utf-16-le")


def n5(path, arrays, resolution=None):
    """Write N5 by tensorstore; arrays by name, and the voxel size of each group that `resolution` names."""
    import tensorstore

    for name, array in arrays.items():
        metadata = {"dataType": array.dtype.name, "dimensions": array.shape[::-1], "blockSize": [8, 8, 8]}
        place = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{path / name}/"}}
        tensorstore.open(place | {"metadata": metadata | {"compression": {"type": "gzip"}}}, create=True).result()[
            ...
        ] = array.T
    for name in resolution or ():
        file = path / name / "attributes.json"
        said = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(said | {"pixelResolution": {"unit": "nm", "dimensions": SPACING[::-1]}}))
    return path
