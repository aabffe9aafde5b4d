"""What several test files call: a pattern for sentences, tiny labelled volumes, settings of a fit of one step."""

import re
from pathlib import Path

import h5py
import numpy as np

import keras_unet3d

# Raw label values that are not class numbers, and one that means unlabelled.
VALUES, UNLABELLED = (0, 5), 9


def says(*words) -> str:
    """Return a pattern that a sentence matches if every one of `words` is in it."""
    return "(?s)^" + "".join(f"(?=.*{re.escape(str(word))})" for word in words)


def tiny_volume(seed: int = 0, shape: tuple = (16, 16, 16)) -> tuple[np.ndarray, np.ndarray]:
    """Return an image and its labels: the values 0 and 5 in halves, and the first plane unlabelled."""
    image = np.random.default_rng(seed).normal(100.0, 20.0, shape).astype(np.float32)
    label = np.full(shape, VALUES[0], np.uint8)
    label[:, shape[1] // 2 :] = VALUES[1]
    image += 4.0 * label
    label[0] = UNLABELLED
    return image, label


def write_pair(path: Path, seed: int = 0, spacing=(2.0, 1.0, 1.0), **replaced) -> Path:
    """Write an HDF5 file with `raw` and `label`; `replaced` puts other arrays in, None leaves one out."""
    image, label = tiny_volume(seed)
    with h5py.File(path, "w") as file:
        for key, array in ({"raw": image, "label": label} | replaced).items():
            if array is not None:
                file.create_dataset(key, data=array).attrs["element_size_um"] = spacing
    return path


def tiny_settings(**changes) -> keras_unet3d.FitSettings:
    """Return settings of a fit that takes one step of a network with two filters."""
    tiny = {
        "patch": (8, 8, 8),
        "batch_size": 1,
        "epochs": 1,
        "steps_per_epoch": 1,
        "base_filters": 2,
        "depth": 2,
        "augment": False,
        "unlabelled": (UNLABELLED,),
        "workers": 1,
    }
    return keras_unet3d.FitSettings(**tiny | changes)


def a_plan(spacing=None, shape: tuple = (16, 16, 16), **changes):
    """Return the plan of a fit with the tiny settings on one volume of nothing, two classes."""
    # Here, as TensorFlow is loaded by them: its kernels are chosen by whoever asks `keras_unet3d` for a name first.
    from keras_unet3d.datasets import Example
    from keras_unet3d.labels import LabelTable
    from keras_unet3d.volumes import from_array
    from keras_unet3d.workflows.data import LabelledData
    from keras_unet3d.workflows.fit.plan import make_plan

    image, label = from_array(np.zeros(shape, np.float32), spacing=spacing, unit="um"), np.zeros(shape, np.uint8)
    example = Example("a", image, from_array(label), None)
    data = LabelledData((example,), (), LabelTable((0, 1), ("a", "b")), tiny_settings())
    return make_plan(data, tiny_settings(**changes))
