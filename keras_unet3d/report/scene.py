"""Volumes as the viewer of a page shows them: thinned where they are large, a byte per voxel, packed into text."""

import base64
import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

# A voxel of labels or a prediction that is of no class; and as many colours as objects have, 0 being none.
NOTHING = 255
OBJECT_COLOURS = 7
# Voxels that all volumes of a page have together. A byte each for grey values and uncertainty, as text, is about 6 MB at worst.
MOST_VOXELS = 2**21
MOST_SCENES = 4


@dataclass(frozen=True)
class Side:
    """What one network says of a volume.

    Attributes:
        name: of the network.
        classes: class numbers `(z, y, x)`, uint8.
        uncertainty: 0 sure to 255 no idea, uint8 `(z, y, x)`; None where there is none.
        objects: numbers of the objects that were cut `(z, y, x)`; None where there are none.
        sizes: of each of them, in the volume before it was thinned; None where there are none.
    """

    name: str
    classes: np.ndarray
    uncertainty: np.ndarray | None = None
    objects: np.ndarray | None = None
    sizes: np.ndarray | None = None


@dataclass(frozen=True)
class Scene:
    """A volume with its labels and what one or two networks say of it; all arrays are of one shape.

    Attributes:
        name: of the volume.
        image: grey values, uint8 `(z, y, x)`.
        labels: class numbers, uint8, `NOTHING` where a voxel is not labelled; None where the volume has no labels.
        sides: what each network says.
        objects, sizes: of the objects in the labels, as in `Side`.
        spacing: voxel size (z, y, x) of these arrays, any unit.
        step: every how many voxels of the volume there is one, (z, y, x).
        note: what a reader should know of it.
        start: the voxel (z, y, x) of these arrays at which the viewer begins; None for where there is most to see.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray | None
    sides: tuple[Side, ...]
    objects: np.ndarray | None = None
    sizes: np.ndarray | None = None
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    step: tuple[int, int, int] = (1, 1, 1)
    note: str = ""
    start: tuple[int, int, int] | None = None

    def packed(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "name": self.name,
            "shape": self.image.shape,
            "spacing": self.spacing,
            "step": self.step,
            "start": self.start,
            "image": packed(self.image),
            "labels": packed(self.labels),
            "objects": packed(recoloured(self.objects)),
            "sides": [
                {
                    "name": side.name,
                    "classes": packed(side.classes),
                    "uncertainty": packed(side.uncertainty),
                    "objects": packed(recoloured(side.objects)),
                }
                for side in self.sides
            ],
        }


def packed(array: np.ndarray | None) -> str | None:
    """Return the bytes of an array, compressed by gzip, in base64."""
    if array is None:
        return None
    assert array.dtype == np.uint8, "a byte per voxel"
    # Without a time the same page is the same text.
    return base64.b64encode(gzip.compress(np.ascontiguousarray(array).tobytes(), 6, mtime=0)).decode()


def recoloured(objects: np.ndarray | None) -> np.ndarray | None:
    """Return objects as numbers of colours from 1 on, which come round again; 0 stays 0."""
    if objects is None:
        return None
    return np.where(objects > 0, 1 + objects % OBJECT_COLOURS, 0).astype(np.uint8)


def thinning(shape: Sequence[int], spacing: Sequence[float] | None, most: int) -> tuple[int, int, int]:
    """Return every how many voxels (z, y, x) are to be shown so that there are `most`; the finest axes are thinned first."""
    edges, steps = np.array(spacing or (1, 1, 1), float), np.ones(3, int)
    sizes = np.array(shape)
    while prod(-(-sizes // steps)) > most:
        # An axis of one plane cannot be thinner.
        steps[np.argmin(np.where(steps < sizes, edges * steps, np.inf))] += 1
    z, y, x = steps.tolist()
    return z, y, x


def in_bytes(image: np.ndarray) -> np.ndarray:
    """Return grey values as bytes; the darkest and the brightest hundredth are clipped."""
    image = image.astype(np.float32)
    low, high = np.percentile(image, (1, 99))
    return (np.clip((image - low) / max(float(high) - float(low), 1e-9), 0, 1) * 255).round().astype(np.uint8)


@dataclass
class Gallery:
    """The scenes of the volumes with the lowest scores among those that are offered.

    Attributes:
        network: what the network is called that makes them.
        most: scenes that are kept.
        only: names of the volumes to keep; None for the worst ones, whichever these are.
        kept: score and scene, the worst first.
    """

    network: str
    most: int = MOST_SCENES
    only: Sequence[str] | None = None
    kept: list[tuple[float, Scene]] = field(default_factory=list)

    @property
    def voxels(self) -> int:
        """Voxels that a scene may have."""
        return MOST_VOXELS // self.most

    @property
    def scenes(self) -> list[Scene]:
        """The scenes, the worst first."""
        return [scene for _, scene in self.kept]

    def offer(self, name: str, score: float | None, make: Callable[[], Scene]) -> None:
        """Keep what `make` returns if the score, 0 worst, is among the lowest; without a score it comes last."""
        rank = 2.0 if score is None else score
        is_among_worst = len(self.kept) < self.most or rank < self.kept[-1][0]
        if is_among_worst if self.only is None else name in self.only:
            self.kept = sorted([*self.kept, (rank, make())], key=lambda pair: pair[0])[: self.most]


def side_by_side(first: Sequence[Scene], second: Sequence[Scene]) -> list[Scene]:
    """Return the scenes of one network with what another one says of the same volumes."""
    other = {scene.name: scene.sides for scene in second}
    return [replace(scene, sides=(*scene.sides, *other.get(scene.name, ()))) for scene in first]
