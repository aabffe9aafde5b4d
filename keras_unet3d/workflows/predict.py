"""`predict`: volume files in, label volumes of the same format and geometry out."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.files import overlapping
from keras_unet3d.prediction import OUTPUTS, Predictor
from keras_unet3d.volumes import (
    FORMATS,
    Volume,
    is_volume_name,
    open_volume,
    refuse_existing_volume,
    stem,
    volume_format,
    write_volume,
)
from keras_unet3d.workflows import prepare


def predict(
    predictor: Predictor,
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    output: str = "labels",
    overlap: float = 0.5,
    raw_key: str | None = None,
    axes: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[Path]:
    """Segment volume files and return the files written.

    Args:
        predictor: a trained network, as `zoo.predictor` returns it.
        inputs: HDF5, NIfTI, TIFF or Zarr.
        out: a volume for one input, its suffix decides the format; or a folder, which keeps names and formats.
        output: "labels" (raw label values of the training data) or "probabilities" (float32, channels last).
        overlap: share of a tile that it has in common with its neighbour.
        raw_key, axes: of the files; `None` takes those that the network was trained with.
        overwrite: whether files that are there may be replaced; never an input.
        say, progress: are given lines, and tiles done and tiles in all of a volume.

    Raises:
        InputError: a `ValueError`: anything wrong with the files; nothing is written then.
    """
    if output not in OUTPUTS:
        raise InputError(f"output: expected one of {', '.join(OUTPUTS)}; found {output!r}.")
    volumes = [open_volume(path, raw_key or predictor.keys.raw, axes or predictor.keys.axes) for path in inputs]
    targets = _targets([Path(path) for path in inputs], Path(out), overwrite)
    # Every input is examined before the first output is written.
    examined = [predictor.examine(volume) for volume in volumes]
    for volume, target, statistics in zip(volumes, targets, examined, strict=True):
        _warn_about_spacing(volume, predictor, say)
        result = predictor.probabilities(volume, overlap, progress, statistics)
        if output == "labels":
            result = predictor.labels(result)
        write_volume(target, result, volume, "label" if output == "labels" else "probabilities")
        say(f"{target}: {_summary(result, output)}")
    return targets


def _targets(inputs: list[Path], out: Path, overwrite: bool) -> list[Path]:
    is_volume = is_volume_name(out)
    if is_volume and len(inputs) > 1:
        raise InputError(f"{out}: expected a folder for {len(inputs)} inputs, found the name of one file.")
    # "result.png" is meant as a file, "run.v2" may be a folder.
    if not is_volume and (out.is_file() or (out.suffix[1:].isalpha() and not out.is_dir())):
        raise InputError(f"{out}: expected a folder, or a file ending in {', '.join(FORMATS)}; found {out.name!r}.")
    targets = [out] if is_volume else [out / (stem(path) + volume_format(path)) for path in inputs]
    for position, (path, target) in enumerate(zip(inputs, targets, strict=True)):
        if target in targets[:position]:
            raise InputError(f"{path}: expected inputs of different names, found {target.name} twice; use two folders.")
        # A volume may be a folder: an output in it would spoil it, an output around it would replace it.
        if any(overlapping(target, each) for each in inputs):
            raise InputError(f"{target}: expected an output that is not an input; choose another path.")
        refuse_existing_volume(target, overwrite)
    return targets


def _warn_about_spacing(volume: Volume, predictor: Predictor, say) -> None:
    if volume.spacing and predictor.spacing:
        ratio = np.divide(volume.spacing, predictor.spacing)
        if (np.maximum(ratio, 1 / ratio) > prepare.SPACING_TOLERANCE).any():
            say(
                f"{volume.name}: voxel size {_sizes(volume.spacing)} differs from the training's "
                f"{_sizes(predictor.spacing)}; expect a worse result, or resample the volume first"
            )


def _sizes(spacing) -> str:
    return " x ".join(f"{size:.3g}" for size in spacing)


def _summary(result: np.ndarray, output: str) -> str:
    shape = " x ".join(map(str, result.shape))
    if output == "probabilities":
        return f"{shape}, probabilities"
    values, counts = np.unique(result, return_counts=True)
    shares = ", ".join(f"{value}: {share:.1%}" for value, share in zip(values, counts / result.size, strict=True))
    return f"{shape}, labels {shares}"
