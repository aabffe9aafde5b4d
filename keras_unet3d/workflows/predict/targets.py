"""Where results go: never over an input, and over nothing else unless that is asked for."""

from collections.abc import Sequence
from pathlib import Path

from keras_unet3d.errors import InputError
from keras_unet3d.files import overlapping
from keras_unet3d.places import Place, Url
from keras_unet3d.volumes import (
    WRITTEN,
    file_and_key,
    is_volume_name,
    refuse_existing_volume,
    result_suffix,
    stem,
    volume_format,
)


def targets_of(inputs: Sequence[Place], out: Place, suffix: str | None, overwrite: bool) -> list[Place]:
    """Return a path per input: `out` itself where that is a volume's name, else a file in the folder `out`.

    In a store all of them are Zarr.

    Raises:
        InputError: one file for several inputs, names that meet, an output that is there or that is an input.
    """
    is_volume = is_volume_name(out)
    if is_volume and len(inputs) > 1:
        raise InputError(f"{out}: expected a folder for {len(inputs)} inputs, found the name of one file.")
    # "result.png" is meant as a file, "run.v2" may be a folder.
    is_file, is_folder = (out.is_file(), out.is_dir()) if isinstance(out, Path) else (False, False)
    if not is_volume and (is_file or (out.suffix[1:].isalpha() and not is_folder)):
        raise InputError(f"{out}: expected a folder, or a file ending in {', '.join(WRITTEN)}; found {out.name!r}.")
    if suffix is not None and suffix not in WRITTEN:
        raise InputError(f"suffix: expected one of {', '.join(WRITTEN)}; found {suffix!r}.")
    if is_volume and volume_format(out) not in WRITTEN:
        raise InputError(
            f"{out}: expected a format that can be written, {', '.join(WRITTEN)}; found {volume_format(out)}."
        )
    if is_volume and suffix is not None and suffix != volume_format(out):
        raise InputError(
            f"suffix: expected none beside the name of a file, {out.name}, found {suffix!r}; leave it out."
        )
    suffix = suffix or (".zarr" if isinstance(out, Url) else None)
    targets = [out] if is_volume else [out / (stem(path) + (suffix or result_suffix(path))) for path in inputs]
    refuse_same(inputs, targets)
    for target in targets:
        # A volume may be a folder: an output in it would spoil it, an output around it would replace it.
        if any(overlapping(target, file_and_key(source)[0]) for source in inputs):
            raise InputError(f"{target}: expected an output that is not an input; choose another path.")
        refuse_existing_volume(target, overwrite)
    return targets


def is_there(target: Place) -> bool:
    """Return whether there is something at the place of a result; a result that is there is whole."""
    try:
        refuse_existing_volume(target, overwrite=False)
    except InputError:
        return True
    return False


def refuse_same(inputs: Sequence[Place], outputs: Sequence[Place]) -> None:
    """Raise `InputError` where two inputs would have the same output."""
    for position, (path, out) in enumerate(zip(inputs, outputs, strict=True)):
        if out in outputs[:position]:
            raise InputError(f"{path}: expected inputs of different names, found {out.name} twice; use two folders.")
