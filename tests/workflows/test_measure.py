"""`measure`: files in, a table and a picture out; nothing is lost or half-written."""

import builtins
import csv

import h5py
import numpy as np
import pytest
import tifffile
from helpers import says
from PIL import Image

import keras_unet3d
from keras_unet3d import InputError, measure, open_volume


@pytest.fixture
def cells(tmp_path):
    """An HDF5 file with labels 3 and 500, and an image that is twice the label."""
    labels = np.zeros((6, 8, 9), np.uint16)
    labels[1:3, 1:3, 1:3], labels[4:, 4:, 4:] = 3, 500
    with h5py.File(tmp_path / "cells.h5", "w") as file:
        for name, array in {"label": labels, "raw": 2 * labels}.items():
            file.create_dataset(name, data=array).attrs["element_size_um"] = (2.0, 1.0, 1.0)
    return tmp_path / "cells.h5"


def test_a_table_of_files_arrays_and_volumes_is_the_same(cells, tmp_path):
    table = measure(cells, str(cells))
    assert table["label"].tolist() == [3, 500] and table["intensity_max"].tolist() == [6, 1000]
    assert table["volume_um3"].tolist() == [16, 80] and table["touches_border"].tolist() == [False, True]
    labels, image = open_volume(cells, "label"), open_volume(cells, "raw")
    arrays = measure(labels.array()[..., 0], image.array(), spacing=(2, 1, 1))
    for other in (measure(labels, image), arrays):
        for name, column in table.items():
            np.testing.assert_array_equal(other[name], column)
    assert list(tmp_path.iterdir()) == [cells]


def test_the_voxel_size_of_the_labels_counts_before_that_of_the_image_and_a_given_one_before_both(cells, tmp_path):
    tifffile.imwrite(tmp_path / "labels.tif", open_volume(cells, "label").array()[..., 0])
    assert "volume_um3" not in measure(tmp_path / "labels.tif")
    assert measure(tmp_path / "labels.tif", cells)["volume_um3"].tolist() == [16, 80]
    assert measure(cells, spacing=(1, 1, 1), unit="nm")["volume_nm3"].tolist() == [8, 40]
    assert measure(cells, unit="mm")["volume_mm3"].tolist() == [16, 80]


def test_a_csv_file_and_a_picture(cells, tmp_path):
    lines = []
    table = measure(cells, cells, tmp_path / "new" / "t.csv", listener=keras_unet3d.Listener(lines.append))
    with (tmp_path / "new" / "t.csv").open() as file:
        first, second = csv.DictReader(file)
    assert list(first) == list(table)
    assert (first["label"], first["volume_um3"], first["touches_border"]) == ("3", "16.0", "False")
    assert float(second["surface_um2"]) == table["surface_um2"][1]
    with Image.open(tmp_path / "new" / "t.png") as picture:
        assert picture.format == "PNG" and picture.width > 1000
    folder = tmp_path / "new"
    assert lines == [f"{folder / 't.csv'}: 2 objects, 1 of them at the border; {folder / 't.png'}"]
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == ["t.csv", "t.png"]


def test_a_parquet_file(cells, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = measure(cells, cells, tmp_path / "t.parquet")
    written = parquet.read_table(tmp_path / "t.parquet")
    assert written.column_names == list(table) and (tmp_path / "t.png").is_file()
    for name, column in table.items():
        assert written[name].to_pylist() == column.tolist()


@pytest.mark.parametrize("count", [1, 2, 300])
def test_a_picture_of_any_number_of_objects(count, tmp_path):
    image = np.full((1, 1, count), np.nan)
    measure(np.arange(1, count + 1).reshape(1, 1, -1), image, tmp_path / "t.csv")
    assert (tmp_path / "t.png").is_file()


# ---- what is refused -------------------------------------------------------------------------------


@pytest.fixture
def refused(tmp_path):
    """A function that asserts that a call is refused in one sentence with these words, and the files are as before."""

    def refuse(call, *words):
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(InputError, match=says(*words)) as error:
            call()
        assert "\n" not in str(error.value)
        assert {path: path.read_bytes() for path in tmp_path.iterdir() if not path.name.endswith(".lock")} == before

    return refuse


def test_an_image_of_another_shape(cells, tmp_path, refused):
    refused(lambda: measure(cells, np.zeros((2, 2, 2)), tmp_path / "t.csv"), "image: expected the shape", "(6, 8, 9)")


def test_probabilities_and_nothing_but_background(cells, tmp_path, refused):
    chance = np.full((4, 4, 4, 2), 0.5, np.float32)
    refused(lambda: measure(chance, out=tmp_path / "t.csv"), "one label per voxel", "2 channels")
    refused(lambda: measure(chance[..., 0], out=tmp_path / "t.csv"), "whole numbers", "0.5")
    refused(lambda: measure(np.zeros((4, 4, 4), int), out=tmp_path / "t.csv"), "expected objects", "background 0")


def test_an_unknown_table(cells, tmp_path, refused):
    refused(lambda: measure(cells, out=tmp_path / "t.xlsx"), "t.xlsx: expected a table ending in .csv or .parquet")
    refused(lambda: measure(cells, out=tmp_path / "t"), "expected a table ending in .csv or .parquet")


def test_parquet_without_pyarrow(cells, tmp_path, refused, monkeypatch):
    plain = builtins.__import__

    def without(name, *others):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return plain(name, *others)

    monkeypatch.setattr(builtins, "__import__", without)
    refused(
        lambda: measure(cells, out=tmp_path / "t.parquet"), "package pyarrow", "pip install 'keras-unet3d[parquet]'"
    )


@pytest.mark.parametrize("there", ["t.csv", "t.png"])
def test_nothing_is_written_over(there, cells, tmp_path, refused):
    (tmp_path / there).write_text("mine")
    refused(lambda: measure(cells, out=tmp_path / "t.csv"), f"{there}: the ", "exists already", "`overwrite=True`")
    measure(cells, out=tmp_path / "t.csv", overwrite=True)
    assert (tmp_path / there).read_bytes() != b"mine"


def test_an_input_is_never_written_over(cells, tmp_path, refused):
    # Whatever it is called: a volume may be a folder.
    zarr = pytest.importorskip("zarr")
    zarr.save_array(tmp_path / "cells.zarr", np.ones((2, 2, 2), np.uint8))
    out = tmp_path / "cells.zarr" / "t.csv"
    with pytest.raises(InputError, match=says("t.csv: expected a table that is not an input", "another path")):
        measure(tmp_path / "cells.zarr", out=out, overwrite=True)
    assert not out.exists()


def test_a_voxel_size_that_is_none(cells, refused):
    refused(lambda: measure(cells, spacing=(1, 0, 1)), "spacing: expected a voxel size of three positive numbers")
    refused(lambda: measure(cells, spacing=(1, 1)), "spacing: expected three finite numbers (z, y, x)")


def test_a_missing_data_set(cells, refused):
    refused(lambda: measure(cells, label_key="cells"), "expected a data set 'cells'", "label, raw", "`label_key`")
