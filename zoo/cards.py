"""The card: what people and programs must know about a model, validated when made and when read."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, fields
from itertools import zip_longest
from pathlib import Path

from keras_unet3d.errors import InputError
from keras_unet3d.fields import Validated
from keras_unet3d.files import read_json
from keras_unet3d.geometry import Triple, triple
from keras_unet3d.labels import LabelTable
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.volumes.grey_values import in_words

# Its file in a bundle.
CARD = "metadata.json"
SCHEMA = 5
_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


@dataclass(frozen=True)
class Licence(Validated):
    """Licences, each on its own: of the weights, of the data they were learnt from, and of the code."""

    WHAT = "the licences of weights, data and code"

    weights: str = "not stated"
    data: str = "not stated"
    code: str = "MIT"


@dataclass(frozen=True)
class Card(Validated):
    """What is known about a model.

    Attributes:
        name: lower case letters, digits and `. _ -`.
        version: semantic, e.g. "1.0.0".
        aliases: other names that it is found by.
        model: architecture, labels, grey-value normalisation, patch and voxel size; None is read off the
            network when it is exported.
        description: one sentence.
        authors: names.
        cite: what to cite beside the paper of the 3D U-Net, each like "Authors year, title; doi:10...".
        licence: of weights, data and code.
        training: data, loss, seed, precision and so on.
        evaluation: figures, and on which data.
        intended_use: what it is for, in sentences.
        limitations: where it fails, in sentences.
        tolerance: largest difference of probabilities at which a replayed test counts as equal.
        software: versions that the model was made with.
        created: ISO date.
    """

    WHAT = "a model card"

    name: str
    version: str = "1.0.0"
    aliases: tuple[str, ...] = ()
    model: ModelSpec | None = None
    description: str = ""
    authors: tuple[str, ...] = ()
    cite: tuple[str, ...] = ()
    licence: Licence = Licence()
    training: dict = field(default_factory=dict)
    evaluation: dict = field(default_factory=dict)
    intended_use: str = ""
    limitations: str = ""
    tolerance: float = 1e-4
    software: dict = field(default_factory=dict)
    created: str = ""

    def faults(self) -> Iterator[str]:
        for what, name in (("name", self.name), *(("aliases", alias) for alias in self.aliases)):
            if not _NAME.fullmatch(name):
                yield f"{what}: expected lower-case letters, digits and single . _ - between them, found {name!r}."
        if not _VERSION.fullmatch(self.version):
            yield f"version: expected three numbers like 1.0.0, found {self.version!r}."
        if not 0 < self.tolerance < 1:
            yield f"tolerance: expected a number between 0 and 1, found {self.tolerance!r}."
        for what in ("authors", "cite"):
            if not all(getattr(self, what)):
                yield f"{what}: expected a list of texts, found {getattr(self, what)!r}."

    @property
    def spec(self) -> ModelSpec:
        """What the network is and means; a card in a bundle always says it."""
        assert self.model is not None
        return self.model

    @property
    def version_key(self) -> tuple[int, ...]:
        """The version in the order of versions."""
        return tuple(int(part) for part in self.version.split("."))


def to_metadata(card: Card, files: dict[str, dict]) -> dict:
    """Return the content of `metadata.json`: the card, what follows from it, and the files."""
    return {
        "schema": SCHEMA,
        **card.config(),
        **_derived(card.spec),
        "files": files,
    }


def halo(spec: ModelSpec) -> Triple:
    """Return the voxels at a tile's sides (z, y, x) whose result is not that of the whole volume."""
    geometry = spec.architecture.geometry
    return triple(max(margin, context) for margin, context in zip(geometry.margin, geometry.context, strict=True))


def _derived(spec: ModelSpec) -> dict:
    """What readers that do not know this package want to know; always made from the specification."""
    architecture, geometry, labels = spec.architecture, spec.architecture.geometry, spec.labels
    channels = architecture.input_channels
    over = "section" if spec.normalization == "sections" else "volume"
    grey = spec.normalization
    return {
        "inputs": [
            {
                "name": "volume",
                "axes": "bzyxc",
                "channels": channels,
                "dtype": "float32",
                "value_range": f"after preprocessing: {in_words(grey)}",
                "voxel_size": spec.spacing,
                "unit": spec.unit,
            }
        ],
        "outputs": [
            {
                "name": "probabilities",
                "axes": "bzyxc",
                "channels": architecture.num_classes,
                "dtype": "float32",
                "value_range": [0, 1],
            }
        ],
        "geometry": {
            "padding": architecture.padding,
            "divisible_by": geometry.divisor,
            "minimum_shape": [geometry.legal_at_least(1, axis) for axis in range(3)],
            "offset": [0, 0, 0],
            "halo": halo(spec),
            "tile": spec.patch,
        },
        # Of one entry for all channels, or one for each.
        "preprocessing": [
            {"name": one if isinstance(one, str) else one.config(), "over": over, "per": "channel"}
            for one in (grey if isinstance(grey, tuple) else (grey,))
        ],
        "classes": [
            {"class": number, "value": value, "name": name}
            for number, (value, name) in enumerate(_values_and_names(labels))
        ],
        "unlabelled": labels.unlabelled,
    }


def _values_and_names(labels: LabelTable) -> Iterator[tuple[int | None, str]]:
    """Return the label value that a prediction writes for every class, None for a class that has a channel, and its name."""
    return zip_longest(labels.values, labels.names)


def read_card(bundle: Path) -> Card:
    """Return the card in a bundle's folder; raises `InputError` where it is missing or broken."""
    path = bundle / CARD
    return from_metadata(read_json(path, "the card of a model"), str(path))


def from_metadata(metadata: dict, source: str) -> Card:
    """Return the card in the content of a `metadata.json`.

    Raises:
        InputError: another schema, or missing or broken entries.
    """
    schema = metadata.get("schema")
    if isinstance(schema, bool) or not isinstance(schema, int) or not 1 <= schema <= SCHEMA:
        raise InputError(
            f"{source}: expected a model card of schema 1 to {SCHEMA}, found {schema!r}; "
            "a newer keras-unet3d may read it."
        )
    for older in range(schema, SCHEMA):
        metadata = _MIGRATIONS[older](metadata)
    if not isinstance(metadata.get("model"), dict):
        raise InputError(
            f"{source}: expected the specification of the network in 'model', found {metadata.get('model')!r}."
        )
    known = {attribute.name for attribute in fields(Card)}
    return Card.from_config({key: value for key, value in metadata.items() if key in known}, source)


def _to_schema_2(metadata: dict) -> dict:
    # Authors, citations and aliases are new, and empty by default.
    return metadata | {"schema": 2}


def _to_schema_3(metadata: dict) -> dict:
    # The model's temperature and cleaning are new, and change nothing by default.
    return metadata | {"schema": 3}


def _to_schema_4(metadata: dict) -> dict:
    # Options of the network and of the grey values are new, and change nothing by default.
    return metadata | {"schema": 4}


def _to_schema_5(metadata: dict) -> dict:
    # Partly labelled volumes, classes that overlap and grey values per channel are new, and there are none by default.
    return metadata | {"schema": 5}


# Schema -> what makes the content of a card of that schema one of the next.
_MIGRATIONS = {1: _to_schema_2, 2: _to_schema_3, 3: _to_schema_4, 4: _to_schema_5}


def to_readme(card: Card, files: Collection[str] = ()) -> str:
    """Return the card for people; `files` are those of the bundle."""
    spec = card.spec
    rows = "\n".join(
        f"| {number} | {'channel' if value is None else value} | {name} |"
        for number, (value, name) in enumerate(_values_and_names(spec.labels))
    )
    figures = "\n".join(_figures(card.evaluation)) or "None recorded."
    networks = spec.architecture.networks
    ensemble = f"- An ensemble: the mean of the probabilities of {networks} networks.\n" if networks > 1 else ""
    if spec.overlapping:
        which = (
            "what they are in the training data" if spec.labels.overlapping else "nowhere: there are `--output masks`"
        )
        ensemble += f"- Classes may overlap: every channel is a probability by itself. Labels are {which}.\n"
    grey = "normalised per volume" if spec.normalization == "zscore" else in_words(spec.normalization)
    voxel = " x ".join(f"{size:g}" for size in spec.spacing) + f" {spec.unit or ''}" if spec.spacing else "not recorded"
    return f"""# {card.name} {card.version}

{card.description or "A 3D U-Net trained with keras-unet3d."}
{_picture(files)}
    unet3d-cli predict {card.name} VOLUME --out LABELS

| class | label value | name |
| --- | --- | --- |
{rows}

{ensemble}- Input: {spec.channels} channel(s), voxel size (z y x) {voxel}; grey values: {grey}.
{_settled(spec)}- Licences: weights {card.licence.weights}; data {card.licence.data}; code {card.licence.code}.
- Intended use: {card.intended_use or "not stated."}
- Limitations: {card.limitations or "not stated."}

## Evaluation

{figures}

## How it was made

{_training(card)}

## Files

`model.keras` is the plain network, for training further; it is loaded without running any code of the file.
`{card.name}_saved_model.zip`, where it is there (`unet3d-cli zoo complete {card.name} --out DIR` makes it), is a TensorFlow
SavedModel that runs with TensorFlow alone: `serve` takes normalised float32 `(batch, z, y, x, channels)` and returns
`probabilities` of the same size, `logits` these, and `segment` takes raw volumes of any size and returns label values. A
SavedModel is a program: load one only from people you trust. `model.onnx` is what `serve` is.
"""


def _settled(spec: ModelSpec) -> str:
    """Return lines on what was fitted after the training."""
    names = dict(_values_and_names(spec.labels))
    steps = "; ".join(f"{names[step.value]}: {step.in_words()}" for step in spec.cleaning)
    lines = [f"- Labels are cleaned by `predict`: {steps}.\n"] if steps else []
    if spec.temperature != 1:
        lines.append(
            f"- Probabilities of `predict` have the temperature {spec.temperature:.3f}; SavedModel and ONNX give the network's own.\n"
        )
    return "".join(lines)


def _picture(files: Collection[str]) -> str:
    return "\n![A slice of a volume, and the prediction over it](cover.png)\n" if "cover.png" in files else ""


def _figures(evaluation: dict) -> Iterator[str]:
    """Yield lines on the figures, as `evaluate` returns them or any others."""
    classes = evaluation.get("classes")
    if isinstance(classes, dict):
        yield "| class | IoU | Dice |\n| --- | --- | --- |"
        for name, figure in classes.items():
            if isinstance(figure, dict):
                yield f"| {name} | {figure.get('iou', 0):.4f} | {figure.get('dice', 0):.4f} |"
        yield ""
    for key, value in evaluation.items():
        if key == "volumes":
            yield f"- volumes: {len(value)}"
        elif key != "classes" and not isinstance(value, dict):
            yield f"- {key.replace('_', ' ')}: {f'{value:.4f}' if isinstance(value, float) else value}"


def _training(card: Card) -> str:
    imported = card.training.get("imported")
    if isinstance(imported, dict):
        return "Imported, not trained with keras-unet3d:\n\n" + "\n".join(
            f"- {key}: {value}" for key, value in imported.items()
        )
    settings = card.training.get("settings")
    if not isinstance(settings, dict):
        return "Not recorded."
    shown = (
        "minutes",
        "epochs",
        "steps_per_epoch",
        "batch_size",
        "patch",
        "loss",
        "optimizer",
        "learning_rate",
        "precision",
        "seed",
    )
    rows = "\n".join(
        f"- {name.replace('_', ' ')}: {settings[name]}" for name in shown if settings.get(name) is not None
    )
    return f"Trained with keras-unet3d {card.software.get('keras-unet3d', '')}; all settings are in `metadata.json`.\n\n{rows}"
