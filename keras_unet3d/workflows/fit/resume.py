"""A fit that goes on: what a stopped run was told and trained on, and whether it is the same now."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

from keras_unet3d.errors import InputError, refuse
from keras_unet3d.files import is_whole_zip
from keras_unet3d.listener import Listener
from keras_unet3d.machine import versions
from keras_unet3d.patches.source import Source
from keras_unet3d.run_folder import FoldsConfig, FoldsFolder, RunConfig, RunFolder
from keras_unet3d.settings import FitSettings
from keras_unet3d.training.optimizers import LearningRate
from keras_unet3d.training.schedule import Schedule
from keras_unet3d.training.state import read_facts
from keras_unet3d.words import plural

# What may be told anew: the rest decides what is learnt.
CHANGEABLE = ("epochs", "early_stop", "workers", "memory", "track", "devices")


def resumed_settings(run: RunFolder | FoldsFolder, before: RunConfig | FoldsConfig, given: FitSettings) -> FitSettings:
    """Return the settings of a stopped run, or of folds, with what was given now of `CHANGEABLE`.

    Raises:
        InputError: another setting than the run's, or fewer epochs.
    """
    # Earlier versions treated no volume as a stack of sections.
    spec = None if isinstance(before, FoldsConfig) else before.model
    settings = ({"sections": "no", "grey_values": spec.normalization} if spec else {}) | before.settings
    then, default = FitSettings.from_config(settings, str(run.path)), FitSettings()
    changed: dict[str, Any] = {}
    for option in fields(FitSettings):
        now, was = getattr(given, option.name), getattr(then, option.name)
        if now in (getattr(default, option.name), was):
            continue
        if option.name not in CHANGEABLE:
            changeable = ", ".join(f"`{name}`" for name in CHANGEABLE)
            raise InputError(
                f"{option.name}: expected {was!r}, as {run.path} was begun with, found {now!r}; only {changeable} may be "
                "changed with `resume=True`."
            )
        changed[option.name] = now
    if (changed.get("epochs") or then.epochs or 0) < (then.epochs or 0):
        raise InputError(f"epochs: expected at least the {then.epochs} of {run.path}, found {changed['epochs']}.")
    return replace(then, **changed)


def content(sources: Sequence[Source]) -> list[str]:
    """Return a short digest per source of its shape, grey values and labels, to tell that it is the same later."""

    def digest(source: Source) -> str:
        statistics = source.statistics
        facts = [source.image.shape, source.index.per_class.tolist()]
        facts += [values.tolist() for values in (statistics.mean, statistics.std, statistics.low, statistics.high)]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    return [digest(source) for source in sources]


def go_on(
    run: RunFolder, before: RunConfig, now: RunConfig, schedule: Schedule, has_start: bool, listener: Listener
) -> None:
    """Say how a run goes on.

    Args:
        run: its folder.
        before: its configuration.
        now: what that would be if the run were begun now.
        schedule: of the run now.
        has_start: whether the network that it was begun from, if any, is at hand.
        listener: is told.

    Raises:
        InputError: data, network or parts of the caller's own are no longer what they were; or the first epoch was not
            finished, and the network to begin from is missing.
    """
    refuse(_differences(run, before, now))
    facts = read_facts(run.state) or {"rows": [], "best": None}
    refuse(_missing(run, facts))
    done, best = len(facts["rows"]), facts["best"]
    planned = FitSettings.from_config(before.settings, str(run.path)).epochs or schedule.epochs
    if not done and before.start and not has_start:
        raise InputError(f"{run.path}: expected `start={before.start}` again, as no epoch of the run was finished.")
    best_so_far = f" (best: epoch {best['epoch']}, validation IoU {best['val_iou']:.3f})" if best else ""
    if schedule.minutes is not None:
        minutes = facts["rows"][-1]["minutes"] if done else 0.0
        listener.say(f"resume: {minutes:.1f} of {schedule.minutes:g} minutes of {run.path} are done{best_so_far}")
        return
    listener.say(f"resume: {done} of {schedule.epochs} epochs of {run.path} are done{best_so_far}")
    if schedule.epochs > planned:
        step = done * schedule.steps_per_epoch
        old, new = (float(LearningRate(course)(step)) for course in (replace(schedule, epochs=planned), schedule))
        listener.say(
            f"learning rate: that of a run of {schedule.epochs} epochs from its beginning, {new:.3g} at epoch {done + 1} "
            f"(planned for {plural(planned, 'epoch')} it was to be {old:.3g})"
        )


def _missing(run: RunFolder, facts: dict) -> Iterator[str]:
    """Yield a sentence where what a run had kept is gone: what goes on would write over the rest of it."""
    # Until the end of the first epoch the state is that of the beginning.
    if not run.state.exists() and (run.network.exists() or run.history.exists()):
        yield (
            f"{run.state}: expected the state of the training, found none; train it further with `start`, or anew with "
            "`overwrite=True`."
        )
    if facts["best"] and not is_whole_zip(run.network):
        found = "a broken one" if run.network.exists() else "none"
        yield f"{run.network}: expected the best network so far, found {found}; bring it back, or train anew with `overwrite=True`."


def _differences(run: RunFolder, before: RunConfig, now: RunConfig) -> Iterator[str]:
    """Yield a sentence where data, network or parts of a stopped run are no longer what they were."""
    for part in ("training", "validation"):
        old, new = (config.data.content.get(part) or [] for config in (before, now))
        if old != new:
            changed = [name for name, a, b in zip(getattr(now.data, part), old, new, strict=False) if a != b]
            which = changed[0] if changed else f"{len(new)} instead of {len(old)} volumes"
            yield (
                f"{run.path}: expected the {part} data that it was begun on, found other data: {which}; train anew instead."
            )
    if before.model.unsettled != now.model:
        yield f"{run.path}: expected data that lead to the same network, found other ones; train anew instead."
    # Callbacks may be others: they change nothing, or it is their caller's business.
    for part in ("loss", "transforms", "teacher"):
        old, new = (config.parts.get(part) or None for config in (before, now))
        if old != new:
            yield f"{run.path}: expected the {part} that it was begun with, {old}, found {new}; give the same again."


def say_other_versions(before: RunConfig, listener: Listener) -> None:
    """Say which packages are not those that the run was begun with."""
    now = versions.package_versions()
    other = [f"{name} {then} -> {now[name]}" for name, then in before.versions.items() if now.get(name, then) != then]
    if other:
        listener.say(f"versions: {', '.join(other)}; the last digits may differ from a run that was never stopped")
