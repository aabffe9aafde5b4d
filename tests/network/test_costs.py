"""What a step costs, counted by hand, and what is said where memory is short."""

from dataclasses import replace

import numpy as np
import pytest

from keras_unet3d import DataOptions, FitSettings
from keras_unet3d.datasets import Example
from keras_unet3d.errors import InputError
from keras_unet3d.labels import LabelTable
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.machine import memory as host_memory
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.network.costs import step_costs
from keras_unet3d.volumes import from_array
from keras_unet3d.workflows.data import LabelledData
from keras_unet3d.workflows.fit import memory
from keras_unet3d.workflows.fit.plan import make_plan

TINY = Architecture((None, None, None, 1), num_classes=2, filters=(2, 4), depth=2, seed=0)
VOXELS, COARSE = 8**3, 4**3


def test_operations_by_hand():
    costs = step_costs(TINY, (8, 8, 8), 1, "float32")
    first = 2 * 27 * 1 * 2 * VOXELS
    others = 2 * VOXELS * (27 * 2 * 2 + 27 * 4 * 2 + 27 * 2 * 2 + 2 * 2) + 2 * COARSE * (27 * 2 * 4 + 27 * 4 * 4)
    # Up-convolution: every coarse voxel, 4 channels in, 2 out, 8 voxels of the kernel.
    others += 2 * COARSE * 8 * 4 * 2
    assert costs.forward == first + others
    # Backward: as much for the weights, and as much for the input, which the first one has not.
    assert costs.flops == 3 * (first + others) - first


def test_memory_by_hand():
    costs = step_costs(TINY, (8, 8, 8), 1, "float32")
    from keras_unet3d.network.unet import build

    assert costs.parameters == 16 * build(TINY).count_params()
    # Convolutions and ReLUs, up-convolution, concatenation, logits; pooling; the bottom.
    fine = VOXELS * (2 * 4 * 2 + 2 + 4 + 2)
    coarse = COARSE * (2 + 2 * 2 * 4)
    assert costs.activations == 4 * (fine + coarse + 4 * 4 * VOXELS)
    half = step_costs(TINY, (8, 8, 8), 1, "mixed_bfloat16")
    assert half.activations == costs.activations // 2 and half.parameters == costs.parameters
    assert step_costs(TINY, (8, 8, 8), 3, "float32").activations == 3 * costs.activations


SETTINGS = FitSettings(patch=(64, 64, 64), batch_size=4, devices=1, precision="float32", ema=0.0)


def a_plan():
    """Return the plan of a fit of the tiny network."""
    example = Example("a", from_array(np.zeros((64, 64, 64), np.float32)), from_array(np.zeros((64, 64, 64), np.uint8)))
    data = LabelledData((example,), (), LabelTable((0, 1), ("a", "b")), DataOptions())
    return make_plan(data, SETTINGS, TINY)


def test_says_what_fits(monkeypatch):
    plan = a_plan()
    assert memory.costs(plan) == step_costs(TINY, (64, 64, 64), 4, "float32")
    step = memory.costs(plan).memory
    assert memory.what_fits(plan, step * 0.8) == "`batch_size=2` would fit"
    # A batch of one takes 1/4 of the step, and one of 40^3 about (40/64)^3 of that.
    assert memory.what_fits(plan, step / 10) == "`patch=40 40 40` `batch_size=1` would fit"
    assert "use fewer `filters`" in memory.what_fits(plan, 1000)
    said = []
    monkeypatch.setattr(host_memory, "available_memory", lambda: step // 2)
    memory.say_costs(plan, Listener(said.append))
    assert said[0].startswith("step: ") and "available" in said[0]
    assert said[1] == "memory: a step will hardly fit; `batch_size=1` would fit"
    monkeypatch.setattr(host_memory, "available_memory", lambda: None)
    memory.say_costs(plan, Listener(said.append))
    assert len(said) == 3 and "available" not in said[2]


@pytest.mark.parametrize(
    ("error", "out_of_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes"), True),
        (type("ResourceExhaustedError", (Exception,), {})("OOM when allocating tensor"), True),
        (RuntimeError("something else"), False),
    ],
)
def test_knows_that_memory_ran_out(error, out_of_memory):
    assert host_memory.is_out_of_memory(error) is out_of_memory


def test_a_fit_that_runs_out_of_memory_says_the_sizes(tiny_data, tmp_path, monkeypatch):
    from helpers import tiny_settings

    from keras_unet3d.workflows.fit import run

    def exhausted(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(run, "train", exhausted)
    with pytest.raises(
        InputError, match=r"out of memory: expected room for a step of 2 patches of 8 x 8 x 8, about .* would fit"
    ):
        run.fit(tiny_data, tmp_path / "run", settings=replace(tiny_settings(), batch_size=2), listener=SILENT)
