"""What a resumed training needs: every variable of a training after an epoch, in one file that is whole or not there."""

import json
from pathlib import Path

import keras
import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.files import read_arrays, whole_file
from keras_unet3d.machine import hosts

_FACTS = "facts"
# The figure by which the best network is known.
MONITORED = "val_iou"


def save_state(path: Path, network: keras.Model, optimizer: keras.optimizers.Optimizer, facts: dict) -> None:
    """Write the variables of network and optimiser, and `facts`, which JSON can hold."""
    arrays = _arrays("network", network.variables) | _arrays("optimizer", optimizer.variables)
    with whole_file(path) as partial:
        np.savez(partial, **{_FACTS: np.array(json.dumps(facts))}, **arrays)


def read_facts(path: Path) -> dict | None:
    """Return the facts of the state at `path`; None where there is none.

    Raises:
        InputError: the file is broken.
    """
    if not path.is_file():
        return None
    try:
        facts = json.loads(str(_read(path, _FACTS)[0]))
        rows, best = facts["rows"], facts["best"]
        good = all(
            row["epoch"] == number and row.keys() == rows[0].keys() and np.isfinite(row[MONITORED])
            for number, row in enumerate(rows, 1)
        ) and (best is None or best in rows)
    except (IndexError, KeyError, TypeError, AttributeError, json.JSONDecodeError):
        good = False
    if not good:
        raise InputError(
            f"{path}: expected the figures of every epoch, found something else; train anew with `overwrite=True`."
        )
    return facts


def restore_network(path: Path, network: keras.Model) -> None:
    """Set the variables of a network to those of the state."""
    _restore(path, "network", network.variables)


def restore_optimizer(path: Path, optimizer: keras.optimizers.Optimizer) -> None:
    """Set the variables of a built optimiser to those of the state."""
    _restore(path, "optimizer", optimizer.variables)


def _arrays(part: str, variables: list) -> dict[str, np.ndarray]:
    return {f"{part}/{number}": keras.ops.convert_to_numpy(variable) for number, variable in enumerate(variables)}


def _restore(path: Path, part: str, variables: list) -> None:
    arrays = hosts.arrays_of_first(_stored(path, part, variables) if hosts.leads() else _arrays_like(variables))
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _arrays_like(variables: list) -> list[np.ndarray]:
    return [np.zeros(variable.shape, variable.dtype) for variable in variables]


def _stored(path: Path, part: str, variables: list) -> list[np.ndarray]:
    arrays = _read(path, f"{part}/")
    if [array.shape for array in arrays] != [tuple(variable.shape) for variable in variables]:
        raise InputError(
            f"{path}: expected the {part} of this run, {len(variables)} variables, found {len(arrays)} or other shapes; "
            "train anew with `overwrite=True`."
        )
    return arrays


def _read(path: Path, prefix: str) -> list[np.ndarray]:
    """Return the arrays whose names begin with `prefix`, in the order in which they were written."""
    try:
        return [*read_arrays(path, "the state of a training", lambda name: name.startswith(prefix)).values()]
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')}; train anew with `overwrite=True`.") from error
