"""Options that several commands share, and those that are the fields of a settings class."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import Field, fields
from pathlib import Path

import click

from keras_unet3d.cli.command import FILE, OTHERS, Option
from keras_unet3d.cli.flags import flag, with_flags
from keras_unet3d.cli.terminal import tell_in
from keras_unet3d.errors import InputError
from keras_unet3d.fields import field_type
from keras_unet3d.files import as_json, read_json, whole_file, write_csv, write_json, write_text
from keras_unet3d.geometry import Triple
from keras_unet3d.settings import (
    AugmentationOptions,
    CleanSettings,
    DataOptions,
    EngineSettings,
    FitSettings,
    MachineOptions,
    NetworkOptions,
    PatchOptions,
    PredictSettings,
    ScheduleOptions,
)


def option(heading: str, *names: str, **attributes) -> Callable:
    """Return a decorator that adds an option under a heading of --help; all else is as click.option has it."""
    return click.option(*names, cls=Option, heading=heading, **attributes)


_DATA = "Data and labels"
overwrite = click.option("--overwrite", is_flag=True, help="Replace what is there.")
images = option(_DATA, "--images", type=FILE, metavar="GLOB", help="Image files, quoted; with --labels.")
labels = option(_DATA, "--labels", type=FILE, metavar="GLOB", help="Label files; partners by their names, or in order.")
weights = option(_DATA, "--weights", type=FILE, metavar="GLOB", help="Files of voxel weights, for --images.")
scene = option(_DATA, "--scene", help="Which of several scenes of a file, by name or number [default: as in training].")
time = option(
    _DATA,
    "--time",
    type=click.IntRange(0),
    help="Which of several points in time of a file, from 0 [default: as in training].",
)
run = click.option("--out", required=True, type=FILE, metavar="RUN", help="Folder to make for the run.")


def validation(text: str) -> Callable:
    """Return a decorator that adds the option of validation data, which this help tells of."""
    return option(_DATA, "--val", multiple=True, type=FILE, metavar="DATA...", help=text)


STANDARD_OUTPUT = "-"


def _alone(context: click.Context, param: click.Parameter, path: str | None) -> str | None:
    """Have nothing else written to the standard output where the figures go there."""
    if path == STANDARD_OUTPUT:
        tell_in(context, "quiet")
    return path


json_file = click.option(
    "--json",
    "json_path",
    type=FILE,
    metavar="FILE",
    callback=_alone,
    help="Write all figures to FILE as well; - is the standard output, and nothing else is written there.",
)
# Settings class that declares an option -> the heading of --help that it stands under.
_HEADINGS = {
    DataOptions: _DATA,
    NetworkOptions: "Network",
    PatchOptions: "Patches",
    AugmentationOptions: "Augmentation",
    ScheduleOptions: "Training",
    MachineOptions: "Machine",
    PredictSettings: "Tiles",
    CleanSettings: "Labels that are written",
    EngineSettings: "Machine",
}


def settings(kind: type, only: Collection[str] = ()) -> Callable:
    """Add one option per field of a settings class; those not given arrive as None or an empty tuple."""

    def add(command: Callable) -> Callable:
        for field in reversed(fields(kind)):
            if not only or field.name in only:
                command = _option(kind, field)(command)
        return command

    return add


def given_settings(kind: type, given: dict):
    """Return the settings of the class `kind` that the values of its options, among others in `given`, make."""
    names = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in given.items() if name in names and value not in (None, ())})


def _option(settings: type, field: Field) -> Callable:
    name, heading = flag(field.name), _heading(settings, field.name)
    text = with_flags(field.metadata["help"])
    if field.default not in (None, ()):
        text = f"{text.rstrip('.')} [default: {_shown(field.default)}]."
    kind = field_type(settings, field.name)
    if kind is bool:
        return option(heading, f"{name}/--no-{name[2:]}", default=None, help=text)
    if kind == Triple:
        return option(heading, name, type=int, nargs=3, default=None, metavar="Z Y X", help=text)
    if kind in _REPEATED:
        word, metavar = _REPEATED[kind]
        return option(heading, name, type=word, multiple=True, metavar=metavar, help=text)
    choices = field.metadata["choices"]
    return option(heading, name, type=click.Choice(choices) if choices else kind, default=None, help=text)


def _heading(settings: type, name: str) -> str:
    """Return the heading of the class that declares an option."""
    declared = (base for base in settings.__mro__ if name in vars(base).get("__annotations__", ()))
    return _HEADINGS.get(next(declared), OTHERS)


# Type of a field that is a repeatable option -> the type of each, and what it is called.
_REPEATED: dict = {tuple[int, ...]: (int, "VALUE"), tuple[str, ...]: (str, "FILES=VALUES")}


def _shown(default) -> str:
    return {True: "on", False: "off"}.get(default, str(default)) if isinstance(default, bool) else str(default)


def settings_from(config: str | None, given: dict) -> FitSettings:
    """Return the settings of a `--config` file, with what was given on the command line put over them."""
    values = _read_config(Path(config)) if config else {}
    if config:
        # What is wrong in the file is said of the file.
        FitSettings.from_config(values, config)
    return given_settings(
        FitSettings, values | {name: value for name, value in given.items() if value not in (None, ())}
    )


def _read_config(path: Path) -> dict:
    """Return the options in a JSON file: a plain object, or the `config.json` of a run."""
    values = read_json(path, "options of fit")
    # A run's config.json keeps the options of its fit under "settings".
    settings = values.get("settings", values)
    if not isinstance(settings, dict):
        raise InputError(f"{path}: expected options of fit under 'settings', found {settings!r}.")
    return dict(settings)


# Suffix of a file of figures -> what writes it.
_WRITERS: dict[str, Callable] = {".json": write_json, ".csv": write_csv, ".html": write_text}


@contextmanager
def figures_file(
    path: str | None, overwrite: bool, option: str = "--json", suffix: str = ".json"
) -> Iterator[Callable]:
    """Yield a function that takes the figures that are to be written to `path`, or to nowhere where that is None.

    Entered before the work, so that a place that cannot be written is said at once.
    """
    if path is None:
        yield lambda figures: None
        return
    if path == STANDARD_OUTPUT and suffix == ".json":
        yield lambda figures: click.echo(as_json(figures), nl=False)
        return
    if Path(path).is_file() and not path.endswith(suffix):
        raise InputError(f"{option} {path}: expected to write over a {suffix} file, found another kind of file there.")
    with whole_file(Path(path), overwrite) as partial:
        yield lambda figures: _WRITERS[suffix](partial, figures)
