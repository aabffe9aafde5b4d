"""A run that is stopped and goes on ends as one that was never stopped: killed at random moments, to the bit."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import UNLABELLED, write_pair

from keras_unet3d import FitSettings, fit
from keras_unet3d.errors import InputError
from keras_unet3d.listener import Listener
from keras_unet3d.run_folder import RunFolder
from keras_unet3d.training.state import read_facts

SETTINGS = FitSettings(
    patch=(8, 8, 8),
    batch_size=2,
    unlabelled=(UNLABELLED,),
    epochs=4,
    steps_per_epoch=3,
    filters="2,4",
    dropout=0.1,
    engine="native",
    ema=0.9,
    accumulate=2,
    workers=2,
)


def run(data, out, settings=SETTINGS, said=None, progress=lambda done, of: None, **others):
    listener = Listener((said if said is not None else []).append, progress)
    return fit(data, out, settings=settings, listener=listener, **others)


def state_file(out: Path) -> Path:
    return RunFolder(out).state


def state(out: Path) -> dict:
    with np.load(state_file(out)) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    facts = json.loads(str(found.pop("facts")))
    for row in [*facts["rows"], facts["best"]]:
        # A measured time is another one every time.
        row.pop("waiting", None)
    return found | {"facts": facts}


def weights(out: Path, name: str) -> list[np.ndarray]:
    import keras

    return keras.models.load_model(out / name, compile=False).get_weights()


def history(out: Path) -> list[dict]:
    with (out / "history.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "waiting"} for row in csv.DictReader(file)]


def assert_same_end(one: Path, other: Path) -> None:
    first, second = state(one), state(other)
    assert first["facts"] == second["facts"]
    assert list(first) == list(second)
    for name in first:
        if name != "facts":
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    for name in ("model.keras", "last.keras"):
        for a, b in zip(weights(one, name), weights(other, name), strict=True):
            np.testing.assert_array_equal(a, b)
    assert history(one) == history(other)
    # No half-written file is left.
    assert not list(other.rglob("*.partial.*"))


class Stopped(Exception):
    """Stands for the end of a process."""


def stop_after(epochs: int):
    def progress(done, of):
        if done == epochs * SETTINGS.steps_per_epoch + 2:
            raise Stopped

    return progress


@pytest.fixture(scope="module")
def whole(tiny_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    run(tiny_data, out)
    return out


@pytest.mark.parametrize("epochs", [1, *(pytest.param(epochs, marks=pytest.mark.slow) for epochs in (0, 3))])
def test_a_run_that_was_stopped_within_an_epoch_ends_the_same(whole, tiny_data, tmp_path, epochs):
    out, said = tmp_path / "run", []
    with pytest.raises(Stopped):
        run(tiny_data, out, progress=stop_after(epochs))
    run([], out, FitSettings(), said, resume=True)
    assert_same_end(whole, out)
    assert any(line.startswith(f"resume: {epochs} of 4 epochs of {out} are done") for line in said)


def test_a_run_that_was_killed_before_the_state_of_its_first_epoch_ends_the_same(
    whole, tiny_data, tmp_path, monkeypatch
):
    def killed(*_):
        raise Stopped

    out = tmp_path / "run"
    with monkeypatch.context() as dying, pytest.raises(Stopped):
        dying.setattr("keras_unet3d.training.callbacks.save_state", killed)
        run(tiny_data, out)
    assert (out / "history.csv").is_file()
    run([], out, FitSettings(), resume=True)
    assert_same_end(whole, out)


# Where another process finds this file, and the helpers.
HERE = os.pathsep.join(str(folder) for folder in (Path(__file__).parent, Path(__file__).parents[2]))

PROGRAM = """
import sys
from test_resume import run
run(sys.argv[1], sys.argv[2], resume=True)
"""


def start(data: Path, out: Path) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": HERE}
    command = [sys.executable, "-c", PROGRAM, str(data), str(out)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_same(whole, tiny_data, tmp_path):
    kill_and_resume(whole, tiny_data, tmp_path / "run", moments=[9.0])


@pytest.mark.long
def test_a_process_that_is_killed_at_twenty_random_moments_ends_the_same(whole, tiny_data, tmp_path):
    rng, killed = random.Random(0), 0
    while killed < 20:
        moments = [rng.uniform(4, 16) for _ in range(4)]
        killed += kill_and_resume(whole, tiny_data, tmp_path / f"run{killed}", moments)


def kill_and_resume(whole: Path, data: Path, out: Path, moments: list[float]) -> int:
    """Kill a run after so many seconds each time, let it end, compare, and return how often it was killed at work."""
    killed = 0
    for moment in moments:
        process = start(data, out)
        time.sleep(moment)
        if process.poll() is None:
            killed += 1
            process.send_signal(signal.SIGKILL)
        process.wait()
    process = start(data, out)
    assert process.wait() == 0
    assert_same_end(whole, out)
    return killed


@pytest.fixture(scope="module")
def stopped_once(tiny_data, tmp_path_factory):
    """A run that was stopped in its third epoch; nobody may change it."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Stopped):
        run(tiny_data, out, progress=stop_after(2))
    return out


@pytest.fixture
def stopped(stopped_once, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(stopped_once, tmp_path / "run"))


@pytest.mark.slow
def test_more_epochs_are_those_of_a_longer_run_from_there_on(stopped):
    said = []
    longer = run([], stopped, FitSettings(epochs=6), said, resume=True)
    assert len(longer.history["loss"]) == 6
    assert json.loads((stopped / "config.json").read_text())["settings"]["epochs"] == 6
    (line,) = (line for line in said if line.startswith("learning rate:"))
    # Polynomial decay, power 0.9: after 6 steps of 18, and of 12.
    assert f"{4e-3 * (12 / 18) ** 0.9:.3g} at epoch 3 (planned for 4 epochs it was to be {4e-3 * 0.5**0.9:.3g})" in line


def test_a_finished_run_is_left_as_it_is(whole):
    before = state(whole)["facts"]
    run([], whole, FitSettings(), resume=True)
    assert state(whole)["facts"] == before


def test_resume_begins_a_run_where_there_is_none(tiny_data, tmp_path):
    said = []
    out = tmp_path / "run"
    run(tiny_data, out, replace(SETTINGS, epochs=1), said, resume=True)
    assert f"resume: there is no run at {out} yet; it begins" in said


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (FitSettings(epochs=3), "epochs: expected at least the 4 of .*, found 3"),
        (
            FitSettings(batch_size=4),
            "batch_size: expected 2, as .* was begun with, found 4; only `epochs`, `early_stop`, `workers`, `memory`, `track`, "
            "`devices` may",
        ),
        (FitSettings(seed=1), "seed: expected 0, as .* was begun with, found 1"),
    ],
)
def test_other_settings_are_refused(stopped, settings, sentence):
    before = state_file(stopped).read_bytes()
    with pytest.raises(InputError, match=sentence):
        run([], stopped, settings, resume=True)
    assert state_file(stopped).read_bytes() == before


@pytest.mark.parametrize(
    ("gone", "sentence"),
    [
        ("backup/state.npz", "expected the state of the training, found none; train it further with `start`"),
        ("model.keras", "expected the best network so far, found none; bring it back, or train anew"),
    ],
)
def test_what_had_been_kept_is_not_written_over_where_a_part_is_gone(whole, tmp_path, gone, sentence):
    out = Path(shutil.copytree(whole, tmp_path / "run"))
    (out / gone).unlink()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=f"{gone}: {sentence}"):
        run([], out, FitSettings(), resume=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "facts",
    [
        "",
        "not json",
        "[]",
        '{"rows": []}',
        '{"rows": [{"epoch": 1}], "best": null}',
        '{"rows": [{"epoch": 1, "val_iou": NaN}], "best": null}',
        '{"rows": [{"epoch": 1, "val_iou": 0.5}], "best": {"epoch": 2, "val_iou": 0.7}}',
    ],
)
def test_figures_that_are_none_are_refused(tmp_path, facts):
    np.savez(tmp_path / "state.npz", facts=np.array(facts))
    with pytest.raises(
        InputError, match=r"state\.npz: expected the figures of every epoch, found something else; train anew"
    ):
        read_facts(tmp_path / "state.npz")


def test_other_data_are_refused(stopped, tmp_path):
    (tmp_path / "other").mkdir()
    for seed, name in enumerate(("a.h5", "b.h5")):
        write_pair(tmp_path / "other" / name, seed + 7)
    with pytest.raises(InputError, match=r"expected the training data that it was begun on, found other data: .*\.h5"):
        run(tmp_path / "other", stopped, FitSettings(), resume=True)


def test_a_broken_state_is_refused_in_words(stopped):
    whole_state = state_file(stopped).read_bytes()
    state_file(stopped).write_bytes(whole_state[: len(whole_state) // 2])
    with pytest.raises(InputError, match=r"state.npz: expected the state of a training, found something unreadable"):
        run([], stopped, FitSettings(), resume=True)


def test_resume_and_overwrite_are_refused_together(stopped):
    with pytest.raises(InputError, match="expected to go on with a run or to overwrite it, found both"):
        run([], stopped, FitSettings(), resume=True, overwrite=True)


def test_a_folder_of_something_else_is_not_resumed(tiny_data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"expected a run to resume, found a folder without config.json"):
        run(tiny_data, tmp_path, resume=True)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        InputError, match=r"config.json: expected the entry 'settings' of the configuration of a run, found none"
    ):
        run(tiny_data, tmp_path, resume=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_resume_without_a_run_needs_data(tmp_path):
    with pytest.raises(InputError, match=r"run: expected a run to resume, found none; give DATA to begin one"):
        fit([], tmp_path / "run", resume=True)


MIXED = """
import sys
from dataclasses import replace
from pathlib import Path
from test_resume import SETTINGS, FitSettings, Stopped, assert_same_end, run, state, stop_after
data, folder = sys.argv[1], Path(sys.argv[2])
settings = replace(SETTINGS, precision="mixed_float16", accumulate=1)
run(data, folder / "whole", settings)
try:
    run(data, folder / "stopped", settings, progress=stop_after(2))
except Stopped:
    run(data, folder / "stopped", FitSettings(), resume=True)
    assert_same_end(folder / "whole", folder / "stopped")
    scale = [array for array in state(folder / "whole").values() if getattr(array, "shape", None) == () and array > 1000]
    assert len(scale) == 1, "the scale of the loss is kept"
    print("the same")
"""


@pytest.mark.long
def test_half_precision_and_the_scale_of_its_loss_go_on_on_jax(tiny_data, tmp_path):
    environment = os.environ | {"PYTHONPATH": HERE, "KERAS_BACKEND": "jax"}
    command = [sys.executable, "-c", MIXED, str(tiny_data), str(tmp_path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1:] == ["the same"], result.stderr[-3000:]
