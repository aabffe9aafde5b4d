"""Tensors of any Keras backend: what type hints call them, and the values of those that have some."""

from typing import Any

import numpy as np

# Every Keras backend has its own class, and Keras has no common one.
Tensor = Any


def concrete(values: Tensor) -> np.ndarray | None:
    """Return values as an array where they can be read; None within a graph, where there is nothing but a name for them."""
    try:
        return np.asarray(values)
    # What TensorFlow, JAX and Keras raise for their names, and PyTorch for what is on a GPU.
    except (NotImplementedError, TypeError, ValueError, RuntimeError):
        return None


def shape_of(tensor: Tensor) -> tuple[int | None, ...] | None:
    """Return the sizes of a tensor, None where one is not known yet; None where not even their number is."""
    return None if getattr(tensor.shape, "rank", 0) is None else tuple(tensor.shape)
