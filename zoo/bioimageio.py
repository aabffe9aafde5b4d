"""`rdf.yaml`: a bundle as a bioimage.io package (model description 0.5), made from its card. JSON is YAML, too."""

import json
from collections.abc import Iterator
from pathlib import Path

from keras_unet3d.geometry import AXES
from keras_unet3d.volumes.grey_values import Normalization, Rescaling
from keras_unet3d.zoo.archives import sha256
from keras_unet3d.zoo.cards import Card, halo
from keras_unet3d.zoo.serving import OPSET

RDF = "rdf.yaml"
_FORMAT_VERSION = "0.5.4"
# Their names of units.
_UNITS = {"um": "micrometer", "mm": "millimeter", "nm": "nanometer", "cm": "centimeter", "m": "meter"}


def to_rdf(card: Card, folder: Path, files: dict[str, str]) -> str:
    """Return the text of `rdf.yaml`.

    Args:
        card: of the model.
        folder: the bundle, with all the files that are described.
        files: what each of them is, "keras", "test_input" ... -> its name.
    """
    described = {
        "type": "model",
        "format_version": _FORMAT_VERSION,
        # They want five letters and more.
        "name": f"{card.name} (3D U-Net)",
        "version": card.version,
        "description": (card.description or "A 3D U-Net trained with keras-unet3d.")[:1024],
        "authors": [{"name": name} for name in card.authors or ("not stated",)],
        "cite": [_citation(text) for text in (*card.cite, _PAPER)],
        "license": card.licence.weights if card.licence.weights != "not stated" else None,
        "documentation": "README.md",
        "covers": [files["cover"]] if "cover" in files else [],
        "tags": ["unet", "3d", "segmentation", "keras"],
        "inputs": [_input(card, folder, files["test_input"])],
        "outputs": [_output(card, folder, files["test_output"])],
        "weights": _weights(card, folder, files),
    }
    return json.dumps({key: value for key, value in described.items() if value is not None}, indent=2) + "\n"


_PAPER = "Çiçek et al. 2016, 3D U-Net: learning dense volumetric segmentation from sparse annotation; doi:10.1007/978-3-319-46723-8_49"


def _citation(text: str) -> dict:
    words, _, doi = text.partition("doi:")
    return {"text": words.rstrip("; ")} | ({"doi": doi.strip()} if doi else {"url": "https://arxiv.org/abs/1606.06650"})


def _file(folder: Path, name: str) -> dict:
    return {"source": name, "sha256": sha256(folder / name)}


def _input(card: Card, folder: Path, test: str) -> dict:
    architecture, around = card.spec.architecture, halo(card.spec)
    geometry, fixed = architecture.geometry, architecture.input_shape
    # They ask for more than twice the halo.
    least = [geometry.legal_at_least(2 * around[axis] + 1, axis) for axis in range(3)]
    sizes = [fixed[axis] or {"min": least[axis], "step": geometry.divisor[axis]} for axis in range(3)]
    return {
        "id": "volume",
        "axes": [{"type": "batch"}, *_space(card, sizes), _channels([f"channel {i}" for i in range(fixed[3])])],
        "test_tensor": _file(folder, test),
        "data": {"type": "float32"},
        "preprocessing": _preprocessing(card.spec.normalization),
    }


def _preprocessing(how: Normalization) -> list[dict]:
    if isinstance(how, tuple):
        return list(_rescalings(how))
    return _PREPROCESSING[how] if isinstance(how, str) else list(_rescaling(how))


def can_describe(how: Normalization) -> bool:
    """Return whether they have steps for it: channels may be scaled apart, but are clipped and measured all alike."""
    return not isinstance(how, tuple) or all(
        isinstance(one, Rescaling) and one.by == "values" and one.clip for one in how
    )


def _rescalings(how: tuple) -> Iterator[dict]:
    """Yield a rescaling of every channel by grey values, clipped, in steps that they know: by way of 0 and 1."""
    to_share = [(1 / (one.high - one.low), -one.low / (one.high - one.low)) for one in how]
    yield _scale_channels(to_share)
    yield {"id": "clip", "kwargs": {"min": 0.0, "max": 1.0}}
    yield _scale_channels([(one.to[1] - one.to[0], one.to[0]) for one in how])


def _scale_channels(lines: list[tuple[float, float]]) -> dict:
    gain, offset = map(list, zip(*lines, strict=True))
    return {"id": "scale_linear", "kwargs": {"axis": "channel", "gain": gain, "offset": offset}}


def _rescaling(how: Rescaling) -> Iterator[dict]:
    """Yield a rescaling in steps that they know."""
    axes = ["channel", *AXES] if how.pooled else [*AXES]
    low, high = how.low, how.high
    if how.by == "percentiles":
        yield {
            "id": "scale_range",
            "kwargs": {"axes": axes, "min_percentile": low, "max_percentile": high, "eps": 1e-10},
        }
        low, high = 0.0, 1.0
    elif how.by == "deviation":
        yield {"id": "zero_mean_unit_variance", "kwargs": {"axes": axes, "eps": 1e-6}}
    gain = (how.to[1] - how.to[0]) / (high - low)
    offset = how.to[0] - low * gain
    if (gain, offset) != (1.0, 0.0):
        yield {"id": "scale_linear", "kwargs": {"gain": gain, "offset": offset}}
    if how.clip:
        yield {"id": "clip", "kwargs": {"min": how.to[0], "max": how.to[1]}}


_PREPROCESSING = {
    "zscore": [{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["z", "y", "x"], "eps": 1e-6}}],
    "sections": [{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["y", "x"], "eps": 1e-6}}],
    "none": [],
}


def _output(card: Card, folder: Path, test: str) -> dict:
    sizes = [{"tensor_id": "volume", "axis_id": axis} for axis in AXES]
    space = _space(card, sizes)
    for axis, around in zip(space, halo(card.spec), strict=True):
        if around:
            axis["halo"] = around
    return {
        "id": "probabilities",
        "axes": [{"type": "batch"}, *space, _channels(list(card.spec.labels.names))],
        "test_tensor": _file(folder, test),
        "data": {"type": "float32"},
    }


def _space(card: Card, sizes: list) -> list[dict]:
    unit = _UNITS.get(card.spec.unit)
    spacing = card.spec.spacing or (1.0, 1.0, 1.0)
    known = [{"scale": float(size), "unit": unit} if unit and card.spec.spacing else {} for size in spacing]
    return [
        {"type": "space", "id": axis, "size": size} | scale
        for axis, size, scale in zip(AXES, sizes, known, strict=True)
    ]


def _channels(names: list[str]) -> dict:
    return {"type": "channel", "channel_names": names}


def _weights(card: Card, folder: Path, files: dict[str, str]) -> dict:
    software = card.software
    keras = {
        "keras_version": software.get("keras", "3.12.0"),
        "backend": ["tensorflow", software.get("tensorflow", "2.20.0")],
    }
    tensorflow = {"tensorflow_version": software.get("tensorflow", "2.20.0"), "parent": "keras_v3"}
    entries = {
        "keras_v3": ("keras", keras),
        "tensorflow_saved_model_bundle": ("saved_model", tensorflow),
        "onnx": ("onnx", {"opset_version": OPSET, "parent": "keras_v3"}),
    }
    return {kind: _file(folder, files[what]) | more for kind, (what, more) in entries.items() if what in files}
