"""Zarr: formats 2 and 3, plain, grouped and OME, read by chunks; and a sentence for what is not in order."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
import zarr
from helpers import UNLABELLED, says, tiny_settings, tiny_volume
from numcodecs import Delta, Pickle

import keras_unet3d
from keras_unet3d import zoo
from keras_unet3d.datasets import DataKeys, Globs, open_examples, open_partly_labelled
from keras_unet3d.errors import InputError
from keras_unet3d.listener import SILENT
from keras_unet3d.volumes import from_array, open_volume, refuse_existing_volume, write_volume
from keras_unet3d.volumes.zarr import MARKS

SHAPE = (5, 6, 7)
SPACING = (2.0, 0.8, 0.5)
FORMATS = (2, 3)


def voxels(shape=SHAPE, dtype="uint16"):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def quiet(line):
    pass


def write_plain(path, array, number=3, chunks=(2, 2, 2), **attributes):
    """Write an array at the root."""
    stored = zarr.create_array(
        path, shape=array.shape, dtype=array.dtype, chunks=chunks, zarr_format=number, attributes=attributes
    )
    stored[...] = array
    return path


def write_group(path, number=3, attributes=None, **arrays):
    """Write a group of arrays by name, "__" for "/"; attributes are the group's."""
    group = zarr.create_group(path, zarr_format=number, attributes=attributes or {})
    for name, array in arrays.items():
        stored = group.create_array(name.replace("__", "/"), shape=array.shape, dtype=array.dtype)
        stored[...] = array
        stored.attrs["element_size_um"] = list(SPACING)
    return path


def multiscale(axes, scale, unit="micrometer", paths=("0",), whole=None):
    """Return the entry of one multiscale image; the resolution halves from path to path."""
    kinds = {"t": "time", "c": "channel"}
    named = [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes]
    for axis in named:
        if axis["type"] == "space" and unit:
            axis["unit"] = unit
    datasets = [
        {
            "path": path,
            "coordinateTransformations": [{"type": "scale", "scale": [each * 2**level for each in scale]}],
        }
        for level, path in enumerate(paths)
    ]
    outer = {"coordinateTransformations": [{"type": "scale", "scale": whole}]} if whole else {}
    return {"axes": named, "datasets": datasets, **outer}


def write_ome(path, array, axes, number=3, scale=None, unit="micrometer", levels=1, whole=None):
    """Write an OME-Zarr image of version 0.4 (Zarr format 2) or 0.5 (Zarr format 3)."""
    sizes = dict(zip("zyx", SPACING, strict=True))
    scale = scale or [sizes.get(axis, 1.0) for axis in axes]
    paths = [str(level) for level in range(levels)]
    image = {"multiscales": [multiscale(axes, scale, unit, paths, whole)]}
    attributes = {"ome": {"version": "0.5", **image}} if number == 3 else image
    group = zarr.create_group(path, zarr_format=number, attributes=attributes)
    for level, name in enumerate(paths):
        smaller = array[(..., *(slice(None, None, 2**level),) * sum(axis in "zyx" for axis in axes))]
        group.create_array(name, shape=smaller.shape, dtype=smaller.dtype)[...] = smaller
    return path


def write_case(path, seed=0, number=3, **replaced):
    """Write a group with the `raw` and `label` of a tiny volume."""
    image, label = tiny_volume(seed)
    arrays = {"raw": image, "label": label} | replaced
    return write_group(path, number, **{key: array for key, array in arrays.items() if array is not None})


# ---- plain arrays and groups ---------------------------------------------------------------------


@pytest.mark.parametrize("number", FORMATS)
@pytest.mark.parametrize("key", [None, "raw", "label", "anything"])
def test_an_array_at_the_root_needs_no_name(tmp_path, number, key):
    path = write_plain(tmp_path / "a.zarr", voxels(), number, element_size_um=SPACING)
    volume = open_volume(path, key)
    np.testing.assert_array_equal(volume.array()[..., 0], voxels())
    assert (volume.name, volume.shape, volume.dtype) == (str(path), SHAPE, np.uint16)
    assert (volume.spacing, volume.unit, volume.path) == (SPACING, "um", path)


@pytest.mark.parametrize("number", FORMATS)
def test_arrays_of_a_group_are_found_by_name(tmp_path, number):
    path = write_group(tmp_path / "a.zarr", number, raw=voxels(), volumes__em=voxels() + 1)
    np.testing.assert_array_equal(open_volume(path).array()[..., 0], voxels())
    assert open_volume(path, "/volumes//em/").name == f"{path}:volumes/em"
    volume = open_volume(path, "volumes/em")
    np.testing.assert_array_equal(volume.array()[..., 0], voxels() + 1)
    assert (volume.name, volume.spacing) == (f"{path}:volumes/em", SPACING)


def test_consolidated_metadata_that_is_older_than_an_array_hides_nothing(tmp_path):
    path = write_group(tmp_path / "a.zarr", 2, raw=voxels())
    zarr.consolidate_metadata(path)
    group = zarr.open_group(path, mode="a", use_consolidated=False)
    group.create_array("label", shape=SHAPE, dtype="uint8")[...] = 3
    assert (open_volume(path, "label").array() == 3).all()


@pytest.mark.parametrize("axes", ["xyz", "czyx", "zyxc", "ycxz"])
def test_axes_may_be_told(tmp_path, axes):
    array = voxels((*SHAPE, 2))
    array = array if "c" in axes else array[..., :1]
    stored = array.transpose(["zyxc".index(axis) for axis in axes]) if "c" in axes else array[..., 0].T
    path = write_plain(tmp_path / "a.zarr", stored, chunks=stored.shape)
    volume = open_volume(path, axes=axes)
    np.testing.assert_array_equal(volume.array(), array)
    box = (slice(1, 4), slice(2, 5), slice(3, 6))
    np.testing.assert_array_equal(volume.read(box), array[box])


def test_names_of_dimensions_are_the_axes(tmp_path):
    stored = zarr.create_array(
        tmp_path / "a.zarr", shape=(2, 7, 6, 5), dtype="u1", dimension_names=["c", "x", "y", "z"]
    )
    stored[...] = 1
    volume = open_volume(tmp_path / "a.zarr")
    assert (volume.shape, volume.channels) == (SHAPE, 2)


@pytest.mark.parametrize("number", FORMATS)
def test_the_format_of_the_input_is_kept(tmp_path, number):
    like = open_volume(write_plain(tmp_path / "in.zarr", voxels(), number))
    write_volume(tmp_path / "out.zarr", voxels(), like)
    assert zarr.open(tmp_path / "out.zarr", mode="r").metadata.zarr_format == number
    np.testing.assert_array_equal(open_volume(tmp_path / "out.zarr", "label").array()[..., 0], voxels())


@pytest.mark.parametrize("unit, name", [("um", "micrometer"), ("mm", "millimeter"), (None, None)])
@pytest.mark.parametrize("number", FORMATS)
def test_what_is_written_is_ome_zarr(tmp_path, number, unit, name):
    like = from_array(voxels(), spacing=SPACING, unit=unit)
    like.layout["zarr_format"] = number
    write_volume(tmp_path / "a.zarr", np.stack([voxels()] * 2, -1), like, "probabilities")
    group = zarr.open(tmp_path / "a.zarr", mode="r")
    (image,) = (group.attrs["ome"] if number == 3 else group.attrs)["multiscales"]
    assert [axis["name"] for axis in image["axes"]] == ["c", "z", "y", "x"]
    assert [axis.get("unit") for axis in image["axes"]] == [None, name, name, name]
    assert image["datasets"][0]["path"] == "probabilities"
    assert image["datasets"][0]["coordinateTransformations"][0]["scale"] == [1.0, *SPACING]
    assert group["probabilities"].shape == (2, *SHAPE)
    opened = open_volume(tmp_path / "a.zarr")
    assert opened.spacing == pytest.approx(like.micrometres or SPACING)
    assert opened.unit == ("um" if unit else None)


def test_chunks_are_blocks(tmp_path):
    write_volume(tmp_path / "a.zarr", np.zeros((3, 70, 200, 2), np.uint8), from_array(np.zeros((3, 70, 200))))
    assert zarr.open(tmp_path / "a.zarr", mode="r")["label"].chunks == (1, 3, 64, 64)


# ---- OME-Zarr ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "raw", "label"])
@pytest.mark.parametrize("number", FORMATS)
def test_ome_zarr_opens_at_full_resolution(tmp_path, number, key):
    path = write_ome(tmp_path / "a.ome.zarr", voxels(), "zyx", number, levels=2)
    volume = open_volume(path, key)
    np.testing.assert_array_equal(volume.array()[..., 0], voxels())
    assert (volume.name, volume.spacing, volume.unit) == (f"{path}:0", SPACING, "um")
    smaller = open_volume(path, "1")
    np.testing.assert_array_equal(smaller.array()[..., 0], voxels()[::2, ::2, ::2])
    assert smaller.spacing == tuple(2 * size for size in SPACING)


@pytest.mark.parametrize("number", FORMATS)
@pytest.mark.parametrize(
    ("axes", "shape", "channels"),
    [
        ("tczyx", (1, 1, *SHAPE), 1),
        ("tczyx", (1, 3, *SHAPE), 3),
        ("czyx", (3, *SHAPE), 3),
        ("czyx", (1, *SHAPE), 1),
        ("tzyx", (1, *SHAPE), 1),
    ],
)
def test_single_times_and_channels_are_dropped(tmp_path, number, axes, shape, channels):
    array = voxels(shape)
    volume = open_volume(write_ome(tmp_path / "a.zarr", array, axes, number))
    assert (volume.shape, volume.channels, volume.spacing) == (SHAPE, channels, SPACING)
    expected = array.reshape(channels, *SHAPE).transpose(1, 2, 3, 0)
    np.testing.assert_array_equal(volume.array(), expected)
    box = (slice(1, 4), slice(2, 5), slice(3, 6))
    np.testing.assert_array_equal(volume.read(box), expected[box])


@pytest.mark.parametrize("number", FORMATS)
def test_ome_axes_in_another_order(tmp_path, number):
    volume = open_volume(write_ome(tmp_path / "a.zarr", voxels(SHAPE[::-1]), "xyz", number))
    np.testing.assert_array_equal(volume.array()[..., 0], voxels(SHAPE[::-1]).transpose())
    assert (volume.shape, volume.spacing) == (SHAPE, SPACING)


@pytest.mark.parametrize(
    ("unit", "spacing", "shown"),
    [
        ("nanometer", (0.002, 0.0008, 0.0005), "um"),
        ("millimetre", (2000.0, 800.0, 500.0), "um"),
        ("parsec", SPACING, None),
        (None, SPACING, None),
    ],
)
def test_units_of_ome_zarr(tmp_path, unit, spacing, shown):
    volume = open_volume(write_ome(tmp_path / "a.zarr", voxels(), "zyx", unit=unit))
    assert volume.spacing == pytest.approx(spacing)
    assert volume.unit == shown


def test_scales_of_image_and_array_multiply(tmp_path):
    path = write_ome(tmp_path / "a.zarr", voxels(), "zyx", scale=[1, 2, 4], whole=[3, 0.5, 0.5])
    assert open_volume(path).spacing == (3.0, 1.0, 2.0)


def test_ones_without_a_unit_are_no_voxel_size(tmp_path):
    volume = open_volume(write_ome(tmp_path / "a.zarr", voxels(), "zyx", scale=[1, 1, 1], unit=None))
    assert (volume.spacing, volume.unit) == (None, None)


def test_early_ome_zarr_names_no_axes(tmp_path):
    image = {"multiscales": [{"version": "0.1", "datasets": [{"path": "0"}]}]}
    path = write_group(tmp_path / "a.zarr", 2, image, **{"0": voxels((1, 2, *SHAPE))})
    volume = open_volume(path)
    assert (volume.shape, volume.channels) == (SHAPE, 2)


def test_labels_inside_ome_zarr_are_named_by_their_group(tmp_path):
    path = write_ome(tmp_path / "a.zarr", voxels(), "zyx")
    write_ome(path / "labels" / "cells", voxels(dtype="uint8") % 3, "zyx", levels=2)
    zarr.create_group(path / "labels", attributes={"ome": {"labels": ["cells"]}})
    (example,) = open_examples([path], DataKeys(label="labels/cells")).examples
    np.testing.assert_array_equal(example.image.array()[..., 0], voxels())
    np.testing.assert_array_equal(example.label.array()[..., 0], voxels(dtype="uint8") % 3)
    assert (example.label.name, example.label.spacing) == (f"{path}:labels/cells/0", SPACING)


# ---- laziness ------------------------------------------------------------------------------------


@pytest.fixture
def chunks_read(monkeypatch):
    """The names of the chunks that are read, in order."""
    from zarr.storage import LocalStore

    names, whole = [], LocalStore.get

    async def get(store, key, *args, **options):
        if not key.endswith(("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")):
            names.append(key)
        return await whole(store, key, *args, **options)

    monkeypatch.setattr(LocalStore, "get", get)
    return names


@pytest.mark.parametrize("number", FORMATS)
@pytest.mark.parametrize(
    ("box", "count"),
    [
        ((slice(0, 4), slice(0, 4), slice(0, 4)), 1),
        ((slice(3, 5), slice(3, 5), slice(3, 5)), 8),
        ((slice(4, 8), slice(0, 16), slice(9, 10)), 4),
    ],
)
def test_a_crop_reads_the_chunks_that_it_touches(tmp_path, chunks_read, number, box, count):
    volume = open_volume(write_plain(tmp_path / "a.zarr", voxels((16, 16, 16)), number, (4, 4, 4)))
    assert chunks_read == []
    np.testing.assert_array_equal(volume.read(box)[..., 0], voxels((16, 16, 16))[box])
    assert len(chunks_read) == len(set(chunks_read)) == count


def test_a_crop_of_a_huge_volume_does_not_read_the_rest(tmp_path):
    stored = zarr.create_array(
        tmp_path / "a.zarr", shape=(20000, 20000, 200), dtype="u2", chunks=(64, 64, 64), fill_value=3, compressors=None
    )
    stored[3000, 9000, 150] = 7
    crop = open_volume(tmp_path / "a.zarr").read((slice(2999, 3002), slice(8999, 9003), slice(149, 154)))[..., 0]
    expected = np.full((3, 4, 5), 3)
    expected[1, 1, 1] = 7
    np.testing.assert_array_equal(crop, expected)


def test_a_shard_is_not_read_as_a_whole(tmp_path):
    stored = zarr.create_array(tmp_path / "a.zarr", shape=(16, 16, 16), dtype="u2", chunks=(4,) * 3, shards=(16,) * 3)
    stored[...] = voxels((16, 16, 16))
    box = (slice(2, 9), slice(5, 7), slice(0, 16))
    np.testing.assert_array_equal(open_volume(tmp_path / "a.zarr").read(box)[..., 0], voxels((16, 16, 16))[box])


# ---- as data -------------------------------------------------------------------------------------


def test_a_zarr_folder_is_one_example(tmp_path):
    path = write_group(tmp_path / "a.zarr", raw=voxels(), label=voxels(dtype="uint8"), weight=voxels(dtype="float32"))
    (example,) = open_examples([path]).examples
    np.testing.assert_array_equal(example.label.array()[..., 0], voxels(dtype="uint8"))
    assert (example.name, example.weight.dtype) == ("a.zarr", np.float32)


def test_a_weight_is_optional(tmp_path):
    path = write_group(tmp_path / "a.zarr", raw=voxels(), label=voxels(dtype="uint8"))
    assert open_examples([path]).examples[0].weight is None
    with pytest.raises(InputError, match=says("a.zarr: expected a data set 'certainty', found label, raw")):
        open_examples([path], DataKeys(weight="certainty"))


def test_a_folder_may_hold_zarr_and_hdf5(tmp_path):
    write_case(tmp_path / "b.zarr")
    write_volume(tmp_path / "a.h5", voxels(), from_array(voxels()), "raw")
    write_case(tmp_path / "c.zarr", number=2)
    shutil.rmtree(tmp_path / "c.zarr" / "label")
    with pytest.raises(InputError, match=says("a.h5: expected a data set 'label', found raw")):
        open_examples([tmp_path])
    (tmp_path / "a.h5").unlink()
    with pytest.raises(InputError, match=says("c.zarr: expected a data set 'label', found raw")):
        open_examples([tmp_path])
    shutil.rmtree(tmp_path / "c.zarr")
    assert [example.name for example in open_examples([tmp_path]).examples] == ["b.zarr"]


def test_globs_find_folders(tmp_path):
    for number in (1, 2):
        write_plain(tmp_path / f"c{number}_raw.zarr", voxels() + number)
        write_ome(tmp_path / f"c{number}_label.zarr", voxels(dtype="uint8") % 3, "zyx")
    data = open_examples([], globs=Globs(f"{tmp_path}/*_raw.zarr", f"{tmp_path}/*_label.zarr"))
    assert [example.name for example in data.examples] == ["c1_raw.zarr", "c2_raw.zarr"]
    np.testing.assert_array_equal(data.examples[1].label.array()[..., 0], voxels(dtype="uint8") % 3)


def test_labels_beside_the_image_are_optional_where_slices_are_suggested(tmp_path):
    path = write_ome(tmp_path / "a.zarr", voxels(), "zyx")
    assert open_partly_labelled(path, DataKeys(), None)[1] is None
    path = write_plain(tmp_path / "b.zarr", voxels())
    assert open_partly_labelled(path, DataKeys(), None)[1] is None
    path = write_case(tmp_path / "c.zarr")
    assert open_partly_labelled(path, DataKeys(), None)[1].name == f"{path}:label"


# ---- from the labels to the segmentation ---------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was trained on a Zarr group, and its path."""
    folder = tmp_path_factory.mktemp("zarr")
    path = write_case(folder / "stack.zarr")
    keras_unet3d.fit(path, folder / "run", settings=tiny_settings(), listener=SILENT)
    return folder / "run", path


def test_check_reads_zarr(tmp_path):
    found = keras_unet3d.check(write_case(tmp_path / "a.zarr"), settings=tiny_settings(), listener=SILENT)
    assert found["faults"] == []
    assert found["volumes"][0]["name"] == "a.zarr"


@pytest.mark.parametrize("number", FORMATS)
def test_predict_gives_zarr_for_zarr(run, tmp_path, number):
    path = write_case(tmp_path / "a.zarr", number=number, label=None)
    (target,) = keras_unet3d.predict(zoo.predictor(run[0]), [path], tmp_path / "out", listener=SILENT)
    assert target == tmp_path / "out" / "a.zarr"
    opened = open_volume(target, "label")
    assert (opened.shape, opened.spacing, opened.unit) == ((16, 16, 16), SPACING, "um")
    assert set(np.unique(opened.array())) <= {0, 5}
    assert zarr.open(target, mode="r").metadata.zarr_format == number


def test_predict_writes_probabilities_and_other_formats(run, tmp_path):
    predictor = zoo.predictor(run[0])
    keras_unet3d.predict(predictor, [run[1]], tmp_path / "p.zarr", output="probabilities", listener=SILENT)
    written = open_volume(tmp_path / "p.zarr", "probabilities")
    assert written.channels == 2
    np.testing.assert_allclose(written.array().sum(-1), 1, atol=1e-5)
    keras_unet3d.predict(predictor, [run[1]], tmp_path / "labels.tif", listener=SILENT)
    assert open_volume(tmp_path / "labels.tif").spacing == pytest.approx(SPACING)


def test_evaluate_reads_zarr(run):
    found = keras_unet3d.evaluate(zoo.predictor(run[0]), run[1], listener=SILENT)
    assert found["volumes"][0]["file"] == "stack.zarr"


def test_suggest_and_merge_take_zarr(run, tmp_path):
    image, label = tiny_volume()
    sparse = np.full_like(label, UNLABELLED)
    sparse[4] = label[4]
    path = write_case(tmp_path / "a.zarr", raw=image, label=sparse)
    keras_unet3d.suggest(zoo.predictor(run[0]), path, tmp_path / "next", count=1, across="z", listener=SILENT)
    (painted,) = (tmp_path / "next").glob("*_labels.tif")
    import tifffile

    tifffile.imwrite(painted, np.full((16, 16), 5, np.uint8))
    for inside in (path, path / "labels.zarr"):
        with pytest.raises(InputError, match=says(inside, "expected a new file for the labels")):
            keras_unet3d.merge(tmp_path / "next", inside, overwrite=True, listener=SILENT)
    keras_unet3d.merge(tmp_path / "next", tmp_path / "labels.zarr", listener=SILENT)
    merged = open_volume(tmp_path / "labels.zarr", "label").array()[..., 0]
    assert (merged != UNLABELLED).sum() == 2 * 16 * 16
    np.testing.assert_array_equal(merged[4], label[4])


# ---- writing -------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_volume_and_nothing_else(tmp_path, monkeypatch):
    path = write_plain(tmp_path / "a.zarr", voxels())

    def broken(*_):
        raise OSError("no space left")

    monkeypatch.setattr(zarr.Array, "__setitem__", broken)
    with pytest.raises(OSError, match="no space left"):
        write_volume(path, voxels(), from_array(voxels()))
    assert os.listdir(tmp_path) == ["a.zarr"]
    np.testing.assert_array_equal(open_volume(path).array()[..., 0], voxels())


def test_a_volume_is_replaced_as_a_whole(tmp_path):
    path = write_case(tmp_path / "a.zarr")
    with pytest.raises(InputError, match=says("a.zarr: the output exists already", "add `overwrite=True`")):
        refuse_existing_volume(path, False)
    refuse_existing_volume(path, True)
    write_volume(path, voxels(), from_array(voxels()), "seg")
    assert sorted(os.listdir(tmp_path)) == ["a.zarr"]
    assert sorted(os.listdir(path)) == ["seg", "zarr.json"]


@pytest.mark.parametrize("mark", MARKS)
def test_overwrite_takes_only_zarr(tmp_path, mark):
    path = tmp_path / "a.zarr"
    path.mkdir()
    refuse_existing_volume(path, False)
    (path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match=says("a.zarr: expected an earlier output", "without zarr.json")):
        refuse_existing_volume(path, True)
    (path / mark).write_text("{}")
    refuse_existing_volume(path, True)
    assert (path / "thesis.txt").read_text() == "precious"


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "a.zarr").write_text("mine")
    with pytest.raises(InputError, match=says("a.zarr: expected a folder to write the output to, found a file")):
        refuse_existing_volume(tmp_path / "a.zarr", True)


@pytest.mark.parametrize("out", ["a.zarr", "a.zarr/raw.zarr", "a.zarr/labels.h5", "around.zarr"])
def test_predict_touches_no_input(run, tmp_path, out):
    path = write_case(tmp_path / "a.zarr")
    if out == "around.zarr":
        zarr.create_group(tmp_path / out)
        path = shutil.move(path, tmp_path / out / "a.zarr")
    with pytest.raises(InputError, match=says(tmp_path / out, "expected an output that is not an input")):
        keras_unet3d.predict(zoo.predictor(run[0]), [path], tmp_path / out, overwrite=True, listener=SILENT)
    assert sorted(os.listdir(path)) == ["label", "raw", "zarr.json"]


# ---- bad input -----------------------------------------------------------------------------------


def test_a_file_is_no_zarr(tmp_path):
    (tmp_path / "a.zarr").write_text("this is a letter, not a volume")
    with pytest.raises(InputError, match=says("a.zarr: expected a volume folder, found a file", "check the path")):
        open_volume(tmp_path / "a.zarr")


def test_any_other_folder_is_no_zarr(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(InputError, match=says("a.zarr: expected a Zarr volume, found a folder without", *MARKS)):
        open_volume(tmp_path / "a.zarr")


@pytest.mark.parametrize("number", FORMATS)
def test_a_missing_name_is_refused_with_those_there_are(tmp_path, number):
    path = write_group(tmp_path / "a.zarr", number, volumes__raw_image=voxels(), seg=voxels())
    words = ("a.zarr: expected a data set 'volumes/raw_imag'", "found seg, volumes/raw_image", "name it by `raw_key`")
    with pytest.raises(InputError, match=says(*words, "Did you mean 'volumes/raw_image'?")):
        open_volume(path, "volumes/raw_imag")
    with pytest.raises(InputError, match=says("a.zarr: expected a data set 'raw', found seg")):
        open_volume(path)
    with pytest.raises(InputError, match=says("a.zarr: expected a data set 'volumes', found seg")):
        open_volume(path, "volumes")


@pytest.mark.parametrize("key", ["../a.zarr", "/etc/passwd", "raw/c", "", "a/../raw/x", "."])
def test_names_do_not_lead_out(tmp_path, key):
    path = write_group(tmp_path / "b.zarr", em=voxels())
    write_plain(tmp_path / "a.zarr", voxels())
    with pytest.raises(InputError, match="b.zarr"):
        open_volume(path, key)


def test_a_chosen_name_that_is_missing_is_not_replaced_by_the_image(tmp_path):
    path = write_ome(tmp_path / "a.zarr", voxels(), "zyx")
    with pytest.raises(InputError, match=says("a.zarr: expected a data set 'em', found 0")):
        open_volume(path, "em")


def test_an_image_is_not_taken_for_its_labels(tmp_path):
    path = write_ome(tmp_path / "a.zarr", voxels(), "zyx")
    with pytest.raises(InputError, match=says("a.zarr: expected a data set 'label', found 0", "`label_key`")):
        open_examples([path])
    with pytest.raises(InputError, match=says("a.zarr:0: expected labels or weights beside the image")):
        open_examples([], globs=Globs(str(path), str(path)))
    path = write_plain(tmp_path / "b.zarr", voxels())
    words = ("b.zarr: expected a group with an array 'label', found a single array", "`images` and `labels`")
    with pytest.raises(InputError, match=says(*words)):
        open_examples([path])
    write_volume(tmp_path / "c.zarr", voxels(), from_array(voxels()), "label")
    with pytest.raises(InputError, match=says("c.zarr:label: expected labels or weights beside the image")):
        open_examples([tmp_path / "c.zarr"])


@pytest.mark.parametrize("number", FORMATS)
def test_several_times_are_refused(tmp_path, number):
    path = write_ome(tmp_path / "a.zarr", voxels((2, 1, *SHAPE)), "tczyx", number)
    words = ("a.zarr:0: expected one point in time, found 2 (axes tczyx, shape (2, 1, 5, 6, 7))", "save the one")
    with pytest.raises(InputError, match=says(*words)):
        open_volume(path)


@pytest.mark.parametrize("axes, shape", [("yx", (6, 7)), ("cyx", (3, 6, 7))])
def test_planes_are_no_volume(tmp_path, axes, shape):
    path = write_ome(tmp_path / "a.zarr", voxels(shape), axes, scale=[1.0] * len(shape))
    words = ("a.zarr:0: expected a stack of planes", f"found axes {axes} of shape {shape}", "`axes=zyx`")
    with pytest.raises(InputError, match=says(*words)):
        open_volume(path)


def test_a_stack_that_was_saved_as_channels_opens_with_axes(tmp_path):
    path = write_ome(tmp_path / "a.zarr", voxels(), "cyx")
    np.testing.assert_array_equal(open_volume(path, axes="zyx").array()[..., 0], voxels())


def test_four_axes_need_to_be_told(tmp_path):
    path = write_plain(tmp_path / "a.zarr", voxels((2, 3, 4, 5)), chunks=(2, 3, 4, 5))
    with pytest.raises(InputError, match=says("a.zarr: expected to be told the order of four axes", "`axes=czyx`")):
        open_volume(path)


@pytest.mark.parametrize("scale", [[0, 1, 1], [-1, 1, 1], ["a", 1, 1], [None, 1, 1]])
def test_a_broken_voxel_size_is_refused(tmp_path, scale):
    path = write_ome(tmp_path / "a.zarr", voxels(), "zyx")
    change_json(path / "zarr.json", lambda tree: scale_of(tree).update(scale=scale))
    with pytest.raises(InputError, match=says("a.zarr:0: expected a voxel size of three positive numbers")):
        open_volume(path)


def test_complex_voxels_are_refused(tmp_path):
    path = write_plain(tmp_path / "a.zarr", np.ones(SHAPE, np.complex64))
    with pytest.raises(InputError, match=says("a.zarr: expected numbers", "complex64")):
        open_volume(path)


def test_pickled_chunks_are_not_even_read(tmp_path):
    """A filter of format 2 may be pickle: whoever decodes such a chunk runs what is in it."""
    path = tmp_path / "a.zarr"
    write_plain(path, voxels(), 2)
    pickle = Pickle().get_config()
    # Some versions of zarr refuse most of these themselves.
    for change in (
        {"compressor": pickle},
        {"filters": [pickle]},
        {"filters": [Delta("<u2").get_config(), pickle]},
        {"filters": [pickle], "dtype": "|O"},
    ):
        change_json(path / ".zarray", lambda tree, change=change: tree.update({"compressor": None} | change))
        with pytest.raises(InputError, match=says("a.zarr: expected", "pickle" if "dtype" not in change else "found")):
            open_volume(path)


def change_json(path, change):
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


def scale_of(tree):
    return tree["attributes"]["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]


BROKEN = ["", "{", "[]", "5", "null", "{}", '{"zarr_format": 7, "node_type": "array"}', '{"zarr_format": 3}', "\0" * 50]


@pytest.mark.parametrize("content", BROKEN)
@pytest.mark.parametrize("name", ["zarr.json", ".zarray", ".zgroup", "raw/zarr.json", "raw/.zarray"])
def test_broken_metadata_is_refused(tmp_path, name, content):
    path = write_group(tmp_path / "a.zarr", 3 if name.endswith("json") else 2, raw=voxels())
    (path / name).write_text(content)
    try:
        volume = open_volume(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: expected")
    else:
        np.testing.assert_array_equal(volume.array()[..., 0], voxels())


@pytest.mark.parametrize("value", [None, 5, "text", [], [5], [{}], [{"datasets": 5}], [{"datasets": [5, {"path": 6}]}]])
@pytest.mark.parametrize("number", FORMATS)
def test_a_broken_description_is_none(tmp_path, number, value):
    image = {"multiscales": value}
    path = write_group(tmp_path / "a.zarr", number, {"ome": image} if number == 3 else image, em=voxels())
    np.testing.assert_array_equal(open_volume(path, "em").array()[..., 0], voxels())
    with pytest.raises(InputError, match=says("a.zarr: expected a data set 'raw', found em")):
        open_volume(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"axes": 5},
        {"axes": [None] * 3},
        {"axes": [{"name": 3}] * 3},
        {"axes": [{"name": "z", "unit": 5}, {"name": "y"}, "x"]},
        {"axes": ["u", "v", "w"]},
        {"coordinateTransformations": [{"scale": 3}, 5]},
        {"coordinateTransformations": [{"scale": [1, 2]}]},
    ],
)
def test_odd_descriptions_do_not_hinder(tmp_path, entry):
    image = {"multiscales": [{"datasets": [{"path": "em"}], "axes": ["z", "y", "x"]} | entry]}
    path = write_group(tmp_path / "a.zarr", 2, image, em=voxels())
    np.testing.assert_array_equal(open_volume(path).array()[..., 0], voxels())


@pytest.mark.parametrize("compressors", ["auto", None])
@pytest.mark.parametrize("number", FORMATS)
def test_a_truncated_chunk_is_refused(tmp_path, number, compressors):
    array = np.random.default_rng(0).integers(0, 2**16, (8, 8, 8), np.uint16)
    path = tmp_path / "a.zarr"
    stored = zarr.create_array(
        path, shape=array.shape, dtype=array.dtype, chunks=(8, 8, 8), zarr_format=number, compressors=compressors
    )
    stored[...] = array
    chunk = path / {2: "0.0.0", 3: "c/0/0/0"}[number]
    content = chunk.read_bytes()
    for end in (0, 1, len(content) // 2, len(content) - 1):
        chunk.write_bytes(content[:end])
        with pytest.raises(InputError, match=says("a.zarr: expected a readable .zarr volume", "truncated")):
            open_volume(path).array()


def test_a_volume_that_went_away_is_refused(tmp_path):
    path = write_plain(tmp_path / "a.zarr", voxels())
    volume = open_volume(path)
    shutil.rmtree(path)
    with pytest.raises(InputError, match=says("a.zarr: expected a readable .zarr volume", "no such folder any more")):
        volume.array()


@pytest.mark.parametrize("call", [open_volume, lambda path: refuse_existing_volume(path, False)])
def test_without_the_package_one_sentence_says_what_to_install(tmp_path, monkeypatch, call):
    path = write_plain(tmp_path / "a.zarr", voxels()) if call is open_volume else tmp_path / "a.zarr"
    monkeypatch.setitem(sys.modules, "zarr", None)
    words = ("a.zarr: expected the package zarr", "found none", "run pip install 'keras-unet3d[zarr]'")
    with pytest.raises(InputError, match=says(*words)):
        call(path)


def test_an_old_package_is_refused(tmp_path, monkeypatch):
    path = write_plain(tmp_path / "a.zarr", voxels())
    monkeypatch.delattr(zarr, "create_array")
    with pytest.raises(InputError, match=says("a.zarr: expected the package zarr, 3.0.8 or newer", zarr.__version__)):
        open_volume(path)
