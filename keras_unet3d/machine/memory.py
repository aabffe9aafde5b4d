"""How much memory there is, how much this process holds, and whether an error means that it ran out."""

import subprocess

import psutil

from keras_unet3d.machine.devices import has_gpu


def available_memory() -> int | None:
    """Return the bytes of memory that a training may use: one GPU's where there is one, else what is free on the host."""
    return _gpu_memory() if has_gpu() else _host_memory()


def _gpu_memory() -> int | None:
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split()
        return min(int(mebibytes) for mebibytes in lines) * 2**20
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _host_memory() -> int:
    """Return what the system calls available, or less where a container limits it: psutil does not know of that."""
    available = psutil.virtual_memory().available
    try:
        with open("/sys/fs/cgroup/memory.max") as limit, open("/sys/fs/cgroup/memory.current") as used:
            return min(available, int(limit.read()) - int(used.read()))
    except (OSError, ValueError):
        return available


def resident_memory() -> int:
    """Return the bytes of memory that this process holds."""
    return psutil.Process().memory_info().rss


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of any backend means that memory ran out."""
    exhausted = type(error).__name__ in ("ResourceExhaustedError", "OutOfMemoryError", "MemoryError")
    return exhausted or "RESOURCE_EXHAUSTED" in str(error)
