"""What the doctor says of this machine, and what to do about what is broken."""

from click.testing import CliRunner

from keras_unet3d import runtime
from keras_unet3d.cli import unet3d_cli
from keras_unet3d.errors import InputError
from keras_unet3d.workflows import doctor


def found() -> dict[str, doctor.Finding]:
    return {finding.what: finding for finding in doctor.doctor()}


def test_says_what_is_installed_and_what_works():
    import keras

    findings = found()
    assert findings["keras"].found == keras.__version__
    assert findings["backend"].found == "tensorflow"
    assert findings["engines"].found == "elasticdeform and native"
    assert findings["oneDNN"].found.startswith("on")
    assert findings["precision"].found == "--precision auto is float32 here"
    assert "no GPU" in findings["devices"].found and "pip install" in findings["devices"].todo


def test_says_what_to_do(monkeypatch):
    def broken():
        raise InputError("elasticdeform: expected a working installation; run pip install 'numpy<2'.")

    monkeypatch.setattr(doctor, "load_elasticdeform", broken)
    monkeypatch.setattr(runtime, "is_installed", lambda module: False)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    findings = found()
    assert findings["engines"].found == "native" and "numpy<2" in findings["engines"].todo
    assert findings["zarr"].todo == "pip install 'keras-unet3d[zarr]'"
    assert findings["oneDNN"].found == "off" and "TF_ENABLE_ONEDNN_OPTS=1" in findings["oneDNN"].todo


def test_on_the_command_line():
    result = CliRunner().invoke(unet3d_cli, ["doctor"])
    assert result.exit_code == 0
    assert "engines: elasticdeform and native" in result.output
