"""Zarr, formats 2 and 3: an array, or a group of arrays as in HDF5, or OME-Zarr (0.1 to 0.5); read by chunks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.files import refuse_existing_folder
from keras_unet3d.geometry import Box
from keras_unet3d.volumes.axes import from_order, in_order, order_of, place_in_order, plain_order, shape_in_order
from keras_unet3d.volumes.reading import MissingKey, missing_key, readable, refuse_non_numbers
from keras_unet3d.volumes.volume import MICROMETRES, NewVolume, Volume, checked_spacing

# A folder that holds one of these is Zarr: of format 3, and of format 2 an array or a group.
MARKS = ("zarr.json", ".zarray", ".zgroup")
_FORMAT, _CHUNK = 3, 64
# OME-Zarr before 0.3 names no axes, because it knew no other order.
_UNNAMED = "tczyx"
# Units as OME-Zarr spells them, in micrometres.
_OME_UNITS = {
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
    "inch": 25400.0,
}
_OME_NAMES = {factor: unit for unit, factor in _OME_UNITS.items()}


@dataclass(frozen=True)
class _Description:
    """What the attributes say of an array, an entry per axis of it; None where they say nothing."""

    axes: str | None = None
    scale: tuple | None = None
    units: tuple | None = None


def open_zarr(path: Path, key: str | None, axes: str | None) -> Volume:
    """Open the array `key`; where there is none of that name, the image at full resolution that the group describes."""
    root = _root(path)
    # A name that somebody chose must be there; the usual names stand for whatever the folder holds.
    usual = key in (None, "raw", "label", "weight") or not _is_group(root)
    return _volume(path, root, key or "raw", axes, fallback=usual)


def open_zarr_inside(path: Path, key: str, axes: str | None) -> Volume:
    """Open the array of that very name: an image must not be taken for its own labels."""
    return _volume(path, _root(path), key, axes, fallback=False)


def _volume(path: Path, root, key: str, axes: str | None, fallback: bool) -> Volume:
    array = _array(path, root, key, fallback)
    name = f"{path}:{array.path}" if array.path else str(path)
    _refuse_pickles(name, array)
    refuse_non_numbers(name, array.dtype)
    described = _described(root, array)
    order, kept = _order(name, array.shape, axes, described.axes)
    place = {position: number for number, position in enumerate(kept)}

    def read(index):
        with readable(path):
            # Zarr fills missing chunks, which would train and predict without a word where the folder went away.
            if not path.is_dir():
                raise FileNotFoundError("no such folder any more")
            return array[tuple(index[place[axis]] if axis in place else 0 for axis in range(array.ndim))]

    zyx, channels, read_box = in_order(order, tuple(array.shape[position] for position in kept), read)
    spacing, unit = _spacing(name, array, described, [kept[order.index(axis)] for axis in "zyx"])
    layout = {"order": order, "zarr_format": array.metadata.zarr_format}
    return Volume(name, zyx, channels, array.dtype, read_box, spacing, unit, path, layout)


# ---- finding the array ---------------------------------------------------------------------------


def _root(path: Path):
    zarr = _package(path)
    if not _is_zarr(path):
        raise InputError(
            f"{path}: expected a Zarr volume, found a folder without {', '.join(MARKS[:-1])} or {MARKS[-1]}; "
            "check the path, or copy it again from its source."
        )
    node = _opened(path, zarr.open)
    # Consolidated metadata may be older than the arrays; without it a local folder is as fast.
    return _opened(path, zarr.open_group, use_consolidated=False) if _is_group(node) else node


def _opened(path: Path, opener: Callable, **options):
    try:
        return opener(path, mode="r", **options)
    except Exception as error:
        # Metadata is JSON of any shape: what zarr raises on a broken one is of any class.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: expected a readable .zarr volume, found broken metadata ({reason}); copy it again from its source."
        ) from error


def _package(path: Path):
    try:
        import zarr
    except ImportError as error:
        found = "none" if isinstance(error, ModuleNotFoundError) else f"one that does not load ({error})"
    else:
        if hasattr(zarr, "create_array"):
            return zarr
        found = f"zarr {zarr.__version__}"
    raise InputError(
        f"{path}: expected the package zarr, 3.0.8 or newer, found {found}; run pip install 'keras-unet3d[zarr]'."
    )


def _is_zarr(path: Path) -> bool:
    return any((path / mark).is_file() for mark in MARKS)


def _is_group(node) -> bool:
    return hasattr(node, "members")


def _array(path: Path, root, key: str, fallback: bool):
    """Return the array of `key`; with `fallback` of what there is, if there is no such array."""
    if not _is_group(root):
        if fallback:
            return root
        raise MissingKey(
            f"{path}: expected a group with an array {key!r}, found a single array; "
            "give images and labels that are apart by `images` and `labels`."
        )
    for name in (key, _full_resolution(root) if fallback else None):
        node = _member(path, root, name)
        if node is not None and _is_group(node):
            # An OME-Zarr image inside, as `labels/cells` is.
            node = _member(path, node, _full_resolution(node))
        if node is not None and not _is_group(node):
            return node
    raise missing_key(path, key, list(_names(path, root)), _member(path, root, key) is not None)


def _member(path: Path, root, name: str | None):
    try:
        return None if name is None else root[name]
    except KeyError:
        return None
    except Exception as error:
        raise InputError(
            f"{path}: expected a readable array {name!r}, found broken metadata ({error}); "
            "copy it again from its source, or name another one."
        ) from error


def _names(path: Path, root, above: str = "") -> Iterator[str]:
    """Yield the names of all arrays; folders of chunks, which may be millions, are not looked into."""
    for folder in sorted(path.joinpath(above).iterdir()):
        if _is_zarr(folder):
            name = above + folder.name
            is_group = _is_group(_member(path, root, name))
            yield from _names(path, root, f"{name}/") if is_group else [name]


def _refuse_pickles(name: str, array) -> None:
    # Unpickling runs whatever program the file holds. Object arrays are refused by their type; in format 2
    # any array may name the codec as a filter.
    codecs = [*(getattr(array.metadata, "filters", None) or ()), getattr(array.metadata, "compressor", None)]
    if any(getattr(codec, "codec_id", "") == "pickle" for codec in codecs):
        raise InputError(f"{name}: expected chunks of numbers, found pickled ones, which could run any program.")


# ---- what the attributes say ---------------------------------------------------------------------


def _multiscale(group) -> dict:
    """Return the first multiscale image that a group describes, empty for none."""
    attributes = dict(group.attrs)
    within = attributes.get("ome", attributes)
    images = within.get("multiscales") if isinstance(within, dict) else None
    image = images[0] if isinstance(images, list) and images else None
    return image if isinstance(image, dict) else {}


def _datasets(image: dict) -> dict[str, dict]:
    """Return the arrays of a multiscale image by path, full resolution first."""
    listed = image.get("datasets")
    entries = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return {each["path"]: each for each in entries if isinstance(each.get("path"), str)}


def _full_resolution(group) -> str | None:
    return next(iter(_datasets(_multiscale(group))), None)


def _described(root, array) -> _Description:
    described = _by_groups(root, array)
    named = _letters(getattr(array.metadata, "dimension_names", None) or ())
    # What this package writes itself says its order.
    own = array.attrs.get("axes")
    own = own if isinstance(own, str) and set(own) in (set("zyx"), set("zyxc")) else None
    return replace(described, axes=own or described.axes or named)


def _by_groups(root, array) -> _Description:
    """Return what the closest group says that has the array among those of its multiscale image."""
    parts = array.path.split("/") if array.path else []
    for depth in reversed(range(len(parts))):
        image = _multiscale(root["/".join(parts[:depth])] if depth else root)
        entry = _datasets(image).get("/".join(parts[depth:]))
        if entry is not None:
            return _from_ome(image, entry, array.ndim)
    return _Description()


def _from_ome(image: dict, entry: dict, ndim: int) -> _Description:
    listed = image.get("axes")
    axes = [each if isinstance(each, dict) else {"name": each} for each in listed] if isinstance(listed, list) else []
    scales = [scale for each in (entry, image) for scale in _scales(each) if len(scale) == ndim]
    return _Description(
        _letters([axis.get("name") for axis in axes]) if axes else _UNNAMED,
        tuple(_product(each) for each in zip(*scales, strict=True)) if scales else None,
        tuple(axis.get("unit") for axis in axes) if len(axes) == ndim else None,
    )


def _letters(names: Sequence) -> str | None:
    # An axis of another name is shown as it is in a message, and fits no order.
    return "".join(str(name).lower() for name in names) if all(names) and names else None


def _scales(transformed: dict) -> list[list]:
    listed = transformed.get("coordinateTransformations")
    found = [each.get("scale") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return [scale for scale in found if isinstance(scale, list)]


def _product(factors: Sequence) -> float | None:
    # What is no number is refused with the voxel size, in words.
    return float(np.prod(factors)) if all(isinstance(each, int | float) for each in factors) else None


def _order(name: str, shape: tuple[int, ...], axes: str | None, declared: str | None) -> tuple[str, tuple[int, ...]]:
    """Return one letter per axis that is kept, and which of the array's axes those are.

    Times and channels of which there is one are dropped.
    """
    declared = declared or (_UNNAMED if len(shape) == len(_UNNAMED) else None)
    fits = declared and len(declared) == len(shape) and len(set(declared)) == len(declared)
    if not fits or not set(declared) <= set(_UNNAMED):
        return order_of(name, shape, axes, "zyx"), tuple(range(len(shape)))
    sizes = dict(zip(declared, shape, strict=True))
    if sizes.get("t", 1) > 1:
        raise InputError(
            f"{name}: expected one point in time, found {sizes['t']} (axes {declared}, shape {shape}); "
            "save the one to segment as a volume of its own."
        )
    kept = tuple(position for position, axis in enumerate(declared) if axis not in "tc" or shape[position] > 1)
    left = "".join(declared[position] for position in kept)
    if axes is None and not set("zyx") <= set(left):
        raise InputError(
            f"{name}: expected a stack of planes, found axes {declared} of shape {shape}; "
            "if it is a stack, add `axes`, e.g. `axes=zyx`."
        )
    return order_of(name, tuple(shape[position] for position in kept), axes or left, "zyx"), kept


def _spacing(name: str, array, described: _Description, zyx: list[int]):
    """Return the voxel size (z, y, x) and its unit; `zyx` is which of the array's axes z, y and x are."""
    own = array.attrs.get("element_size_um")
    if own is not None:
        return checked_spacing(name, own), "um"
    if described.scale is None:
        return None, None
    sizes = checked_spacing(name, [described.scale[axis] for axis in zyx])
    units = [described.units[axis] if described.units else None for axis in zyx]
    # British spelling is met as well.
    factors = [_OME_UNITS.get(unit.replace("metre", "meter")) if isinstance(unit, str) else None for unit in units]
    if not all(factors):
        # Ones without a unit are what is written where nobody measured.
        return (None if set(sizes) == {1.0} else sizes), None
    return tuple(size * factor for size, factor in zip(sizes, factors, strict=True)), "um"


# ---- writing -------------------------------------------------------------------------------------


def refuse_existing_zarr(path: Path, overwrite: bool, what: str = "output") -> None:
    """Raise `InputError` if `path` may not be written; of folders, only one that is Zarr may be replaced."""
    _package(path)
    mark = next((mark for mark in MARKS if (path / mark).is_file()), MARKS[0])
    refuse_existing_folder(path, overwrite, what, (mark,))


@contextmanager
def create_zarr(path: Path, new: NewVolume) -> Iterator[Callable[[Box, np.ndarray], None]]:
    yield start_zarr(path, new)


def start_zarr(path: Path, new: NewVolume) -> Callable[[Box, np.ndarray], None]:
    """Make a group with the array `key`, which it describes as an OME-Zarr image as well; return what writes boxes of it."""
    zarr = _package(path)
    order = _written_order(new)
    shape = shape_in_order(new.shape, new.channels, order)
    chunks = dict(zip("zyx", new.chunks or (_CHUNK,) * 3, strict=True))
    number = new.like.layout.get("zarr_format", _FORMAT)
    version, wrapped = {2: ("0.4", False), 3: ("0.5", True)}[number]
    image = {"multiscales": [_ome_image(new.key, order, new.like, version)]}
    attributes = {"ome": image | {"version": version}} if wrapped else image
    group = zarr.create_group(path, zarr_format=number, attributes=attributes)
    array = group.create_array(
        new.key,
        shape=shape,
        dtype=new.dtype,
        chunks=tuple(min(chunks.get(axis, 1), size) for axis, size in zip(order, shape, strict=True)),
        dimension_names=list(order) if wrapped else None,
        chunk_key_encoding={"name": "default", "separator": "/"} if wrapped else {"name": "v2", "separator": "/"},
    )
    array.attrs["axes"] = order
    if new.like.micrometres:
        array.attrs["element_size_um"] = list(new.like.micrometres)
    return _writer(array, new, order)


def continue_zarr(path: Path, new: NewVolume) -> Callable[[Box, np.ndarray], None]:
    """Return what writes boxes of a volume that `start_zarr` made, perhaps in another process.

    Boxes that are written at the same time must share no chunk.
    """
    group = _package(path).open_group(path, mode="r+", use_consolidated=False)
    return _writer(group[new.key], new, _written_order(new))


def _writer(array, new: NewVolume, order: str) -> Callable[[Box, np.ndarray], None]:
    def write(box: Box, voxels: np.ndarray) -> None:
        array[place_in_order(box, new.shape, order)] = from_order(voxels, order)

    return write


def _written_order(new: NewVolume) -> str:
    # OME-Zarr wants the channels first.
    return "c" * (new.channels is not None) + plain_order(new.like, None)


def _ome_image(key: str, order: str, like: Volume, version: str) -> dict:
    unit = _OME_NAMES.get(MICROMETRES.get(like.unit))
    sizes = dict(zip("zyx", like.spacing or (1.0, 1.0, 1.0), strict=True))
    axes = [
        {"name": axis, "type": "channel"}
        if axis == "c"
        else {"name": axis, "type": "space"} | ({"unit": unit} if unit and like.spacing else {})
        for axis in order
    ]
    scale = [float(sizes.get(axis, 1.0)) for axis in order]
    dataset = {"path": key, "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    return {"version": version, "name": key, "axes": axes, "datasets": [dataset]}
