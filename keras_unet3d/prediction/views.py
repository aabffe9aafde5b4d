"""Test-time augmentation: the mean of a network's answers to a tile seen from several sides."""

from collections.abc import Callable
from itertools import chain, combinations

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.geometry import AXES, Geometry


def averaged(network: Callable, flips: str | None, rotations: bool) -> Callable:
    """Return the network's mean over mirrored and turned batches `(batch, z, y, x, channels)`.

    Args:
        network: batch in, batch out.
        flips: axes along which batches are mirrored, in all combinations.
        rotations: also by quarter turns in the plane of y and x.
    """
    axes = [1 + AXES.index(axis) for axis in flips or ""]
    mirrors = list(chain.from_iterable(combinations(axes, count) for count in range(len(axes) + 1)))
    # Half a turn is both of these mirrors.
    turns = ((0, 1) if {2, 3} <= set(axes) else (0, 1, 2, 3)) if rotations else (0,)
    if len(mirrors) * len(turns) == 1:
        return network

    def mean(batch: np.ndarray) -> np.ndarray:
        total = np.zeros((), np.float32)
        for turn in turns:
            turned = np.rot90(batch, turn, _PLANE)
            for mirror in mirrors:
                seen = np.asarray(network(np.ascontiguousarray(np.flip(turned, mirror))))
                back = np.rot90(np.flip(seen, mirror), -turn, _PLANE)
                total = total + back.astype(np.float32)
        return total / np.float32(len(mirrors) * len(turns))

    return mean


# The axes of y and x in a batch.
_PLANE = (2, 3)


def refuse_turns(geometry: Geometry) -> None:
    """Raise `InputError` for a network that does not treat y and x alike: a turned tile may be illegal for it."""
    for sizes in (*geometry.kernel_sizes, *geometry.pool_sizes):
        if sizes[1] != sizes[2]:
            raise InputError(
                f"rotations: expected a network of the same kernels and pooling along y and x, found {sizes}; leave it out."
            )
