"""The fastest engine: proved before it is used, and remembered."""

import sys

import numpy as np
import pytest

import keras_unet3d
from keras_unet3d import EngineSettings, InputError, zoo
from keras_unet3d.files import read_json
from keras_unet3d.listener import Listener
from keras_unet3d.machine import folders
from keras_unet3d.volumes import from_array, write_volume
from keras_unet3d.zoo import choosing, engines

VOLUME = from_array(np.random.default_rng(0).gamma(4.0, 20.0, (20, 28, 30)).astype(np.float32))
SURE, HALF = ("keras", "float32"), ("keras", "bfloat16")
# Seconds that engines seem to take: bfloat16 is the fastest, OpenVINO hardly faster than Keras.
SECONDS = {
    SURE: 4.0,
    HALF: 2.0,
    ("onnx", "float32"): 8.0,
    ("openvino", "float32"): 3.9,
    ("openvino", "bfloat16"): 1.9,
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    network = keras_unet3d.build_model(base_filters=4, depth=2, num_classes=3, seed=0)
    return zoo.export(network, {"name": "fast"}, tmp_path_factory.mktemp("models"))


@pytest.fixture
def large(monkeypatch):
    """Volumes of any size are worth a choice."""
    monkeypatch.setattr(choosing, "_WORTH_IT", 0)


@pytest.fixture
def clock(large, monkeypatch):
    """Engines take `SECONDS`."""
    monkeypatch.setattr(choosing, "_seconds", lambda predictors, *_: {name: SECONDS[name] for name in predictors})


def chosen(reference, output="labels", **wanted):
    said = []
    return zoo.fastest(reference, VOLUME, EngineSettings(**wanted), output=output, listener=Listener(said.append)), said


def test_the_fastest_is_taken_where_its_classes_are_those_of_float32(bundle, clock):
    name, (line,) = chosen(bundle, most_changed=1.0)
    assert name == HALF
    assert line.startswith("engine: keras bfloat16, ") and "another class than with keras float32; 20 x 28 x 30" in line
    assert "keras bfloat16 2.00 s, onnx float32 8.00 s" in line


def test_what_changes_too_many_classes_is_left_out(bundle, clock):
    # The classes of a network that has learnt nothing are near ties.
    name, said = chosen(bundle, most_changed=0.0)
    assert name == SURE
    assert [line.split(":")[1].split(",")[0] for line in said] == [
        " not keras bfloat16",
        " not openvino bfloat16",
        " keras float32; 20 x 28 x 30 voxels take keras float32 4.00 s",
    ]
    assert said[0].endswith("more than the 0.000% of `most_changed`")
    share = float(said[0].split(", ")[1].split("%")[0]) / 100
    classes = [
        zoo.predictor(bundle, "keras", precision).predict(volume, "classes")
        for volume in (VOLUME, stored(bundle))
        for precision in ("float32", "bfloat16")
    ]
    different = np.concatenate([(a != b).ravel() for a, b in zip(classes[::2], classes[1::2], strict=True)])
    assert share == pytest.approx(different.mean(), abs=1e-5) and share > 0


def stored(bundle):
    return from_array(np.load(bundle / "test_input.npy")[0])


@pytest.mark.parametrize("output", ["probabilities", "logits", "uncertainty"])
def test_numbers_that_are_read_stay_in_float32(bundle, clock, output):
    name, said = chosen(bundle, output)
    # Of logits, which only Keras has, there is nothing to choose.
    assert name == SURE and "bfloat16" not in "".join(said) and len(said) == (output != "logits")
    assert chosen(bundle, output, precision="bfloat16", most_changed=1.0)[0] == HALF


def test_small_volumes_stay_with_keras(bundle):
    assert chosen(bundle) == (SURE, [])


def test_what_is_asked_for_is_proved_and_not_timed(bundle, monkeypatch):
    monkeypatch.delattr(choosing, "_seconds")
    assert chosen(bundle, engine="keras", precision="float32") == (SURE, [])
    assert chosen(bundle, engine="savedmodel")[0] == ("savedmodel", "float32")
    name, (line,) = chosen(bundle, engine="onnx", precision="float32")
    assert name == ("onnx", "float32") and line.startswith("engine: onnx float32, 0.000% of the voxels")
    name, said = chosen(bundle, engine="keras", precision="bfloat16", most_changed=0.0)
    assert name == SURE and said[0].startswith("engine: not keras bfloat16") and said[1] == "engine: keras float32"


def test_classes_that_may_overlap_are_compared_one_by_one(clock, tmp_path):
    network = keras_unet3d.build_model(base_filters=4, depth=2, num_classes=3, seed=0, output="sigmoid")
    overlapping = zoo.export(network, {"name": "overlapping"}, tmp_path)
    name, said = chosen(overlapping, "probabilities", precision="bfloat16", most_changed=0.0)
    assert name == SURE and "0.000% of the voxels" not in said[0].split(", more")[0]
    assert chosen(overlapping, "probabilities", precision="bfloat16", most_changed=1.0)[0] == HALF


def test_a_run_has_no_stored_test(tiny_run, clock):
    assert chosen(tiny_run, most_changed=1.0)[0] == HALF


def test_what_engines_take_is_measured_once(bundle, large, monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "proofs", lambda: tmp_path)
    first, _ = chosen(bundle, engine="keras", most_changed=1.0)
    (path,) = tmp_path.glob("seconds-*.json")
    seconds = read_json(path, "seconds")
    assert set(seconds) == {"keras float32", "keras bfloat16"} and min(seconds.values()) > 0
    assert first == min((SURE, HALF), key=lambda name: seconds[" ".join(name)])
    monkeypatch.delattr(choosing, "_fastest_of_two")
    assert chosen(bundle, engine="keras", most_changed=1.0)[0] == first


def test_a_large_volume_is_tried_in_parts_with_the_grey_values_of_the_whole():
    image = np.random.default_rng(1).normal(size=(100, 120, 97)).astype(np.float32)
    network = keras_unet3d.build_model(base_filters=2, depth=2, seed=0)
    from keras_unet3d.prediction.array_api import network_predictor

    predictor = network_predictor(network)
    parts = list(choosing._parts(from_array(image), predictor.examine(from_array(image))))
    assert [part.volume.shape for part in parts] == [(96, 96, 96)] * 3
    np.testing.assert_array_equal(parts[1].volume.array()[..., 0], image[2:98, 12:108, 0:96])
    assert all(part.statistics.mean == pytest.approx(image.mean(), abs=1e-6) for part in parts)


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (
            dict(engine="onnx", precision="bfloat16"),
            "precision: expected float32 with the engine onnx, found bfloat16; take keras or openvino",
        ),
        (dict(engine="savedmodel", precision="bfloat16"), "precision: expected float32 with the engine savedmodel"),
        (dict(engine="torch"), "engine: expected one of auto, keras, savedmodel, onnx, openvino; found 'torch'"),
        (dict(most_changed=2.0), "most_changed: expected .* at most 1, found 2"),
    ],
)
def test_what_cannot_be_had_is_refused(bundle, wanted, sentence):
    with pytest.raises(InputError, match=sentence):
        chosen(bundle, **wanted)


def test_an_engine_that_is_asked_for_must_be_installed(bundle, large, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"found no openvino; run pip install 'keras-unet3d\[openvino\]'"):
        chosen(bundle, engine="openvino")
    monkeypatch.setattr(choosing, "_seconds", lambda predictors, *_: {name: SECONDS[name] for name in predictors})
    assert chosen(bundle, most_changed=1.0)[0] == HALF


def test_the_first_volume_that_is_in_order_is_taken(bundle, clock, tmp_path):
    broken, whole = tmp_path / "a.h5", tmp_path / "b.h5"
    broken.write_bytes(b"nothing")
    write_volume(whole, VOLUME.array()[..., 0], VOLUME, "raw")
    assert zoo.fastest(bundle, [broken, whole], EngineSettings(most_changed=1.0)) == HALF
    # An engine that was asked for is not given up for that.
    assert zoo.fastest(bundle, [broken], EngineSettings(engine="onnx")) == ("onnx", "float32")


def test_an_engine_that_fails_is_left_out(bundle, large, monkeypatch, tmp_path):
    def fails(model):
        def network(batch):
            raise RuntimeError("no such instruction")

        return network

    def cannot_be_made(model):
        raise OSError("no such library")

    monkeypatch.setattr(folders, "proofs", lambda: tmp_path)
    monkeypatch.setitem(engines.NETWORKS, ("onnx", "float32"), fails)
    monkeypatch.setitem(engines.NETWORKS, ("openvino", "bfloat16"), cannot_be_made)
    monkeypatch.setitem(engines.NETWORKS, ("openvino", "float32"), cannot_be_made)
    name, (line,) = chosen(bundle, most_changed=1.0)
    assert name[0] == "keras" and "onnx" not in line and "openvino" not in line
    (path,) = tmp_path.glob("seconds-*.json")
    path.write_text('{"keras float32": -5.0, "keras bfloat16": 1e300}')
    assert chosen(bundle, most_changed=1.0)[0][0] == "keras"
    assert all(0 < spent < 100 for spent in read_json(path, "seconds").values())


def test_of_a_volume_that_cannot_be_read_predict_will_tell(bundle, large, tmp_path):
    assert zoo.fastest(bundle, tmp_path / "none.h5") == SURE
    broken = np.full((100, 100, 100), np.nan, np.float32)
    assert zoo.fastest(bundle, from_array(broken)) == SURE
    assert zoo.fastest(bundle, from_array(np.zeros((8, 8, 8, 3), np.float32))) == SURE


def test_what_predict_takes_is_chosen_by_the_first_volume_alone(bundle, clock):
    sure, choose = zoo.chooser(bundle, EngineSettings(most_changed=1.0))
    statistics = sure.examine(VOLUME)
    best, how = choose(VOLUME, statistics)
    assert how.arguments[1:] == HALF and best.spec == sure.spec
    assert choose(from_array(np.full((20, 28, 30), np.nan, np.float32)), statistics) == (best, how)
    # An engine that cannot be had is told before any volume is read.
    with pytest.raises(InputError, match="engine: expected one of"):
        zoo.chooser(bundle, EngineSettings(engine="torch"))
