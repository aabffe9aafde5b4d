"""Volumes and what networks say of them, made into what the viewer of a page shows."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from keras_unet3d.report.charts import histogram
from keras_unet3d.report.scene import NOTHING, Scene, Side, in_bytes, thinning
from keras_unet3d.volumes import Volume
from keras_unet3d.words import by


def scene_of(name: str, image: Volume, classes: np.ndarray, side: Side, objects: np.ndarray | None, most: int) -> Scene:
    """Return a volume, thinned to `most` voxels at most; of several channels the first.

    Args:
        name: of the volume.
        image: the volume, read plane by plane.
        classes: what its labels are, class numbers `(z, y, x)`.
        side: what a network says of it, of the whole volume.
        objects: numbers of the objects in its labels, 0 for none; None where these are no objects.
        most: voxels.
    """
    step = thinning(image.shape, image.spacing, most)
    part = tuple(slice(None, None, every) for every in step)
    voxel = prod(image.spacing or (1, 1, 1))
    thin = replace(
        side,
        classes=side.classes[part],
        uncertainty=None if side.uncertainty is None else side.uncertainty[part],
        objects=None if side.objects is None else side.objects[part],
        sizes=sizes_of(side.objects, voxel),
    )
    z, y, x = (edge * every for edge, every in zip(image.spacing or (1, 1, 1), step, strict=True))
    return Scene(
        name,
        in_bytes(planes_of(image, step)),
        classes[part],
        (thin,),
        None if objects is None else objects[part],
        # Of an object that is labelled in a few slices nobody knows the size.
        None if (classes == NOTHING).any() else sizes_of(objects, voxel),
        (z, y, x),
        step,
        note_of(image, step),
    )


def planes_of(image: Volume, step: tuple[int, int, int]) -> np.ndarray:
    """Return every so many-th voxel of the first channel, `(z, y, x)`; no more than a plane is in memory besides."""
    depth, height, width = image.shape
    whole = slice(0, height), slice(0, width)
    planes = (image.read((slice(z, z + 1), *whole))[0, :: step[1], :: step[2], 0] for z in range(0, depth, step[0]))
    return np.stack([*planes])


def sizes_of(objects: np.ndarray | None, voxel: float) -> np.ndarray | None:
    """Return the size of every object, of voxels of such a size."""
    return None if objects is None else np.unique(objects[objects > 0], return_counts=True)[1] * voxel


def note_of(image: Volume, step: tuple[int, int, int]) -> str:
    """Return what a reader should know of a volume that is shown."""
    voxel = f", voxel {by(image.spacing, '.3g')} {image.unit or ''}".rstrip() if image.spacing else ""
    thinned = (
        f" It is thinned for this page: of its voxels every {by(step)}th is shown (z, y, x), so small things may be missing."
        if prod(step) > 1
        else ""
    )
    channels = f" Of its {image.channels} channels the first is shown." if image.channels > 1 else ""
    return f"{by(image.shape)} voxels (z, y, x){voxel}.{thinned}{channels}"


def object_charts(scenes: Sequence[Scene], unit: str | None) -> list[dict]:
    """Return a histogram of the sizes of all objects of the scenes; none where there are none."""
    series: dict[str, list[np.ndarray]] = {}
    for scene in scenes:
        named = {"labelled": scene.sizes} | {
            side.name if len(scene.sides) > 1 else "predicted": side.sizes for side in scene.sides
        }
        for name, sizes in named.items():
            if sizes is not None and len(sizes):
                series.setdefault(name, []).append(sizes)
    if not series:
        return []
    joined = {name: np.concatenate(sizes) for name, sizes in series.items()}
    return [histogram("Sizes of the objects", f"volume in {f'{unit}³' if unit else 'voxels'}", joined)]
