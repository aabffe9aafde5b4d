"""Segment with a SavedModel alone: python serving_client.py MODEL VOLUME.npy LABELS.npy

MODEL is the folder SERVING/NAME/1 that `unet3d-cli zoo path NAME --serving SERVING` writes, or the address of a server that
serves it, like http://localhost:8501/v1/models/NAME. Both get the same raw volume, at the signature `segment`.
The folder needs TensorFlow and NumPy, the address NumPy alone; neither needs Keras nor keras-unet3d.
"""

import json
import sys
import urllib.request

import numpy as np


def from_folder(folder: str, batch: np.ndarray) -> np.ndarray:
    """Return the labels of a batch of raw volumes, computed here."""
    import tensorflow as tf

    # The loaded object must outlive the call: its variables go with it.
    model = tf.saved_model.load(folder)
    return model.signatures["segment"](volume=tf.constant(batch))["labels"].numpy()


def from_server(address: str, batch: np.ndarray) -> np.ndarray:
    """Return the labels of a batch of raw volumes, computed by TF Serving."""
    asked = json.dumps({"signature_name": "segment", "inputs": {"volume": batch.tolist()}})
    request = urllib.request.Request(f"{address}:predict", asked.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        # The only output of a signature has no name here.
        return np.asarray(json.load(answer)["outputs"], np.int32)


def main(model: str, source: str, target: str) -> None:
    """Write the label values of a raw volume `(z, y, x)` or `(z, y, x, channels)`."""
    volume = np.load(source, allow_pickle=False).astype(np.float32)
    batch = volume[None] if volume.ndim == 4 else volume[None, ..., None]
    segment = from_server if model.startswith(("http://", "https://")) else from_folder
    labels = segment(model, batch)[0]
    np.save(target, labels)
    print(f"{target}: {labels.shape}, labels {np.unique(labels).tolist()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
