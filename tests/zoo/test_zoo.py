"""Bundles: written, found by name, checked, loaded, and run with TensorFlow alone."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import platformdirs
import pytest
from helpers import UNLABELLED, VALUES, tiny_volume

from keras_unet3d import InputError, build_model, evaluate, zoo
from keras_unet3d.machine.folders import user_zoo
from keras_unet3d.zoo import registry, trust
from keras_unet3d.zoo.archives import unzip, write_sums, zip_folder
from keras_unet3d.zoo.cards import to_readme

FILES = (
    "README.md",
    "SHA256SUMS",
    "metadata.json",
    "model.keras",
    "model.onnx",
    "plain_saved_model.zip",
    "rdf.yaml",
    "test_input.npy",
    "test_output.npy",
)


def _network(**changes) -> keras.Model:
    """Return a network with moving averages that differ from their start, as training leaves them."""
    model = build_model(base_filters=2, depth=2, num_classes=3, seed=1, **changes)
    rng = np.random.default_rng(2)
    for variable in model.non_trainable_variables:
        if variable.path.endswith(("moving_mean", "moving_variance")):
            variable.assign(variable + rng.uniform(0.1, 0.5, variable.shape))
    return model


@pytest.fixture(scope="module")
def networks() -> dict[str, keras.Model]:
    return {"plain": _network(), "valid": _network(padding="valid", input_shape=(None, None, None, 2))}


@pytest.fixture(scope="module")
def folder(networks, tiny_run, tmp_path_factory) -> Path:
    """A zoo with plain 1.2.0 and 1.10.0, valid 1.0.0, and tiny 1.0.0 made from a run."""
    path = tmp_path_factory.mktemp("zoo")
    zoo.export(networks["plain"], {"name": "plain", "version": "1.2.0"}, path)
    zoo.export(networks["plain"], {"name": "plain", "version": "1.10.0", "description": "Newest."}, path)
    zoo.export(networks["valid"], {"name": "valid"}, path)
    zoo.export_run(tiny_run, zoo.Card("tiny"), path)
    return path


@pytest.fixture(autouse=True)
def _alone(new_home, tmp_path, monkeypatch):
    """Only the folders that a test names are searched, not the user's."""
    monkeypatch.setattr(registry, "EMBEDDED", tmp_path / "embedded")


@pytest.fixture
def known(folder, monkeypatch) -> Path:
    monkeypatch.setenv("KERAS_UNET3D_ZOO", str(folder))
    return folder


@pytest.fixture
def copy(folder, tmp_path, monkeypatch) -> Path:
    """A bundle that may be changed, the only one on the search path."""
    monkeypatch.setenv("KERAS_UNET3D_ZOO", str(tmp_path / "zoo"))
    return Path(shutil.copytree(folder / "plain" / "1.2.0", tmp_path / "zoo" / "plain" / "1.2.0"))


def _change_card(bundle: Path, **changes) -> None:
    """Change entries of the card, and the checksums with it, as a hostile author would."""
    path = bundle / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    write_sums(bundle)


def _input(channels: int, *sizes: int) -> np.ndarray:
    return np.random.default_rng(7).normal(size=(2, *sizes, channels)).astype(np.float32)


# ---- names and versions ----------------------------------------------------------------------------


def test_list_gives_every_version_newest_first(known):
    listed = [f"{card.name}@{card.version}" for card in zoo.list_models()]
    ours = [each for each in listed if each.split("@")[0] in ("plain", "valid", "tiny")]
    assert ours == ["plain@1.10.0", "plain@1.2.0", "tiny@1.0.0", "valid@1.0.0"]


@pytest.mark.parametrize(
    ("reference", "version"), [("plain", "1.10.0"), ("plain@1.2.0", "1.2.0"), ("plain@1.10.0", "1.10.0")]
)
def test_a_name_is_the_newest_version_and_a_pin_is_that_one(known, reference, version):
    assert zoo.find(reference) == known / "plain" / version
    assert zoo.card(reference).version == version


def test_a_path_is_found_without_a_search_path(folder):
    assert zoo.find(folder / "plain" / "1.2.0") == folder / "plain" / "1.2.0"
    assert zoo.card(folder / "plain").version == "1.10.0"


def test_the_first_folder_of_the_search_path_wins(known, tmp_path, monkeypatch):
    first = tmp_path / "first"
    shutil.copytree(known / "plain" / "1.10.0", first / "plain" / "1.10.0")
    monkeypatch.setenv("KERAS_UNET3D_ZOO", os.pathsep.join([str(tmp_path / "absent"), str(first), str(known)]))
    assert zoo.search_path()[:3] == [tmp_path / "absent", first, known]
    assert zoo.find("plain").is_relative_to(first)


@pytest.mark.parametrize("reference", ["plane", "plain@1.3.0"])
def test_an_unknown_name_says_what_is_close_and_where_it_looked(known, reference):
    with pytest.raises(InputError) as caught:
        zoo.load(reference)
    assert str(caught.value).startswith(f"{reference}: expected")
    assert "Did you mean" in str(caught.value)
    assert "'plain" in str(caught.value)
    assert str(known) in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [{"schema": 99}, {"tolerance": "small"}, {"model": None}, {"model": 5}, {"name": "../plain"}, {"version": "new"}],
)
def test_a_broken_bundle_does_not_hide_the_others(known, copy, monkeypatch, changes):
    _change_card(copy, **changes)
    monkeypatch.setenv("KERAS_UNET3D_ZOO", os.pathsep.join([str(copy.parent.parent), str(known)]))
    assert zoo.find("plain").is_relative_to(known)
    for card in zoo.list_models():
        assert card.model.labels.names


def test_a_broken_bundle_is_refused_by_its_path(copy):
    (copy / "metadata.json").write_text("{")
    with pytest.raises(InputError, match=r"metadata\.json"):
        zoo.load(copy)


# ---- the card --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ({}, "card: expected the entry 'name' of a model card, found none"),
        ({"name": "Upper"}, "name: expected lower-case letters"),
        ({"name": "a/b"}, "name: expected lower-case letters"),
        ({"name": ".."}, "name: expected lower-case letters"),
        ({"name": ""}, "name: expected lower-case letters"),
        ({"name": 5}, "name: expected a text, found 5"),
        ({"name": "a", "version": "1.0"}, "version: expected three numbers"),
        ({"name": "a", "version": "01.0.0"}, "version: expected three numbers"),
        ({"name": "a", "version": 1}, "version: expected a text, found 1"),
        ({"name": "a", "verson": "1.0.0"}, "'verson'. Did you mean 'version'"),
        ({"name": "a", "licence": {"wieghts": "MIT"}}, "wieghts"),
        ({"name": "a", "licence": "MIT"}, "licence"),
        ({"name": "a", "tolerance": 0}, "tolerance: expected a number between 0 and 1"),
        ({"name": "a", "tolerance": "small"}, "tolerance: expected a finite number, found 'small'"),
        (
            {"name": "a", "model": {"labels": []}},
            "expected the entry 'architecture' of the description of a trained network, found none",
        ),
    ],
)
def test_a_card_that_is_not_valid_is_refused_before_anything_is_written(networks, tmp_path, card, said):
    with pytest.raises(InputError) as caught:
        zoo.export(networks["plain"], card, tmp_path / "zoo")
    assert said in str(caught.value)
    assert not (tmp_path / "zoo").exists()


def test_the_card_describes_what_the_network_takes_and_gives(folder):
    metadata = json.loads((folder / "valid" / "1.0.0" / "metadata.json").read_text())
    assert (metadata["name"], metadata["version"], metadata["schema"]) == ("valid", "1.0.0", 5)
    assert metadata["inputs"][0]["axes"] == "bzyxc"
    assert metadata["inputs"][0]["channels"] == 2
    assert metadata["outputs"][0]["channels"] == 3
    # Two levels of 3x3x3 kernels without padding: (4 + 4) + 2 * 4 = 16 voxels are lost along an axis.
    assert metadata["geometry"]["halo"] == [8, 8, 8]
    assert metadata["geometry"]["divisible_by"] == [2, 2, 2]
    assert metadata["geometry"]["minimum_shape"] == [18, 18, 18]
    assert metadata["software"]["keras"] == keras.__version__


def test_the_card_of_a_run_has_its_label_values_and_its_training(folder):
    metadata = json.loads((folder / "tiny" / "1.0.0" / "metadata.json").read_text())
    assert [each["value"] for each in metadata["classes"]] == list(VALUES)
    assert metadata["unlabelled"] == [UNLABELLED]
    assert metadata["training"]["settings"]["epochs"] == 1
    assert metadata["inputs"][0]["voxel_size"] == [2.0, 1.0, 1.0]
    assert 0 <= metadata["evaluation"]["val_iou"] <= 1


def test_the_card_survives_being_written_and_read(folder):
    card = zoo.card(folder / "tiny" / "1.0.0")
    assert card.model.labels.values == VALUES
    assert card.licence == zoo.Licence()
    assert zoo.Card.from_config({"name": "tiny", "model": card.model.config()}, "card").model == card.model


# ---- the folder ------------------------------------------------------------------------------------


def test_a_bundle_holds_these_files_and_lists_them(folder):
    bundle = folder / "plain" / "1.2.0"
    assert sorted(path.name for path in bundle.iterdir()) == sorted(FILES)
    listed = {line.split("  ")[1] for line in (bundle / "SHA256SUMS").read_text().splitlines()}
    assert listed == set(FILES) - {"SHA256SUMS"}
    described = json.loads((bundle / "metadata.json").read_text())["files"]
    assert set(described) == listed - {"metadata.json"}
    assert described["model.keras"]["size"] == (bundle / "model.keras").stat().st_size


def test_sha256sum_agrees(folder):
    if not shutil.which("sha256sum"):
        pytest.skip("needs sha256sum")
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder / "valid" / "1.0.0", check=True)


def test_the_saved_model_is_at_the_root_of_its_zip(folder):
    with zipfile.ZipFile(folder / "plain" / "1.2.0" / "plain_saved_model.zip") as archive:
        assert {"saved_model.pb", "variables/variables.index"} <= set(archive.namelist())


def test_a_version_that_exists_is_kept_unless_told(networks, copy):
    before = (copy / "SHA256SUMS").read_bytes()
    card = {"name": "plain", "version": "1.2.0", "description": "Again."}
    with pytest.raises(InputError, match="the bundle exists already"):
        zoo.export(networks["plain"], card, copy.parent.parent)
    assert (copy / "SHA256SUMS").read_bytes() == before
    zoo.export(networks["plain"], card, copy.parent.parent, overwrite=True)
    assert zoo.card("plain@1.2.0").description == "Again."
    assert [path.name for path in copy.parent.iterdir()] == ["1.2.0"]


def test_an_export_that_fails_leaves_nothing(tmp_path):
    logits = build_model(base_filters=2, depth=2, output="logits")
    with pytest.raises(InputError, match="expected output='probabilities'"):
        zoo.export(logits, {"name": "logits"}, tmp_path / "zoo")
    assert not list(tmp_path.rglob("*.keras"))
    assert not list(tmp_path.rglob("*partial*"))


# ---- checks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain@1.2.0", "valid", "tiny"])
def test_verify_replays_the_test_through_all_networks(known, name):
    lines = zoo.verify(name)
    # A valid-padding network has one that keeps its input's size beside it, a run's has a cover.
    assert f"{8 if name == 'plain@1.2.0' else 9} files have their checksums" in lines[0]
    said = [line.split(":")[0] for line in lines[1:]]
    assert said == ["model.keras", "SavedModel", "ONNX"]
    assert all("test output replayed" in line for line in lines[1:])


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_in_any_file_is_refused_by_name(copy, name):
    path = copy / name
    content = bytearray(path.read_bytes())
    # In SHA256SUMS the first character belongs to a checksum; anywhere else any byte will do.
    position = 0 if name == "SHA256SUMS" else len(content) // 2
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"README\.md" if name == "SHA256SUMS" else name.replace(".", r"\.")):
        zoo.verify(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_name(copy, name):
    (copy / name).unlink()
    said = "expected a run folder, a bundle or the name" if name == "metadata.json" else name.replace(".", r"\.")
    with pytest.raises(InputError, match=said):
        zoo.verify(copy)


def test_a_file_that_nobody_listed_is_refused(copy):
    (copy / "extra.py").write_text("import os")
    with pytest.raises(InputError, match=r"found extra\.py in the folder but not in the list"):
        zoo.verify(copy)


@pytest.mark.parametrize("name", ["model.keras", "metadata.json"])
def test_load_checks_what_it_reads(copy, name):
    with (copy / name).open("ab") as file:
        file.write(b" ")
    for use in (zoo.load, zoo.predictor):
        with pytest.raises(InputError, match=f"{name}: expected the checksum"):
            use(copy)


def test_another_network_under_the_same_test_is_refused(copy):
    build_model(base_filters=2, depth=2, num_classes=3, seed=99).save(copy / "model.keras")
    write_sums(copy)
    with pytest.raises(InputError, match=r"expected model\.keras to give the stored test output"):
        zoo.verify(copy)


@pytest.mark.parametrize("name", ["test_input.npy", "test_output.npy"])
def test_a_broken_test_with_its_checksum_is_refused_by_name(copy, name):
    (copy / name).write_bytes(b"no array")
    write_sums(copy)
    with pytest.raises(InputError, match=name):
        zoo.verify(copy)


def test_an_archive_without_a_saved_model_is_refused_by_name(copy):
    with zipfile.ZipFile(copy / "plain_saved_model.zip", "w") as archive:
        archive.writestr("README", "nothing here")
    write_sums(copy)
    with pytest.raises(InputError, match=r"plain_saved_model\.zip"):
        zoo.verify(copy)


def test_a_card_of_another_network_is_refused(copy):
    model = json.loads((copy / "metadata.json").read_text())["model"]
    model["labels"] = {"values": [0, 1], "names": ["a", "b"], "unlabelled": [], "target": "semantic"}
    _change_card(copy, model=model)
    with pytest.raises(InputError, match=r"metadata\.json"):
        zoo.predictor(copy)


# ---- archives --------------------------------------------------------------------------------------


def _archive(path: Path, member: str, mode: int = 0) -> Path:
    info = zipfile.ZipInfo(member)
    info.external_attr = mode << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr(info, "/etc/passwd")
    return path


@pytest.mark.parametrize(
    ("member", "mode"),
    [
        ("../evil", 0),
        ("a/../../evil", 0),
        ("/tmp/keras_unet3d_evil", 0),
        ("..\\evil", 0),
        ("C:evil", 0),
        ("link", 0o120777),
    ],
)
def test_hostile_members_are_refused_and_nothing_is_unpacked(tmp_path, member, mode):
    archive = _archive(tmp_path / "x.zip", member, mode)
    (tmp_path / "inside").mkdir()
    with pytest.raises(InputError, match="expected plain files inside the archive"):
        unzip(archive, tmp_path / "inside")
    assert not list((tmp_path / "inside").iterdir())
    assert not (tmp_path / "evil").exists()
    with pytest.raises(InputError, match="expected plain files inside the archive"):
        zoo.load(archive)


@pytest.mark.parametrize("content", [b"", b"text", None])
def test_a_broken_archive_is_refused(tmp_path, content):
    path = _archive(tmp_path / "x.zip", "file")
    path.write_bytes(path.read_bytes()[:60] if content is None else content)
    with pytest.raises(InputError, match=r"x\.zip: expected a zip file, found a broken one"):
        zoo.load(path)


@pytest.mark.parametrize("inside", ["", "plain/1.2.0/"])
def test_a_zipped_bundle_loads(folder, networks, tmp_path, inside):
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in (folder / "plain" / "1.2.0").iterdir():
            archive.write(file, inside + file.name)
    x = _input(1, 8, 8, 8)
    np.testing.assert_allclose(zoo.load(path)(x), networks["plain"](x), atol=1e-6)


# ---- use -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shape"), [("plain", (1, 8, 10, 12)), ("valid", (2, 20, 22, 24))])
def test_load_gives_the_same_network(known, networks, name, shape):
    loaded = zoo.load(name)
    x = _input(*shape)
    np.testing.assert_allclose(loaded(x, training=False), networks[name](x, training=False), atol=1e-6)
    assert not loaded.compiled
    loaded.compile("sgd", "mse")
    assert np.isfinite(loaded.train_on_batch(x, np.asarray(loaded(x))))


def test_predictor_gives_raw_label_values(known):
    image = tiny_volume(5, (9, 18, 12))[0]
    labels = zoo.predictor("tiny")(image)
    # By hand: the most probable class of the normalised volume, written as the raw value.
    x = ((image - image.mean(dtype=float)) / image.std(dtype=float)).astype(np.float32)[None, ..., None]
    by_hand = np.asarray(VALUES)[np.asarray(zoo.load("tiny")(x, training=False))[0].argmax(-1)]
    assert (labels == by_hand).mean() > 0.999


@pytest.mark.parametrize("shape", [(1, 7, 5), (9, 17, 11)])
def test_predictor_takes_any_size(known, shape):
    labels = zoo.predictor("tiny")(tiny_volume(5, shape)[0])
    assert labels.shape == shape
    assert set(np.unique(labels)) <= set(VALUES)


def test_predictor_of_the_run_and_of_its_bundle_agree(known, tiny_run):
    image = tiny_volume(6)[0]
    np.testing.assert_array_equal(zoo.predictor("tiny")(image), zoo.predictor(tiny_run)(image))


def test_predictor_refuses_other_channels(known):
    with pytest.raises(InputError, match="expected 2 channels"):
        zoo.predictor("valid")(tiny_volume()[0])


_TENSORFLOW_ALONE = '''
import sys
from importlib.machinery import ModuleSpec

class Blocked:
    """Finds these packages, as TensorFlow wants to know where Keras lies, but will not load them."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("keras", "keras_unet3d", "tf_keras"):
            return ModuleSpec(name, self)

    def create_module(self, spec):
        raise ImportError(f"{spec.name} is blocked")

    def exec_module(self, module):
        raise ImportError("blocked")


sys.meta_path.insert(0, Blocked())
for name in ("keras", "keras_unet3d"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(f"{name} could be imported")

import zipfile
import numpy as np
import platformdirs
import tensorflow as tf

for name in sys.argv[2:]:
    folder = f"{sys.argv[1]}/{name}"
    zipfile.ZipFile(f"{folder}/saved_model.zip").extractall(f"{folder}/saved_model")
    served = tf.saved_model.load(f"{folder}/saved_model").signatures["serve"]
    for case in ("small", "large"):
        output = served(volume=tf.constant(np.load(f"{folder}/{case}.npy")))["probabilities"]
        np.save(f"{folder}/{case}_output.npy", output.numpy())
assert "keras" not in sys.modules and "keras_unet3d" not in sys.modules
'''


def test_the_saved_model_runs_with_tensorflow_alone(folder, networks, tmp_path):
    inputs = {
        "plain": {"small": _input(1, 2, 4, 6), "large": _input(1, 20, 18, 16)},
        "valid": {"small": _input(2, 18, 20, 22), "large": _input(2, 30, 28, 26)},
    }
    for name, cases in inputs.items():
        (tmp_path / name).mkdir()
        shutil.copy(zoo.find(folder / name) / f"{name}_saved_model.zip", tmp_path / name / "saved_model.zip")
        for case, x in cases.items():
            np.save(tmp_path / name / f"{case}.npy", x)
    done = subprocess.run(
        [sys.executable, "-c", _TENSORFLOW_ALONE, str(tmp_path), *inputs], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name, cases in inputs.items():
        for case, x in cases.items():
            served = np.load(tmp_path / name / f"{case}_output.npy")
            expected = np.asarray(networks[name](x, training=False))
            assert served.shape == (*x.shape[:4], 3)
            halo = (
                slice(None),
                *(slice((n - m) // 2, (n + m) // 2) for n, m in zip(x.shape[1:4], expected.shape[1:4], strict=True)),
            )
            np.testing.assert_allclose(served[halo], expected, atol=1e-5)
            served[halo] = 0
            assert not served.any(), "nothing but zeros in the halo"


def test_export_refuses_another_backend_before_it_writes(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with pytest.raises(
        InputError, match="expected the Keras backend TensorFlow, .* found jax; set KERAS_BACKEND=tensorflow"
    ):
        zoo.export(build_model(base_filters=2, depth=1), zoo.Card("a"), tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()


# ---- install, remove, alias, complete, serving -------------------------------------------------------


@pytest.fixture
def home() -> Path:
    """The user's zoo, below the HOME of the test."""
    return user_zoo()


def test_the_users_zoo_is_where_the_system_keeps_data(home, tmp_path):
    assert home.is_relative_to(tmp_path / "home")
    assert home.parts[-2:] == ("keras-unet3d", "zoo")
    assert home == platformdirs.user_data_path("keras-unet3d", appauthor=False) / "zoo"


def test_models_that_an_earlier_version_installed_are_found_and_removed(folder, home, tmp_path):
    former = tmp_path / "home" / ".keras-unet3d" / "zoo"
    assert former not in zoo.search_path()
    where = Path(shutil.copytree(folder / "plain" / "1.2.0", former / "plain" / "1.2.0"))
    assert zoo.search_path()[:2] == [home, former]
    assert zoo.find("plain") == where
    zoo.load("plain")
    # What is installed now goes to the new place, and comes first.
    newest = zoo.install(folder / "plain" / "1.10.0")
    again = zoo.install(folder / "plain" / "1.2.0")
    assert (newest.parent, again.parent) == (home / "plain", home / "plain")
    assert zoo.find("plain@1.2.0") == again
    zoo.remove("plain@1.2.0")
    assert zoo.find("plain@1.2.0") == where
    assert zoo.remove("plain@1.2.0") == where and not where.exists()
    assert zoo.find("plain") == newest


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_an_installed_model_is_found_by_name_until_it_is_removed(folder, home, tmp_path, form):
    source = folder / "plain" / "1.2.0"
    if form == "zip":
        zip_folder(source, tmp_path / "plain.zip")
        source = tmp_path / "plain.zip"
    where = zoo.install(source)
    assert where == home / "plain" / "1.2.0"
    assert zoo.card("plain").version == "1.2.0"
    assert zoo.install(source) == where  # the same again is no matter
    assert zoo.remove("plain") == where
    assert not (home / "plain").exists()
    with pytest.raises(InputError, match="plain: expected a run folder, a bundle or the name of a model"):
        zoo.load("plain")


def test_another_bundle_of_that_version_is_refused(folder, home, networks, tmp_path):
    zoo.install(folder / "plain" / "1.2.0")
    other = zoo.export(networks["plain"], {"name": "plain", "version": "1.2.0", "description": "Other."}, tmp_path)
    with pytest.raises(InputError, match="the model exists already; choose another path or add `overwrite=True`"):
        zoo.install(other)
    zoo.install(other, overwrite=True)
    assert zoo.card("plain").description == "Other."


def test_a_broken_bundle_is_not_installed(copy, home):
    (copy / "model.keras").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"model\.keras: expected the checksum"):
        zoo.install(copy)
    assert not home.exists()


def test_a_network_of_no_numbers_is_not_exported(networks, tmp_path):
    broken = keras.models.clone_model(networks["plain"])
    broken.set_weights([weight * np.nan for weight in networks["plain"].get_weights()])
    with pytest.raises(InputError, match="expected numbers as its output, found some that are none"):
        zoo.export(broken, {"name": "broken"}, tmp_path, complete=False)
    assert not list(tmp_path.iterdir())


def test_what_an_interrupted_install_leaves_is_not_found(folder, home):
    (home / "plain").mkdir(parents=True)
    shutil.copytree(folder / "plain" / "1.2.0", home / "plain" / ".1234abcd.partial.1.2.0")
    assert zoo.list_models() == []


def test_one_of_several_versions_is_removed_by_its_number(folder, home):
    for version in ("1.2.0", "1.10.0"):
        zoo.install(folder / "plain" / version)
    with pytest.raises(InputError, match=r"expected one version to remove, found plain@1\.10\.0, plain@1\.2\.0"):
        zoo.remove("plain")
    zoo.remove("plain@1.10.0")
    assert zoo.card("plain").version == "1.2.0"


def test_a_path_is_not_removed(folder):
    with pytest.raises(InputError, match="expected the name of a model, found a path"):
        zoo.remove(str(folder / "plain" / "1.2.0"))


def test_an_alias_finds_a_model_and_a_name_comes_first(networks, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_UNET3D_ZOO", str(tmp_path))
    zoo.export(networks["plain"], {"name": "long-name", "aliases": ["short"]}, tmp_path)
    assert zoo.card("short").name == "long-name"
    assert zoo.card("short@1.0.0").name == "long-name"
    zoo.export(networks["plain"], {"name": "short"}, tmp_path)
    assert zoo.card("short").name == "short"


def test_a_slim_bundle_is_completed_and_served(networks, tmp_path):
    slim = zoo.export(networks["plain"], {"name": "slim"}, tmp_path / "slim", complete=False)
    assert not {"slim_saved_model.zip", "model.onnx", "rdf.yaml"} & {path.name for path in slim.iterdir()}
    assert len(zoo.verify(slim)) == 2
    whole = zoo.complete(slim, tmp_path / "whole")
    assert [line.split(":")[0] for line in zoo.verify(whole)[1:]] == ["model.keras", "SavedModel", "ONNX"]
    for bundle in (slim, whole):
        served = zoo.unpack_for_serving(bundle, tmp_path / f"serving-{bundle.parent.parent.name}")
        assert (served.parent.name, served.name) == ("slim", "1")
        assert (served / "saved_model.pb").is_file()


@pytest.mark.parametrize("name", ["plain", "valid"])
def test_the_signatures_agree_with_the_predictor(known, networks, name, tmp_path):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(zoo.unpack_for_serving(name, tmp_path)))
    predictor = zoo.predictor(name)
    channels = networks[name].input_shape[-1]
    raw = np.random.default_rng(0).gamma(4.0, 20.0, (13, 22, 31, channels)).astype(np.float32)
    batch = tf.constant(np.stack([raw, raw[::-1] * 3 + 50]))
    labels = loaded.signatures["segment"](volume=batch)["labels"].numpy()
    assert labels.dtype == np.int32
    # Two volumes in a batch are normalised each by itself, whatever their sizes.
    for found, volume in zip(labels, batch.numpy(), strict=True):
        np.testing.assert_array_equal(found, predictor(volume))
    x = tf.random.normal((2, 24, 28, 32, channels))
    probabilities = loaded.signatures["serve"](volume=x)["probabilities"].numpy()
    logits = loaded.signatures["logits"](volume=x)["logits"].numpy()
    margin = zoo.card(name).model.architecture.geometry.margin
    inner = (slice(None), *(slice(m, n - m) for m, n in zip(margin, x.shape[1:4], strict=True)))
    np.testing.assert_allclose(keras.ops.softmax(logits[inner]), probabilities[inner], atol=1e-5)
    np.testing.assert_allclose(networks[name](x, training=False), probabilities[inner], atol=1e-5)


# ---- trust -----------------------------------------------------------------------------------------


def test_a_model_is_proved_when_it_is_first_loaded(copy):
    build_model(base_filters=2, depth=2, num_classes=3, seed=99).save(copy / "model.keras")
    write_sums(copy)
    with pytest.raises(InputError, match=r"expected model\.keras to give the stored test output"):
        zoo.load(copy)


def test_it_is_proved_once(copy, monkeypatch):
    calls = []
    monkeypatch.setattr(trust, "replay", lambda *arguments, **more: calls.append(arguments))
    zoo.load(copy)
    zoo.load(copy)
    assert len(calls) == 1
    # A bundle that was changed since is another one.
    (copy / "README.md").write_text("changed")
    write_sums(copy)
    zoo.load(copy)
    assert len(calls) == 2


def test_newer_versions_are_said_in_words(copy):
    _change_card(copy, software={"keras": "99.1.0", "tensorflow": "2.20.0"})
    assert any(line.startswith("It was made with keras 99.1.0, and ") for line in zoo.verify(copy))
    (copy / "model.keras").write_bytes(b"a format of the future")
    write_sums(copy)
    with pytest.raises(
        InputError, match=r"found a broken one .* It was made with keras 99\.1\.0, .* pip install -U keras"
    ):
        zoo.load(copy)


def test_a_card_of_the_first_schema_is_read(copy):
    path = copy / "metadata.json"
    card = {
        key: value for key, value in json.loads(path.read_text()).items() if key not in ("authors", "cite", "aliases")
    }
    path.write_text(json.dumps(card | {"schema": 1}))
    write_sums(copy)
    assert zoo.card(copy).authors == ()
    zoo.load(copy)


def test_200_broken_bundles_are_refused_each_with_a_sentence(copy, folder, tmp_path):
    """Bytes flipped, files cut, renamed, swapped with another bundle's, links: none loads, none writes elsewhere."""
    rng = np.random.default_rng(0)
    whole = {path.name: path.read_bytes() for path in copy.iterdir()}
    other = {path.name: path.read_bytes() for path in (folder / "tiny" / "1.0.0").iterdir()}
    before = sorted(tmp_path.rglob("*"))
    for case in range(200):
        name = sorted(whole)[case % len(whole)]
        changed = dict(whole)
        link = None
        match case % 5:
            case 0 | 1:
                content = bytearray(changed[name])
                content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
                changed[name] = bytes(content)
            case 2:
                changed[name] = changed[name][: rng.integers(len(changed[name]))]
            case 3:
                changed[f"x{name}"] = changed.pop(name)
            case 4 if name in other and other[name] != whole[name] and rng.random() < 0.5:
                changed[name] = other[name]
            case 4:
                link = name
        for path in copy.iterdir():
            path.unlink()
        for each, content in changed.items():
            if each == link:
                (tmp_path / "outside").write_bytes(content)
                (copy / each).symlink_to(tmp_path / "outside")
            else:
                (copy / each).write_bytes(content)
        with pytest.raises(InputError) as error:
            zoo.load(copy)
        assert str(error.value).endswith((".", "?", "names."))
        (tmp_path / "outside").unlink(missing_ok=True)
    for path in copy.iterdir():
        path.unlink()
    for name, content in whole.items():
        (copy / name).write_bytes(content)
    assert sorted(tmp_path.rglob("*")) == before
    zoo.load(copy)


# ---- what was fitted after the training -------------------------------------------------------------


def test_temperature_and_cleaning_of_a_run_go_into_its_card(tiny_run, tmp_path):
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    config = json.loads((run / "config.json").read_text())
    config["model"] |= {"temperature": 1.25, "cleaning": [{"value": VALUES[1], "keep_largest": True}]}
    (run / "config.json").write_text(json.dumps(config))
    bundle = zoo.export_run(run, {"name": "settled"}, tmp_path / "zoo", complete=False)
    spec = zoo.card(bundle).model
    assert spec.temperature == 1.25 and [step.value for step in spec.cleaning] == [VALUES[1]]
    assert zoo.predictor(bundle).spec == spec
    readme = (bundle / "README.md").read_text()
    assert f"- Labels are cleaned by `predict`: {VALUES[1]}: keep the largest piece.\n" in readme
    assert (
        "- Probabilities of `predict` have the temperature 1.250; SavedModel and ONNX give the network's own.\n"
        in readme
    )


def test_a_readme_has_the_figures_that_evaluate_measured(tiny_run, tiny_data):
    figures = evaluate(zoo.predictor(tiny_run), [tiny_data])
    card = zoo.Card("tiny", model=zoo.predictor(tiny_run).spec, evaluation=figures)
    readme = to_readme(card)
    assert f"- calibration error: {figures['calibration_error']:.4f}\n" in readme and "- volumes: 2\n" in readme
    assert "- per volume" not in readme
