"""TIFF stacks: plain, ImageJ and OME; memory-mapped or by page where that is possible."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.files import whole_file
from keras_unet3d.geometry import Box, Spacing, triple
from keras_unet3d.volumes.axes import (
    are_of_volume,
    from_order,
    in_order,
    order_of,
    place_in_order,
    plain_order,
    refuse_times,
    shape_in_order,
)
from keras_unet3d.volumes.reading import readable, refuse_elsewhere, refuse_hollow, refuse_non_numbers
from keras_unet3d.volumes.scenes import chosen_scene, chosen_time
from keras_unet3d.volumes.scratch import scratch
from keras_unet3d.volumes.volume import MICROMETRES, NewVolume, Volume, common_type
from keras_unet3d.words import by, some

# The bytes of voxels that 32-bit offsets reach, with room for what else is in the file.
_MOST_BYTES = 2**32 - 2**25
# Bytes that one byte can stand for in a page: 2**15 with Zstandard, less with all the others.
_MOST_PACKED = 2**16


def open_tiff(
    path: Path, key: str | None, axes: str | None, scene: str | None = None, time: int | None = None
) -> Volume:
    import tifffile

    with tifffile.TiffFile(path) as file:
        number = _chosen(path, file.series, scene)
        series = file.series[number]
        shape, dtype, declared = series.shape, series.dtype, series.axes.lower().replace("s", "c")
        spacing, unit = _tiff_spacing(file)
        pages, packed = len(file.pages), any(page.compression != 1 for page in series.pages if page)
        _refuse_truncated_tiff(path, file)
        _refuse_hollow_tiff(path, series)
    refuse_non_numbers(path, dtype)
    read = _tiff_reader(path, shape, pages, number)
    if axes is None and time is None:
        refuse_times(path, series.axes.lower(), shape, ", or choose one by `time`, like `time=0`")
    elif axes is None and declared.count("t") == 1 and shape[declared.index("t")] > 1:
        read, declared, shape = _at_time(path, read, declared, shape, time)
    if len(shape) == 3 and "c" in declared and axes is None:
        raise InputError(
            f"{path}: expected a stack of planes, found one plane with channels (axes {series.axes}); if it is a stack, add `axes=zyx`."
        )
    order = order_of(path, shape, axes or (declared if are_of_volume(declared) else None), "zyx")
    zyx, channels, read_box = in_order(order, shape, read)
    return Volume(str(path), zyx, channels, dtype, read_box, spacing, unit, path, {"order": order}, packed)


def _refuse_truncated_tiff(path: Path, file: Any) -> None:
    # tifffile fills what is missing with zeros, which would train and predict without a word.
    size = path.stat().st_size
    for page in file.pages:
        ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if ends and max(ends) > size:
            raise InputError(
                f"{path}: expected {max(ends)} bytes or more, found {size}: the file is truncated; "
                "copy it again from its source."
            )
    # Where a page is missing, the one before still points to it.
    file.filehandle.seek(file.pages.next_page_offset)
    if file.filehandle.read(file.tiff.offsetsize) != bytes(file.tiff.offsetsize):
        raise InputError(
            f"{path}: expected more than {len(file.pages)} pages, found the file truncated after them; "
            "copy it again from its source."
        )


def _refuse_hollow_tiff(path: Path, series: Any) -> None:
    # OME may spread its planes over files; tifffile fills those that it does not find with zeros.
    missing = sum(page is None for page in series.pages)
    if missing:
        raise InputError(
            f"{path}: expected {len(series.pages)} planes, found {missing} to be in files that are not there; "
            "put them beside it."
        )
    files = {Path(page.parent.filehandle.path) for page in series.pages}
    for file in files:
        refuse_elsewhere(path, file)
    # Pages without an offset stand for planes of nothing.
    plain = all(page.compression == 1 and all(page.dataoffsets) for page in series.pages)
    declared = prod(series.shape) * series.keyframe.bitspersample // 8
    refuse_hollow(path, declared, [file.stat().st_size for file in files], 1 if plain else _MOST_PACKED)


def _chosen(path: Path, series: Any, scene: str | None) -> int:
    """Return the number of the series of pages that is the volume."""
    first, *others = series
    if all(_is_smaller_copy(other, first) for other in others):
        return 0
    shapes = [by(each.shape) for each in series]
    if scene is None:
        raise InputError(
            f"{path}: expected one volume, found {len(series)}: {some(shapes)}; save the one to use as a file of its own, or "
            "name it by its number, like `scene=0`."
        )
    return chosen_scene(path, shapes, [each.name for each in series], scene)


def _at_time(
    path: Path, read: Callable[[Box], np.ndarray], declared: str, shape: tuple[int, ...], time: int | None
) -> tuple[Callable[[Box], np.ndarray], str, tuple[int, ...]]:
    """Return reader, axes and shape of one point in time."""
    where = declared.index("t")
    at = chosen_time(str(path), shape[where], time)

    def read_then(index: Box) -> np.ndarray:
        return read((*index[:where], slice(at, at + 1), *index[where:])).squeeze(where)

    return read_then, declared.replace("t", ""), (*shape[:where], *shape[where + 1 :])


def _is_smaller_copy(series: Any, first: Any) -> bool:
    """Whether a series of pages is a thumbnail of the first one, or a level of its pyramid."""
    planes, size, of = len(series.pages), prod(series.shape), prod(first.shape)
    return series.keyframe.is_reduced or (planes in (1, len(first.pages)) and size * 4 <= of)


def _tiff_reader(path: Path, shape: tuple[int, ...], pages: int, series: int) -> Callable[[Box], np.ndarray]:
    """Return the cheapest way to read a crop: memory map, the pages it touches, or the whole."""
    import tifffile

    try:
        mapped = tifffile.memmap(path, series=series, mode="r")
        if mapped.shape == shape:
            dtype, offset = mapped.dtype, mapped.offset

            def read_mapped(index: Box) -> np.ndarray:
                # Mapped for every crop: what was read of a map that stays counts as memory of this process.
                return np.array(np.memmap(path, dtype, "r", offset, shape)[index])

            return read_mapped
    except (ValueError, OSError):
        pass  # compressed or scattered: read by page

    def read_pages(index: Box) -> np.ndarray:
        with tifffile.TiffFile(path) as file:
            planes = range(*index[0].indices(shape[0]))
            return np.stack([file.pages[plane].asarray() for plane in planes])[(slice(None), *index[1:])]

    def read_whole(index: Box) -> np.ndarray:
        return tifffile.imread(path, series=series)[index]

    return read_pages if len(shape) == 3 and pages == shape[0] and not series else read_whole


def _tiff_spacing(file: Any) -> tuple[Spacing | None, str | None]:
    """Return the voxel size from OME or ImageJ metadata, None where it is not complete."""
    sizes = _ome_spacing(file.ome_metadata) if file.ome_metadata else None
    return (sizes, "um") if sizes else _imagej_spacing(file)


def _ome_spacing(metadata: str) -> Spacing | None:
    """Return the voxel size in micrometres that OME's XML gives."""
    pixels = ElementTree.fromstring(metadata).find(".//{*}Pixels")
    if pixels is None:
        return None
    sizes = [size for size in (_ome_micrometres(pixels, axis) for axis in "ZYX") if size]
    return triple(sizes) if len(sizes) == 3 else None


def _ome_micrometres(pixels: ElementTree.Element, axis: str) -> float | None:
    size, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
    return float(size) * MICROMETRES[unit] if size and unit in MICROMETRES else None


def _imagej_spacing(file: Any) -> tuple[Spacing | None, str | None]:
    metadata: dict[str, Any] = file.imagej_metadata or next(iter(file.shaped_metadata or ()), {})
    tags = file.pages[0].tags
    if not ("spacing" in metadata and "XResolution" in tags and "YResolution" in tags):
        return None, None
    resolution = [tags[name].value for name in ("YResolution", "XResolution")]
    if not all(numerator for numerator, _ in resolution):
        return None, None
    y, x = (denominator / numerator for numerator, denominator in resolution)
    unit = str(metadata.get("unit", "")).replace("\\u00B5", "µ")
    sizes = (float(metadata["spacing"]), y, x)
    if unit == "mm":
        return sizes, unit
    factor = MICROMETRES.get(unit)
    return (triple(size * factor for size in sizes), "um") if factor else (sizes, None)


@contextmanager
def create_tiff(path: Path, new: NewVolume) -> Iterator[Callable[[Box, np.ndarray], None]]:
    order = plain_order(new.like, None)
    if new.channels is not None:
        # ImageJ orders hyperstacks z, c, y, x.
        order = order[0] + "c" + order[1:3]
    with scratch(path, shape_in_order(new.shape, new.channels, order), new.dtype) as data:

        def write(box: Box, array: np.ndarray) -> None:
            data("r+")[place_in_order(box, new.shape, order)] = from_order(array, order)

        yield write
        _save(path, data("r"), order, new.like)


def _save(path: Path, data: np.ndarray, order: str, like: Volume) -> None:
    import tifffile

    z, y, x = like.spacing or (1.0, 1.0, 1.0)
    metadata: dict[str, Any] = {"axes": order.upper()}
    if like.spacing:
        metadata |= {"spacing": z, "unit": like.unit or "pixel"}
    # By their size uncompressed: tifffile itself never changes to 64-bit offsets where it compresses.
    large = data.nbytes > _MOST_BYTES
    # ImageJ knows no 64-bit offsets.
    imagej = order in ("zyx", "zcyx") and data.dtype.name in ("uint8", "uint16", "float32") and not large
    resolution = (1 / x, 1 / y) if like.spacing else None
    tifffile.imwrite(
        path, data, bigtiff=large, imagej=imagej, metadata=metadata, resolution=resolution, compression="zlib"
    )


def write_plane(path: Path, plane: np.ndarray) -> None:
    """Write one slice `(rows, columns)` as a TIFF that painting programs open."""
    import tifffile

    with whole_file(path) as partial:
        tifffile.imwrite(partial, plane.astype(common_type(plane), copy=False), compression="zlib")


def read_plane(path: Path) -> np.ndarray:
    """Return the one slice in a TIFF file, without axes of length 1.

    Raises:
        InputError: no such file, or one that is broken or holds no numbers.
    """
    import tifffile

    if not path.is_file():
        raise InputError(f"{path}: expected a slice, found no such file; check the path.")
    with readable(path):
        plane = tifffile.imread(path)
    refuse_non_numbers(path, plane.dtype)
    return plane.squeeze()
