"""What is installed, and on what machine."""

import os

from keras_unet3d.machine.devices import device_names


def machine_facts() -> dict[str, object]:
    """Return what of this machine decides how fast a run is, and how exactly another repeats it."""
    import platform

    import keras

    backend = keras.backend.backend()
    return {
        "backend": backend,
        "devices": device_names(),
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "oneDNN": backend == "tensorflow" and os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "1",
    }


def is_installed(module: str) -> bool:
    """Return whether a module can be found; it is not imported."""
    from importlib.util import find_spec

    return find_spec(module) is not None


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide what a run computes."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from keras_unet3d import __version__

    # An installation that can be edited keeps the number it was installed with.
    versions = {"python": platform.python_version(), "keras-unet3d": __version__}
    for package in ("tensorflow", "jax", "keras", "numpy", "elasticdeform", "scipy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions
