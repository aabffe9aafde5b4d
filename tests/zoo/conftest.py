"""Fixtures of the tests of the zoo."""

import pytest


@pytest.fixture
def new_home(tmp_path, monkeypatch):
    """A home of a user who has no models yet: none of this machine's zoo folders is searched."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # The user's folders are below it.
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("KERAS_UNET3D_ZOO", raising=False)
