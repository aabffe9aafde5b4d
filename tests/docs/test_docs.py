"""The pages of the documentation: every snippet and every command of them runs, and what they name is there."""

import json
import os
import re
import shlex
import shutil
from glob import glob
from pathlib import Path

import click
import h5py
import nibabel
import numpy as np
import pytest
import tifffile
import zarr
from click.testing import CliRunner

import keras_unet3d
from keras_unet3d.cli import unet3d_cli

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
# What users read, and what those who change the code read.
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*GUIDES, ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]

# Commands that need what a machine may lack are only parsed: here a Dask scheduler.
PARSED_ONLY = ("tcp://HOST:8786",)
# A training of one step. The last value of an option counts: the pages' own `--epochs 40` becomes 1.
_ONE_STEP = "--epochs 1 --steps-per-epoch 1 --patch 8 8 8 --batch-size 1 --workers 1 --no-augment"
_SMALL_NETWORK = "--base-filters 2 --depth 1"
# Commands beside `fit` that refuse to write over what an earlier page has written.
_WRITERS = {"check", "evaluate", "predict", "suggest", "merge", "export"}
# Options that say themselves what the network is.
_OWN_NETWORK = {"--filters", "--from"}


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def _commands(page: Path) -> list[str]:
    return [line for block in _blocks(page, "bash") for line in block.splitlines() if line.startswith("unet3d-cli ")]


SNIPPETS = [
    pytest.param(page, text, id=f"{_name(page)}:{i}")
    for page in GUIDES
    for i, text in enumerate(_blocks(page, "python"))
]
PAGES_WITH_COMMANDS = [page for page in GUIDES if _commands(page)]


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


def _write_world() -> None:
    """Write into the working directory every file that a command or snippet of the pages reads."""
    image, labels = _stack()
    _write_h5("stack.h5", raw=image, label=labels)
    other, other_labels = _stack(1)
    _write_h5("labelled.h5", raw=other, label=other_labels)
    cells = np.ones((16, 32, 32), np.uint16)
    cells[:, 16:], cells[:, :, 16:] = 2, 3
    _write_h5("cells.h5", raw=image, label=cells)
    tifffile.imwrite("stack.tif", image)
    for name in ("c1", "c2"):
        for folder, array in (("img", image), ("lab", labels)):
            Path(folder).mkdir(exist_ok=True)
            tifffile.imwrite(f"{folder}/{name}.tif", array)
    for name in ("scans/a", "scans/b", "scan"):
        _write_nifti(f"{name}.nii.gz", image)
    _write_nifti("image.nii", image)
    _write_nifti("wrong.nii", labels, size=2.0)
    zarr.save_array("big.zarr", image)
    _write_decathlon(Path("Task04_Hippocampus"))
    Path("card.json").write_text(json.dumps({"limitations": "Trained for one step."}))


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


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with all volumes, a run of one step, and its figures; it is copied before it is used."""
    folder, before = tmp_path_factory.mktemp("world"), Path.cwd()
    os.chdir(folder)
    try:
        _write_world()
        for line in ("fit stack.h5 --out runs/stack", "evaluate runs/stack labelled.h5 --json figures.json"):
            _run(shlex.split(_made_tiny(f"unet3d-cli {line}"))[1:])
    finally:
        os.chdir(before)
    return folder


def _enter(folder: Path, monkeypatch) -> None:
    """Work in a folder, with a home of one's own beside it."""
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(folder.parent / name))
    monkeypatch.setenv("KERAS_UNET3D_ZOO", "models")
    monkeypatch.chdir(folder)


@pytest.fixture
def here(world, tmp_path, monkeypatch) -> None:
    """Work in a copy of the world."""
    shutil.copytree(world, tmp_path / "here")
    _enter(tmp_path / "here", monkeypatch)


@pytest.fixture(scope="module")
def shared(world, tmp_path_factory) -> tuple[Path, set[str]]:
    """A copy of the world in which the commands of all pages run, and those that have run: each runs once."""
    folder = tmp_path_factory.mktemp("commands") / "here"
    shutil.copytree(world, folder)
    return folder, set()


def _made_tiny(command: str) -> str:
    """Return a command with options by which it takes seconds, and by which it may run beside its like."""
    words = shlex.split(command, comments=True)
    if words[1] in _WRITERS:
        words.append("--overwrite")
    if words[1] != "fit":
        return shlex.join(words)
    given = set(words)
    words += _ONE_STEP.split()
    if not given & _OWN_NETWORK:
        words += _SMALL_NETWORK.split()
    if "--resume" not in given:
        words.append("--overwrite")
    elif "--epochs" in given:
        words += ["--epochs", "2"]
    return shlex.join(words)


def _spread(words: list[str]) -> list[str]:
    """Return the words with patterns replaced by files, as a shell does; what stood between quotes is quoted no more."""
    quoted = {word for i, word in enumerate(words) if i and words[i - 1] in ("--images", "--labels", "--weights")}
    return [file for word in words for file in (sorted(glob(word)) if "*" in word and word not in quoted else [word])]


def _run(words: list[str]) -> str:
    result = CliRunner().invoke(unet3d_cli, _spread(words), catch_exceptions=False)
    assert result.exit_code == 0, f"unet3d-cli {shlex.join(words)}\n{result.output}"
    return result.output


def _paint(folder: Path) -> None:
    """Do what a person does between `suggest` and `merge`: paint on every slice."""
    for file in folder.glob("*_labels.tif"):
        labels = tifffile.imread(file)
        labels[2:4, 2:6], labels[-3:, -4:] = 7, 40
        tifffile.imwrite(file, labels)


def _parse(words: list[str]) -> None:
    """Parse a command against click, and do nothing."""
    command = unet3d_cli.get_command(None, words[0])
    context = click.Context(command, info_name=words[0])
    command.parse_args(context, words[1:])


# ---- what runs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "snippet"), SNIPPETS)
@pytest.mark.usefixtures("here")
def test_python_snippets_run(page, snippet):
    exec(compile(snippet, _name(page), "exec"), {"__name__": "snippet"})


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=_name)
def test_commands_run_one_after_the_other(page, shared, monkeypatch):
    folder, done = shared
    _enter(folder, monkeypatch)
    for command in map(_made_tiny, _commands(page)):
        words = shlex.split(command)[1:]
        if set(words) & set(PARSED_ONLY):
            _parse(words)
        elif command not in done:
            _run(words)
        done.add(command)
        if words[0] == "suggest":
            _paint(Path(words[words.index("--out") + 1]))


def test_every_command_that_is_only_parsed_is_on_a_page():
    lines = [command for page in GUIDES for command in _commands(page)]
    assert all(any(word in line for line in lines) for word in PARSED_ONLY)


def test_options_in_the_text_are_options_of_a_command():
    known = {"--help", "--debug", "--version"}
    for name in unet3d_cli.list_commands(None):
        command = unet3d_cli.get_command(None, name)
        for part in (command, *getattr(command, "commands", {}).values()):
            known |= {flag for each in part.params for flag in (*each.opts, *each.secondary_opts)}
    for page in GUIDES:
        for code in re.findall(r"`(--[^`]+|unet3d-cli [^`]+)`", page.read_text("utf-8")):
            assert set(re.findall(r"(?<!\S)--[a-z][a-z-]*", code)) <= known, f"{_name(page)}: {code}"


# ---- what the README promises ---------------------------------------------------------------------


def test_two_commands_of_one_line():
    lines = [line for line in README.splitlines() if line.startswith("python3.11 -m venv")]
    assert len(lines) == 2
    assert "fit sample --out runs/first" in lines[0]
    assert "pip install -e" in lines[1]
    assert lines[1].endswith(".venv/bin/python -m pytest")


def test_extras_of_the_pages_are_extras_of_the_package():
    extras = set(re.findall(r'^        "(\w+)":', (ROOT / "setup.py").read_text("utf-8"), re.MULTILINE))
    for page in PAGES:
        for named in re.findall(r'pip install (?:-e )?"\.\[([\w,]+)\]"', page.read_text("utf-8")):
            assert set(named.split(",")) <= extras, _name(page)


def test_every_command_is_in_the_table_of_commands():
    commands = README.split("| command | does |")[1].split("\n\n")[0]
    table = {row.split()[0] for row in re.findall(r"^\| `(\w+[^`]*)`", commands, re.MULTILINE)}
    assert table == set(unet3d_cli.list_commands(None))


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_every_public_type_is_in_the_guide_to_python():
    text = (ROOT / "docs" / "python.md").read_text("utf-8") + README
    functions = {"open_data", "make_batches", "fit", "predict", "evaluate", "check", "suggest", "merge", "phantom"}
    assert functions <= set(keras_unet3d.__all__)
    for name in functions | set(re.findall(r"keras_unet3d\.([A-Za-z]\w*)", text)):
        assert name in {*keras_unet3d.__all__, "zoo"}, name


def test_versions_are_one():
    version = keras_unet3d.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text("utf-8")


# ---- what the pages name ---------------------------------------------------------------------------

_FOLDERS = "keras_unet3d|cli|zoo|tests|docs|examples|benchmarks"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_files_that_a_page_names_are_there(page):
    text = page.read_text("utf-8")
    named = re.findall(rf"(?<![\w/.-])((?:{_FOLDERS}|\.ci)/[\w./-]*\w/?)", text)
    assert [
        path
        for path in named
        if not (ROOT / path.replace("NAME.sh", "hippocampus-mri.sh")).exists() and "NAME" not in path
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        target, _, anchor = link.partition("#")
        file = page.parent / target if target else page
        assert file.exists(), f"{_name(page)}: {link}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, link


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_no_page_names_a_path_of_one_machine(page):
    assert not re.findall(r"(?<![\w.])/(?:work|home|root|tmp)/", page.read_text("utf-8"))
