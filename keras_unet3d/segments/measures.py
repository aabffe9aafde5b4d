"""Measures of every object of a label volume, block by block: sizes, places, surfaces, grey values.

A block becomes rows (a row per run of equal voxels along x), and rows of the same object are put together, first within a
block and then over all blocks. Everything that is counted is a whole number, so that blocks change nothing.
"""

from collections.abc import Iterable
from itertools import combinations, permutations, product

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import AXES, Box, Spacing, Triple, triple
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.volumes import Volume, whole_numbers

# Column -> an array with an entry (of three, per channel, ...) for each of several objects.
Rows = dict[str, np.ndarray]

# How rows of the same object become one. "positions" are twice the sum of the voxels' positions.
_TOGETHER: dict[str, np.ufunc] = {
    "voxels": np.add,
    "positions": np.add,
    "start": np.minimum,
    "stop": np.maximum,
    "total": np.add,
    "lowest": np.minimum,
    "highest": np.maximum,
    "crossings": np.add,
}
# As many rows may wait to be put together, or as many as there are objects so far.
_WAITING = 100_000
# Names of units that have another one, which every program can read in the name of a column.
_PLAIN_UNITS = {None: "units", "µm": "um", "micron": "um", "meter": "m", "Å": "angstrom"}


def object_table(
    labels: Volume, image: Volume | None = None, background: int = 0, listener: Listener = SILENT
) -> dict[str, np.ndarray]:
    """Return the measures of every object: the voxels of one label, whether connected or not.

    Args:
        labels: label values, whole numbers of any type; its voxel size is that of the measures.
        image: of the same shape, for grey values per channel.
        background: the value of voxels that belong to no object.
        listener: is told voxels done and voxels in all.

    Returns:
        Column -> array with an entry per object, in the order of the labels; `docs/evaluation.md` has a table of them.
        "um" in their names is the unit of the voxel size, and where that is not known, "voxels" takes its place.

    Raises:
        InputError: labels with channels or that are not whole numbers, no object, an image of another shape.

    Sources: the surface is that of the Crofton formula along 13 directions, as in Lehmann and Legland 2012
    (doi:10.5201/ipol.2012.lf-mm), but for directions and weights, see `_directions`; the sphericity is that of Wadell 1932.
    """
    _refuse_others(labels, image)
    steps, weights = _directions(labels.spacing or (1.0, 1.0, 1.0))
    reach = triple(np.abs(steps).max(axis=0).tolist())
    bodies: list[Rows] = []
    surfaces: list[Rows] = []
    done, voxels = 0, int(np.prod(labels.shape))
    for box in labels.boxes():
        further = tuple(slice(s.start, min(s.stop + r, n)) for s, r, n in zip(box, reach, labels.shape, strict=True))
        block = whole_numbers(
            labels.name, labels.read(further)[..., 0], "give the labels, not the image or probabilities."
        )
        values, numbers = _numbered(block, background)
        inner = numbers[tuple(slice(s.stop - s.start) for s in box)]
        if inner.any():
            _add(bodies, _bodies(values, inner, box, None if image is None else image.read(box)))
        if len(values):
            crossings = _crossings(_with_outside(numbers, box, reach), steps, reach, len(values))
            _add(surfaces, {"label": values, "crossings": crossings})
        done += inner.size
        listener.progress(done, voxels)
    if not bodies:
        raise NoObject(
            f"{labels.name}: expected objects, found only the background {background}; check the labels, and `background`."
        )
    return _columns(_together(bodies), _together(surfaces)["crossings"] @ weights, labels)


class NoObject(InputError):
    """Labels that are background throughout."""


def _refuse_others(labels: Volume, image: Volume | None) -> None:
    if labels.channels != 1:
        raise InputError(
            f"{labels.name}: expected one label per voxel, found {labels.channels} channels; "
            "give the labels, not probabilities or colours."
        )
    if image is not None and image.shape != labels.shape:
        raise InputError(
            f"{image.name}: expected the shape of the labels {labels.name}, {labels.shape}; found {image.shape}; "
            "give the image that was segmented."
        )


# ---- a block ---------------------------------------------------------------------------------------


def _numbered(labels: np.ndarray, background: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of the objects of a block, and a block of their numbers: 1, 2, ..., and 0 for the background."""
    flat = labels.ravel()
    # There are far fewer runs than voxels, and they are what is sorted.
    first = np.flatnonzero(np.append(True, flat[1:] != flat[:-1]))
    values, of_run = np.unique(flat[first], return_inverse=True)
    is_object = values != background
    numbers = np.where(is_object, np.cumsum(is_object), 0).astype(np.int32)
    return values[is_object], np.repeat(numbers[of_run], _lengths(first, flat.size)).reshape(labels.shape)


def _lengths(first: np.ndarray, end: int) -> np.ndarray:
    return np.diff(np.append(first, end))


def _bodies(values: np.ndarray, numbers: np.ndarray, box: Box, image: np.ndarray | None) -> Rows:
    """Return a row per object of a block."""
    begins = np.ones(numbers.shape, bool)
    begins[..., 1:] = numbers[..., 1:] != numbers[..., :-1]
    first = np.flatnonzero(begins)
    length = _lengths(first, numbers.size)
    start = np.stack(np.unravel_index(first, numbers.shape), axis=1) + [s.start for s in box]
    last = start.copy()
    last[:, 2] += length - 1
    rows = {"voxels": length, "positions": (start + last) * length[:, None], "start": start, "stop": last + 1}
    if image is not None:
        grey = image.reshape(-1, image.shape[-1])
        grey = grey.astype(np.uint8) if grey.dtype.kind == "b" else grey
        # Sums of integers are exact, where they have room.
        kind = np.int64 if grey.dtype.kind in "iu" and grey.dtype.itemsize < 8 else np.float64
        rows["total"] = np.add.reduceat(grey, first, axis=0, dtype=kind)
        rows["lowest"], rows["highest"] = (each.reduceat(grey, first, axis=0) for each in (np.minimum, np.maximum))
    number = numbers.ravel()[first]
    inside = number > 0
    return _together([{"label": values[number[inside] - 1]} | {name: each[inside] for name, each in rows.items()}])


def _with_outside(numbers: np.ndarray, box: Box, reach: Triple) -> np.ndarray:
    """Return the numbers of a block with `reach` voxels more behind it, and before it where the volume begins: 0 outside."""
    missing = [s.stop - s.start + r - n for s, r, n in zip(box, reach, numbers.shape, strict=True)]
    before = [r if s.start == 0 else 0 for s, r in zip(box, reach, strict=True)]
    return np.pad(numbers, list(zip(before, missing, strict=True)))


def _crossings(numbers: np.ndarray, steps: np.ndarray, reach: Triple, count: int) -> np.ndarray:
    """Return how often lines along each of the steps enter or leave an object, `(objects, steps)`.

    Of every two voxels a step apart the corner of the box around them decides to which block they belong.
    """
    sizes = np.subtract(numbers.shape, reach)
    crossings = np.empty((count + 1, len(steps)), np.int64)
    for column, step in enumerate(steps):
        here, there = (
            numbers[tuple(slice(s, s + n) for s, n in zip(np.maximum(side, 0), sizes, strict=True))]
            for side in (-step, step)
        )
        differ = here != there
        crossings[:, column] = sum(np.bincount(side[differ], minlength=count + 1) for side in (here, there))
    return crossings[1:]


# ---- rows of objects -------------------------------------------------------------------------------


def _add(kept: list[Rows], rows: Rows) -> None:
    """Keep rows; they are put together once in a while, which keeps memory and time small."""
    kept.append(rows)
    if sum(len(part["label"]) for part in kept[1:]) > max(_WAITING, len(kept[0]["label"])):
        kept[:] = [_together(kept)]


def _together(parts: Iterable[Rows]) -> Rows:
    """Return one row per object, in the order of their labels."""
    parts = list(parts)
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(rows["label"], kind="stable")
    label = rows.pop("label")[order]
    first = np.flatnonzero(np.append(True, label[1:] != label[:-1]))
    return {"label": label[first]} | {
        name: _TOGETHER[name].reduceat(values[order], first, axis=0) for name, values in rows.items()
    }


# ---- the surface -----------------------------------------------------------------------------------

# Between voxels that share a corner: a direction for every two corners of a cube that have none of their 1s in common.
_DIRECTIONS = [
    np.subtract(second, first)
    for first, second in combinations(product((0, 1), repeat=3), 2)
    if not np.any(np.minimum(first, second))
]
# Of flat voxels steps go further in their plane, but no further than this.
_LONGEST_STEP = 8


def _directions(spacing: Spacing) -> tuple[np.ndarray, np.ndarray]:
    """Return 13 steps in voxels, `(13, 3)`, and how much surface a crossing along each of them stands for.

    With voxels that are flat, steps to the neighbours would all lie near one axis. Steps over several voxels of the
    finer axes are as far apart as those between cubic voxels. The weights are those that give a plane its area, whatever its
    orientation, with the smallest mean square error, and with a mean error of 0, as over a sphere. The areas of the directions'
    Voronoi cells, which are usual, are as good for cubic voxels, and worse where their height is no multiple of their width.
    """
    from scipy.optimize import nnls

    voxel = np.asarray(spacing)
    longest = np.clip(np.rint(voxel.max() / voxel), 1, _LONGEST_STEP).astype(int)
    steps = np.stack(_DIRECTIONS) * longest
    steps //= np.gcd.reduce(steps, axis=1)[:, None]
    lengths = np.linalg.norm(steps * voxel, axis=1)
    # A plane is met once by each of the lines, as many as its projection along them has room for.
    met = np.abs(_orientations() @ (steps * voxel).T) / lengths
    weights = nnls(met, np.ones(len(met)))[0]
    weights /= (met @ weights).mean()
    return steps, weights * voxel.prod() / lengths


def _orientations(count: int = 100) -> np.ndarray:
    """Return unit vectors that are spread evenly over a sphere, and as they are in the mirror and along other axes."""
    numbers = np.arange(count) + 0.5
    height, angle = 1 - 2 * numbers / count, np.pi * (1 + 5**0.5) * numbers
    radius = np.sqrt(1 - height**2)
    # A Fibonacci lattice has no symmetry of its own; surfaces shall be the same whichever axis is called which.
    lattice = np.stack([height, radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    turns = product(permutations(range(3)), product((1, -1), repeat=3))
    return np.concatenate([lattice[:, axes] * signs for axes, signs in turns])


# ---- the table -------------------------------------------------------------------------------------


def _columns(rows: Rows, surface: np.ndarray, labels: Volume) -> dict[str, np.ndarray]:
    """Return the columns of the table; `surface` is in the unit of the voxel size."""
    spacing = labels.spacing or (1.0, 1.0, 1.0)
    unit = _PLAIN_UNITS.get(labels.unit, labels.unit) if labels.spacing else "voxels"
    voxels = rows["voxels"]
    centroid = rows["positions"] / (2 * voxels[:, None])
    volume = voxels * np.prod(spacing)
    table = {"label": rows["label"], "volume_voxels": voxels}
    if labels.spacing:
        table[f"volume_{unit}3"] = volume
    for name, size in {"voxels": (1.0, 1.0, 1.0), unit: spacing}.items():
        table |= {f"centroid_{axis}_{name}": centroid[:, i] * size[i] for i, axis in enumerate(AXES)}
    for side in ("start", "stop"):
        table |= {f"box_{axis}_{side}": rows[side][:, i] for i, axis in enumerate(AXES)}
    table[f"surface_{unit}2"] = surface
    table[f"equivalent_diameter_{unit}"] = np.cbrt(6 * volume / np.pi)
    table["sphericity"] = np.cbrt(np.pi) * np.cbrt(6 * volume) ** 2 / surface
    table["touches_border"] = ((rows["start"] == 0) | (rows["stop"] == labels.shape)).any(axis=1)
    if "total" in rows:
        channels = rows["total"].shape[1]
        for i in range(channels):
            name = "intensity" if channels == 1 else f"intensity_{i}"
            table[f"{name}_mean"] = rows["total"][:, i] / voxels
            table[f"{name}_min"], table[f"{name}_max"] = rows["lowest"][:, i], rows["highest"][:, i]
    return table
