"""How much memory a training step takes, and what would fit."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod

from keras_unet3d.errors import InputError
from keras_unet3d.listener import Listener
from keras_unet3d.machine import memory
from keras_unet3d.network.costs import Costs, step_costs
from keras_unet3d.words import by, gigabytes
from keras_unet3d.workflows.fit.plan import Plan
from keras_unet3d.workflows.fit.sizes import plan_patch

# A step that is estimated at so many times what there is will not fit, whatever the estimate's error.
_HOPELESS = 4
# Arrays of the weights' size: weights and gradients, and what the optimiser keeps.
_COPIES = {"muon": 4, "adamw": 4, "sgd": 3}


def costs(plan: Plan) -> Costs:
    """Return what a step costs on one device."""
    schedule = plan.schedule
    copies = _COPIES[schedule.optimizer] + bool(schedule.ema) + (schedule.accumulate > 1)
    batch = plan.batching.batch_size // plan.devices
    return step_costs(plan.spec.architecture, plan.patches.patch, batch, plan.precision, copies)


def say_costs(plan: Plan, listener: Listener) -> None:
    """Say how much memory a step takes, and what would fit where it is more than there is."""
    step, limit = costs(plan), memory.available_memory()
    of = f" of {gigabytes(limit)} available" if limit else ""
    listener.say(
        f"step: {step.flops / 1e9:.3g} GFLOP, about {gigabytes(step.memory)}{of} (weights and optimiser "
        f"{gigabytes(step.parameters)}, features {gigabytes(step.activations)})"
    )
    if limit and step.memory > limit:
        listener.say(f"memory: a step will hardly fit; {what_fits(plan, limit)}")


def refuse_hopeless(plan: Plan) -> None:
    """Raise `InputError` where a step takes several times the memory that there is."""
    limit = memory.available_memory()
    if limit and costs(plan).memory > _HOPELESS * limit:
        raise InputError(_out_of_memory(plan))


@contextmanager
def memory_in_words(plan: Plan) -> Iterator[None]:
    """Turn a backend's error into sizes and advice where memory runs out within.

    Raises:
        InputError: it did.
    """
    try:
        yield
    except Exception as error:
        if memory.is_out_of_memory(error):
            raise InputError(_out_of_memory(plan)) from error
        raise


def _out_of_memory(plan: Plan) -> str:
    step, limit = costs(plan), memory.available_memory()
    return (
        f"out of memory: expected room for a step of {plan.batching.batch_size} patches of {by(plan.patches.patch)}, about "
        f"{gigabytes(step.memory)}, found too little{f' ({gigabytes(limit)} in all)' if limit else ''}; "
        f"{what_fits(plan, min(limit or step.memory, step.memory))}."
    )


def what_fits(plan: Plan, limit: float) -> str:
    """Return the first smaller plan whose step takes less than three quarters of `limit`, as options."""
    for options, smaller in _smaller(plan):
        if costs(smaller).memory <= 0.75 * limit:
            return f"{options} would fit"
    return "no batch of one patch of this network would fit: use fewer `filters`"


def _smaller(plan: Plan) -> Iterator[tuple[str, Plan]]:
    batch = plan.batching.batch_size
    while batch > plan.devices:
        batch = max(batch // 2 // plan.devices, 1) * plan.devices
        plan = replace(plan, batching=replace(plan.batching, batch_size=batch))
        yield f"`batch_size={batch}`", plan
    patch, voxels = plan.patches.patch, prod(plan.patches.patch)
    while voxels > 8**3:
        voxels //= 2
        smaller = plan_patch(patch, plan.spec.spacing, plan.spec.geometry, voxels)
        if smaller != patch:
            patch = smaller
            options = f"`patch={' '.join(map(str, patch))}` `batch_size={batch}`"
            yield options, replace(plan, patches=replace(plan.patches, patch=patch))
