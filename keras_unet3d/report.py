"""Pictures of a run: arrays in, PNG files out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_unet3d.files import whole_file

_AXES = "zyx"
# Colour-blind safe (Okabe and Ito); where classes outnumber them they start again.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#999999")

# Classes in a legend; what is more says nothing, the colours repeat.
_MOST_NAMED = 24
# Of labels over an image.
_OPACITY = 0.45


def curves(rows: list[dict], path: Path) -> None:
    """Draw loss and overlap over the epochs; a row holds the figures of one epoch, "val_" for validation."""
    epochs = range(1, len(rows) + 1)
    figure, axes = _figure(1, 2, (9, 3.4))
    for axis, names in zip(axes[0], (("loss",), ("iou", "dice")), strict=True):
        for name, colour in zip(names, _COLOURS, strict=False):
            axis.plot(epochs, [row[name] for row in rows], ".--", color=colour, alpha=0.6, label=f"{name}, training")
            axis.plot(epochs, [row[f"val_{name}"] for row in rows], ".-", color=colour, label=f"{name}, validation")
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    # The validation's first losses may be hundreds of times the last ones.
    axes[0][0].set_yscale("log" if min(min(row["loss"], row["val_loss"]) for row in rows) > 0 else "linear")
    axes[0][1].set_ylim(0, 1)
    _save(figure, path)


def patch(image, classes, labelled, predicted, path: Path, names: Sequence[str] = (), spacing=None) -> None:
    """Draw image, labels and prediction `(z, y, x)` in the plane of each axis that has most to show.

    An image larger than its labels (valid padding) is cut to their size.
    """
    inset = [(i - c) // 2 for i, c in zip(image.shape, classes.shape, strict=True)]
    image = image[tuple(slice(i, i + n) for i, n in zip(inset, classes.shape, strict=True))]
    columns = {"image": image, "labels": np.where(labelled, classes, -1), "prediction": predicted}
    slices(columns, [_fullest(minority(classes, labelled), axis) for axis in range(3)], path, names, spacing)


def slices(
    columns: dict[str, np.ndarray], planes: list[int], path: Path, names: Sequence[str] = (), spacing=None
) -> None:
    """Draw one row per axis (z, y, x) and one column per volume.

    Args:
        columns: title -> volume `(z, y, x)`; floats are grey values, integers classes, -1 nothing.
        planes: the plane across each axis.
        path: of the PNG.
        names: of the classes, for a legend.
        spacing: voxel size (z, y, x), for the right proportions.
    """
    spacing = np.ones(3) if spacing is None else np.asarray(spacing)
    size = next(iter(columns.values())).shape * spacing
    heights = [size[1] / size[2], size[0] / size[2], size[0] / size[1]]
    # Room for the pictures, their titles and the legend, in inches.
    height = 2.9 * sum(heights) + 3 * 0.35 + (0.4 if names else 0)
    figure, axes = _figure(3, len(columns), (3.1 * len(columns), height), heights)
    for row, plane in enumerate(planes):
        vertical, horizontal = (axis for axis in range(3) if axis != row)
        for axis, (title, volume) in zip(axes[row], columns.items(), strict=True):
            shown = volume.take(plane, axis=row)
            picture = _grey(shown) if shown.dtype.kind == "f" else _coloured(shown)
            axis.imshow(picture, aspect=spacing[vertical] / spacing[horizontal], interpolation="nearest")
            axis.set_title(f"{title}, {_AXES[row]} = {plane}", fontsize=9)
            axis.set_xticks([])
            axis.set_yticks([])
    _legend(figure, names)
    _save(figure, path)


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
    spacing: tuple[float, float, float] | None = None

    @property
    def aspect(self) -> float:
        """Height of a voxel over its width."""
        vertical, horizontal = (size for axis, size in enumerate(self.spacing or (1, 1, 1)) if axis != self.axis)
        return vertical / horizontal


def annotations(rows: Sequence[Sequence[Panel]], path: Path, names: Sequence[str]) -> None:
    """Draw slices with their labels in colour over the image: a row of panels each."""
    columns = max(len(row) for row in rows)
    tallest = [max(panel.image.shape[0] / panel.image.shape[1] * panel.aspect for panel in row) for row in rows]
    tallest = [min(max(height, 0.3), 2.0) for height in tallest]
    figure, axes = _figure(len(rows), columns, (2.6 * columns, 2.6 * sum(tallest) + 0.35 * len(rows) + 0.4), tallest)
    for row, panels in zip(axes, rows, strict=True):
        for axis in row:
            axis.axis("off")
        for axis, panel in zip(row, panels, strict=False):
            labelled = (panel.classes < len(names))[..., None]
            colours = _coloured(np.where(labelled[..., 0], panel.classes, 0).astype(int))
            picture = _grey(panel.image.astype(float))
            shown = np.where(labelled, _OPACITY * colours + (1 - _OPACITY) * picture, picture)
            axis.imshow(shown, aspect=panel.aspect, interpolation="nearest")
            axis.set_title(panel.title, fontsize=8)
    _legend(figure, names)
    _save(figure, path)


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
    spacing: tuple[float, float, float] | None = None


def changes(rows: Sequence[Change], path: Path, names: Sequence[str]) -> None:
    """Draw a row per change: a plane across z before and after with label contours, the deformed grid, and one across y."""
    spacing = [np.ones(3) if row.spacing is None else np.asarray(row.spacing) for row in rows]
    heights = [
        row.after.shape[1] * size[1] / (row.after.shape[2] * size[2]) for row, size in zip(rows, spacing, strict=True)
    ]
    figure, axes = _figure(len(rows), 5, (13, 2.6 * sum(heights) + 0.35 * len(rows) + 0.4), heights)
    for line, row, size in zip(axes, rows, spacing, strict=True):
        for axis, (title, across, contours, grid) in zip(line, _CHANGE_PANELS, strict=True):
            plane = _fullest(minority(row.classes, row.classes >= 0), across)
            vertical, horizontal = (other for other in range(3) if other != across)
            image = (row.before if title == "before" else row.after).take(plane, across)
            axis.imshow(_grey(image.astype(float)), aspect=size[vertical] / size[horizontal], interpolation="nearest")
            if contours:
                _contours(axis, row.classes.take(plane, across), len(names))
            if grid:
                for along in (vertical, horizontal):
                    _lines(axis, row.source[along].take(plane, across))
            axis.set_title(f"{title}, {_AXES[across]} = {plane}", fontsize=8)
            axis.set_xticks([])
            axis.set_yticks([])
    _legend(figure, names)
    _save(figure, path)


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


def _contours(axis, classes, count: int) -> None:
    for number in range(count):
        inside = classes == number
        if inside.any() and not inside.all():
            axis.contour(inside, levels=[0.5], colors=_COLOURS[number % len(_COLOURS)], linewidths=0.9)


def _lines(axis, source) -> None:
    """Draw what were straight lines before the deformation."""
    levels = np.arange(np.ceil(source.min() / _GRID), np.floor(source.max() / _GRID) + 1) * _GRID
    if len(levels):
        axis.contour(source, levels=levels, colors="#F0E442", linewidths=0.7, linestyles="solid")


def _legend(figure, names: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    if names:
        named = enumerate(names[:_MOST_NAMED])
        patches = [Patch(color=_COLOURS[i % len(_COLOURS)], label=name) for i, name in named]
        figure.legend(handles=patches, loc="outside lower center", ncols=min(len(names), 8), fontsize=9, frameon=False)


def minority(classes, labelled) -> np.ndarray:
    """Return which labelled voxels are not of the commonest class: where there is something to see."""
    if not labelled.any():
        return labelled
    return labelled & (classes != np.bincount(classes[labelled]).argmax())


def _fullest(shown, axis: int) -> int:
    others = tuple(other for other in range(3) if other != axis)
    return int(np.argmax(shown.sum(axis=others)))


def _grey(values) -> np.ndarray:
    low, high = np.percentile(values, (1, 99))
    scaled = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    return np.repeat(scaled[..., None], 3, axis=-1)


def _coloured(classes) -> np.ndarray:
    from matplotlib.colors import to_rgb

    colours = np.array([to_rgb(colour) for colour in _COLOURS])
    return np.where(classes[..., None] < 0, 1.0, colours[classes % len(colours)])


def _figure(rows: int, columns: int, size, heights=None):
    # Without pyplot there is no global state and no display is asked for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, height_ratios=heights)


def _save(figure, path: Path) -> None:
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=110)
