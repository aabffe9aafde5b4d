"""How much memory a training step takes, and what would fit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod

from keras_unet3d.errors import InputError
from keras_unet3d.machine import memory
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.network.costs import Costs, step_costs
from keras_unet3d.settings.fit import FitSettings
from keras_unet3d.workflows.fit import sizes

# Arrays of the weights' size: weights and gradients, and what the optimiser keeps.
_COPIES = {"adamw": 4, "sgd": 3}


def costs(spec: ModelSpec, settings: FitSettings) -> Costs:
    """Return what a step costs on one device."""
    copies = _COPIES[settings.optimizer] + bool(settings.ema) + (settings.accumulate > 1)
    batch = settings.batch_size // settings.devices
    return step_costs(spec.architecture, settings.patch, batch, settings.precision, copies)


def say_costs(spec: ModelSpec, settings: FitSettings, say: Callable[[str], None]) -> None:
    """Say how much memory a step takes, and what would fit where it is more than there is."""
    step, limit = costs(spec, settings), memory.available_memory()
    of = f" of {_gigabytes(limit)} available" if limit else ""
    say(
        f"step: {step.flops / 1e9:.3g} GFLOP, about {_gigabytes(step.memory)}{of} (weights and optimiser "
        f"{_gigabytes(step.parameters)}, features {_gigabytes(step.activations)})"
    )
    if limit and step.memory > limit:
        say(f"memory: a step will hardly fit; {what_fits(spec, settings, limit)}")


@contextmanager
def memory_in_words(spec: ModelSpec, settings: FitSettings) -> Iterator[None]:
    """Turn a backend's error into sizes and advice where memory runs out within.

    Raises:
        InputError: it did.
    """
    try:
        yield
    except Exception as error:
        if memory.is_out_of_memory(error):
            raise InputError(_out_of_memory(spec, settings)) from error
        raise


def _out_of_memory(spec: ModelSpec, settings: FitSettings) -> str:
    step, limit = costs(spec, settings), memory.available_memory()
    patch = " x ".join(map(str, settings.patch))
    return (
        f"memory: expected room for a step of {settings.batch_size} patches of {patch}, about {_gigabytes(step.memory)}, "
        f"found too little{f' ({_gigabytes(limit)} in all)' if limit else ''}; "
        f"{what_fits(spec, settings, min(limit or step.memory, step.memory))}."
    )


def what_fits(spec: ModelSpec, settings: FitSettings, limit: float) -> str:
    """Return the first smaller setting whose step takes less than three quarters of `limit`."""
    for flags, smaller in _smaller(spec, settings):
        if costs(spec, smaller).memory <= 0.75 * limit:
            return f"{flags} would fit"
    return "no batch of one patch of this network would fit: use fewer --filters"


def _smaller(spec: ModelSpec, settings: FitSettings) -> Iterator[tuple[str, FitSettings]]:
    batch = settings.batch_size
    while batch > settings.devices:
        batch = max(batch // 2 // settings.devices, 1) * settings.devices
        yield f"--batch-size {batch}", replace(settings, batch_size=batch)
    patch, voxels = settings.patch, prod(settings.patch)
    while voxels > 8**3:
        voxels //= 2
        found = sizes.plan_patch(patch, spec.spacing, spec.architecture.geometry, voxels)
        if found != patch:
            patch = found
            flags = f"--patch {' '.join(map(str, patch))} --batch-size {batch}"
            yield flags, replace(settings, patch=patch, batch_size=batch)


def _gigabytes(count: float) -> str:
    return f"{count / 2**30:.2g} GB"
