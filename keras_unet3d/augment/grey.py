"""Grey-value changes, the same for both engines."""

import numpy as np

from keras_unet3d.augment.draw import Draw


def change_grey_values(drawn: Draw, image: np.ndarray) -> np.ndarray:
    """Return the normalised float32 image with gamma, contrast, brightness and noise of the draw."""
    low, high = image.min(axis=(0, 1, 2)), image.max(axis=(0, 1, 2))
    extent = np.maximum(high - low, 1e-6)
    image = ((image - low) / extent) ** np.float32(drawn.gamma) * extent + low
    mean = image.mean(axis=(0, 1, 2))
    image = (image - mean) * np.float32(drawn.contrast) + mean + np.float32(drawn.brightness)
    noise = np.random.default_rng(drawn.noise_seed).standard_normal(image.shape, np.float32)
    return (image + np.float32(drawn.noise) * noise).astype(np.float32, copy=False)
