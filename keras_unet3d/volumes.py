"""A volume with its axes and voxel size: opened lazily, read by crops, written back in its own format.

Whatever the file's order, a volume is `(z, y, x, channels)` here. NIfTI is turned to the closest RAS+
orientation, so z, y, x run to superior, anterior and right.
"""

import struct
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np

from keras_unet3d.errors import InputError, did_you_mean
from keras_unet3d.files import whole_file

Box = tuple[slice, slice, slice]
_BLOCK = 128
_MICROMETRES = {"um": 1, "µm": 1, "micron": 1, "mm": 1e3, "nm": 1e-3, "cm": 1e4, "m": 1e6, "meter": 1e6, "inch": 25400}


@dataclass(frozen=True)
class Volume:
    """A volume that is read by crops.

    Attributes:
        name: what messages call it.
        shape: voxels (z, y, x).
        channels: number of channels.
        dtype: of the stored voxels.
        read: a box of three slices -> array `(z, y, x, channels)`.
        spacing: voxel size (z, y, x) in `unit`, None where the file does not say.
        unit: "mm", "um", ... or None.
        path: the file.
        layout: what a writer needs to give an output the same geometry.
    """

    name: str
    shape: tuple[int, int, int]
    channels: int
    dtype: np.dtype
    read: Callable[[Box], np.ndarray] = field(repr=False)
    spacing: tuple[float, float, float] | None = None
    unit: str | None = None
    path: Path | None = None
    layout: dict = field(default_factory=dict, repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes that the whole volume takes in memory."""
        return int(np.prod(self.shape)) * self.channels * self.dtype.itemsize

    def array(self) -> np.ndarray:
        """Return the whole volume, `(z, y, x, channels)`."""
        return self.read(tuple(slice(0, size) for size in self.shape))

    def blocks(self) -> Iterator[tuple[Box, np.ndarray]]:
        """Yield boxes that cover the volume once, with their voxels; memory does not grow with the volume."""
        for start in product(*(range(0, size, _BLOCK) for size in self.shape)):
            box = tuple(slice(a, min(a + _BLOCK, n)) for a, n in zip(start, self.shape, strict=True))
            yield box, self.read(box)


def from_array(array: np.ndarray, name: str = "array", spacing=None, unit: str | None = None) -> Volume:
    """Return a volume over an array `(z, y, x)` or `(z, y, x, channels)`."""
    if array.ndim not in (3, 4):
        raise InputError(f"{name}: expected an array (z, y, x) or (z, y, x, channels), found shape {array.shape}.")
    if array.ndim == 3:
        array = array[..., None]
    return Volume(
        name,
        array.shape[:3],
        array.shape[3],
        array.dtype,
        lambda box: array[box],
        _spacing(name, spacing),
        unit,
    )


def in_memory(volume: Volume) -> Volume:
    """Return the same volume with its voxels loaded."""
    array = volume.array()
    return replace(volume, read=lambda box: array[box])


def stacked(volumes: list[Volume], name: str) -> Volume:
    """Return one volume whose channels are those of `volumes`, one after the other."""
    first = volumes[0]
    for other in volumes[1:]:
        if other.shape != first.shape:
            raise InputError(f"{other.name}: expected the shape of {first.name}, {first.shape}; found {other.shape}.")
    return replace(
        first,
        name=name,
        channels=sum(volume.channels for volume in volumes),
        dtype=np.result_type(*(volume.dtype for volume in volumes)),
        read=lambda box: np.concatenate([volume.read(box) for volume in volumes], axis=-1),
    )


def open_volume(path, key: str | None = None, axes: str | None = None) -> Volume:
    """Open a volume without reading its voxels.

    Args:
        path: HDF5 (.h5, .hdf5), NIfTI (.nii, .nii.gz) or TIFF (.tif, .tiff).
        key: the data set inside an HDF5 file.
        axes: the order of the file's axes, e.g. "zyx", "czyx" or "xyzc"; needed where there are four.

    Raises:
        InputError: no such file, unknown format, unreadable file, or an order of axes that is not known.
    """
    path = Path(path)
    opener, _ = FORMATS[volume_format(path)]
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: expected a volume file, found {found}; check the path.")
    with _readable(path):
        return opener(path, key, _clean_axes(axes))


def write_volume(path, array: np.ndarray, like: Volume, key: str = "label") -> None:
    """Write `(z, y, x)` or `(z, y, x, channels)` with the geometry of `like`, whole or not at all.

    Args:
        path: the suffix decides the format.
        array: shaped like `like`; integers or floats.
        like: the volume whose orientation, affine and voxel size the file takes over.
        key: the data set to write in an HDF5 file.
    """
    path = Path(path)
    _, writer = FORMATS[volume_format(path)]
    with whole_file(path) as partial:
        writer(partial, array, like, key)


def volume_format(path: Path) -> str:
    """Return the suffix in `FORMATS` that `path` ends with; raises `InputError` for any other."""
    for suffix in sorted(FORMATS, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return suffix
    raise InputError(
        f"{path}: expected a volume file ending in {', '.join(FORMATS)}; found {path.suffix or 'no suffix'}."
    )


def stem(path: Path) -> str:
    """Return the file name without the format's suffix."""
    return path.name[: -len(volume_format(path))]


# ---- axes ----------------------------------------------------------------------------------------


def _clean_axes(axes: str | None) -> str | None:
    if axes is None:
        return None
    cleaned = axes.lower()
    if len(set(cleaned)) != len(cleaned) or set(cleaned) not in (set("zyx"), set("zyxc")):
        raise InputError(f"--axes: expected z, y, x and perhaps c, each once, e.g. czyx; found {axes!r}.")
    return cleaned


def _order(path: Path, shape: tuple[int, ...], axes: str | None, spatial: str) -> str:
    """Return one letter per axis of the array; `spatial` is the format's order of a plain volume."""
    if 0 in shape:
        raise InputError(f"{path}: expected voxels, found an empty array of shape {shape}.")
    if axes is not None:
        # A label volume has no channels: the same --axes serves it without the c.
        order = axes if len(shape) == 4 else axes.replace("c", "")
        if len(order) == len(shape):
            return order
        raise InputError(
            f"{path}: expected {len(axes)} axes ({axes}), found an array of shape {shape}; correct --axes."
        )
    if len(shape) == 3:
        return spatial
    if len(shape) == 4:
        raise InputError(
            f"{path}: expected to be told the order of four axes, found an array of shape {shape}; "
            "add --axes, e.g. --axes czyx (channels first) or --axes zyxc (channels last)."
        )
    raise InputError(f"{path}: expected a volume of three axes, or four with channels; found shape {shape}.")


def _in_order(order: str, shape: tuple[int, ...], read: Callable, flipped: str = ""):
    """Return shape, channels and reader `(z, y, x, c)` for an array whose axes are `order`.

    Axes in `flipped` run backwards in the file.
    """
    sizes = dict(zip(order, shape, strict=True))
    zyx = tuple(sizes[axis] for axis in "zyx")
    transposed = [order.index(axis) for axis in ("zyxc" if "c" in order else "zyx")]
    reverse = tuple(slice(None, None, -1 if axis in flipped else 1) for axis in "zyx")

    def read_box(box: Box) -> np.ndarray:
        wanted = dict(zip("zyx", box, strict=True))
        for axis in flipped:
            wanted[axis] = slice(sizes[axis] - wanted[axis].stop, sizes[axis] - wanted[axis].start)
        array = read(tuple(wanted.get(axis, slice(None)) for axis in order)).transpose(transposed)[reverse]
        return array if "c" in order else array[..., None]

    return zyx, sizes.get("c", 1), read_box


def _from_order(array: np.ndarray, order: str, flipped: str = "") -> np.ndarray:
    """Return `(z, y, x[, c])` in the file's order: the inverse of `_in_order`."""
    array = array[tuple(slice(None, None, -1 if axis in flipped else 1) for axis in "zyx")]
    return array.transpose(["zyxc".index(axis) for axis in order])


def _plain_order(array: np.ndarray, like: Volume) -> str:
    """Return the order of axes of the file that `like` came from; channels go last."""
    return like.layout.get("order", "zyx").replace("c", "") + "c" * (array.ndim - 3)


def _spacing(name, spacing) -> tuple[float, float, float] | None:
    if spacing is None:
        return None
    values = tuple(float(value) for value in np.ravel(spacing))
    if len(values) != 3 or not all(np.isfinite(value) and value > 0 for value in values):
        raise InputError(f"{name}: expected a voxel size of three positive numbers (z, y, x), found {spacing}.")
    return values


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what the format libraries raise on a broken file into one sentence."""
    try:
        yield
    except InputError:
        raise
    except (
        OSError,
        EOFError,
        ValueError,
        zlib.error,
        struct.error,
        ElementTree.ParseError,
        KeyError,
        RuntimeError,
        IndexError,
        TypeError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: expected a readable {volume_format(path)} volume, found a broken or truncated file "
            f"({reason}); copy it again from its source."
        ) from error
    except Exception as error:
        # nibabel and tifffile raise classes of their own, which derive from Exception alone.
        if type(error).__module__.split(".")[0] not in ("nibabel", "tifffile", "imagecodecs"):
            raise
        raise InputError(
            f"{path}: expected a readable {volume_format(path)} volume, found a broken file ({error})."
        ) from error


# ---- HDF5 ----------------------------------------------------------------------------------------


def _open_hdf5(path: Path, key: str | None, axes: str | None) -> Volume:
    import h5py

    key = key or "raw"
    with h5py.File(path, "r") as file:
        if key not in file or not isinstance(file[key], h5py.Dataset):
            found = []
            file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
            raise InputError(
                f"{path}: expected a data set {key!r}, found {', '.join(found) or 'none'}; "
                f"name it with --raw-key, --label-key or --weight-key.{did_you_mean(key, found)}"
            )
        dataset = file[key]
        shape, dtype = dataset.shape, dataset.dtype
        spacing = dataset.attrs.get("element_size_um")
        axes = axes or _axes_attribute(dataset)
    _refuse_non_numbers(path, dtype)
    order = _order(path, shape, axes, "zyx")

    def read(index):
        with _readable(path), h5py.File(path, "r") as file:
            return file[key][index]

    zyx, channels, read_box = _in_order(order, shape, read)
    unit = None if spacing is None else "um"
    spacing = _spacing(path, spacing)
    return Volume(f"{path}:{key}", zyx, channels, dtype, read_box, spacing, unit, path, {"order": order})


def _axes_attribute(dataset) -> str | None:
    # What this package writes itself says its order.
    axes = dataset.attrs.get("axes")
    return axes if isinstance(axes, str) and set(axes) in (set("zyx"), set("zyxc")) else None


def _write_hdf5(path: Path, array: np.ndarray, like: Volume, key: str) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        order = _plain_order(array, like)
        data = _from_order(array, order)
        dataset = file.create_dataset(key, data=data, chunks=True, compression="gzip", compression_opts=4)
        dataset.attrs["axes"] = order
        if like.spacing:
            dataset.attrs["element_size_um"] = np.multiply(like.spacing, _MICROMETRES.get(like.unit, 1))


# ---- NIfTI ---------------------------------------------------------------------------------------


def _open_nifti(path: Path, key: str | None, axes: str | None) -> Volume:
    import nibabel

    image = nibabel.load(path)
    # The file's axes as they are turned to closest RAS+: which of x, y, z each is, and which run backwards.
    orientation = nibabel.io_orientation(image.affine)
    if np.isnan(orientation).any():
        raise InputError(f"{path}: expected an affine that maps three voxel axes, found {image.affine.tolist()}.")
    _refuse_non_numbers(path, image.get_data_dtype())
    turned = "".join("xyz"[int(axis)] for axis in orientation[:3, 0])
    flipped = "".join(letter for letter, sign in zip(turned, orientation[:3, 1], strict=True) if sign < 0)
    shape = image.shape
    while len(shape) > 4 and shape[-1] == 1:
        shape = shape[:-1]
    if axes is not None:
        axes = turned + "c" if "c" in axes and len(shape) == 4 else turned
    if len(shape) == 4 and shape[3] == 1:
        axes = turned + "c"
    order = _order(path, shape, axes, turned)
    extra = (0,) * (len(image.shape) - len(shape))

    def read(index):
        with _readable(path):
            return np.asarray(image.dataobj[index + extra])

    zyx, channels, read_box = _in_order(order, shape, read, flipped)
    zooms = dict(zip(turned, image.header.get_zooms()[:3], strict=True))
    spacing = _spacing(path, [zooms[axis] for axis in "zyx"])
    unit = image.header.get_xyzt_units()[0]
    dtype = np.dtype(np.float64) if image.dataobj.slope != 1 or image.dataobj.inter else image.get_data_dtype()
    layout = {"nifti": image, "turned": turned, "flipped": flipped}
    return Volume(str(path), zyx, channels, dtype, read_box, spacing, "mm" if unit == "unknown" else unit, path, layout)


def _write_nifti(path: Path, array: np.ndarray, like: Volume, key: str) -> None:
    import nibabel

    array = array.astype(_nifti_dtype(array.dtype), copy=False)
    source = like.layout.get("nifti")
    if source is None:
        spacing = like.spacing or (1.0, 1.0, 1.0)
        image = nibabel.Nifti1Image(_from_order(array, "xyzc"[: array.ndim]), np.diag([*spacing[::-1], 1.0]))
    else:
        order = like.layout["turned"] + "c" * (array.ndim - 3)
        data = _from_order(array, order, like.layout["flipped"])
        image = type(source)(data, source.affine) if _is_nifti(source) else nibabel.Nifti1Image(data, source.affine)
        if _is_nifti(source):
            # The codes say what space the affine maps to; viewers and tools decide by them.
            image.set_qform(source.get_qform(), int(source.header["qform_code"]))
            image.set_sform(source.get_sform(), int(source.header["sform_code"]))
    unit = {"um": "micron", "micron": "micron", "mm": "mm", "meter": "meter", None: "mm"}.get(like.unit, "unknown")
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)


def _is_nifti(image) -> bool:
    import nibabel

    return isinstance(image, nibabel.Nifti1Image)


def _nifti_dtype(dtype: np.dtype) -> np.dtype:
    # NIfTI readers seldom know 64-bit integers and half floats.
    return {"int64": np.dtype("int32"), "uint64": np.dtype("uint32"), "float16": np.dtype("float32")}.get(
        dtype.name, dtype
    )


# ---- TIFF ----------------------------------------------------------------------------------------


def _open_tiff(path: Path, key: str | None, axes: str | None) -> Volume:
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        shape, dtype, declared = series.shape, series.dtype, series.axes.lower().replace("s", "c")
        spacing, unit = _tiff_spacing(file)
        pages = len(file.pages)
        _refuse_truncated_tiff(path, file)
    _refuse_non_numbers(path, dtype)
    if len(shape) == 3 and "c" in declared and axes is None:
        raise InputError(
            f"{path}: expected a stack of planes, found one plane with channels (axes {series.axes}); if it is a stack, add --axes zyx."
        )
    known = set(declared) in (set("zyx"), set("zyxc"))
    order = _order(path, shape, axes or (declared if known else None), "zyx")
    zyx, channels, read_box = _in_order(order, shape, _tiff_reader(path, shape, pages))
    return Volume(str(path), zyx, channels, dtype, read_box, spacing, unit, path, {"order": order})


def _refuse_truncated_tiff(path: Path, file) -> None:
    # tifffile fills what is missing with zeros, which would train and predict without a word.
    size = path.stat().st_size
    for page in file.pages:
        ends = [a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
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


def _tiff_reader(path: Path, shape: tuple[int, ...], pages: int) -> Callable:
    """Return the cheapest way to read a crop: memory map, the pages it touches, or the whole."""
    import tifffile

    try:
        mapped = tifffile.memmap(path, mode="r")
        if mapped.shape == shape:
            return lambda index: np.array(mapped[index])
    except (ValueError, OSError):
        pass  # compressed or scattered: read by page

    def read_pages(index):
        with _readable(path), tifffile.TiffFile(path) as file:
            planes = range(*index[0].indices(shape[0]))
            return np.stack([file.pages[plane].asarray() for plane in planes])[(slice(None), *index[1:])]

    def read_whole(index):
        with _readable(path):
            return tifffile.imread(path)[index]

    return read_pages if len(shape) == 3 and pages == shape[0] else read_whole


def _tiff_spacing(file) -> tuple[tuple[float, float, float] | None, str | None]:
    """Return the voxel size from OME or ImageJ metadata, None where it is not complete."""
    if file.ome_metadata:
        pixels = ElementTree.fromstring(file.ome_metadata).find(".//{*}Pixels")
        sizes = [pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"] if pixels is not None else [None]
        factors = (
            [_MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "ZYX"] if all(sizes) else [None]
        )
        if all(sizes) and all(factors):
            return tuple(float(size) * factor for size, factor in zip(sizes, factors)), "um"
    imagej = file.imagej_metadata or next(iter(file.shaped_metadata or ()), {})
    tags = file.pages[0].tags
    if "spacing" in imagej and "XResolution" in tags and "YResolution" in tags:
        resolution = [tags[name].value for name in ("YResolution", "XResolution")]
        if all(numerator for numerator, _ in resolution):
            y, x = (denominator / numerator for numerator, denominator in resolution)
            unit = str(imagej.get("unit", "")).replace("\\u00B5", "µ")
            sizes = (float(imagej["spacing"]), y, x)
            if unit == "mm":
                return sizes, unit
            factor = _MICROMETRES.get(unit)
            return (tuple(size * factor for size in sizes), "um") if factor else (sizes, None)
    return None, None


def _write_tiff(path: Path, array: np.ndarray, like: Volume, key: str) -> None:
    import tifffile

    z, y, x = like.spacing or (1.0, 1.0, 1.0)
    order = _plain_order(array, like)
    if array.ndim == 4:
        # ImageJ orders hyperstacks z, c, y, x.
        order = order[0] + "c" + order[1:3]
    array = _from_order(array, order)
    metadata = {"axes": order.upper()}
    if like.spacing:
        metadata |= {"spacing": z, "unit": like.unit or "pixel"}
    imagej = order in ("zyx", "zcyx") and array.dtype.name in ("uint8", "uint16", "float32")
    resolution = (1 / x, 1 / y) if like.spacing else None
    tifffile.imwrite(path, array, imagej=imagej, metadata=metadata, resolution=resolution, compression="zlib")


def _refuse_non_numbers(path: Path, dtype: np.dtype) -> None:
    if dtype.kind not in "uifb":
        raise InputError(f"{path}: expected numbers, found voxels of type {dtype}.")


FORMATS: dict[str, tuple[Callable, Callable]] = {
    ".h5": (_open_hdf5, _write_hdf5),
    ".hdf5": (_open_hdf5, _write_hdf5),
    ".nii": (_open_nifti, _write_nifti),
    ".nii.gz": (_open_nifti, _write_nifti),
    ".tif": (_open_tiff, _write_tiff),
    ".tiff": (_open_tiff, _write_tiff),
}
