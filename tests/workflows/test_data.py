"""open_data: files in, opened volumes and one label table for all of them out; what was inferred is said."""

from pathlib import Path

import numpy as np
import pytest
from helpers import UNLABELLED, tiny_volume, write_pair

from keras_unet3d import DataOptions, FitSettings, InputError, LabelTable, open_data
from keras_unet3d.listener import Listener

NINE = DataOptions(unlabelled=(UNLABELLED,))


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    """An empty folder to write volumes to."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_label_table_for_all_volumes(files):
    write_pair(Path("a.h5"))
    write_pair(Path("b.h5"), 1, label=np.where(tiny_volume()[1] == 0, 3, tiny_volume()[1]))
    data = open_data(".", options=NINE)
    assert [example.name for example in data.training] == ["a.h5", "b.h5"]
    assert data.validation == () and data.examples == data.training
    # The second has a value that the first lacks: both are classes of one network.
    assert data.table == LabelTable((0, 3, 5), ("0", "3", "5"), (9,))
    assert data.num_classes == 3
    assert data.options == NINE
    assert data.training[0].image.shape == (16, 16, 16) and data.training[0].image.spacing == (2.0, 1.0, 1.0)


def test_it_is_told_in_words(files):
    write_pair(Path("a.h5"))
    assert open_data("a.h5", options=NINE).in_words() == (
        "data: 1 volume, first 16 x 16 x 16 (z y x), 1 channel, voxel 2 x 1 x 1 um\nclasses: 0, 5; unlabelled: 9"
    )


def test_pairs_of_files_are_told(files):
    for number in range(4):
        write_pair(Path(f"image{number}.h5"), number, label=None)
        write_pair(Path(f"label{number}.h5"), number, raw=None)
    data = open_data(images="image*.h5", labels="label*.h5", options=NINE)
    assert data.in_words().splitlines() == [
        "data: 4 volumes, first 16 x 16 x 16 (z y x), 1 channel, voxel 2 x 1 x 1 um",
        "pairs: image0.h5 + label0.h5, image1.h5 + label1.h5, image2.h5 + label2.h5, ...",
        "classes: 0, 5; unlabelled: 9",
    ]


def test_a_value_that_means_unlabelled_is_inferred_and_said(files):
    _, label = tiny_volume()
    write_pair(Path("a.h5"), label=np.where(label == UNLABELLED, 255, label))
    said = []
    data = open_data("a.h5", listener=Listener(said.append))
    assert data.table == LabelTable((0, 5), ("0", "5"), (255,))
    assert said == [
        "unlabelled: 255, far above the other values, 0, 5 (if that is wrong, declare the values by `classes`)"
    ]


def test_what_is_declared_is_not_inferred(files):
    write_pair(Path("a.h5"))
    said = []
    for options, table in (
        (NINE, LabelTable((0, 5), ("0", "5"), (9,))),
        (DataOptions(classes="0=air,5=wall,9=sky"), LabelTable((0, 5, 9), ("air", "wall", "sky"))),
        (DataOptions(classes="5=wall,0", unlabelled=(9,)), LabelTable((5, 0), ("wall", "0"), (9,))),
        (DataOptions(num_classes=10), LabelTable(tuple(range(10)), tuple(map(str, range(10))))),
        (FitSettings(num_classes=6, unlabelled=(9,)), LabelTable(tuple(range(6)), tuple(map(str, range(6))), (9,))),
    ):
        assert open_data("a.h5", options=options, listener=Listener(said.append)).table == table
    assert said == []


def test_boundaries_are_two_classes_whatever_the_values(files):
    write_pair(Path("a.h5"), label=np.arange(16**3).reshape(16, 16, 16) // 64)
    data = open_data("a.h5", options=DataOptions(target="boundaries"))
    assert (data.table.names, data.table.target, data.num_classes) == (("interior", "boundary"), "boundaries", 2)


def test_the_sample_has_its_names():
    data = open_data("sample")
    assert data.table == LabelTable((0, 1, 2), ("lumen", "wall", "background"), (3,))


def test_validation_volumes_are_held_apart_and_share_the_table(files):
    write_pair(Path("a.h5"))
    write_pair(Path("b.h5"), 1)
    data = open_data("a.h5", val="b.h5", options=NINE)
    assert ([each.name for each in data.training], [each.name for each in data.validation]) == (["a.h5"], ["b.h5"])
    assert [each.name for each in data.examples] == ["a.h5", "b.h5"]
    assert data.table == LabelTable((0, 5), ("0", "5"), (9,))


def test_validation_adds_no_class(files):
    write_pair(Path("a.h5"))
    write_pair(Path("b.h5"), 1, label=np.where(tiny_volume()[1] == 5, 3, tiny_volume()[1]))
    with pytest.raises(InputError, match=r"b\.h5:label: expected the labels 0, 5; found 3 \(1920 voxels\)"):
        open_data("a.h5", val="b.h5", options=NINE)


@pytest.mark.parametrize("again", [dict(data=["a.h5", "a.h5"]), dict(data=["a.h5"], val=["./a.h5"])])
def test_a_volume_given_twice_is_refused(files, again):
    write_pair(Path("a.h5"))
    with pytest.raises(InputError) as caught:
        open_data(**again, options=NINE)
    assert "a.h5:raw: expected every volume once, found it twice; leave one out." in str(caught.value)


def test_labels_that_are_255_everywhere_are_nothing_labelled(tmp_path):
    path, said = write_pair(tmp_path / "a.h5", label=np.full((16, 16, 16), 255, np.uint8)), []
    with pytest.raises(InputError) as caught:
        open_data(path, listener=Listener(said.append))
    assert str(caught.value).startswith(
        f"{path}:label: expected some labelled voxels, found nothing labelled: every voxel is 255"
    )
    assert said == ["unlabelled: 255, the only value (if that is wrong, declare the values by `classes`)"]


def test_labels_take_the_axes_of_the_image_without_the_c(tmp_path):
    image, label = tiny_volume()
    path = write_pair(tmp_path / "a.h5", raw=image[None], label=label, weight=np.ones(label.shape))
    (example,) = open_data(path, options=DataOptions(unlabelled=(UNLABELLED,), axes="CZYX")).examples
    assert (example.image.channels, example.label.shape, example.weight.shape) == (1, label.shape, label.shape)


def test_two_data_sets_of_one_file_are_two_volumes(files):
    import h5py

    image, label = tiny_volume()
    with h5py.File("a.h5", "w") as file:
        file["one"], file["other"], file["label"] = image, image, label
    one, other = (DataOptions(unlabelled=(9,), raw_key=key) for key in ("one", "other"))
    assert (
        open_data("a.h5", options=one).training[0].image.name != open_data("a.h5", options=other).training[0].image.name
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (DataOptions(num_classes=3), "a.h5:label: expected the labels 0, 1, 2; found 5 (1920 voxels), 9 (256 voxels)"),
        (DataOptions(unlabelled=(0, 5, 9)), "a.h5:label: expected some labelled voxels, found nothing labelled"),
        (DataOptions(unlabelled=(0, 9)), "expected at least two classes, found only the label 5"),
        (DataOptions(raw_key="image"), "a.h5: expected a data set 'image', found label, raw"),
    ],
)
def test_labels_that_do_not_fit_are_refused(files, options, said):
    write_pair(Path("a.h5"))
    with pytest.raises(InputError) as caught:
        open_data("a.h5", options=options)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (dict(data=5), "DATA: expected a path or a list of paths, found 5."),
        (dict(data=["a.h5", None]), "DATA: expected a path or a list of paths, found ['a.h5', None]."),
        (
            dict(data=np.zeros((9, 9, 9))),
            "DATA: expected a path or a list of paths, found a ndarray; write arrays to a file, or give them to "
            "keras.Model.fit.",
        ),
        (dict(data=""), "DATA: expected a path or a list of paths, found ''."),
        (dict(data="a.h5", val=[3]), "DATA: expected a path or a list of paths, found [3]."),
        (dict(data="a.h5", options={"axes": "zyx"}), "options: expected a DataOptions, found a dict."),
        (dict(data="a.h5", options=DataOptions), "options: expected a DataOptions, found the class DataOptions."),
    ],
)
def test_a_wrong_call_is_refused(files, call, said):
    write_pair(Path("a.h5"))
    with pytest.raises(InputError) as caught:
        open_data(**call)
    assert str(caught.value) == said


def test_nothing_given_is_refused():
    with pytest.raises(InputError, match="DATA: expected HDF5 or Zarr volumes, a folder, `images` and `labels`, or a"):
        open_data()
