"""Zarr in stores: a real one like Amazon's and a plain web server, both in threads; and a sentence for all that fails there."""

import functools
import http.server
import json
import logging
import re
import sys
import threading
import urllib.request

import fsspec
import numpy as np
import pytest
import zarr
from helpers import UNLABELLED, VALUES, says, tiny_settings, tiny_volume
from moto.server import ThreadedMotoServer

import keras_unet3d
from keras_unet3d import InputError, zoo
from keras_unet3d.cli import main
from keras_unet3d.datasets import Globs, open_examples
from keras_unet3d.errors import without_secrets
from keras_unet3d.files import overlapping
from keras_unet3d.places import Url, place
from keras_unet3d.prediction.array_api import function_predictor
from keras_unet3d.settings import PredictSettings
from keras_unet3d.volumes import from_array, open_volume, remote, whole_volume, write_volume
from keras_unet3d.workflows.predict.files import predict

SPACING = (2.0, 0.8, 0.5)


@pytest.fixture(scope="module")
def server():
    """The address of an object store that takes any credential."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    variables = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield address
    server.stop()


@pytest.fixture(scope="module")
def store(server):
    """fsspec's view of that store, which has a bucket "bucket"."""
    store = fsspec.filesystem("s3", use_listings_cache=False)
    store.mkdir("bucket")
    return store


@pytest.fixture
def bucket(store, request):
    """The URL of an empty folder in the bucket."""
    return f"s3://bucket/{request.node.name.partition('[')[0]}"


class _Web(http.server.SimpleHTTPRequestHandler):
    """Serves files; says `status` where that is set, and cuts so many of the next answers."""

    status, cuts, asked = None, 0, []

    def do_GET(self):
        self.asked.append(self.path)
        if self.status:
            self.send_error(self.status)
        elif type(self).cuts and "/c/" in self.path:
            type(self).cuts -= 1
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"too little")
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """A folder and the URL under which it is served."""
    folder = tmp_path_factory.mktemp("web")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Web, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def voxels(shape=(20, 30, 40), seed=0):
    return np.random.default_rng(seed).integers(1, 60000, shape).astype(np.uint16)


def write(path, array=None, key="raw"):
    array = voxels() if array is None else array
    write_volume(path, array, from_array(array, spacing=SPACING, unit="um"), key)
    return array


def put(group, name, array, **how):
    # Zarr 3.0 takes no data here.
    stored = group.create_array(name, shape=array.shape, dtype=array.dtype, **how)
    stored[...] = array
    return stored


def write_labelled(store, url, seed=0):
    image, label = tiny_volume(seed)
    write(url, image)
    group = zarr.open_group(remote.store_at(place(url), read_only=False), mode="r+", use_consolidated=False)
    put(group, "label", label)
    return image, label


def whole(url, *key):
    return open_volume(url, *key).array()[..., 0]


# ---- there and back --------------------------------------------------------------------------------


def test_a_volume_goes_to_a_store_and_back(store, bucket):
    array = write(f"{bucket}/a.zarr")
    volume = open_volume(f"{bucket}/a.zarr")
    assert (volume.shape, volume.spacing, volume.unit, volume.dtype) == (array.shape, SPACING, "um", np.uint16)
    np.testing.assert_array_equal(volume.array()[..., 0], array)
    np.testing.assert_array_equal(volume.read((slice(3, 9), slice(0, 5), slice(38, 40)))[..., 0], array[3:9, :5, 38:])
    # Nothing else is left of the writing.
    assert {name.partition("/a.zarr/")[1] for name in store.find(bucket)} == {"/a.zarr/"}


@pytest.mark.parametrize("number", [2, 3])
def test_an_image_of_several_resolutions_is_the_same_by_http_as_on_the_disk(web, number):
    folder, url = web
    array = voxels((2, 8, 12, 14), seed=number)
    axes = [{"name": "c", "type": "channel"}, *({"name": a, "type": "space", "unit": "micrometer"} for a in "zyx")]
    levels = [
        {"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": [1.0, 2.0 * f, 0.8 * f, 0.5 * f]}]}
        for n, f in enumerate((1, 2))
    ]
    image = {"multiscales": [{"axes": axes, "datasets": levels}]}
    path = folder / f"image{number}.ome.zarr"
    group = zarr.create_group(path, zarr_format=number, attributes=image if number == 2 else {"ome": image})
    for name, level in (("0", array), ("1", array[:, ::2, ::2, ::2])):
        put(group, name, level, chunks=(1, 5, 5, 5))
    cells = put(group.create_group("labels"), "cells", array[0])
    there, here = open_volume(f"{url}/{path.name}"), open_volume(path)
    assert (there.shape, there.channels, there.spacing, there.unit) == ((8, 12, 14), 2, SPACING, "um")
    assert (there.shape, there.channels, there.spacing, there.unit) == (
        here.shape,
        here.channels,
        here.spacing,
        here.unit,
    )
    np.testing.assert_array_equal(there.array(), here.array())
    np.testing.assert_array_equal(there.array(), np.moveaxis(array, 0, -1))
    np.testing.assert_array_equal(whole(f"{url}/{path.name}", cells.path), array[0])


def test_chunks_that_nobody_wrote_are_empty_and_chunks_are_asked_for_once(web, monkeypatch):
    folder, url = web
    stored = zarr.create_group(folder / "sparse.zarr").create_array(
        "raw", shape=(8, 8, 8), chunks=(4, 8, 8), dtype="uint8", fill_value=7
    )
    stored[:4] = 1
    volume = open_volume(f"{url}/sparse.zarr")
    monkeypatch.setattr(_Web, "asked", [])
    for _ in range(3):
        np.testing.assert_array_equal(volume.array()[:, 0, 0, 0], [1, 1, 1, 1, 7, 7, 7, 7])
    assert sum(path.endswith("raw/c/0/0/0") for path in _Web.asked) == 1
    # With no room nothing is kept.
    monkeypatch.setattr(remote, "MOST_KEPT", 0)
    other = open_volume(f"{url}/sparse.zarr")
    for _ in range(3):
        other.read((slice(0, 4),) * 3)
    assert sum(path.endswith("raw/c/0/0/0") for path in _Web.asked) == 4


# ---- what fits takes, and what predict writes --------------------------------------------------------


def test_data_are_a_volume_a_folder_of_volumes_or_patterns(store, bucket):
    for seed, name in enumerate("ab"):
        image, label = write_labelled(store, f"{bucket}/{name}.zarr", seed)
    for data in ([f"{bucket}/a.zarr", f"{bucket}/b.zarr"], [bucket], [f"{bucket}/"]):
        examples = open_examples(data).examples
        assert [example.file for example in examples] == [f"{bucket}/a.zarr", f"{bucket}/b.zarr"]
    np.testing.assert_array_equal(examples[1].image.array()[..., 0], image)
    np.testing.assert_array_equal(examples[1].label.array()[..., 0], label)
    paired = open_examples([], globs=Globs(f"{bucket}/*.zarr", f"{bucket}/[ab].zarr")).examples
    assert [example.image.path for example in paired] == [f"{bucket}/a.zarr", f"{bucket}/b.zarr"]
    assert keras_unet3d.check(f"{bucket}/a.zarr")["faults"] == []


def test_a_run_learns_from_a_store_goes_on_and_is_judged_there(store, bucket, tmp_path):
    for seed, name in enumerate(("a", "val")):
        write_labelled(store, f"{bucket}/{name}.zarr", seed)
    data = {"data": f"{bucket}/a.zarr", "val": f"{bucket}/val.zarr"}
    keras_unet3d.fit(**data, out=tmp_path / "run", settings=tiny_settings())
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["arguments"] == [data["data"]]
    assert config["data"]["held_out_files"] == [data["val"]]
    longer = keras_unet3d.fit((), tmp_path / "run", settings=tiny_settings(epochs=2), resume=True)
    assert len(longer.history["loss"]) == 2
    predictor = zoo.predictor(tmp_path / "run")
    figures = keras_unet3d.evaluate(predictor, [*data.values()], only=config["data"]["held_out_files"])
    assert [volume["file"] for volume in figures["volumes"]] == ["val.zarr"]
    # The same by block, and next to a store nothing but Zarr is written.
    recipe, wanted = zoo.recipe(tmp_path / "run"), predictor.predict(open_volume(data["data"]))
    settings = PredictSettings(tile=(16, 16, 16), merge="exact", clean=False)
    blocks = {"settings": settings, "scheduler": "here", "recipe": recipe}
    predict(predictor, [data["data"]], tmp_path / "blocks.zarr", **blocks)
    written = predict(predictor, [data["data"]], f"{bucket}/out", settings=settings)
    assert written == [f"{bucket}/out/a.zarr"]
    np.testing.assert_array_equal(whole(written[0]), whole(tmp_path / "blocks.zarr"))
    assert set(np.unique(wanted)) <= set(VALUES) and UNLABELLED not in wanted
    for refused in ({"table": True}, blocks):
        with pytest.raises(InputError, match=says("expected results on a disk", f"{bucket}/other")):
            predict(predictor, [data["data"]], f"{bucket}/other", **refused)
    with pytest.raises(InputError, match="s3://bucket/run: expected a path on a disk, found a URL"):
        keras_unet3d.fit(data["data"], "s3://bucket/run", settings=tiny_settings())


def bright(batch):
    return np.stack([batch[..., 0] < 0, batch[..., 0] >= 0], axis=-1).astype(np.float32)


def test_a_prediction_is_written_over_only_where_that_is_asked_for(store, bucket, tmp_path):
    array = write(f"{bucket}/a.zarr")
    wanted = (array >= array.mean()).astype(np.uint8)
    predictor, out = function_predictor(bright, None, "zscore"), f"{bucket}/out/a.zarr"
    predict(predictor, [f"{bucket}/a.zarr"], f"{bucket}/out", output="classes")
    np.testing.assert_array_equal(whole(out), wanted)
    with pytest.raises(InputError, match=f"{out}: the output exists already"):
        predict(predictor, [f"{bucket}/a.zarr"], f"{bucket}/out", output="classes")
    predict(predictor, [f"{bucket}/a.zarr"], out, output="probabilities", overwrite=True)
    assert open_volume(out).channels == 2
    assert not [name for name in store.find(bucket) if "/out/a.zarr/label" in name or ".partial." in name]
    # Of folders only Zarr is replaced, and never the input.
    store.pipe_file(f"{bucket}/mine.zarr/notes.txt", b"mine")
    with pytest.raises(InputError, match=says("mine.zarr", "expected an earlier output", "without zarr.json")):
        predict(predictor, [f"{bucket}/a.zarr"], f"{bucket}/mine.zarr", overwrite=True)
    with pytest.raises(InputError, match="expected an output that is not an input"):
        predict(predictor, [f"{bucket}/a.zarr"], f"{bucket}/a.zarr", overwrite=True)
    # What `predict_volume` writes, and a file that goes to a store.
    write(tmp_path / "b.h5", array)
    keras_unet3d.predict_volume(bright, tmp_path / "b.h5", f"{bucket}/out/b.zarr")
    np.testing.assert_array_equal(whole(f"{bucket}/out/b.zarr"), wanted)
    assert predict(predictor, [tmp_path / "b.h5"], f"{bucket}/c", output="classes") == [f"{bucket}/c/b.zarr"]


# ---- what fails ------------------------------------------------------------------------------------


def test_what_fails_midway_leaves_the_earlier_result_and_nothing_else(store, bucket):
    earlier = write(f"{bucket}/out.zarr")
    write(f"{bucket}/a.zarr", voxels(seed=1))

    def failing(batch):
        raise InputError("network: it fails")

    with pytest.raises(InputError, match="it fails"):
        predict(function_predictor(failing), [f"{bucket}/a.zarr"], f"{bucket}/out.zarr", overwrite=True)
    np.testing.assert_array_equal(whole(f"{bucket}/out.zarr"), earlier)
    assert not [name for name in store.find(bucket) if ".partial." in name]


def test_what_fails_beside_the_store_is_not_said_of_it(store, bucket):
    with pytest.raises(FileNotFoundError, match="no such"), whole_volume(place(f"{bucket}/out.zarr")):
        raise FileNotFoundError("no such file of mine")


def test_a_store_that_fails_while_it_is_written_is_named_by_the_name_that_the_result_gets(store, bucket, monkeypatch):
    def cut(*_, **__):
        raise ConnectionError("cut")

    monkeypatch.setattr(zarr.Array, "__setitem__", cut)
    with pytest.raises(InputError, match=f"^{bucket}/a.zarr: expected a store .* one that was cut"):
        write(f"{bucket}/a.zarr")
    assert not store.find(bucket)


def test_a_volume_whose_metadata_have_not_come_yet_is_none(store, bucket, monkeypatch):
    copy, copied = store.copy, []

    def cut(some, *others):
        copied.extend(name.rpartition(".zarr/")[2] for name in some)
        if copied[-1] == "raw/zarr.json":
            raise ConnectionError("cut")
        return copy(some, *others)

    monkeypatch.setattr(store, "copy", cut)
    with pytest.raises(InputError, match=says(f"{bucket}/a.zarr", "no connection, or one that was cut")):
        write(f"{bucket}/a.zarr")
    assert copied == ["raw/c/0/0/0", "raw/zarr.json"]
    for key in ("raw", None):
        with pytest.raises(InputError, match=says("expected a Zarr volume", "without zarr.json")):
            open_volume(f"{bucket}/a.zarr", key)


def test_what_a_killed_process_left_is_no_volume_and_goes_with_the_next_one(store, bucket):
    store.pipe_file(f"{bucket}/.partial.a.zarr/raw/c/9/9/9", b"left")
    with pytest.raises(InputError, match="expected a Zarr volume ending in .zarr, or a folder of such, found none"):
        open_examples([bucket])
    write(f"{bucket}/a.zarr")
    assert not [name for name in store.find(bucket) if "9/9/9" in name or ".partial." in name]


def test_a_folder_that_goes_away_is_not_read_as_empty(store, bucket):
    write(f"{bucket}/a.zarr")
    volume = open_volume(f"{bucket}/a.zarr")
    store.rm(f"{bucket}/a.zarr", recursive=True)
    with pytest.raises(InputError, match=says(f"{bucket}/a.zarr", "no such object")):
        volume.array()


def test_a_connection_that_is_cut_is_tried_again_and_then_named(web, monkeypatch):
    folder, url = web
    array = write(folder / "cut.zarr")
    monkeypatch.setattr(remote, "_PAUSE", 0.0)
    monkeypatch.setattr(_Web, "cuts", 2)
    np.testing.assert_array_equal(whole(f"{url}/cut.zarr"), array)
    monkeypatch.setattr(_Web, "cuts", 100)
    with pytest.raises(
        InputError, match=f"^{url}/cut.zarr: expected a store .* found no connection, or one that was cut"
    ):
        whole(f"{url}/cut.zarr")


@pytest.mark.parametrize(
    "status, words",
    [(401, "no permission for it: a credential"), (403, "no permission"), (503, "a server that fails (status 503)")],
)
def test_a_web_server_that_refuses_is_named(web, monkeypatch, status, words):
    monkeypatch.setattr(_Web, "status", status)
    with pytest.raises(InputError, match=says(f"{web[1]}/a.zarr", words)):
        open_volume(f"{web[1]}/a.zarr")


def test_a_wrong_credential_is_named_when_read_and_when_written(server, store, bucket):
    def refuse_after(count):
        plain = {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset-auth", str(count).encode(), plain))

    write(f"{bucket}/a.zarr")
    refuse_after(0)
    try:
        with pytest.raises(InputError, match=says(f"{bucket}/a.zarr", "a credential that is missing or wrong")):
            open_volume(f"{bucket}/a.zarr")
        with pytest.raises(InputError, match=says(f"{bucket}/b.zarr", "a credential that is missing or wrong")):
            write(f"{bucket}/b.zarr")
    finally:
        refuse_after("inf")
    assert not store.exists(f"{bucket}/b.zarr")


BAD = {
    "http://127.0.0.1:9/a.zarr": "no connection, or one that was cut; check the URL and the network",
    "nowhere://a/b.zarr": "a kind of store that fsspec does not know, nowhere",
    "s3://bucket/a.tif": "expected Zarr at a URL, a folder ending in .zarr, found .tif",
    "s3://bucket/missing.zarr": "expected a Zarr volume, found a place without zarr.json, .zarray or .zgroup",
    "s3://no-such-bucket/a.zarr": "expected a Zarr volume, found a place without zarr.json",
}


@pytest.mark.parametrize("url", BAD)
def test_what_cannot_be_read_gets_one_sentence(store, url):
    with pytest.raises(InputError, match=f"^{re.escape(url)}.*{re.escape(BAD[url])}") as caught:
        open_volume(url)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_written_gets_one_sentence(store, web):
    with pytest.raises(InputError, match="expected a store that can be written to, like s3://, found http"):
        write(f"{web[1]}/new.zarr")
    with pytest.raises(
        InputError, match="s3://no-such-bucket/a.zarr: expected a store that can be reached, found no such"
    ):
        write("s3://no-such-bucket/a.zarr")


def test_an_array_that_is_not_there_is_named_with_those_that_are(store, bucket, web):
    write(f"{bucket}/a.zarr")
    write(web[0] / "keys.zarr")
    for url in (f"{bucket}/a.zarr", f"{web[1]}/keys.zarr"):
        with pytest.raises(InputError, match=f"{url}: expected a data set 'other', found raw; name it by"):
            open_volume(url, "other")


def test_a_package_that_is_missing_is_named(monkeypatch):
    def missing(*_, **__):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", missing)
    with pytest.raises(InputError, match=r"s3://a/b.zarr.* run pip install 'keras-unet3d\[remote\]'"):
        open_volume("s3://a/b.zarr")
    with pytest.raises(InputError, match="expected the package for gs://, found none; run pip install gcsfs"):
        open_volume("gs://a/b.zarr")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(
        InputError, match=r"expected the package fsspec, found none; run pip install 'keras-unet3d\[remote\]'"
    ):
        open_volume("s3://a/b.zarr")


# ---- secrets ---------------------------------------------------------------------------------------

SECRETS = ("https://me:hush@host/a.zarr", "s3://hush@bucket/a.zarr", "https://host/a.zarr?X-Amz-Signature=hush&x=1")


@pytest.mark.parametrize("url", SECRETS)
def test_a_url_with_a_secret_is_refused_and_the_secret_is_nowhere(url, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = (
        ["check", url],
        ["fit", url, "--out", "run"],
        ["fit", "--images", url, "--labels", url, "--out", "run"],
        ["fit", "sample", "--out", url],
        ["predict", "hippocampus-mri", url, "--out", "out", "--debug"],
        ["predict", url, "a.zarr", "--out", "out"],
    )
    for call in calls:
        with pytest.raises(SystemExit) as stopped:
            main(call)
        assert stopped.value.code == 2, call
    said = "".join(capsys.readouterr())
    assert "hush" not in said and "expected a URL without secrets" in said
    assert not [*tmp_path.rglob("*.json")] and not (tmp_path / "https:").exists()


def test_secrets_are_taken_out_of_any_sentence():
    assert (
        without_secrets("a https://me:pw@host/x?sig=1 b s3:/k@h/y 'http://h/?t=2'.")
        == "a https://host/x b s3:/h/y 'http://h/'."
    )
    for plain in ("is this the image? Did you mean 'a'?", "s3://bucket/a.zarr: found a@b", "c:/x/y@z.h5"):
        assert without_secrets(plain) == plain
    assert str(InputError("https://me:pw@host/x: no")) == "https://host/x: no"


# ---- names -----------------------------------------------------------------------------------------


def test_a_url_has_the_ways_of_a_path(tmp_path):
    url = place("S3://bucket/folder/a.ome.zarr/")
    assert (url, url.name, url.suffix) == ("s3://bucket/folder/a.ome.zarr", "a.ome.zarr", ".zarr")
    assert (url / "0" / "c", url.with_name("b")) == (f"{url}/0/c", "s3://bucket/folder/b")
    assert isinstance(url / "0", Url) and place(url) is url
    assert (place("s3://my.bucket").name, place("s3://my.bucket").suffix) == ("my.bucket", "")
    assert place("file:///a%20b/c.zarr") == place("/a b/c.zarr") == place(tmp_path / "/a b/c.zarr")
    assert not isinstance(place("C:/a.zarr"), Url)
    assert overlapping(url, url / "0") and overlapping(url, place("s3://bucket/folder"))
    assert not overlapping(url, url.with_name("a.ome.zarr2")) and not overlapping(url, tmp_path)
