"""What the doctor makes of facts about a machine, the facts of this one, and how both are said."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner

from keras_unet3d.cli import unet3d_cli
from keras_unet3d.errors import InputError
from keras_unet3d.machine.packages import Package
from keras_unet3d.workflows.doctor.checks import Finding, examine
from keras_unet3d.workflows.doctor.facts import EXTRAS, Facts, Folder, Machine, gather
from keras_unet3d.workflows.doctor.run import in_words, timed

MACHINE = Machine("tensorflow", ["CPU:0"], is_onednn=True, precision="float32", memory=8 * 2**30)
# Two optional parts with the same package.
OURS = ("numpy>=1.26.4", "h5py>=3.11", "zarr>=3.0.8; extra == 'zarr'", "zarr>=3.0.8; extra == 'n5'")
HEALTHY = Facts(
    versions={"python": "3.11.9", "numpy": "1.26.4", "elasticdeform": "0.5.1", "jax": "not installed"},
    system="Linux",
    cores=2,
    machine=MACHINE,
    packages={
        "keras-unet3d": Package("0.2.0", OURS),
        "numpy": Package("1.26.4"),
        "h5py": Package("3.11.0", ("numpy>=1.20",)),
    },
    extras=dict.fromkeys(EXTRAS, True),
    folders={"working folder": Folder("/data", 2**40), "temporary files": Folder("/tmp", 2**40)},
)


def found(what: str, **facts) -> Finding:
    """Return the finding about `what` on a healthy machine of which some facts are other ones."""
    findings = {finding.what: finding for finding in examine(replace(HEALTHY, **facts))}
    return findings[what]


def on(**machine) -> Machine:
    return replace(MACHINE, **machine)


def test_a_healthy_machine_has_nothing_to_mend():
    findings = examine(HEALTHY)
    assert {finding.severity for finding in findings} == {"fine"}
    assert next(iter(in_words(findings))) == "nothing to mend"


# What is otherwise -> what it is about, how bad that is, words of the state, and the command.
CASES = {
    "NumPy 2": (
        {
            "versions": HEALTHY.versions | {"numpy": "2.3.5"},
            "elasticdeform_fault": "numpy.core.multiarray failed to import",
        },
        ("augmentation", "advice", "native only: .* need NumPy 1, and NumPy 2.3.5", "pip install 'numpy<2'"),
    ),
    "elasticdeform missing": (
        {"versions": HEALTHY.versions | {"elasticdeform": "not installed"}},
        ("augmentation", "advice", "native only: .* not installed", "pip install 'keras-unet3d[elasticdeform]'"),
    ),
    "elasticdeform broken": (
        {"elasticdeform_fault": "undefined symbol: x"},
        (
            "augmentation",
            "advice",
            r"\(undefined symbol: x\)",
            "pip install --force-reinstall --no-deps elasticdeform",
        ),
    ),
    "GPU that TensorFlow does not see": (
        {"has_nvidia_driver": True},
        ("devices", "fault", "tensorflow does not see it$", "pip install 'keras-unet3d[gpu]'"),
    ),
    "GPU that TensorFlow does not see with its packages": (
        {"has_nvidia_driver": True, "packages": HEALTHY.packages | {"nvidia-cudnn-cu12": Package("9")}},
        ("devices", "fault", "its driver is too old", "pip install 'keras-unet3d[gpu]'"),
    ),
    "GPU that JAX does not see": (
        {"has_nvidia_driver": True, "machine": on(backend="jax")},
        ("devices", "fault", "jax does not see it", "pip install 'jax[cuda12]'"),
    ),
    "GPU that is hidden": (
        {"has_nvidia_driver": True, "hides_gpus": True},
        ("devices", "advice", "CUDA_VISIBLE_DEVICES", "unset CUDA_VISIBLE_DEVICES"),
    ),
    "packages for a GPU without a driver": (
        {"packages": HEALTHY.packages | {"nvidia-cudnn-cu12": Package("9")}},
        ("devices", "advice", "no driver", "nvidia-smi"),
    ),
    "oneDNN off": (
        {"machine": on(is_onednn=False)},
        ("oneDNN", "advice", "off", "export TF_ENABLE_ONEDNN_OPTS=1"),
    ),
    "little memory": (
        {"machine": on(memory=2**30)},
        ("memory", "advice", "^1 GB available", "top -o %MEM"),
    ),
    "little space for runs": (
        {"folders": {"working folder": Folder("/data", 2**28)}},
        ("working folder", "advice", "^/data: 0.25 GB free", "cd /another/folder"),
    ),
    "little space for temporary files": (
        {"folders": {"temporary files": Folder("/tmp", 0)}},
        ("temporary files", "advice", "^/tmp: 0 GB free", "export TMPDIR=/another/folder"),
    ),
    "cache that cannot be written": (
        {"folders": {"cache": Folder("/x", 2**40, "/x: found it write-protected")}},
        ("cache", "fault", "write-protected", "export XDG_CACHE_HOME=/another/folder"),
    ),
    "folder of models that cannot be written": (
        {"folders": {"folder of models": Folder("/x", 2**40, "/x: found no permission for it")}},
        ("folder of models", "fault", "no permission", "export XDG_DATA_HOME=/another/folder"),
    ),
    "backend that was chosen and is not there": (
        {"machine": Machine(), "backend_fault": "no package torch", "backend_is_chosen": True},
        ("backend", "fault", "no package torch", "unset KERAS_BACKEND"),
    ),
    "broken TensorFlow": (
        {"machine": Machine(), "backend_fault": "ImportError: libx.so"},
        ("backend", "fault", "libx.so", "pip install --force-reinstall tensorflow"),
    ),
    "zoo that is not there": (
        {"missing_zoos": ["/a zoo"]},
        ("models", "fault", "KERAS_UNET3D_ZOO names /a zoo", "mkdir -p '/a zoo'"),
    ),
    "package that is too old": (
        {"packages": HEALTHY.packages | {"h5py": Package("3.10.0")}},
        ("h5py", "fault", "^3.10.0, but keras-unet3d needs >=3.11", "pip install 'h5py>=3.11'"),
    ),
    "package that is missing": (
        {"packages": {name: HEALTHY.packages[name] for name in ("keras-unet3d", "numpy")}},
        ("h5py", "fault", "^not installed, but keras-unet3d needs >=3.11", "pip install 'h5py>=3.11'"),
    ),
    "package of an optional part that is too old": (
        {"packages": HEALTHY.packages | {"zarr": Package("2.18.0")}},
        ("zarr", "fault", "^2.18.0, but keras-unet3d needs >=3.0.8$", "pip install 'zarr>=3.0.8'"),
    ),
    "two packages that conflict": (
        {"packages": HEALTHY.packages | {"h5py": Package("3.11.0", ("numpy>=2",))}},
        ("numpy", "fault", "^1.26.4, but h5py needs >=2$", "pip install 'numpy>=1.26.4' h5py"),
    ),
    "optional part that is not installed": (
        {"extras": HEALTHY.extras | {"zarr": False}},
        ("zarr", "optional", "not installed", "pip install 'keras-unet3d[zarr]'"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_says_what_is_wrong_and_the_command_that_mends_it(name):
    facts, (what, severity, state, command) = CASES[name]
    finding = found(what, **facts)
    assert (finding.severity, finding.command) == (severity, command)
    assert re.search(state, finding.state)


def test_an_optional_part_that_is_not_installed_makes_no_demands():
    assert not [finding for finding in examine(HEALTHY) if finding.what == "zarr"]


def test_packages_that_nothing_here_needs_do_not_count():
    packages = HEALTHY.packages | {"stranger": Package("1", ("numpy>=2",))}
    assert {finding.severity for finding in examine(replace(HEALTHY, packages=packages))} == {"fine"}


def test_on_a_gpu_its_memory_counts_and_onednn_does_not():
    machine = on(has_gpu=True, devices=["GPU:0"], memory=2**30, is_onednn=False)
    findings = {finding.what: finding for finding in examine(replace(HEALTHY, machine=machine, has_nvidia_driver=True))}
    assert findings["devices"].severity == "fine" and findings["memory of a GPU"].severity == "advice"
    assert "oneDNN" not in findings


def test_the_verdict_comes_first_then_the_worst_then_what_is_fine_then_what_is_optional():
    facts = replace(
        HEALTHY,
        machine=on(is_onednn=False),
        missing_zoos=["/zoo"],
        extras=HEALTHY.extras | {"zarr": False, "nd2": False},
    )
    lines = [*in_words(examine(facts))]
    assert lines[:8] == [
        "1 thing to mend, 1 piece of advice",
        "\nTo mend",
        "  models: KERAS_UNET3D_ZOO names /zoo, and there is no such folder",
        "      mkdir -p /zoo",
        "\nAdvice",
        "  oneDNN: off: on a processor, training takes up to 3 times as long without it",
        "      export TF_ENABLE_ONEDNN_OPTS=1",
        "\nFine",
    ]
    assert "  backend          tensorflow" in lines[8:]
    assert lines[-1] == "\nOptional, and not installed (pip install 'keras-unet3d[NAME]'): zarr, nd2"


# ---- this machine --------------------------------------------------------------------------------


def test_gathers_the_facts_of_this_machine(tmp_path):
    import keras

    facts = gather(zoos=[tmp_path, tmp_path / "gone", "https://models.example"])
    assert facts.versions["keras"] == facts.packages["keras"].version == keras.__version__
    assert facts.machine.backend == "tensorflow" and facts.machine.is_onednn and facts.machine.precision == "float32"
    assert facts.elasticdeform_fault == "" and facts.missing_zoos == [str(tmp_path / "gone")]
    assert all(folder.fault == "" and folder.free > 0 for folder in facts.folders.values())
    assert facts.packages["keras-unet3d"].demands


def test_gathers_folders_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    folders = gather().folders
    assert "expected a path inside folders, found the file" in folders["folder of models"].fault
    assert folders["temporary files"].fault == ""


def test_gathers_what_is_known_without_a_backend():
    facts = gather("no package torch")
    assert facts.backend_fault == "no package torch" and facts.machine == Machine()
    assert "python" in facts.versions


# ---- the command ---------------------------------------------------------------------------------


def test_on_the_command_line():
    result = CliRunner().invoke(unet3d_cli, ["doctor"])
    assert result.exit_code == 0
    assert re.search(r"  augmentation +elasticdeform and native\n", result.output)
    assert "--precision auto is float32 here" in result.output
    last = result.output.rstrip().splitlines()[-1]
    assert re.match(r"prediction  keras float32 \d\.\d\d s, keras bfloat16 \d\.\d\d s, .*64 x 64 x 64", last)


def test_prints_one_json_object(monkeypatch):
    engines = {("keras", "float32"): lambda network: lambda batch: batch}
    monkeypatch.setattr("keras_unet3d.zoo.engines.NETWORKS", engines)
    result = CliRunner().invoke(unet3d_cli, ["doctor", "--json"])
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert said["machine"]["machine"]["backend"] == "tensorflow" and "numpy" in said["machine"]["versions"]
    assert {tuple(finding) for finding in said["findings"]} == {("what", "state", "severity", "command")}
    assert said["findings"][-1]["what"] == "prediction"


def test_a_backend_that_cannot_be_imported_is_a_finding_not_an_end():
    command = [sys.executable, "-m", "keras_unet3d.cli", "doctor"]
    done = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": "nothing"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"  backend: it cannot be imported: .*'nothing'.*\n      unset KERAS_BACKEND\n", done.stdout)


def test_says_which_engine_is_the_fastest():
    def slow(network):
        return lambda batch: time.sleep(0.05)

    def missing(network):
        raise InputError("engine: expected the packages onnxruntime and tf2onnx")

    finding = timed(
        {
            ("keras", "float32"): slow,
            ("onnx", "float32"): lambda network: lambda batch: None,
            ("other", "float32"): missing,
        }
    )
    assert finding.state == (
        "keras float32 0.05 s, onnx float32 0.00 s for a tile of 64 x 64 x 64; for large volumes `engine=auto` takes onnx float32, "
        "where that is proved on the volume"
    )
