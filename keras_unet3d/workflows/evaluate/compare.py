"""`compare`: which of two networks is better, volume by volume."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from keras_unet3d.errors import InputError
from keras_unet3d.evaluation.spread import mean_over_volumes, paired_test
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.words import plural, some
from keras_unet3d.workflows.evaluate.words import mean_of


def compare(first: dict[str, Any], second: dict[str, Any], listener: Listener = SILENT) -> dict[str, Any]:
    """Compare the figures of two networks, volume by volume.

    Args:
        first, second: what `evaluate` returned of the one and the other, on the same volumes.
        listener: is told a line per figure.

    Returns:
        `{"mean_dice": {"mean", "low", "high", "count", "p"}, "classes": {name: ...}}`: the mean over volumes of the
        first's Dice less the second's with its 95 % bootstrap interval, and p of the two-sided Wilcoxon signed-rank test;
        None where no volume has a figure in both. Where instances were compared, also "adapted_rand_error".

    Raises:
        InputError: figures of other volumes or classes.
    """
    if _files(first) != _files(second):
        raise InputError(
            f"compare: expected figures of the same volumes, found {some(_files(first))} and {some(_files(second))}."
        )
    refuse_other_classes([*first["classes"]], [*second["classes"]])

    def difference(figure: Callable[[dict[str, Any]], float | None]) -> dict[str, Any] | None:
        pairs = [(figure(a), figure(b)) for a, b in zip(first["volumes"], second["volumes"], strict=True)]
        known = [a - b for a, b in pairs if a is not None and b is not None]
        mean = mean_over_volumes(known)
        return {**asdict(mean), "p": paired_test(known)} if mean else None

    def dice(name: str) -> Callable[[dict[str, Any]], float | None]:
        return lambda volume: (volume["classes"][name] or {}).get("dice")

    result: dict[str, Any] = {
        "mean_dice": difference(lambda volume: volume["mean_dice"]),
        "classes": {name: difference(dice(name)) for name in first["classes"]},
    }
    if "adapted_rand_error" in first and "adapted_rand_error" in second:
        result["adapted_rand_error"] = difference(lambda volume: volume["adapted_rand_error"])
    listener.say(
        "the first less the second, mean over volumes [95 % interval], and p of the Wilcoxon signed-rank test:"
    )
    named = {f"Dice of {name}": found for name, found in result["classes"].items()}
    named |= {"mean Dice": result["mean_dice"], "adapted Rand error": result.get("adapted_rand_error")}
    for name, found in named.items():
        if found:
            listener.say(
                f"{name}: {mean_of(found).in_words('+')}, p {found['p']:.2g}, {plural(found['count'], 'volume')}"
            )
    return result


def refuse_other_classes(first: Sequence[str], second: Sequence[str]) -> None:
    """Raise `InputError` where two networks, of which the names of the classes are given, cannot be compared."""
    if [*first] != [*second]:
        raise InputError(
            f"compare: expected two networks of the same classes, found {some(first)} and {some(second)}; name them alike."
        )


def _files(result: dict[str, Any]) -> list[str]:
    return [volume["file"] for volume in result["volumes"]]
