"""What a run folder holds, and a folder of folds: the names of the files and the form of their configuration, known here alone."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from keras_unet3d.errors import InputError
from keras_unet3d.fields import Validated
from keras_unet3d.files import (
    is_empty,
    made_folder,
    move,
    read_json,
    refuse_existing_folder,
    remove_path,
    remove_remains,
    resolved,
    write_json,
)
from keras_unet3d.locks import locked
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.places import place

_CONFIG = "config.json"
_FOLDS, _CROSS_VALIDATION = "folds.json", "cross_validation.json"
# Where an earlier run waits until the one in its place has kept a network; and while it is on its way there or back.
_EARLIER, _MOVING = ".earlier", ".moving"


@dataclass(frozen=True)
class RunData(Validated):
    """What a run was trained on, and what was held out.

    Attributes:
        arguments, val, globs: DATA as it was named: paths, paths for validation, patterns of images, labels and weights.
        content: a digest per volume, of "training" and of "validation", by which it is known again.
        training, validation: names of the volumes.
        split: in words, how they were told apart.
        class_weights: one per class; None for 1 everywhere.
        held_out_files: paths of the images that were held out whole; none where a part of a volume was.
    """

    WHAT = "the data of a run"

    arguments: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    globs: tuple[str | None, str | None, str | None] = (None, None, None)
    content: dict[str, Any] = field(default_factory=dict)
    training: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    split: str = ""
    class_weights: tuple[float, ...] | None = None
    held_out_files: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunConfig(Validated):
    """Everything that is needed to repeat a run, and what came of it.

    Attributes:
        settings: the options of the fit, nothing left open. As text: another version may know others.
        model: the network, and what it means.
        data: what was trained on and what was held out.
        versions: of the packages that decide what a run computes.
        start: the name of the network that was trained further; None for a new one.
        parts: names of what the caller brought along: loss, callbacks, transforms.
        machine: what it ran on.
        best: figures of the epoch whose network is in `model.keras`; None before the end.
        input: the share of the time that was spent waiting for input; None before the end.
    """

    WHAT = "the configuration of a run"

    settings: dict[str, Any]
    model: ModelSpec
    data: RunData
    versions: dict[str, Any]
    start: str | None = None
    parts: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] | None = None
    input: dict[str, Any] | None = None


# What a page is called wherever there is one.
PAGE = "report.html"


class _File:
    """A file of a run: its path, asked of the folder."""

    def __init__(self, *name: str):
        self.name = name

    def __get__(self, run: "RunFolder", kind: type) -> Path:
        return run.path.joinpath(*self.name)


@dataclass(frozen=True)
class RunFolder:
    """The files of a run; whoever writes or reads one asks here for its path."""

    path: Path

    network = _File("model.keras")  # the best so far
    last_network = _File("last.keras")  # after the last epoch
    state = _File("backup", "state.npz")  # every variable of the training after the last epoch, for `resume`
    history = _File("history.csv")  # figures per epoch
    curves = _File("curves.png")  # the same as a picture
    slices = _File("slices.png")  # a validation patch, its labels and its prediction
    samples = _File("samples.png")  # what the network sees: patches before and after augmentation
    report = _File(PAGE)  # all of it on one page
    profile = _File("profile.json")  # where the time of a step goes
    held_out = _File("held_out.json")  # of one of several folds: figures of every volume that it held out
    logs = _File("logs")  # TensorBoard's folder
    tracked = _File("tracked.json")  # the id of the run in each tracker that was told of it
    mlflow_database = _File("mlflow.db")  # MLflow's, where no server is named,
    mlflow_artifacts = _File("mlflow")  # and its pictures
    wandb = _File("wandb")  # the folder of Weights & Biases
    dense_labels = _File("dense.tif")  # of the embedded sample: the whole of it segmented,
    dense_picture = _File("dense.png")  # a picture of that,
    dense_figures = _File("dense.json")  # how much of it is right,
    dense_table = _File("cells.csv")  # and where it is cells, a row per cell

    @property
    def is_run(self) -> bool:
        """Whether there is a run."""
        return (self.path / _CONFIG).is_file()

    @property
    def pictures(self) -> list[Path]:
        """The pictures that there are."""
        return [path for path in (self.curves, self.slices, self.samples, self.dense_picture) if path.is_file()]

    @property
    def title(self) -> str:
        """What others call the run: the last two names of its path."""
        return "/".join(self.path.resolve().parts[-2:])

    @contextmanager
    def held(self, resume: bool = False) -> Iterator[None]:
        """Have the folder to ourselves, and tidy up after a process that was killed; without a folder one is made.

        Args:
            resume: whether a run that has not kept a network yet goes on; else the one whose place it took comes back.

        Raises:
            InputError: a path that cannot be a folder, or one that another process writes.
        """
        refuse_existing_folder(self.path, True, "run", ())
        try:
            str(self.path).encode()
        except UnicodeEncodeError as error:
            # TensorBoard's logs take no other.
            raise InputError(
                f"{self.path}: expected a path of letters (UTF-8), found other bytes; choose another."
            ) from error
        with made_folder(self.path, self.path), locked(self.path / ".lock", self.path):
            for name in _NAMES:
                remove_remains(self.path.joinpath(*name))
            self._move_files(self.path / _MOVING, self.path)
            if self.network.is_file():
                remove_path(self.path / _EARLIER)
            elif not (resume and self.is_run):
                self._bring_back()
            yield

    @contextmanager
    def begun(self, goes_on: bool) -> Iterator[None]:
        """Take the place of an earlier run, which comes back if this one, or the one that goes on, ends without a network.

        What was refused by then, and has no earlier run, leaves nothing.
        """
        earlier = self.path / _EARLIER
        if not goes_on:
            self._move_files(self.path, self.path / _MOVING)
            move(self.path / _MOVING, earlier)
        try:
            yield
        except BaseException as error:
            refused = isinstance(error, InputError) and not goes_on
            if not self.network.is_file() and (refused or earlier.is_dir()):
                self.clear()
                self._bring_back()
            raise
        finally:
            remove_path(earlier)

    def _bring_back(self) -> None:
        if (self.path / _EARLIER).is_dir():
            self.clear()
            move(self.path / _EARLIER, self.path / _MOVING)
            self._move_files(self.path / _MOVING, self.path)

    def _move_files(self, source: Path, target: Path) -> None:
        for path in self._files():
            name = path.relative_to(self.path)
            move(source / name, target / name)
        if source != self.path:
            remove_path(source)

    def _files(self) -> list[Path]:
        """Return the paths of all that a run may hold, a folder as one."""
        return [self.path / name for name in dict.fromkeys(name[0] for name in _NAMES)]

    def write_config(self, config: RunConfig) -> None:
        """Make the folder if need be, and write its configuration."""
        write_json(self.path / _CONFIG, config.config())

    def read_config(self) -> RunConfig:
        """Return the configuration; raises `InputError` where there is no run, or a broken one."""
        if not self.is_run:
            raise InputError(f"{self.path}: expected a run folder, found no {_CONFIG} there; check the path.")
        source = self.path / _CONFIG
        return RunConfig.from_config(read_json(source, RunConfig.WHAT), str(source))

    def clear(self) -> None:
        """Remove the files of a run; whatever else somebody put beside them stays."""
        for path in self._files():
            remove_path(path)

    def _refuse_other_config(self) -> None:
        needed = {
            entry.name for entry in fields(RunConfig) if entry.default is MISSING and entry.default_factory is MISSING
        }
        if not needed <= set(read_json(self.path / _CONFIG, RunConfig.WHAT)):
            raise InputError(
                f"{self.path}: expected an earlier run to overwrite, found a {_CONFIG} of something else; choose another "
                "path."
            )

    def stopped(self) -> RunConfig | None:
        """Return the configuration of the run that goes on; None where none has begun.

        Raises:
            InputError: a folder of something else, or a configuration that is not a run's.
        """
        if self.is_run:
            return self.read_config()
        if not is_empty(self.path):
            raise InputError(
                f"{self.path}: expected a run to resume, found a folder without {_CONFIG}; choose another path."
            )
        return None

    def refuse_existing(self, overwrite: bool, inputs: Sequence[str | Path]) -> None:
        """Raise `InputError` where a new run may not take this place: another one, something else, or the data in it."""
        instead = "`overwrite=True`, or `resume=True` to go on with it"
        refuse_existing_folder(self.path, True, "run", (_CONFIG,))
        if not is_empty(self.path):
            # Nobody is told to overwrite, or to go on with, what is no run.
            self._refuse_other_config()
        refuse_existing_folder(self.path, overwrite, "run", (_CONFIG,), instead)
        _refuse_inputs(self.path, inputs)


@dataclass(frozen=True)
class FoldsConfig(Validated):
    """What the folds of a folder have in common.

    Attributes:
        folds: how many there are.
        settings: the options of their fits, as they were given: each fold decides what they leave open, alike.
        data: paths and patterns as they were named.
        final: whether a last network is trained on everything.
    """

    WHAT = "the configuration of folds"

    folds: int
    settings: dict[str, Any]
    data: RunData
    final: bool = False


@dataclass(frozen=True)
class FoldsFolder:
    """A folder of runs, each of which held out another part of the same data."""

    path: Path

    @property
    def is_folds(self) -> bool:
        """Whether there are folds, begun at least."""
        return (self.path / _FOLDS).is_file()

    @property
    def figures(self) -> Path:
        """The file of cross-validated figures."""
        return self.path / _CROSS_VALIDATION

    @property
    def final(self) -> RunFolder:
        """The run of a network on everything."""
        return RunFolder(self.path / "final")

    def runs(self) -> list[RunFolder]:
        """Return the run of every fold, in order, whether it has begun or not."""
        return [self.run(number) for number in range(1, self.read_config().folds + 1)]

    def run(self, number: int) -> RunFolder:
        """Return the run of one fold, counted from 1."""
        return RunFolder(self.path / f"fold_{number}")

    def finished_runs(self) -> list[RunFolder]:
        """Return the run of every fold; raises `InputError` where one of them is not finished."""
        runs = self.runs()
        finished = [run for run in runs if run.is_run and run.read_config().best]
        if len(finished) < len(runs):
            raise InputError(
                f"{self.path}: expected the networks of {len(runs)} folds, found {len(finished)} finished; go on with "
                "`resume=True`, or take one of the folds in it."
            )
        return runs

    def begin(self, config: FoldsConfig, overwrite: bool, inputs: Sequence[str | Path]) -> None:
        """Write what new folds have in common, in the place of earlier ones, which are removed.

        Raises:
            InputError: earlier folds that may not be replaced, something else, or the data in it; another process that
                writes there.
        """
        instead = "`overwrite=True`, or `resume=True` to go on with them"
        with made_folder(self.path, self.path), locked(self.path / ".lock", self.path):
            refuse_existing_folder(self.path, overwrite, "folds", (_FOLDS,), instead)
            _refuse_inputs(self.path, inputs)
            if self.is_folds:
                self._clear()
            self.write_config(config)

    def _clear(self) -> None:
        runs = [*self.runs(), self.final]
        with ExitStack() as stack:
            for run in runs:
                if run.path.is_dir():
                    stack.enter_context(run.held())
        remove_path(self.path / _FOLDS)
        for path in (self.figures, *(run.path for run in runs)):
            remove_path(path)

    def write_config(self, config: FoldsConfig) -> None:
        """Write what the folds have in common."""
        write_json(self.path / _FOLDS, config.config())

    def read_config(self) -> FoldsConfig:
        """Return what the folds have in common; raises `InputError` where there are none."""
        if not self.is_folds:
            raise InputError(f"{self.path}: expected a folder of folds, found no {_FOLDS} there; check the path.")
        source = self.path / _FOLDS
        return FoldsConfig.from_config(read_json(source, FoldsConfig.WHAT), str(source))


def _refuse_inputs(folder: Path, inputs: Sequence[str | Path]) -> None:
    for file in map(place, inputs):
        if isinstance(file, Path) and resolved(folder) in (resolved(file), *resolved(file).parents):
            raise InputError(
                f"{folder}: expected a run folder apart from the data, found {file} in it; choose another path."
            )


# Below the run folder, part by part.
_NAMES = [(_CONFIG,), *(file.name for file in vars(RunFolder).values() if isinstance(file, _File))]
