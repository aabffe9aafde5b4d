"""Pictures of a run: arrays in, PNG files out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.geometry import AXES, Spacing
from keras_unet3d.pictures import drawing

# Of labels over an image.
_OPACITY = 0.45


def draw_patch(
    image: np.ndarray,
    classes: np.ndarray,
    labelled: np.ndarray,
    predicted: np.ndarray,
    path: Path,
    names: Sequence[str] = (),
    spacing: Spacing | None = None,
) -> None:
    """Draw image, labels and prediction `(z, y, x)` in the plane of each axis that has most to show.

    An image larger than its labels (valid padding) is cut to their size.
    """
    inset = [(i - c) // 2 for i, c in zip(image.shape, classes.shape, strict=True)]
    image = image[tuple(slice(i, i + n) for i, n in zip(inset, classes.shape, strict=True))]
    columns = {"image": image, "labels": np.where(labelled, classes, -1), "prediction": predicted}
    draw_slices(columns, [_fullest(minority(classes, labelled), axis) for axis in range(3)], path, names, spacing)


def _voxel(spacing: Spacing | None) -> np.ndarray:
    """Return the edges of a voxel for drawing: those of a cube where nobody knows them."""
    return np.ones(3) if spacing is None else np.asarray(spacing)


def draw_slices(
    columns: dict[str, np.ndarray],
    planes: list[int],
    path: Path,
    names: Sequence[str] = (),
    spacing: Spacing | None = None,
) -> None:
    """Draw one row per axis (z, y, x) and one column per volume.

    Args:
        columns: title -> volume `(z, y, x)`; floats are grey values, integers classes, -1 nothing.
        planes: the plane across each axis.
        path: of the PNG.
        names: of the classes, for a legend.
        spacing: voxel size (z, y, x), for the right proportions.
    """
    voxel = _voxel(spacing)
    size = next(iter(columns.values())).shape * voxel
    heights = [size[1] / size[2], size[0] / size[2], size[0] / size[1]]
    # Room for the pictures, their titles and the legend, in inches.
    height = 2.9 * sum(heights) + 3 * 0.35 + (0.4 if names else 0)
    figure, axes = drawing.figure(3, len(columns), (3.1 * len(columns), height), heights)
    for row, plane in enumerate(planes):
        vertical, horizontal = (axis for axis in range(3) if axis != row)
        for axis, (title, volume) in zip(axes[row], columns.items(), strict=True):
            shown = volume.take(plane, axis=row)
            picture = drawing.grey(shown) if shown.dtype.kind == "f" else drawing.coloured(shown)
            axis.imshow(picture, aspect=voxel[vertical] / voxel[horizontal], interpolation="nearest")
            axis.set_title(f"{title}, {AXES[row]} = {plane}", fontsize=9)
            axis.set_xticks([])
            axis.set_yticks([])
    drawing.legend(figure, names)
    drawing.save(figure, path)


@dataclass(frozen=True)
class Panel:
    """One slice of an image with its labels.

    Attributes:
        title: above it.
        image: grey values, `(rows, columns)`.
        classes: of the same shape; values beyond the classes are unlabelled and left grey.
        axis: across which the slice was taken, 0 z, 1 y, 2 x.
        spacing: voxel size (z, y, x) of its volume, for the right proportions.
    """

    title: str
    image: np.ndarray
    classes: np.ndarray
    axis: int
    spacing: Spacing | None = None

    @property
    def aspect(self) -> float:
        """Height of a voxel over its width."""
        vertical, horizontal = (size for axis, size in enumerate(self.spacing or (1, 1, 1)) if axis != self.axis)
        return vertical / horizontal


def draw_annotations(rows: Sequence[Sequence[Panel]], path: Path, names: Sequence[str]) -> None:
    """Draw slices with their labels in colour over the image: a row of panels each."""
    columns = max(len(row) for row in rows)
    tallest = [max(panel.image.shape[0] / panel.image.shape[1] * panel.aspect for panel in row) for row in rows]
    tallest = [min(max(height, 0.3), 2.0) for height in tallest]
    figure, axes = drawing.figure(
        len(rows), columns, (2.6 * columns, 2.6 * sum(tallest) + 0.35 * len(rows) + 0.4), tallest
    )
    for row, panels in zip(axes, rows, strict=True):
        for axis in row:
            axis.axis("off")
        for axis, panel in zip(row, panels, strict=False):
            labelled = (panel.classes < len(names))[..., None]
            colours = drawing.coloured(np.where(labelled[..., 0], panel.classes, 0).astype(int))
            picture = drawing.grey(panel.image.astype(float))
            shown = np.where(labelled, _OPACITY * colours + (1 - _OPACITY) * picture, picture)
            axis.imshow(shown, aspect=panel.aspect, interpolation="nearest")
            axis.set_title(panel.title, fontsize=8)
    drawing.legend(figure, names)
    drawing.save(figure, path)


@dataclass(frozen=True)
class Change:
    """A patch before and after augmentation.

    Attributes:
        before, after: grey values `(z, y, x)`.
        classes: of the latter, `(z, y, x)`; -1 where unlabelled.
        source: where each of its voxels comes from, `(3, z, y, x)`, voxels.
        spacing: voxel size (z, y, x), for the right proportions.
    """

    before: np.ndarray
    after: np.ndarray
    classes: np.ndarray
    source: np.ndarray
    spacing: Spacing | None = None


def draw_changes(rows: Sequence[Change], path: Path, names: Sequence[str]) -> None:
    """Draw a row per change: a plane across z before and after with label contours, the deformed grid, and one across y."""
    voxels = [_voxel(row.spacing) for row in rows]
    heights = [
        row.after.shape[1] * voxel[1] / (row.after.shape[2] * voxel[2]) for row, voxel in zip(rows, voxels, strict=True)
    ]
    figure, axes = drawing.figure(len(rows), 5, (13, 2.6 * sum(heights) + 0.35 * len(rows) + 0.4), heights)
    for line, row, voxel in zip(axes, rows, voxels, strict=True):
        for axis, (title, across, contours, grid) in zip(line, _CHANGE_PANELS, strict=True):
            plane = _fullest(minority(row.classes, row.classes >= 0), across)
            vertical, horizontal = (other for other in range(3) if other != across)
            image = (row.before if title == "before" else row.after).take(plane, across)
            axis.imshow(
                drawing.grey(image.astype(float)), aspect=voxel[vertical] / voxel[horizontal], interpolation="nearest"
            )
            if contours:
                _contours(axis, row.classes.take(plane, across), len(names))
            if grid:
                for along in (vertical, horizontal):
                    _lines(axis, row.source[along].take(plane, across))
            axis.set_title(f"{title}, {AXES[across]} = {plane}", fontsize=8)
            axis.set_xticks([])
            axis.set_yticks([])
    drawing.legend(figure, names)
    drawing.save(figure, path)


# Title, axis across which the plane is taken, whether it has label contours, and a grid.
_CHANGE_PANELS = (
    ("before", 0, False, False),
    ("after", 0, True, False),
    ("grid", 0, False, True),
    ("after", 1, True, False),
    ("grid", 1, False, True),
)
# Voxels of the source between two lines of the grid.
_GRID = 8


def _contours(axis: Any, classes: np.ndarray, count: int) -> None:
    """Draw the outlines of the first `count` classes of a plane."""
    for number in range(count):
        inside = classes == number
        if inside.any() and not inside.all():
            axis.contour(inside, levels=[0.5], colors=drawing.COLOURS[number % len(drawing.COLOURS)], linewidths=0.9)


def _lines(axis: Any, source: np.ndarray) -> None:
    """Draw the lines of a grid that was straight before the deformation."""
    levels = np.arange(np.ceil(source.min() / _GRID), np.floor(source.max() / _GRID) + 1) * _GRID
    if len(levels):
        axis.contour(source, levels=levels, colors="#F0E442", linewidths=0.7, linestyles="solid")


def minority(classes: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Return which labelled voxels are not of the commonest class: these are the ones worth seeing."""
    if not labelled.any():
        return labelled
    return labelled & (classes != np.bincount(classes[labelled]).argmax())


def _fullest(shown: np.ndarray, axis: int) -> int:
    """Return the plane across `axis` with most of the voxels that are to be shown."""
    others = tuple(other for other in range(3) if other != axis)
    return int(np.argmax(shown.sum(axis=others)))
