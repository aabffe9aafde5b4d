"""files: output is there whole or not at all, and nothing is lost."""

import json
import os

import pytest
from helpers import says

from keras_unet3d.errors import InputError, did_you_mean
from keras_unet3d.files import read_json, refuse_existing, refuse_existing_folder, whole_file, whole_folder, write_json


class Interrupted(BaseException):
    """Stands for Ctrl-C: no `Exception`."""


# ---- whole_file ----------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [None, "old"])
def test_a_file_appears_when_it_is_whole(tmp_path, old):
    path = tmp_path / "new" / "a.nii.gz"
    if old:
        path.parent.mkdir()
        path.write_text(old)
    with whole_file(path) as partial:
        partial.write_text("half")
        assert (path.read_text() if path.exists() else None) == old
        assert partial.parent == path.parent
        assert partial.name.endswith("a.nii.gz")
        partial.write_text("whole")
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["a.nii.gz"]


@pytest.mark.parametrize("error", [RuntimeError, Interrupted])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_broken_off_file_leaves_the_old_one_and_nothing_else(tmp_path, old, error):
    path = tmp_path / "a.txt"
    if old:
        path.write_text(old)
    with pytest.raises(error), whole_file(path) as partial:
        partial.write_text("half")
        raise error
    assert os.listdir(tmp_path) == (["a.txt"] if old else [])
    assert not old or path.read_text() == old


def test_a_file_that_was_never_written_is_an_error_and_leaves_the_old_one(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a.txt"):
        pass
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_of_two_writers_of_one_place_the_second_is_told(tmp_path):
    sentence = says(tmp_path / "a", "expected a place that nobody else writes to", f"found process {os.getpid()} on")
    for whole in (whole_file, whole_folder):
        with whole_file(tmp_path / "a") as partial:
            with pytest.raises(InputError, match=sentence), whole(tmp_path / "a"):
                pass
            partial.write_text("1")
        assert (tmp_path / "a").read_text() == "1"
        assert os.listdir(tmp_path) == ["a"]


def test_what_appeared_meanwhile_is_not_replaced_unless_it_may_be(tmp_path):
    (tmp_path / "a").write_text("old")
    with (
        pytest.raises(InputError, match=says("a: the labels exists already")),
        whole_file(tmp_path / "a", False, "labels"),
    ):
        pass
    assert (tmp_path / "a").read_text() == "old"


# ---- whole_folder --------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True])
def test_a_folder_appears_when_it_is_whole(tmp_path, old):
    path = tmp_path / "new" / "run"
    if old:
        path.mkdir(parents=True)
        (path / "old.txt").write_text("old")
    with whole_folder(path) as partial:
        assert list(partial.iterdir()) == []
        (partial / "sub").mkdir()
        (partial / "sub" / "a.txt").write_text("new")
        assert (os.listdir(path) if path.exists() else None) == (["old.txt"] if old else None)
    assert os.listdir(path.parent) == ["run"]
    assert os.listdir(path) == ["sub"]
    assert (path / "sub" / "a.txt").read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, Interrupted])
@pytest.mark.parametrize("old", [False, True])
def test_a_broken_off_folder_leaves_the_old_one_and_nothing_else(tmp_path, old, error):
    path = tmp_path / "run"
    if old:
        path.mkdir()
        (path / "old.txt").write_text("old")
    with pytest.raises(error), whole_folder(path) as partial:
        (partial / "a.txt").write_text("half")
        raise error
    assert os.listdir(tmp_path) == (["run"] if old else [])
    assert not old or (os.listdir(path), (path / "old.txt").read_text()) == (["old.txt"], "old")


def test_the_old_folder_stays_when_the_new_one_cannot_take_its_place(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "old.txt").write_text("old")
    with pytest.raises(OSError), whole_folder(path) as partial:
        partial.rename(tmp_path / "gone")
    assert sorted(os.listdir(tmp_path)) == ["gone", "run"]
    assert (path / "old.txt").read_text() == "old"


# ---- refuse_existing -----------------------------------------------------------------------------


def test_an_existing_file_is_refused_unless_it_may_be_replaced(tmp_path):
    path = tmp_path / "out"
    assert refuse_existing(path, overwrite=False) is None
    path.write_text("old")
    with pytest.raises(InputError, match=says(path, "the labels exists already", "`overwrite=True`")):
        refuse_existing(path, overwrite=False, what="labels")
    assert refuse_existing(path, overwrite=True) is None
    assert path.read_text() == "old"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_no_place_for_a_file(tmp_path, overwrite):
    with pytest.raises(InputError, match=says(tmp_path, "expected a file to write the output to, found a folder")):
        refuse_existing(tmp_path, overwrite)


def test_an_existing_folder_is_refused_unless_it_is_one_to_replace(tmp_path):
    path = tmp_path / "out"
    for prepare in (lambda: None, path.mkdir):
        prepare()
        assert refuse_existing_folder(path, False, "run", ("config.json",)) is None
    (path / "thesis.txt").write_text("precious")
    for overwrite in (False, True):
        sentence = says(path, "expected an earlier run", "or an empty folder", "found a folder without config.json")
        with pytest.raises(InputError, match=sentence):
            refuse_existing_folder(path, overwrite, "run", ("config.json",))
    (path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=says(path, "the run exists already", "`overwrite=True`")):
        refuse_existing_folder(path, False, "run", ("config.json",))
    assert refuse_existing_folder(path, True, "run", ("config.json",)) is None
    assert (path / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_no_place_for_a_folder(tmp_path, overwrite):
    (tmp_path / "out").write_text("old")
    with pytest.raises(InputError, match=says(tmp_path / "out", "expected a folder", "found a file")):
        refuse_existing_folder(tmp_path / "out", overwrite, "run", ())
    for refuse in (
        lambda path: refuse_existing(path, overwrite),
        lambda path: refuse_existing_folder(path, overwrite, "run", ()),
    ):
        with pytest.raises(
            InputError, match=says("expected a path inside folders", f"found the file {tmp_path / 'out'}")
        ):
            refuse(tmp_path / "out" / "deeper")


# ---- JSON ----------------------------------------------------------------------------------------


def test_json_comes_back(tmp_path):
    value = {"a": [1, 2.5, None], "b": {"µ": True}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json", "a thing") == value
    assert (tmp_path / "a.json").read_text("utf-8").endswith("}\n")


@pytest.mark.parametrize("value, error", [({"a": float("nan")}, ValueError), ({"a": object()}, TypeError)])
def test_what_json_cannot_hold_leaves_the_old_file(tmp_path, value, error):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(error):
        write_json(tmp_path / "a.json", value)
    assert (tmp_path / "a.json").read_text() == "{}"
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    "content, found",
    [
        (b"", "found something unreadable"),
        (b'{"a": ', "found something unreadable"),
        (b'{"a": "\xff"}', "found bytes that are no text (UTF-8)"),
        (b'{"a": NaN}', "found something unreadable (NaN is no number)"),
        (b'{"a": 1e999}', "found something unreadable (1e999 is no number)"),
        (b'{"a":' * 100_000, "found brackets nested beyond all reason"),
        (json.dumps([1]).encode(), "found a list"),
        (b"3", "found a int"),
    ],
)
def test_json_that_is_none_is_refused(tmp_path, content, found):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=says("a.json: expected a thing", found)):
        read_json(tmp_path / "a.json", "a thing")


def test_missing_json_is_refused(tmp_path):
    with pytest.raises(InputError, match=says("a.json: expected a thing, found no such file")):
        read_json(tmp_path / "a.json", "a thing")


def test_a_folder_is_no_json(tmp_path):
    with pytest.raises(InputError, match=says(tmp_path, "expected a thing, found a folder.")):
        read_json(tmp_path, "a thing")


# ---- did_you_mean --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word, known, expected",
    [
        ("labels", ["label", "raw"], " Did you mean 'label'?"),
        ("zzz", ["label", "raw"], ""),
        ("raw", [], ""),
        ("raw1", ["raw2", "raw3"], " Did you mean 'raw3' or 'raw2'?"),
    ],
)
def test_did_you_mean(word, known, expected):
    assert did_you_mean(word, known) == expected
