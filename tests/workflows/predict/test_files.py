"""predict as a user means it: files in, files of the same format and geometry out."""

import errno
import re
from dataclasses import replace

import h5py
import nibabel
import numpy as np
import pytest
import tifffile
from helpers import VALUES, tiny_volume, write_pair

import keras_unet3d
from keras_unet3d import InputError, predict
from keras_unet3d.files import claimed
from keras_unet3d.labels.table import BOUNDARY_TABLE
from keras_unet3d.listener import Listener
from keras_unet3d.prediction.entropy import entropy
from keras_unet3d.segments.cells import InstanceSettings, instances
from keras_unet3d.segments.cleaning import ClassCleaning, fill_holes, keep_largest, remove_small
from keras_unet3d.settings import CleanSettings, PredictSettings
from keras_unet3d.volumes import from_array, open_volume, resampled

# A turned, mirrored and shifted geometry: a writer that drops any of it is found out.
AFFINE = np.array([[0, -1.5, 0, 12.0], [1.0, 0, 0, -7.0], [0, 0, 2.5, 3.0], [0, 0, 0, 1.0]])


def test_predict_keeps_the_geometry_of_nifti(predictor, tmp_path):
    image = nibabel.Nifti1Image(tiny_volume(2, (9, 10, 11))[0].T, AFFINE)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "v.nii.gz")
    written = predict(predictor, [tmp_path / "v.nii.gz"], tmp_path / "out")
    assert written == [tmp_path / "out" / "v.nii.gz"]
    result = nibabel.load(written[0])
    np.testing.assert_allclose(result.affine, AFFINE, atol=1e-6)
    assert result.shape == (11, 10, 9)
    assert result.header.get_zooms() == pytest.approx((1.0, 1.5, 2.5))
    assert result.header.get_xyzt_units()[0] == "mm"
    assert result.get_data_dtype() == np.uint8
    assert set(np.unique(result.dataobj)) <= set(VALUES)


def test_predict_on_nifti_is_predict_on_its_array(predictor, tmp_path):
    # Turned to z, y, x of closest RAS+ by nibabel itself.
    image = nibabel.Nifti1Image(tiny_volume(2, (9, 10, 11))[0].T, AFFINE)
    nibabel.save(image, tmp_path / "v.nii")
    predict(predictor, [tmp_path / "v.nii"], tmp_path / "o.nii")
    array = np.asarray(nibabel.as_closest_canonical(image).dataobj).T
    result = np.asarray(nibabel.as_closest_canonical(nibabel.load(tmp_path / "o.nii")).dataobj).T
    np.testing.assert_array_equal(result, predictor(array))


def test_predict_keeps_format_shape_and_voxel_size_of_hdf5(predictor, tmp_path):
    write_pair(tmp_path / "v.h5", spacing=(3.0, 1.0, 0.5), label=None)
    predict(predictor, [tmp_path / "v.h5"], tmp_path / "o.h5")
    with h5py.File(tmp_path / "o.h5", "r") as file:
        assert file["label"].shape == (16, 16, 16)
        np.testing.assert_allclose(file["label"].attrs["element_size_um"], (3.0, 1.0, 0.5))


def test_predict_keeps_the_voxel_size_of_tiff(predictor, tmp_path):
    metadata = {"axes": "ZYX", "spacing": 2.0, "unit": "um"}
    tifffile.imwrite(tmp_path / "v.tif", tiny_volume()[0], imagej=True, resolution=(2, 4), metadata=metadata)
    predict(predictor, [tmp_path / "v.tif"], tmp_path / "o.tif")
    assert keras_unet3d.open_volume(tmp_path / "o.tif").spacing == pytest.approx((2.0, 0.25, 0.5))


def test_predict_of_probabilities(predictor, tmp_path):
    write_pair(tmp_path / "v.h5")
    predict(predictor, [tmp_path / "v.h5"], tmp_path / "o.h5", output="probabilities")
    with h5py.File(tmp_path / "o.h5", "r") as file:
        probabilities = file["probabilities"][:]
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(VALUES)[probabilities.argmax(-1)], predictor(tiny_volume()[0]))


def test_predict_of_many_files_tells_the_voxels(predictor, tmp_path):
    files = [write_pair(tmp_path / name) for name in ("a.h5", "b.h5")]
    steps = []
    written = predict(predictor, files, tmp_path / "o", listener=Listener(progress=lambda *step: steps.append(step)))
    assert [path.name for path in written] == ["a.h5", "b.h5"]
    voxels = int(np.prod(open_volume(files[0]).shape))
    assert steps == [(voxels, 2 * voxels), (2 * voxels, 2 * voxels)]


def test_predict_says_when_the_voxels_are_of_another_size(predictor, tmp_path):
    said = []
    write_pair(tmp_path / "v.h5", spacing=(2.0, 1.0, 4.0))
    predict(predictor, [tmp_path / "v.h5"], tmp_path / "o.h5", listener=Listener(said.append))
    assert "voxel size 2 x 1 x 4 um differs from the training's 2 x 1 x 1 um" in said[0]


def test_a_bad_input_does_not_stop_the_others_and_is_named(predictor, tmp_path):
    good = [write_pair(tmp_path / name) for name in ("a.h5", "d.h5")]
    bad = write_pair(tmp_path / "b.h5", raw=np.ones((8, 8, 8)), label=None)
    (tmp_path / "c.h5").write_bytes(b"nothing")
    with pytest.raises(InputError) as error:
        predict(predictor, [good[0], bad, tmp_path / "c.h5", good[1]], tmp_path / "o")
    sentences = str(error.value).splitlines()
    assert sentences[0] == "2 of 4 inputs failed, the others are done:"
    assert sorted(sentences[1:])[0].startswith(f"{bad}:raw: expected an image, found the constant value 1")
    assert sorted(sentences[1:])[1].startswith(f"{tmp_path / 'c.h5'}: expected a readable .h5 volume")
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["a.h5", "d.h5"]


def test_a_dry_run_says_and_does_nothing(predictor, tmp_path):
    said = []
    written = predict(
        predictor, [write_pair(tmp_path / "a.h5")], tmp_path / "o", dry_run=True, listener=Listener(said.append)
    )
    assert written == []
    assert not (tmp_path / "o").exists()
    assert re.search(
        r"a\.h5:raw: 1 tile of .*, every voxel computed 1\.\d times; 0\.\d+ GB for a tile, about \d+ s", said[0]
    )


def test_a_dry_run_tells_grey_values_that_are_none(predictor, tmp_path):
    broken = np.array(tiny_volume()[0], np.float32)
    broken[3, 2, 1] = np.nan
    paths = [write_pair(tmp_path / "a.h5", raw=broken, label=None), write_pair(tmp_path / "b.h5")]
    said = []
    with pytest.raises(InputError, match=r"a\.h5:raw: expected finite grey values, found NaN or infinity in 1 voxels"):
        predict(predictor, paths, tmp_path / "o", dry_run=True, listener=Listener(said.append))
    assert len(said) == 1 and said[0].startswith(f"{paths[1]}:raw: 1 tile")
    assert not (tmp_path / "o").exists()


def test_the_best_predictor_is_chosen_once_all_is_checked_by_what_is_unpacked(predictor, tmp_path):
    nothing = lambda batch: np.eye(2, dtype=np.float32)[np.zeros(batch.shape[:4], int)]  # noqa: E731
    chosen = []

    def choose(volume, statistics):
        chosen.append((volume.packed, statistics.mean))
        return replace(predictor, network=nothing), None

    nibabel.save(nibabel.Nifti1Image(tiny_volume()[0].T, np.eye(4)), tmp_path / "v.nii.gz")
    (tmp_path / "there.nii").write_bytes(b"")
    inputs, source = [tmp_path / "v.nii.gz"], open_volume(tmp_path / "v.nii.gz")
    assert source.packed
    for out, options in {
        "there.nii": {},
        "o.nii": dict(output="probabilities", table=True),
        "o.h5": dict(settings=PredictSettings(max_ram="1M")),
    }.items():
        with pytest.raises(InputError):
            predict(predictor, inputs, tmp_path / out, choose=choose, **options)
    assert not chosen
    predict(predictor, inputs, tmp_path / "o.nii", choose=choose)
    predict(predictor, inputs, tmp_path / "o.nii", choose=choose, dry_run=True, overwrite=True)
    assert chosen == [(False, source.array().mean(dtype=float))] * 2
    assert np.unique(open_volume(tmp_path / "o.nii").array()).tolist() == [VALUES[0]]


def test_a_full_disk_is_said_and_leaves_nothing(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_unet3d.volumes.hdf5.from_order", _full_disk)
    with pytest.raises(InputError, match=r"o\.h5: expected room for the result, found the disk full; make room"):
        predict(predictor, [write_pair(tmp_path / "a.h5")], tmp_path / "o.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def _full_disk(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_stopped_prediction_leaves_nothing(predictor, tmp_path):
    def stop(done, of):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(predictor, [write_pair(tmp_path / "a.h5")], tmp_path / "o.h5", listener=Listener(progress=stop))
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_resampled_prediction_comes_back_in_the_inputs_geometry(predictor, tmp_path):
    # Twice as fine as the training along every axis.
    write_pair(tmp_path / "v.h5", spacing=tuple(size / 2 for size in predictor.spec.spacing))
    said = []
    predict(predictor, [tmp_path / "v.h5"], tmp_path / "o.h5", resample=True, listener=Listener(said.append))
    assert said[0].endswith("; resampled, and back")
    result, source = open_volume(tmp_path / "o.h5", "label"), open_volume(tmp_path / "v.h5")
    assert (result.shape, result.spacing) == (source.shape, source.spacing)
    shape = tuple(round(size / 2) for size in source.shape)
    coarse = predictor.uncalibrated.predict(resampled(source, shape), "probabilities")
    by_hand = resampled(from_array(coarse), source.shape).array()
    np.testing.assert_array_equal(result.array()[..., 0], predictor.convert(by_hand, "labels"))


def test_resampling_needs_voxel_sizes(predictor, tmp_path):
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, tiny_volume()[0])
    with pytest.raises(InputError, match="expected a voxel size to resample by, found none; leave out `resample`"):
        predict(predictor, [path], tmp_path / "o.h5", resample=True)


def test_voxel_sizes_of_other_units_are_compared_in_micrometres(predictor, tmp_path):
    # The very voxel size of the training, which is in micrometres, as NIfTI has it.
    spacing = [size / 1000 for size in predictor.spec.spacing[::-1]]
    nibabel.save(nibabel.Nifti1Image(tiny_volume()[0].T, np.diag([*spacing, 1])), tmp_path / "v.nii")
    said = []
    predict(predictor, [tmp_path / "v.nii"], tmp_path / "o.nii", resample=True, listener=Listener(said.append))
    assert len(said) == 1


def test_resampling_to_more_than_there_is_memory_for_is_refused(predictor, tmp_path):
    write_pair(tmp_path / "v.h5", spacing=tuple(size * 1000 for size in predictor.spec.spacing))
    with pytest.raises(InputError, match=r"to hold the probabilities of \d+ x \d+ x \d+ voxels, .* correct the voxel"):
        predict(predictor, [tmp_path / "v.h5"], tmp_path / "o.h5", resample=True)


def test_labels_are_cleaned(predictor, tmp_path):
    path = write_pair(tmp_path / "v.h5")
    cleaning = CleanSettings(keep_largest=True, remove_small=3, fill_holes=True)
    predict(predictor, [path], tmp_path / "o.h5", cleaning=cleaning)
    plain = predictor.predict(open_volume(path))
    by_hand = fill_holes(remove_small(keep_largest(plain), 3))
    np.testing.assert_array_equal(open_volume(tmp_path / "o.h5", "label").array()[..., 0], by_hand)


def test_instances_are_those_of_the_array_call(predictor, tmp_path, monkeypatch):
    path = write_pair(tmp_path / "v.h5")
    boundaries = replace(predictor, spec=replace(predictor.spec, labels=BOUNDARY_TABLE))
    predict(boundaries, [path], tmp_path / "o.h5", cleaning=CleanSettings(instances=True))
    found = open_volume(tmp_path / "o.h5", "label").array()[..., 0]
    said = boundaries.predict(open_volume(path), "probabilities")[..., 1]
    np.testing.assert_array_equal(found, instances(said, spacing=open_volume(path).spacing))
    # Block by block they are the same, whatever is held in memory.
    monkeypatch.setattr("keras_unet3d.workflows.predict.instances.BLOCK", (5, 7, 9))
    monkeypatch.setattr("keras_unet3d.volumes.scratch.MOST_BYTES", 100)
    predict(boundaries, [path], tmp_path / "b.h5", cleaning=CleanSettings(instances=True))
    np.testing.assert_array_equal(open_volume(tmp_path / "b.h5", "label").array()[..., 0], found)


def test_resampled_instances_are_cut_at_the_voxel_size_of_the_training(predictor, tmp_path):
    path = write_pair(tmp_path / "v.h5", spacing=(3.0, 1.0, 1.0), label=None)
    apart = InstanceSettings(join_below=0.01, least=1)
    spec = replace(predictor.spec, labels=BOUNDARY_TABLE, spacing=(1.0, 1.0, 1.0), unit="um", instances=apart)
    boundaries = replace(predictor, spec=spec)
    predict(boundaries, [path], tmp_path / "o.h5", cleaning=CleanSettings(instances=True), resample=True)
    fine = resampled(open_volume(path), (48, 16, 16))
    said = boundaries.uncalibrated.predict(fine, "probabilities")[..., 1]
    cut = instances(said, spacing=fine.spacing, settings=spec.instances)
    # Of three planes the one in the middle.
    np.testing.assert_array_equal(open_volume(tmp_path / "o.h5", "label").array()[..., 0], cut[1::3])
    assert cut.max() > 1


def test_a_table_of_the_instances_is_written_in_the_same_go(predictor, tmp_path):
    path = write_pair(tmp_path / "v.h5")
    boundaries = replace(predictor, spec=replace(predictor.spec, labels=BOUNDARY_TABLE))
    cleaning = CleanSettings(instances=True)
    predict(boundaries, [path], tmp_path / "o.h5", cleaning=cleaning, table=True)
    expected = keras_unet3d.measure(tmp_path / "o.h5", path)
    lines = (tmp_path / "o.csv").read_text("utf-8").splitlines()
    assert lines[0].split(",") == [*expected] and len(lines) == 1 + len(expected["label"])
    assert (tmp_path / "o.png").exists()
    # A table that is there is no less than a volume that is.
    (tmp_path / "o.h5").unlink()
    with pytest.raises(InputError, match=r"o\.csv: the table exists already"):
        predict(boundaries, [path], tmp_path / "o.h5", cleaning=cleaning, table=True)
    assert not (tmp_path / "o.h5").exists()
    predict(boundaries, [path], tmp_path / "o.h5", cleaning=cleaning, table=True, overwrite=True)
    # Where the network finds nothing, that is said, and no fault.
    nothing = lambda batch: np.eye(2, dtype=np.float32)[np.zeros(batch.shape[:4], int)]  # noqa: E731
    said = []
    options = dict(table=True, listener=Listener(said.append))
    predict(replace(predictor, network=nothing), [path], tmp_path / "n.h5", **options)
    assert said[-1] == f"{tmp_path / 'n.csv'}: not written, for there is no object in n.h5"
    assert (tmp_path / "n.h5").exists() and not (tmp_path / "n.csv").exists()
    # Two volumes have two tables.
    (tmp_path / "same").mkdir()
    inputs = [write_pair(tmp_path / "v2.h5"), tmp_path / "v2.tif"]
    tifffile.imwrite(inputs[1], np.zeros((8, 8, 8), np.float32))
    with pytest.raises(InputError, match=r"v2\.tif: expected inputs of different names, found v2\.csv twice"):
        predict(predictor, inputs, tmp_path / "same", table=True)
    assert not [*(tmp_path / "same").iterdir()]
    # Of classes there is a row for each but the background.
    predict(predictor, [path], tmp_path / "c.h5", table=True)
    rows = (tmp_path / "c.csv").read_text("utf-8").splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["5"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(output="probabilities", table=True), "table: expected labels, whose objects are measured, found 'prob"),
        (
            dict(output="probabilities", cleaning=CleanSettings(fill_holes=True)),
            "output: expected labels where they are",
        ),
        (
            dict(cleaning=CleanSettings(instances=True)),
            "instances: expected a network of boundaries .* found one of 0, 5",
        ),
        (dict(output="logits", resample=True), "resample: expected labels, probabilities or uncertainty, found logits"),
        (dict(suffix=".png"), r"suffix: expected one of \.h5, .*; found '\.png'"),
        (dict(settings=PredictSettings(max_ram="1M")), "max_ram: expected at least .* found 1M"),
        (dict(scheduler="here"), "scheduler: expected a trained model, and neither cleaning nor resampling"),
    ],
)
def test_what_predict_cannot_do_is_explained_and_nothing_written(predictor, tmp_path, options, sentence):
    path = write_pair(tmp_path / "v.h5")
    with pytest.raises(InputError, match=sentence):
        predict(predictor, [path], tmp_path / "o", **options)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            lambda: CleanSettings(instances=True, fill_holes=True),
            "instances: expected without `keep_largest` and `fill_holes`, found one of them too; leave one out.",
        ),
        (
            lambda: CleanSettings(instances=True, keep_largest=True),
            "instances: expected without `keep_largest` and `fill_holes`, found one of them too; leave one out.",
        ),
        (lambda: CleanSettings(remove_small=-1), "remove_small: expected a whole number of at least 0, found -1."),
    ],
)
def test_cleaning_that_cannot_be_is_refused_when_it_is_asked_for(settings, sentence):
    with pytest.raises(InputError) as caught:
        settings()
    assert str(caught.value) == sentence


def test_the_format_of_results_in_a_folder_is_chosen(predictor, tmp_path):
    predict(predictor, [write_pair(tmp_path / "v.h5")], tmp_path / "o", suffix=".nii.gz")
    assert open_volume(tmp_path / "o" / "v.nii.gz").shape == open_volume(tmp_path / "v.h5").shape


def test_a_suffix_beside_the_name_of_a_file_is_refused(predictor, tmp_path):
    path = write_pair(tmp_path / "v.h5")
    with pytest.raises(InputError, match=r"suffix: expected none beside the name of a file, o\.h5, found '\.nii'"):
        predict(predictor, [path], tmp_path / "o.h5", suffix=".nii")


def test_a_place_that_another_process_writes_is_told_before_the_work(predictor, tmp_path):
    path, asked = write_pair(tmp_path / "v.h5"), []
    slow = replace(predictor, network=lambda batch: asked.append(batch))
    with claimed(tmp_path / "o.h5"), pytest.raises(InputError, match="expected a place that nobody else writes to"):
        predict(slow, [path], tmp_path / "o.h5")
    assert not asked


def test_too_little_memory_is_said_of_its_volume(predictor, tmp_path):
    def exhausted(batch):
        raise MemoryError

    paths = [write_pair(tmp_path / "v.h5")]
    with pytest.raises(
        InputError, match=r"v\.h5:raw: expected memory for the prediction, found too little; give a smaller"
    ):
        predict(replace(predictor, network=exhausted), paths, tmp_path / "o.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["v.h5"]


def test_resampled_probabilities_have_the_temperature_once(predictor, tmp_path):
    warm = replace(predictor, spec=replace(predictor.spec, temperature=2.0))
    write_pair(tmp_path / "v.h5", spacing=tuple(size / 2 for size in predictor.spec.spacing))
    for output in ("probabilities", "uncertainty"):
        predict(warm, [tmp_path / "v.h5"], tmp_path / f"{output}.h5", output=output, resample=True)
    source = open_volume(tmp_path / "v.h5")
    coarse = warm.uncalibrated.predict(resampled(source, (8, 8, 8)), "probabilities")
    by_hand = warm.convert(resampled(from_array(coarse), source.shape).array(), "probabilities")
    found = open_volume(tmp_path / "probabilities.h5", "probabilities", "zyxc").array()
    np.testing.assert_allclose(found, by_hand, atol=1e-6)
    unsure = open_volume(tmp_path / "uncertainty.h5", "uncertainty").array()[..., 0]
    np.testing.assert_allclose(unsure, entropy(by_hand), atol=1e-5)


def test_labels_are_cleaned_as_the_fit_found_to_help(predictor, tmp_path):
    step = ClassCleaning(value=VALUES[1], keep_largest=True)
    cleaned = replace(predictor, spec=replace(predictor.spec, cleaning=(step,)))
    write_pair(tmp_path / "v.h5", 3)
    plain = predictor.predict(open_volume(tmp_path / "v.h5"))
    expected = keep_largest(plain, VALUES[0], only=(VALUES[1],))
    assert (expected != plain).any()

    def predicted(name, **options):
        predict(cleaned, [tmp_path / "v.h5"], tmp_path / name, **options)
        return open_volume(tmp_path / name, "label").array()[..., 0]

    np.testing.assert_array_equal(predicted("cleaned.h5"), expected)
    np.testing.assert_array_equal(predicted("as_it_is.h5", settings=PredictSettings(clean=False)), plain)
    further = predicted("further.h5", cleaning=CleanSettings(fill_holes=True))
    np.testing.assert_array_equal(further, fill_holes(expected, VALUES[0]))


def test_labels_are_cleaned_and_resampled_without_holding_a_volume(predictor, tmp_path, monkeypatch):
    path = write_pair(tmp_path / "v.h5", 3, spacing=(1.0, 1.5, 0.7))
    warm = replace(predictor, spec=replace(predictor.spec, temperature=2.0))
    cases = {
        "labels": dict(cleaning=CleanSettings(remove_small=4, fill_holes=True)),
        "probabilities": dict(output="probabilities"),
        "uncertainty": dict(output="uncertainty"),
    }
    for name, options in cases.items():
        predict(warm, [path], tmp_path / f"{name}.h5", resample=True, **options)
    # A file per volume, boxes of a few voxels, slabs of one plane.
    monkeypatch.setattr("keras_unet3d.volumes.scratch.MOST_BYTES", 10)
    monkeypatch.setattr("keras_unet3d.volumes.volume._BLOCK", 5)
    monkeypatch.setattr("keras_unet3d.segments.regions.SLAB", 1)
    monkeypatch.setattr("keras_unet3d.segments.regions.FEWEST_PLANES", 1)
    for name, options in cases.items():
        predict(warm, [path], tmp_path / f"boxes_{name}.h5", resample=True, **options)
        key = "label" if name == "labels" else name
        whole, boxes = (open_volume(tmp_path / f"{start}{name}.h5", key).array() for start in ("", "boxes_"))
        np.testing.assert_array_equal(boxes, whole)
        assert len(np.unique(whole)) > 1
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")) == []


def test_names_and_colours_are_written_beside_label_volumes(predictor, tmp_path):
    write_pair(tmp_path / "v.h5", label=None)
    predict(predictor, [tmp_path / "v.h5"], tmp_path / "o.nii.gz", colours=True)
    assert (tmp_path / "o.label.txt").read_text().splitlines()[1:] == ['0 0 114 178 0 0 0 "0"', '5 230 159 0 1 1 1 "5"']
    assert (tmp_path / "o.ctbl").read_text().splitlines()[1:] == ["0 0 0 114 178 0", "5 5 230 159 0 255"]
    assert (tmp_path / "o.lut").read_bytes()[5] == 230
    (tmp_path / "o.nii.gz").unlink()
    with pytest.raises(InputError, match=re.escape("o.label.txt: the file of colours exists already")):
        predict(predictor, [tmp_path / "v.h5"], tmp_path / "o.nii.gz", colours=True)
    assert not (tmp_path / "o.nii.gz").exists()


def test_colours_are_of_classes(predictor, tmp_path):
    write_pair(tmp_path / "v.h5", label=None)
    with pytest.raises(InputError, match="colours: expected label volumes of classes, which have names"):
        predict(predictor, [tmp_path / "v.h5"], tmp_path / "o.h5", output="probabilities", colours=True)


def test_predict_goes_on_with_the_inputs_that_have_no_result(predictor, tmp_path):
    inputs = [write_pair(tmp_path / f"{name}.h5", label=None) for name in "abc"]
    out, said, figures = tmp_path / "out", [], []
    predict(predictor, inputs, out)
    before = (out / "a.h5").read_bytes()
    (out / "b.h5").unlink()
    listener = Listener(said.append, figures=lambda kind, values: figures.append((kind, values["input"])))
    assert predict(predictor, inputs, out, resume=True, listener=listener) == [out / f"{name}.h5" for name in "abc"]
    assert said[0] == "2 of 3 results are there, and stay as they are"
    assert figures == [("volume", str(inputs[1]))]
    assert (out / "a.h5").read_bytes() == before and (out / "b.h5").is_file()
    with pytest.raises(InputError, match="resume: expected to keep the results that are there or to overwrite them"):
        predict(predictor, inputs, out, resume=True, overwrite=True)
