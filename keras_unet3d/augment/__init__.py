"""Random changes of samples: drawn once, applied to image, labels and weights by one of two engines."""

from collections.abc import Callable

__all__ = ["ENGINES"]


# The engines are imported when they are used: they need Keras.
def _elasticdeform(drawn, image, classes, weight):
    from keras_unet3d.augment import elastic

    return elastic.augment(drawn, image, classes, weight)


def _native(drawn, image, classes, weight):
    from keras_unet3d.augment import native

    return native.augment(drawn, image, classes, weight)


# Name -> function of a draw, image, classes and weights of a region, which returns those of the patch.
ENGINES: dict[str, Callable] = {"elasticdeform": _elasticdeform, "native": _native}
