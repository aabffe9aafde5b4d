"""`predict_volume`, and predictors of networks and of plain functions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError, shown
from keras_unet3d.fields import validated
from keras_unet3d.files import overlapping
from keras_unet3d.geometry import Geometry, Triple
from keras_unet3d.machine.compiled import compiled_network
from keras_unet3d.machine.memory import resident_memory
from keras_unet3d.model_spec import ModelSpec, untrained_spec
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.places import place
from keras_unet3d.prediction.memory import TileMemory
from keras_unet3d.prediction.predictor import PlainFunction, Predictor
from keras_unet3d.settings import PredictSettings
from keras_unet3d.volumes import from_array, open_volume, whole_volume, write_volume

_UNKNOWN_REACH = "how far a plain function looks is not known"
_OF_THE_TILE = (
    "its normalisation or excitation takes the statistics of the tile, so a tile's result depends on its size"
)


@validated
def predict_volume(
    model: Any,
    volume: np.ndarray | str | Path,
    out: str | Path | None = None,
    *,
    output: str = "labels",
    tile: Triple | None = None,
    merge: str = "auto",
    overlap: float = 0.5,
    border: str = "mirror",
    max_ram: str | None = None,
    batch_size: int = 1,
    flips: str | None = None,
    rotations: bool = False,
    skip_below: float | None = None,
    clean: bool = True,
    normalization: str = "zscore",
    geometry: Geometry | None = None,
    key: str | None = None,
    axes: str | None = None,
    overwrite: bool = False,
) -> np.ndarray:
    """Segment a volume of any size with a network, tile by tile.

    Args:
        model: a network made by `build_model`, a `Predictor` as `zoo.predictor` returns it,
            or any function from a batch `(1, z, y, x, channels)`, normalised, float32, to probabilities
            `(1, z, y, x, classes)`.
        volume: array `(z, y, x)` or `(z, y, x, channels)`, or the path of a volume file.
        out: where to write the result, in the geometry of the input; for a path `volume` only.
        output: "labels", `(z, y, x)`: class numbers, or a predictor's raw label values; "classes"; "masks",
            `(z, y, x, classes)` of 0 and 1; "probabilities" (what a function returns, as it is) or "logits",
            `(z, y, x, classes)` float32; or "uncertainty", `(z, y, x)` float32.
        tile: size of the network's input (z, y, x); `None` chooses.
        merge: "exact": equal to one pass over the whole volume; "blend": overlapping tiles weighted by a Gaussian; "auto".
        overlap: share of a blended tile that it has in common with its neighbour.
        border: "mirror" or "edge": what is beyond the volume.
        max_ram: most memory of the process, like "4G".
        batch_size: tiles per call of the network.
        flips, rotations: the mean over mirrored tiles along some of "zyx", and over quarter turns in the plane.
        skip_below: tiles without a grey value above this are background.
        clean: whether labels are cleaned as a predictor's fit found to help.
        normalization: "zscore" (by the volume's own mean and deviation, as `fit` does by default), "sections" (by those of
            every plane across z) or "none".
        geometry: of a plain function, where it does not map any size to the same size.
        key, axes: data set name and order of axes in a file.
        overwrite: whether `out` may be replaced; never the input.

    Returns:
        The array, also where `out` is given.

    Raises:
        InputError: a `ValueError`: illegal tile, wrong number of channels, NaN or constant image.

    Source: overlap-tile strategy, Ronneberger et al. 2015 (arXiv:1505.04597), section 2.
    """
    settings = PredictSettings(
        tile=tile,
        merge=merge,
        overlap=overlap,
        border=border,
        max_ram=max_ram,
        batch_size=batch_size,
        flips=flips,
        rotations=rotations,
        skip_below=skip_below,
        clean=clean,
    )
    predictor = _as_predictor(model, geometry, normalization)
    predictor.refuse_output(output, settings)
    if isinstance(volume, str | Path):
        opened = open_volume(
            volume, key or predictor.spec.keys.raw, axes, predictor.spec.keys.scene, predictor.spec.keys.time
        )
    elif out is None:
        opened = from_array(np.asarray(volume))
    else:
        raise InputError("out: expected a volume file as input when the output is a file, found an array.")
    if out is None:
        return predictor.predict(opened, output, settings)
    if opened.path and overlapping(opened.path, place(out)):
        raise InputError(f"{out}: expected an output that is not the input; choose another path.")
    with whole_volume(place(out), overwrite) as partial:
        result = predictor.predict(opened, output, settings)
        write_volume(partial, result, opened, "label" if output in ("labels", "classes") else output)
    return result


def _as_predictor(model: Any, geometry: Geometry | None, normalization: str) -> Predictor:
    if isinstance(model, Predictor):
        return model
    if isinstance(model, type) or not callable(model):
        raise InputError(
            f"model: expected a network, a predictor or a function of batches, found {shown(model)}; "
            "a model by name is zoo.predictor(NAME)."
        )
    if hasattr(model, "layers"):
        predictor = network_predictor(model)
        return replace(predictor, spec=replace(predictor.spec, normalization=normalization))
    return function_predictor(model, geometry, normalization)


def function_predictor(
    function: Callable, geometry: Geometry | None = None, normalization: str = "zscore"
) -> Predictor:
    """Return the predictor of any function of batches; without `geometry` it takes any size and returns the same."""
    if geometry is None:
        return Predictor(function, PlainFunction(normalization=normalization), inexact=_UNKNOWN_REACH)
    return Predictor(function, PlainFunction(geometry, normalization))


def network_predictor(model: Any, policy: str = "float32") -> Predictor:
    """Return the predictor of a network made by `build_model` that nobody trained, which gives class numbers.

    The model computes by a Keras dtype `policy`.
    """
    from keras_unet3d.network.copies import logits_model, probabilities_model
    from keras_unet3d.network.costs import inference_bytes
    from keras_unet3d.network.unet import architecture_of, members_of

    model = probabilities_model(model)
    architecture = architecture_of(model)
    sizes = architecture.input_shape[:3]
    return Predictor(
        _mean_of([compiled_network(member) for member in members_of(model)]),
        untrained_spec(architecture),
        tile=None if None in sizes else sizes,
        logits=compiled_network(logits_model(model)),
        inexact=_OF_THE_TILE if _depends_on_tile(architecture) else "",
        memory=TileMemory(inference_bytes(architecture, policy), resident_memory()),
    )


def _mean_of(networks: Sequence[Callable]) -> Callable:
    """Return the mean of several networks, called one after the other: in one graph their features would be held together."""
    if len(networks) == 1:
        return networks[0]
    return lambda batch: sum(network(batch) for network in networks) / len(networks)


def _depends_on_tile(architecture: Architecture) -> bool:
    return architecture.normalization in ("instance", "group") or architecture.block.endswith("se")


def trained_predictor(model: Any, spec: ModelSpec, policy: str = "float32") -> Predictor:
    """Return the predictor of a trained network, which gives the raw label values of its training data.

    It computes by a Keras dtype `policy`.
    """
    from keras_unet3d.network.copies import folded_copy

    predictor = network_predictor(folded_copy(model, policy), policy)
    # Statistics of the current tile are those of training only in a tile of the training's size.
    return replace(predictor, spec=spec, tile=predictor.tile or (spec.patch if predictor.inexact else None))
