"""`unet3d-cli measure`: exit codes and sentences; what it writes is tested in tests/workflows."""

import numpy as np
import pytest
import tifffile
from helpers import write_pair

from keras_unet3d.cli import main


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """A function that measures in an empty folder with `a.h5`, and returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    write_pair(tmp_path / "a.h5")

    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main(["measure", *map(str, words)])
        said = capsys.readouterr()
        return stop.value.code or 0, said.out, said.err

    return run


def test_classes_with_grey_values(call, tmp_path):
    code, said, _ = call("a.h5", "a.h5", "--out", "t.csv", "--background", 9)
    assert (code, said) == (0, "t.csv: 2 objects, 2 of them at the border; t.png\n")
    header, *rows = (tmp_path / "t.csv").read_text().splitlines()
    assert header.startswith("label,volume_voxels,volume_um3,") and header.endswith("intensity_max")
    assert [row.split(",")[:3] for row in rows] == [["0", "1920", "3840.0"], ["5", "1920", "3840.0"]]


def test_every_option_arrives(call, tmp_path):
    tifffile.imwrite("labels.tif", np.ones((4, 8, 8), np.uint8))
    assert call("labels.tif", "--out", "t.csv", "--spacing", 4, 1, 1, "--unit", "nm", "--axes", "zyx")[0] == 0
    assert "volume_nm3" in (tmp_path / "t.csv").read_text()
    assert call("a.h5", "--out", "t.csv", "--label-key", "label", "--raw-key", "raw", "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["a.h5"], "Missing option '--out'."),
        (["no.h5", "--out", "t.csv"], "no.h5: expected a volume file, found no such file"),
        (["a.h5", "--out", "t.txt"], "t.txt: expected a table ending in .csv or .parquet, found 't.txt'."),
        (["a.h5", "--out", "t.csv", "--label-key", "raw"], "a.h5:raw: expected labels that are whole numbers, found "),
        (["a.h5", "small.tif", "--out", "t.csv"], "small.tif: expected the shape of the labels a.h5:label, (16, 16, 16)"),
        (["a.h5", "--out", "old.csv"], "old.csv: the table exists already; choose another path or add --overwrite."),
        (["zeros.tif", "--out", "t.csv"], "check the labels, and --background."),
        (["a.h5", "--out", "t.csv", "--spacing", "1", "-1", "1"], "--spacing: expected a voxel size of three positive"),
    ],
)  # fmt: skip
def test_wrong_calls(words, sentence, call, tmp_path):
    tifffile.imwrite("small.tif", np.zeros((6, 8, 9), np.uint8))
    tifffile.imwrite("zeros.tif", np.zeros((6, 8, 9), np.uint8))
    (tmp_path / "old.csv").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    code, _, error = call(*words)
    assert code == 2 and sentence in error and len(error.splitlines()) == 1, error
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if not path.name.endswith(".lock")} == before
