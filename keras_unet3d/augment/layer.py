"""Augmentation of whole batches on the device that trains."""

from typing import Any

import keras
from keras import ops

from keras_unet3d.augment import native
from keras_unet3d.geometry import Triple, triple
from keras_unet3d.labels import UNLABELLED
from keras_unet3d.machine.tensors import Tensor


@keras.saving.register_keras_serializable("keras_unet3d")
class Augmentation(keras.layers.Layer):
    """The native engine as a layer: a dictionary of regions and draws in, `(x, y, w)` of the patches out.

    Takes `augment.native.stacked` samples; returns x `(batch, z, y, x, channels)` float32, y `(batch, z', y', x')` int32
    with 0 where unlabelled, and w float32 with 0 there, z', y', x' being `inset` smaller on each side.

    Args:
        inset: voxels (z, y, x) that the network's output lacks on each side of its input.
    """

    def __init__(self, inset: Triple = (0, 0, 0), name: str | None = None):
        # Coordinates and labels do not survive half precision.
        super().__init__(name=name, dtype="float32", autocast=False)
        self.inset = triple(inset)
        # There are no weights to make.
        self.built = True

    def call(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        image, classes, weight = native.augmented(batch)
        inner = tuple(slice(inset, size - inset) for inset, size in zip(self.inset, image.shape[1:4], strict=True))
        classes = classes[:, *inner]
        labelled = classes != UNLABELLED
        w = ops.cast(labelled, "float32")
        return image, ops.where(labelled, classes, 0), w if weight is None else w * weight[:, *inner]

    def get_config(self) -> dict[str, Any]:
        return {"inset": self.inset, "name": self.name}
