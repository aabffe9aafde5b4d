"""Grey-value changes of a batch, on any Keras backend: resolution, gamma, contrast, brightness, noise; in this order."""

import math
from collections.abc import Sequence

import numpy as np
from keras import ops

from keras_unet3d.augment.draw import GreyDraw
from keras_unet3d.geometry import AXES, Triple
from keras_unet3d.machine.tensors import Tensor

# Of a well-mixing 32-bit hash (C. Wellons, "lowbias32"), as signed numbers: every backend has those.
_SHIFTS, _FACTORS = (16, 15, 16), (0x7FEB352D, 0x846CA68B - 2**32)


# What a draw says of every channel, of one plane or of each, as `change` takes it.
_PER_CHANNEL = ("gamma", "inverted", "contrast", "brightness", "noise")


def arrays(grey: GreyDraw, patch: Triple) -> dict[str, np.ndarray]:
    """Return what `change` needs of a draw; the matrices of resolution only where it changes."""
    per_channel = {name: getattr(grey, name).astype(np.float32) for name in _PER_CHANNEL}
    per_channel["noise_seed"] = np.array(divmod(grey.noise_seed, 2**31), np.int32)
    if not grey.blur.any() and not (grey.low_resolution < 1).any():
        return per_channel
    matrices = {}
    for axis, size in enumerate(patch):
        channels = zip(grey.blur[:, axis], grey.low_resolution[:, axis], strict=True)
        of_axis = [_resolution(size, blur, kept) for blur, kept in channels]
        matrices[f"resolution_{AXES[axis]}"] = np.stack(of_axis).astype(np.float32)
    return per_channel | matrices


def unchanged_resolution(patch: Triple, channels: int) -> dict[str, np.ndarray]:
    """Return the matrices of resolution that change nothing."""
    eyes = {f"resolution_{name}": np.eye(size, dtype=np.float32) for name, size in zip(AXES, patch, strict=True)}
    return {name: np.stack([eye] * channels) for name, eye in eyes.items()}


def _resolution(size: int, blur: float, kept: float) -> np.ndarray:
    """Return the `(size, size)` matrix that blurs one axis and samples it down and up again."""
    from scipy.ndimage import gaussian_filter1d

    matrix = gaussian_filter1d(np.eye(size), blur, axis=0, mode="mirror") if blur else np.eye(size)
    count = max(round(size * kept), 1)
    if count == size:
        return matrix
    down, up = _linear(size, count), _linear(count, size)
    return up @ down @ matrix


def _linear(old: int, new: int) -> np.ndarray:
    """Return the `(new, old)` matrix that samples an axis anew, linearly, the outer edges of its voxels kept."""
    positions = (np.arange(new) + 0.5) * old / new - 0.5
    return np.stack([np.interp(positions, np.arange(old), voxel) for voxel in np.eye(old)], axis=1)


def change(image: Tensor, drawn: dict[str, Tensor]) -> Tensor:
    """Return the normalised images `(batch, z, y, x, channels)`, float32, with the changes of `arrays`, stacked."""
    if "resolution_z" in drawn:
        image = ops.einsum("nczw,nwyxc->nzyxc", drawn["resolution_z"], image)
        image = ops.einsum("ncyw,nzwxc->nzyxc", drawn["resolution_y"], image)
        image = ops.einsum("ncxw,nzywc->nzyxc", drawn["resolution_x"], image)
    gamma, inverted, contrast, brightness, noise = (drawn[name][:, :, None, None] for name in _PER_CHANNEL)
    # What changes plane by plane changes by what the plane alone holds.
    together = (1, 2, 3) if gamma.shape[1] == 1 else (2, 3)
    low, high = (function(image, axis=together, keepdims=True) for function in (ops.min, ops.max))
    extent = ops.maximum(high - low, 1e-6)
    share = (image - low) / extent
    # The negative of a share is 1 - share.
    share = inverted + (1 - 2 * inverted) * share
    share = ops.power(ops.clip(share, 0.0, 1.0), gamma)
    image = low + extent * (inverted + (1 - 2 * inverted) * share)
    mean = ops.mean(image, axis=together, keepdims=True)
    image = (image - mean) * contrast + mean + brightness
    return image + noise * normal(drawn["noise_seed"], image.shape[1:])


def normal(seed: Tensor, shape: Sequence[int]) -> Tensor:
    """Return standard normal values `(batch, *shape)`, a pure function of `seed` `(batch, 2)` int32 and the position.

    The values are the same on every backend, and with them a sample.
    """
    counter = ops.reshape(ops.arange(math.prod(shape), dtype="int32"), (1, *shape))
    first, second = (ops.reshape(seed[:, i], (-1, *(1 for _ in shape))) for i in range(2))
    return _normal(_hashed(ops.bitwise_xor(_hashed(counter + first), second)))


def _normal(bits: Tensor) -> Tensor:
    """Return the normal values that 23 random bits of int32 stand for."""
    # Between -1 and 1, exclusive: one bit more would be rounded up to 1, whose normal value is infinite.
    uniform = (ops.cast(ops.bitwise_and(bits, 2**23 - 1), "float32") + 0.5) / 2**22 - 1
    # The inverse of the distribution.
    return math.sqrt(2) * ops.erfinv(uniform)


def _hashed(values: Tensor) -> Tensor:
    """Return `values`, int32, thoroughly mixed."""
    for shift, factor in zip(_SHIFTS, (*_FACTORS, 1), strict=True):
        # The shift of a negative number fills up with ones, which are masked off.
        shifted = ops.bitwise_and(ops.bitwise_right_shift(values, shift), 2 ** (32 - shift) - 1)
        values = ops.bitwise_xor(values, shifted) * factor
    return values
