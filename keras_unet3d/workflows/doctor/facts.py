"""What the doctor looks at: facts about this machine and what is installed, all gathered here, judged elsewhere."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keras_unet3d.errors import InputError, reason_of
from keras_unet3d.files import free_space, refuse_unwritable, temporary_place
from keras_unet3d.machine import devices, folders, memory, precision, versions
from keras_unet3d.machine.packages import Package, installed_packages
from keras_unet3d.places import Place

# Optional part -> the module that tells whether it is installed.
EXTRAS = {
    "zarr": "zarr",
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "cluster": "distributed",
    "parquet": "pyarrow",
    "mlflow": "mlflow",
    "wandb": "wandb",
    "hub": "huggingface_hub",
    "remote": "s3fs",
    "dicom": "highdicom",
    "itk": "SimpleITK",
    "mrc": "mrcfile",
    "czi": "pylibCZIrw",
    "lif": "liffile",
    "nd2": "nd2",
    "n5": "tensorstore",
    "napari": "napari",
}
# What a folder is for -> which one it is.
_FOLDERS: dict[str, Callable[[], Path]] = {
    "working folder": Path.cwd,
    "folder of models": folders.user_zoo,
    "cache": folders.cache,
    "temporary files": temporary_place,
}


@dataclass(frozen=True)
class Folder:
    """A folder that is written to: its path, the free bytes on its disk, and what is wrong with it, if anything."""

    path: str
    free: int
    fault: str = ""


@dataclass(frozen=True)
class Machine:
    """What this process computes on, as Keras' backend sees it; the defaults say what is so without a backend."""

    backend: str = ""
    devices: Sequence[str] = ()
    has_gpu: bool = False
    is_onednn: bool = False
    precision: str = ""
    memory: int | None = None


@dataclass(frozen=True)
class Facts:
    """All that checks know.

    Attributes:
        versions: of Python and of what decides what a run computes, "not installed" for what is missing.
        system: the operating system and the processor.
        cores: of the processor.
        machine: see there.
        backend_fault: why the backend cannot be imported; empty where it can.
        backend_is_chosen: whether KERAS_BACKEND names it.
        elasticdeform_fault: why elasticdeform cannot be imported; empty where it can.
        has_nvidia_driver: whether the driver of an NVIDIA GPU is there.
        hides_gpus: whether CUDA_VISIBLE_DEVICES hides all GPUs.
        packages: all that are installed.
        extras: optional part -> whether it is installed.
        folders: what for -> which.
        missing_zoos: folders that KERAS_UNET3D_ZOO names and that are not there.
    """

    versions: Mapping[str, str]
    system: str
    cores: int | None
    machine: Machine = Machine()
    backend_fault: str = ""
    backend_is_chosen: bool = False
    elasticdeform_fault: str = ""
    has_nvidia_driver: bool = False
    hides_gpus: bool = False
    packages: Mapping[str, Package] = field(default_factory=dict)
    extras: Mapping[str, bool] = field(default_factory=dict)
    folders: Mapping[str, Folder] = field(default_factory=dict)
    missing_zoos: Sequence[str] = ()


def gather(backend_fault: str = "", zoos: Sequence[Place | str] = ()) -> Facts:
    """Return the facts about this machine.

    Args:
        backend_fault: why Keras' backend cannot be imported, where that was tried.
        zoos: what KERAS_UNET3D_ZOO names.
    """
    return Facts(
        versions=versions.package_versions(),
        system=platform.platform(),
        cores=os.cpu_count(),
        machine=Machine() if backend_fault else _machine(),
        backend_fault=backend_fault,
        backend_is_chosen=bool(os.environ.get("KERAS_BACKEND")),
        elasticdeform_fault="" if backend_fault else _elasticdeform_fault(),
        has_nvidia_driver=devices.has_nvidia_driver(),
        hides_gpus=os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"),
        packages=installed_packages(),
        extras={extra: versions.is_installed(module) for extra, module in EXTRAS.items()},
        folders={what: _folder(find) for what, find in _FOLDERS.items()},
        missing_zoos=[str(place) for place in zoos if isinstance(place, Path) and not place.is_dir()],
    )


def _machine() -> Machine:
    machine = versions.machine_facts()
    return Machine(
        backend=str(machine["backend"]),
        devices=devices.device_names(),
        has_gpu=devices.has_gpu(),
        is_onednn=bool(machine["oneDNN"]),
        precision=precision.resolve_precision("auto"),
        memory=memory.available_memory(),
    )


def _elasticdeform_fault() -> str:
    # It loads Keras, which has been found to work here.
    from keras_unet3d.augment.elastic import load_elasticdeform

    try:
        load_elasticdeform()
    except InputError as error:
        return (str(error.__cause__).splitlines() or ["ImportError"])[0]
    return ""


def _folder(find: Callable[[], Path]) -> Folder:
    try:
        path = find()
        free = free_space(path)
    except OSError as error:
        return Folder(
            str(error.filename or ""), 0, f"expected a folder that can be written to, found {reason_of(error)}"
        )
    try:
        refuse_unwritable(path / "doctor")
    except InputError as error:
        return Folder(str(path), free, str(error))
    return Folder(str(path), free)
