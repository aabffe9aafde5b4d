"""Where the time of a training step goes."""

import json

import pytest
from helpers import tiny_settings

from keras_unet3d import fit
from keras_unet3d.listener import Listener


@pytest.mark.slow
def test_the_profile_of_a_step(tiny_data, tmp_path):
    said = []
    settings = tiny_settings(deep_supervision=True, depth=3)
    run = fit([tiny_data], tmp_path / "run", settings=settings, profile=True, listener=Listener(said.append))
    profile = json.loads((run.path / "profile.json").read_text())
    assert set(profile["seconds"]) == {"input", "forward", "backward", "optimizer", "step"}
    assert all(value >= 0 for value in profile["seconds"].values()) and profile["seconds"]["forward"] > 0
    assert profile["gflop_per_second"]["matrix product"] > profile["gflop_per_second"]["step"] > 0
    assert [line.split(":")[0] for line in said].count("profile") == 2
    # It is another network that is timed: the training begins as without it.
    plain = fit([tiny_data], tmp_path / "plain", settings=settings)
    assert plain.history["val_loss"] == run.history["val_loss"]
