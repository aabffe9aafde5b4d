"""From a checkpoint of pytorch-3dunet, or a bioimage.io package with one, to a bundle like any other."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_unet3d.choices import TARGETS
from keras_unet3d.errors import InputError, shortened, shown
from keras_unet3d.fields import Validated, option, validated
from keras_unet3d.files import read_array, read_text, sha256, temporary_folder
from keras_unet3d.geometry import MOST_SIZE, Triple, triple
from keras_unet3d.labels import LabelTable, parse_classes
from keras_unet3d.labels.table import BOUNDARY_TABLE
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.machine.folders import user_zoo
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.zoo.archives import names_in, read_members, unzip_one
from keras_unet3d.zoo.cards import Card, Licence
from keras_unet3d.zoo.plain_yaml import parse_yaml
from keras_unet3d.zoo.sources import at_hand

if TYPE_CHECKING:
    import keras

    from keras_unet3d.zoo.pytorch_3dunet import Described

# Names of the networks, their orders of layers and their transforms, without Keras.
_NETWORKS = ("UNet3D", "ResidualUNet3D", "ResidualUNetSE3D")
_NORMALIZERS = ("Standardize", "PercentileNormalizer", "Normalize", "none")
# Entries of a configuration -> the options that stand above them.
_ASKED = {"name": "network"} | {name: name for name in ("layer_order", "num_groups", "final_sigmoid")}
_DESCRIPTIONS = ("rdf.yaml", "bioimageio.yaml")


@dataclass(frozen=True)
class ImportSettings(Validated):
    """What no file says, or says wrongly: every option stands above the entry of the configuration that has its name."""

    WHAT = "options of an import"

    network: str | None = option(None, "Kind of the network [default: as its tensors tell].", _NETWORKS)
    layer_order: str | None = option(
        None, "Order of its layers, like gcr [default: as the configuration says, or gcr]."
    )
    num_groups: int | None = option(
        None, "Groups of its group normalisation [default: as the configuration says, or 8].", least=1
    )
    final_sigmoid: bool | None = option(None, "Whether its output is a sigmoid per channel, or a softmax.")
    normalizer: str | None = option(
        None, "What was done to grey values, with the numbers that it has by default.", _NORMALIZERS
    )
    patch: Triple | None = option(None, "Size of its training patches.", least=1, most=MOST_SIZE)
    target: str | None = option(
        None, "What its one channel means: boundaries between instances, or a class [default: boundaries].", TARGETS
    )
    classes: str | None = option(None, "Label values and names of the classes, like 0=background,1=tubule.")


@dataclass(frozen=True)
class _Found:
    """What files say.

    Attributes:
        state: the tensors by name.
        model: entries of `model` in a configuration; empty where there is none.
        transforms: of raw volumes; None where nothing is said.
        patch: the size of the training patches, None where nothing is said.
        halo: voxels that were predicted around a patch and thrown away.
        about: entries of a card.
    """

    state: Mapping[str, np.ndarray] = field(repr=False)
    model: Mapping[str, Any]
    transforms: list | None = None
    patch: tuple | None = None
    halo: tuple = (0, 0, 0)
    about: Mapping[str, Any] = field(default_factory=dict)


@validated
def import_checkpoint(
    checkpoint: str | Path,
    card: Card | Mapping,
    directory: str | Path | None = None,
    overwrite: bool = False,
    *,
    config: str | Path | None = None,
    settings: ImportSettings = ImportSettings(),
    complete: bool = True,
    listener: Listener = SILENT,
) -> Path:
    """Write the bundle `directory/NAME/VERSION` of a network of pytorch-3dunet and return its path; PyTorch is not needed.

    Args:
        checkpoint: a `.pytorch` file (or the state dictionary of a network), or the zip of a bioimage.io package with one, or
            the web address of either, or bioimageio://ID, a model there; no code in it is run.
        card: a `Card`, or a dictionary of its attributes; at least the name. What it was imported from is written into it.
        directory: a folder of the search path, or any other; None is the user's zoo.
        overwrite: whether this version may be replaced.
        config: the `config_train.yml` of a checkpoint; without it network and sizes are read off the tensors.
        settings: what no file says.
        complete: whether to write SavedModel, ONNX and `rdf.yaml` too, see `export`.
        listener: hears how much of an address is here.

    Raises:
        InputError: a broken file, one that asks for code to be run, another network, or one with parts that are not known here.

    Source: pytorch-3dunet 1.9.6 (Wolny et al. 2020, doi:10.7554/eLife.57613).
    """
    from keras_unet3d.zoo.exporting import as_card, export, refuse_place

    card, directory = as_card(card), directory or user_zoo()
    refuse_place(card, directory, overwrite)
    with at_hand(checkpoint, listener) as path:
        model, spec, about = open_checkpoint(Path(path), Path(config) if config else None, settings)
    # What the user says of it stands above what files say.
    stated = {name for name in about if getattr(card, name) != getattr(Card(card.name), name)}
    filled = replace(card, model=spec, **{name: value for name, value in about.items() if name not in stated})
    return export(model, filled, directory, overwrite, complete=complete)


def open_checkpoint(path: Path, config: Path | None, settings: ImportSettings) -> "tuple[keras.Model, ModelSpec, dict]":
    """Return network, specification and entries of a card of what `import_checkpoint` takes."""
    from keras_unet3d.machine import precision
    from keras_unet3d.network.unet import build
    from keras_unet3d.zoo.pytorch_3dunet import refuse_too_few, take_weights

    found = _found(path, config, settings)
    of = _network_of(found, settings, path, str(config or path))
    spec = _spec_of(found, of, settings, str(config or path))
    # Before memory is taken for it.
    refuse_too_few(of, found.state, str(path))
    try:
        with precision.dtype_policy("float32"):
            model = build(spec.architecture)
    except InputError as error:
        raise InputError(
            f"{config or path}: expected the options that it was trained with, `num_groups` among them: {error}"
        ) from error
    take_weights(model, of, found.state, str(path), told=bool(found.model))
    imported = {
        "file": path.name,
        "sha256": sha256(path),
        "network": f"{of.name} of pytorch-3dunet",
        "model": of.config(),
        "layers": of.in_words + ("" if found.model else ", taken for granted where the tensors do not tell"),
        "grey values": "measured over the whole volume; pytorch-3dunet measures every patch unless it is told global_normalization",
    }
    about = {
        "description": f"{of.name} of pytorch-3dunet, imported from {path.name}.",
        "licence": Licence(code="not stated"),
        "training": {"imported": imported},
        **found.about,
    }
    return model, spec, about


def _network_of(found: _Found, settings: ImportSettings, path: Path, source: str) -> "Described":
    """Return what the network is, by the configuration or else by its tensors, and what the user says above both."""
    from keras_unet3d.zoo.pytorch_3dunet import described, recognised

    try:
        entries = dict(found.model or recognised(found.state))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    asked = {name: getattr(settings, of_ours) for name, of_ours in _ASKED.items()}
    entries |= {name: value for name, value in asked.items() if value is not None}
    if not found.model and entries["out_channels"] > 1 and "final_sigmoid" not in entries:
        raise InputError(
            f"{path}: expected to be told whether its {entries['out_channels']} channels are a softmax, or a sigmoid each; give the "
            "configuration (`config`), or add `final_sigmoid=True` or `final_sigmoid=False`."
        )
    return described(entries, source)


def _spec_of(found: _Found, of: "Described", settings: ImportSettings, source: str) -> ModelSpec:
    from keras_unet3d.zoo.pytorch_3dunet import normalization_of

    architecture = of.architecture
    transforms = [{"name": settings.normalizer}] if settings.normalizer else found.transforms
    patch, halo = (settings.patch, (0, 0, 0)) if settings.patch else (found.patch, found.halo)
    if transforms is None:
        raise InputError(f"{source}: expected what was done to its grey values, found nothing on it; add `normalizer`.")
    if patch is None:
        raise InputError(f"{source}: expected the size of its training patches, found none; add `patch`.")
    return ModelSpec(
        architecture,
        _labels(architecture, of.single, settings),
        normalization_of(transforms, of.in_channels, source),
        _tile(architecture, patch, halo),
    )


def _tile(architecture: Architecture, patch: tuple, halo: tuple) -> Triple:
    """Return the size of tiles: a training patch with the halo that was predicted around it, and legal."""
    sizes = [size + 2 * around for size, around in zip(patch, halo, strict=True)]
    return triple(architecture.geometry.legal_at_least(size, axis) for axis, size in enumerate(sizes))


def _labels(architecture: Architecture, single: bool, settings: ImportSettings) -> LabelTable:
    count = architecture.num_classes
    if settings.target == "boundaries" and not single:
        raise InputError(
            f"target: expected boundaries of a network of one channel, found {count} channels; leave it out."
        )
    if settings.classes:
        classes = parse_classes(settings.classes)
        return LabelTable(tuple(classes), tuple(classes.values()))
    if single:
        return LabelTable((0, 1), ("background", "foreground")) if settings.target == "semantic" else BOUNDARY_TABLE
    return LabelTable(tuple(range(count)), tuple(f"channel {number}" for number in range(count)))


# ---- what files say ------------------------------------------------------------------------------


def _found(path: Path, config: Path | None, settings: ImportSettings) -> _Found:
    from keras_unet3d.zoo.pytorch_file import read_state

    descriptions = [name for name in names_in(path) if PurePosixPath(name).name in _DESCRIPTIONS]
    if descriptions and config:
        raise InputError(
            f"config: expected none for {path}, a package that describes its network, found {config}; leave it out."
        )
    if descriptions:
        return _of_package(path, descriptions[0], settings)
    said = _of_config(config) if config else {"model": {}}
    return _Found(read_state(path), **said)


def _of_config(path: Path) -> dict[str, Any]:
    what = "the configuration of a training with pytorch-3dunet"
    config = parse_yaml(read_text(path, what), str(path), what)
    if not isinstance(config.get("model"), dict):
        raise InputError(
            f"{path}: expected the network under 'model', found none; give the file that it was trained with."
        )
    phases = list(_phases(config))
    builders = [phase["slice_builder"] for phase in phases if isinstance(phase.get("slice_builder"), dict)]
    transforms = (phase["transformer"].get("raw") for phase in phases if isinstance(phase.get("transformer"), dict))
    return {
        "model": config["model"],
        "transforms": _listed(next((each for each in transforms if each is not None), None), str(path)),
        "patch": _sizes(builders, "patch_shape", 1, path),
        "halo": _sizes(builders, "halo_shape", 0, path) or (0, 0, 0),
    }


def _phases(config: dict) -> Iterator[dict]:
    loaders = config.get("loaders")
    for phase in ("train", "val", "test"):
        if isinstance(loaders, dict) and isinstance(loaders.get(phase), dict):
            yield loaders[phase]


def _listed(transforms: Any, source: str) -> list | None:
    """Return transforms with a name each; None where there are none."""
    if transforms is None:
        return None
    if not isinstance(transforms, list) or not all(
        isinstance(each, dict) and isinstance(each.get("name"), str) for each in transforms
    ):
        raise InputError(f"{source}: expected a list of transforms with a name each, found something else.")
    return transforms


def _sizes(builders: list[dict], name: str, least: int, source: object) -> tuple | None:
    sizes = next((builder[name] for builder in builders if builder.get(name) is not None), None)
    if sizes is None:
        return None
    if (
        not isinstance(sizes, list)
        or len(sizes) != 3
        or not all(type(size) is int and least <= size <= MOST_SIZE for size in sizes)
    ):
        raise InputError(
            f"{source}: expected three whole numbers (z, y, x) from {least} to {MOST_SIZE} in {name}, found {shown(sizes)}."
        )
    return tuple(sizes)


def _of_package(path: Path, name: str, settings: ImportSettings) -> _Found:
    from keras_unet3d.zoo.pytorch_file import read_state

    source, what = f"{path}: {name}", "the description of a model of bioimage.io"
    text = read_members(path, [name])[name].decode("utf-8", "replace")
    rdf = parse_yaml(text, source, what)
    try:
        weights = rdf["weights"]["pytorch_state_dict"]
    except (LookupError, TypeError) as error:
        raise InputError(
            f"{source}: expected {what} with weights for PyTorch (pytorch_state_dict), found none."
        ) from error
    try:
        network, entries = _network(weights)
        files = {"weights": str(weights["source"]), "test": _test_of(rdf)}
        steps = () if settings.normalizer else rdf["inputs"][0].get("preprocessing") or ()
        transforms = [_transform(step) for step in steps]
        about = {
            "description": str(rdf.get("description") or "A 3D U-Net of pytorch-3dunet."),
            "authors": tuple(str(author["name"]) for author in rdf.get("authors") or ()),
            "licence": Licence(str(rdf.get("license") or "not stated"), code="not stated"),
        }
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, InputError):
            raise InputError(f"{source}: {error}") from error
        raise InputError(
            f"{source}: expected {what} as its format has it, found another one ({shortened(str(error))})."
        ) from error
    with temporary_folder() as folder:
        unpacked = {key: folder / key for key in files}
        for key, member in files.items():
            unzip_one(path, str(PurePosixPath(name).parent / member), unpacked[key])
        try:
            state, test = read_state(unpacked["weights"]), read_array(unpacked["test"], "a test input")
        except InputError as error:
            # People know the package, not where it was unpacked.
            raise InputError(str(error).replace(f"{folder}/", f"{path}: ")) from error
    if test.ndim != 5 or not test.size:
        raise InputError(
            f"{path}: {files['test']}: expected a test input (1, channels, z, y, x), found shape {test.shape}."
        )
    return _Found(
        state, {"name": network, **entries}, [step for step in transforms if step], test.shape[2:], about=about
    )


def _network(weights: dict) -> tuple[str, dict]:
    """Return name and arguments of a network; they stand in another place in each of the two formats."""
    architecture = weights["architecture"]
    if isinstance(architecture, dict):
        name, given = architecture["callable"], architecture.get("kwargs")
    else:
        name, given = architecture.replace(":", "."), weights.get("kwargs")
    return name.rpartition(".")[2], dict(given or {})


def _test_of(rdf: dict) -> str:
    return str(
        rdf["inputs"][0]["test_tensor"]["source"] if "test_tensor" in rdf["inputs"][0] else rdf["test_inputs"][0]
    )


def _transform(step: dict) -> dict | None:
    """Return a step of preprocessing as a transform of pytorch-3dunet; None where it changes nothing."""
    name, given = step.get("id", step.get("name")), step.get("kwargs") or {}
    if name == "ensure_dtype":
        return None
    mode = given.get("mode", "per_sample")
    if name not in _STEPS or mode not in ("per_sample", "fixed"):
        found = shown(name) if name not in _STEPS else f"the mode {shown(mode)} of {name}"
        raise InputError(
            f"expected preprocessing by {', '.join(_STEPS)}, of every volume by itself, found {found}; add `normalizer`."
        )
    axes = given.get("axes")
    names = [axis.get("id", axis) if isinstance(axis, dict) else axis for axis in axes or "czyx"]
    wanted = {key: given[theirs] for key, theirs in _STEPS[name][1].items() if theirs in given}
    wanted = _STEP_DEFAULTS.get(name, {}) | wanted
    return {"name": _STEPS[name][0], "channelwise": not {"c", "channel"} & set(names), **wanted}


# Steps of bioimage.io -> the transform, and its arguments by their names there.
_STEPS: dict[str, tuple[str, dict[str, str]]] = {
    "zero_mean_unit_variance": ("Standardize", {"mean": "mean", "std": "std"}),
    "fixed_zero_mean_unit_variance": ("Standardize", {"mean": "mean", "std": "std"}),
    "scale_range": ("PercentileNormalizer", {"pmin": "min_percentile", "pmax": "max_percentile"}),
}
# What it takes where nothing is said, which is not what the transform takes.
_STEP_DEFAULTS = {"scale_range": {"pmin": 0.0, "pmax": 100.0}}
