"""view without napari: volumes as layers and back, work in processes, the sentences; and with -m gui, the panel in a window."""

import importlib.util
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from helpers import UNLABELLED, VALUES, tiny_volume, write_pair

from keras_unet3d.cli import background, unet3d_cli, view
from keras_unet3d.cli.background import Background
from keras_unet3d.cli.napari_layers import layers_of, read, reader_of, volume_of
from keras_unet3d.cli.next_steps import fit_words
from keras_unet3d.datasets import DataKeys
from keras_unet3d.errors import InputError
from keras_unet3d.labels import LabelTable
from keras_unet3d.listener import Listener
from keras_unet3d.volumes import from_array
from keras_unet3d.workflows.annotate.painting import Painting
from keras_unet3d.workflows.annotate.session import segmented

# ---- layers ----------------------------------------------------------------------------------------


def test_a_file_of_image_and_labels_is_two_layers(tmp_path):
    path = write_pair(tmp_path / "a.h5")
    (voxels, told, kind), (labels, told_labels, kind_of_labels) = reader_of(str(path))(str(path))
    image, label = tiny_volume()
    np.testing.assert_array_equal(voxels, image)
    np.testing.assert_array_equal(labels, label)
    assert (kind, kind_of_labels) == ("image", "labels")
    assert (told["name"], told_labels["name"]) == ("a.h5", "a.h5 labels")
    for layer in (told, told_labels):
        assert (layer["scale"], layer["units"], layer["axis_labels"]) == ((2.0, 1.0, 1.0), ("um",) * 3, ("z", "y", "x"))


def test_a_file_of_labels_alone_is_a_layer_of_labels(tmp_path):
    (layer,) = read(str(write_pair(tmp_path / "dense.h5", raw=None)))
    assert layer[2] == "labels" and layer[1]["name"] == "dense.h5"


def test_other_files_are_left_to_others(tmp_path):
    assert reader_of("notes.txt") is None and reader_of(["a.h5", "b.png"]) is None
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["volume"] = np.zeros((4, 4, 4))
    with pytest.raises(InputError, match="raw"):
        read(str(tmp_path / "other.h5"))


def test_channels_are_layers_of_one_volume():
    image = from_array(np.random.default_rng(0).random((4, 5, 6, 2)), "two")
    layers = layers_of(image, None, "two")
    assert [told["name"] for _, told, _ in layers] == ["two channel 0", "two channel 1"]
    assert layers[0][1]["units"] == ("pixel",) * 3
    for number, (voxels, told, _) in enumerate(layers):
        np.testing.assert_array_equal(voxels, image.array()[..., number])
        volume, keys = volume_of(SimpleNamespace(data=voxels, name=told["name"], metadata=told["metadata"]))
        np.testing.assert_array_equal(volume.array(), image.array())
        assert keys == DataKeys()


class _Unit:
    """What napari has for micrometres: long in full, and short."""

    def __format__(self, how):
        return "µm" if how == "~" else "micrometer"


def test_any_layer_of_three_axes_is_a_volume():
    layer = SimpleNamespace(
        data=np.ones((4, 5, 6), np.uint8), name="filtered", metadata={}, scale=(2.0, 1.0, 1.0), units=(_Unit(),) * 3
    )
    volume, _ = volume_of(layer)
    assert (volume.shape, volume.spacing, volume.micrometres) == ((4, 5, 6), (2.0, 1.0, 1.0), (2.0, 1.0, 1.0))
    layer.data = np.ones((2, 4, 5, 6))
    with pytest.raises(InputError, match="filtered: expected a layer of three axes"):
        volume_of(layer)


# ---- processes -------------------------------------------------------------------------------------


class _Pipe:
    """The end of a pipe on which calls have been put; it keeps what is answered."""

    def __init__(self, *calls):
        self.calls, self.answers = [*calls], []

    def recv(self):
        if not self.calls:
            raise EOFError
        return self.calls.pop(0)

    def send(self, answer):
        self.answers.append(answer)


def _raise(predictor, error, listener):
    raise error


def _tell(predictor, listener):
    listener.say("half")
    listener.progress(1, 2)
    return "all"


def test_calls_are_answered_one_after_the_other(tiny_run):
    image, refused = from_array(tiny_volume()[0]), InputError("no")
    calls = [(_tell, ()), (segmented, (image,)), (_raise, (refused,)), (_raise, (KeyError("a"),))]
    pipe = _Pipe(*((function, str(tiny_run), arguments) for function, arguments in calls))
    background._serve(pipe)
    kinds = [kind for kind, _ in pipe.answers]
    assert pipe.answers[:3] == [("say", ("half",)), ("progress", (1, 2)), ("done", "all")]
    assert kinds[-3:] == ["done", "failed", "failed"]
    labels, _ = pipe.answers[-3][1]
    assert set(np.unique(labels)) <= set(VALUES)
    assert pipe.answers[-2][1] is refused
    assert repr(pipe.answers[-1][1]) == """RuntimeError("KeyError: 'a'")"""


def _answer(connection):
    """Answer as the process of a network does, without one; the third call never."""
    connection.recv()
    for answer in (("progress", (1, 2)), ("done", "labels")):
        connection.send(answer)
    connection.recv()
    connection.send(("failed", InputError("constant grey values")))
    connection.recv()
    time.sleep(60)


def test_a_process_answers_refuses_and_can_be_stopped(monkeypatch):
    monkeypatch.setattr(background, "_serve", _answer)
    # A new interpreter could not import this test.
    monkeypatch.setattr(background, "_START", "fork")
    process, heard = Background(), []
    stopping = Listener(lambda line: None, lambda *shares: heard.append(shares))
    assert process.call(segmented, "model", listener=stopping) == "labels" and heard == [(1, 2)]
    with pytest.raises(InputError, match="constant grey values"):
        process.call(segmented, "model")
    threading.Timer(0.2, process.end).start()
    with pytest.raises(InputError, match="model: expected it to finish, found it stopped; press the button again"):
        process.call(segmented, "model")


def test_the_lines_of_a_training_are_said_and_its_last_one_is_the_reason(tmp_path):
    said, processes = [], []
    # A call that fails before it loads TensorFlow.
    with pytest.raises(InputError, match="training: expected it to finish, found: nothing.*: expected the list of"):
        background.train(["merge", "nothing", "--out", str(tmp_path / "a.h5")], said.append, processes.append)
    assert said[-1].startswith("unet3d-cli: nothing") and processes[0].returncode == 2


def test_the_words_of_a_further_training():
    painting = Painting("/a b/i.h5", None, DataKeys("em"), LabelTable((0, 1), ("air", "thick wall")), 255, ())
    assert fit_words(painting, painting.volume, "new.h5") == [
        *("fit", "--images", "/a b/i.h5", "--labels", "new.h5", "--unlabelled", "255"),
        *("--classes", "0=air,1=thick wall", "--raw-key", "em"),
    ]


# ---- the command -----------------------------------------------------------------------------------


def _call(*words):
    return CliRunner().invoke(unet3d_cli, ["view", *map(str, words)])


def test_without_napari_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(view.versions, "is_installed", lambda module: module != "napari")
    error = _call("sample").exception
    assert isinstance(error, InputError)
    assert str(error) == "view: expected the package napari, found none; run pip install 'keras-unet3d[napari]'."


def test_more_than_a_model_and_a_volume_are_refused():
    result = _call("model", "a.h5", "b.h5")
    assert result.exit_code == 2 and "expected a volume, or a model and a volume; found 3 words" in result.output


def test_the_manifest_names_what_there_is():
    import yaml

    manifest = yaml.safe_load(Path(view.__file__).with_name("napari.yaml").read_text())
    for command in manifest["contributions"]["commands"]:
        module, _, name = command["python_name"].partition(":")
        source = Path(importlib.util.find_spec(module).origin).read_text()
        assert f"def {name}(" in source or f"class {name}(" in source


# ---- in a window -----------------------------------------------------------------------------------


def _no_window() -> str:
    """Return why no window can be opened, empty where one can."""
    if not importlib.util.find_spec("napari"):
        return "napari is not installed"
    return "" if os.environ.get("DISPLAY") or sys.platform != "linux" else "there is no display"


@pytest.mark.gui
@pytest.mark.skipif(bool(_no_window()), reason=_no_window() or "there is a display")
def test_the_whole_way_in_a_window(tiny_run, tmp_path):
    image, label = tiny_volume()
    sparse = np.full_like(label, UNLABELLED)
    sparse[[4, 12]] = label[[4, 12]]
    stack = write_pair(tmp_path / "stack.h5", raw=image, label=sparse)
    # This process has TensorFlow, beside which a window may crash.
    walk = Path(__file__).resolve().parents[1] / "napari_walk.py"
    done = subprocess.run([sys.executable, walk, stack, tiny_run], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "walked"
