"""A trained network with all that is needed to apply it to raw volumes of any size, tile by tile."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from keras_unet3d.datasets import DataKeys
from keras_unet3d.errors import InputError
from keras_unet3d.fields import validated
from keras_unet3d.geometry import Box, Geometry, Triple
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.patches.source import read_mirrored
from keras_unet3d.prediction.memory import TileMemory
from keras_unet3d.prediction.merging import Blend, Exact, Merge
from keras_unet3d.prediction.outputs import OUTPUTS, TEMPERED, tempered
from keras_unet3d.prediction.stitching import assembled, stitched
from keras_unet3d.prediction.tiling import Tiling, plan
from keras_unet3d.prediction.views import averaged, refuse_turns
from keras_unet3d.segments.cells import InstanceSettings
from keras_unet3d.segments.cleaning import ClassCleaning, clean
from keras_unet3d.settings import PredictSettings
from keras_unet3d.volumes import Volume, from_array
from keras_unet3d.volumes.grey_values import Normalization, Statistics, measure, normalize, normalized

DEFAULTS = PredictSettings()


class NotFinite(InputError):
    """A network whose output is no number."""


@dataclass(frozen=True)
class PlainFunction:
    """What stands in for a `ModelSpec` where the network is any function of batches: nobody knows what it means.

    Attributes:
        geometry: what it does to sizes; by default it takes any size and returns the same.
        normalization: of the grey values that it is given.
    """

    geometry: Geometry = Geometry(((1, 1, 1),), (), "same")
    normalization: Normalization = "zscore"
    channels: None = None
    labels: None = None
    spacing: None = None
    unit: None = None
    keys: DataKeys = DataKeys()
    temperature: float = 1.0
    cleaning: tuple[ClassCleaning, ...] = ()
    instances: InstanceSettings = InstanceSettings()
    overlapping: bool = False


@dataclass(frozen=True)
class Predictor:
    """A trained network with all that is needed to apply it to raw volumes.

    Attributes:
        network: batch `(batch, z, y, x, channels)` float32, normalised -> probabilities.
        spec: what the network is and means.
        tile: size of the network's input; None chooses by the volume.
        logits: as `network`, up to its logits; None where they cannot be had.
        inexact: why tiles cannot be merged exactly, empty where they can.
        memory: what tiles take.
    """

    network: Callable = field(repr=False)
    spec: ModelSpec | PlainFunction
    tile: Triple | None = None
    logits: Callable | None = field(default=None, repr=False)
    inexact: str = ""
    memory: TileMemory = TileMemory()

    @validated
    def __call__(self, volume: np.ndarray) -> np.ndarray:
        """Return the labels `(z, y, x)` of a raw volume `(z, y, x)` or `(z, y, x, channels)`."""
        return self.predict(from_array(np.asarray(volume)))

    @validated
    def predict(
        self,
        volume: Volume,
        output: str = "labels",
        settings: PredictSettings = DEFAULTS,
        *,
        statistics: Statistics | None = None,
        listener: Listener = SILENT,
    ) -> np.ndarray:
        """Return what `boxes` yields as one array, `(z, y, x)` or `(z, y, x, classes)`; labels and classes are `cleaned`."""
        boxes = self.boxes(volume, output, settings, statistics=statistics, listener=listener)
        return self.cleaned(assembled(boxes, volume.shape), output, settings)

    def cleaned(self, labels: np.ndarray, output: str = "labels", settings: PredictSettings = DEFAULTS) -> np.ndarray:
        """Return a volume of "labels" or "classes" with what was found to help after the training done to it.

        Any other output, and labels where the settings say so, are returned as they are.
        """
        return clean(labels, self.cleaning(output, settings), self.background(output))

    def cleaning(self, output: str = "labels", settings: PredictSettings = DEFAULTS) -> tuple[ClassCleaning, ...]:
        """Return what `cleaned` does: of "classes" by their numbers, nothing where it is left out."""
        table = self.spec.labels
        if output not in ("labels", "classes") or not (settings.clean and table):
            return ()
        names = table.values if output == "labels" else range(table.num_classes)
        return tuple(replace(step, value=names[table.values.index(step.value)]) for step in self.spec.cleaning)

    def background(self, output: str = "labels") -> int:
        """Return what the background is in "labels", or in "classes"."""
        table = self.spec.labels
        if table is None:
            return 0
        return table.background_raw if output == "labels" else table.background

    @property
    def uncalibrated(self) -> "Predictor":
        """The same, with the probabilities that the network itself gives; `convert` of this one makes ours of them."""
        spec = self.spec
        return replace(self, spec=replace(spec, temperature=1.0))

    def boxes(
        self,
        volume: Volume,
        output: str = "labels",
        settings: PredictSettings = DEFAULTS,
        *,
        tiling: Tiling | None = None,
        statistics: Statistics | None = None,
        listener: Listener = SILENT,
    ) -> Iterator[tuple[Box, np.ndarray]]:
        """Yield boxes of a raw volume with what is wanted of them, every voxel once, as soon as they are finished.

        Args:
            volume: any size.
            output: one of `choices.OUTPUTS`: "labels" (raw label values, `(z, y, x)`), "classes" (their numbers), "masks" (uint8
                `(z, y, x, classes)`, 1 where a voxel is of a class),
                "probabilities" or "logits" (`(z, y, x, classes)`, float32), or "uncertainty" (`(z, y, x)`, float32: the
                entropy of the probabilities, 0 sure, 1 no idea). Probabilities have the temperature of the `ModelSpec`,
                logits are the network's own.
            settings: how.
            tiling: what `tiling` returned for the volume, or a part of it.
            statistics: what `examine` returned for the volume, where it has been called.
            listener: is told tiles done and tiles in all.

        Raises:
            InputError: as `examine` and `tiling`; an output that this network does not have.
        """
        self.refuse_output(output, settings)
        if tiling is None:
            tiling = self.tiling(volume.shape, settings)
            for line in self._choice_in_words(tiling, settings):
                listener.say(f"{volume.name}: {line}")
        statistics = statistics or self.examine(volume)
        grey = normalized(volume, statistics, self.spec.normalization)

        def read(start: Triple, size: Triple) -> np.ndarray:
            return read_mirrored(grey, start, size, settings.border)

        is_background = None
        if settings.skip_below is not None:
            limit = normalize(
                np.full((1, 1, 1, volume.channels), settings.skip_below), statistics, self.spec.normalization
            )

            def is_background(voxels: np.ndarray) -> bool:
                return bool((voxels <= limit).all())

        network = self.logits if output == "logits" and self.logits else self.network
        parts = stitched(
            self.seen(network, settings),
            tiling,
            read,
            batch_size=settings.batch_size,
            is_background=is_background,
            background=self.spec.labels.background if self.spec.labels else 0,
            listener=listener,
        )
        return ((box, self.convert(_finite(values, volume), output)) for box, values in parts)

    def _choice_in_words(self, tiling: Tiling, settings: PredictSettings) -> Iterator[str]:
        """Yield a line where tiles are not merged in the way that one may expect."""
        exact = isinstance(tiling.merge, Exact)
        if settings.merge == "auto" and not exact and not self.inexact:
            yield (
                f"{tiling.in_words()}: exact tiles would be mostly context in the memory that there is; for those lower "
                "`batch_size`, raise `max_ram`, or add `merge=exact`"
            )
        if exact and settings.overlap != DEFAULTS.overlap:
            yield "merged exactly, where `overlap` has no part; for blended tiles add `merge=blend`"

    def seen(self, network: Callable, settings: PredictSettings) -> Callable:
        """Return the network as the settings ask for it: by itself, or its mean over several views."""
        return averaged(network, settings.flips, settings.rotations)

    def convert(self, values: np.ndarray, output: str) -> np.ndarray:
        """Return what is wanted, one of `choices.OUTPUTS`, of a network's output `(z, y, x, classes)`."""
        # A class stays the most probable one at any temperature.
        values = tempered(values, self.spec.temperature) if output in TEMPERED else values
        return OUTPUTS[output](values, self.spec.labels)

    def refuse_output(self, output: str, settings: PredictSettings = DEFAULTS) -> None:
        """Raise `InputError` where an output cannot be had in this way."""
        if output not in OUTPUTS:
            raise InputError(f"output: expected one of {', '.join(OUTPUTS)}; found {output!r}.")
        possible = self._possible_outputs()
        if output not in possible:
            raise InputError(
                f"output: expected {', '.join(possible[:-1])} or {possible[-1]} of this network, whose classes may overlap (a sigmoid each), found "
                f"{output}."
            )
        if output == "logits" and self.logits is None:
            raise InputError("output: expected one of what the network returns, probabilities; found 'logits'.")
        if output == "logits" and settings.skip_below is not None:
            raise InputError("skip_below: expected none with logits, which skipped tiles do not have; leave one out.")
        if settings.skip_below is not None and self.spec.normalization == "sections":
            raise InputError(
                "skip_below: expected none for a network whose grey values are normalised section by section, found "
                f"{settings.skip_below:g}; leave it out."
            )
        if settings.rotations:
            refuse_turns(self.spec.geometry)

    def _possible_outputs(self) -> tuple[str, ...]:
        """Return the outputs that the network's classes allow."""
        if not self.spec.overlapping:
            return tuple(OUTPUTS)
        by_values = ("labels", "classes") if self.spec.labels and self.spec.labels.overlapping else ()
        return (*by_values, "masks", "probabilities", "logits")

    def refuse_instances(self) -> None:
        """Raise `InputError` where the network does not find boundaries, along which instances could be cut."""
        table = self.spec.labels
        if table is None or not table.of_instances:
            raise InputError(
                "instances: expected a network of boundaries or cells (fit with `target=boundaries` or `target=cells`), found "
                f"one of {table.shown() if table else 'classes'}; leave it out."
            )

    def examine(self, volume: Volume) -> Statistics:
        """Return the statistics that `boxes` needs, or raise `InputError` where it could not go on.

        Raises:
            InputError: a wrong number of channels, NaN or constant grey values.
        """
        channels = self.spec.channels
        if channels is not None and volume.channels != channels:
            raise InputError(
                f"{volume.name}: expected {channels} channels, as the network was trained with; found "
                f"{volume.channels}; check the file, and `axes`."
            )
        return measure(volume, self.spec.normalization)

    def tiling(self, shape: Triple, settings: PredictSettings = DEFAULTS, uniform: bool = False) -> Tiling:
        """Return where the tiles of a volume of that `shape` are; see `tiling.plan` for `uniform`.

        Raises:
            InputError: an illegal tile, exact merging where it is not possible, or too little memory.
        """
        tilings, faults = [], []
        for merge in self._merges(settings):
            try:
                tilings.append(self._planned(shape, merge, settings, uniform))
            except InputError as error:
                faults.append(error)
        if not tilings:
            raise faults[0]
        # With little memory for tiles the exact ones would be mostly context.
        return min(tilings, key=lambda tiling: tiling.recomputation)

    def _planned(self, shape: Triple, merge: Merge, settings: PredictSettings, uniform: bool) -> Tiling:
        """Return the tiling whose tiles, as many together as a call takes, fit into memory."""
        together = 1
        while True:
            before = together
            tiling = plan(
                shape,
                self.spec.geometry,
                settings.tile or self.tile,
                merge=merge,
                most_voxels=self.memory.most_voxels(settings, before),
                uniform=uniform,
            )
            # No call takes more tiles than there are; smaller ones are more.
            together = min(settings.batch_size, tiling.count)
            if together <= before:
                self.memory.refuse_larger(tiling.tile, settings, together)
                return tiling

    def _merges(self, settings: PredictSettings) -> tuple[Merge, ...]:
        """Return the ways of merging that may be chosen among."""
        exact, blend = Exact(), Blend(settings.overlap)
        if settings.merge == "exact" and self.inexact:
            raise InputError(f"merge: expected blend or auto for this network, found exact: {self.inexact}.")
        if settings.merge == "blend" or self.inexact:
            return (blend,)
        if settings.merge == "exact" or self.spec.geometry.padding == "valid":
            return (exact,)
        return exact, blend


def _finite(values: np.ndarray, volume: Volume) -> np.ndarray:
    """Return the output of a network; raises `InputError` where it is no number, which would become class 0."""
    # One number that is none makes the sum none, at a fraction of the time of looking at each.
    if not np.isfinite(values.sum(dtype=np.float64)):
        raise NotFinite(
            f"{volume.name}: expected numbers from the network, found some that are none (NaN or infinite); train it anew, or "
            "look for extreme grey values."
        )
    return values
