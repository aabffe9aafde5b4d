"""What a terminal is shown: nothing in it that it would obey, and one sentence whatever the system says."""

import errno
import os
import subprocess
import sys

import click
import pytest

from keras_unet3d import cli
from keras_unet3d.cli.terminal import printable
from keras_unet3d.errors import InputError
from keras_unet3d.machine import kernels


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a line\n\tand µ, 細胞, é", "a line\n\tand µ, 細胞, é"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("over\rwritten\x9b2J", r"over\rwritten\x9b2J"),
        ("turned \u202e around", r"turned \u202e around"),
        (os.fsdecode(b"\xff.h5"), r"\udcff.h5"),
    ],
)
def test_what_a_terminal_would_obey_is_spelt_out(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a.h5"), 2, "a.h5: expected a path that can be read or written, found no permission for it."),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "expected a path that can be read or written, found the disk full."),
        (OSError("4 requested and 2 written"), 2, "found a failure of the system (4 requested and 2 written)."),
        (KeyboardInterrupt(), 1, "stopped."),
        (click.Abort("RUN goes on"), 1, "stopped; RUN goes on."),
        (InputError("a\x1b[31m.h5: expected"), 2, r"a\x1b[31m.h5: expected"),
    ],
)  # fmt: skip
def test_every_end_is_a_sentence(monkeypatch, capsys, error, code, sentence):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(cli.unet3d_cli, "main", fail)
    with pytest.raises(SystemExit) as end:
        cli.main(["check"])
    assert end.value.code == code
    assert capsys.readouterr().err.endswith(f"{sentence}\n")


def test_a_backend_that_is_none_is_said(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "foo")
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    sentence = "KERAS_BACKEND: expected one of tensorflow, jax, torch, found 'foo'; set one of them, or unset it."
    with pytest.raises(InputError) as error:
        kernels.load_backend_quietly()
    assert str(error.value) == sentence


def test_an_encoding_without_the_letters_is_no_error():
    program = "from keras_unet3d.cli import main; main(['check', 'zellhäute-細胞.h5'])"
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment)
    assert done.returncode == 2 and b"Traceback" not in done.stderr
    assert b"fault 1: zellh" in done.stdout


def test_a_path_is_printed(capsys):
    with pytest.raises(SystemExit):
        cli.main(["zoo", "path", "hippocampus-mri"])
    assert capsys.readouterr().out.strip().endswith("hippocampus-mri/1.1.0")


def test_a_stop_that_was_lost_comes_again():
    """Ctrl-C within a callback of the garbage collector, where Python prints it and goes on."""
    program = (
        "import gc, time\n"
        "from keras_unet3d.cli.terminal import prepare_process\n"
        "prepare_process()\n"
        "def collected(phase, facts):\n    gc.callbacks.clear()\n    raise KeyboardInterrupt\n"
        "gc.callbacks.append(collected)\n"
        "gc.collect()\n"
        "try:\n    time.sleep(20)\n"
        "except KeyboardInterrupt:\n    print('stopped')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("stopped\n", "")
