"""files: output is there whole or not at all, and nothing is lost."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import says

from keras_unet3d.errors import InputError, did_you_mean
from keras_unet3d.files import (
    read_array,
    read_json,
    refuse_existing,
    refuse_existing_folder,
    refuse_unwritable,
    remove_path,
    table_writer,
    whole_file,
    whole_folder,
    write_csv,
    write_json,
    write_text,
)


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


def test_what_is_no_plain_place_is_never_replaced(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name, found in (("link", "a link that leads nowhere"), ("pipe", "a device or a pipe")):
        for whole in (whole_file, whole_folder):
            with pytest.raises(InputError, match=says(tmp_path / name, "found")), whole(tmp_path / name):
                pass
        with pytest.raises(InputError, match=says(f"expected a path for a new output, found {found}")):
            refuse_existing(tmp_path / name, overwrite=True)
    with pytest.raises(InputError, match="expected the name of a new file or folder, found none"), whole_folder(Path()):
        pass
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_link_to_a_folder_is_replaced_and_the_folder_stays(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with whole_folder(tmp_path / "link") as partial:
        (partial / "a").write_text("new")
    assert (tmp_path / "link" / "a").read_text() == "new" and (tmp_path / "real" / "a").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]


def test_text_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match=says("expected text, found characters that are none, '\\udcff'")):
        write_text(tmp_path / "a", "bad \udcff")


# ---- what goes wrong with the system --------------------------------------------------------------

LONG = "x" * 300


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
@pytest.mark.parametrize(
    "place, found",
    [
        (LONG, "a name that is too long"),
        ("loop/a", "something there that is no folder, perhaps a link that leads nowhere"),
        ("nowhere/a", "something there that is no folder, perhaps a link that leads nowhere"),
        pytest.param(
            "/proc/a",
            "a place where nothing can be made",
            marks=pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc"),
        ),
    ],
)
def test_a_place_that_cannot_be_is_said_before_the_work(tmp_path, whole, place, found):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone/deeper")
    before = sorted(os.listdir(tmp_path))
    worked = []
    sentence = says(tmp_path / place, f"expected a path that can be written to, found {found}; choose another path.")
    with pytest.raises(InputError, match=sentence), whole(tmp_path / place):
        worked.append(True)
    assert not worked
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    "number, reason", [(errno.EACCES, "no permission for it"), (errno.EROFS, "it write-protected")]
)
def test_a_protected_place_is_said_before_the_work(tmp_path, monkeypatch, number, reason):
    def refuse(*arguments, **others):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match=says(tmp_path / "new" / "a", f"found {reason}; choose another path")):
        refuse_unwritable(tmp_path / "new" / "a")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "number, said",
    [
        (errno.ENOSPC, "expected room for the result, found the disk full; make room"),
        (errno.EDQUOT, "expected room for the result, found the quota used up; make room"),
        (errno.EIO, "expected a path that can be written to, found a disk that fails"),
    ],
)
def test_a_write_that_fails_half_way_leaves_the_old_and_is_said(tmp_path, number, said):
    (tmp_path / "a").write_text("old")
    with pytest.raises(InputError, match=says(tmp_path / "a", said)), whole_file(tmp_path / "a") as partial:
        partial.write_text("half")
        raise OSError(number, os.strerror(number), str(partial))
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_other_errors_of_the_system_are_not_taken_for_the_output(tmp_path):
    with pytest.raises(PermissionError), whole_file(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "Permission denied", "input.h5")


def test_folders_that_were_made_in_vain_go_again(tmp_path):
    with pytest.raises(RuntimeError), whole_file(tmp_path / "a" / "b" / "c.txt"):
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_left_goes_with_the_next_one(tmp_path):
    (tmp_path / ".partial.a").write_text("half")
    (tmp_path / ".a.lock").write_text("process 1 on nowhere, since 00:00:00,")
    with whole_file(tmp_path / "a") as partial:
        partial.write_text("whole")
    (tmp_path / ".partial.f").mkdir()
    (tmp_path / ".partial.f" / "b").write_text("half")
    with whole_folder(tmp_path / "f"):
        pass
    assert sorted(os.listdir(tmp_path)) == ["a", "f"]


def test_a_folder_that_was_about_to_be_replaced_comes_back(tmp_path):
    (tmp_path / ".old.f").mkdir()
    (tmp_path / ".old.f" / "a").write_text("old")
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "f"):
        assert (tmp_path / "f" / "a").read_text() == "old"
        raise RuntimeError
    assert os.listdir(tmp_path) == ["f"]
    # Of one that was replaced already, the rest goes.
    (tmp_path / ".old.f").mkdir()
    with whole_folder(tmp_path / "f") as partial:
        (partial / "a").write_text("new")
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f" / "a").read_text() == "new"


def test_a_killed_process_holds_nobody_up(tmp_path):
    program = "import sys, time; from pathlib import Path; from keras_unet3d.files import claimed\nwith claimed(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program, tmp_path / "a"], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        sentence = says(
            tmp_path / "a", f"found process {other.pid} on", "since", "writing there; wait for it, or choose"
        )
        with pytest.raises(InputError, match=sentence), whole_file(tmp_path / "a"):
            pass
        other.kill()
    assert (tmp_path / ".a.lock").exists()
    write_text(tmp_path / "a", "whole")
    assert os.listdir(tmp_path) == ["a"]


def test_a_removed_folder_is_gone_at_once(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a").write_text("")
    for path in (tmp_path / "f", tmp_path / "none"):
        remove_path(path)
    assert os.listdir(tmp_path) == []


# ---- reading --------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_what_has_no_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(InputError, match=says(tmp_path / "a.json", "expected a thing, found no plain file.")):
        read_json(tmp_path / "a.json", "a thing")


def test_a_header_that_promises_more_than_the_file_holds_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(4))
    np.testing.assert_array_equal(read_array(tmp_path / "a.npy", "an array"), np.zeros(4))
    content = (tmp_path / "a.npy").read_bytes()
    forged = content.replace(b"'shape': (4,), }" + b" " * 12, b"'shape': (4398046511104,), }")
    assert forged != content and len(forged) == len(content)
    (tmp_path / "a.npy").write_bytes(forged)
    with pytest.raises(InputError, match=says(tmp_path / "a.npy", "expected an array, found a broken one.")):
        read_array(tmp_path / "a.npy", "an array")


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


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="the system follows links")
def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".a.lock").symlink_to("victim")
    with (
        pytest.raises(InputError, match="found links that lead in a circle, or a link where none may be"),
        whole_file(tmp_path / "a"),
    ):
        pass
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_dead_lock_of_another_user_holds_nobody_up(tmp_path, monkeypatch):
    (tmp_path / ".a.lock").write_text("process 1 on nowhere, since 00:00:00,")
    system = os.open

    def refuse(path, flags, *mode, **others):
        if flags & os.O_CREAT and str(path).endswith(".lock"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return system(path, flags, *mode, **others)

    monkeypatch.setattr(os, "open", refuse)
    with whole_file(tmp_path / "a") as partial:
        # A lock that is held can be asked, too.
        with pytest.raises(InputError, match="another process|process"), whole_file(tmp_path / "a"):
            pass
        partial.write_text("whole")
    assert os.listdir(tmp_path) == ["a"]


def test_the_name_of_whoever_has_only_just_taken_a_lock_is_waited_for(tmp_path, monkeypatch):
    lock = tmp_path / ".a.lock"
    fcntl = pytest.importorskip("fcntl", reason="Windows locks in another way")
    holder = os.open(lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)
    # It writes its name while the other one waits.
    monkeypatch.setattr("keras_unet3d.locks.time.sleep", lambda seconds: lock.write_text("process 1 on here,"))
    try:
        with pytest.raises(InputError, match="found process 1 on here, writing there"), whole_file(tmp_path / "a"):
            pass
    finally:
        os.close(holder)


def test_a_lock_whose_holder_cannot_be_named_is_a_lock(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="Windows locks in another way")
    holder = os.open(tmp_path / ".a.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)
    monkeypatch.setattr("keras_unet3d.locks.time.sleep", lambda seconds: None)
    try:
        with pytest.raises(InputError, match="found another process writing there"), whole_file(tmp_path / "a"):
            pass
    finally:
        os.close(holder)


def test_a_table_has_a_line_per_row_and_nothing_for_none(tmp_path):
    write_csv(tmp_path / "t.csv", [{"file": 'a, "b".h5', "dice": 0.25}, {"file": "c", "dice": None}])
    assert (tmp_path / "t.csv").read_text() == 'file,dice\n"a, ""b"".h5",0.25\nc,\n'


def test_columns_as_csv_by_hand(tmp_path):
    columns = {
        "label": np.array([1, 2**63], np.uint64),
        "volume": np.array([0.5, np.nan]),
        "cut": np.array([True, False]),
    }
    table_writer(tmp_path / "t.CSV")(tmp_path / "t.CSV", columns)
    assert (tmp_path / "t.CSV").read_text() == "label,volume,cut\n1,0.5,True\n9223372036854775808,nan,False\n"


def test_columns_as_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"label": np.array([1, 2**63], np.uint64), "volume": np.array([0.5, 2.0]), "cut": np.array([True, False])}
    table_writer(tmp_path / "t.parquet")(tmp_path / "t.parquet", columns)
    written = parquet.read_table(tmp_path / "t.parquet")
    assert written.to_pydict() == {name: column.tolist() for name, column in columns.items()}
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["t.parquet"]


def test_no_other_table():
    with pytest.raises(InputError, match=r"t\.xlsx: expected a table ending in \.csv or \.parquet, found 't\.xlsx'"):
        table_writer(Path("t.xlsx"))
