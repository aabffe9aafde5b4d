"""Segment with a SavedModel alone: python serving_client.py SERVING/NAME/1 VOLUME.npy LABELS.npy

Needs TensorFlow and NumPy, not Keras and not keras-unet3d. The folder is what `unet3d-cli zoo path NAME --serving SERVING`
writes and TF Serving reads; a client of TF Serving sends the same `volume` to the same signature `segment`.
"""

import sys

import numpy as np
import tensorflow as tf


def main(folder: str, source: str, target: str) -> None:
    """Write the label values of a raw volume `(z, y, x)` or `(z, y, x, channels)`."""
    volume = np.load(source, allow_pickle=False).astype(np.float32)
    batch = volume[None] if volume.ndim == 4 else volume[None, ..., None]
    # The loaded object must outlive the call: its variables go with it.
    model = tf.saved_model.load(folder)
    labels = model.signatures["segment"](volume=tf.constant(batch))["labels"][0]
    np.save(target, labels.numpy())
    print(f"{target}: {labels.shape}, labels {np.unique(labels).tolist()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
