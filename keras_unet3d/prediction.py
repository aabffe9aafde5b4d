"""Overlap-tile prediction: mirrored borders, seamless, for a volume of any size."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from keras_unet3d.datasets import DataKeys
from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Geometry, Triple
from keras_unet3d.intensity import Statistics, measure, normalize
from keras_unet3d.labels import LabelTable
from keras_unet3d.sampling import read_mirrored
from keras_unet3d.spec import ModelSpec
from keras_unet3d.tiling import Tiling, plan
from keras_unet3d.volumes import Volume, from_array, open_volume, write_volume

# A plain callable is taken as it is: any size in, the same size out.
_ANY_SIZE = Geometry(((1, 1, 1),), (), "same")

OUTPUTS = ("labels", "probabilities")


@dataclass(frozen=True)
class Predictor:
    """A trained network with all that is needed to apply it to raw volumes.

    Attributes:
        network: batch `(batch, z, y, x, channels)` float32, normalised -> probabilities.
        geometry: what the network does to sizes.
        channels: of the input.
        table: raw label values of the classes; None leaves class numbers.
        normalization: of the grey values, see `intensity`.
        tile: size of the network's input; None chooses by the volume.
        spacing: voxel size (z, y, x) that it was trained at.
        keys: names and axes in files of the kind that it was trained on.
    """

    network: Callable = field(repr=False)
    geometry: Geometry
    channels: int | None = None
    table: LabelTable | None = None
    normalization: str = "zscore"
    tile: Triple | None = None
    spacing: tuple[float, float, float] | None = None
    keys: DataKeys = DataKeys()

    def __call__(self, volume: np.ndarray) -> np.ndarray:
        """Return the labels `(z, y, x)` of a raw volume `(z, y, x)` or `(z, y, x, channels)`."""
        return self.labels(self.probabilities(from_array(volume)))

    def labels(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the raw label values of the most probable classes."""
        classes = probabilities.argmax(axis=-1)
        return classes.astype(np.uint8) if self.table is None else self.table.to_values(classes)

    def examine(self, volume: Volume) -> Statistics:
        """Return the statistics that `probabilities` needs, or raise `InputError` where it could not go on.

        Raises:
            InputError: a wrong number of channels, NaN or constant grey values.
        """
        if self.channels is not None and volume.channels != self.channels:
            raise InputError(
                f"{volume.name}: expected {self.channels} channels, as the network was trained with; found "
                f"{volume.channels}; check the file, and --axes."
            )
        return measure(volume, self.normalization)

    def probabilities(
        self,
        volume: Volume,
        overlap: float = 0.5,
        progress: Callable[[int, int], None] | None = None,
        statistics: Statistics | None = None,
    ) -> np.ndarray:
        """Return the class probabilities `(z, y, x, classes)`, float32, of a raw volume.

        Args:
            volume: any size.
            overlap: see `tiling.plan`.
            progress: called with tiles done and tiles in all.
            statistics: what `examine` returned for the volume, where it has been called.

        Raises:
            InputError: as `examine`; an illegal tile or overlap.
        """
        statistics = statistics or self.examine(volume)
        tiling = plan(volume.shape, self.geometry, self.tile, overlap)

        def read(start, size):
            return normalize(read_mirrored(volume, start, size), statistics, self.normalization)

        return stitch(self.network, tiling, read, _WINDOWS[self.geometry.padding], progress)


def stitch(network: Callable, tiling: Tiling, read: Callable, window: Callable, progress=None) -> np.ndarray:
    """Return the blended outputs of all tiles, `(z, y, x, classes)` float32.

    Args:
        network: batch in, batch out.
        tiling: where.
        read: start and size -> `(z, y, x, channels)`; starts may be outside the volume.
        window: size -> weight of a tile's output voxels along one axis.
        progress: called with tiles done and tiles in all.
    """
    total = weights = None
    weight = _outer(*(window(size) for size in tiling.output))[..., None]
    for done, start in enumerate(tiling.starts(), 1):
        origin = tuple(s - m for s, m in zip(start, tiling.margin, strict=True))
        output = np.asarray(network(read(origin, tiling.tile)[None]))[0]
        if output.shape[:3] != tiling.output:
            raise InputError(
                f"network: expected an output of {tiling.output} voxels for a tile of {tiling.tile}, found "
                f"{output.shape[:3]}; pass the network's geometry."
            )
        if total is None:
            total = np.zeros((*tiling.shape, output.shape[-1]), np.float32)
            weights = np.zeros((*tiling.shape, 1), np.float32)
        into = tuple(slice(s, min(s + o, n)) for s, o, n in zip(start, tiling.output, tiling.shape, strict=True))
        inside = tuple(slice(0, s.stop - s.start) for s in into)
        total[into] += (output * weight)[inside]
        weights[into] += weight[inside]
        if progress:
            progress(done, tiling.count)
    total /= weights
    return total


def _flat(size: int) -> np.ndarray:
    return np.ones(size, np.float32)


def _bell(size: int) -> np.ndarray:
    """Gaussian with a standard deviation of an eighth of the tile, as in nnU-Net: edges see least context."""
    distance = (np.arange(size) - (size - 1) / 2) / (size / 8)
    return np.maximum(np.exp(-0.5 * distance**2), 1e-3).astype(np.float32)


def _outer(z, y, x) -> np.ndarray:
    return z[:, None, None] * y[:, None] * x


# The outputs of a valid-padding network are exact to their edge; those of any other are blended.
_WINDOWS = {"valid": _flat, "same": _bell}


def compiled(model) -> Callable[[np.ndarray], np.ndarray]:
    """Return a Keras model as one function from array to array; unlike `predict` it does not grow in long loops."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return lambda batch: keras.ops.convert_to_numpy(model(batch, training=False))
    import tensorflow as tf

    signature = [tf.TensorSpec(model.inputs[0].shape, "float32")]
    # XLA is slow for 3-D convolutions on the CPU, and every new tile size would compile again.
    function = tf.function(lambda batch: model(batch, training=False), signature, jit_compile=False)
    return lambda batch: function(tf.convert_to_tensor(batch)).numpy()


def predict_volume(
    model,
    volume,
    out=None,
    *,
    output: str = "labels",
    tile: Triple | None = None,
    overlap: float = 0.5,
    normalization: str = "zscore",
    geometry: Geometry | None = None,
    key: str | None = None,
    axes: str | None = None,
) -> np.ndarray:
    """Segment a volume of any size with a network, tile by tile.

    Args:
        model: a network made by `build_model` (probabilities), a `Predictor` as `zoo.predictor` returns it,
            or any function from a batch `(1, z, y, x, channels)` to one of class maps.
        volume: array `(z, y, x)` or `(z, y, x, channels)`, or the path of a volume file.
        out: where to write the result, in the geometry of the input; for a path `volume` only.
        output: "labels", `(z, y, x)`: class numbers, or a predictor's raw label values; or "probabilities",
            `(z, y, x, classes)` float32.
        tile: size of the network's input (z, y, x); `None` chooses.
        overlap: share of a tile that it has in common with its neighbour ("same" padding only).
        normalization: "zscore" (by the volume's own mean and deviation, as `fit` does) or "none".
        geometry: of a plain function, where it does not map any size to the same size.
        key, axes: data set name and order of axes in a file.

    Returns:
        The array, also where `out` is given.

    Raises:
        InputError: a `ValueError`: illegal tile, wrong number of channels, NaN or constant image.

    Source: overlap-tile strategy, Ronneberger et al. 2015 (arXiv:1505.04597), section 2.
    """
    if output not in OUTPUTS:
        raise InputError(f"output: expected one of {', '.join(OUTPUTS)}; found {output!r}.")
    predictor = _as_predictor(model, geometry, normalization)
    if tile is not None:
        predictor = replace(predictor, tile=tuple(tile))
    is_path = isinstance(volume, str | Path)
    if out is not None and not is_path:
        raise InputError("out: expected a volume file as input when the output is a file, found an array.")
    opened = open_volume(volume, key or predictor.keys.raw, axes) if is_path else from_array(np.asarray(volume))
    result = predictor.probabilities(opened, overlap)
    if output == "labels":
        result = predictor.labels(result)
    if out is not None:
        write_volume(out, result, opened, "label" if output == "labels" else "probabilities")
    return result


def _as_predictor(model, geometry: Geometry | None, normalization: str) -> Predictor:
    if isinstance(model, Predictor):
        return model
    if hasattr(model, "layers"):
        return replace(network_predictor(model), normalization=normalization)
    return Predictor(model, geometry or _ANY_SIZE, normalization=normalization)


def network_predictor(model) -> Predictor:
    """Return the predictor of a network made by `build_model`, which gives class numbers."""
    from keras_unet3d.model import architecture_of

    architecture = architecture_of(model)
    if architecture.output != "probabilities":
        raise InputError(f"model {model.name!r}: expected output='probabilities', found {architecture.output!r}.")
    sizes = architecture.input_shape[:3]
    tile = None if None in sizes else sizes
    return Predictor(compiled(model), architecture.geometry, architecture.input_shape[3], tile=tile)


def trained_predictor(model, spec: ModelSpec) -> Predictor:
    """Return the predictor of a trained network, which gives the raw label values of its training data."""
    from keras_unet3d.model import folded_copy

    predictor = network_predictor(folded_copy(model))
    # Statistics of the current tile are those of training only in a tile of the training's size.
    of_the_tile = spec.architecture.normalization in ("instance", "group") or spec.architecture.block == "residual_se"
    return replace(
        predictor,
        table=spec.labels,
        normalization=spec.normalization,
        tile=predictor.tile or (spec.patch if of_the_tile else None),
        spacing=spec.spacing,
        keys=spec.keys,
    )
