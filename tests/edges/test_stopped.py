"""A command that is stopped by Ctrl-C or by the system ends at once, tidily, and says how to go on."""

import os
import signal
import subprocess
import sys
import time

import pytest
from edge_commands import TINY

from keras_unet3d.run_folder import RunFolder

pytestmark = pytest.mark.long


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_fit_that_is_stopped_says_how_it_goes_on(world, tmp_path, number):
    command = [sys.executable, "-m", "keras_unet3d.cli", "fit", world / "a.h5", "--out", tmp_path / "run", *TINY]
    command += ["--epochs", "10000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as fit:
        for line in fit.stdout:
            if line.startswith("epoch   3"):
                break
        stopped = time.monotonic()
        os.kill(fit.pid, number)
        _, error = fit.communicate(timeout=30)
        assert time.monotonic() - stopped < 10
    assert fit.returncode == 1
    told = error.splitlines()[-1]
    epochs = len(RunFolder(tmp_path / "run").history.read_text().splitlines()) - 1
    assert epochs >= 3
    assert told == (
        f"unet3d-cli: stopped; {tmp_path / 'run'} holds {epochs} epochs; it goes on with: unet3d-cli fit --out "
        f"{tmp_path / 'run'} --resume."
    )
    assert not list((tmp_path / "run").rglob(".*"))
