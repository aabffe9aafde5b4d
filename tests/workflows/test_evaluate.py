"""evaluate: IoU and Dice by hand over the labelled voxels, and cells."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import UNLABELLED, VALUES, tiny_volume, write_pair

from keras_unet3d import InputError, evaluate
from keras_unet3d.labels.table import BOUNDARY_TABLE
from keras_unet3d.listener import Listener
from keras_unet3d.segments.cells import instances
from keras_unet3d.volumes import from_array


def test_evaluate_has_the_form_of_the_contract(predictor, tiny_data):
    result = evaluate(predictor, [tiny_data])
    assert set(result) == {"classes", "mean_iou", "mean_dice", "volumes"}
    assert set(result["classes"]) == {"0", "5"}
    for figure in result["classes"].values():
        assert set(figure) == {"iou", "dice"}
    assert [volume["file"] for volume in result["volumes"]] == ["a.h5", "b.h5"]
    assert all(set(volume["classes"]) == {"0", "5"} for volume in result["volumes"])
    json.dumps(result, allow_nan=False)


def test_evaluate_is_counted_over_the_labelled_voxels(predictor, tmp_path):
    image, label = tiny_volume(4)
    result = evaluate(predictor, [write_pair(tmp_path / "a.h5", raw=image, label=label)])
    labelled, predicted = label != UNLABELLED, predictor(image)
    for value in VALUES:
        truth, found = (label == value)[labelled], (predicted == value)[labelled]
        figure = result["classes"][str(value)]
        assert figure["iou"] == pytest.approx((truth & found).sum() / (truth | found).sum())
        assert figure["dice"] == pytest.approx(2 * (truth & found).sum() / (truth.sum() + found.sum()))
    # Without a class called background, class 0 is it: the mean is that of the other class.
    assert result["mean_iou"] == pytest.approx(result["classes"]["5"]["iou"])


def test_evaluate_compares_instances(predictor, tmp_path):
    boundaries = replace(predictor, spec=replace(predictor.spec, labels=BOUNDARY_TABLE))
    image = tiny_volume(4)[0]
    probabilities = boundaries.predict(from_array(image), "probabilities")
    # The truth is what the network finds, two cells apart, beside a file without any cell.
    cells = instances(probabilities[..., 1])
    cells[: len(cells) // 2] += cells.max()
    write_pair(tmp_path / "a.h5", raw=image, label=cells)
    write_pair(tmp_path / "b.h5", raw=image, label=np.zeros_like(cells))
    said = []
    result = evaluate(boundaries, [tmp_path], instances=True, listener=Listener(said.append))
    first, second = (volume["adapted_rand_error"] for volume in result["volumes"])
    assert 0 < first < 1 and second is None and result["adapted_rand_error"] == first
    assert said[-1] == f"adapted Rand error of the instances: {first:.4f}"
    without = evaluate(boundaries, [tmp_path])
    assert without["classes"] == result["classes"] and "adapted_rand_error" not in without


def test_evaluate_refuses_instances_of_classes(predictor, tiny_data):
    with pytest.raises(InputError, match="instances: expected a network of boundaries .* found one of 0, 5"):
        evaluate(predictor, [tiny_data], instances=True)


def test_a_class_in_neither_truth_nor_prediction_is_null(predictor, tmp_path):
    # The first half is what the network itself sees there, so that only one class occurs in both.
    image = tiny_volume(4)[0]
    predicted = predictor(image)
    common = VALUES[int((predicted == VALUES[1]).mean() > 0.5)]
    other = VALUES[1 - VALUES.index(common)]
    label = np.where(predicted == common, common, UNLABELLED)
    result = evaluate(predictor, [write_pair(tmp_path / "a.h5", raw=image, label=label)])
    assert result["classes"][str(common)] == {"iou": 1.0, "dice": 1.0}
    assert result["classes"][str(other)] is None
    assert result["volumes"][0]["classes"][str(other)] is None
    assert result["mean_iou"] == (1.0 if common == VALUES[1] else None)


def test_evaluate_refuses_a_volume_without_labels(predictor, tmp_path):
    write_pair(tmp_path / "a.h5", label=np.full((16, 16, 16), UNLABELLED))
    with pytest.raises(InputError, match=r"a\.h5:label: expected some labelled voxels"):
        evaluate(predictor, [tmp_path / "a.h5"])


def test_evaluate_refuses_a_volume_given_twice(predictor, tmp_path):
    path = write_pair(tmp_path / "a.h5")
    with pytest.raises(InputError, match="a.h5:raw: expected every volume once, found it twice; leave one out"):
        evaluate(predictor, [path, tmp_path])


def test_evaluate_takes_only_the_volumes_named(predictor, tiny_data):
    result = evaluate(predictor, [tiny_data], only=[str((tiny_data / "b.h5").resolve())])
    assert [volume["file"] for volume in result["volumes"]] == ["b.h5"]
    with pytest.raises(InputError, match="expected volumes that the fit held out"):
        evaluate(predictor, [tiny_data], only=["c.h5"])


def test_evaluate_prints_a_table(predictor, tiny_data):
    said = []
    evaluate(predictor, [tiny_data], listener=Listener(said.append))
    assert said[0].startswith("class")
    assert "labelled voxels of 2 volumes" in said[0]
    assert any(line.startswith("mean ") and "without 0" in line for line in said)
