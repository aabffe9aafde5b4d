"""Random changes of samples: drawn once, applied to image, labels and weights by one of two engines."""

from collections.abc import Callable

import numpy as np

from keras_unet3d.augment.draw import Draw

__all__ = ["ENGINES", "Arrays"]

# Image `(z, y, x, channels)`, classes and weights `(z, y, x)` of a region or a patch; None where there are no weights.
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray | None]


# The engines are imported when they are used: they need Keras.
def _elasticdeform(drawn: Draw, image: np.ndarray, classes: np.ndarray, weight: np.ndarray | None) -> Arrays:
    from keras_unet3d.augment import elastic

    return elastic.augment(drawn, image, classes, weight)


def _native(drawn: Draw, image: np.ndarray, classes: np.ndarray, weight: np.ndarray | None) -> Arrays:
    from keras_unet3d.augment import native

    return native.augment(drawn, image, classes, weight)


# Name -> function of a draw and of image, classes and weights of a region, which returns the three of the patch.
ENGINES: dict[str, Callable[[Draw, np.ndarray, np.ndarray, np.ndarray | None], Arrays]] = {
    "elasticdeform": _elasticdeform,
    "native": _native,
}
