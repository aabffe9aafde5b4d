"""`doctor`: what is installed, what works, and what to do about what does not."""

from collections.abc import Iterator
from dataclasses import dataclass

from keras_unet3d import runtime
from keras_unet3d.augment.elastic import load_elasticdeform
from keras_unet3d.errors import InputError

# Formats and extras: module, and what installs it.
_EXTRAS = {"zarr": "pip install 'keras-unet3d[zarr]'"}


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's: what was looked at, what was found, and what to do where something is wrong."""

    what: str
    found: str
    todo: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.found}{f'; {self.todo}' if self.todo else ''}"


def doctor() -> Iterator[Finding]:
    """Yield what was found on this machine."""
    for package, version in runtime.versions().items():
        yield Finding(package, version)
    machine = runtime.machine()
    yield Finding("backend", str(machine["backend"]))
    yield _devices(machine)
    if machine["backend"] == "tensorflow":
        yield _onednn(machine)
    yield Finding("precision", f"--precision auto is {runtime.resolve_precision('auto')} here")
    memory = runtime.available_memory()
    yield Finding("memory", f"{memory / 2**30:.0f} GB available" if memory else "unknown")
    yield _elasticdeform()
    for module, install in _EXTRAS.items():
        there = runtime.is_installed(module)
        yield Finding(module, "installed" if there else "not installed", "" if there else install)


def _devices(machine: dict) -> Finding:
    devices = ", ".join(machine["devices"])
    if runtime.has_gpu():
        return Finding("devices", f"{devices}; a training uses all of them")
    todo = "for an NVIDIA GPU: pip install 'keras-unet3d[gpu]', and a driver that nvidia-smi finds"
    return Finding("devices", f"{devices}, {machine['cores']} cores, no GPU", todo)


def _onednn(machine: dict) -> Finding:
    if machine["oneDNN"]:
        return Finding("oneDNN", "on: the fast convolutions of the CPU")
    todo = "import keras_unet3d before TensorFlow, or set TF_ENABLE_ONEDNN_OPTS=1: training on a CPU is up to 3 times as fast"
    return Finding("oneDNN", "off", todo)


def _elasticdeform() -> Finding:
    try:
        load_elasticdeform()
    except InputError as error:
        return Finding("engines", "native", str(error))
    return Finding("engines", "elasticdeform and native")
