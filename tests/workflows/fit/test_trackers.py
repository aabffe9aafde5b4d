"""MLflow and Weights & Biases hear of a run, offline; what fails there stops nothing."""

import json
import shutil
import sys
import time
from types import SimpleNamespace

import pytest
from helpers import tiny_settings

import keras_unet3d
from keras_unet3d import FitSettings, fit
from keras_unet3d.choices import TRACKERS as WORDS
from keras_unet3d.errors import InputError
from keras_unet3d.listener import Listener
from keras_unet3d.run_folder import RunFolder
from keras_unet3d.training import trackers
from keras_unet3d.training.trackers import Tracker, tracked


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """Nothing here has a server, a key, or a home."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_API_KEY", "WANDB_PROJECT", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # What `begin` sets is taken away again.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")


def read_mlflow(uri):
    """Return the runs of an experiment of our name: their data, and the figures of every epoch."""
    client = pytest.importorskip("mlflow").MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("keras-unet3d")
    return client, client.search_runs([experiment.experiment_id])


@pytest.mark.slow
def test_mlflow_hears_of_a_run_and_of_the_rest_of_it(tiny_data, tmp_path):
    pytest.importorskip("mlflow")
    out, said = tmp_path / "run", []
    run = fit(tiny_data, out, settings=tiny_settings(track="mlflow"), listener=Listener(said.append))
    uri = f"sqlite:///{out.resolve()}/mlflow.db"
    client, (first,) = read_mlflow(uri)
    settings = RunFolder(out).read_config().settings
    assert first.data.params == {name: str(value) for name, value in settings.items()}
    assert first.info.run_name == f"{tmp_path.name}/run" and first.info.status == "FINISHED"
    assert first.data.metrics["val_iou"] == run.history["val_iou"][0]
    assert first.data.metrics["best_val_dice"] == run.best["val_dice"]
    assert sorted(file.path for file in client.list_artifacts(first.info.run_id)) == ["curves.png", "slices.png"]
    assert (out / "mlflow" / first.info.run_id / "artifacts" / "curves.png").is_file()
    assert f"mlflow: run {first.info.run_id}, {uri}" in said
    # The word is kept with the run, which goes on as the same one.
    run = fit([], out, settings=FitSettings(epochs=2), resume=True)
    _, (again,) = read_mlflow(uri)
    assert (again.info.run_id, again.info.status) == (first.info.run_id, "FINISHED")
    figures = client.get_metric_history(again.info.run_id, "val_loss")
    assert [(figure.step, figure.value) for figure in figures] == [*enumerate(run.history["val_loss"], 1)]


@pytest.fixture
def run(tiny_run, tmp_path):
    """A finished run of one epoch, to be told of."""
    return RunFolder(shutil.copytree(tiny_run, tmp_path / "run"))


def tell(tracker, run, epoch=0, said=None):
    with tracked([tracker], run, Listener((said if said is not None else []).append)):
        tracker.on_train_begin()
        tracker.on_epoch_end(epoch, {"loss": 0.5 + epoch})


def test_mlflow_hears_of_it_where_the_environment_says(monkeypatch, run, tmp_path):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/theirs.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "nuclei")
    monkeypatch.chdir(tmp_path)
    tracker, said = keras_unet3d.MlflowTracker(), []
    tell(tracker, run, 0, said)
    (known,) = json.loads(run.tracked.read_text()).values()
    assert said == [f"mlflow: run {known}, sqlite:///{tmp_path}/theirs.db"]
    assert not run.mlflow_database.exists()
    # It goes on as the same one.
    tell(keras_unet3d.MlflowTracker(), run, 1)
    client, told = tracker.client, tracker.client.get_run(known)
    assert [(f.step, f.value) for f in client.get_metric_history(known, "loss")] == [(1, 0.5), (2, 1.5)]
    assert told.data.params == {name: str(value) for name, value in run.read_config().settings.items()}
    assert told.data.metrics["best_val_iou"] == run.read_config().best["val_iou"]
    assert (told.info.status, told.info.run_name) == ("FINISHED", f"{tmp_path.name}/run")
    assert [file.path for file in client.list_artifacts(known)] == ["curves.png", "slices.png"]
    assert client.get_experiment_by_name("nuclei").experiment_id == told.info.experiment_id


def test_wandb_hears_of_it_in_the_run_folder(run):
    pytest.importorskip("wandb")
    said = []
    tell(keras_unet3d.WandbTracker(), run, 0, said)
    (known,) = json.loads(run.tracked.read_text()).values()
    (folder,) = run.wandb.glob(f"offline-run-*-{known}")
    (line,) = said
    assert line.startswith(f"wandb: run {known}, kept in {folder} ") and line.endswith("(wandb sync sends it)")
    # A process of its own writes it, on a busy machine a little later.
    ends = time.monotonic() + 60
    while (size := (folder / f"run-{known}.wandb").stat().st_size) <= 1000 and time.monotonic() < ends:
        time.sleep(0.1)
    assert size > 1000
    assert {path.name.split("_")[0] for path in (folder / "files" / "media" / "images").iterdir()} == {
        "curves",
        "slices",
    }
    assert not [*run.path.parent.rglob("*netrc*")], "no key is written anywhere"


@pytest.mark.slow
def test_wandb_hears_of_a_run_in_the_run_folder(tiny_data, tmp_path):
    pytest.importorskip("wandb")
    out, said = tmp_path / "run", []
    run = fit(
        tiny_data,
        out,
        settings=tiny_settings(),
        callbacks=[keras_unet3d.WandbTracker()],
        listener=Listener(said.append),
    )
    (known,) = json.loads((out / "tracked.json").read_text()).values()
    (folder,) = (out / "wandb").glob(f"offline-run-*-{known}")
    assert (folder / f"run-{known}.wandb").is_file() and run.history["loss"]
    fit(
        [],
        out,
        settings=FitSettings(epochs=2),
        callbacks=[keras_unet3d.WandbTracker()],
        resume=True,
        listener=Listener(said.append),
    )
    assert len([*(out / "wandb").glob(f"offline-run-*-{known}")]) == 2, "wandb sync puts both together"
    assert "training goes on" not in "".join(said)


# ---- what holds for every tracker, by a small one ------------------------------------------------


class Small(Tracker):
    name = "json"  # a module that is always there

    def __init__(self, fails=()):
        super().__init__()
        self.fails, self.calls = fails, []

    def _note(self, what, *values):
        self.calls.append((what, *values))
        if what in self.fails:
            raise OSError("http://me:secret@there refused\nand more")

    def begin(self, run, before, settings):
        self._note("begin", before, settings["epochs"])
        return "7", "https://me:secret@there/7"

    def figures(self, epoch, values):
        self._note("figures", epoch)

    def finish(self, values, pictures):
        self._note("finish", [*values], [path.name for path in pictures])

    def close(self, is_finished):
        self._note("close", is_finished)


def test_the_calls_of_a_run_that_goes_on(tiny_data, tmp_path):
    first, second, said = Small(), Small(), []
    fit(tiny_data, tmp_path / "run", settings=tiny_settings(), callbacks=[first], listener=Listener(said.append))
    best = [f"best_{name}" for name in ("epoch", "dice", "iou", "loss", "waiting", "val_loss", "val_iou", "val_dice")]
    assert [call for call in first.calls if call[0] != "finish"] == [
        ("begin", None, 1),
        ("figures", 1),
        ("close", True),
    ]
    (told,) = [call for call in first.calls if call[0] == "finish"]
    assert sorted(told[1]) == sorted(best) and told[2] == ["curves.png", "slices.png"]
    assert "json: run 7, https://there/7" in said
    fit([], tmp_path / "run", settings=FitSettings(epochs=2), callbacks=[second], resume=True)
    assert second.calls[:2] == [("begin", "7", 2), ("figures", 2)]
    assert not any("secret" in path.read_text() for path in (tmp_path / "run").glob("*.json"))


@pytest.mark.parametrize("fails, heard", [("begin", 1), ("figures", 2), ("close", 5)])
def test_what_fails_is_said_once_and_stops_nothing(run, fails, heard):
    tracker, said = Small([fails]), []
    with tracked([tracker], run, Listener(said.append)):
        for part in range(2):
            tracker.on_train_begin()
            tracker.on_epoch_end(part, {"loss": 1.0})
    sentences = [line for line in said if not line.startswith("json: run 7")]
    assert sentences == ["json: http://there refused; the training goes on, and is not tracked any more"]
    assert len(tracker.calls) == heard


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError("x")])
def test_a_run_that_ends_early_is_closed_as_such(run, error):
    tracker = Small()
    with pytest.raises((KeyboardInterrupt, InputError)), tracked([tracker], run, Listener()):
        tracker.on_train_begin()
        raise error
    assert [call[0] for call in tracker.calls] == ["begin", "close"] and tracker.calls[-1] == ("close", False)


def test_by_itself_a_tracker_does_nothing():
    tracker = Small()
    tracker.on_train_begin()
    tracker.on_epoch_end(0, {"loss": 1.0})
    with tracked([tracker], RunFolder("nowhere"), Listener()):
        pass
    assert tracker.calls == []


@pytest.mark.parametrize("word", WORDS)
def test_a_package_that_is_missing_is_said_before_anything_is_read(word, monkeypatch, tmp_path):
    monkeypatch.setattr(trackers.versions, "is_installed", lambda module: False)
    expected = f"track: expected the package {word}, found none; run pip install 'keras-unet3d\\[{word}\\]'"
    with pytest.raises(InputError, match=expected):
        fit("nowhere.h5", tmp_path / "run", settings=FitSettings(track=word))
    assert not (tmp_path / "run").exists()


def test_without_a_key_nobody_is_asked_for_one(monkeypatch, tmp_path):
    asked = {}
    there = SimpleNamespace(id="1", offline=True, dir="run/wandb/1/files")
    stand_in = SimpleNamespace(
        login=lambda prompt, verify: asked.update(prompt=prompt) or False,
        init=lambda **given: asked.update(given) or there,
        Settings=dict,
    )
    monkeypatch.setattr(trackers.versions, "is_installed", lambda module: True)
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    assert (
        keras_unet3d.WandbTracker().begin(RunFolder(tmp_path), "1", {})[1]
        == "kept in run/wandb/1 (wandb sync sends it)"
    )
    assert (asked["prompt"], asked["mode"], asked["id"]) == (False, "offline", "1")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    keras_unet3d.WandbTracker().begin(RunFolder(tmp_path), None, {})
    assert asked["mode"] is None
