"""The user's own folders: models that were installed or fetched, and what was proved on this machine."""

from pathlib import Path

import platformdirs

_NAME = "keras-unet3d"
# Where versions before 0.2 kept both.
_FORMER = ".keras-unet3d"


def user_zoo() -> Path:
    """Return the folder that models are installed to."""
    return platformdirs.user_data_path(_NAME, appauthor=False) / "zoo"


def former_user_zoo() -> Path:
    """Return the folder that earlier versions installed to; models there are still found."""
    return Path.home() / _FORMER / "zoo"


def proofs() -> Path:
    """Return the folder of what was proved; it may be emptied at any time."""
    return cache() / "verified"


def fetched() -> Path:
    """Return the folder of models that were fetched from zoos on the web; it may be emptied at any time."""
    return cache() / "zoos"


def downloads() -> Path:
    """Return the folder of what is being downloaded; it may be emptied at any time."""
    return cache() / "downloads"


def cache() -> Path:
    """Return the folder of all that may be emptied at any time."""
    return platformdirs.user_cache_path(_NAME, appauthor=False)
