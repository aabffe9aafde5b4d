"""Which engine, and which precision, is fastest on this machine and still says what Keras says in float32."""

import hashlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.fields import validated
from keras_unet3d.files import read_json, write_json
from keras_unet3d.geometry import triple
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.machine import folders, versions
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.network.costs import step_costs
from keras_unet3d.prediction.predictor import DEFAULTS, Predictor
from keras_unet3d.settings.predict import EngineSettings, PredictSettings
from keras_unet3d.volumes import Volume, cropped, from_array, open_volume
from keras_unet3d.volumes.grey_values import Statistics
from keras_unet3d.words import by
from keras_unet3d.workflows.predict.blocks import Recipe
from keras_unet3d.workflows.predict.files import Choose
from keras_unet3d.zoo.engines import NETWORKS, predictor_in, recipe, refuse_other
from keras_unet3d.zoo.loading import bundle_folder, open_model, runs_of
from keras_unet3d.zoo.trust import stored_input

# What everything else is measured by.
SURE = ("keras", "float32")
# Fewer operations take seconds in any engine: no more than it takes to choose one.
_WORTH_IT = 4e12
# Another engine than Keras converts the network first, and takes longer for the first tile: it must be so much faster.
_FASTER = 1.2
# Seconds that no part takes, whatever a file says that was remembered.
_LONGEST = 3600.0
# Parts of a volume that are tried, and voxels of one per axis.
_PARTS, _SIZE = 3, 96
_AS_IT_IS = PredictSettings(clean=False)


@dataclass(frozen=True)
class _Part:
    """A part of a volume, with the statistics of the whole; None where nobody looked at it yet."""

    volume: Volume
    statistics: Statistics | None = None

    def classes(self, predictor: Predictor) -> np.ndarray:
        """Return the class of every voxel, or where those may overlap whether it is of each."""
        output = "probabilities" if predictor.spec.overlapping else "classes"
        said = predictor.predict(self.volume, output, _AS_IT_IS, statistics=self.statistics)
        return said > 0.5 if predictor.spec.overlapping else said


@validated
def fastest(
    reference: str | Path,
    volume: Volume | str | Path | Sequence[str | Path],
    wanted: EngineSettings = EngineSettings(),
    *,
    output: str = "labels",
    settings: PredictSettings = DEFAULTS,
    key: str | None = None,
    axes: str | None = None,
    scene: str | None = None,
    time: int | None = None,
    listener: Listener = SILENT,
) -> tuple[str, str]:
    """Return the engine and the precision that `predictor` is best made with for a volume.

    Every engine that is installed is timed on a part of the volume, once per network and machine. The fastest is taken of
    those whose classes are others than those of Keras in float32 in a small enough share of the voxels, in three parts of the
    volume and in the stored test of a bundle. Small volumes stay with Keras and float32, and outputs other than labels with
    float32, unless something else is asked for.

    Args:
        reference: as in `predictor`.
        volume: one of those that are to be predicted, or the paths of some, of which the first that is in order is taken.
        wanted: what may be chosen among.
        output, settings: as in `Predictor.boxes`.
        key, axes, scene, time: of a path; `None` takes those that the network was trained with.
        listener: is told a line on what was chosen, and why.

    Raises:
        InputError: an unknown name, a broken model, or an engine that was asked for and cannot be had.
    """
    engines = _Engines.of(reference, wanted, output, settings, listener)
    keys = engines.sure.spec.keys.replaced(raw=key, axes=axes, scene=scene, time=time)
    for one in [volume] if isinstance(volume, Volume | str | Path) else volume:
        # What is wrong with a volume need not stop the others.
        with suppress(InputError):
            opened = one if isinstance(one, Volume) else open_volume(one, *keys.of(keys.raw))
            return engines.best(opened)[1]
    return engines.candidates[0] if len(engines.candidates) == 1 else SURE


@validated
def chooser(
    reference: str | Path,
    wanted: EngineSettings = EngineSettings(),
    *,
    output: str = "labels",
    settings: PredictSettings = DEFAULTS,
    listener: Listener = SILENT,
) -> tuple[Predictor, Choose]:
    """Return a predictor by Keras in float32, and a function that returns the best one for the first volume it is given.

    That is what `predict` takes; how the best one is found, and the arguments, see `fastest`.
    """
    engines = _Engines.of(reference, wanted, output, settings, listener)
    chosen: list[tuple[Predictor, Recipe]] = []

    def choose(volume: Volume, statistics: Statistics) -> tuple[Predictor, Recipe]:
        if not chosen:
            best, name = engines.best(volume, statistics)
            chosen.append((best, recipe(reference, *name)))
        return chosen[0]

    return engines.sure, choose


@dataclass(frozen=True)
class _Engines:
    """What may compute a prediction.

    Attributes:
        reference, model, spec: of the model, which is open.
        wanted, settings, listener: as in `fastest`.
        candidates: engines and precisions that may be chosen among.
        predictors: those that were made: the one that is sure, and what was asked for by name.
    """

    reference: str | Path
    model: Any
    spec: ModelSpec
    wanted: EngineSettings
    settings: PredictSettings
    listener: Listener
    candidates: list[tuple[str, str]]
    predictors: dict[tuple[str, str], Predictor]

    @staticmethod
    def of(
        reference: str | Path, wanted: EngineSettings, output: str, settings: PredictSettings, listener: Listener
    ) -> "_Engines":
        """Return them; raises `InputError` for a broken model, and for an engine that was asked for and cannot be had."""
        candidates = _candidates(wanted, output)
        model, spec = open_model(reference)
        named = candidates if wanted.engine != "auto" else []
        predictors = {name: predictor_in(*name, reference, model, spec) for name in {SURE: 0} | dict.fromkeys(named, 0)}
        return _Engines(reference, model, spec, wanted, settings, listener, candidates, predictors)

    @property
    def sure(self) -> Predictor:
        return self.predictors[SURE]

    def best(self, volume: Volume, statistics: Statistics | None = None) -> tuple[Predictor, tuple[str, str]]:
        """Return the predictor that is best for a volume, and its name; `statistics` where they are known."""
        candidates, only = self.candidates, len(self.candidates) == 1
        if candidates == [SURE] or self.wanted.engine == "savedmodel":
            return self.predictors[candidates[0]], candidates[0]
        if not only and SURE in candidates and self._operations(volume) < _WORTH_IT:
            return self.sure, SURE
        parts = [*_parts(volume, statistics or self.sure.examine(volume))]
        for name in candidates if self.wanted.engine == "auto" else ():
            # Of any engine those count that are installed and work; nobody knows what they raise.
            with suppress(Exception):
                self.predictors.setdefault(name, predictor_in(*name, self.reference, self.model, self.spec))
        ranked, why = candidates, ""
        if not only:
            seconds = _seconds(self.predictors, parts[0], self.spec.architecture)
            times = ", ".join(f"{' '.join(name)} {spent:.2f} s" for name, spent in seconds.items())
            why = f"; {by(parts[0].volume.shape)} voxels take {times}"
            handicap = {name: spent * (1 if name[0] == "keras" else _FASTER) for name, spent in seconds.items()}
            ranked = sorted(set(seconds) & set(candidates), key=handicap.__getitem__)
        truth = [(part, part.classes(self.sure)) for part in (*parts, *_stored(self.reference, self.spec))]
        chosen, proof = _first_proved(ranked, self.predictors, truth, self.wanted.most_changed, self.listener)
        self.listener.say(f"engine: {' '.join(chosen)}{proof}{why}")
        return self.predictors[chosen], chosen

    def _operations(self, volume: Volume) -> float:
        """Return the floating-point operations that a prediction takes."""
        architecture, tiling = self.spec.architecture, self.sure.tiling(volume.shape, self.settings)
        size = triple(architecture.geometry.legal_at_least(_SIZE, axis) for axis in range(3))
        single = step_costs(replace(architecture, networks=1), size, 1, "float32")
        return architecture.networks * single.forward / prod(size) * prod(tiling.tile) * tiling.count


def _first_proved(
    ranked: Sequence[tuple[str, str]],
    predictors: Mapping[tuple[str, str], Predictor],
    truth: list[tuple[_Part, np.ndarray]],
    most_changed: float,
    listener: Listener,
) -> tuple[tuple[str, str], str]:
    """Return the first engine that changes few enough classes, and how many those are in words; say which do not."""
    for name in ranked:
        if name == SURE:
            break
        changed = _changed(predictors[name], truth)
        share = f"{changed:.3%} of the voxels have another class than with {' '.join(SURE)}"
        if changed <= most_changed:
            return name, f", {share}"
        listener.say(f"engine: not {' '.join(name)}, {share}, more than the {most_changed:.3%} of `most_changed`")
    return SURE, ""


def _candidates(wanted: EngineSettings, output: str) -> list[tuple[str, str]]:
    """Return the engines and precisions that may be chosen among; raises `InputError` where there is none."""
    # Probabilities are read as they are; of labels it is known how many are others.
    precision = "float32" if wanted.precision == "auto" and output != "labels" else wanted.precision
    if wanted.engine == "savedmodel":
        precision = "float32" if precision == "auto" else precision
    if "auto" not in (wanted.engine, precision):
        refuse_other(wanted.engine, precision)
        return [(wanted.engine, precision)]
    engines = [engine for engine, _ in NETWORKS if wanted.engine in ("auto", engine)]
    if wanted.engine == "auto" and output == "logits":
        # Only Keras has them.
        engines = ["keras"]
    return [name for name in NETWORKS if name[0] in engines and precision in ("auto", name[1])]


def _parts(volume: Volume, statistics: Statistics) -> Iterator[_Part]:
    """Yield parts of a volume along its diagonal, or all of a small one."""
    size = triple(min(_SIZE, length) for length in volume.shape)
    if size == volume.shape:
        yield _Part(volume, statistics)
        return
    for share in np.linspace(0, 1, _PARTS + 2)[1:-1]:
        starts = [int(share * (length - part)) for length, part in zip(volume.shape, size, strict=True)]
        box = triple(slice(start, start + part) for start, part in zip(starts, size, strict=True))
        yield _Part(cropped(volume, box), statistics.of_planes(box[0]))


def _stored(reference: str | Path, spec: ModelSpec) -> Iterator[_Part]:
    """Yield the volume of a bundle's stored test."""
    if not runs_of(reference):
        with bundle_folder(reference) as bundle:
            yield _Part(from_array(stored_input(bundle, spec)[0]))


def _changed(predictor: Predictor, truth: list[tuple[_Part, np.ndarray]]) -> float:
    """Return the share of voxels whose class is another one; all of them where the engine fails."""
    try:
        different = [part.classes(predictor) != classes for part, classes in truth]
    except InputError:
        return 1.0
    return float(np.mean(np.concatenate([array.ravel() for array in different])))


def _seconds(
    predictors: Mapping[tuple[str, str], Predictor], part: _Part, architecture: Architecture
) -> dict[tuple[str, str], float]:
    """Return how long every predictor takes for a part; what was measured here before is remembered."""
    facts = [platform.node(), versions.machine_facts(), versions.package_versions(), asdict(architecture)]
    key = hashlib.sha256(repr([*facts, part.volume.shape]).encode()).hexdigest()
    path = folders.proofs() / f"seconds-{key}.json"
    remembered: dict[str, float] = {}
    with suppress(InputError):
        remembered = read_json(path, "what engines take")
    seconds = {}
    for name, predictor in predictors.items():
        known = remembered.get(" ".join(name))
        plausible = isinstance(known, float) and 0 < known < _LONGEST
        spent = known if plausible else _fastest_of_two(predictor, part)
        if spent is not None:
            seconds[name] = spent
    # A home that cannot be written to: they are timed again next time.
    with suppress(InputError):
        write_json(path, {" ".join(name): spent for name, spent in seconds.items()})
    return seconds


def _fastest_of_two(predictor: Predictor, part: _Part) -> float | None:
    """Return the seconds of the faster of two predictions, of which the first compiles; None where the engine fails."""
    spent = []
    with suppress(Exception):
        for _ in range(2):
            begun = perf_counter()
            part.classes(predictor)
            spent.append(perf_counter() - begun)
    return min(spent) if len(spent) == 2 else None
