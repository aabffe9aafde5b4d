"""An image with its labels and weights: as a case that is yet to be opened, and as an example that fits together."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any, Self

import numpy as np

from keras_unet3d.errors import refuse
from keras_unet3d.fields import Validated
from keras_unet3d.geometry import Spacing, triple
from keras_unet3d.places import Place
from keras_unet3d.volumes import NoChannels, Volume, embedded
from keras_unet3d.words import by

# Voxels by which the corners of two volumes may be apart, and the share by which their voxel sizes may differ.
_APART, _OTHER_SIZE = 0.5, 0.01


@dataclass(frozen=True)
class DataKeys(Validated):
    """Where in the files the volumes are: data set names in HDF5, N5 and Zarr, order of the axes, scene and point in time."""

    WHAT = "names in the files"

    raw: str = "raw"
    label: str = "label"
    weight: str = "weight"
    axes: str | None = None
    scene: str | None = None
    time: int | None = None

    def replaced(self, **given: Any) -> Self:
        """Return the same with those fields replaced that are given, not None."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    def of(self, key: str) -> tuple[str, str | None, str | None, int | None]:
        """Return what `open_volume` takes for the data set `key`."""
        return key, self.axes, self.scene, self.time


def open_labels(opener: Callable[..., Volume], path: Place, key: str, axes: str | None, *which: Any) -> Volume:
    """Open labels or weights, which may have no channels: the order of the image's axes serves them without the c."""
    try:
        return opener(path, key, axes, *which)
    except NoChannels:
        return opener(path, key, axes and axes.lower().replace("c", ""), *which)


@dataclass(frozen=True)
class Example:
    """An image with its labels, and with weights where there are some; they lie on the same voxels.

    Attributes:
        annotated: the raw label values that were annotated; None for all.
    """

    name: str
    image: Volume
    label: Volume
    weight: Volume | None = None
    annotated: tuple[int, ...] | None = None

    @property
    def file(self) -> str:
        """What tells this example from any other: the path of its image."""
        inside = self.image.layout.get("inside")
        within = f":/{inside}" if inside else ""
        return f"{self.image.path.resolve()}{within}" if self.image.path else self.name

    def __post_init__(self) -> None:
        for volume in filter(None, (self.label, self.weight)):
            refuse(misfits(self.image, volume))


@dataclass(frozen=True)
class Case:
    """The volumes of one example, opened by calling `image`, `label` and `weight`; a missing weight is None."""

    name: str
    image: Callable[[], Volume]
    label: Callable[[], Volume]
    weight: Callable[[], Volume | None] = lambda: None

    def opened(self) -> Example:
        """Return the example; raises `InputError` for the first thing that is wrong with it."""
        image = self.image()
        return Example(self.name, image, on_voxels_of(image, self.label()), self.weight())


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What a data set declares about its labels and its grey values.

    Attributes:
        label_names: names of raw label values.
        unlabelled: raw values that mean "nobody said".
        target: what label values are, one of `choices.TARGETS`; None where nothing is said.
        regions: names of classes that overlap, and the raw values that each is made of.
        region_values: the raw value that a prediction writes for every one of them, the last one on top; empty where it
            follows from them.
        annotated: patterns of file names, and the raw values that were annotated in such files; in all others all were.
        grey_values: words of `choices.ASKED_GREY_VALUES`, one per channel; empty where nothing, or nothing special, is said.
    """

    label_names: dict[int, str] = field(default_factory=dict)
    unlabelled: tuple[int, ...] = ()
    target: str | None = None
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    region_values: tuple[int, ...] = ()
    annotated: dict[str, tuple[int, ...]] = field(default_factory=dict)
    grey_values: tuple[str, ...] = ()

    def declared(self) -> "Declared":
        """Return the declarations alone."""
        return Declared(**{entry.name: getattr(self, entry.name) for entry in fields(Declared)})


@dataclass(frozen=True, kw_only=True)
class Found(Declared):
    """The cases that DATA names, and what the data set declares.

    Attributes:
        cases: image, labels and weights that belong together.
        faults: sentences on files that are missing beside those of the cases.
    """

    cases: tuple[Case, ...]
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DataSet(Declared):
    """The opened examples that DATA names, and what the data set declares."""

    examples: tuple[Example, ...]


def on_voxels_of(image: Volume, label: Volume) -> Volume:
    """Return labels of a format that leaves out planes of nothing, like DICOM-SEG, on all voxels of the image.

    Labels that do not lie on its voxels are as they were: `misfits` says so.
    """
    if not label.layout.get("sparse") or image.affine is None or label.affine is None or label.shape == image.shape:
        return label
    offset = np.linalg.inv(image.affine) @ label.affine
    corner = triple(int(voxel) for voxel in offset[2::-1, 3].round())
    inside = all(0 <= at <= whole - size for at, whole, size in zip(corner, image.shape, label.shape, strict=True))
    return embedded(label, image.shape, corner) if inside else label


def misfits(image: Volume, other: Volume) -> Iterator[str]:
    """Yield a sentence where `other` (labels or weights) does not lie on the voxels of `image`."""
    if image.path and other.name == image.name:
        # Zarr may give the one image that it holds for several names.
        yield f"{other.name}: expected labels or weights beside the image, found the image itself; name another one."
        return
    if other.shape != image.shape:
        yield (
            f"{other.name}: expected the shape of the image {image.name}, (z, y, x) = "
            f"{image.shape}; found {other.shape}; check that they belong together, and `axes`."
        )
        return
    if image.affine is not None and other.affine is not None:
        apart = _corners_apart(image, image.affine - other.affine)
        if apart > _APART:
            yield (
                f"{other.name}: expected the affine of the image {image.name}, found another one that puts corners up "
                f"to {apart:.3g} voxels apart; resample the labels to the image, or, if their voxels do correspond, "
                "save them with the image's affine (docs/formats.md)."
            )
    elif image.micrometres and other.micrometres and not _same_size(image.micrometres, other.micrometres):
        yield (
            f"{other.name}: expected the voxel size of the image {image.name}, {_sizes(image)}; found "
            f"{_sizes(other)}; check that they belong together, or correct the voxel size in the file."
        )


def _corners_apart(image: Volume, difference: np.ndarray) -> float:
    """Return how far, in voxels of the image, two affines of that difference put the volume's corners apart at most."""
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in image.shape[::-1]))])
    apart = np.linalg.norm((difference @ corners.T)[:3], axis=0).max()
    return float(apart / min(image.spacing or (1.0,)))


def _same_size(image: Spacing, other: Spacing) -> bool:
    return np.allclose(image, other, rtol=_OTHER_SIZE, atol=0)


def _sizes(volume: Volume) -> str:
    return f"{by(volume.spacing or (), '.4g')} {volume.unit}"
