"""What `evaluate` found, as lines for people and as rows of a table."""

from collections.abc import Iterator, Sequence
from typing import Any

from keras_unet3d.evaluation.spread import Mean
from keras_unet3d.words import plural, some

# Figures of a class in a volume: of its voxels, and of its surface.
OVERLAP = ("iou", "dice", "sensitivity", "precision", "volume_error")
SURFACES = ("hausdorff_95", "surface_distance", "surface_dice")
# As many of the worst volumes are named.
_WORST = 5


def lines(result: dict[str, Any], background: str | None) -> Iterator[str]:
    """Yield what `evaluate` returns as lines; `background` is the class that the means leave out."""
    names, volumes = [*result["classes"]], result["volumes"]
    width = max(len(name) for name in [*names, "mean"])
    yield (
        f"{'class':<{width}}    IoU   Dice  sens.  prec.  volume   "
        f"(labelled voxels of {plural(len(volumes), 'volume')})"
    )
    for name, figure in result["classes"].items():
        yield f"{name:<{width}} {_row(figure) if figure else 'absent from truth and prediction'}"
    if result["mean_iou"] is not None:
        without = f"   without {background}" if background else ""
        yield f"{'mean':<{width}} {result['mean_iou']:.4f} {result['mean_dice']:.4f}{without}"
        yield from _lines_of_volumes(result, background, width)
    if result["calibration_error"] is not None:
        yield f"calibration error: {result['calibration_error']:.4f} (0 where of voxels that are 0.9 sure nine in ten are right)"
    if cells := result.get("instances"):
        yield from _lines_of_instances(cells, result["adapted_rand_error"])


def _lines_of_instances(cells: dict[str, float | None], error: float | None) -> Iterator[str]:
    yield (
        f"instances: {cells['found']} of {cells['instances']} found at IoU 0.5, {cells['predicted_instances']} predicted; average "
        f"precision {_shown(cells['average_precision_50'], '.4f')} at 0.5, {_shown(cells['average_precision'], '.4f')} over 0.5 "
        f"to 0.95; F1 {_shown(cells['f1'], '.4f')}, panoptic quality {_shown(cells['panoptic_quality'], '.4f')}"
    )
    if error is not None:
        yield (
            f"adapted Rand error of the instances: {error:.4f}; variation of information: {cells['splits']:.4f} bits by splits, "
            f"{cells['merges']:.4f} by merges"
        )


def _row(figure: dict[str, float | None]) -> str:
    iou, dice, sensitivity, precision, error = (figure[key] for key in OVERLAP)
    return f"{_shown(iou, '.4f')} {_shown(dice, '.4f')} {_shown(sensitivity, '.4f')} {_shown(precision, '.4f')} {_shown(error, '+.1%'):>7}"


def _shown(value: float | None, form: str) -> str:
    return "     -" if value is None else f"{value:{form}}"


def _lines_of_volumes(result: dict[str, Any], background: str | None, width: int) -> Iterator[str]:
    """Yield the means over volumes with their intervals, and the worst volumes."""
    volumes, per_volume = result["volumes"], result["per_volume"]
    distances = any(volume["dense"] for volume in volumes)
    yield f"mean over volumes [95 % interval]{_units(volumes) if distances else ''}"
    for name in result["classes"]:
        if name == background or per_volume["classes"][name]["dice"] is None:
            continue
        by_key = {key: mean_of(mean) for key, mean in per_volume["classes"][name].items() if mean}
        parts = [f"Dice {by_key['dice'].in_words()}"]
        parts += [f"{words} {by_key[key].mean:{form}}" for key, (words, form) in _WORDS.items() if key in by_key]
        yield f"{name:<{width}} {', '.join(parts)}"
    yield f"{'mean':<{width}} Dice {mean_of(per_volume['mean_dice']).in_words()}"
    if sparse := [volume["file"] for volume in volumes if not volume["dense"]]:
        yield f"no distances where not every voxel is labelled: {some(sparse)}"
    known = sorted(
        (volume for volume in volumes if volume["mean_dice"] is not None), key=lambda volume: volume["mean_dice"]
    )
    for volume in known[:_WORST] if len(known) > 1 else ():
        by_name = ", ".join(
            f"{name} {figure['dice']:.4f}"
            for name, figure in volume["classes"].items()
            if figure and name != background
        )
        yield f"lowest Dice: {volume['mean_dice']:.4f} {volume['file']} ({by_name})"


# Figure of a class, over volumes -> what it is called, and how it is written.
_WORDS = {
    "volume_error": ("volume", "+.1%"),
    "hausdorff_95": ("HD95", ".3g"),
    "surface_distance": ("surface distance", ".3g"),
    "surface_dice": ("surface Dice", ".4f"),
}


def _units(volumes: Sequence[dict[str, Any]]) -> str:
    """Return in what distances are, and what counts as right."""
    kinds = {(volume["tolerance"], volume["unit"]) for volume in volumes if volume["dense"]}
    units = {unit for _, unit in kinds}
    if len(units) > 1:
        return "; surface Dice within a voxel's longest edge"
    (unit,) = units
    within = f"{max(kinds)[0]:.3g} {unit}, a voxel's longest edge" if len(kinds) == 1 else "a voxel's longest edge"
    return f"; distances in {unit}; surface Dice within {within}"


def mean_of(found: dict[str, Any]) -> Mean:
    """Return a mean as `evaluate` and `compare` write it."""
    return Mean(found["mean"], found["low"], found["high"], found["count"])


def rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row per volume and class of what `evaluate` returned, for a table; what there is none of is None."""
    return [
        {"file": volume["file"], "class": name}
        | dict.fromkeys((*OVERLAP, *SURFACES))
        | (figure or {})
        | {"unit": volume["unit"], "tolerance": volume["tolerance"]}
        for volume in result["volumes"]
        for name, figure in volume["classes"].items()
    ]
