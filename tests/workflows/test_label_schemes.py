"""Partly labelled cohorts and classes that overlap, from files to label volumes and figures."""

import json

import h5py
import nibabel
import numpy as np
import pytest
from helpers import says, tiny_settings, tiny_volume, write_pair

import keras_unet3d
from keras_unet3d import DataOptions, InputError, zoo
from keras_unet3d.volumes import from_array
from keras_unet3d.workflows.check.run import check
from keras_unet3d.workflows.evaluate.run import evaluate
from keras_unet3d.workflows.fit.run import fit


def three_classes(seed):
    """Return an image and its labels: 0, 1 and 2 in thirds."""
    image, _ = tiny_volume(seed)
    label = np.zeros(image.shape, np.uint8)
    label[:, 5:10], label[:, 10:] = 1, 2
    return image + 30 * label, label


@pytest.fixture
def cohort(tmp_path):
    """Two volumes in which only 1, and one in which only 2 was looked for."""
    folder = tmp_path / "cohort"
    folder.mkdir()
    for seed, (name, known) in enumerate({"a_1": 1, "a_2": 1, "b_1": 2}.items()):
        image, label = three_classes(seed)
        write_pair(folder / f"{name}.h5", raw=image, label=np.where(label == known, label, 0))
    return folder


RULES = ("a_*.h5=0,1", "b_*.h5=0,2")


def test_a_partly_labelled_cohort_from_check_to_figures(tmp_path, cohort):
    report = check(cohort, settings=DataOptions(annotated=RULES))
    assert report["faults"] == [] and report["labels"]["partial"] == ((0, 2), (0, 1))
    settings = tiny_settings(unlabelled=(), annotated=RULES, class_weights="balanced", validation_share=0.3)
    run = fit(cohort, out=tmp_path / "run", settings=settings)
    assert np.isfinite(run.history["loss"]).all() and np.isfinite(run.history["val_loss"]).all()
    figures = evaluate(zoo.predictor(run.path), cohort, annotated=RULES)
    known = [{name for name, figure in volume["classes"].items() if figure} for volume in figures["volumes"]]
    assert all(names <= {"1"} for names in known[:2]) and known[2] <= {"2"}
    # What is not known of a voxel is in no figure: no class 0 is known anywhere.
    assert figures["classes"]["0"] is None


def test_a_resumed_fit_knows_what_was_annotated(tmp_path, cohort):
    fit(cohort, out=tmp_path / "run", settings=tiny_settings(unlabelled=(), annotated=RULES))
    run = fit([], tmp_path / "run", settings=tiny_settings(epochs=2, unlabelled=()), resume=True)
    assert len(run.history["loss"]) == 2 and run.data.table.partial == ((0, 2), (0, 1))


def test_dataset_json_says_what_was_annotated(tmp_path):
    folder = nnunet(tmp_path, {"background": 0, "one": 1, "two": 2}, annotated={"a_*": [0, 1]})
    data = keras_unet3d.open_data(folder)
    assert [example.annotated for example in data.training] == [(0, 1), None]
    assert data.table.partial == ((0, 2),)


@pytest.mark.parametrize(
    "rules, words",
    [
        (("c_*.h5=0,1",), "expected files that fit 'c_*.h5', found none"),
        (("a_*.h5=0,1", "*1.h5=0,2"), "expected one pattern for a_1.h5, found a_*.h5 and *1.h5"),
        (("a_*.h5=0,2",), "a_1.h5:label: expected no labels but 0, 2"),
        (("a_*.h5=0,7",), "annotated: expected the labels 0, 1, 2, found 7"),
    ],
)
def test_what_cannot_be_annotated_so_is_refused(cohort, rules, words):
    with pytest.raises(InputError, match=says(words)):
        keras_unet3d.open_data(cohort, options=DataOptions(annotated=rules))


@pytest.mark.parametrize("rule", ["a_*.h5", "=0,1", "a=0;1", "a="])
def test_a_rule_that_is_none_is_refused(rule):
    with pytest.raises(InputError, match=says("annotated: expected a pattern of file names", repr(rule))):
        DataOptions(annotated=(rule,))


def test_annotated_goes_with_classes_alone():
    with pytest.raises(InputError, match=says("annotated: expected with classes, found `target=cells`")):
        DataOptions(annotated=("a=0,1",), target="cells")


def nnunet(tmp_path, labels, **more):
    """Write two volumes as nnU-Net has them, the first one partly labelled, and return the folder."""
    folder = tmp_path / "Dataset001"
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
    for seed, case in enumerate(("a_1", "b_1")):
        image, label = three_classes(seed)
        label = np.where(label == 2, 0, label) if case == "a_1" and "annotated" in more else label
        for path, array in ((f"imagesTr/{case}_0000.nii.gz", image), (f"labelsTr/{case}.nii.gz", label)):
            nibabel.save(nibabel.Nifti1Image(array.T, np.diag([1.0, 1.0, 2.0, 1.0])), folder / path)
    content = {"channel_names": {"0": "x"}, "labels": labels, "numTraining": 2, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(content | more))
    return folder


def test_regions_of_nnunet_from_fit_to_a_bundle(tmp_path):
    folder = nnunet(tmp_path, {"background": 0, "whole": [1, 2], "core": [2]}, regions_class_order=[1, 2])
    run = fit(folder, out=tmp_path / "run", settings=tiny_settings(unlabelled=()))
    model, table = zoo.load(run.path), run.data.table
    assert model.output_shape[-1] == 2 and model.layers[-1].name == "probabilities"
    assert (table.names, table.values) == (("whole", "core"), (1, 2))
    predictor = zoo.predictor(run.path)
    image = three_classes(5)[0]
    masks, labels = (predictor.predict(from_array(image), output) for output in ("masks", "labels"))
    expected = np.where(masks[..., 1], 2, np.where(masks[..., 0], 1, 0))
    assert masks.shape == (*image.shape, 2) and np.array_equal(labels, expected)
    figures = evaluate(predictor, folder)
    truth = three_classes(0)[1]
    predicted = predictor.predict(from_array(three_classes(0)[0]), "masks")[..., 0]
    both, union = ((truth > 0) & (predicted > 0)).sum(), ((truth > 0) | (predicted > 0)).sum()
    assert figures["volumes"][0]["classes"]["whole"]["iou"] == pytest.approx(both / union, abs=0.02)
    assert figures["mean_dice"] is not None and figures["calibration_error"] is None
    bundle = zoo.export_run(run.path, zoo.Card("regions"), tmp_path / "models")
    assert zoo.verify(bundle) is not None
    assert "whole" in (bundle / "README.md").read_text()
    assert np.array_equal(zoo.predictor(bundle)(image), labels)


def test_masks_of_label_files_come_back_as_masks(tmp_path):
    image, label = three_classes(0)
    masks = np.stack([label > 0, label == 2], axis=-1).astype(np.uint8)
    write_pair(tmp_path / "a.h5", raw=image, label=masks)
    settings = tiny_settings(unlabelled=(), regions="whole,core", validation_share=0)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["label"].attrs["axes"] = "zyxc"
    run = fit(tmp_path / "a.h5", out=tmp_path / "run", settings=settings)
    predicted = zoo.predictor(run.path)(image)
    assert predicted.shape == masks.shape and predicted.max() <= 1
    assert run.data.table.by_channel and run.data.table.num_labels == 4


@pytest.mark.parametrize(
    "regions, words",
    [
        ("whole=1+2,core=7", "expected label values that the volumes hold, 0, 1, 2; found 7 in 'core'"),
        (
            "core=2",
            "a.h5:label: expected the labels core = 2; found 1 (1280 voxels); correct the labels, name the value in `regions`",
        ),
    ],
)
def test_regions_of_other_values_are_refused(tmp_path, regions, words):
    image, label = three_classes(0)
    path = write_pair(tmp_path / "a.h5", raw=image, label=label)
    with pytest.raises(InputError, match=says(words)):
        keras_unet3d.open_data(path, options=DataOptions(regions=regions))


@pytest.mark.parametrize("other", [{"classes": "0,1"}, {"num_classes": 2}, {"target": "cells"}])
def test_regions_are_declared_alone(other):
    with pytest.raises(InputError, match=says("regions: expected to be given alone", next(iter(other)))):
        DataOptions(regions="whole=1+2", **other)


def test_a_loss_of_ones_own_knows_no_such_labels(tmp_path, cohort):
    with pytest.raises(InputError, match=says("loss: expected none of your own with `regions` or `annotated`")):
        fit(cohort, out=tmp_path / "run", settings=tiny_settings(unlabelled=(), annotated=RULES), loss=_squared)


def _squared(y, p):
    return (1 - p[..., 0]) ** 2
