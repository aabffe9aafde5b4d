"""Where patches are taken, and why there: around labelled voxels, every class as often as any other by default."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from keras_unet3d.datasets import Example
from keras_unet3d.errors import refuse
from keras_unet3d.geometry import Box, triple
from keras_unet3d.labels import UNLABELLED, LabelTable, class_volume
from keras_unet3d.volumes import Volume, in_memory, in_threads
from keras_unet3d.volumes.grey_values import Normalization, Statistics, measure

# Edge of the blocks that a label index counts by, voxels.
BLOCK = 32
# Of the voxels of a volume are labelled at least so many, or its labels are sparse.
_DENSE = 0.5
# A whole number per axis (z, y, x): a position or a size.
PerAxis = Sequence[int] | np.ndarray

# How patch centres are drawn -> the shares of the classes among them, by their numbers of labelled voxels.
SAMPLINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "classes": lambda per_class: per_class > 0,
    "voxels": lambda per_class: per_class,
}


@dataclass(frozen=True)
class LabelIndex:
    """How many voxels of each class every block of a class volume holds: exact, and small for any volume.

    Attributes:
        corners: first voxel (z, y, x) of every block that has labels, `(blocks, 3)`.
        counts: labelled voxels per block and class, `(blocks, classes)`.
    """

    corners: np.ndarray
    counts: np.ndarray

    @property
    def per_class(self) -> np.ndarray:
        """Labelled voxels per class."""
        return self.counts.sum(axis=0)


@dataclass(frozen=True)
class Source:
    """A volume that patches are drawn from: image, labels as classes (`UNLABELLED` where nobody said) and weights; `label` as files have it."""

    name: str
    image: Volume
    classes: Volume
    weight: Volume | None
    statistics: Statistics
    index: LabelIndex
    in_memory: bool = True
    label: Volume | None = None

    @property
    def sparse(self) -> bool:
        """Whether less than half of the volume is labelled."""
        return self.index.per_class.sum() < _DENSE * np.prod(self.image.shape, dtype=float)

    def annotated(self, meanings: np.ndarray) -> np.ndarray:
        """Return of which classes it is known of every labelled voxel whether it is of them, by the labels' `meanings`."""
        return (meanings[self.index.per_class > 0] != -1).all(axis=0)

    @property
    def file(self) -> str:
        """What tells this source from any other: the path of its image."""
        return str(self.image.path.resolve()) if self.image.path else self.name


def read_source(
    example: Example,
    table: LabelTable,
    hold: bool = True,
    normalization: Normalization = "zscore",
    unpack: Callable[[Volume], Volume] | None = None,
) -> Source:
    """Return an example read, checked and indexed.

    Args:
        example: image, labels and weights.
        table: what the label values mean.
        hold: whether its voxels are held in memory, or else read crop by crop.
        normalization: of the grey values, which decides on the statistics.
        unpack: what is done first to a volume that is packed and not held.

    Raises:
        InputError: label values that are in no table, weights that are none, grey values that are not finite.
    """

    def keep(volume: Volume) -> Volume:
        if hold:
            return in_memory(volume)
        return unpack(volume) if unpack and volume.packed else volume

    image = keep(example.image)
    classes = keep(class_volume(example.label, table, example.annotated))
    weight = keep(example.weight) if example.weight else None
    if weight:
        refuse(weight_faults(weight, classes))
        classes = where_weighted(classes, weight)
    index = index_labels(classes, table.num_labels)
    return Source(example.name, image, classes, weight, measure(image, normalization), index, hold, example.label)


def weight_faults(weight: Volume, classes: Volume | None) -> Iterator[str]:
    """Yield what is wrong with the weights: channels, NaN or negative ones, 0 at all labelled voxels of `classes`."""
    if weight.channels != 1:
        yield f"{weight.name}: expected one weight per voxel, found {weight.channels} channels; correct `axes` or the file."
        return
    counting = 0
    for box, voxels in weight.blocks():
        if not (np.isfinite(voxels) & (voxels >= 0)).all():
            yield f"{weight.name}: expected finite weights of 0 or more, found NaN or negative ones; correct them."
            return
        if classes is not None:
            counting += int(((voxels > 0) & (classes.read(box) != UNLABELLED)).sum())
    if classes is not None and not counting:
        yield f"{weight.name}: expected weights above 0 at labelled voxels, found 0 at all of them; correct them."


def where_weighted(classes: Volume, weight: Volume) -> Volume:
    """Return the class volume with voxels of weight 0 unlabelled, so that no patch is drawn around one."""

    def read(box: Box) -> np.ndarray:
        return np.where(weight.read(box) > 0, classes.read(box), np.uint8(UNLABELLED))

    return replace(classes, read=read)


def index_labels(classes: Volume, num_labels: int, boxes: Iterable[Box] | None = None) -> LabelIndex:
    """Return the index of a class volume, or of some of its `boxes`, each read once."""
    parts = list(in_threads(partial(_indexed, classes, num_labels), classes.boxes() if boxes is None else boxes))
    return LabelIndex(
        np.concatenate([corners for corners, _ in parts] or [np.empty((0, 3), int)]),
        np.concatenate([counts for _, counts in parts] or [np.empty((0, num_labels), int)]),
    )


def _indexed(classes: Volume, num_labels: int, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Return corners and counts of the index' blocks in a box."""
    voxels = classes.read(box)[..., 0]
    grid = triple(-(-size // BLOCK) for size in voxels.shape)
    counts = np.zeros((*grid, num_labels), int)
    low, high = int(voxels.min()), int(voxels.max())
    for number in range(low, min(high, num_labels - 1) + 1):
        counts[..., number] = _per_block(voxels == number)
    held = counts.any(axis=-1)
    starts = np.array([part.start for part in box])
    return np.argwhere(held) * BLOCK + starts, counts[held]


def _per_block(held: np.ndarray) -> np.ndarray:
    """Return how many voxels are true in every block of the index."""
    sums = np.pad(held, [(0, -size % BLOCK) for size in held.shape]).view(np.uint8)
    # Small numbers are added up first, which takes a tenth of the time.
    for axis, kind in enumerate((np.uint8, np.uint16, np.int64)):
        shape = (*sums.shape[:axis], -1, BLOCK, *sums.shape[axis + 1 :])
        sums = np.add.reduce(sums.reshape(shape), axis=axis + 1, dtype=kind)
    return sums


def index_of_part(part: Volume, before: LabelIndex, touched: Callable[[Box], bool], rest: bool) -> LabelIndex:
    """Return the index of a class volume of which labels were taken away; what is not `touched` is not read again.

    Args:
        part: what is left.
        before: the index of all.
        touched: whether in a box only some of the labels, or other ones than elsewhere, are left.
        rest: whether elsewhere all labels are left, or none.
    """
    boxes = [box for box in part.boxes() if touched(box)]
    within = index_labels(part, before.counts.shape[1], boxes)
    if not rest:
        return within
    outside = np.ones(len(before.corners), bool)
    for box in boxes:
        starts, stops = np.array([(side.start, side.stop) for side in box]).T
        outside &= ~((before.corners >= starts) & (before.corners < stops)).all(axis=1)
    corners = np.concatenate([before.corners[outside], within.corners])
    counts = np.concatenate([before.counts[outside], within.counts])
    # In the order of the boxes, and within a box: a voxel is drawn by its place in it.
    edge = np.array([side.stop - side.start for side in next(iter(part.boxes()))])
    order = np.lexsort([*(corners % edge).T[::-1], *(corners // edge).T[::-1]])
    return LabelIndex(corners[order], counts[order])


def draw_voxel(rng: np.random.Generator, source: Source, how: str = "classes") -> np.ndarray:
    """Return a labelled voxel (z, y, x): first a class, by `SAMPLINGS[how]`, then one of its voxels."""
    per_class = source.index.per_class
    shares = SAMPLINGS[how](per_class).astype(float)
    chosen = rng.choice(len(shares), p=shares / shares.sum())
    nth = int(rng.integers(per_class[chosen]))
    ends = np.cumsum(source.index.counts[:, chosen])
    block = int(np.searchsorted(ends, nth, side="right"))
    corner = source.index.corners[block]
    within = nth - (int(ends[block - 1]) if block else 0)
    voxels = source.classes.read(block_at(corner, source.classes.shape))[..., 0]
    return corner + np.argwhere(voxels == chosen)[within]


def seeing_labels(source: Source) -> Callable[[PerAxis, PerAxis], bool]:
    """Return a function of start and size of a box: whether a voxel in it is labelled, mostly by the index alone."""
    shape = np.asarray(source.image.shape)
    held = np.zeros(-(-shape // BLOCK), bool)
    held[tuple(source.index.corners.T // BLOCK)] = True

    def sees(start: PerAxis, size: PerAxis) -> bool:
        first, last = np.clip(start, 0, shape), np.clip(np.add(start, size), 0, shape)
        some, whole = -(-last // BLOCK), np.where(last == shape, -(-last // BLOCK), last // BLOCK)
        if (first >= last).any() or not held[tuple(map(slice, first // BLOCK, some))].any():
            return False
        if held[tuple(map(slice, -(-first // BLOCK), whole))].any():
            return True
        return bool((source.classes.read(tuple(map(slice, first.tolist(), last.tolist()))) != UNLABELLED).any())

    return sees


def block_at(corner: PerAxis, shape: PerAxis) -> Box:
    """Return the box of the index' block that begins at `corner`."""
    return tuple(slice(int(a), min(int(a) + BLOCK, n)) for a, n in zip(corner, shape, strict=True))


def draw_patch_start(
    rng: np.random.Generator,
    voxel: PerAxis,
    patch: PerAxis,
    output: PerAxis,
    shape: PerAxis,
    anywhere: Sequence[int] = (),
    sparse: bool = False,
) -> np.ndarray:
    """Return the first voxel of a patch that sees `voxel` in the middle half of its output.

    Args:
        voxel: a labelled voxel (z, y, x).
        patch: size of the network's input.
        output: size of its output, in the middle of the patch.
        shape: of the volume. The output does not stick out of it where it fits; where it does not, the
            volume lies in the middle of it.
        anywhere: axes along which it may as well lie anywhere in the output: all patches within the volume that see it
            are equally likely. Where few planes are labelled, they would else never lie at a patch's end, and nothing
            would be learnt for those that lie at the end of the volume.
        sparse: whether few voxels are labelled. Where the patch is about as large as the volume, they would lie in the same
            place of every patch, and the network would learn the place; so the output sticks out of the volume as far
            as it takes for its place to vary by half of its size.
    """
    patch, output, shape = map(np.asarray, (patch, output, shape))
    share, slack = rng.random(3), shape - output
    last, centred = np.maximum(slack, 0), slack // 2
    first = voxel - (output / 4 + share * output / 2).astype(int)
    if sparse:
        outside = np.maximum(output // 2 - abs(slack), 0) // 2
        first = np.clip(first, np.minimum(slack, 0) - outside, last + outside)
    else:
        first = np.where(slack < 0, centred, np.clip(first, 0, last))
    lowest, highest = np.maximum(voxel - output + 1, 0), np.minimum(voxel, last)
    within = np.where(slack < 0, centred, lowest + (share * (highest - lowest + 1)).astype(int))
    return np.where(np.isin(np.arange(3), anywhere), within, first) - (patch - output) // 2


def read_mirrored(volume: Volume, start: PerAxis, size: PerAxis, border: str = "mirror") -> np.ndarray:
    """Return the box at `start` (may be negative) with what is outside the volume mirrored at its border.

    With the `border` "edge" the outermost voxels are repeated instead.
    """
    inside = _INSIDE[border]
    indices = [inside(np.arange(a, a + n), extent) for a, n, extent in zip(start, size, volume.shape, strict=True)]
    box = tuple(slice(int(index.min()), int(index.max()) + 1) for index in indices)
    voxels = volume.read(box)
    for axis, (index, s, first) in enumerate(zip(indices, box, start, strict=True)):
        # Copying is slow, so it is done only along axes that stick out of the volume.
        if first != s.start or len(index) != s.stop - s.start:
            voxels = voxels.take(index - s.start, axis)
    return voxels


def _mirror(index: np.ndarray, extent: int) -> np.ndarray:
    """Fold positions into 0..extent-1, the border voxel not repeated; any distance outside is legal."""
    if extent == 1:
        return np.zeros_like(index)
    folded = np.mod(index, 2 * (extent - 1))
    return np.where(folded < extent, folded, 2 * (extent - 1) - folded)


def _edge(index: np.ndarray, extent: int) -> np.ndarray:
    return index.clip(0, extent - 1)


_INSIDE = {"mirror": _mirror, "edge": _edge}


def read_filled(volume: Volume, start: PerAxis, size: PerAxis, fill: float) -> np.ndarray:
    """Return the box at `start` (may be negative) with `fill` where it is outside the volume."""
    result = np.full((*size, volume.channels), fill, volume.dtype)
    inside = tuple(slice(max(a, 0), min(a + n, extent)) for a, n, extent in zip(start, size, volume.shape, strict=True))
    if all(s.start < s.stop for s in inside):
        into = tuple(slice(s.start - a, s.stop - a) for s, a in zip(inside, start, strict=True))
        result[into] = volume.read(tuple(slice(int(s.start), int(s.stop)) for s in inside))
    return result
