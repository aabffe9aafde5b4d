"""What the doctor says of this machine, and what to do about what is broken."""

import re
import time

from click.testing import CliRunner

from keras_unet3d.cli import unet3d_cli
from keras_unet3d.errors import InputError
from keras_unet3d.machine import versions
from keras_unet3d.workflows import doctor


def found(engines=None) -> dict[str, doctor.Finding]:
    engines = {("keras", "float32"): lambda network: lambda batch: batch} if engines is None else engines
    return {finding.what: finding for finding in doctor.doctor(engines)}


def test_says_what_is_installed_and_what_works():
    import keras

    findings = found()
    assert findings["keras"].state == keras.__version__
    assert findings["backend"].state == "tensorflow"
    assert findings["augmentation"].state == "elasticdeform and native"
    assert findings["oneDNN"].state.startswith("on")
    assert findings["precision"].state == "`precision=auto` is float32 here"
    assert "no GPU" in findings["devices"].state and "pip install" in findings["devices"].todo


def test_says_what_to_do(monkeypatch):
    def broken():
        raise InputError("elasticdeform: expected a working installation; run pip install 'numpy<2'.")

    monkeypatch.setattr(doctor, "load_elasticdeform", broken)
    monkeypatch.setattr(versions, "is_installed", lambda module: False)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    findings = found()
    assert findings["augmentation"].state == "native" and "numpy<2" in findings["augmentation"].todo
    assert findings["pyarrow"].todo == "pip install 'keras-unet3d[parquet]'"
    assert findings["zarr"].todo == "pip install 'keras-unet3d[zarr]'"
    assert findings["oneDNN"].state == "off" and "TF_ENABLE_ONEDNN_OPTS=1" in findings["oneDNN"].todo


def test_on_the_command_line():
    result = CliRunner().invoke(unet3d_cli, ["doctor"])
    assert result.exit_code == 0
    assert "augmentation: elasticdeform and native" in result.output
    assert re.search(
        r"prediction: keras float32 \d\.\d\d s, keras bfloat16 \d\.\d\d s, .*for a tile of 64 x 64 x 64", result.output
    )


def test_says_which_engine_is_the_fastest():
    def slow(network):
        return lambda batch: time.sleep(0.05)

    def missing(network):
        raise InputError("engine: expected the packages onnxruntime and tf2onnx")

    finding = found(
        {
            ("keras", "float32"): slow,
            ("onnx", "float32"): lambda network: lambda batch: None,
            ("other", "float32"): missing,
        }
    )["prediction"]
    assert finding.state == "keras float32 0.05 s, onnx float32 0.00 s for a tile of 64 x 64 x 64"
    assert finding.todo == "for large volumes `engine=auto` takes onnx float32, where that is proved on the volume"
