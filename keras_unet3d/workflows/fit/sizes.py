"""What a fit chooses where the user did not: kernels, pooling and patch, by the voxel size and the volumes."""

from math import prod

import numpy as np

from keras_unet3d.geometry import Geometry, Spacing, Triple, triple

# Voxels of a patch's output that a step should take: seconds on two cores, a fraction of one on a GPU.
CPU_VOXELS = 48**3
GPU_VOXELS = 112**3
# Voxels along an axis below which the bottom level has nothing left to see.
_LEAST_AT_BOTTOM = 3


def plan_levels(shape: Triple, spacing: Spacing | None, depth: int) -> tuple[list[Triple], list[Triple]]:
    """Return kernel and pooling sizes per level.

    An axis whose voxels are twice as long as the finest ones, or longer, is left alone (kernel 1, pooling 1)
    until pooling has made the others as coarse; an axis is not pooled away.

    Args:
        shape: typical volume (z, y, x).
        spacing: voxel size (z, y, x), None for cubes.
        depth: number of levels.
    """
    size, voxel = np.array(shape, float), np.ones(3) if spacing is None else np.array(spacing, float)
    kernels: list[Triple] = []
    pools: list[Triple] = []
    for _ in range(depth):
        large = size >= 2 * _LEAST_AT_BOTTOM
        # A thin axis keeps its voxels: it must not hold the others back.
        fine = voxel < 2 * (voxel[large].min() if large.any() else voxel.min())
        # An axis of a single plane has no neighbours to convolve with.
        kernels.append(triple(3 if fine[axis] and size[axis] > 1 else 1 for axis in range(3)))
        pooled = np.where(fine & large, 2, 1)
        pools.append(triple(int(factor) for factor in pooled))
        size, voxel = size / pooled, voxel * pooled
    return kernels, pools[:-1]


def plan_patch(shape: Triple, spacing: Spacing | None, geometry: Geometry, most_voxels: int) -> Triple:
    """Return a legal patch whose output covers the typical volume, or as much of it as `most_voxels` allow.

    The longest side, in physical units, is shortened first: a cut-down patch ends up near a cube.
    """
    output, voxel = list(shape), (1.0, 1.0, 1.0) if spacing is None else spacing
    while True:
        patch = triple(
            geometry.legal_at_least(size + 2 * geometry.margin[axis], axis) for axis, size in enumerate(output)
        )
        if prod(geometry.output_of(patch)) <= most_voxels:
            return patch
        shrinkable = [axis for axis in range(3) if output[axis] > geometry.divisor[axis]]
        if not shrinkable:
            return patch
        longest = max(shrinkable, key=lambda axis: output[axis] * voxel[axis])
        output[longest] = max(output[longest] - geometry.divisor[longest], 1)
