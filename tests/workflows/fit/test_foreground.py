"""Grey values as a fit is asked to normalise them: per channel, by the foreground ("ct"), and as a dataset.json says."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from bioimageio.spec.model.v0_5 import ClipDescr, ScaleLinearDescr
from helpers import a_plan, says, tiny_settings, write_pair

from keras_unet3d import AugmentationOptions, DataOptions, FitSettings, Teacher, fit, make_batches, open_data, zoo
from keras_unet3d.choices import ASKED_GREY_VALUES
from keras_unet3d.datasets import Example, open_examples
from keras_unet3d.errors import InputError
from keras_unet3d.labels import LabelTable
from keras_unet3d.listener import Listener
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.patches.source import read_source
from keras_unet3d.run_folder import RunFolder
from keras_unet3d.volumes import Volume, from_array
from keras_unet3d.volumes.grey_values import Rescaling, in_words, measure, normalize
from keras_unet3d.workflows.fit.grey_values import ASKED, clipped, normalization_of, of_foreground, settled_on
from keras_unet3d.workflows.fit.plan import make_plan
from keras_unet3d.workflows.fit.teacher import taught_plan
from keras_unet3d.zoo.bioimageio import _preprocessing, can_describe
from keras_unet3d.zoo.serving import _normalized

TABLE = LabelTable((0, 1), ("background", "organ"), (9,))
# Of the values 0 to 200 each once: percentiles 0.5 and 99.5, mean, and deviation sqrt((201 ** 2 - 1) / 12).
LOW, HIGH, MEAN, STD = 1.0, 199.0, 100.0, 3366.6666666666665**0.5


def source(grey, labels, number=0, table=TABLE):
    grey, labels = (np.asarray(array).reshape(1, 1, -1, *np.shape(array)[1:]) for array in (grey, labels))
    return read_source(Example(f"volume {number}", from_array(grey), from_array(labels)), table)


def two_sources(channels=()):
    """Return the values 0 to 200 as foreground of two volumes; 5000 is background, and -5000 unlabelled."""
    first, second = np.r_[np.arange(100), 5000, -5000], np.r_[np.arange(100, 201), 5000, -5000]
    return [
        source(
            np.stack([grey, *(grey * 0 + np.arange(len(grey)) for _ in channels)], -1), [1] * (len(grey) - 2) + [0, 9]
        )
        for grey in (first, second)
    ]


def test_ct_by_hand():
    how = of_foreground("ct", two_sources(), TABLE)
    assert (how.by, how.low, how.high, how.clip) == ("values", LOW, HIGH, True)
    assert how.to == pytest.approx(((LOW - MEAN) / STD, (HIGH - MEAN) / STD))
    voxels = np.array([-1000.0, 1, 100, 158.02298395221747, 199, 3000]).reshape(1, 1, 6, 1)
    scaled = normalize(voxels, measure(from_array(voxels), how), how).ravel()
    np.testing.assert_allclose(scaled, [-99 / STD, -99 / STD, 0, 1, 99 / STD, 99 / STD], atol=1e-6)
    assert in_words(how) == "1 and 199 become -1.70622 and 1.70622, and nothing is beyond these"


def test_ct_of_blocks_is_that_of_all_voxels_at_once():
    rng = np.random.default_rng(0)
    grey, labels = rng.normal(40, 300, (130, 140, 20)).astype(np.int16), rng.integers(0, 2, (130, 140, 20))
    how = of_foreground("ct", [source(grey.ravel(), labels.ravel())], TABLE)
    inside = grey[labels == 1].astype(float)
    low, high = np.percentile(inside, [0.5, 99.5])
    np.testing.assert_allclose([how.low, how.high], [low, high])
    np.testing.assert_allclose(how.to, (np.array([low, high]) - inside.mean()) / inside.std(), rtol=1e-9)


def test_memory_does_not_grow_with_the_volume():
    def peak(blocks):
        shape = (32, 128, 128 * blocks)

        def read(of, box):
            rng = np.random.default_rng(box[2].start)
            return rng.integers(0, of, (*(part.stop - part.start for part in box), 1)).astype(np.int16)

        image, classes = (
            Volume("made", shape, 1, np.dtype(np.int16), lambda box, of=of: read(of, box)) for of in (1000, 2)
        )
        made = replace(two_sources()[0], image=image, classes=classes)
        tracemalloc.start()
        of_foreground("ct", [made], TABLE)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(12) < 1.2 * peak(5)


@pytest.mark.parametrize("target, expected", [("cells", (1.0, 2.0)), ("boundaries", (0.0, 2.0))])
def test_the_foreground_of_instances(target, expected):
    table = LabelTable(
        (0, 1, 2)[: 3 if target == "cells" else 2], ("a", "b", "c")[: 3 if target == "cells" else 2], target=target
    )
    held = source([0.0, 1.0, 2.0, 1.0], [0, 1, 1, 1], table=table)
    how = of_foreground("ct", [held], table)
    inside = [1, 2, 1] if target == "cells" else [0, 1, 2, 1]
    np.testing.assert_allclose((how.low, how.high), np.percentile(inside, [0.5, 99.5]), rtol=1e-6)


def test_every_channel_by_itself():
    how = of_foreground("ct,percentile", two_sources([1]), TABLE)
    assert how[0].low == LOW and how[1] == ASKED["percentile"]
    array = np.random.default_rng(0).normal(100, 50, (3, 4, 5, 2))
    voxels = normalize(array, measure(from_array(array), how), how)
    for number, one in enumerate(how):
        alone = array[..., number : number + 1]
        np.testing.assert_array_equal(voxels[..., [number]], normalize(alone, measure(from_array(alone), one), one))
    np.testing.assert_allclose(_normalized(array[None], how)[0], voxels, atol=2e-6)
    low, high = np.percentile(array[..., 1].astype(np.float32), [1, 99.8])
    np.testing.assert_allclose((voxels[..., 1] + 2) / 4, (array[..., 1] - low) / (high - low), atol=1e-5)
    assert in_words(how).startswith(
        "channel 0: 1 and 199 become -1.7"
    ) and "; channel 1: percentiles 1 and 99.8" in in_words(how)


def test_words_that_are_alike_are_one_for_all():
    assert normalization_of("zscore,zscore", 2) == normalization_of("zscore", 2) == "zscore"
    assert normalization_of("percentile", 3) == ASKED["percentile"]
    assert normalization_of("none,zscore", 2) == ("none", "zscore")
    assert tuple(ASKED) == ASKED_GREY_VALUES


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "ctt",
            (
                "grey_values: expected one of zscore, percentile, ct, sections, none",
                "found 'ctt'",
                "Did you mean 'ct'?",
            ),
        ),
        ("ct,", ("or one per channel, like ct,none; found ''",)),
        ("ct,sections", ("expected sections for all channels or for none, found 'ct,sections'",)),
    ],
)
def test_other_words_are_refused(text, words):
    with pytest.raises(InputError, match=says(*words)):
        FitSettings(grey_values=text)


def test_another_number_of_words_than_channels_is_refused():
    with pytest.raises(InputError, match=says("expected one word, or one for each of 3 channels; found 'ct,none'")):
        normalization_of("ct,none", 3)


def test_a_foreground_that_says_nothing_is_refused():
    with pytest.raises(InputError, match=says("expected labelled foreground for ct, found none")):
        of_foreground("ct", [source([1.0, 2.0], [0, 9])], TABLE)
    with pytest.raises(InputError, match=says("expected foreground of several grey values for ct", "any but 3;")):
        clipped(lambda: [np.full((5, 1), 3.0)])


def spec_of(how, channels):
    architecture = Architecture(input_shape=(None, None, None, channels), base_filters=1, depth=1)
    return ModelSpec(architecture, LabelTable((0, 1), ("a", "b")), how, (8, 8, 8))


@pytest.mark.parametrize("text, channels", [("ct", 1), ("ct,percentile", 2), ("none,zscore", 2)])
def test_a_specification_is_kept_and_read(text, channels):
    sources = two_sources([1] * (channels - 1))
    spec = spec_of(of_foreground(text, sources, TABLE), channels)
    again = ModelSpec.from_config(json.loads(json.dumps(spec.config())), "config.json")
    assert again == spec and again.normalization == spec.normalization


@pytest.mark.parametrize("how", [("zscore",), ("zscore", "sections"), ("zscore", "ct")])
def test_a_specification_of_other_channels_is_refused(how):
    with pytest.raises(
        InputError, match=says("normalization: expected one for all channels", f"found {len(how)}: zscore")
    ):
        spec_of(how, 2)


@pytest.mark.parametrize("text", ["ct", "ct,ct"])
def test_the_steps_of_bioimage_io_do_the_same(text):
    channels = len(text.split(","))
    how = of_foreground(text, two_sources([1] * (channels - 1)), TABLE)
    array = np.random.default_rng(0).normal(100, 80, (3, 4, 5, channels))
    kinds, found = {"scale_linear": ScaleLinearDescr, "clip": ClipDescr}, array
    for step in _preprocessing(how):
        given = kinds[step["id"]](**step).kwargs
        is_clip = step["id"] == "clip"
        found = np.clip(found, given.min, given.max) if is_clip else found * given.gain + given.offset
    np.testing.assert_allclose(found, normalize(array, measure(from_array(array), how), how), atol=1e-6)
    assert can_describe(how) and not can_describe((ASKED["ct"], "none")) and can_describe("zscore")


# ---- what a dataset.json says ---------------------------------------------------------------------


def described(folder, channels, nnunet=False, **more):
    """Write a data set of two volumes, in the layout of the Decathlon or of nnU-Net."""
    import nibabel

    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    labels, pairs = np.zeros((16, 16, 16), np.uint8), []
    labels[:, 8:] = 1
    for seed in range(2):
        grey = (
            np.random.default_rng(seed).normal(0, 100, (16, 16, 16, len(channels))).astype(np.float32)
            + 50 * labels[..., None]
        )
        nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), folder / "labelsTr" / f"c{seed}.nii")
        if nnunet:
            for number in range(len(channels)):
                nibabel.save(
                    nibabel.Nifti1Image(grey[..., number], np.eye(4)), folder / "imagesTr" / f"c{seed}_{number:04d}.nii"
                )
        else:
            nibabel.save(nibabel.Nifti1Image(grey.squeeze(), np.eye(4)), folder / "imagesTr" / f"c{seed}.nii")
        pairs.append({"image": f"imagesTr/c{seed}.nii", "label": f"labelsTr/c{seed}.nii"})
    listed = {str(number): name for number, name in enumerate(channels)}
    if nnunet:
        content = {"channel_names": listed, "file_ending": ".nii", "labels": {"background": 0, "organ": 1}}
    else:
        content = {"modality": listed, "training": pairs, "labels": {"0": "background", "1": "organ"}}
    (folder / "dataset.json").write_text(json.dumps(content | more))
    return folder


@pytest.mark.parametrize(
    "channels, nnunet, expected",
    [
        (["CT"], False, ("ct",)),
        (["MRI"], False, ()),
        (["CT", "noNorm", "zscore", "rescale_to_0_1"], True, ("ct", "none", "zscore", "percentile")),
        (["T2", "zscore"], True, ()),
    ],
)
def test_the_modality_of_a_dataset_json(tmp_path, channels, nnunet, expected):
    folder = described(tmp_path / "data", channels, nnunet)
    assert open_data(folder).grey_values == open_examples([folder]).grey_values == expected


def test_data_sets_that_do_not_agree_say_nothing(tmp_path):
    ct, mri = (described(tmp_path / name, [name]) for name in ("CT", "noNorm"))
    assert open_data([ct, mri]).grey_values == ()


def tiny(**changes):
    return tiny_settings(**{"unlabelled": (), "base_filters": 1, "depth": 1} | changes)


def test_a_ct_from_its_modality_to_its_bundle(tmp_path):
    """Training, prediction, resuming and the card all have the numbers of the foreground of all volumes."""
    folder, out, said = described(tmp_path / "data", ["CT"]), tmp_path / "run", []
    fit(folder, out, settings=tiny(), listener=Listener(said.append))
    (line,) = [line for line in said if line.startswith("grey values")]
    assert line.startswith("grey values: ct, as dataset.json says (`grey_values=zscore` would not): ")
    how = RunFolder(out).read_config().model.normalization
    assert line.endswith(in_words(how))
    held = open_data(folder).training
    inside = np.concatenate([example.image.array()[example.label.array() == 1] for example in held])
    low, high = np.percentile(inside, [0.5, 99.5])
    assert (how.low, how.high) == pytest.approx((low, high), rel=1e-6)
    assert how.to == pytest.approx(
        ((low - inside.mean()) / inside.std(), (high - inside.mean()) / inside.std()), rel=1e-5
    )
    predictor = zoo.predictor(out)
    assert predictor.spec.normalization == how
    array = held[0].image.array()
    np.testing.assert_array_equal(measure(held[0].image, how).mean, predictor.examine(held[0].image).mean)
    goes_on = fit([], out, settings=FitSettings(epochs=2), resume=True)
    assert len(goes_on.history["loss"]) == 2
    bundle = zoo.export_run(out, {"name": "tiny-ct"}, tmp_path, complete=False)
    card = zoo.card(str(bundle))
    assert card.spec.normalization == how
    written = json.loads((bundle / "metadata.json").read_text())
    assert written["preprocessing"] == [
        {"name": json.loads(json.dumps(how.config())), "over": "volume", "per": "channel"}
    ]
    np.testing.assert_array_equal(zoo.predictor(bundle)(array), predictor(array))


def test_what_the_user_says_wins_over_a_dataset_json(tmp_path):
    folder = described(tmp_path / "data", ["CT"])
    data = open_data(folder)
    for asked, decided in ((None, "ct"), ("zscore", "zscore"), ("percentile", "percentile")):
        assert make_plan(data, tiny(grey_values=asked)).settings.grey_values == decided


def test_batches_of_a_list(tmp_path):
    path = write_pair(tmp_path / "a.h5", raw=np.random.default_rng(0).normal(500, 10, (16, 16, 16, 2)))
    data = open_data(path, options=DataOptions(unlabelled=(9,), axes="zyxc", classes="0=background,5=organ"))
    training, _ = make_batches(
        data, (8, 8, 8), 1, grey_values="none,ct", workers=1, augmentation=AugmentationOptions(augment=False)
    )
    x = next(iter(training))[0].numpy()
    assert x[..., 0].mean() > 400 and abs(x[..., 1].mean()) < 1


def test_a_network_learns_with_the_grey_values_of_its_teacher():
    plan, how = a_plan(), Rescaling("values", -100, 300, (-2.0, 2.0), clip=True)
    teacher = Teacher(None, replace(plan.spec, normalization=how), "a teacher")
    taught = taught_plan(plan, teacher, tiny_settings())
    assert taught.spec.normalization == taught.patches.normalization == how and taught.settings.grey_values is None
    assert taught_plan(plan, teacher, tiny_settings(grey_values="zscore")) is plan


def test_all_that_may_be_trained_on_says_what_ct_is():
    sources = two_sources()
    again, how = settled_on(sources, 1, "ct", TABLE)
    assert how == of_foreground("ct", sources[:1], TABLE) and len(again) == 2
    np.testing.assert_allclose(again[1].statistics.mean, measure(sources[1].image, how).mean)
