"""The command line: exit codes, one sentence on standard error, nothing half-written, nothing lost."""

import json
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from helpers import UNLABELLED, VALUES, tiny_settings, tiny_volume, write_pair

import keras_unet3d
from keras_unet3d.cli import main

TINY = [
    "--epochs",
    "1",
    "--steps-per-epoch",
    "1",
    "--patch",
    "8",
    "8",
    "8",
    "--batch-size",
    "1",
    "--base-filters",
    "2",
    "--depth",
    "2",
    "--no-augment",
    "--workers",
    "1",
]


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """Each test works in an empty folder and finds no models but its own."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # The user's folders are below it.
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("KERAS_UNET3D_ZOO", raising=False)
    monkeypatch.chdir(tmp_path / "work")
    # TensorFlow warns of retracing after a few fits in one process; the command line makes one per process.
    level = logging.getLogger("tensorflow").level
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    yield
    logging.getLogger("tensorflow").setLevel(level)


@pytest.fixture
def call(capsys):
    """A function that runs the command line and returns exit code, standard output and standard error."""

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return stop.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def refused(call):
    """A function that asserts exit code 2, one sentence, no traceback, and the same files as before."""

    def run(*arguments) -> str:
        before = _files()
        code, _, error = call(*arguments)
        assert code == 2, error
        assert "Traceback" not in error
        assert len(error.strip().splitlines()) == 1, error
        assert error.startswith("unet3d-cli: ")
        assert _files() == before
        return error.removeprefix("unet3d-cli: ").strip()

    return run


def _files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in Path().rglob("*")}


# ---- the program -----------------------------------------------------------------------------------


def test_help_loads_no_tensorflow():
    script = (
        "import sys\n"
        "from keras_unet3d.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "assert not {'tensorflow', 'keras', 'matplotlib', 'rich'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in ("check", "fit", "predict", "evaluate", "export", "zoo"):
        assert f"  {command} " in done.stdout


def test_python_m_says_the_version():
    done = subprocess.run([sys.executable, "-m", "keras_unet3d.cli", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert keras_unet3d.__version__ in done.stdout


def test_a_fresh_process_prints_one_line_on_standard_error():
    command = [sys.executable, "-m", "keras_unet3d.cli", "predict", "nothing", "volume.tif", "--out", "o.tif"]
    # JAX, where it is imported, lets TensorFlow say more.
    quiet = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(command, capture_output=True, text=True, env=quiet)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "nothing: expected a run folder, a bundle or the name of a model" in done.stderr


def test_a_fit_in_a_fresh_process_prints_nothing_on_standard_error():
    """Neither TensorFlow's start-up notes nor its look for a GPU."""
    write_pair(Path("a.h5"))
    options = ["--out", "r", "--unlabelled", str(UNLABELLED), *TINY]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    command = [sys.executable, "-m", "keras_unet3d.cli", "fit", "a.h5", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["check", "fit", "predict", "evaluate", "export", "zoo"])
def test_help_of_every_command(call, command):
    code, out, error = call(command, "--help")
    assert (code, error) == (0, "")
    assert "Usage:" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fitt"], "fitt"),
        (["fit", "a.h5"], "--out"),
        (["fit", "a.h5", "--out", "r", "--epoch", "3"], "--epochs"),
        (["fit", "a.h5", "--out", "r", "--epochs", "many"], "many"),
        (["fit", "a.h5", "--out", "r", "--patch", "8", "8"], "--patch"),
        (["fit", "a.h5", "--out", "r", "--padding", "reflect"], "reflect"),
        (["predict", "run", "v.tif", "--out", "o.tif", "--overlap", "1"], "1"),
    ],
)
def test_a_wrong_call_exits_2_and_names_the_word(call, arguments, said):
    code, _, error = call(*arguments)
    assert code == 2
    assert said in error
    assert "Traceback" not in error


def test_debug_shows_the_traceback(call):
    code, _, error = call("fit", "none.h5", "--out", "r", "--debug")
    assert code == 2
    assert "Traceback" in error
    assert "none.h5: expected data, found no such file" in error


# ---- fit -------------------------------------------------------------------------------------------


def test_fit_makes_a_run_and_will_not_write_over_it(call, refused):
    write_pair(Path("a.h5"))
    write_pair(Path("b.h5"), 1)
    arguments = ["fit", "a.h5", "--val", "b.h5", "--out", "r", "--unlabelled", UNLABELLED, *TINY]
    code, out, error = call(*arguments)
    assert (code, error) == (0, "")
    assert Path("r/model.keras").is_file()
    assert "unet3d-cli predict r a.h5 --out LABELS " in out
    assert "r: the run exists already" in refused(*arguments)


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        ({"raw": np.full((16, 16, 16), 3.0)}, "raw: expected an image, found the constant value 3"),
        ({"raw": np.where(np.arange(4096) == 7, np.nan, 1.0).reshape(16, 16, 16)}, "found NaN or infinity in 1 voxels"),
        ({"raw": np.zeros((16, 16, 12))}, "label: expected the shape of the image"),
        ({"raw": np.zeros((2, 16, 16, 16))}, "add --axes, e.g. --axes czyx"),
        ({"raw": None}, "expected a data set 'raw', found label"),
        ({"label": None}, "expected a data set 'label', found raw"),
        ({"label": tiny_volume()[1] + 0.5}, "expected labels that are whole numbers, found"),
        ({"label": tiny_volume()[1].astype(int) - 1}, "expected the labels 4, 8; found -1 (1920 voxels)"),
        ({"label": np.full((16, 16, 16), UNLABELLED)}, "expected some labelled voxels, found nothing labelled"),
        ({"label": np.zeros((16, 16, 16), int)}, "expected at least two classes, found only the label 0"),
        ({"label": np.arange(4096).reshape(16, 16, 16)}, "expected at most 64 classes"),
        ({"weight": np.full((16, 16, 16), np.nan, np.float32)}, "weight"),
        ({"weight": np.full((16, 16, 16), -1.0, np.float32)}, "weight"),
        ({"weight": np.zeros((16, 16, 16), np.float32)}, "weight"),
    ],
)
def test_fit_refuses_a_bad_volume_by_name(refused, replaced, said):
    write_pair(Path("a.h5"), **replaced)
    error = refused("fit", "a.h5", "--out", "r", "--unlabelled", UNLABELLED, *TINY)
    assert error.startswith("a.h5")
    assert said in error


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--patch", "8", "7", "8"], "--patch: size 7 along y is illegal"),
        (["--patch", "0", "8", "8"], "--patch: expected three whole numbers (z, y, x) of at least 1, found (0, 8, 8)"),
        (["--num-classes", "2"], "expected the labels 0, 1; found 5 (1920 voxels); correct"),
        (["--num-classes", "300"], "--num-classes: expected a whole number of at most 64, found 300"),
        (["--axes", "zyq"], "--axes: expected z, y, x and perhaps c"),
        (["--learning-rate", "inf"], "--learning-rate: expected a finite number of at least 0, found inf"),
        (["--validation-share", "1"], "--validation-share: expected a share of at least 0 and below 1, found 1.0"),
        (
            ["--classes", "0=air,5=wall", "--num-classes", "2"],
            "--classes: expected to be given alone, found --num-classes too",
        ),
        (
            ["--classes", "0=air,7=wall"],
            "a.h5:label: expected the labels 0 air, 7 wall; found 5 (1920 voxels); correct",
        ),
        (["--classes", "air,wall"], "--classes: expected whole numbers with names"),
        (["--class-weights", "0=much"], "--class-weights: expected balanced, or every class once"),
        (["--class-weights", "wall=2"], "--class-weights: expected classes of 0, 5; found 'wall'"),
        (["--weight-key", "certainty"], "expected a data set 'certainty', found label, raw"),
        (["--val", "none.h5"], "none.h5: expected data, found no such file"),
    ],
)
def test_fit_refuses_a_bad_option(refused, options, said):
    write_pair(Path("a.h5"))
    assert said in refused("fit", "a.h5", "--out", "r", "--unlabelled", UNLABELLED, *TINY, *options)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["zoo", "show", "none.zip"], "none.zip: expected the folder of a bundle or the name of a model, found no such file; check the path."),
        (["zoo", "show", "a.zip"], "a.zip: expected the folder of a bundle or the name of a model, found a zip; install it first."),
        (["check", "--json"], "See unet3d-cli check --help."),
        (["fit", "a.h5", "--patch", "1"], "See unet3d-cli fit --help."),
    ],
)  # fmt: skip
def test_a_slip_is_answered_by_what_helps(refused, arguments, said):
    Path("a.zip").write_bytes(b"")
    assert refused(*arguments).endswith(said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--folds", "2", "--val", "b.h5"], "--folds: expected without --val, found both"),
        (["--folds", "2", "--profile"], "--folds: expected without --profile, found both"),
        (["--folds", "2", "--fold", "1/2"], "--folds: expected neither --fold nor --validation-share beside them"),
        (["--folds", "3"], "--folds: expected at least 3 volumes for 3 folds, found 2"),
        (["--folds", "1"], "--folds: expected 2 to 64, found 1"),
        (["--fold", "3/2"], "--fold: expected one of 2 to 64 parts, like 2/5, found '3/2'"),
        (["--fold", "1/2", "--validation-share", "0"], "--fold: expected without --validation-share, found both"),
        (["--final"], "--final: expected --folds too"),
    ],
)
def test_fit_refuses_folds_that_cannot_be(refused, tiny_data, options, said):
    assert said in refused("fit", tiny_data, "--out", "run", "--unlabelled", UNLABELLED, *options)
    assert not Path("run").exists()


def test_folds_go_on_by_their_folder_alone_and_are_evaluated_as_one(call, refused, tiny_folds, tiny_data):
    shutil.copytree(tiny_folds.path, "folds")
    code, out, _ = call("fit", "--resume", "--out", "folds")
    assert code == 0 and "Dice, mean and standard deviation over 2 volumes" in out and "unet3d-cli distill folds" in out
    code, out, _ = call("evaluate", "folds", tiny_data, "--json", "figures.json")
    assert code == 0 and json.loads(Path("figures.json").read_text())["mean_dice"] is not None
    assert "--folds: expected 2, as folds was begun with, found 3" in refused(
        "fit", "--resume", "--folds", 3, "--out", "folds"
    )
    assert "cross_validation.json" in refused("evaluate", "folds", tiny_data, "--held-out")


@pytest.mark.parametrize("content", [b"", b"not an HDF5 file", None])
def test_fit_refuses_a_broken_file(refused, content):
    path = write_pair(Path("a.h5"))
    path.write_bytes(path.read_bytes()[:3000] if content is None else content)
    assert refused("fit", "a.h5", "--out", "r", *TINY).startswith("a.h5: expected a readable .h5 volume")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{", "options.json: expected options of fit in JSON"),
        ("[1]", "options.json: expected options of fit, a JSON object; found a list"),
        ('{"epoch": 3}', "Did you mean 'epochs'"),
        ('{"settings": 5}', "settings"),
        ('{"augment": "no"}', "augment: expected"),
        ('{"epochs": 1.5}', "epochs: expected"),
        ('{"batch_size": 2.5}', "batch_size: expected"),
        ('{"depth": 2.0}', "depth: expected"),
        ('{"axes": 5}', "axes: expected"),
        ('{"raw_key": 5}', "raw_key: expected"),
        ('{"unlabelled": 3}', "unlabelled: expected"),
        ('{"unlabelled": ["a"]}', "unlabelled: expected"),
        ('{"patch": [8, 8]}', "patch: expected three whole numbers"),
        ('{"patch": [8.0, 8, 8]}', "patch: expected"),
        ('{"grid_spacing": null}', "grid_spacing: expected"),
        ('{"validation_share": "a"}', "validation_share: expected"),
        ('{"loss": "dice"}', "loss: expected one of crossentropy, crossentropy+dice"),
    ],
)
def test_fit_refuses_a_bad_config(refused, config, said):
    write_pair(Path("a.h5"))
    if config.startswith('{"') and "settings" not in config:
        # Whatever is not refused is at least over soon.
        config = json.dumps(asdict(tiny_settings()) | json.loads(config))
    Path("options.json").write_text(config)
    assert said in refused("fit", "a.h5", "--out", "r", "--config", "options.json")


def test_the_command_line_wins_over_the_config(call):
    write_pair(Path("a.h5"))
    write_pair(Path("b.h5"), 1)
    Path("options.json").write_text(json.dumps(asdict(tiny_settings(batch_size=3, seed=4))))
    code, _, error = call("fit", "a.h5", "b.h5", "--out", "r", "--config", "options.json", "--batch-size", "2")
    assert code == 0, error
    settings = json.loads(Path("r/config.json").read_text())["settings"]
    assert (settings["batch_size"], settings["seed"], settings["unlabelled"]) == (2, 4, [UNLABELLED])


def test_the_config_of_a_run_repeats_it(call, tiny_run, tiny_data):
    """Also where the raw labels are not 0, 1, ...: config.json is everything that is needed."""
    code, _, error = call("fit", tiny_data, "--out", "again", "--config", tiny_run / "config.json")
    assert code == 0, error
    again, first = (json.loads((run / "config.json").read_text()) for run in (Path("again"), tiny_run))
    assert again["model"] == first["model"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.h5"], "none.h5: expected data"),
        (["a.h5", "--patch", "8", "7", "8"], "--patch: size 7 along y is illegal"),
    ],
)
def test_overwrite_keeps_the_old_run_until_the_input_is_known_to_be_good(refused, tiny_run, arguments, said):
    shutil.copytree(tiny_run, "r")
    write_pair(Path("a.h5"))
    assert said in refused("fit", *arguments, "--out", "r", "--overwrite", "--unlabelled", UNLABELLED)


def test_overwrite_refuses_a_folder_that_is_not_a_run(refused):
    write_pair(Path("a.h5"))
    Path("thesis").mkdir()
    Path("thesis/chapter1.txt").write_text("precious")
    error = refused("fit", "a.h5", "--out", "thesis", "--overwrite", *TINY)
    assert error.startswith("thesis: expected an earlier run to overwrite, or an empty folder, found a folder without")


def test_overwrite_refuses_a_folder_with_a_config_of_something_else(refused):
    write_pair(Path("a.h5"))
    Path("bert").mkdir()
    Path("bert/config.json").write_text('{"hidden_size": 768}')
    Path("bert/weights.bin").write_text("precious")
    assert "expected an earlier run" in refused(
        "fit", "a.h5", "--out", "bert", "--overwrite", "--unlabelled", UNLABELLED, *TINY
    )


def test_overwrite_refuses_a_run_folder_that_holds_the_data(refused, tiny_run):
    shutil.copytree(tiny_run, "r")
    write_pair(Path("r/a.h5"))
    refused("fit", "r/a.h5", "--out", "r", "--overwrite", "--unlabelled", UNLABELLED, *TINY)


def test_fit_refuses_an_output_below_a_file(refused):
    write_pair(Path("a.h5"))
    refused("fit", "a.h5", "--out", "a.h5/r", "--unlabelled", UNLABELLED, *TINY)


def test_fit_refuses_the_same_volume_for_training_and_validation(refused):
    write_pair(Path("a.h5"))
    assert "a.h5" in refused("fit", "a.h5", "--val", "a.h5", "--out", "r", "--unlabelled", UNLABELLED, *TINY)


def test_fit_refuses_validation_data_of_other_channels(refused):
    for name, channels in (("a", 1), ("b", 2)):
        write_pair(Path(f"{name}.h5"), raw=np.random.default_rng(0).normal(size=(16, 16, 16, channels)))
    options = ["--axes", "zyxc", "--unlabelled", UNLABELLED, *TINY]
    assert refused("fit", "a.h5", "--val", "b.h5", "--out", "r", *options).startswith("b.h5:raw: expected 1 channel")


def test_val_takes_all_words_up_to_the_next_option(call):
    for seed, name in enumerate("abcd"):
        write_pair(Path(f"{name}.h5"), seed)
    call("fit", "a.h5", "--val", "b.h5", "c.h5", "--out", "r", "d.h5", "--unlabelled", UNLABELLED, *TINY)
    held = json.loads(Path("r/config.json").read_text())["data"]
    assert (held["training"], held["validation"]) == (["a.h5", "d.h5"], ["b.h5", "c.h5"])


# ---- predict ---------------------------------------------------------------------------------------


@pytest.fixture
def volume() -> Path:
    tifffile.imwrite("v.tif", tiny_volume(3)[0])
    return Path("v.tif")


def test_probabilities_is_a_word_for_the_output(call, refused, tiny_run, volume):
    assert call("predict", tiny_run, volume, "--out", "p.h5", "--probabilities")[0] == 0
    assert keras_unet3d.open_volume("p.h5", "probabilities").dtype == np.float32
    error = refused("predict", tiny_run, volume, "--out", "q.h5", "--probabilities", "--output", "logits")
    assert "--probabilities: expected without --output logits; leave one out." in error


def test_predict_writes_raw_label_values_and_exits_0(call, tiny_run, volume):
    code, out, error = call("predict", tiny_run, volume, "--out", "o.tif")
    assert (code, error) == (0, "")
    assert "o.tif: 16 x 16 x 16, labels" in out
    assert set(np.unique(tifffile.imread("o.tif"))) <= set(VALUES)


def test_a_zarr_goes_all_the_way(call, refused, tiny_run):
    from keras_unet3d.volumes import from_array, write_volume

    image, label = tiny_volume()
    write_volume("stack.zarr", image, from_array(image, spacing=(2.0, 1.0, 1.0), unit="um"), "raw")
    group = zarr.open_group("stack.zarr", mode="a")
    group.create_array("label", shape=label.shape, dtype=label.dtype)[...] = label
    assert call("check", "stack.zarr", "--unlabelled", UNLABELLED)[::2] == (0, "")
    code, out, error = call("fit", "stack.zarr", "--out", "r", "--unlabelled", UNLABELLED, *TINY)
    assert (code, error) == (0, "")
    assert "voxel 2 x 1 x 1 um" in out
    assert call("evaluate", "r", "stack.zarr")[::2] == (0, "")
    assert call("suggest", "r", "stack.zarr", "--out", "next", "--count", 1)[::2] == (0, "")
    assert call("predict", "r", "stack.zarr", "--out", "labels.zarr")[::2] == (0, "")
    written = keras_unet3d.open_volume("labels.zarr", "label")
    assert (written.shape, written.spacing) == ((16, 16, 16), (2.0, 1.0, 1.0))
    assert "labels.zarr: the output exists already" in refused("predict", "r", "stack.zarr", "--out", "labels.zarr")
    assert call("predict", "r", "stack.zarr", "--out", "labels.zarr", "--overwrite")[::2] == (0, "")
    said = refused("predict", "r", "stack.zarr", "--out", "stack.zarr/raw", "--overwrite")
    assert "expected an output that is not an input" in said


@pytest.mark.parametrize("name", ["zarr.json", "label", "raw/c/0/0/0"])
def test_fit_refuses_a_broken_zarr(refused, name):
    image, label = tiny_volume()
    group = zarr.create_group("a.zarr")
    for key, array in {"raw": image, "label": label}.items():
        group.create_array(key, shape=array.shape, dtype=array.dtype, chunks=array.shape)[...] = array
    path = Path("a.zarr", name)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.write_bytes(path.read_bytes()[:20])
    assert refused("fit", "a.zarr", "--out", "r", *TINY).startswith("a.zarr: expected ")


def test_predict_will_not_write_over_without_being_told(call, refused, tiny_run, volume):
    Path("o.tif").write_text("precious")
    assert "o.tif: the output exists already" in refused("predict", tiny_run, volume, "--out", "o.tif")
    assert call("predict", tiny_run, volume, "--out", "o.tif", "--overwrite")[0] == 0
    assert tifffile.imread("o.tif").shape == (16, 16, 16)


@pytest.mark.parametrize("out", ["v.tif", "."])
def test_predict_never_writes_over_its_input(refused, tiny_run, volume, out):
    error = refused("predict", tiny_run, volume, "--out", out, "--overwrite")
    assert "expected an output that is not an input" in error


def test_predict_refuses_two_inputs_of_one_name(refused, tiny_run, volume):
    Path("x").mkdir()
    shutil.copy(volume, "x/v.tif")
    assert "found v.tif twice" in refused("predict", tiny_run, "v.tif", "x/v.tif", "--out", "o")


def test_predict_with_one_bad_input_does_the_others_and_names_it(call, tiny_run, volume):
    broken = tiny_volume()[0]
    broken[3, 3, 3] = np.nan
    tifffile.imwrite("w.tif", broken)
    code, _, said = call("predict", tiny_run, "w.tif", "v.tif", "--out", "o")
    assert code == 2
    assert said.startswith("unet3d-cli: 1 of 2 inputs failed, the others are done: w.tif: expected finite grey values")
    assert [path.name for path in Path("o").iterdir()] == ["v.tif"]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.ones((8, 8, 8), np.float32), "found the constant value 1"),
        (np.zeros((8, 8), np.float32), "expected a volume of three axes"),
        (np.zeros((2, 8, 8, 8), np.float32), "add --axes"),
        (np.zeros((0, 8, 8), np.float32), "expected"),
    ],
)
def test_predict_refuses_a_bad_volume(refused, tiny_run, array, said):
    with h5py.File("v.h5", "w") as file:
        file["raw"] = array
    error = refused("predict", tiny_run, "v.h5", "--out", "o.h5")
    assert error.startswith("v.h5")
    assert said in error


def test_predict_says_which_channels_the_network_takes(refused, tiny_run):
    with h5py.File("v.h5", "w") as file:
        file["raw"] = np.random.default_rng(0).normal(size=(2, 8, 8, 8))
    error = refused("predict", tiny_run, "v.h5", "--axes", "czyx", "--out", "o.h5")
    assert "v.h5:raw: expected 1 channels" in error
    assert "found 2" in error


@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 1, 5), (3, 5, 7)])
def test_predict_takes_any_size(call, tiny_run, shape):
    with h5py.File("v.h5", "w") as file:
        file["raw"] = np.random.default_rng(0).normal(size=shape)
    code, _, error = call("predict", tiny_run, "v.h5", "--out", "o.h5")
    assert code == 0, error
    with h5py.File("o.h5", "r") as file:
        assert file["label"].shape == shape


@pytest.mark.parametrize("cut", [100, 3000])
def test_predict_refuses_a_truncated_tiff(refused, tiny_run, volume, cut):
    volume.write_bytes(volume.read_bytes()[:cut])
    error = refused("predict", tiny_run, volume, "--out", "o.tif")
    assert error.startswith("v.tif: expected")
    assert "copy it again" in error


def test_a_library_that_logs_is_not_heard(tiny_run):
    """Of a truncated TIFF, tifffile says more on standard error, where nobody has set up logging."""
    tifffile.imwrite("v.tif", tiny_volume()[0])
    Path("v.tif").write_bytes(Path("v.tif").read_bytes()[:9000])
    command = [sys.executable, "-m", "keras_unet3d.cli", "predict", str(tiny_run), "v.tif", "--out", "o.tif"]
    # JAX, where it is imported, lets TensorFlow say more.
    quiet = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(command, capture_output=True, text=True, env=quiet)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize("out", ["o.png", "file/o.tif", "folder.tif"])
def test_predict_refuses_an_output_that_cannot_be(refused, tiny_run, volume, out):
    Path("file").write_text("precious")
    Path("folder.tif").mkdir()
    refused("predict", tiny_run, volume, "--out", out)


def test_predict_refuses_an_illegal_tile(refused, tiny_run, volume):
    error = refused("predict", tiny_run, volume, "--out", "o.tif", "--tile", "8", "7", "8")
    assert "--tile: size 7 along y is illegal" in error


# ---- the run folder as a model ---------------------------------------------------------------------


def _broken(tiny_run, change) -> Path:
    run = Path("broken")
    shutil.copytree(tiny_run, run)
    config = json.loads((run / "config.json").read_text())
    change(config)
    (run / "config.json").write_text(json.dumps(config))
    return run


@pytest.mark.parametrize("content", [None, b"", b"no zip"])
def test_a_run_without_a_readable_network_is_refused(refused, tiny_run, volume, content):
    run = _broken(tiny_run, lambda config: None)
    (run / "model.keras").unlink()
    if content is not None:
        (run / "model.keras").write_bytes(content)
    assert refused("predict", run, volume, "--out", "o.tif").startswith("broken/model.keras: expected")


@pytest.mark.parametrize("entry", ["architecture", "labels", "normalization", "patch", "spacing", "keys"])
@pytest.mark.parametrize("value", [5, "abc"])
def test_a_run_with_a_wrong_entry_is_refused_by_file(refused, tiny_run, volume, entry, value):
    run = _broken(tiny_run, lambda config: config["model"].update({entry: value}))
    assert "config.json" in refused("predict", run, volume, "--out", "o.tif")


@pytest.mark.parametrize("entry", ["architecture", "labels", "normalization", "patch", "spacing", "keys"])
def test_a_run_without_an_entry_is_refused_by_file(refused, tiny_run, volume, entry):
    run = _broken(tiny_run, lambda config: config["model"].pop(entry))
    assert "config.json" in refused("predict", run, volume, "--out", "o.tif")


@pytest.mark.parametrize("values", [[0, 5, 7], ["x", "y"]])
def test_a_run_whose_labels_are_not_its_networks_is_refused(refused, tiny_run, volume, values):
    labels = {"values": values, "names": [str(value) for value in values]}
    run = _broken(tiny_run, lambda config: config["model"]["labels"].update(labels))
    assert "config.json" in refused("predict", run, volume, "--out", "o.tif")


# ---- evaluate --------------------------------------------------------------------------------------


def test_evaluate_writes_its_json(call, tiny_run, tiny_data):
    code, out, error = call("evaluate", tiny_run, tiny_data, "--json", "e.json")
    assert (code, error) == (0, "")
    assert "mean" in out
    assert set(json.loads(Path("e.json").read_text())) >= {"classes", "mean_iou", "mean_dice", "volumes"}
    assert "compared" not in json.loads(Path("e.json").read_text())


def test_evaluate_compares_two_models_and_writes_a_table(call, tiny_run, tiny_data):
    other = shutil.copytree(tiny_run, "other")
    code, out, error = call("evaluate", tiny_run, tiny_data, "--compare", other, "--json", "e.json", "--table", "t.csv")
    assert (code, error) == (0, "")
    assert "other:" in out and "mean Dice: +0.0000 [+0.0000, +0.0000], p 1, 2 volumes" in out
    compared = json.loads(Path("e.json").read_text())["compared"]
    assert compared["model"] == "other" and compared["difference"]["mean_dice"]["p"] == 1.0
    lines = Path("t.csv").read_text().splitlines()
    assert lines[0].startswith("model,file,class,iou,dice,sensitivity,precision,volume_error,hausdorff_95")
    assert len(lines) == 1 + 2 * 2 * 2 and lines[-1].startswith("other,b.h5,5,")


def test_evaluate_writes_a_page_of_two_models(call, tiny_run, tiny_data):
    other = shutil.copytree(tiny_run, "other")
    code, _, error = call("evaluate", tiny_run, tiny_data, "--compare", other, "--report", "page.html")
    assert (code, error) == (0, "")
    text = Path("page.html").read_text()
    assert "a.h5" in text and "b.h5" in text and "The first less the second" in text


def test_a_page_takes_the_place_of_no_other_file(refused, tiny_run):
    write_pair(Path("a.h5"))
    error = refused("evaluate", tiny_run, "a.h5", "--report", "a.h5", "--overwrite")
    assert error == "--report a.h5: expected to write over a .html file, found another kind of file there."


def test_report_makes_the_page_of_a_run_again(call, refused, tiny_run):
    run = Path(shutil.copytree(tiny_run, "run"))
    (run / "report.html").unlink()
    code, out, error = call("report", run)
    assert (code, out.strip(), error) == (0, f"page: {run / 'report.html'}", "")
    assert 'id="scenes"' in (run / "report.html").read_text()
    (run / "model.keras").unlink()
    assert call("report", run)[0] == 0 and "There is no network yet." in (run / "report.html").read_text()
    assert "nowhere: expected a run folder, found no config.json there" in refused("report", "nowhere")


def test_predict_writes_a_page(call, refused, tiny_run, tiny_data):
    inputs = [tiny_data / "a.h5", tiny_data / "b.h5"]
    code, _, error = call("predict", tiny_run, *inputs, "--out", "labels", "--report", "page.html")
    assert (code, error) == (0, "")
    text = Path("page.html").read_text()
    assert "2 volumes segmented." in text and '"labels": null' in text and "a.h5" in text
    error = refused("predict", tiny_run, *inputs, "--out", "more", "--output", "logits", "--report", "more.html")
    assert error.startswith("--report: expected labels, which the page shows, found --output logits; leave one out.")
    assert call("predict", tiny_run, *inputs, "--out", "dry", "--dry-run", "--report", "dry.html")[0] == 0
    assert not Path("dry.html").exists()


def test_evaluate_writes_no_table_over_another_file(refused, tiny_run):
    write_pair(Path("a.h5"))
    error = refused("evaluate", tiny_run, "a.h5", "--table", "a.h5", "--overwrite")
    assert error == "--table a.h5: expected to write over a .csv file, found another kind of file there."


def test_evaluate_held_out_takes_the_validation_volumes(call, tiny_run, tiny_data):
    code, _, error = call("evaluate", tiny_run, tiny_data, "--held-out", "--json", "e.json")
    assert code == 0, error
    held = json.loads((tiny_run / "config.json").read_text())["data"]["validation"]
    assert [volume["file"] for volume in json.loads(Path("e.json").read_text())["volumes"]] == held


def test_evaluate_held_out_of_a_volume_that_was_trained_on_in_part_is_refused(refused, tiny_run, tiny_data):
    def trained_on_a_part(config):
        config["data"] |= {"held_out_files": [], "split": "x >= 12 of 16 for validation"}

    run = _broken(tiny_run, trained_on_a_part)
    error = refused("evaluate", run, tiny_data, "--held-out")
    assert "expected a run that held out whole volumes, found 'x >= 12 of 16 for validation'" in error


def test_evaluate_refuses_labels_that_the_network_does_not_know(refused, tiny_run):
    write_pair(Path("a.h5"), label=tiny_volume()[1] + 1)
    error = refused("evaluate", tiny_run, "a.h5")
    assert error.startswith("a.h5:label: expected the labels 0, 5; found 1 (1920 voxels), 6 (1920 voxels), 10")
    assert error.endswith("correct the labels, or add --unlabelled 1 if it means unlabelled.")


def test_evaluate_takes_further_values_that_mean_unlabelled(call, tiny_run):
    label = tiny_volume()[1]
    label[3:5] = 77
    write_pair(Path("a.h5"), label=label)
    code, _, error = call("evaluate", tiny_run, "a.h5", "--unlabelled", 77, "--json", "e.json")
    assert (code, error) == (0, "")
    assert set(json.loads(Path("e.json").read_text())["classes"]) == {"0", "5"}


def test_evaluate_refuses_a_class_that_is_to_mean_unlabelled(refused, tiny_run):
    write_pair(Path("a.h5"))
    assert "--unlabelled" in refused("evaluate", tiny_run, "a.h5", "--unlabelled", 5)


def test_evaluate_refuses_labels_with_channels(refused, tiny_run):
    image, label = tiny_volume()
    write_pair(Path("a.h5"), raw=image[..., None], label=np.stack([label] * 2, -1))
    error = refused("evaluate", tiny_run, "a.h5", "--axes", "zyxc")
    assert "expected one label per voxel, found 2 channels" in error


def test_evaluate_never_writes_over_its_data(refused, tiny_run):
    write_pair(Path("a.h5"))
    refused("evaluate", tiny_run, "a.h5", "--json", "a.h5", "--overwrite")


@pytest.mark.parametrize("path", ["folder", "a.h5/e.json"])
def test_evaluate_refuses_a_json_file_that_cannot_be(refused, tiny_run, path):
    write_pair(Path("a.h5"))
    Path("folder").mkdir()
    refused("evaluate", tiny_run, "a.h5", "--json", path)


# ---- export and zoo --------------------------------------------------------------------------------


def test_export_makes_a_bundle_that_list_and_show_find(call, tiny_run, monkeypatch):
    code, out, error = call("export", tiny_run, "--name", "tiny", "--version", "1.2.0", "--out", "zoo")
    assert (code, error) == (0, "")
    assert Path("zoo/tiny/1.2.0/SHA256SUMS").is_file()
    assert "unet3d-cli zoo verify tiny" in out
    monkeypatch.setenv("KERAS_UNET3D_ZOO", os.path.abspath("zoo"))
    assert "tiny@1.2.0  [0, 5]" in call("zoo", "list")[1]
    assert json.loads(call("zoo", "show", "tiny", "--json")[1])["version"] == "1.2.0"
    assert "# tiny 1.2.0" in call("zoo", "show", "tiny")[1]
    code, out, error = call("zoo", "verify", "tiny")
    assert (code, error) == (0, "")
    assert "SavedModel: test output replayed" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--name", "Bad Name"], "card: name: expected lower-case letters"),
        (["--name", "a/../b"], "card: name: expected lower-case letters"),
        (["--name", ".."], "card: name: expected lower-case letters"),
        (["--name", "tiny", "--version", "1.0"], "card: version: expected three numbers"),
    ],
)
def test_export_refuses_a_bad_name_or_version(refused, tiny_run, options, said):
    assert refused("export", tiny_run, "--out", "zoo", *options).startswith(said)


def test_export_refuses_what_is_not_a_run(refused):
    assert "nothing: expected a run folder" in refused("export", "nothing", "--name", "tiny", "--out", "zoo")


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_export_refuses_a_folder_that_is_not_a_bundle(refused, tiny_run, options):
    Path("zoo/tiny/1.0.0").mkdir(parents=True)
    Path("zoo/tiny/1.0.0/chapter1.txt").write_text("precious")
    refused("export", tiny_run, "--name", "tiny", "--out", "zoo", *options)


def test_export_refuses_an_output_that_is_a_file(refused, tiny_run):
    Path("zoo").write_text("precious")
    refused("export", tiny_run, "--name", "tiny", "--out", "zoo")


@pytest.mark.parametrize("entry", ["data", "settings", "versions"])
def test_export_of_a_run_with_a_broken_config_is_refused_by_file(refused, tiny_run, entry):
    run = _broken(tiny_run, lambda config: config.pop(entry))
    assert "config.json" in refused("export", run, "--name", "tiny", "--out", "zoo")


@pytest.mark.parametrize("command", ["show", "verify"])
def test_an_unknown_model_is_refused_with_the_folders_searched(refused, monkeypatch, command):
    monkeypatch.setenv("KERAS_UNET3D_ZOO", os.path.abspath("zoo"))
    error = refused("zoo", command, "tiny")
    assert error.startswith("tiny: expected a run folder, a bundle or the name of a model")
    assert os.path.abspath("zoo") in error


@pytest.mark.parametrize("member", ["../evil", "/tmp/evil", "a/../../evil", "c:\\evil"])
def test_a_hostile_archive_is_refused(refused, volume, member):
    with zipfile.ZipFile("bundle.zip", "w") as archive:
        archive.writestr(member, "evil")
    error = refused("predict", "bundle.zip", volume, "--out", "o.tif")
    assert error.startswith("bundle.zip: expected plain files inside the archive")
