"""What the doctor makes of the facts: a check is a function that yields findings."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from keras_unet3d.machine.packages import demands
from keras_unet3d.words import gigabytes
from keras_unet3d.workflows.doctor.facts import EXTRAS, Facts

Severity = Literal["fault", "advice", "fine", "optional"]

# Less is said: a training of the embedded sample takes 1.4 GB of memory; a run with some results has room on such a disk.
_LITTLE_MEMORY = 2 * 2**30
_LITTLE_SPACE = 2**30
# Backend -> what installs it for an NVIDIA GPU.
_FOR_GPU = {
    "tensorflow": "pip install 'keras-unet3d[gpu]'",
    "jax": "pip install 'jax[cuda12]'",
    "torch": "pip install torch",
}
# What a folder is for -> what chooses another one.
_ANOTHER = {
    "working folder": "cd /another/folder",
    "folder of models": "export XDG_DATA_HOME=/another/folder",
    "cache": "export XDG_CACHE_HOME=/another/folder",
    "temporary files": "export TMPDIR=/another/folder",
}


@dataclass(frozen=True)
class Finding:
    """What was looked at, its state in words, how bad that is, and the command that mends or adds it, where there is one.

    A fault does not work, advice is about what works less well than it could, and what is optional is not installed.
    """

    what: str
    state: str
    severity: Severity = "fine"
    command: str = ""


def examine(facts: Facts) -> list[Finding]:
    """Return everything that was found, the worst first."""
    findings = [finding for check in _CHECKS for finding in check(facts)]
    # A version may be fine in itself, and too old for another package.
    wrong = {finding.what for finding in findings if finding.severity != "fine"}
    findings = [finding for finding in findings if finding.severity != "fine" or finding.what not in wrong]
    return sorted(findings, key=lambda finding: get_args(Severity).index(finding.severity))


def _versions(facts: Facts) -> Iterator[Finding]:
    for package, version in facts.versions.items():
        # Of what is missing other checks know whether that matters.
        if version != "not installed":
            yield Finding(package, version)


def _backend(facts: Facts) -> Iterator[Finding]:
    if not facts.backend_fault:
        yield Finding("backend", facts.machine.backend)
        return
    command = "unset KERAS_BACKEND" if facts.backend_is_chosen else "pip install --force-reinstall tensorflow"
    yield Finding("backend", f"it cannot be imported: {facts.backend_fault}", "fault", command)


def _packages(facts: Facts) -> Iterator[Finding]:
    """Find packages that are missing, or too old or too new for another one."""
    of_all = demands(facts.packages, "keras-unet3d", EXTRAS) if "keras-unet3d" in facts.packages else []
    # What is made of its absence is said of the augmentation.
    unmet = [demand for demand in of_all if not demand.is_met and demand.package != "elasticdeform"]
    for package in dict.fromkeys(demand.package for demand in unmet):
        ours = [f"{package}{one.versions}" for one in of_all if one.package == package and one.by == "keras-unet3d"]
        them = [one for one in unmet if one.package == package]
        said = ", and ".join(f"{one.by} needs {one.versions or 'it'}" for one in them)
        # To name those that demand it has pip find a version that suits them.
        wanted = ours + [one.by for one in them if one.by != "keras-unet3d"]
        command = f"pip install {shlex.join(wanted)}"
        yield Finding(package, f"{them[0].installed or 'not installed'}, but {said}", "fault", command)


def _augmentation(facts: Facts) -> Iterator[Finding]:
    if facts.versions["elasticdeform"] == "not installed":
        state, command = "elasticdeform, the reference, is not installed", "pip install 'keras-unet3d[elasticdeform]'"
    elif facts.elasticdeform_fault and int(facts.versions["numpy"].split(".")[0]) > 1:
        state = f"the wheels of elasticdeform need NumPy 1, and NumPy {facts.versions['numpy']} is installed"
        command = "pip install 'numpy<2'"
    elif facts.elasticdeform_fault:
        state = f"elasticdeform cannot be imported ({facts.elasticdeform_fault})"
        command = "pip install --force-reinstall --no-deps elasticdeform"
    elif not facts.backend_fault:
        yield Finding("augmentation", "elasticdeform and native")
        return
    else:
        return
    yield Finding("augmentation", f"native only: {state}", "advice", command)


def _devices(facts: Facts) -> Iterator[Finding]:
    machine = facts.machine
    names = ", ".join(machine.devices)
    has_cuda = any(package.startswith("nvidia-cu") for package in facts.packages)
    if facts.backend_fault:
        return
    if machine.has_gpu:
        yield Finding("devices", f"{names}; a training uses all of them")
    elif facts.has_nvidia_driver and facts.hides_gpus:
        yield Finding("devices", "CUDA_VISIBLE_DEVICES hides the GPU", "advice", "unset CUDA_VISIBLE_DEVICES")
    elif facts.has_nvidia_driver:
        again = "; if it is so afterwards, its driver is too old" if has_cuda else ""
        state = f"there is an NVIDIA GPU, and {machine.backend} does not see it{again}"
        yield Finding("devices", state, "fault", _FOR_GPU.get(machine.backend, ""))
    elif has_cuda:
        state = f"{names}: packages for an NVIDIA GPU are installed, and no driver; where there is a GPU, install its driver"
        yield Finding("devices", state, "advice", "nvidia-smi")
    else:
        yield Finding("devices", f"{names}, {facts.cores} cores, no GPU")


def _onednn(facts: Facts) -> Iterator[Finding]:
    if facts.machine.backend != "tensorflow" or facts.machine.has_gpu:
        return
    if facts.machine.is_onednn:
        yield Finding("oneDNN", "on: the fast convolutions of the processor")
    else:
        state = "off: on a processor, training takes up to 3 times as long without it"
        yield Finding("oneDNN", state, "advice", "export TF_ENABLE_ONEDNN_OPTS=1")


def _precision(facts: Facts) -> Iterator[Finding]:
    if facts.machine.precision:
        yield Finding("precision", f"`precision=auto` is {facts.machine.precision} here")


def _memory(facts: Facts) -> Iterator[Finding]:
    room = facts.machine.memory
    if room is None:
        return
    what = "memory of a GPU" if facts.machine.has_gpu else "memory"
    if room >= _LITTLE_MEMORY:
        yield Finding(what, f"{gigabytes(room)} available")
    else:
        state = f"{gigabytes(room)} available, which is less than a training needs; end other programs"
        yield Finding(what, state, "advice", "top -o %MEM")


def _folders(facts: Facts) -> Iterator[Finding]:
    for what, folder in facts.folders.items():
        if folder.fault:
            yield Finding(what, folder.fault, "fault", _ANOTHER[what])
        elif folder.free < _LITTLE_SPACE:
            state = f"{folder.path}: {gigabytes(folder.free)} free, which is little; make room, or choose another disk"
            yield Finding(what, state, "advice", _ANOTHER[what])
        else:
            yield Finding(what, f"{folder.path}, {gigabytes(folder.free)} free")


def _zoos(facts: Facts) -> Iterator[Finding]:
    for path in facts.missing_zoos:
        state = f"KERAS_UNET3D_ZOO names {path}, and there is no such folder"
        yield Finding("models", state, "fault", f"mkdir -p {shlex.quote(path)}")


def _extras(facts: Facts) -> Iterator[Finding]:
    if installed := [extra for extra, is_there in facts.extras.items() if is_there]:
        yield Finding("optional parts", ", ".join(installed))
    for extra, is_there in facts.extras.items():
        if not is_there:
            yield Finding(extra, "not installed", "optional", f"pip install 'keras-unet3d[{extra}]'")


_CHECKS: Sequence[Callable[[Facts], Iterator[Finding]]] = (
    _backend,
    _packages,
    _folders,
    _zoos,
    _devices,
    _augmentation,
    _onednn,
    _memory,
    _precision,
    _versions,
    _extras,
)
