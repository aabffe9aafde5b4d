"""The tensors of a file that PyTorch saved, read without PyTorch: nothing that the file asks for is run.

Such a file is a zip with one pickle, which names tensors, and one file of plain numbers per storage. The unpickler knows the
few names that a state dictionary is made of, and refuses every other one. Tensors are read once it is clear which ones.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, NoReturn

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.zoo.archives import names_in, read_members

_PICKLE = "data.pkl"
# Where trainers of PyTorch keep the network beside the optimiser and the like.
_STATE = "model_state_dict"


class Stored(NamedTuple):
    """A tensor in the file: which numbers of which storage, as PyTorch counts them. No pickle can change it."""

    kind: str
    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, content: bytes) -> np.ndarray:
        """Return the tensor out of the bytes of its storage; raises `ValueError` where it does not lie within them."""
        numbers = np.frombuffer(content, self.kind)
        whole = all(type(number) is int and number >= 0 for number in (self.offset, *self.shape, *self.strides))
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        # No more numbers than are stored: a stride of 0 could ask for any memory.
        if not whole or not 0 < prod(self.shape) <= len(numbers) or last >= len(numbers):
            raise ValueError(f"a tensor of shape {self.shape} in a storage of {len(numbers)} numbers")
        strides = [step * numbers.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides).copy()


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a state dictionary, alone in the file or under "model_state_dict", by name.

    Raises:
        InputError: no file of PyTorch 1.6 or later, a broken one, one that asks for code to be run, or one without a state
            dictionary.
    """
    names = names_in(path)
    pickles = [name for name in names if PurePosixPath(name).name == _PICKLE]
    if len(pickles) != 1:
        raise InputError(
            f"{path}: expected a checkpoint of PyTorch 1.6 or later, a zip with one {_PICKLE}, found {len(pickles)} of them; save "
            "it again with torch.save."
        )
    try:
        loaded = _Unpickler(io.BytesIO(read_members(path, pickles)[pickles[0]]), path).load()
        tensors = _tensors(loaded, path)
        folder = PurePosixPath(pickles[0]).parent / "data"
        files = {name: str(folder / tensor.storage) for name, tensor in tensors.items()}
        content = read_members(path, set(files.values()))
        return {name: tensor.array(content[files[name]]) for name, tensor in tensors.items()}
    except InputError:
        raise
    except Exception as error:
        # A broken pickle raises anything from KeyError to MemoryError.
        raise InputError(
            f"{path}: expected a checkpoint of PyTorch, found a broken one ({error}); get it again."
        ) from error


def _tensors(loaded: Any, path: Path) -> dict[str, Stored]:
    state = loaded.get(_STATE, loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Stored) for value in state.values()):
        raise InputError(
            f"{path}: expected a state dictionary, names and tensors alone, or one under {_STATE!r}; found another object; save "
            "the state_dict() of the network."
        )
    # Training on several devices puts a word before every name.
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


class _Ignored:
    """Stands for what no network needs, like the figure of the best epoch: made of anything, and does nothing."""

    def __init__(self, *parts: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _stored(storage: tuple[str, str], offset: int, shape: tuple, strides: tuple, *rest: Any) -> Stored:
    kind, name = storage
    return Stored(kind, name, offset, tuple(shape), tuple(strides))


def _parameter(tensor: Stored, *rest: Any) -> Stored:
    return tensor


_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
# All that a pickle may ask for, and what it gets.
_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _stored,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("numpy", "dtype"): _Ignored,
    ("numpy.core.multiarray", "scalar"): _Ignored,
    ("numpy._core.multiarray", "scalar"): _Ignored,
    ("_codecs", "encode"): _Ignored,
    **{("torch", name): kind for name, kind in _STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Knows the names in `_KNOWN` alone; imports nothing, and calls nothing else."""

    def __init__(self, file: io.BytesIO, path: Path):
        super().__init__(file)
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            self.refuse(f"{module}.{name}")
        return _KNOWN[module, name]

    def persistent_load(self, identity: Any) -> tuple[str, str]:
        _, kind, name, *_ = identity
        if kind not in _STORAGES.values():
            self.refuse(f"a storage of {kind!r}")
        return kind, str(name)

    def refuse(self, what: str) -> NoReturn:
        raise InputError(
            f"{self.path}: expected a checkpoint of tensors alone, found {what} in it, which was not run; save the state_dict() of "
            "the network alone."
        )
