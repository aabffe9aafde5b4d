"""Random changes of samples: drawn once, applied to image, labels and weights by one of two engines."""

from collections.abc import Callable

from keras_unet3d.augment.grey import change_grey_values

__all__ = ["ENGINES", "change_grey_values"]


def _elasticdeform(drawn, image, classes, weight):
    from keras_unet3d.augment import elastic

    return elastic.warp(drawn, image, classes, weight)


def _native(drawn, image, classes, weight):
    # Imported when it is used: it needs Keras.
    from keras_unet3d.augment import native

    return native.warp(drawn, image, classes, weight)


# Name -> function of a draw, image, classes and weights of a region, which returns those of the patch.
ENGINES: dict[str, Callable] = {"elasticdeform": _elasticdeform, "native": _native}
