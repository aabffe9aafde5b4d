"""The models that come with the package: small, whole, described, and usable right after the install."""

import keras
import nibabel
import numpy as np
import pytest
from click.testing import CliRunner

from keras_unet3d import InputError, zoo
from keras_unet3d.cli import unet3d_cli
from keras_unet3d.machine import versions
from keras_unet3d.machine.folders import user_zoo
from keras_unet3d.zoo.registry import EMBEDDED

NAMES = ("hippocampus-mri", "ovule-nuclei")


# Nothing but the package's own models, and a home to remember proofs in.
pytestmark = pytest.mark.usefixtures("new_home")


def test_they_are_listed_and_small():
    assert [card.name for card in zoo.list_models()] == sorted(NAMES)
    for name in NAMES:
        assert sum(path.stat().st_size for path in (EMBEDDED / name).rglob("*") if path.is_file()) < 8e6


@pytest.mark.parametrize("name", NAMES)
def test_they_are_whole(name):
    assert any(line.startswith("model.keras: test output replayed") for line in zoo.verify(name))


@pytest.mark.parametrize("name", NAMES)
def test_their_cards_say_what_they_reached_and_who_may_use_them(name):
    card = zoo.card(name)
    assert card.evaluation["volumes"] and 0 < card.evaluation["mean_dice"] < 1
    assert "not stated" not in (card.licence.weights, card.licence.data)
    assert card.cite and card.intended_use and card.limitations
    folder = zoo.find(name)
    assert (folder / "cover.png").is_file()
    assert f"unet3d-cli predict {name}" in (folder / "README.md").read_text()


def test_a_scan_is_segmented_by_name(tmp_path):
    image = np.random.default_rng(0).gamma(4.0, 20.0, (35, 50, 36)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(image, np.diag([1.0, 1.0, 1.0, 1.0])), tmp_path / "scan.nii.gz")
    arguments = ["predict", "hippocampus-mri", str(tmp_path / "scan.nii.gz"), "--out", str(tmp_path / "seg.nii.gz")]
    result = CliRunner().invoke(unet3d_cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    written = nibabel.load(tmp_path / "seg.nii.gz")
    assert written.shape == image.shape
    assert set(np.unique(np.asarray(written.dataobj))) <= {0, 1, 2}


def test_an_older_keras_takes_the_weights_alone(monkeypatch):
    def unknown(*arguments, **options):
        raise TypeError("HeNormal.__init__() got an unexpected keyword argument 'input_axes'")

    monkeypatch.setattr(keras.models, "load_model", unknown)
    here = versions.package_versions()
    monkeypatch.setattr(versions, "package_versions", lambda: here | {"keras": "99.0.0", "tensorflow": "99.0.0"})
    with pytest.raises(InputError, match="expected a network saved by Keras, found a broken one"):
        zoo.load("ovule-nuclei")
    monkeypatch.setattr(versions, "package_versions", lambda: here | {"keras": "3.0.0"})
    # The stored test is replayed through the network that was built anew.
    assert any("largest difference" in line for line in zoo.verify("ovule-nuclei"))
    assert zoo.load("ovule-nuclei").count_params() == 1_367_427


def test_an_older_keras_installs_the_weights_alone_too(monkeypatch):
    def unknown(*arguments, **options):
        raise TypeError("HeNormal.__init__() got an unexpected keyword argument 'input_axes'")

    source = EMBEDDED / "ovule-nuclei" / "1.0.0"
    here = versions.package_versions()
    monkeypatch.setattr(keras.models, "load_model", unknown)
    monkeypatch.setattr(versions, "package_versions", lambda: here | {"keras": "99.0.0", "tensorflow": "99.0.0"})
    with pytest.raises(InputError, match="expected a network saved by Keras, found a broken one"):
        zoo.install(source)
    assert not user_zoo().exists()
    monkeypatch.setattr(versions, "package_versions", lambda: here | {"keras": "3.0.0"})
    where = zoo.install(source)
    assert where == user_zoo() / "ovule-nuclei" / "1.0.0" == zoo.find("ovule-nuclei")
    assert zoo.load("ovule-nuclei").count_params() == 1_367_427
