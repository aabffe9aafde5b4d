"""Hugging Face: bundles are published to a repository and installed from it; a server on this machine is the hub."""

import json
import sys
from pathlib import Path

import huggingface_hub
import pytest
from click.testing import CliRunner
from helpers import says
from huggingface_hub import constants
from servers import Repository, hub_server

from keras_unet3d import InputError, build_model, zoo
from keras_unet3d.cli import unet3d_cli
from keras_unet3d.machine import folders
from keras_unet3d.zoo import hub
from keras_unet3d.zoo.cards import Card, Licence, read_card

TOKEN = "hf_secretsecretsecret"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[str, Path]:
    """Two versions of a model, the first with a picture more."""
    folder, model = tmp_path_factory.mktemp("bundles"), build_model(base_filters=2, depth=1, seed=0)
    cover = folder / "cover.png"
    cover.write_bytes(b"a picture")
    card = {"name": "cells", "licence": {"weights": "CC-BY-SA-4.0"}}
    return {
        version: zoo.export(model, card | {"version": version}, folder / "zoo", complete=False, cover=picture)
        for version, picture in (("1.0.0", cover), ("1.1.0", None))
    }


@pytest.fixture
def server(new_home, tmp_path, monkeypatch):
    """A hub, and a user who is logged in to it."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with hub_server() as server:
        server.token = TOKEN
        # What it makes of HF_ENDPOINT when it is imported.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(token))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        yield server


def put(server, bundle: Path, name: str = "me/cells") -> Repository:
    """Give the hub a bundle as it would be after a publication."""
    repository = server.repositories.setdefault(name, Repository())
    repository.commits.append({path.name: path.read_bytes() for path in bundle.iterdir()})
    repository.tags[bundle.name] = len(repository.commits) - 1
    return repository


def publish(bundle: Path, overwrite: bool = False) -> None:
    """Publish without proving the bundle anew, which `zoo.publish` does."""
    hub.upload_bundle(bundle, read_card(bundle), "hf://me/cells", overwrite)


def test_a_bundle_goes_there_and_comes_back(server, bundles):
    runner = CliRunner()
    result = runner.invoke(unet3d_cli, ["zoo", "publish", str(bundles["1.0.0"]), "--to", "hf://me/cells"])
    assert result.exit_code == 0, result.output
    assert result.output == "published: hf://me/cells@1.0.0\nnext: unet3d-cli zoo install hf://me/cells@1.0.0\n"
    assert server.repositories["me/cells"].tags == {"1.0.0": 1}
    back = runner.invoke(unet3d_cli, ["zoo", "install", "hf://me/cells@1.0.0"])
    assert back.exit_code == 0, back.output
    installed = folders.user_zoo() / "cells" / "1.0.0"
    assert {path.name: path.read_bytes() for path in installed.iterdir()} == {
        path.name: path.read_bytes() for path in bundles["1.0.0"].iterdir()
    }
    assert not list(folders.downloads().iterdir())
    # The token is for the hub alone.
    assert f"Bearer {TOKEN}" in server.tokens and TOKEN not in result.output + back.output
    written = [path for path in Path(folders.user_zoo().parents[3]).rglob("*") if path.is_file()]
    assert written and not [path for path in written if TOKEN.encode() in path.read_bytes()]


def test_the_model_card_says_what_the_hub_wants_to_know(server, bundles):
    publish(bundles["1.0.0"])
    card = server.repositories["me/cells"].commits[-1]["README.md"].decode()
    assert card.startswith("---\nlicense: cc-by-sa-4.0\nlibrary_name: keras\npipeline_tag: image-segmentation\n")
    assert huggingface_hub.ModelCard(card).data.license == "cc-by-sa-4.0"
    assert "\n# cells 1.0.0\n" in card


@pytest.mark.parametrize(
    ("licence", "lines"),
    [
        ("not stated", ["---", "library_name: keras"]),
        ("MIT", ["---", "license: mit"]),
        ("Ours: ask\nfirst", ["---", "license: other", "license_name: ours-ask-first"]),
    ],
)
def test_licences_in_the_words_of_the_hub(licence, lines):
    assert hub.front_matter(Card("cells", licence=Licence(licence))).splitlines()[: len(lines)] == lines


def test_a_newer_version_replaces_the_files_and_is_a_tag(server, bundles):
    for bundle in bundles.values():
        publish(bundle)
    repository = server.repositories["me/cells"]
    assert set(repository.tags) == {"1.0.0", "1.1.0"}
    assert set(repository.commits[-1]) == {".gitattributes", *(path.name for path in bundles["1.1.0"].iterdir())}
    assert zoo.install("hf://me/cells").name == "1.1.0"
    assert zoo.install("hf://me/cells@1.0.0").name == "1.0.0"


def test_a_version_is_replaced_only_when_asked(server, bundles):
    repository = put(server, bundles["1.0.0"])
    with pytest.raises(InputError, match=says("hf://me/cells", "1.0.0 exists already", "overwrite=True")):
        publish(bundles["1.0.0"])
    assert len(repository.commits) == 2
    put(server, bundles["1.1.0"])
    publish(bundles["1.0.0"], overwrite=True)
    assert repository.tags["1.0.0"] == len(repository.commits) - 1 == 3


def test_a_repository_of_something_else_is_left_alone(server, bundles, tmp_path):
    repository = server.repositories["me/cells"] = Repository([{"weights.bin": b"", "README.md": b""}])
    with pytest.raises(InputError, match=says("hf://me/cells", "a bundle in it", "metadata.json")):
        publish(bundles["1.0.0"])
    repository.commits.append({"metadata.json": json.dumps({"name": "other"}).encode(), "SHA256SUMS": b""})
    with pytest.raises(InputError, match=says("hf://me/cells", "one of cells", "the model other")):
        publish(bundles["1.0.0"])
    assert len(repository.commits) == 2 and not repository.tags


def test_whoever_is_not_logged_in_publishes_nothing(server, bundles):
    server.token = "another"
    with pytest.raises(InputError, match=says("hf://me/cells", "expected", "log in by hf auth login")) as caught:
        publish(bundles["1.0.0"])
    assert TOKEN not in str(caught.value)
    assert not server.repositories


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("hf://me/nothing", ["expected a repository", "hf auth login"]),
        ("hf://me/cells@9.9.9", ["version or revision", "found none"]),
        ("hf://cells", ["hf://OWNER/NAME", "found another form"]),
        ("hf://me/../x", ["hf://OWNER/NAME", "found another form"]),
    ],
)
def test_what_is_not_there_is_said(server, bundles, address, words):
    put(server, bundles["1.0.0"])
    with pytest.raises(InputError, match=says(address, *words)):
        zoo.install(address)
    assert not folders.user_zoo().exists()


def test_a_repository_without_a_bundle_is_not_downloaded(server, bundles):
    server.repositories["me/cells"] = Repository([{"weights.bin": b"", "metadata.json": b"{}"}])
    with pytest.raises(InputError, match=says("hf://me/cells", "a bundle in it", "SHA256SUMS")):
        zoo.install("hf://me/cells")
    assert not [line for line in server.asked if "resolve" in line]


def test_a_repository_that_is_too_large_is_not_downloaded(server, bundles, monkeypatch):
    put(server, bundles["1.0.0"])
    monkeypatch.setattr(hub, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match=says("hf://me/cells", "at most 1000 bytes", "not downloaded")):
        zoo.install("hf://me/cells")
    assert not [line for line in server.asked if "resolve" in line]


def test_a_changed_file_is_refused(server, bundles):
    put(server, bundles["1.0.0"]).commits[-1]["cover.png"] = b"another"
    with pytest.raises(InputError, match=says("hf://me/cells/cover.png", "the checksum in SHA256SUMS")):
        zoo.install("hf://me/cells")
    assert not folders.user_zoo().exists()
    assert not list(folders.downloads().iterdir())


def test_without_a_network_it_is_said_what_to_do(server, bundles, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=says("hf://me/cells", "check the network", "without it")):
        zoo.install("hf://me/cells")


def test_without_the_library_the_extra_is_named(new_home, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=says("huggingface_hub", r"pip install 'keras-unet3d[hub]'")):
        zoo.install("hf://me/cells")


def test_a_revision_is_no_place_to_publish_to(bundles):
    with pytest.raises(InputError, match=says("hf://me/cells@main", "found a revision", "leave it out")):
        hub.upload_bundle(bundles["1.0.0"], read_card(bundles["1.0.0"]), "hf://me/cells@main", False)
