"""What every label says of every class, where label n is not simply class n: partly labelled volumes, overlapping classes."""

from collections.abc import Sequence

import numpy as np
from keras import ops

from keras_unet3d.errors import InputError
from keras_unet3d.machine.tensors import Tensor

# What a label says of a class.
IS, IS_NOT, MAY_BE = 1, 0, -1
Meanings = Sequence[Sequence[int]]


def checked_meanings(meanings: Meanings | None) -> tuple[tuple[int, ...], ...] | None:
    """Return `meanings` as tuples; raises `InputError` where they are no table of 1, 0 and -1."""
    if meanings is None:
        return None
    rows = [list(row) for row in meanings]
    widths = {len(row) for row in rows}
    if len(widths) != 1 or 0 in widths or not all(says in (IS, IS_NOT, MAY_BE) for row in rows for says in row):
        raise InputError(
            f"meanings: expected a row per label of as many numbers as there are classes, each 1 (is), 0 (is not) or -1 (may "
            f"be); found {meanings!r}."
        )
    return tuple(tuple(int(says) for says in row) for row in rows)


def meanings_of(classes: int, meanings: Meanings | None) -> np.ndarray:
    """Return the table `(labels, classes)`, int32; by default label n is class n and no other.

    Raises:
        InputError: a table of other classes.
    """
    table = np.eye(classes, dtype=np.int32) if meanings is None else np.asarray(meanings, np.int32)
    if table.shape[1] != classes:
        raise InputError(f"meanings: expected a column per class, {classes}; found {table.shape[1]}.")
    return table


def said_of(labels: Tensor, table: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Return of labels, of any shape, what they say of every class, `(..., classes)`: is, may be, and whether they are labels.

    The first two are true or false; of what is no label they are those of the first or last one.
    """
    known = ops.logical_and(labels >= 0, labels < len(table))
    rows = ops.take(ops.convert_to_tensor(table), ops.clip(labels, 0, len(table) - 1), axis=0)
    return ops.equal(rows, IS), ops.equal(rows, MAY_BE), known
