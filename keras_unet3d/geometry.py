"""What the network does to sizes: integers per axis (z, y, x), no arrays.

size   132 ──conv──> 128 ──pool──> 64 ─ ... ─> 16 ─ ... ──up──> 48 ──conv──> 44     (the paper's tile)
        └────────────── margin 44 on each side is lost under "valid" padding ──────────┘
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TypeVar

from keras_unet3d.choices import PADDINGS
from keras_unet3d.errors import InputError
from keras_unet3d.fields import Validated, checked

AXES = "zyx"
CONVOLUTIONS = 2  # per level and path (paper, section 2)
# Beyond these a network is a slip of the pen: it would take hours to find its sizes, or all memory to make it.
MOST_LEVELS, MOST_CHANNELS, MOST_KERNEL, MOST_DIVISOR = 12, 2**12, 63, 2**12
# More voxels along an axis, or patches at a time, than any machine holds.
MOST_SIZE, MOST_BATCH = 10**6, 10**6

# Sizes or positions in voxels (z, y, x).
Triple = tuple[int, int, int]
# Edges of a voxel (z, y, x), in some unit of length.
Spacing = tuple[float, float, float]
# A slice per axis (z, y, x).
Box = tuple[slice, ...]

_Value = TypeVar("_Value")


def triple(values: Iterable[_Value]) -> tuple[_Value, _Value, _Value]:
    """Return exactly three values, one per axis (z, y, x)."""
    z, y, x = values
    return z, y, x


def widened(box: Box, shape: Triple, by: Triple = (1, 1, 1)) -> tuple[Box, Box]:
    """Return `box` with so many voxels more on each side, where the volume has them, and where the old box lies in the new."""
    wider = tuple(
        slice(max(s.start - more, 0), min(s.stop + more, n)) for s, n, more in zip(box, shape, by, strict=True)
    )
    return wider, tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(box, wider, strict=True))


def boxes_of(shape: Triple, size: Triple) -> Iterator[Box]:
    """Yield boxes of at most that size that make up a volume."""
    starts = (range(0, whole, edge) for whole, edge in zip(shape, size, strict=True))
    for corner in product(*starts):
        yield triple(slice(s, min(s + edge, whole)) for s, edge, whole in zip(corner, size, shape, strict=True))


def beside_faces(axis: int) -> tuple[Box, Box]:
    """Return the indices of the voxels before, and of those behind, the faces that voxels share along `axis`."""
    others = (slice(None),) * axis
    return (*others, slice(None, -1)), (*others, slice(1, None))


@dataclass(frozen=True)
class Geometry(Validated):
    """Kernel and pooling sizes per level, top first, and the padding of the convolutions.

    `spread` are voxels of the level below, beyond its own cell, that an up-convolution looks at.
    """

    WHAT = "a Geometry"

    kernel_sizes: tuple[Triple, ...] = checked(least=1, most=MOST_KERNEL)
    pool_sizes: tuple[Triple, ...] = checked(least=1)
    padding: str = checked(choices=PADDINGS)
    spread: int = 0

    def faults(self) -> Iterator[str]:
        if len(self.pool_sizes) != len(self.kernel_sizes) - 1:
            yield (
                f"pool_sizes: expected a triple (z, y, x) between every two of the {len(self.kernel_sizes)} levels of "
                f"`kernel_sizes`, found {self.pool_sizes!r}."
            )
        if max(self.divisor) > MOST_DIVISOR:
            yield (
                f"pool_sizes: expected to shrink a volume by a factor of at most {MOST_DIVISOR} in all, found "
                f"{max(self.divisor)}; take smaller ones, or a smaller `depth`."
            )

    @property
    def divisor(self) -> Triple:
        """Voxels per axis that one voxel of the bottom level stands for."""
        return triple(prod(pool[axis] for pool in self.pool_sizes) for axis in range(3))

    @property
    def margin(self) -> Triple:
        """Voxels per axis that the output lacks on each side of the input; zero for "same" padding."""
        return triple(self._lost(0, axis) // 2 for axis in range(3))

    @property
    def context(self) -> Triple:
        """Voxels per axis around a block of outputs that decide it, in whole voxels of the bottom level.

        Blocks begin and end on the pooling grid. With "valid" padding none are needed beyond the `margin`.
        """
        if self.padding == "valid":
            return (0, 0, 0)
        return triple(-(-self._reach(0, axis) // self.divisor[axis]) * self.divisor[axis] for axis in range(3))

    def crop(self, level: int) -> Triple:
        """Voxels to cut from each side of the skip connection of `level`."""
        return triple(self._below(level, axis) // 2 for axis in range(3))

    def output_size(self, size: int, axis: int) -> int | None:
        """Return the network's output size for an input of `size` along `axis`, None where it is illegal."""
        inner = size
        for level, pool in enumerate(self.pool_sizes):
            inner -= self._lost_by_convolutions(level, axis)
            if inner <= 0 or inner % pool[axis]:
                return None
            inner //= pool[axis]
        inner -= self._lost_by_convolutions(len(self.pool_sizes), axis)
        output = size - 2 * self.margin[axis]
        return output if inner > 0 and output > 0 else None

    def sizes(self, patch: Triple) -> list[Triple]:
        """Return the sizes (z, y, x) of what enters the convolutions of every level, top first, for a legal input."""
        levels = [patch]
        for level, pool in enumerate(self.pool_sizes):
            lost = (self._lost_by_convolutions(level, axis) for axis in range(3))
            levels.append(triple((size - less) // p for size, less, p in zip(levels[-1], lost, pool, strict=True)))
        return levels

    def output_of(self, patch: Triple) -> Triple:
        """Return the sizes of the network's output for a legal input."""
        self.check(patch, "patch")
        return triple(size - 2 * margin for size, margin in zip(patch, self.margin, strict=True))

    def legal_at_least(self, size: int, axis: int) -> int:
        """Return the smallest legal input size along `axis` that is not below `size`."""
        first, step = self._first_legal(axis), self.divisor[axis]
        return first + max(0, -(-(size - first) // step)) * step

    def legal_at_most(self, size: int, axis: int) -> int | None:
        """Return the largest legal input size along `axis` that is not above `size`, None if there is none."""
        first, step = self._first_legal(axis), self.divisor[axis]
        return first + (size - first) // step * step if size >= first else None

    def check(self, sizes: tuple[int | None, ...], what: str) -> None:
        """Raise `InputError` with axis, size, rule and nearest legal sizes if a fixed size is illegal."""
        for axis, size in enumerate(sizes):
            if size is not None and self.output_size(size, axis) is None:
                raise InputError(self._illegal(size, axis, what))

    def _illegal(self, size: int, axis: int, what: str) -> str:
        smallest = self.legal_at_least(1, axis)
        rule = f"at least {smallest} and {smallest % self.divisor[axis]} modulo {self.divisor[axis]}"
        if self.padding == "same":
            rule = f"a multiple of {self.divisor[axis]}"
        near = [n for n in (self.legal_at_most(size, axis), self.legal_at_least(size, axis)) if n]
        return (
            f"{what}: size {size} along {AXES[axis]} is illegal for this network (padding={self.padding!r}, "
            f"{len(self.kernel_sizes)} levels); expected {rule}; nearest legal: {' or '.join(map(str, near))}."
        )

    def _first_legal(self, axis: int) -> int:
        """Return the smallest legal input size; the others follow it in steps of the divisor."""
        offset, step, bottom = 0, self.divisor[axis], len(self.pool_sizes)
        for level in reversed(range(bottom)):
            offset = offset * self.pool_sizes[level][axis] + self._lost_by_convolutions(level, axis)
        # One voxel is left on the bottom level, and one of the output.
        least = max((self._lost_by_convolutions(bottom, axis) + 1) * step, 2 * self.margin[axis] + 1 - offset)
        return offset + -(-least // step) * step

    def _reach(self, level: int, axis: int, outside: int = 0) -> int:
        """Voxels of `level` that outputs up to `outside` voxels beyond a block depend on, beyond that block."""
        radius = CONVOLUTIONS * (self.kernel_sizes[level][axis] // 2)
        outside += radius
        if level == len(self.pool_sizes):
            return outside
        # Upwards a voxel below fills its whole cell, and downwards the whole cell makes it.
        pool = self.pool_sizes[level][axis]
        below = self._reach(level + 1, axis, -(-outside // pool) + self.spread)
        return radius + max(outside, below * pool)

    def _lost_by_convolutions(self, level: int, axis: int) -> int:
        return CONVOLUTIONS * (self.kernel_sizes[level][axis] - 1) if self.padding == "valid" else 0

    def _lost_by_path(self, level: int, axis: int) -> int:
        # The bottom level has one path, every other has the analysis and the synthesis path.
        paths = 1 if level == len(self.pool_sizes) else 2
        return paths * self._lost_by_convolutions(level, axis)

    def _below(self, level: int, axis: int) -> int:
        """Voxels of `level` lost in all the levels under it."""
        if level == len(self.pool_sizes):
            return 0
        return self.pool_sizes[level][axis] * self._lost(level + 1, axis)

    def _lost(self, level: int, axis: int) -> int:
        """Voxels of `level` lost between entering it on the analysis and leaving it on the synthesis path."""
        return self._lost_by_path(level, axis) + self._below(level, axis)
