"""`doctor`: what is installed, what works, and what to do about what does not."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from keras_unet3d.augment.elastic import load_elasticdeform
from keras_unet3d.errors import InputError
from keras_unet3d.machine import devices, memory, precision, versions
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.network.unet import build

# Modules that not everybody needs, and the extra that installs each.
_EXTRAS = {
    "zarr": "zarr",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "distributed": "cluster",
    "pyarrow": "parquet",
    "mlflow": "mlflow",
    "wandb": "wandb",
    "huggingface_hub": "hub",
    "s3fs": "remote",
    "highdicom": "dicom",
    "SimpleITK": "itk",
    "mrcfile": "mrc",
    "pylibCZIrw": "czi",
    "liffile": "lif",
    "nd2": "nd2",
    "tensorstore": "n5",
    "napari": "napari",
}
_PROBE = 64  # voxels per axis of the tile that engines are timed with


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's: what was looked at, its state, and what to do where something is wrong."""

    what: str
    state: str
    todo: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.state}{f'; {self.todo}' if self.todo else ''}"


def doctor(engines: Mapping[tuple[str, str], Callable]) -> Iterator[Finding]:
    """Yield what was found on this machine; `engines`, by name and precision, make a function of batches of a network, and are timed."""
    for package, version in versions.package_versions().items():
        yield Finding(package, version)
    machine = versions.machine_facts()
    yield Finding("backend", str(machine["backend"]))
    yield _devices(machine)
    if machine["backend"] == "tensorflow":
        yield _onednn(machine)
    yield Finding("precision", f"`precision=auto` is {precision.resolve_precision('auto')} here")
    room = memory.available_memory()
    yield Finding("memory", f"{room / 2**30:.0f} GB available" if room else "unknown")
    yield _elasticdeform()
    for module, extra in _EXTRAS.items():
        installed = versions.is_installed(module)
        todo = "" if installed else f"pip install 'keras-unet3d[{extra}]'"
        yield Finding(module, "installed" if installed else "not installed", todo)
    yield _engines(engines)


def _devices(machine: dict) -> Finding:
    names = ", ".join(machine["devices"])
    if devices.has_gpu():
        return Finding("devices", f"{names}; a training uses all of them")
    todo = "for an NVIDIA GPU: pip install 'keras-unet3d[gpu]', and a driver that nvidia-smi finds"
    return Finding("devices", f"{names}, {machine['cores']} cores, no GPU", todo)


def _onednn(machine: dict) -> Finding:
    if machine["oneDNN"]:
        return Finding("oneDNN", "on: the fast convolutions of the CPU")
    todo = "import keras_unet3d before TensorFlow, or set TF_ENABLE_ONEDNN_OPTS=1: training on a CPU is up to 3 times as fast"
    return Finding("oneDNN", "off", todo)


def _elasticdeform() -> Finding:
    try:
        load_elasticdeform()
    except InputError as error:
        return Finding("augmentation", "native", str(error))
    return Finding("augmentation", "elasticdeform and native")


def _engines(engines: Mapping[tuple[str, str], Callable]) -> Finding:
    """Time the default network of a CPU in every engine that works here."""
    network = build(Architecture(filters=(8, 32, 64, 128), depth=4, normalization="none", seed=0))
    tile = np.random.default_rng(0).normal(size=(1, *(_PROBE,) * 3, 1)).astype(np.float32)
    seconds = {}
    for name, make in engines.items():
        with suppress(InputError):
            seconds[" ".join(name)] = _fastest(make(network), tile)
    shown = ", ".join(f"{name} {fastest:.2f} s" for name, fastest in seconds.items())
    best = min(seconds, key=lambda name: seconds[name])
    todo = f"for large volumes `engine=auto` takes {best}, where that is proved on the volume"
    return Finding("prediction", f"{shown} for a tile of {_PROBE} x {_PROBE} x {_PROBE}", todo)


def _fastest(network: Callable, tile: np.ndarray) -> float:
    times = []
    for _ in range(4):
        begun = time.perf_counter()
        network(tile)
        times.append(time.perf_counter() - begun)
    return min(times)
