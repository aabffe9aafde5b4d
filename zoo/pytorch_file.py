"""The tensors of a file that PyTorch saved, read without PyTorch: nothing that the file asks for is run.

Such a file is a zip with one pickle, which names tensors, and one file of plain numbers per storage. The unpickler knows the
few names that a state dictionary is made of, and refuses every other one. Tensors are read once it is clear which ones.
"""

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, NoReturn

import numpy as np

from keras_unet3d.errors import InputError, shortened
from keras_unet3d.files import opened
from keras_unet3d.zoo.archives import names_in, read_members

_PICKLE = "data.pkl"
# Where trainers of PyTorch keep the network beside the optimiser and the like.
_STATE = "model_state_dict"
# A network of a thousand tensors has 0.2 MB of names and five thousand tuples. Python's own stack does not hold tuples in tuples in
# tuples without end.
_MOST_NAMES, _MOST_TUPLES = 2**23, 50_000
_NESTING = ("TUPLE", "FROZENSET", "REDUCE", "BUILD", "NEWOBJ", "OBJ", "INST")


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
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides, writeable=False)


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a state dictionary, alone in the file or under "model_state_dict", by name.

    Raises:
        InputError: no file of PyTorch 1.6 or later, a broken one, one that asks for code to be run, or one without a state
            dictionary.
    """
    if not _begins_as_zip(path):
        raise InputError(
            f"{path}: expected a checkpoint of PyTorch 1.6 or later, a zip, found another kind of file; save it again with a newer "
            "PyTorch, or get it again."
        )
    names = names_in(path)
    pickles = [name for name in names if PurePosixPath(name).name == _PICKLE]
    if len(pickles) != 1:
        raise InputError(
            f"{path}: expected a checkpoint of PyTorch 1.6 or later, a zip with one {_PICKLE}, found {len(pickles)} of them; save "
            "it again with torch.save."
        )
    try:
        pickled = read_members(path, pickles)[pickles[0]]
        _refuse_deep(pickled)
        tensors = _tensors(_Unpickler(io.BytesIO(pickled), path).load(), path)
        folder = PurePosixPath(pickles[0]).parent
        _refuse_big_endian(path, str(folder / "byteorder"), names)
        files = {name: str(folder / "data" / tensor.storage) for name, tensor in tensors.items()}
        content = read_members(path, set(files.values()))
        arrays = {name: tensor.array(content[files[name]]) for name, tensor in tensors.items()}
        if sum(array.nbytes for array in arrays.values()) > sum(map(len, content.values())):
            raise ValueError("tensors of more numbers than there are in it")
        return arrays
    except InputError:
        raise
    except Exception as error:
        # A broken pickle raises anything from KeyError to MemoryError.
        raise InputError(
            f"{path}: expected a checkpoint of PyTorch, found a broken one ({shortened(str(error))}); get it again."
        ) from error


def _begins_as_zip(path: Path) -> bool:
    with opened(path, "a checkpoint") as file:
        return file.read(2) == b"PK"


def _refuse_deep(pickled: bytes) -> None:
    """Raise `ValueError` where a pickle says more than any network needs, which may be there to overflow the stack."""
    if len(pickled) > _MOST_NAMES:
        raise ValueError(f"names and shapes of {len(pickled):,} bytes")
    nested = sum(code.name.startswith(_NESTING) for code, _, _ in pickletools.genops(pickled))
    if nested > _MOST_TUPLES:
        raise ValueError(f"{nested:,} tuples and objects beside its tensors")


def _refuse_big_endian(path: Path, member: str, names: Sequence[str]) -> None:
    if member in names and read_members(path, [member])[member].strip() == b"big":
        raise InputError(
            f"{path}: expected numbers in little-endian order, found big-endian ones; save it again elsewhere."
        )


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
    if kind not in _STORAGES.values():
        raise ValueError("a storage of another kind")
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


def _kind_in_words(storage: str) -> str:
    return storage.removesuffix("Storage").lower()


class _Unpickler(pickle.Unpickler):
    """Knows the names in `_KNOWN` alone; imports nothing, and calls nothing else."""

    def __init__(self, file: io.BytesIO, path: Path):
        super().__init__(file)
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name.endswith("Storage") and name not in _STORAGES:
            raise InputError(
                f"{self.path}: expected numbers of {', '.join(map(_kind_in_words, _STORAGES))}, found "
                f"{shortened(_kind_in_words(name))}; convert the tensors with .float() and save them again."
            )
        if (module, name) not in _KNOWN:
            self.refuse(f"{module}.{name}")
        return _KNOWN[module, name]

    def persistent_load(self, identity: Any) -> tuple[str, str]:
        _, kind, name, *_ = identity
        if kind not in _STORAGES.values():
            self.refuse("a storage of another kind")
        return kind, str(name)

    def refuse(self, what: str) -> NoReturn:
        raise InputError(
            f"{self.path}: expected a checkpoint of tensors alone, found {shortened(what)} in it, which was not run; save the state_dict() of "
            "the network alone."
        )
