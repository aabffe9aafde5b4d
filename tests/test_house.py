"""Who may import whom: the rules of the house, read off the source."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE, ZOO, CLI = (ROOT / name for name in ("keras_unet3d", "zoo", "cli"))

# Free of rooms: anyone may import them. They import at most each other.
FOUNDATIONS = {"errors", "files", "geometry", "weighting", "runtime", "architecture", "lazy", "options"}

# Room -> the other rooms that it may import. The order is the data's way.
ALLOWED = {
    # leaves
    "sample": set(),
    "volumes": set(),
    "tiling": set(),
    "losses": set(),
    "metrics": set(),
    "model": set(),
    "report": set(),
    "planning": set(),
    "uncertainty": set(),
    "views": set(),
    "postprocessing": set(),
    "merging": {"tiling"},
    "labels": {"volumes"},
    "evaluation": {"labels"},
    # from the files to the batches
    "datasets": {"volumes", "sample"},
    "intensity": {"volumes"},
    "sampling": {"volumes", "labels", "intensity"},
    "splitting": {"volumes", "labels", "sampling"},
    "augment": {"labels"},
    "samples": {"labels", "intensity", "sampling", "augment"},
    "pipeline": {"sampling", "augment", "samples"},
    # what describes a fit and a network
    "settings": {"augment", "labels", "sampling", "tiling"},
    "spec": {"datasets", "intensity", "labels"},
    # from the batches to a network, and from a network to a label volume
    "training": {"augment", "losses", "metrics", "model", "pipeline", "report", "samples"},
    "costs": {"model"},
    "prediction": {
        "costs",
        "datasets",
        "intensity",
        "labels",
        "merging",
        "model",
        "sampling",
        "settings",
        "spec",
        "tiling",
        "uncertainty",
        "views",
        "volumes",
    },
}
# Workflows string rooms together: they may import all of them, and each other.
ALLOWED["workflows"] = set(ALLOWED)

# The only places that may import TensorFlow. In prediction it is `compiled` alone.
TENSORFLOW = {"pipeline", "runtime", "prediction", "zoo"}
# Written for every Keras backend.
ANY_BACKEND = (
    "model.py",
    "losses.py",
    "metrics.py",
    "weighting.py",
    "augment/native.py",
    "augment/grey.py",
    "augment/layer.py",
)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def _imported(tree: ast.AST) -> set[str]:
    """Return every module that is imported anywhere in `tree`, `from package import name` as package.name."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _room(path: Path) -> str:
    return path.relative_to(CORE).with_suffix("").parts[0]


def _rooms_imported(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in _imported(_tree(path)) if name.startswith("keras_unet3d.")}
    return names - {"__version__"}


def _sources(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


ROOMS = [path for path in _sources(CORE) if path != CORE / "__init__.py"]


def test_every_room_is_in_the_table_and_every_entry_is_a_room():
    assert {_room(path) for path in ROOMS} == FOUNDATIONS | set(ALLOWED)


@pytest.mark.parametrize("path", ROOMS, ids=_name)
def test_a_room_imports_only_what_the_table_allows(path):
    room = _room(path)
    allowed = FOUNDATIONS | ALLOWED.get(room, set()) | {room}
    assert _rooms_imported(path) <= allowed


def test_the_table_has_no_circle():
    left = {room: set(before) for room, before in ALLOWED.items() if room != "workflows"}
    while left:
        free = {room for room, before in left.items() if not before & set(left)}
        assert free, f"these rooms import one another in a circle: {left}"
        left = {room: before for room, before in left.items() if room not in free}


@pytest.mark.parametrize("path", _sources(CORE), ids=_name)
def test_the_core_imports_neither_zoo_nor_cli(path):
    assert not _rooms_imported(path) & {"zoo", "cli"}


@pytest.mark.parametrize("path", _sources(ZOO), ids=_name)
def test_the_zoo_does_not_import_the_command_line(path):
    assert "cli" not in _rooms_imported(path)


@pytest.mark.parametrize("path", _sources(CORE, ZOO, CLI), ids=_name)
def test_no_relative_import(path):
    assert not [node.lineno for node in ast.walk(_tree(path)) if isinstance(node, ast.ImportFrom) and node.level]


@pytest.mark.parametrize("path", _sources(CORE, ZOO, CLI), ids=_name)
def test_zoo_and_cli_are_imported_by_their_full_names(path):
    assert not {name.split(".")[0] for name in _imported(_tree(path))} & {"zoo", "cli"}


def test_only_four_places_import_tensorflow():
    def imports_tensorflow(path):
        return any(name.split(".")[0] == "tensorflow" for name in _imported(_tree(path)))

    core = {_room(path) for path in _sources(CORE) if imports_tensorflow(path)}
    assert core <= TENSORFLOW
    assert not [path for path in _sources(CLI) if imports_tensorflow(path)]


def test_prediction_imports_tensorflow_in_compiled_alone():
    functions = {
        node.name
        for node in ast.walk(_tree(CORE / "prediction.py"))
        if isinstance(node, ast.FunctionDef) and any(name.split(".")[0] == "tensorflow" for name in _imported(node))
    }
    outside = [
        name
        for node in _tree(CORE / "prediction.py").body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in _imported(node)
        if name.split(".")[0] == "tensorflow"
    ]
    assert functions == {"compiled"}
    assert not outside


@pytest.mark.parametrize("name", ANY_BACKEND)
def test_the_network_and_its_loss_know_no_backend(name):
    backends = {"tensorflow", "jax", "torch"}
    assert not {module.split(".")[0] for module in _imported(_tree(CORE / name))} & backends


def _loaded_by(code: str) -> list[str]:
    """Return which of the slow packages are loaded after `code` has run in a fresh interpreter."""
    slow = "tensorflow", "keras", "elasticdeform", "matplotlib", "nibabel", "tifffile", "zarr"
    script = f"{code}\nimport json, sys\nprint(json.dumps([name for name in {slow!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_every_folder_of_the_package_is_in_the_wheel():
    words = [node for node in ast.walk(_tree(ROOT / "setup.py")) if isinstance(node, ast.keyword)]
    packages = next(ast.literal_eval(word.value) for word in words if word.arg == "packages")
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in CORE.rglob("__init__.py")}
    assert set(packages) == folders | {"keras_unet3d.zoo", "keras_unet3d.cli"}


def test_import_of_the_package_loads_nothing_slow_and_prints_nothing():
    assert _loaded_by("import keras_unet3d") == []


def test_import_of_the_zoo_loads_nothing_slow():
    assert _loaded_by("from keras_unet3d import zoo; zoo.search_path()") == []


def test_check_loads_no_tensorflow():
    assert _loaded_by("from keras_unet3d import check; check('sample')") == []


def test_the_lightweight_names_load_no_tensorflow():
    assert _loaded_by("import keras_unet3d as k; k.InputError; k.FitSettings(); k.Architecture()") == []


def test_every_public_name_resolves():
    import keras_unet3d
    from keras_unet3d import zoo

    for module in (keras_unet3d, zoo):
        for name in module.__all__:
            assert getattr(module, name) is not None
