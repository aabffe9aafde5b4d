"""The `rdf.yaml` of a bundle is what bioimage.io takes: their own package validates it, files and checksums included."""

import json

import pytest
from bioimageio.spec import ValidationContext, load_description

import keras_unet3d
from keras_unet3d import zoo

CARD = {"name": "tiny", "description": "Two classes.", "authors": ["A. Nobody"], "cite": ["Nobody 2026, Nothing"]}


@pytest.fixture(scope="module", params=["same", pytest.param("valid", marks=pytest.mark.long)])
def bundle(request, tmp_path_factory):
    """The bundle of an untrained network, of either padding."""
    model = keras_unet3d.build_model(base_filters=2, depth=2, padding=request.param, seed=0)
    return zoo.export(model, CARD, tmp_path_factory.mktemp(request.param))


def described(bundle):
    with ValidationContext(perform_io_checks=True):
        return load_description(bundle / "rdf.yaml")


def test_an_exported_description_is_valid(bundle):
    summary = described(bundle).validation_summary
    assert summary.status in ("valid-format", "passed")
    assert not [detail.errors for detail in summary.details if detail.errors]


def test_a_changed_file_is_noticed(bundle):
    path = bundle / "rdf.yaml"
    text = path.read_text("utf-8")
    description = json.loads(text)
    description["inputs"][0]["test_tensor"]["sha256"] = "0" * 64
    path.write_text(json.dumps(description), "utf-8")
    try:
        assert described(bundle).validation_summary.status == "failed"
    finally:
        path.write_text(text, "utf-8")
