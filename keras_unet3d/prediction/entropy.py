"""How unsure a network is of every voxel."""

import numpy as np


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy of class probabilities `(z, y, x, classes)`, float32 `(z, y, x)`: 0 sure, 1 no idea."""
    result = np.empty(probabilities.shape[:3], np.float32)
    for z, plane in enumerate(probabilities):
        plane = np.clip(plane, 1e-12, 1)
        result[z] = -(plane * np.log(plane)).sum(axis=-1)
    return result / np.float32(np.log(probabilities.shape[-1]))
