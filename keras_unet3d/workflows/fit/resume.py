"""`fit --resume`: what a stopped run was told and trained on, and whether it is the same now."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

from keras_unet3d.errors import InputError, refuse
from keras_unet3d.files import read_json, remove_partial_files
from keras_unet3d.machine import versions
from keras_unet3d.patches.source import Source
from keras_unet3d.settings.fit import FitSettings
from keras_unet3d.training import LearningRate, Schedule, read_facts

# What may be told anew: the rest decides what is learnt.
CHANGEABLE = ("epochs", "early_stop", "workers", "memory")


def stopped_run(out: Path, config_name: str, entries: Sequence[str]) -> dict | None:
    """Return the configuration of the run at `out`; None where none has begun. What it left half-written is removed.

    Raises:
        InputError: a folder of something else, or a configuration that is not a run's.
    """
    if not out.is_dir():
        return None
    remove_partial_files(out)
    if not (out / config_name).is_file():
        if any(out.iterdir()):
            raise InputError(
                f"{out}: expected a run to resume, found a folder without {config_name}; choose another path."
            )
        return None
    config = read_json(out / config_name, "the configuration of a run")
    missing = [entry for entry in entries if not isinstance(config.get(entry), dict)]
    if missing:
        raise InputError(f"{out}: expected a run to resume, found a {config_name} without {missing[0]}.")
    return config


def resumed_settings(config: dict, given: FitSettings, out: Path) -> FitSettings:
    """Return the settings of a stopped run with what was given now of `CHANGEABLE`.

    Raises:
        InputError: another setting than the run's, or fewer epochs.
    """
    before = FitSettings.from_config(config["settings"], str(out))
    default, changed = FitSettings(), {}
    for each in fields(FitSettings):
        now, then = getattr(given, each.name), getattr(before, each.name)
        if now in (getattr(default, each.name), then):
            continue
        if each.name not in CHANGEABLE:
            raise InputError(
                f"{each.name}: expected {then!r}, as {out} was begun with, found {now!r}; only "
                f"{', '.join(CHANGEABLE)} may be changed with --resume."
            )
        changed[each.name] = now
    if changed.get("epochs", before.epochs) < before.epochs:
        raise InputError(f"epochs: expected at least the {before.epochs} of {out}, found {changed['epochs']}.")
    return replace(before, **changed)


def content(sources: Sequence[Source]) -> list[str]:
    """Return a short digest per source of its shape, grey values and labels, to tell that it is the same later."""

    def digest(source: Source) -> str:
        statistics = source.statistics
        facts = [source.image.shape, source.index.per_class.tolist()]
        facts += [values.tolist() for values in (statistics.mean, statistics.std, statistics.low, statistics.high)]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    return [digest(source) for source in sources]


def go_on(out: Path, before: dict, now: dict, schedule: Schedule, has_start: bool, say: Callable[[str], None]) -> None:
    """Say how the run at `out` goes on.

    Args:
        out: the run folder.
        before: its configuration.
        now: what it would be if the run were begun now.
        schedule: of the run now.
        has_start: whether the network that it was begun from, if any, is at hand.
        say: is given one line at a time.

    Raises:
        InputError: data or network are no longer what they were; or the first epoch was not finished, and the network to
            begin from is missing.
    """
    refuse(_differences(before, now, out))
    facts = read_facts(out) or {"rows": [], "best": None}
    done, best, planned = len(facts["rows"]), facts["best"], before["settings"]["epochs"]
    if not done and before.get("start") and not has_start:
        raise InputError(f"{out}: expected --from {before['start']} again, as no epoch of the run was finished.")
    best_so_far = f" (best: epoch {best['epoch']}, validation IoU {best['val_iou']:.3f})" if best else ""
    say(f"resume: {done} of {schedule.epochs} epochs of {out} are done{best_so_far}")
    if schedule.epochs > planned:
        step = done * schedule.steps_per_epoch
        old, new = (float(LearningRate(each)(step)) for each in (replace(schedule, epochs=planned), schedule))
        say(
            f"learning rate: that of a run of {schedule.epochs} epochs from its beginning, {new:.3g} at epoch {done + 1} "
            f"(planned for {planned} epochs it was to be {old:.3g})"
        )


def _differences(before: dict, now: dict, out: Path) -> Iterator[str]:
    """Yield a sentence where data or network of a stopped run are no longer what they were."""
    for part in ("training", "validation"):
        old, new = ((config["data"].get("content") or {}).get(part) or [] for config in (before, now))
        if old != new:
            changed = [name for name, a, b in zip(now["data"][part], old, new, strict=False) if a != b]
            which = changed[0] if changed else f"{len(new)} instead of {len(old)} volumes"
            yield f"{out}: expected the {part} data that it was begun on, found other data: {which}; train anew instead."
    if before["model"] != now["model"]:
        yield f"{out}: expected data that lead to the same network, found other ones; train anew instead."


def say_other_versions(before: dict, say: Callable[[str], None]) -> None:
    """Say which packages are not those that the run was begun with."""
    now = versions.package_versions()
    other = [
        f"{name} {then} -> {now[name]}" for name, then in before["versions"].items() if now.get(name, then) != then
    ]
    if other:
        say(f"versions: {', '.join(other)}; the last digits may differ from a run that was never stopped")
