"""Zoos on the web: published to a folder, served, listed, fetched once, and used without a network."""

import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import says
from servers import file_server

from keras_unet3d import InputError, build_model, zoo
from keras_unet3d.cli import unet3d_cli
from keras_unet3d.files import sha256
from keras_unet3d.machine import folders
from keras_unet3d.zoo import registry


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[str, Path]:
    """Two versions of a model, by their versions."""
    folder, model = tmp_path_factory.mktemp("bundles"), build_model(base_filters=2, depth=1, seed=0)
    return {
        version: zoo.export(
            model, {"name": "cells", "version": version, "aliases": ["old-cells"]}, folder, complete=False
        )
        for version in ("1.0.0", "1.1.0")
    }


@pytest.fixture(scope="module")
def published(bundles, tmp_path_factory) -> dict[str, Path]:
    """Zoos by the version that was published last: the first one, or both."""
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder / "home"))
        for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
            patch.delenv(name, raising=False)
        zoo.publish(bundles["1.0.0"], folder / "1.0.0")
        shutil.copytree(folder / "1.0.0", folder / "1.1.0")
        zoo.publish(bundles["1.1.0"], folder / "1.1.0")
    return {version: folder / version for version in bundles}


@pytest.fixture(autouse=True)
def _alone(new_home, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "EMBEDDED", tmp_path / "embedded")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def site(published, tmp_path, monkeypatch):
    """A served zoo of version 1.0.0, the only place where names are looked up."""
    shutil.copytree(published["1.0.0"], tmp_path / "web")
    with file_server(tmp_path / "web") as site:
        monkeypatch.setenv("KERAS_UNET3D_ZOO", site.url)
        yield site


def index_of(site) -> dict:
    return json.loads((site.folder / "index.json").read_text())


def archive_of(site) -> str:
    return index_of(site)["models"][0]["file"]


def change_entry(site, **changes) -> None:
    index = index_of(site)
    index["models"][0] |= changes
    (site.folder / "index.json").write_text(json.dumps(index))


def add_newer(site, published) -> None:
    shutil.copytree(published["1.1.0"], site.folder, dirs_exist_ok=True)


def run(*words):
    return CliRunner().invoke(unet3d_cli, words)


# ---- publishing ------------------------------------------------------------------------------------


def test_publishing_adds_to_the_index(published):
    web = published["1.1.0"]
    index = json.loads((web / "index.json").read_text())
    files = [entry["file"] for entry in index["models"]]
    for entry in index["models"]:
        file = web / entry["file"]
        assert (entry["size"], entry["sha256"]) == (file.stat().st_size, sha256(file))
        assert entry["file"] == f"cells-{entry['card']['version']}-{entry['sha256'][:8]}.zip"
    assert sorted(os.listdir(web)) == [*files, "index.json"]


def test_publishing_replaces_only_when_asked(bundles, published, tmp_path):
    web = Path(shutil.copytree(published["1.1.0"], tmp_path / "web"))
    other = zoo.export(
        build_model(base_filters=2, depth=1, seed=1), {"name": "cells"}, tmp_path / "other", complete=False
    )
    before = {path.name: path.read_bytes() for path in web.iterdir()}
    with pytest.raises(InputError, match=says("index.json", "cells 1.0.0 exists already", "overwrite=True")):
        zoo.publish(other, web)
    assert {path.name: path.read_bytes() for path in web.iterdir()} == before
    archive = zoo.publish(other, web, overwrite=True)
    files = [entry["file"] for entry in json.loads((web / "index.json").read_text())["models"]]
    assert sorted(os.listdir(web)) == sorted([*files, "index.json"]) != sorted(before)
    assert (Path(archive).name in files) and len(files) == 2


def test_the_same_bundle_makes_the_same_archive(bundles, published, tmp_path):
    assert Path(zoo.publish(bundles["1.0.0"], tmp_path / "web")).name in os.listdir(published["1.0.0"])


@pytest.mark.parametrize("index", ["[]", "{", '{"schema": 99, "models": []}', '{"schema": 1}'])
def test_an_index_of_something_else_is_left_alone(bundles, tmp_path, index):
    (tmp_path / "index.json").write_text(index)
    with pytest.raises(InputError, match=says(tmp_path / "index.json", "the index of a zoo on the web")):
        zoo.publish(bundles["1.0.0"], tmp_path)
    assert (tmp_path / "index.json").read_text() == index
    assert not list(tmp_path.glob("*.zip"))


def test_a_changed_bundle_is_not_published(bundles, tmp_path):
    copy = shutil.copytree(bundles["1.0.0"], tmp_path / "copy")
    (copy / "README.md").write_text("changed")
    with pytest.raises(InputError, match=says("README.md", "checksum")):
        zoo.publish(copy, tmp_path / "web")
    assert not (tmp_path / "web").exists()


def test_other_places_are_refused(bundles):
    with pytest.raises(InputError, match=says("to: expected a folder or hf://OWNER/NAME", "https://a.org")):
        zoo.publish(bundles["1.0.0"], "https://a.org/zoo")


def test_the_command_says_what_comes_next(bundles, tmp_path):
    result = run("zoo", "publish", str(bundles["1.0.0"]), "--to", str(tmp_path / "web"))
    assert result.exit_code == 0, result.output
    (archive,) = (tmp_path / "web").glob("cells-1.0.0-*.zip")
    assert f"published: {archive}\n" in result.output
    assert "KERAS_UNET3D_ZOO" in result.output


# ---- by name ---------------------------------------------------------------------------------------


def test_names_of_a_web_zoo_are_listed_and_shown_and_nothing_is_fetched(site):
    assert [card.name for card in zoo.list_models()] == ["cells"]
    assert zoo.card("cells").version == "1.0.0" and zoo.card("old-cells").name == "cells"
    assert run("zoo", "list").output == f"cells@1.0.0  [0, 1]  (at {site.url}, fetched when it is used)\n"
    assert run("zoo", "show", "cells").output.startswith(f"{site.url}\n\n# cells 1.0.0")
    assert {path for path, _ in site.asked} == {"/index.json"}
    assert not folders.fetched().exists()


def test_a_model_is_fetched_once_and_used_without_a_network(bundles, site):
    model = zoo.load("cells")
    volume = np.random.default_rng(0).normal(size=(1, 8, 8, 8, 1)).astype(np.float32)
    np.testing.assert_array_equal(model(volume), zoo.load(bundles["1.0.0"])(volume))
    assert folders.fetched() in zoo.find("cells").parents
    assert [path for path, _ in site.asked] == ["/index.json", f"/{archive_of(site)}"]
    assert not list(folders.downloads().iterdir())
    shutil.rmtree(site.folder)
    site.asked.clear()
    zoo.load("cells")
    assert zoo.verify("cells@1.0.0")
    assert site.asked == []


def test_a_newer_version_is_listed_and_fetched_when_it_is_named(published, site):
    zoo.find("cells")
    add_newer(site, published)
    assert [card.version for card in zoo.list_models()] == ["1.1.0", "1.0.0"]
    assert zoo.find("cells").name == "1.0.0"
    assert zoo.find("cells@1.1.0").name == "1.1.0"
    assert zoo.find("cells").name == "1.1.0"


def test_a_model_that_is_here_is_used_without_asking(bundles, site, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_UNET3D_ZOO", os.pathsep.join([site.url, str(bundles["1.0.0"].parent.parent)]))
    assert zoo.find("cells") == bundles["1.1.0"]
    assert site.asked == []


def test_a_fetched_model_is_removed_as_any_other(site):
    folder = zoo.find("cells")
    assert zoo.remove("cells") == folder and not folder.exists()


def test_the_search_path_has_folders_and_addresses(tmp_path, monkeypatch):
    parts = ["https://a.org/zoo", str(tmp_path), "http://localhost:8000", "https://b.org:443/x", "models"]
    monkeypatch.setenv("KERAS_UNET3D_ZOO", os.pathsep.join(parts))
    assert zoo.search_path()[:5] == [parts[0], tmp_path, parts[2], parts[3], Path("models")]


def test_without_a_network_the_other_models_are_listed_and_an_unknown_name_says_why(bundles, tmp_path, monkeypatch):
    with file_server(tmp_path) as site:
        pass
    monkeypatch.setenv("KERAS_UNET3D_ZOO", os.pathsep.join([site.url, str(bundles["1.0.0"].parent.parent)]))
    result = run("zoo", "list")
    assert "cells@1.1.0" in result.output and f"skipped: {site.url}/index.json: expected a server" in result.output
    with pytest.raises(InputError, match=says("other: expected", f"Looked in {site.url}", "a server that answers")):
        zoo.load("other")


# ---- what a hostile or broken zoo says -------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "0" * 64}, ["SHA-256", "thrown away"]),
        ({"size": 7}, ["expected 7 bytes", "not downloaded"]),
        ({"file": "absent.zip"}, ["absent.zip", "no such file"]),
    ],
)
def test_another_file_than_the_index_says_is_refused(site, changes, words):
    change_entry(site, **changes)
    with pytest.raises(InputError, match=says(site.url, *words)):
        zoo.load("cells")
    assert not list(folders.fetched().rglob("metadata.json"))


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../cells.zip"},
        {"file": "https://a.org/cells.zip"},
        {"size": -1},
        {"size": 2**40},
        {"sha256": "abc"},
        {"card": {}},
        {"more": 1},
        {"card": {"schema": 4, "name": "../cells", "model": {}}},
    ],
)
def test_a_broken_entry_is_said_and_does_not_hide_the_others(published, site, changes):
    add_newer(site, published)
    change_entry(site, **changes)
    assert [card.version for card in zoo.list_models()] == ["1.1.0"]
    assert [sentence.startswith(f"{site.url}/index.json: ") for sentence in zoo.broken_models()] == [True]


@pytest.mark.parametrize("index", ["[]", "<html>", '{"schema": 2, "models": []}', "[" * 100_000])
def test_a_broken_index_is_said(site, index):
    (site.folder / "index.json").write_text(index)
    assert zoo.list_models() == []
    (sentence,) = zoo.broken_models()
    assert re.match(says(f"{site.url}/index.json: expected", "the index of a zoo on the web"), sentence)


def test_another_model_than_the_index_says_is_refused(site):
    index = index_of(site)
    index["models"][0]["card"]["version"] = "9.0.0"
    (site.folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=says(archive_of(site), "expected cells 9.0.0", "found cells 1.0.0")):
        zoo.find("cells")
    assert not list(folders.fetched().rglob("metadata.json"))


def test_no_path_leaves_the_archive(site, tmp_path):
    file = site.folder / archive_of(site)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("../../../outside", "hostile")
    change_entry(site, size=file.stat().st_size, sha256=sha256(file))
    with pytest.raises(InputError, match=says(f"{site.url}/{archive_of(site)}", "plain files", "not unpacked")):
        zoo.find("cells")
    assert not list(tmp_path.rglob("outside"))


# ---- from an address -------------------------------------------------------------------------------


def test_a_bundle_is_installed_from_its_address(site):
    result = run("zoo", "install", f"{site.url}/{archive_of(site)}")
    assert result.exit_code == 0, result.output
    assert (folders.user_zoo() / "cells" / "1.0.0" / "model.keras").is_file()
    assert not list(folders.downloads().iterdir())


def test_a_checksum_after_the_address_is_compared(site):
    digest = index_of(site)["models"][0]["sha256"]
    with pytest.raises(InputError, match=says("SHA-256", "thrown away")):
        zoo.install(f"{site.url}/{archive_of(site)}#sha256={'0' * 64}")
    assert not folders.user_zoo().exists()
    zoo.install(f"{site.url}/{archive_of(site)}#sha256={digest}")


def test_an_installation_that_was_cut_is_continued(site):
    site.cuts = [3000, 0]
    with pytest.raises(InputError, match=says("found 3000 before the connection was cut")):
        zoo.install(f"{site.url}/{archive_of(site)}")
    site.asked.clear()
    zoo.install(f"{site.url}/{archive_of(site)}")
    assert site.asked == [(f"/{archive_of(site)}", "bytes=3000-")]


def test_half_a_zip_is_said_with_its_address(site):
    file = site.folder / archive_of(site)
    file.write_bytes(file.read_bytes()[:5000])
    result = run("zoo", "install", f"{site.url}/{archive_of(site)}")
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith(f"{site.url}/{archive_of(site)}: expected a zip file, found a broken one")
    assert not folders.user_zoo().exists()


@pytest.mark.parametrize("source", ["file:///etc/passwd", "ftp://a.org/a.zip", "s3://bucket/a.zip"])
def test_other_kinds_of_addresses_are_refused(source):
    with pytest.raises(InputError, match=says(source, "https://", "hf://", "bioimageio://")):
        zoo.install(source)


def test_an_address_is_no_name():
    with pytest.raises(InputError, match=says("found an address", "install it first")):
        zoo.load("https://a.org/cells.zip")
