"""Stacks of sections: told from voxel size and grey values, and treated as such from training to prediction."""

from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from helpers import says, tiny_settings

from keras_unet3d import FitSettings, fit, zoo
from keras_unet3d.datasets import Example
from keras_unet3d.datasets.phantom import phantom
from keras_unet3d.datasets.sections import SPACING, serial_sections
from keras_unet3d.errors import InputError
from keras_unet3d.labels import LabelTable
from keras_unet3d.patches.samples import validation_positions, validation_sample
from keras_unet3d.prediction.predictor import PlainFunction, Predictor
from keras_unet3d.run_folder import RunFolder
from keras_unet3d.settings import AugmentationOptions, PredictSettings
from keras_unet3d.volumes import from_array
from keras_unet3d.workflows.data import LabelledData
from keras_unet3d.workflows.fit.plan import changes_in_words, make_plan, sections_in_words, sections_of
from keras_unet3d.workflows.fit.resume import resumed_settings
from keras_unet3d.workflows.fit.sections import is_stack, jump, sections_differ
from keras_unet3d.workflows.fit.sources import read_sources

SHAPE = (12, 96, 96)


@pytest.fixture(scope="module")
def stack():
    return serial_sections(0, SHAPE)


def volume(array, spacing=SPACING, unit="um"):
    return from_array(array, spacing=spacing, unit=unit)


def alike(image):
    """Return the sections with one mean and deviation."""
    grey = image.astype(np.float32)
    return (grey - grey.mean((1, 2), keepdims=True)) / grey.std((1, 2), keepdims=True)


@pytest.mark.parametrize(
    ("spacing", "unit", "expected"),
    [
        (SPACING, "um", True),
        ((50, 4.6, 4.6), "nm", True),
        ((4.0, 1.0, 1.0), "um", True),
        ((3.9, 1.0, 1.0), "um", False),  # optical sections
        ((0.0046, 0.05, 0.0046), "um", False),  # long along another axis
        ((6.0, 1.0, 1.0), "mm", False),  # of a patient, who has a left and a right
        ((50.0, 4.6, 4.6), None, False),
        (None, None, False),
    ],
)
def test_a_stack_of_sections_is_told_by_its_voxels(spacing, unit, expected):
    assert is_stack([from_array(np.zeros((4, 4, 4)), spacing=spacing, unit=unit)]) is expected


def test_all_volumes_are_stacks_or_none_is():
    images = [volume(np.zeros((4, 4, 4))), volume(np.zeros((4, 4, 4)), (1, 1, 1))]
    assert not is_stack(images) and is_stack(images[:1])


def test_the_jump_by_hand():
    # Deviation 1 and means 0, 0, 3: the middle plane is 1.5 off the middle of its neighbours.
    plane = np.array([[-1.0, 1.0]])
    voxels = np.stack([plane, plane, plane + 3])[..., None]
    assert jump(voxels, 0, 1) == pytest.approx(1.5 / voxels.std())
    # Deviations 1, 1, e: its logarithm is half off.
    voxels = np.stack([plane, plane, np.e * plane])[..., None]
    assert jump(voxels, 0, 1) == pytest.approx(0.5)
    assert jump(voxels, 0, 2) == 0, "nothing lies two planes before and after one of three"


def test_sections_that_differ_are_told_from_those_that_do_not(stack):
    assert sections_differ([volume(stack.image)])
    assert not sections_differ([volume(alike(stack.image))])
    assert sections_differ([volume(alike(stack.image)), volume(stack.image)])
    sample = phantom()
    assert not sections_differ([volume(sample.image, sample.spacing)])
    assert not sections_differ([volume(stack.image[:2])])


def labelled(stack, spacing=SPACING, image=None):
    image = stack.image if image is None else image
    example = Example("stack", volume(image, spacing), from_array(stack.sparse))
    return LabelledData((example,), (), LabelTable((0, 1), ("a", "b"), (2,)), tiny_settings())


def planned(data, **changes):
    return make_plan(
        data, tiny_settings(**{"augment": True, "patch": None, "depth": None, "base_filters": None} | changes)
    )


def test_a_stack_is_planned_as_one_and_it_is_said(stack):
    plan = planned(labelled(stack))
    changes = plan.patches.augment
    assert (changes.in_plane, changes.by_section, changes.rotation, changes.flips) == (True, True, 180, (0, 1, 2))
    assert plan.spec.normalization == plan.patches.normalization == plan.settings.grey_values == "sections"
    assert plan.patches.anywhere == (0,)
    (line,) = sections_in_words(plan)
    assert line.startswith("sections: a stack of them")
    assert "their grey values differ: they are normalised one by one" in line
    assert changes_in_words(plan.settings, plan.spec).endswith(
        ", within the sections, grey values section by section, mirrored along zyx"
    )
    # Convolution and pooling within the sections, until their voxels are as long as those along z.
    architecture = plan.spec.architecture
    assert architecture.kernel_sizes == ((1, 3, 3),) * 3 + ((3, 3, 3),)
    assert architecture.pool_sizes == ((1, 2, 2),) * 3
    # What was decided is kept, and decides alike.
    again = make_plan(labelled(stack), FitSettings.from_config(plan.settings.config(), "config.json"))
    assert (again.patches, again.spec.normalization) == (plan.patches, "sections")


def test_other_volumes_are_planned_as_before(stack):
    plan = planned(labelled(stack, (0.01, 0.005, 0.005)))
    changes = plan.patches.augment
    assert (changes.in_plane, changes.by_section, changes.rotation, changes.flips) == (False, False, 15, ())
    assert (plan.spec.normalization, plan.patches.anywhere) == ("zscore", ())
    assert not [*sections_in_words(plan)]


def test_sections_that_are_alike_keep_the_statistics_of_the_volume(stack):
    plan = planned(labelled(stack, image=alike(stack.image)))
    assert (plan.spec.normalization, plan.patches.augment.by_section) == ("zscore", False)
    assert plan.patches.augment.in_plane
    assert "their grey values are alike (`grey_values=zscore`)" in next(sections_in_words(plan))


def test_what_the_user_says_wins(stack):
    plan = planned(labelled(stack), rotation=10.0, flips="", grey_values="zscore")
    changes = plan.patches.augment
    assert (changes.in_plane, changes.by_section, changes.rotation, changes.flips) == (True, False, 10, ())
    assert plan.spec.normalization == "zscore"
    assert planned(labelled(stack), sections="no").patches.augment.in_plane is False
    plan = planned(labelled(stack, (1, 1, 1)), sections="yes")
    assert plan.patches.augment.in_plane and plan.spec.normalization == "sections"
    assert sections_of([volume(stack.image, (1, 1, 1))], AugmentationOptions(), "sections") == (False, "sections")


def test_training_and_prediction_see_the_same_grey_values(stack):
    data = labelled(stack)
    plan = planned(data, patch=(4, 16, 16), depth=1, base_filters=1)
    (source,) = read_sources(data.examples, data.table, 1.0, normalization=plan.spec.normalization)
    expected = alike(stack.image)
    for position in validation_positions([source], plan.unchanged_patches, 3):
        start = position[1]
        x, _, _ = validation_sample([source], plan.unchanged_patches, position)
        box = tuple(slice(int(a), int(a) + n) for a, n in zip(start, (4, 16, 16), strict=True))
        np.testing.assert_allclose(x[..., 0], expected[box], atol=1e-4)
    # Whatever tiles a prediction has, they are of planes with statistics of their own.
    predictor = Predictor(lambda batch: batch, PlainFunction(normalization="sections"))
    found = predictor.predict(volume(stack.image), "probabilities", PredictSettings(tile=(5, 40, 40)))
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-4)


def test_no_tile_is_skipped_by_a_grey_value_that_means_another_in_every_section(stack):
    predictor = Predictor(lambda batch: batch, PlainFunction(normalization="sections"))
    with pytest.raises(InputError, match=says("skip_below: expected none", "section by section", "found 50")):
        predictor.predict(volume(stack.image), "probabilities", PredictSettings(skip_below=50.0))


@pytest.mark.long
def test_a_stack_of_sections_is_learnt_from_four_of_twenty_the_last_one_too(tmp_path):
    # benchmarks/sections.py measures what each choice brings; before there were any the last section was lost (0.05).
    stack = serial_sections(0, (20, 256, 256))
    with h5py.File(tmp_path / "stack.h5", "w") as file:
        for key, array in (("raw", stack.image), ("label", stack.sparse)):
            file.create_dataset(key, data=array).attrs["element_size_um"] = SPACING
    settings = FitSettings(filters="8,16,32,64", patch=(10, 64, 64), epochs=5, steps_per_epoch=100, unlabelled=(2,))
    run = fit(tmp_path / "stack.h5", tmp_path / "run", settings=settings)
    predicted = zoo.predictor(run.path)(stack.image) == 1
    truth = stack.truth == 1
    overlaps = [(predicted[z] & truth[z]).sum() / (predicted[z] | truth[z]).sum() for z in range(20)]
    left = [z for z in range(20) if (stack.sparse[z] == 2).all()]
    assert (predicted[left] & truth[left]).sum() / (predicted[left] | truth[left]).sum() > 0.5
    # Measured: 0.21, of section 0, which has few mitochondria; as any volume it is 0.03 to 0.05, of the last one.
    assert min(overlaps) > 0.1


def test_a_run_of_an_earlier_version_goes_on_as_it_began(stack):
    began = planned(labelled(stack), sections="no", grey_values="zscore")
    settings = began.settings.config()
    assert settings.pop("sections") == "no" and settings.pop("grey_values") == "zscore"
    before = SimpleNamespace(settings=settings, model=began.spec)
    resumed = resumed_settings(RunFolder(Path("run")), before, FitSettings())
    assert make_plan(labelled(stack), resumed).patches == began.patches
