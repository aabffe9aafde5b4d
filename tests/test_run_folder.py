"""The run folder: its configuration written and read, also one of the version before; what a new run may replace."""

import copy
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import says

from keras_unet3d.datasets import DataKeys
from keras_unet3d.errors import InputError
from keras_unet3d.labels import LabelTable
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.run_folder import RunConfig, RunData, RunFolder
from keras_unet3d.segments.cleaning import ClassCleaning
from keras_unet3d.settings import FitSettings

SPEC = ModelSpec(
    Architecture((None, None, None, 1), num_classes=3, base_filters=8, depth=3),
    LabelTable((0, 1, 2), ("lumen", "wall", "background"), (3,)),
    "zscore",
    (30, 60, 60),
    (2.0, 1.0, 1.0),
    "um",
)
CONFIG = RunConfig(
    FitSettings(seed=4).config(), SPEC, RunData(training=("a.h5",)), {"keras": "3.15.1"}, start="tubules"
)

# As commit a664499, the version before this form of the file, wrote it.
OLD = {
    "settings": {
        "patch": [30, 60, 60],
        "batch_size": 2,
        "epochs": 2,
        "steps_per_epoch": 5,
        "num_classes": None,
        "unlabelled": [3],
        "base_filters": 8,
        "filters": None,
        "depth": 3,
        "learning_rate": 0.002,
        "engine": "native",
        "deformation": 3.0,
        "precision": "float32",
        "seed": 0,
    },
    "model": {
        "architecture": {
            "input_shape": [None, None, None, 1],
            "num_classes": 3,
            "base_filters": 8,
            "depth": 3,
            "padding": "same",
            "normalization": "batch",
            "block": "plain",
            "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
            "pool_sizes": [[1, 2, 2], [2, 2, 2]],
            "upsampling": "transpose",
            "dropout": 0.0,
            "l2": 0.0,
            "output": "probabilities",
            "seed": 0,
            "name": "unet3d",
            "filters": None,
        },
        "labels": {
            "values": [0, 1, 2],
            "names": ["lumen", "wall", "background"],
            "unlabelled": [3],
            "target": "semantic",
        },
        "normalization": "zscore",
        "patch": [30, 60, 60],
        "spacing": [2.0, 1.0, 1.0],
        "unit": "um",
        "keys": {"raw": "raw", "label": "label", "weight": "weight", "axes": None},
    },
    "start": None,
    "data": {
        "arguments": ["sample"],
        "val": [],
        "globs": [None, None, None],
        "content": {"training": ["90d19f8c01b13ae7"], "validation": ["000af98a420e5778"]},
        "training": ["sample"],
        "validation": ["sample"],
        "split": "1 of 7 annotated slices (z 31), kept from training with 2 voxels on either side",
        "class_weights": None,
        "held_out_files": [],
    },
    "versions": {"python": "3.11.7", "keras-unet3d": "0.1.0", "keras": "3.15.1"},
    "machine": {"backend": "tensorflow", "devices": ["/device:CPU:0"], "cores": 2},
    "best": {"epoch": 1, "val_iou": 0.10216379910707474},
    "input": {"waiting": 0.007289842944000849},
}


def written(folder, config):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return RunFolder(folder)


# ---- the configuration -----------------------------------------------------------------------------


def test_what_is_written_is_read_as_the_same(tmp_path):
    run = RunFolder(tmp_path / "new" / "run")
    assert not run.is_run
    run.write_config(CONFIG)
    assert run.is_run and os.listdir(run.path) == ["config.json"]
    found = run.read_config()
    assert found.model == SPEC
    assert FitSettings.from_config(found.settings, "config.json") == FitSettings(seed=4)
    assert (found.data, found.versions, found.start) == (CONFIG.data, CONFIG.versions, "tubules")
    assert (found.parts, found.machine, found.best, found.input) == ({}, {}, None, None)
    # What was read is written as it was.
    text = (run.path / "config.json").read_text()
    run.write_config(found)
    assert (run.path / "config.json").read_text() == text
    assert RunFolder(run.path).read_config() == found


def test_the_files_have_the_names_that_they_had(tmp_path):
    run = RunFolder(tmp_path)
    names = {
        "network": "model.keras",
        "last_network": "last.keras",
        "state": "backup/state.npz",
        "history": "history.csv",
        "curves": "curves.png",
        "slices": "slices.png",
        "samples": "samples.png",
        "profile": "profile.json",
        "logs": "logs",
        "dense_labels": "dense.tif",
        "dense_picture": "dense.png",
        "dense_figures": "dense.json",
    }
    assert {name: getattr(run, name) for name in names} == {name: tmp_path / file for name, file in names.items()}


def test_a_run_of_the_version_before_is_read(tmp_path):
    found = written(tmp_path, OLD).read_config()
    assert found.model == ModelSpec(
        Architecture(
            (None, None, None, 1),
            num_classes=3,
            base_filters=8,
            depth=3,
            kernel_sizes=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
            pool_sizes=((1, 2, 2), (2, 2, 2)),
            seed=0,
        ),
        LabelTable((0, 1, 2), ("lumen", "wall", "background"), (3,)),
        "zscore",
        (30, 60, 60),
        (2.0, 1.0, 1.0),
        "um",
        DataKeys(),
    )
    assert FitSettings.from_config(found.settings, "config.json").patch == (30, 60, 60)
    # Written again it is what it was, and what is new since.
    again = json.loads(json.dumps(found.config()))
    assert {name: again[name] for name in OLD if name not in ("model", "data")} == {
        name: value for name, value in OLD.items() if name not in ("model", "data")
    }
    assert {name: again["data"][name] for name in OLD["data"]} == OLD["data"]
    assert found.parts == {}


def test_a_run_of_the_version_before_may_have_been_stopped(tmp_path):
    begun = {name: value for name, value in OLD.items() if name not in ("best", "input")}
    found = written(tmp_path, begun).stopped()
    assert (found.best, found.input, found.start) == (None, None, None)


def _without(path):
    """Return the old configuration without the entry at a path of names."""
    config = copy.deepcopy(OLD)
    inner = config
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return config


def _with(path, value):
    config = copy.deepcopy(OLD)
    inner = config
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return config


@pytest.mark.parametrize(
    "config, sentence",
    [
        ("", "expected the configuration of a run in JSON, found something unreadable"),
        ("[]", "expected the configuration of a run, a JSON object; found a list."),
        ("{}", "expected the entry 'settings' of the configuration of a run, found none."),
        (_without(["model"]), "expected the entry 'model' of the configuration of a run, found none."),
        (_without(["data"]), "expected the entry 'data' of the configuration of a run, found none."),
        (_without(["versions"]), "expected the entry 'versions' of the configuration of a run, found none."),
        (_without(["model", "labels"]), "expected the entry 'labels' of the description of a trained network, found"),
        (_without(["model", "labels", "names"]), "expected the entry 'names' of a label table, found none."),
        (
            _with(["machin"], {}),
            "expected entries of the configuration of a run, found 'machin'. Did you mean 'machine'?",
        ),
        (_with(["model", "sizes"], []), "expected entries of the description of a trained network, found 'sizes'."),
        (_with(["settings"], []), "settings: expected an object, found []."),
        (_with(["model"], None), "model: expected the description of a trained network, found None."),
        (_with(["model", "architecture", "depth"], 0), "depth: expected a whole number of at least 1, found 0."),
        (_with(["start"], 5), "start: expected a text, found 5."),
    ],
)
def test_a_broken_configuration_is_refused(tmp_path, config, sentence):
    run = written(tmp_path / "run", config)
    with pytest.raises(InputError, match=says(f"{tmp_path / 'run' / 'config.json'}: {sentence}")):
        run.read_config()
    with pytest.raises(InputError, match=says(f"{tmp_path / 'run' / 'config.json'}: {sentence}")):
        run.stopped()


def test_where_there_is_no_run_one_says_so(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=says(f"{path}: expected a run folder, found no config.json there; check")):
            RunFolder(path).read_config()


# ---- what a new run may replace ---------------------------------------------------------------------


def test_a_new_place_or_an_empty_folder_may_be_taken(tmp_path):
    for path in (tmp_path / "new", tmp_path):
        RunFolder(path).refuse_existing(False, ["data.h5"])
        RunFolder(path).refuse_existing(True, ["data.h5"])


def test_a_run_is_replaced_only_when_told(tmp_path):
    run = written(tmp_path / "run", OLD)
    sentence = "the run exists already; choose another path or add `overwrite=True`, or `resume=True` to go on with it."
    with pytest.raises(InputError, match=says(f"{run.path}: {sentence}")):
        run.refuse_existing(False, [])
    run.refuse_existing(True, [])


@pytest.mark.parametrize("name", ["thesis.txt", "model.keras"])
def test_a_folder_of_something_else_is_never_replaced(tmp_path, name):
    (tmp_path / name).write_text("precious")
    sentence = (
        f"{tmp_path}: expected an earlier run to overwrite, or an empty folder, found a folder without config.json; choose "
        "another path."
    )
    with pytest.raises(InputError, match=says(sentence)):
        RunFolder(tmp_path).refuse_existing(True, [])


@pytest.mark.parametrize("config", [{}, {"name": "webpack"}, _without(["versions"])])
def test_nor_is_one_with_a_configuration_of_something_else(tmp_path, config):
    run = written(tmp_path, config)
    sentence = (
        f"{tmp_path}: expected an earlier run to overwrite, found a config.json of something else; choose another"
    )
    with pytest.raises(InputError, match=says(sentence)):
        run.refuse_existing(True, [])


def test_a_run_of_another_version_may_be_replaced(tmp_path):
    # Entries that this version does not know are no reason to keep it.
    written(tmp_path, _with(["later"], 5)).refuse_existing(True, [])


@pytest.mark.parametrize("inside", ["a.h5", "deep/a.h5", "."])
def test_a_run_that_holds_its_data_is_not_replaced(tmp_path, inside):
    run = written(tmp_path / "run", OLD)
    given = run.path / inside
    sentence = f"{run.path}: expected a run folder apart from the data, found {given} in it; choose another path."
    with pytest.raises(InputError, match=says(sentence)):
        run.refuse_existing(True, ["elsewhere.h5", given])
    run.refuse_existing(True, [tmp_path / "a.h5", tmp_path])


# ---- a run that was stopped -------------------------------------------------------------------------


def test_what_was_stopped_goes_on_from_its_configuration(tmp_path):
    run = RunFolder(tmp_path / "run")
    assert run.stopped() is None
    run.path.mkdir()
    assert run.stopped() is None
    run.write_config(CONFIG)
    assert run.stopped() == run.read_config()


def test_half_written_files_are_removed_and_no_others(tmp_path):
    run = RunFolder(tmp_path)
    run.write_config(CONFIG)
    (tmp_path / "backup").mkdir()
    kept = ["last.keras", "backup/state.npz", ".0123abcd.hidden"]
    for name in (*kept, ".0123abcd.partial.last.keras", "backup/.89abcdef.partial.state.npz"):
        (tmp_path / name).write_text("half")
    (tmp_path / ".partial.curves.png").write_text("half")
    with run.held(resume=True):
        assert run.stopped() is not None
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == sorted(["config.json", *kept])


def test_a_run_that_was_killed_before_it_was_described_begins_again(tmp_path):
    (tmp_path / ".0123abcd.partial.config.json").write_text("{")
    with RunFolder(tmp_path).held(resume=True):
        assert RunFolder(tmp_path).stopped() is None
    assert os.listdir(tmp_path) == []


def test_any_other_folder_does_not_go_on(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    sentence = f"{tmp_path}: expected a run to resume, found a folder without config.json; choose another path."
    with pytest.raises(InputError, match=says(sentence)):
        RunFolder(tmp_path).stopped()


# ---- the place of a run ------------------------------------------------------------------------------


def begin(folder: Path, name: str, network: bool) -> None:
    """Write a configuration, a state and perhaps a network into the folder, as a run does."""
    (folder / "backup").mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "backup/state.npz", *(["model.keras"] if network else [])):
        (folder / file).write_text(name)


def held_in(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("error", [InputError, KeyboardInterrupt])
@pytest.mark.parametrize("network", [False, True], ids=["before its network", "with a network"])
def test_an_earlier_run_comes_back_where_the_new_one_keeps_no_network(tmp_path, network, error):
    begin(tmp_path, "earlier", True)
    (tmp_path / "thesis.txt").write_text("precious")
    run, before = RunFolder(tmp_path), held_in(tmp_path)
    with pytest.raises(error), run.held(), run.begun(goes_on=False):
        assert not run.is_run
        begin(tmp_path, "new", network)
        raise error
    new = {"config.json": "new", "backup/state.npz": "new", "model.keras": "new", "thesis.txt": "precious"}
    assert held_in(tmp_path) == (new if network else before)


def test_what_was_refused_leaves_nothing_and_what_was_stopped_can_go_on(tmp_path):
    for error, left in ((InputError, {}), (KeyboardInterrupt, {"config.json": "new", "backup/state.npz": "new"})):
        run = RunFolder(tmp_path / "run")
        with pytest.raises(error), run.held(), run.begun(goes_on=False):
            begin(run.path, "new", network=False)
            raise error
        assert held_in(tmp_path / "run") == left


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("killed", ["moving away", "moved", "without a network", "with a network"])
def test_after_a_kill_one_of_the_runs_is_whole(tmp_path, killed, resume):
    run = RunFolder(tmp_path)
    hidden = tmp_path / (".moving" if killed == "moving away" else ".earlier")
    begin(hidden, "earlier", True)
    if killed == "moving away":
        # The configuration is not on its way yet.
        (hidden / "config.json").rename(tmp_path / "config.json")
    elif killed != "moved":
        begin(tmp_path, "new", killed == "with a network")
    with run.held(resume=resume):
        # What has not kept a network may still go on; else the earlier run is back.
        new = killed == "with a network" or (killed == "without a network" and resume)
        assert (tmp_path / "config.json").read_text() == ("new" if new else "earlier")
        assert (tmp_path / ".earlier").is_dir() == (killed == "without a network" and resume)
    assert not (tmp_path / ".moving").exists()


def test_what_was_fitted_after_the_training_is_kept(tmp_path):
    cleaning = (ClassCleaning(value=1, keep_largest=True, fill_holes=True),)
    config = replace(CONFIG, model=replace(SPEC, temperature=1.25, cleaning=cleaning))
    RunFolder(tmp_path).write_config(config)
    read = RunFolder(tmp_path).read_config().model
    assert read == config.model and read.cleaning == cleaning
    assert read.unsettled == SPEC


def test_a_run_that_had_nothing_fitted_is_read(tmp_path):
    config = CONFIG.config()
    del config["model"]["temperature"], config["model"]["cleaning"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = RunFolder(tmp_path).read_config().model
    assert (model.temperature, model.cleaning) == (1.0, ())
    del config["model"]["spacing"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="expected the entry 'spacing' of the description of a trained network"):
        RunFolder(tmp_path).read_config()
