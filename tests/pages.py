"""The pages of the documentation: their snippets and commands, and a folder of tiny volumes under the names they use."""

import json
import re
import shlex
import shutil
from glob import glob
from pathlib import Path

import click
import h5py
import nibabel
import numpy as np
import strangers
import tifffile
import zarr
from click.testing import CliRunner

from keras_unet3d.cli import unet3d_cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
# What users read, and what those who change the code read.
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [*GUIDES, ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]

# Commands that need what a machine may lack are only parsed: a Dask scheduler, other hosts, a tracker's package, the web, a display.
PARSED_ONLY = (
    "view",
    "tcp://HOST:8786",
    "node1:9000",
    "mlflow",
    "https://HOST/small-cells-1.0.0-3f0c71aa.zip",
    "hf://OWNER/small-cells",
    "hf://OWNER/small-cells@1.0.0",
    "bioimageio://ID",
    "s3://BUCKET/train.zarr",
    "https://HOST/val.zarr",
    "s3://BUCKET/scan.zarr",
)
# A training of one step. The last value of an option counts: the pages' own `--epochs 40` becomes 1.
_ONE_STEP = "--epochs 1 --steps-per-epoch 1"
_SMALL_STEP = "--patch 8 8 8 --batch-size 1 --workers 1 --no-augment"
_SMALL_NETWORK = "--base-filters 2 --depth 1"
# Commands beside `fit` that refuse to write over what an earlier page has written.
_WRITERS = {"check", "evaluate", "measure", "predict", "suggest", "merge", "export"}
# Options that say themselves what the network is.
_OWN_NETWORK = {"--filters", "--from"}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def commands_of(page: Path) -> list[str]:
    return [line for block in blocks_of(page, "bash") for line in block.splitlines() if line.startswith("unet3d-cli ")]


# ---- a folder with tiny volumes under the names that the pages use -------------------------------


def _stack(seed: int = 0, values: tuple[int, int] = (7, 40), unlabelled: int = 255) -> tuple[np.ndarray, np.ndarray]:
    """Return an image `(16, 32, 32)` and its labels: two classes in a few slices, 255 elsewhere."""
    truth = np.full((16, 32, 32), values[0], np.uint8)
    truth[:, 12:, 8:] = values[1]
    image = np.random.default_rng(seed).normal(100, 10, truth.shape) + 40 * (truth == values[1])
    labels = np.full_like(truth, unlabelled)
    for annotated in (np.s_[3], np.s_[8], np.s_[13], np.s_[:, 20]):
        labels[annotated] = truth[annotated]
    return image.astype(np.uint8), labels


def _write_h5(path: str, **arrays: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array).attrs["element_size_um"] = (2.0, 1.0, 1.0)


def _write_nifti(path: str, array: np.ndarray, size: float = 1.0) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array.T, np.diag([size, size, 2.0 * size, 1.0]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, path)


def write_world() -> None:
    """Write into the working directory every file that a command or snippet of the pages reads."""
    image, labels = _stack()
    _write_h5("stack.h5", raw=image, label=labels)
    other, other_labels = _stack(1)
    _write_h5("labelled.h5", raw=other, label=other_labels)
    cells = np.ones((16, 32, 32), np.uint16)
    cells[:, 16:], cells[:, :, 16:] = 2, 3
    _write_h5("cells.h5", raw=image, label=cells)
    _write_h5("nuclei.h5", raw=image, label=cells)
    Path("cohort").mkdir()
    for number, name in enumerate(("a_1", "a_2", "b_1")):
        cohort_image, cohort_labels = _stack(number, values=(0, 2 if name == "b_1" else 1))
        _write_h5(f"cohort/{name}.h5", raw=cohort_image, label=np.where(cohort_labels == 255, 0, cohort_labels))
    for name in ("stack.tif", "sized.tif"):
        tifffile.imwrite(name, image)
    for name in ("c1", "c2"):
        for folder, array in (("img", image), ("lab", labels)):
            Path(folder).mkdir(exist_ok=True)
            tifffile.imwrite(f"{folder}/{name}.tif", array)
    for name in ("scans/a", "scans/b", "scan"):
        _write_nifti(f"{name}.nii.gz", image)
    _write_nifti("image.nii", image)
    _write_nifti("wrong.nii", labels, size=2.0)
    zarr.save_array("big.zarr", image)
    _write_formats(image, labels)
    _write_decathlon(Path("Task04_Hippocampus"))
    _write_tutorials(image, labels, cells)
    checkpoints = ROOT / "tests" / "zoo" / "checkpoints"
    for given, name in (("gcr.pytorch", "best_checkpoint.pytorch"), ("gcr.yml", "config_train.yml")):
        Path(name).write_bytes((checkpoints / given).read_bytes())
    Path("card.json").write_text(json.dumps({"limitations": "Trained for one step."}))


def _write_formats(image, labels) -> None:
    """Write what the page of formats speaks of: DICOM, a TIFF of scenes and times, HDF5 of several volumes."""
    segments = np.select([labels == 7, labels == 40], [1, 2], 0)
    for patient in ("patient1", "patient2"):
        strangers.dicom_slices(Path("dicom") / patient, image.astype(np.int16))
        Path("segmentations").mkdir(exist_ok=True)
        strangers.dicom_segmentation(Path("segmentations") / f"{patient}.dcm", Path("dicom") / patient, segments)
    with tifffile.TiffWriter("mosaic.ome.tif", ome=True) as file:
        for _ in range(2):
            file.write(np.stack([image, image]), metadata={"axes": "TZYX"})
    tifffile.imwrite("mosaic_label.tif", labels)
    with h5py.File("volumes.h5", "w") as file:
        for day in ("day1", "day2"):
            file[f"{day}/raw"], file[f"{day}/truth"] = image, labels


def _write_decathlon(folder: Path) -> None:
    pairs = []
    for seed, name in enumerate(("hippocampus_001", "hippocampus_002")):
        image, labels = _stack(seed, values=(0, 1), unlabelled=2)
        _write_nifti(str(folder / "imagesTr" / f"{name}.nii.gz"), image)
        _write_nifti(str(folder / "labelsTr" / f"{name}.nii.gz"), labels)
        pairs.append({"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"})
    described = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "training": pairs,
    }
    (folder / "dataset.json").write_text(json.dumps(described))


def _write_tutorials(image, labels, cells) -> None:
    """Write what the tutorials paint and put aside: labels from 1 on and 0 for unlabelled; scans of a test."""
    tifffile.imwrite("ovule.tif", image)
    painted = np.select([labels == 7, labels == 40], [1, 2], 0).astype(np.uint8)
    tifffile.imwrite("painted.tif", painted)
    tifffile.imwrite("test.tif", painted)
    # The first cell is the background.
    tifffile.imwrite("numbered.tif", np.where(painted > 0, cells, 0))
    _write_decathlon(Path("brains"))
    for folder in ("images", "labels"):
        shutil.copytree(f"brains/{folder}Tr", f"brains/{folder}Ts")


def enter(folder: Path, monkeypatch) -> None:
    """Work in a folder, with a home of one's own beside it."""
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(folder.parent / name))
    monkeypatch.setenv("KERAS_UNET3D_ZOO", "models")
    monkeypatch.chdir(folder)


def made_tiny(command: str) -> str:
    """Return a command with options by which it takes seconds, and by which it may run beside its like."""
    words = shlex.split(command, comments=True)
    if words[1] in _WRITERS:
        words.append("--overwrite")
    if words[1] not in ("fit", "distill"):
        return shlex.join(words)
    given = set(words)
    words += _SMALL_STEP.split()
    words += ["--minutes", "0.1"] if "--minutes" in given else _ONE_STEP.split()
    if not given & _OWN_NETWORK:
        words += _SMALL_NETWORK.split()
    if "--from" in given:
        # A network by name is deep: in 8 voxels its last level has one, which has no variance.
        words += ["--patch", "16", "16", "16"]
    if "--folds" in given:
        # There are two volumes.
        words += ["--folds", "2"]
    if "--resume" not in given:
        words.append("--overwrite")
    elif "--epochs" in given:
        words += ["--epochs", "2"]
    return shlex.join(words)


def _spread(words: list[str]) -> list[str]:
    """Return the words with patterns replaced by files, as a shell does; what stood between quotes is quoted no more."""
    quoted = {
        word
        for i, word in enumerate(words)
        if i and words[i - 1] in ("--images", "--labels", "--weights", "--annotated")
    }
    return [file for word in words for file in (sorted(glob(word)) if "*" in word and word not in quoted else [word])]


def run(words: list[str]) -> str:
    result = CliRunner().invoke(unet3d_cli, _spread(words), catch_exceptions=False)
    assert result.exit_code == 0, f"unet3d-cli {shlex.join(words)}\n{result.output}"
    return result.output


def paint(folder: Path) -> None:
    """Do what a person does between `suggest` and `merge`: paint on every slice, with two of the values that may be painted."""
    first, second = json.loads((folder / "suggestions.json").read_text())["table"]["values"][:2]
    for file in folder.glob("*_labels.tif"):
        labels = tifffile.imread(file)
        labels[2:4, 2:6], labels[-3:, -4:] = first, second
        tifffile.imwrite(file, labels)


def parse(words: list[str]) -> None:
    """Parse a command against click, and do nothing."""
    command = unet3d_cli.get_command(None, words[0])
    context = click.Context(command, info_name=words[0])
    command.parse_args(context, words[1:])
