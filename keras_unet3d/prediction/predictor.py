"""Overlap-tile prediction: a trained network, and a raw volume of any size, to labels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from keras_unet3d.datasets import DataKeys
from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Box, Geometry, Triple
from keras_unet3d.labels import LabelTable
from keras_unet3d.machine import memory
from keras_unet3d.patches.source import read_mirrored
from keras_unet3d.prediction.entropy import entropy
from keras_unet3d.prediction.stitching import merged
from keras_unet3d.prediction.tiling import MOST_VOXELS, Tiling, plan
from keras_unet3d.prediction.views import averaged, refuse_turns
from keras_unet3d.settings.predict import PredictSettings, parse_bytes
from keras_unet3d.volumes import Volume, from_array
from keras_unet3d.volumes.grey_values import Statistics, measure, normalize

# Most memory of a tile where nobody says, and what a voxel of it takes beside the network's features: read ahead,
# normalised, and in the output.
_TILE_BYTES, _BESIDE = 4 * 2**30, 48

DEFAULTS = PredictSettings()


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
        spacing: voxel size (z, y, x) that it was trained at, in `unit`.
        unit: "mm", "um", ... or None.
        keys: names and axes in files of the kind that it was trained on.
        logits: as `network`, up to its logits; None where they cannot be had.
        inexact: why tiles cannot be merged exactly, empty where they can.
        voxel_bytes: memory that the network takes per voxel of a tile; None where nobody knows.
        held_before: memory of the process before the first tile. What tiles took is kept by the allocator for the next ones.
    """

    network: Callable = field(repr=False)
    geometry: Geometry
    channels: int | None = None
    table: LabelTable | None = None
    normalization: str = "zscore"
    tile: Triple | None = None
    spacing: tuple[float, float, float] | None = None
    unit: str | None = None
    keys: DataKeys = DataKeys()
    logits: Callable | None = field(default=None, repr=False)
    inexact: str = ""
    voxel_bytes: float | None = None
    held_before: int = 0

    def __call__(self, volume: np.ndarray) -> np.ndarray:
        """Return the labels `(z, y, x)` of a raw volume `(z, y, x)` or `(z, y, x, channels)`."""
        return self.predict(from_array(volume))

    def predict(
        self,
        volume: Volume,
        output: str = "labels",
        settings: PredictSettings = DEFAULTS,
        progress: Callable[[int, int], None] | None = None,
        statistics: Statistics | None = None,
    ) -> np.ndarray:
        """Return what `boxes` yields as one array, `(z, y, x)` or `(z, y, x, classes)`."""
        result = None
        for box, values in self.boxes(volume, output, settings, statistics=statistics, progress=progress):
            if result is None:
                result = np.empty(volume.shape + values.shape[3:], values.dtype)
            result[box] = values
        return result

    def boxes(
        self,
        volume: Volume,
        output: str = "labels",
        settings: PredictSettings = DEFAULTS,
        *,
        tiling: Tiling | None = None,
        statistics: Statistics | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[tuple[Box, np.ndarray]]:
        """Yield boxes of a raw volume with what is wanted of them, every voxel once, as soon as they are finished.

        Args:
            volume: any size.
            output: one of `OUTPUTS`: "labels" (raw label values, `(z, y, x)`), "classes" (their numbers),
                "probabilities" or "logits" (`(z, y, x, classes)`, float32), or "uncertainty" (`(z, y, x)`, float32: the
                entropy of the probabilities, 0 sure, 1 no idea).
            settings: how.
            tiling: what `tiling` returned for the volume, or a part of it.
            statistics: what `examine` returned for the volume, where it has been called.
            progress: called with tiles done and tiles in all.

        Raises:
            InputError: as `examine` and `tiling`; an output that this network does not have.
        """
        self.refuse_output(output, settings)
        tiling = tiling or self.tiling(volume.shape, settings)
        statistics = statistics or self.examine(volume)

        def read(start, size):
            return normalize(read_mirrored(volume, start, size, settings.border), statistics, self.normalization)

        def is_background(voxels):
            return (voxels <= limit).all()

        if settings.skip_below is not None:
            value = np.full((1, 1, 1, volume.channels), settings.skip_below)
            limit = normalize(value, statistics, self.normalization)
        found = merged(
            self.seen(self.logits if output == "logits" else self.network, settings),
            tiling,
            read,
            settings.batch_size,
            None if settings.skip_below is None else is_background,
            self.table.background if self.table else 0,
            progress,
        )
        return ((box, self.convert(values, output)) for box, values in found)

    def seen(self, network: Callable, settings: PredictSettings) -> Callable:
        """Return the network as the settings ask for it: by itself, or its mean over several views."""
        return averaged(network, settings.flips, settings.rotations)

    def convert(self, values: np.ndarray, output: str) -> np.ndarray:
        """Return what is wanted, one of `OUTPUTS`, of a network's output `(z, y, x, classes)`."""
        return OUTPUTS[output](self, values)

    def refuse_output(self, output: str, settings: PredictSettings = DEFAULTS) -> None:
        """Raise `InputError` where an output cannot be had in this way."""
        if output not in OUTPUTS:
            raise InputError(f"output: expected one of {', '.join(OUTPUTS)}; found {output!r}.")
        if output == "logits" and self.logits is None:
            raise InputError("output: expected one of what the network returns, probabilities; found 'logits'.")
        if output == "logits" and settings.skip_below is not None:
            raise InputError("skip_below: expected none with logits, which skipped tiles do not have; leave one out.")
        if settings.rotations:
            refuse_turns(self.geometry)

    def refuse_instances(self) -> None:
        """Raise `InputError` where the network does not find boundaries, along which instances could be cut."""
        if self.table is None or self.table.target != "boundaries":
            raise InputError(
                "instances: expected a network of boundaries (fit --target boundaries), found one of "
                f"{self.table.shown() if self.table else 'classes'}; leave it out."
            )

    def labels(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the raw label values of the most probable classes."""
        classes = _classes(self, probabilities)
        return classes if self.table is None else self.table.to_values(classes)

    def examine(self, volume: Volume) -> Statistics:
        """Return the statistics that `boxes` needs, or raise `InputError` where it could not go on.

        Raises:
            InputError: a wrong number of channels, NaN or constant grey values.
        """
        if self.channels is not None and volume.channels != self.channels:
            raise InputError(
                f"{volume.name}: expected {self.channels} channels, as the network was trained with; found "
                f"{volume.channels}; check the file, and --axes."
            )
        return measure(volume, self.normalization)

    def tiling(self, shape: Triple, settings: PredictSettings = DEFAULTS, uniform: bool = False) -> Tiling:
        """Return where the tiles of a volume of that `shape` are; see `tiling.plan` for `uniform`.

        Raises:
            InputError: an illegal tile, exact merging where it is not possible, or too little memory.
        """
        if settings.merge == "exact" and self.inexact:
            raise InputError(f"merge: expected blend or auto for this network, found exact: {self.inexact}.")
        tilings, faults = [], []
        for merge in self._merges(settings.merge):
            try:
                tilings.append(self._plan(shape, merge, settings, uniform))
            except InputError as error:
                faults.append(error)
        if not tilings:
            raise faults[0]
        # With little memory for tiles the exact ones would be mostly context.
        return min(tilings, key=lambda each: each.recomputation)

    def _merges(self, merge: str) -> tuple[str, ...]:
        if merge != "auto":
            return (merge,)
        if self.inexact:
            return ("blend",)
        return ("exact",) if self.geometry.padding == "valid" else ("exact", "blend")

    def _plan(self, shape: Triple, merge: str, settings: PredictSettings, uniform: bool) -> Tiling:
        most = self._most_voxels(settings)
        tile = settings.tile or self.tile
        tiling = plan(
            shape, self.geometry, tile, merge=merge, overlap=settings.overlap, most_voxels=most, uniform=uniform
        )
        voxels = np.prod(tiling.tile)
        if settings.max_ram is not None and voxels > most:
            needed = self.held_before + voxels * self._bytes(settings)
            raise InputError(
                f"max_ram: expected at least {needed / 2**30:.1f}G for a tile of {_sizes(tiling.tile)} voxels and this network, "
                f"found {settings.max_ram}."
            )
        return tiling

    def _most_voxels(self, settings: PredictSettings) -> int:
        if self.voxel_bytes is None:
            return MOST_VOXELS
        if settings.max_ram is not None:
            budget = parse_bytes(settings.max_ram) - self.held_before
        else:
            budget = min(_TILE_BYTES, (memory.available_memory() or 2 * _TILE_BYTES) // 2)
        return max(0, int(budget / self._bytes(settings)))

    def memory(self, tiling: Tiling, settings: PredictSettings = DEFAULTS) -> str:
        """Return what a tile takes, in words."""
        if self.voxel_bytes is None:
            return "memory not known"
        return f"{np.prod(tiling.tile) * self._bytes(settings) / 2**30:.2f} GB for a tile"

    def _bytes(self, settings: PredictSettings) -> float:
        return ((self.voxel_bytes or 0) + _BESIDE) * settings.batch_size


def _sizes(sizes) -> str:
    return " x ".join(map(str, sizes))


def _classes(predictor: Predictor, probabilities: np.ndarray) -> np.ndarray:
    return probabilities.argmax(axis=-1).astype(np.uint8 if probabilities.shape[-1] <= 256 else np.uint16)


# What can be made of a network's output for a box `(z, y, x, classes)`.
OUTPUTS: dict[str, Callable[[Predictor, np.ndarray], np.ndarray]] = {
    "labels": Predictor.labels,
    "classes": _classes,
    "probabilities": lambda predictor, values: values,
    "logits": lambda predictor, values: values,
    "uncertainty": lambda predictor, values: entropy(values),
}


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
