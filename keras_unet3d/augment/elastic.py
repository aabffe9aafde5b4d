"""The reference engine: elasticdeform applies a draw's map to image, labels and weights in one call."""

import contextlib
import io
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np

from keras_unet3d.augment import Arrays, grey
from keras_unet3d.augment.draw import Draw
from keras_unet3d.errors import InputError
from keras_unet3d.geometry import triple
from keras_unet3d.labels import UNLABELLED
from keras_unet3d.machine import compiled

IMAGE_ORDER = 3  # cubic B-spline, as in the paper


def load_elasticdeform() -> Callable[..., list[np.ndarray]]:
    """Return elasticdeform's `deform_grid`; raises `InputError` that says how to mend a broken installation."""
    try:
        # NumPy prints a page about modules built for another version of it; our sentence says what to do.
        with contextlib.redirect_stderr(io.StringIO()):
            from elasticdeform import deform_grid
    except ImportError as error:
        raise InputError(
            f"elasticdeform: expected a working installation, found one that fails to import "
            f"({str(error).splitlines()[0] if str(error) else 'ImportError'}) with NumPy {np.__version__}; its wheels "
            "need NumPy 1: run pip install 'numpy<2' or, with a C compiler, pip install --no-binary elasticdeform "
            "--force-reinstall elasticdeform; or train with `engine=native`."
        ) from error
    return deform_grid


def augment(drawn: Draw, image: np.ndarray, classes: np.ndarray, weight: np.ndarray | None) -> Arrays:
    """Return image, classes and weights of the patch: as `moved`, grey values changed."""
    image, classes, weight = moved(drawn, image, classes, weight)
    arrays = {name: array[None] for name, array in grey.arrays(drawn.grey, triple(classes.shape)).items()}
    return _compiled_grey()(image[None], arrays)[0], classes, weight


def moved(drawn: Draw, image: np.ndarray, classes: np.ndarray, weight: np.ndarray | None) -> Arrays:
    """Return image, classes and weights of the patch, moved by the draw's map.

    Args:
        drawn: of the sample; arrays are its region, the patch and `drawn.margin` on each side.
        image: `(z, y, x, channels)`, float32.
        classes: `(z, y, x)`, uint8.
        weight: `(z, y, x)`, float32, or None.

    Returns:
        The three without the margin. Voxels from outside the region are mirrored in the image,
        `UNLABELLED` in the classes and 0 in the weights.
    """
    deform_grid = load_elasticdeform()
    crop = [slice(m, size - m) for m, size in zip(drawn.margin, classes.shape, strict=True)]
    channels = [image[..., channel] for channel in range(image.shape[-1])]
    if IMAGE_ORDER == 3:
        channels = [_filtered(channel) for channel in channels]
    labels = [classes] if weight is None else [classes, weight]
    deformed = deform_grid(
        [np.ascontiguousarray(array) for array in (*channels, *labels)],
        drawn.displacement,
        order=[IMAGE_ORDER] * len(channels) + [0] * len(labels),
        mode=["mirror"] * len(channels) + ["constant"] * len(labels),
        cval=[0.0] * len(channels) + [float(UNLABELLED), 0.0][: len(labels)],
        crop=crop,
        prefilter=False,
        affine=_affine(drawn, [s.stop - s.start for s in crop]),
    )
    channels, labels = deformed[: len(channels)], deformed[len(channels) :]
    return np.stack(channels, axis=-1), labels[0], labels[1] if weight is not None else None


def _filtered(image: np.ndarray) -> np.ndarray:
    """Return the coefficients of the cubic B-spline through the voxels `(z, y, x)`.

    elasticdeform would find them itself, line by line; as matrix products it takes half as long.
    """
    along_z, along_y, along_x = map(_spline_filter, image.shape)
    image = (along_z @ image.reshape(len(along_z), -1)).reshape(image.shape)
    return along_y @ image @ along_x.T


@lru_cache(256)
def _spline_filter(size: int) -> np.ndarray:
    from scipy.ndimage import spline_filter1d

    # A single voxel is its own coefficient.
    matrix = spline_filter1d(np.eye(size), order=3, axis=0, mode="mirror") if size > 1 else np.eye(1)
    return matrix.astype(np.float32)


@cache
def _compiled_grey() -> Callable[..., Any]:
    return compiled.compiled_for_host(grey.change)


def _affine(drawn: Draw, patch: Sequence[int]) -> np.ndarray:
    """Return the 3x4 matrix that elasticdeform wants: from source to patch.

    elasticdeform applies it in coordinates of the crop and adds the displacement afterwards (measured; version 0.5.1).
    """
    centre = (np.asarray(patch) - 1) / 2
    forward = np.linalg.inv(drawn.matrix)
    return np.concatenate([forward, (centre - forward @ centre)[:, None]], axis=1)
