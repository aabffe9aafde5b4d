"""How well instances agree with the truth."""

from collections.abc import Iterable

import numpy as np

from keras_unet3d.segments.cells import scikit_image


def adapted_rand_error(truth: np.ndarray, predicted: np.ndarray, unlabelled: Iterable[int] = ()) -> float | None:
    """Return the adapted Rand error of instances, 0 (equal) to 1; None where the truth has none.

    Args:
        truth: instances, 0 for voxels that belong to none, integers of any shape.
        predicted: instances, integers of the same shape.
        unlabelled: further values of the truth that count nowhere.

    Raises:
        InputError: no scikit-image.

    Source: Arganda-Carreras et al. 2015 (doi:10.3389/fnana.2015.00142), with scikit-image.
    """
    ignored = (0, *unlabelled)
    if np.isin(truth, ignored).all():
        return None
    metrics = scikit_image("metrics")
    # scikit-image needs signed types.
    truth, predicted = truth.astype(np.int64), predicted.astype(np.int64)
    return float(metrics.adapted_rand_error(truth, predicted, ignore_labels=ignored)[0])
