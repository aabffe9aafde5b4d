"""How what the core says is written on the command line: `axes=czyx` in a sentence is --axes czyx there."""

import re
from dataclasses import fields

from keras_unet3d.settings import CleanSettings, FitSettings, PredictSettings

# Calls of the zoo that sentences name, as commands.
_CALLS = (
    (re.compile(r"`zoo\.list_models\(\)`"), "unet3d-cli zoo list"),
    (re.compile(r"`zoo\.complete\('([^']+)', FOLDER\)`"), r"unet3d-cli zoo complete \1 --out FOLDER"),
)
_FIELD = re.compile(r"`(\w+)(?:=([^`]*))?`")
# Arguments of the core that have another name here, and those that no settings class has.
_OTHER_NAMES = {"start": "from"}
_ARGUMENTS = {
    "images",
    "labels",
    "weights",
    "val",
    "output",
    "resample",
    "suffix",
    "scheduler",
    "resume",
    "overwrite",
    "to",
    "folds",
    "final",
    "profile",
    "hosts",
    "host",
    "spacing",
    "table",
    "colours",
}
_OPTIONS = {field.name for kind in (FitSettings, PredictSettings, CleanSettings) for field in fields(kind)} | _ARGUMENTS


def flag(name: str) -> str:
    """Return the option of a field: "--batch-size" of "batch_size"."""
    return "--" + _OTHER_NAMES.get(name, name).replace("_", "-")


def with_flags(text: str) -> str:
    """Return a text of the core with its fields, which stand between backticks, as options."""
    for call, command in _CALLS:
        text = call.sub(command, text)
    return _FIELD.sub(lambda field: _written(*field.groups()), text)


def error_with_flags(sentence: str) -> str:
    """Return the sentence of an `InputError` in the same way; an option that it begins with is written as one, too."""
    name, colon, _ = sentence.partition(":")
    begins = f"{flag(name)}{sentence[len(name) :]}" if colon and name in _OPTIONS else sentence
    return with_flags(begins)


def _written(name: str, value: str | None) -> str:
    if value is None or value == "True":
        return flag(name)
    return f"--no-{flag(name)[2:]}" if value == "False" else f"{flag(name)} {value}"
