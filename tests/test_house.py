"""Who may import whom: the rules of the house, read off the source."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE, ZOO, CLI = (ROOT / name for name in ("keras_unet3d", "zoo", "cli"))

# The ground: anyone may stand on it. These files import at most each other, and `lazy` the machine's kernels.
GROUND = {"errors", "files", "locks", "lazy", "geometry", "fields", "choices", "listener", "words", "places"}

# Room -> the other rooms that it may import. The order is the data's way.
ALLOWED = {
    # leaves
    "machine": set(),
    "volumes": set(),
    "pictures": set(),
    "segments": {"volumes"},
    # what goes onto a page: it takes the colours of the pictures
    "report": {"pictures"},
    # from the files to the batches
    "labels": {"volumes"},
    "datasets": {"volumes"},
    "augment": {"labels", "machine"},
    "patches": {"augment", "datasets", "labels", "machine", "volumes"},
    # the network, and what can be said of it and to it
    "network": {"machine"},
    "settings": {"augment", "datasets", "labels"},
    "model_spec": {"datasets", "labels", "network", "segments", "volumes"},
    "run_folder": {"model_spec"},
    # from the batches to a network, and from a network to label volumes and figures
    "training": {"augment", "labels", "machine", "network", "patches", "pictures", "run_folder"},
    "prediction": {
        "datasets",
        "labels",
        "machine",
        "model_spec",
        "network",
        "patches",
        "segments",
        "settings",
        "volumes",
    },
    "evaluation": {"labels", "segments"},
}
# Workflows string rooms together: they may import all of them, and each other.
ALLOWED["workflows"] = set(ALLOWED)

# The only places that may import TensorFlow.
TENSORFLOW = {"machine", "patches", "training", "zoo"}
# The only files of the core that touch Keras' global state.
PROCESS_WIDE = "machine"
# Written for every Keras backend.
ANY_BACKEND = (
    "network/unet.py",
    "network/copies.py",
    "network/losses.py",
    "network/metrics.py",
    "network/labelled_voxels.py",
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


def _texts(path: Path) -> list[str]:
    """Return every text in a source file but its docstrings."""
    tree = _tree(path)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [node.value for node in nodes if id(node) not in docstrings]


def _sources(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


ROOMS = [path for path in _sources(CORE) if path != CORE / "__init__.py"]


def test_every_room_is_in_the_table_and_every_entry_is_a_room():
    assert {_room(path) for path in ROOMS} == GROUND | set(ALLOWED)


@pytest.mark.parametrize("path", ROOMS, ids=_name)
def test_a_room_imports_only_what_the_table_allows(path):
    room = _room(path)
    allowed = GROUND | ALLOWED.get(room, {"machine"} if room == "lazy" else set()) | {room}
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
    assert core == TENSORFLOW - {"zoo"}
    assert not [path for path in _sources(CLI) if imports_tensorflow(path)]


@pytest.mark.parametrize("path", _sources(CORE, ZOO), ids=_name)
def test_only_the_machine_touches_what_is_process_wide(path):
    changed = re.findall(
        r"keras\.config\.set_\w+|set_distribution|os\.environ\[|os\.environ\.setdefault", path.read_text("utf-8")
    )
    assert not changed or path.is_relative_to(CORE / PROCESS_WIDE)


@pytest.mark.parametrize("path", _sources(CORE, ZOO), ids=_name)
def test_only_the_run_folder_knows_its_file_names(path):
    names = {
        "config.json",
        "last.keras",
        "history.csv",
        "curves.png",
        "report.html",
        "slices.png",
        "samples.png",
        "backup",
        "state.npz",
    }
    if path.name != "run_folder.py":
        assert not {text for text in _texts(path) if text in names}


# Calls that open, write, replace or remove files: methods of paths, functions of modules, and the built-in one.
FILE_METHODS = {
    "write_text", "read_text", "write_bytes", "read_bytes", "mkdir", "unlink", "rename", "touch", "rmdir", "symlink_to"
}  # fmt: skip
FILE_MODULES = {
    "shutil",
    "tempfile",
    "os",
    "json.load",
    "np.load",
    "np.save",
    "np.savez",
    "np.memmap",
    "zipfile.ZipFile",
}
HARMLESS = {
    "os._exit",
    "shutil.which",
    "os.environ",
    "os.pathsep",
    "os.fsencode",
    "os.cpu_count",
    "os.path",
    "os.fspath",
    "os.strerror",
    "os.scandir",
}
# Libraries that want a path: each in the file that knows its format, on what `files` yields or within `readable`.
LIBRARIES = {
    "h5py.File": {"keras_unet3d/volumes/hdf5.py"},
    "nibabel.load": {"keras_unet3d/volumes/nifti.py"},
    "nibabel.save": {"keras_unet3d/volumes/nifti.py"},
    "tifffile.TiffFile": {"keras_unet3d/volumes/tiff.py"},
    "tifffile.imread": {"keras_unet3d/volumes/tiff.py"},
    "tifffile.imwrite": {"keras_unet3d/volumes/tiff.py"},
    "tifffile.memmap": {"keras_unet3d/volumes/tiff.py"},
    "pydicom.dcmread": {"keras_unet3d/volumes/dicom.py", "keras_unet3d/volumes/dicom_series.py"},
    "sitk.WriteImage": {"keras_unet3d/volumes/itk.py"},
    "mrcfile.open": {"keras_unet3d/volumes/mrc.py"},
    "mrcfile.mmap": {"keras_unet3d/volumes/mrc.py"},
    "mrcfile.new": {"keras_unet3d/volumes/mrc.py"},
    "czi.open_czi": {"keras_unet3d/volumes/czi.py"},
    "liffile.LifFile": {"keras_unet3d/volumes/lif.py"},
    "nd2.ND2File": {"keras_unet3d/volumes/nd2.py"},
    "tensorstore.open": {"keras_unet3d/volumes/n5.py"},
    "keras.models.load_model": {"keras_unet3d/workflows/fit/run.py", "zoo/loading.py"},
    "np.memmap": {"keras_unet3d/volumes/scratch.py", "keras_unet3d/volumes/tiff.py"},
    # Within `whole_file`.
    "np.savez": {"keras_unet3d/training/state.py"},
    # On an open file, or within `whole_folder`.
    "zipfile.ZipFile": {"zoo/archives.py"},
}
# Descriptors of the terminal and of what the system says of itself; and the two files that all others go through.
FILE_ROOMS = {
    "keras_unet3d/files.py",
    "keras_unet3d/locks.py",
    "keras_unet3d/machine/kernels.py",
    "keras_unet3d/machine/memory.py",
}


@pytest.mark.parametrize(
    "path", [path for path in _sources(CORE, ZOO, CLI) if _name(path) not in FILE_ROOMS], ids=_name
)
def test_every_file_is_opened_written_and_replaced_in_one_place(path):
    for call in (node for node in ast.walk(_tree(path)) if isinstance(node, ast.Call)):
        said = ast.unparse(call.func)
        where = f"line {call.lineno}: {said}"
        if said in LIBRARIES:
            assert _name(path) in LIBRARIES[said], where
            continue
        module, _, method = said.rpartition(".")
        assert said != "open" and not (module and method in FILE_METHODS), where
        parts = {".".join(said.split("(")[0].split(".")[:count]) for count in (1, 2)}
        assert not parts & FILE_MODULES or parts & HARMLESS, where
        # `path.open("rb")`; `painting.open()` is nobody's file.
        assert not (method == "open" and call.args and isinstance(call.args[0], ast.Constant)), where


@pytest.mark.parametrize("path", _sources(CORE, ZOO), ids=_name)
def test_the_core_speaks_of_fields_not_of_flags(path):
    said = [text for text in _texts(path) if re.search(r"(?<![\w-])--[a-z]|unet3d-cli", text)]
    # Options of other programs; and the card, a document for people, which shows a command.
    foreign = ("pip install", "--query-gpu", "--format=csv", "--force-reinstall")
    assert not [text for text in said if not any(word in text for word in foreign)] or path == ZOO / "cards.py"


@pytest.mark.parametrize("path", _sources(CORE, ZOO), ids=_name)
def test_the_core_prints_nothing(path):
    calls = [node.func for node in ast.walk(_tree(path)) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call, ast.Name) and call.id == "print"]


def test_every_settings_class_is_validated_in_the_one_way():
    from keras_unet3d import settings
    from keras_unet3d.augment.draw import AugmentSettings
    from keras_unet3d.datasets import DataKeys
    from keras_unet3d.fields import Validated
    from keras_unet3d.labels import LabelTable
    from keras_unet3d.model_spec import ModelSpec
    from keras_unet3d.network.architecture import Architecture
    from keras_unet3d.run_folder import RunConfig
    from keras_unet3d.workflows.annotate.painting import Painting, Slice
    from keras_unet3d.zoo import Card, Licence

    kinds = [getattr(settings, name) for name in settings.__all__]
    kinds += [AugmentSettings, DataKeys, LabelTable, ModelSpec, Architecture, RunConfig, Painting, Slice, Card, Licence]
    assert all(issubclass(kind, Validated) for kind in kinds)


def test_what_public_functions_take_is_public():
    import dataclasses
    import inspect
    import typing

    import keras_unet3d

    functions = [getattr(keras_unet3d, name) for name in keras_unet3d.__all__ if name != "__version__"]
    public = {value for value in functions if isinstance(value, type)}
    for function in functions:
        if inspect.isfunction(function):
            hints = typing.get_type_hints(function)
            hints.pop("return", None)
            parts = {part for hint in hints.values() for part in _parts(hint)}
            ours = {part for part in parts if getattr(part, "__module__", "").startswith("keras_unet3d")}
            assert ours <= public, function.__name__
    assert all(dataclasses.is_dataclass(kind) for kind in public if kind.__name__.endswith(("Settings", "Options")))


def _parts(hint) -> set:
    import typing

    inner = [part for each in typing.get_args(hint) if not isinstance(each, list) for part in _parts(each)]
    return {hint, *inner} if isinstance(hint, type) else set(inner)


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
    assert (
        _loaded_by(
            "import keras_unet3d as k; k.InputError; k.FitSettings(); k.Architecture(); k.open_data('sample'); k.PredictSettings()"
        )
        == []
    )


def test_every_public_name_resolves():
    import keras_unet3d
    from keras_unet3d import zoo

    for module in (keras_unet3d, zoo):
        for name in module.__all__:
            assert getattr(module, name) is not None
