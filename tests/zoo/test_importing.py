"""Checkpoints of pytorch-3dunet become bundles that compute what PyTorch computes; `checkpoints/make.py` made them."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from helpers import says
from servers import file_server

from keras_unet3d import InputError, zoo
from keras_unet3d.cli import unet3d_cli
from keras_unet3d.files import sha256
from keras_unet3d.labels.table import BOUNDARY_TABLE
from keras_unet3d.prediction.array_api import trained_predictor
from keras_unet3d.volumes import from_array
from keras_unet3d.volumes.grey_values import Rescaling
from keras_unet3d.zoo.bioimageio import _preprocessing
from keras_unet3d.zoo.importing import open_checkpoint
from keras_unet3d.zoo.pytorch_file import read_state

HERE = Path(__file__).parent / "checkpoints"
EXPECTED = np.load(HERE / "expected.npz")
VARIANTS = sorted(path.stem for path in HERE.glob("*.pytorch"))


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """A home of its own, to remember proofs in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "KERAS_UNET3D_ZOO"):
            patch.delenv(name, raising=False)
        yield


def imported(name: str, folder: Path, **more) -> Path:
    options = {"config": HERE / f"{name}.yml", "complete": False} | more
    return zoo.import_checkpoint(HERE / f"{name}.pytorch", {"name": name.replace("_", "-")}, folder, **options)


def opened(path: Path, config: Path | None = None, **settings):
    """Return network and specification of a checkpoint, without the bundle that takes its time."""
    model, spec, about = open_checkpoint(path, config, zoo.ImportSettings(**settings))
    return model, spec, about


def assert_equal(model, name: str) -> None:
    """Compare with PyTorch; where that has a single channel, it is the second class, and the first is the rest."""
    found, expected = np.asarray(model(EXPECTED[f"{name}_input"][None]))[0], EXPECTED[f"{name}_output"]
    np.testing.assert_allclose(found[..., 1:] if expected.shape[-1] == 1 else found, expected, atol=2e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_outputs_are_those_of_pytorch(name):
    assert_equal(opened(HERE / f"{name}.pytorch", HERE / f"{name}.yml")[0], name)


def test_the_card_says_where_it_is_from_and_what_it_means(tmp_path):
    bundle = imported("gcr", tmp_path)
    assert_equal(zoo.load(bundle), "gcr")
    assert zoo.verify(bundle)[-1].startswith("model.keras: test output replayed")
    card = zoo.card(bundle)
    assert card.description == "UNet3D of pytorch-3dunet, imported from gcr.pytorch."
    assert card.training["imported"]["network"] == "UNet3D of pytorch-3dunet"
    assert (card.licence.weights, card.spec.normalization, card.spec.labels) == ("not stated", "zscore", BOUNDARY_TABLE)
    # Patches of the configuration are (10, 16, 16), of which two levels take multiples of 2, and three of 4.
    assert card.spec.patch == (10, 16, 16)
    assert opened(HERE / "cgrd.pytorch", HERE / "cgrd.yml")[1].patch == (12, 16, 16)


def test_labels_of_one_channel_are_boundaries_or_a_class():
    def labels(**settings):
        return opened(HERE / "gcr.pytorch", HERE / "gcr.yml", **settings)[1].labels

    assert labels(classes="0=background,7=nucleus").values == (0, 7)
    assert labels(target="semantic").names == ("background", "foreground")
    with pytest.raises(InputError, match="labels: expected 2 classes"):
        labels(classes="0,1,2")
    with pytest.raises(InputError, match="target: expected boundaries of a network of one channel, found 3 channels"):
        opened(HERE / "cr.pytorch", HERE / "cr.yml", target="boundaries")


def test_channels_that_overlap_have_probabilities_and_no_labels():
    model, spec, _ = opened(HERE / "cbr.pytorch", HERE / "cbr.yml")
    predictor = trained_predictor(model, spec)
    volume = np.random.default_rng(0).gamma(4.0, 20.0, (8, 16, 16, 2)).astype(np.float32)
    with pytest.raises(InputError, match="expected masks, probabilities or logits .*may overlap"):
        predictor(volume)
    probabilities = predictor.predict(from_array(volume), "probabilities")
    assert probabilities.shape == (8, 16, 16, 3) and probabilities.sum(axis=-1).std() > 0


def test_without_a_configuration_the_tensors_tell(tmp_path):
    model, spec, _ = opened(HERE / "se_gcr.pytorch", patch=(8, 8, 8), normalizer="PercentileNormalizer", num_groups=4)
    assert_equal(model, "se_gcr")
    assert spec.normalization == Rescaling("percentiles", 1.0, 99.6)
    with pytest.raises(InputError, match="expected what was done to its grey values"):
        imported("se_gcr", tmp_path / "a", config=None)
    with pytest.raises(InputError, match="expected the size of its training patches"):
        imported("se_gcr", tmp_path / "a", config=None, settings=zoo.ImportSettings(normalizer="none"))
    with pytest.raises(InputError, match="whether its 3 channels are a softmax, or a sigmoid each"):
        imported("cr", tmp_path / "a", config=None)
    assert not (tmp_path / "a").exists()


def test_the_halo_of_a_prediction_is_part_of_the_tile(tmp_path):
    config = yaml.safe_load((HERE / "gcr.yml").read_text())
    config["loaders"]["test"] = {"slice_builder": {"halo_shape": [4, 8, 8]}}
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(config))
    assert opened(HERE / "gcr.pytorch", path)[1].patch == (18, 32, 32)


# ---- packages of bioimage.io ----------------------------------------------------------------------


def package(path: Path, version: str, **weights) -> Path:
    """Write the zip of a package with the network "se_gcr", in one of the two formats."""
    model = yaml.safe_load((HERE / "se_gcr.yml").read_text())["model"]
    if version == "0.5":
        step = {"id": "scale_range", "kwargs": {"axes": ["z", "y", "x"], "min_percentile": 2, "max_percentile": 98}}
        given = {"architecture": {"callable": "ResidualUNetSE3D", "kwargs": model}}
        inputs = {"preprocessing": [{"id": "ensure_dtype"}, step], "test_tensor": {"source": "in.npy"}}
    else:
        step = {"name": "zero_mean_unit_variance", "kwargs": {"axes": "xyz", "mode": "per_sample"}}
        given = {"architecture": "pytorch3dunet.unet3d.model:ResidualUNetSE3D", "kwargs": model}
        inputs = {"preprocessing": [step]}
    rdf = {
        "description": "Boundaries.",
        "authors": [{"name": "A. Nobody"}],
        "license": "MIT",
        "inputs": [inputs],
        "test_inputs": ["in.npy"],
        "weights": {"pytorch_state_dict": given | {"source": "weights.pt"} | weights},
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rdf.yaml", yaml.safe_dump(rdf))
        archive.write(HERE / "se_gcr.pytorch", "weights.pt")
        test = io.BytesIO()
        np.save(test, np.zeros((1, 1, 8, 16, 16), np.float32))
        archive.writestr("in.npy", test.getvalue())
    return path


@pytest.mark.parametrize("version, grey", [("0.5", Rescaling("percentiles", 2, 98)), ("0.4", "zscore")])
def test_a_package_of_bioimage_io(version, grey, tmp_path):
    model, spec, about = opened(package(tmp_path / "p.zip", version))
    assert_equal(model, "se_gcr")
    assert (spec.normalization, spec.patch) == (grey, (8, 16, 16))
    assert (about["description"], about["authors"]) == ("Boundaries.", ("A. Nobody",))
    assert about["licence"].weights == "MIT" and about["training"]["imported"]["file"] == "p.zip"


@pytest.fixture
def bioimage(tmp_path, monkeypatch):
    """A server of the files of the package "nice-shark", as bioimage.io has them."""
    with zipfile.ZipFile(package(tmp_path / "p.zip", "0.5")) as archive:
        archive.extractall(tmp_path / "site" / "nice-shark")
    with file_server(tmp_path / "site") as site:
        monkeypatch.setenv("BIOIMAGEIO_COLLECTION_HTTP_PATTERN", f"{site.url}/{{bioimageio_id}}/rdf.yaml")
        yield site


def change_description(site, **weights) -> None:
    path = site.folder / "nice-shark" / "rdf.yaml"
    rdf = yaml.safe_load(path.read_text())
    rdf["weights"]["pytorch_state_dict"] |= weights
    path.write_text(yaml.safe_dump(rdf))


def test_a_model_of_bioimage_io_by_its_id(bioimage, tmp_path):
    change_description(bioimage, sha256=sha256(HERE / "se_gcr.pytorch"))
    bundle = zoo.install("bioimageio://nice-shark", tmp_path / "zoo")
    assert bundle == tmp_path / "zoo" / "nice-shark" / "1.0.0"
    assert_equal(zoo.load(bundle), "se_gcr")
    assert zoo.card(bundle).training["imported"]["file"] == "nice-shark.zip"
    paths = [path for path, _ in bioimage.asked]
    assert paths == [f"/nice-shark/{name}" for name in ("rdf.yaml", "weights.pt", "in.npy")]
    with pytest.raises(InputError, match=says("bioimageio://../x", "the id of a model of bioimage.io")):
        zoo.import_checkpoint("bioimageio://../x", {"name": "p"}, tmp_path / "zoo")


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"sha256": "0" * 64}, ["SHA-256", "thrown away"]),
        ({"source": "file:///etc/passwd"}, ["file:///etc/passwd", "an address that begins with https://"]),
        ({"source": "http://a.org/weights.pt"}, ["expected https://"]),
        ({"source": 5}, ["weights for PyTorch"]),
    ],
)
def test_a_model_of_bioimage_io_with_other_weights_is_refused(bioimage, tmp_path, weights, words):
    change_description(bioimage, **weights)
    with pytest.raises(InputError, match=says("expected", *words)):
        zoo.import_checkpoint("bioimageio://nice-shark", {"name": "p"}, tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()


def test_a_checkpoint_is_imported_from_its_address(tmp_path):
    with file_server(HERE) as site:
        bundle = zoo.import_checkpoint(
            f"{site.url}/gcr.pytorch", {"name": "gcr"}, tmp_path / "zoo", config=HERE / "gcr.yml", complete=False
        )
    assert zoo.card(bundle).training["imported"]["file"] == "gcr.pytorch"
    assert zoo.card(bundle).training["imported"]["sha256"] == sha256(HERE / "gcr.pytorch")


def test_a_package_without_such_weights_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected one of UNet3D.*found 'UNet2D'"):
        path = package(
            tmp_path / "a.zip",
            "0.5",
            architecture={"callable": "UNet2D", "kwargs": {"in_channels": 1, "out_channels": 1}},
        )
        zoo.import_checkpoint(path, {"name": "p"}, tmp_path / "zoo")
    with pytest.raises(InputError, match="p.zip: expected gone.pt in it, found none"):
        zoo.import_checkpoint(package(tmp_path / "p.zip", "0.4", source="gone.pt"), {"name": "p"}, tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()


PACKAGES = {
    "arguments that are none": (
        {"architecture": {"callable": "UNet3D", "kwargs": ["a"]}},
        "as its format has it, found",
    ),
    "a number": ({"architecture": 3}, "expected the description of a model .* as its format has it, found another one"),
}


@pytest.mark.parametrize("what", PACKAGES)
def test_a_package_that_is_not_as_its_format_has_it_is_refused(what, tmp_path):
    changes, said = PACKAGES[what]
    with pytest.raises(InputError, match=said):
        opened(package(tmp_path / "p.zip", "0.5", **changes))


def test_a_package_describes_itself(tmp_path):
    path = package(tmp_path / "p.zip", "0.5")
    with pytest.raises(InputError, match="config: expected none for .*p.zip, a package that describes its network"):
        opened(path, tmp_path / "none.yml")


def changed(path: Path, member: str, content: bytes) -> Path:
    """Write a package with another file in the place of one of its own."""
    with zipfile.ZipFile(package(path.with_suffix(".old"), "0.5")) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name == member else old.read(name))
    return path


def test_a_test_input_of_other_axes_is_refused(tmp_path):
    test = io.BytesIO()
    np.save(test, np.zeros((8, 16, 16), np.float32))
    with pytest.raises(InputError, match=r"in.npy: expected a test input .*found shape \(8, 16, 16\)"):
        opened(changed(tmp_path / "p.zip", "in.npy", test.getvalue()))


def described(path: Path, steps: list) -> Path:
    with zipfile.ZipFile(package(path.with_suffix(".first"), "0.5")) as archive:
        rdf = yaml.safe_load(archive.read("rdf.yaml"))
    rdf["inputs"][0]["preprocessing"] = steps
    return changed(path, "rdf.yaml", yaml.safe_dump(rdf).encode())


def test_a_range_without_percentiles_is_that_of_all_voxels(tmp_path):
    path = described(tmp_path / "p.zip", [{"id": "scale_range", "kwargs": {"axes": ["z", "y", "x"]}}])
    assert opened(path)[1].normalization == Rescaling("percentiles", 0.0, 100.0)


def test_other_preprocessing_is_refused_unless_the_user_says_what_it_was(tmp_path):
    path = described(tmp_path / "p.zip", [{"id": "binarize", "kwargs": {"threshold": 1}}])
    with pytest.raises(InputError, match="found 'binarize'; add `normalizer`"):
        opened(path)
    assert opened(path, normalizer="Standardize")[1].normalization == "zscore"
    mode = {"name": "zero_mean_unit_variance", "kwargs": {"mode": "per_dataset"}}
    with pytest.raises(InputError, match="found the mode 'per_dataset' of zero_mean_unit_variance"):
        opened(described(tmp_path / "q.zip", [mode]))


# ---- what is refused -------------------------------------------------------------------------------

CONFIGS = {
    "another network": ({"name": "UNet2D"}, "name: expected one of UNet3D"),
    "another order": ({"layer_order": "gce"}, "layer_order: expected one of cr, cgr"),
    "no channels": ({"out_channels": None}, "expected the entry 'out_channels'"),
    "a regression": ({"is_segmentation": False}, "is_segmentation: expected True, found False"),
    "another upsampling": ({"upsample": "trilinear"}, "upsample: expected one of default, nearest, deconv for UNet3D"),
    "wider": (
        {"f_maps": 8},
        r"8 filters, found the shape \(2, 1, 3, 3, 3\) of 'encoders.0.*SingleConv1.conv.weight' in the place of \(4, 1, 3, 3, 3\)",
    ),
    "deeper": ({"num_levels": 3}, "found none that is called '.*', but others like 'enc"),
    "far wider": ({"f_maps": [2048, 4096]}, "expected the tensors of UNet3D, .* numbers or more, found 3,353"),
    "without normalisation": ({"layer_order": "cr"}, "found none that is called '.*bias', .*is it another network"),
    "groups that do not fit": (
        {"num_groups": 3},
        "config.yml: expected the options .*`num_groups` among them: groups: expected a divisor of 4",
    ),
    "no filters": ({"f_maps": []}, "f_maps: expected a number, or one per level, found none"),
}


# A few hundred letters that stand for 9 ** 10 entries.
BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)


@pytest.mark.parametrize("what", CONFIGS)
def test_a_configuration_of_another_network_is_refused(what, tmp_path):
    changes, said = CONFIGS[what]
    config = yaml.safe_load((HERE / "gcr.yml").read_text())
    config["model"] |= changes
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=said):
        imported("gcr", tmp_path / "zoo", config=path)
    assert not (tmp_path / "zoo").exists()


@pytest.mark.parametrize(
    "text, said",
    [
        (BOMB + "model: {name: UNet3D, layer_order: *a9}", "found more than anyone would write"),
        ("model: {in_channels: 0x" + "f" * 5000 + "}", "found more than anyone would write"),
        ("model: [", "expected the configuration of a training with pytorch-3dunet, YAML, found none"),
        ("- 1", "found no entries in it"),
        ("loaders: {}", "expected the network under 'model'"),
        ("model: !!python/object/apply:os.system ['exit']", "YAML, found none"),
    ],
)
def test_a_broken_configuration_is_refused(text, said, tmp_path):
    path = tmp_path / "config.yml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        imported("gcr", tmp_path / "zoo", config=path)


@pytest.mark.parametrize(
    "transforms, said",
    [
        ([{"name": "Standardise"}], "transforms of raw volumes that pytorch-3dunet has, found 'Standardise'; say by"),
        ([{"name": ["Standardize"]}], "expected a list of transforms with a name each"),
        ([{"name": "Standardize", "mean": "a", "std": 1}], "for Standardize, found {'mean': 'a', 'std': 1}"),
        (
            [{"name": "PercentileNormalizer", "pmin": 9, "pmax": 1}],
            "expected numbers in order, .* found {'pmax': 1, 'pmin': 9}",
        ),
    ],
)
def test_transforms_that_say_nothing_are_refused(transforms, said, tmp_path):
    config = yaml.safe_load((HERE / "gcr.yml").read_text())
    config["loaders"]["train"]["transformer"]["raw"] = transforms
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=said):
        opened(HERE / "gcr.pytorch", path)
    if "list" not in said:
        assert opened(HERE / "gcr.pytorch", path, normalizer="none")[1].normalization == "none"


@pytest.mark.parametrize("sizes", [[0, 0, 0], [10**400] * 3, [8, 8], "8"])
def test_sizes_that_no_patch_has_are_refused(sizes, tmp_path):
    config = yaml.safe_load((HERE / "gcr.yml").read_text())
    config["loaders"]["train"]["slice_builder"]["patch_shape"] = sizes
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match="expected|found more than anyone"):
        opened(HERE / "gcr.pytorch", path)


def test_two_normalisations_are_refused(tmp_path):
    config = yaml.safe_load((HERE / "gcr.yml").read_text())
    config["loaders"]["train"]["transformer"]["raw"].append({"name": "Normalize"})
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match="expected one normalisation .* found Standardize, Normalize"):
        imported("gcr", tmp_path / "zoo", config=path)


class Harmful:
    def __reduce__(self):
        import os

        return os.system, ("touch harmful",)


def written(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return path


def test_no_code_of_a_pickle_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path / "a.pytorch", pickle.dumps({"model_state_dict": Harmful()}))
    with pytest.raises(
        InputError, match=says("expected a checkpoint of tensors alone", "system in it, which was not run")
    ):
        read_state(path)
    assert not (tmp_path / "harmful").exists()


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "found a broken one"),
        (b"\x80\x02})" + b"\x85" * 300_000 + b"K\x01s.", "300,000 tuples and objects beside its tensors"),
        (b"\x80\x02]" + b"N0" * 2**22 + b".", "found a broken one .names and shapes of 8,388,612 bytes"),
        (b"ctorch\nBFloat16Storage\n.", r"expected numbers of double, .*found bfloat16; convert .* with \.float\(\)"),
        (b"ctorch\n" + b"A" * 10_000 + b"\n.", "found torch.A{190,200}[.]{3} in it, which was not run"),
        (pickle.dumps({"a": 1}), "expected a state dictionary"),
        (pickle.dumps([1]), "expected a state dictionary"),
        (pickle.dumps({}), "expected a state dictionary"),
        (pickle.dumps(np.float64), "found numpy.float64 in it, which was not run"),
    ],
)
def test_a_pickle_of_something_else_is_refused(content, said, tmp_path):
    with pytest.raises(InputError, match=said):
        read_state(written(tmp_path / "a.pytorch", content))


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "a.pytorch"
    path.write_bytes(b"\x80\x02" * 100)
    with pytest.raises(InputError, match="a zip, found another kind of file; save it again with a newer PyTorch"):
        read_state(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(InputError, match="expected a checkpoint of PyTorch 1.6 or later"):
        read_state(path)
    content = (HERE / "gcr.pytorch").read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="expected a zip file, found a broken one"):
        read_state(path)


def rewritten(path, change):
    """Write the members of a checkpoint as `change` makes them of their names and contents, and return its path."""
    with zipfile.ZipFile(HERE / "gcr.pytorch") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return path


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    path = rewritten(
        tmp_path / "a.pytorch", lambda name, content: content[:-4] if name.endswith("/data/0") else content
    )
    with pytest.raises(InputError, match="found a broken one .a tensor of shape"):
        read_state(path)


def test_numbers_that_are_none_are_refused(tmp_path):
    nothing = np.full(1000, np.nan, np.float32).tobytes()
    path = rewritten(
        tmp_path / "a.pytorch", lambda name, content: nothing[: len(content)] if name.endswith("/data/0") else content
    )
    with pytest.raises(InputError, match="found numbers in '.*' that are none"):
        opened(path, HERE / "gcr.yml")


def test_numbers_in_another_order_are_refused(tmp_path):
    path = rewritten(tmp_path / "a.pytorch", lambda name, content: b"big" if name.endswith("/byteorder") else content)
    with pytest.raises(InputError, match="expected numbers in little-endian order, found big-endian ones"):
        read_state(path)


def test_tensors_that_share_their_numbers_take_no_memory(tmp_path):
    """As many names as one likes may stand for the same storage."""
    stored = "torch._utils _rebuild_tensor_v2"
    module, function = stored.split()
    one = (
        f"c{module}\n{function}\n".encode()
        + b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
        + b"K\x00(K\x04t(K\x01tI00\nNtR"
    )
    names = b"".join(b"X\x02\x00\x00\x00t%d" % number + one for number in range(3))
    path = tmp_path / "a.pytorch"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}(" + names + b"u.")
        archive.writestr("archive/data/0", np.zeros(4, np.float32).tobytes())
    with pytest.raises(InputError, match="tensors of more numbers than there are in it"):
        read_state(path)


def test_tensors_of_another_network_are_refused(tmp_path):
    path = rewritten(tmp_path / "a.pytorch", lambda name, content: content.replace(b"encoders.", b"resolved."))
    with pytest.raises(InputError, match="expected a 3D network of pytorch-3dunet .*found tensors of another one"):
        zoo.import_checkpoint(path, {"name": "a"}, tmp_path / "zoo")
    with pytest.raises(
        InputError, match="none that is called 'encoders.0.*', but others like 'resolved.*another network"
    ):
        zoo.import_checkpoint(path, {"name": "a"}, tmp_path / "zoo", config=HERE / "gcr.yml")


# ---- the command -----------------------------------------------------------------------------------


def test_the_command(tmp_path):
    words = ["zoo", "import", str(HERE / "gcr.pytorch"), "--name", "walls", "--out", str(tmp_path), "--slim"]
    done = CliRunner().invoke(unet3d_cli, [*words, "--config", str(HERE / "gcr.yml"), "--licence", "CC0"])
    assert done.exit_code == 0 and "walls/1.0.0" in done.output
    assert "network: UNet3D, layers gcr with 4 groups, 4 filters\n" in done.output
    metadata = json.loads((tmp_path / "walls" / "1.0.0" / "metadata.json").read_text())
    assert metadata["licence"]["weights"] == "CC0"


@pytest.mark.slow
def test_the_served_forms_of_an_import(tmp_path):
    zoo.verify(imported("se_bcr", tmp_path, complete=True))


def test_a_rescaling_in_steps_of_bioimage_io():
    steps = _preprocessing(Rescaling("values", 10, 200, (-1.0, 1.0), clip=True))
    assert [step["id"] for step in steps] == ["scale_linear", "clip"]
    assert steps[0]["kwargs"]["gain"] * 105 + steps[0]["kwargs"]["offset"] == pytest.approx(0)
