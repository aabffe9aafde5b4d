"""Public names that are looked up when first used (PEP 562)."""

import importlib
import sys
from collections.abc import Callable
from typing import Any

from keras_unet3d.machine import kernels


def lazy_names(module: str, homes: dict[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for `module`, whose public names live in the modules `homes`."""

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        # The last moment before TensorFlow may be loaded, and the only one at which oneDNN can be chosen.
        kernels.prefer_fast_cpu_kernels()
        home = importlib.import_module(homes[name])
        # A home of the name itself is the module that is meant.
        value = home if homes[name] == f"{module}.{name}" else getattr(home, name)
        setattr(sys.modules[module], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[module]), *homes})

    return __getattr__, __dir__
