"""evaluate: figures by hand over the labelled voxels, of volumes and over them; two networks compared; cells."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import UNLABELLED, VALUES, tiny_volume, write_pair

from keras_unet3d import InputError, compare, evaluate
from keras_unet3d.evaluation.calibration import calibration
from keras_unet3d.evaluation.spread import paired_test
from keras_unet3d.evaluation.surfaces import surface_distances, surface_figures
from keras_unet3d.labels.table import BOUNDARY_TABLE
from keras_unet3d.listener import Listener
from keras_unet3d.segments.cells import instances
from keras_unet3d.segments.cleaning import ClassCleaning, keep_largest
from keras_unet3d.settings import PredictSettings
from keras_unet3d.volumes import from_array
from keras_unet3d.workflows.evaluate.words import OVERLAP, SURFACES, rows


def test_evaluate_has_the_form_of_the_contract(predictor, tiny_data):
    result = evaluate(predictor, [tiny_data])
    assert set(result) == {"classes", "mean_iou", "mean_dice", "calibration_error", "per_volume", "volumes"}
    assert set(result["classes"]) == {"0", "5"}
    for figure in result["classes"].values():
        assert set(figure) == set(OVERLAP)
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
    assert said[-1].startswith(f"adapted Rand error of the instances: {first:.4f}; variation of information: ")
    figures = result["instances"]
    assert said[-2].startswith(f"instances: {figures['found']} of {figures['instances']} found at IoU 0.5, ")
    one, other = (volume["instances"] for volume in result["volumes"])
    assert figures["splits"] == one["splits"] and other["splits"] is None and other["f1"] == 0
    assert figures["predicted_instances"] == one["predicted_instances"] + other["predicted_instances"]
    without = evaluate(boundaries, [tmp_path])
    assert without["classes"] == result["classes"] and not {"adapted_rand_error", "instances"} & {*without}


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
    perfect = {"iou": 1.0, "dice": 1.0, "sensitivity": 1.0, "precision": 1.0, "volume_error": 0.0}
    assert result["classes"][str(common)] == perfect
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


def dense_pair(path, seed, spacing=(2.0, 1.0, 1.0)):
    image, label = tiny_volume(seed)
    label[0] = label[1]
    return write_pair(path, raw=image, label=label, spacing=spacing), image, label


def test_surfaces_are_those_of_volumes_that_are_labelled_throughout(predictor, tmp_path):
    _, image, label = dense_pair(tmp_path / "dense.h5", 4)
    write_pair(tmp_path / "sparse.h5", 5)
    said = []
    result = evaluate(predictor, [tmp_path], listener=Listener(said.append))
    dense, sparse = result["volumes"]
    assert (dense["dense"], sparse["dense"]) == (True, False)
    assert (dense["tolerance"], dense["unit"]) == (2.0, "um")
    by_hand = surface_figures(surface_distances(label == 5, predictor(image) == 5, (2.0, 1.0, 1.0)), 2.0)
    assert {key: dense["classes"]["5"][key] for key in SURFACES} == by_hand
    # The background has none of its own, and of what is not labelled nobody knows where the surface is.
    for figure in (dense["classes"]["0"], sparse["classes"]["5"]):
        assert {figure[key] for key in SURFACES} == {None}
    assert result["per_volume"]["classes"]["5"]["hausdorff_95"]["count"] == (by_hand["hausdorff_95"] is not None)
    assert "no distances where not every voxel is labelled: sparse.h5" in said
    assert any("surface Dice within 2 um, a voxel's longest edge" in line for line in said)


def test_means_over_volumes_and_the_worst_of_them(predictor, tmp_path):
    for seed in range(7):
        dense_pair(tmp_path / f"{seed}.h5", seed)
    said = []
    result = evaluate(predictor, [tmp_path], listener=Listener(said.append))
    dice = {volume["file"]: volume["classes"]["5"]["dice"] for volume in result["volumes"]}
    mean = result["per_volume"]["classes"]["5"]["dice"]
    assert mean["mean"] == pytest.approx(np.mean([*dice.values()])) and mean["count"] == 7
    assert mean["low"] <= mean["mean"] <= mean["high"]
    assert result["per_volume"]["mean_dice"] == mean
    worst = [line.split()[3] for line in said if line.startswith("lowest Dice")]
    assert worst == sorted(dice, key=dice.get)[:5]


def test_calibration_is_that_of_the_labelled_voxels(predictor, tmp_path):
    image, label = tiny_volume(4)
    write_pair(tmp_path / "a.h5", raw=image, label=label)
    warm = replace(predictor, spec=replace(predictor.spec, temperature=3.0))
    result = evaluate(warm, [tmp_path])
    truth = np.select([label == 0, label == 5], [0, 1], 255)
    by_hand = calibration(truth, warm.predict(from_array(image), "probabilities")).error
    assert result["calibration_error"] == pytest.approx(by_hand, abs=1e-6)
    cold = evaluate(replace(predictor, spec=replace(predictor.spec, temperature=0.3)), [tmp_path])
    assert cold["calibration_error"] != result["calibration_error"] and cold["classes"] == result["classes"]


def test_labels_are_compared_as_predict_cleans_them(predictor, tmp_path):
    path, image, label = dense_pair(tmp_path / "a.h5", 4)
    cleaned = replace(predictor, spec=replace(predictor.spec, cleaning=(ClassCleaning(value=5, keep_largest=True),)))
    by_hand = keep_largest(predictor(image), only=(5,)) == 5
    dice = 2 * (by_hand & (label == 5)).sum() / (by_hand.sum() + (label == 5).sum())
    assert evaluate(cleaned, [path])["classes"]["5"]["dice"] == pytest.approx(dice)
    without = evaluate(cleaned, [path], settings=PredictSettings(clean=False))
    assert without["classes"] == evaluate(predictor, [path])["classes"]


def made_up(*dice, **others):
    """Return figures of volumes with these Dice of a class."""
    volumes = [
        {"file": f"{number}.h5", "classes": {"cell": value and {"dice": value}}, "mean_dice": value}
        for number, value in enumerate(dice)
    ]
    return {"classes": {"cell": {}}, "volumes": volumes, **others}


def test_two_networks_are_compared_volume_by_volume():
    first, second = made_up(0.9, 0.8, 0.75, None, 0.6), made_up(0.8, 0.75, 0.77, 0.5, 0.5)
    said = []
    found = compare(first, second, Listener(said.append))
    differences = [0.1, 0.05, -0.02, 0.1]
    assert found["mean_dice"]["mean"] == pytest.approx(np.mean(differences))
    assert found["mean_dice"]["count"] == 4 and found["mean_dice"]["low"] < 0.0575 < found["mean_dice"]["high"]
    assert found["mean_dice"]["p"] == pytest.approx(
        paired_test(np.subtract([0.9, 0.8, 0.75, 0.6], [0.8, 0.75, 0.77, 0.5]))
    )
    assert found["classes"]["cell"] == found["mean_dice"]
    assert said[-1].startswith("mean Dice: +0.0575 [") and said[-1].endswith("4 volumes")
    same = compare(first, first)
    assert (same["mean_dice"]["mean"], same["mean_dice"]["p"]) == (0.0, 1.0)
    json.dumps(found, allow_nan=False)


def test_networks_of_other_volumes_or_classes_are_not_compared():
    with pytest.raises(InputError, match="expected figures of the same volumes, found 0.h5, 1.h5 and 0.h5"):
        compare(made_up(0.9, 0.8), made_up(0.9))
    with pytest.raises(
        InputError, match="expected two networks of the same classes, found cell and wall; name them alike"
    ):
        compare(made_up(0.9), made_up(0.9, classes={"wall": {}}))


def test_a_row_per_volume_and_class(predictor, tiny_data):
    result = evaluate(predictor, [tiny_data])
    table = rows(result)
    assert [(row["file"], row["class"]) for row in table] == [
        (file, name) for file in ("a.h5", "b.h5") for name in ("0", "5")
    ]
    assert all(list(row) == ["file", "class", *OVERLAP, *SURFACES, "unit", "tolerance"] for row in table)
    assert table[1]["dice"] == result["volumes"][0]["classes"]["5"]["dice"]


def test_evaluate_prints_a_table(predictor, tiny_data):
    said = []
    evaluate(predictor, [tiny_data], listener=Listener(said.append))
    assert said[0].startswith("class")
    assert "labelled voxels of 2 volumes" in said[0]
    assert any(line.startswith("mean ") and "without 0" in line for line in said)
