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


def nd2(path, array):
    """Write ND2 as Nikon's programs lay it out; the array is (position, t, z, c, y, x)."""
    positions, t, z, c, y, x = array.shape
    plane = {"uiCompCount": 1, "uiSampleIndex": 0, "sDescription": "dye", "pFluorescentProbe": {"m_sName": "dye"}}
    planes = {f"a{channel}": plane for channel in range(c)}
    points = {f"i{number:010}": {"dPosX": 10.0 * number, "dPosY": 0.0, "dPosZ": 0.0} for number in range(positions)}
    stack = {
        "eType": 4,
        "uLoopPars": {"uiCount": z, "dZLow": 0.0, "dZHigh": (z - 1) * SPACING[0], "dZStep": SPACING[0]},
    }
    where = {"eType": 2, "uLoopPars": {"uiCount": positions, "Points": points}, "ppNextLevelEx": {"i0000000000": stack}}
    times = {"uiCount": t, "dStart": 0.0, "dPeriod": 1.0, "dDuration": 1.0}
    chunks = {
        "ImageAttributesLV!": _clx(
            "SLxImageAttributes",
            {"uiWidth": x, "uiWidthBytes": x * c * array.itemsize, "uiHeight": y, "uiComp": c, "uiBpcInMemory": 8 * array.itemsize,
             "uiBpcSignificant": 8 * array.itemsize, "uiSequenceCount": positions * t * z, "eCompression": 2},
        ),
        "ImageMetadataSeqLV|0!": _clx(
            "SLxPictureMetadata",
            {"bCalibrated": True, "dCalibration": SPACING[2], "sPicturePlanes": {"uiCount": c, "sPlaneNew": planes}},
        ),
        "ImageMetadataLV!": _clx(
            "SLxExperiment", {"eType": 1, "uLoopPars": times, "ppNextLevelEx": {"i0000000000": where}}
        ),
    }  # fmt: skip
    frames = np.moveaxis(array, 3, -1).transpose(1, 0, 2, 3, 4, 5).reshape(-1, y, x, c)
    for number, frame in enumerate(frames):
        chunks[f"ImageDataSeq|{number}!"] = bytes(8) + np.ascontiguousarray(frame).tobytes()
    content = _chunk("ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0".ljust(64, b"\0"), 32)
    directory = b""
    for name, data in chunks.items():
        directory += name.encode() + struct.pack("<QQ", len(content), len(data))
        content += _chunk(name, data, 4072 if name.startswith("ImageDataSeq") else 64)
    end = b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", len(content))
    path.write_bytes(content + _chunk("ND2 FILEMAP SIGNATURE NAME 0001!", directory + end, 32))
    return path


def _chunk(name, data, room):
    # Of an image, the time stamp stands where its name ends.
    stamp = 8 if name.startswith("ImageDataSeq") else 0
    return struct.pack("<IIQ", 0x0ABECEDA, room + stamp, len(data) - stamp) + name.encode().ljust(room, b"\0") + data


def _clx(name, value):
    """Return a value in the binary form of ND2's descriptions: type, length of the name, name, value."""
    title = f"{name}\0".encode("utf-16-le")
    if isinstance(value, dict):
        items = b"".join(_clx(key, item) for key, item in value.items())
        length = 2 + len(title) + 12 + len(items)
        return (
            struct.pack("BB", 11, len(name) + 1)
            + title
            + struct.pack("<IQ", len(value), length)
            + items
            + bytes(8 * len(value))
        )
    kinds = {bool: (1, "<B"), int: (3, "<I"), float: (6, "<d")}
    if isinstance(value, str):
        return struct.pack("BB", 8, len(name) + 1) + title + f"{value}\0".encode("utf-16-le")
    kind, form = kinds[type(value)]
    return struct.pack("BB", kind, len(name) + 1) + title + struct.pack(form, value)
