"""`make_batches`: what `fit` feeds its network, for a training loop of one's own."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from keras_unet3d.errors import InputError, expect, list_faults, refuse
from keras_unet3d.fields import argument
from keras_unet3d.geometry import Triple
from keras_unet3d.patches.batches import Batching, training_batches, validation_batches
from keras_unet3d.patches.holdout import hold_out
from keras_unet3d.patches.samples import PatchSettings, Transform, validation_positions
from keras_unet3d.settings import AugmentationOptions, FitSettings
from keras_unet3d.workflows.data import LabelledData, other_channels
from keras_unet3d.workflows.fit.grey_values import normalization_of, settled_on
from keras_unet3d.workflows.fit.plan import anywhere_of, changes_of, common_spacing, sections_of, worker_count
from keras_unet3d.workflows.fit.sources import bordered, read_sources

_VALIDATION_PATCHES = 32


def make_batches(
    data: LabelledData,
    patch: Triple,
    batch_size: int = 2,
    *,
    output: Triple | None = None,
    validation_share: float | None = None,
    augmentation: AugmentationOptions = AugmentationOptions(),
    sampling: str = "classes",
    grey_values: str | None = None,
    border_weight: float = 0.0,
    border_sigma: float = 5.0,
    transforms: Sequence[Transform] = (),
    seed: int = 0,
    workers: int | None = None,
    memory: float = 1.0,
) -> tuple[Any, Any]:
    """Return the batches to train on and those to validate on, as `fit` makes them.

    A batch is x `(batch, z, y, x, channels)` float32 of normalised grey values, y `(batch, z, y, x)` int32 and the sample
    weights w float32 of the same shape, 0 where nobody labelled. On the TensorFlow backend both are a `tf.data.Dataset`,
    on any other a `keras.utils.PyDataset`. The training has no end: give `steps_per_epoch`.

    Args:
        data: what `open_data` returned.
        patch: size (z, y, x) of the network's input.
        batch_size: patches per batch.
        output: size of its output, where that is smaller ("valid" padding); the labels have it.
        validation_share: how much is held out where `data` has no validation of its own, 0 for nothing; None takes the share
            that `data` was opened with.
        augmentation: how training patches are changed; `engine` "auto" is the native one here.
        sampling: where patches are taken, every class alike often ("classes") or every labelled voxel ("voxels").
        grey_values: how they are normalised, "zscore", "percentile", "ct", "sections" or "none", or one per channel, like
            "ct,none"; None as `fit` would.
        border_weight, border_sigma: what is added to the weight of voxels between instances, as in the 2D U-Net; 0 for none.
        transforms: what is done to every training sample last: functions of x `(z, y, x, channels)` float32, y int32 and w
            float32 `(z, y, x)`, and a NumPy generator, that return x, y and w in the same shapes.
        seed: of holdout and samples: the same seed makes the same batches, for any number of workers.
        workers: threads that make samples; None for one per core.
        memory: volumes are held in memory up to so many GB; others are read crop by crop.

    Raises:
        InputError: a `ValueError`: sizes that are no patch, broken volumes, or too few annotations to hold some out.
    """
    expect("data", data, LabelledData, "give what open_data returned")
    expect("augmentation", augmentation, AugmentationOptions)
    refuse(list_faults("transforms", transforms, callable))
    # The options of `fit` know what may be given, and say it.
    options = FitSettings(
        patch=patch,
        batch_size=batch_size,
        sampling=sampling,
        grey_values=grey_values,
        border_weight=border_weight,
        border_sigma=border_sigma,
        validation_share=data.options.validation_share if validation_share is None else validation_share,
        fold=data.options.fold if validation_share is None else None,
        seed=seed,
        workers=workers,
        memory=memory,
    )
    # What `fit` would choose is to be given here.
    patch, batch_size = argument("patch", Triple, options.patch), argument("batch_size", int, options.batch_size)
    seen = argument("output", Triple | None, output) or patch
    if any(o < 1 or o > p or (p - o) % 2 for p, o in zip(patch, seen, strict=True)):
        raise InputError(
            f"output: expected the patch {patch} less the same number of voxels on both sides, found {seen}."
        )
    if augmentation.augment_on == "device":
        raise InputError("augment_on: expected host, found device: the batches would not be x, y and w.")
    images = [example.image for example in data.examples]
    refuse(other_channels(images))
    stack, words = sections_of(images, augmentation, options.grey_values, data.grey_values)
    normalization = normalization_of(words, images[0].channels)
    augmentation = augmentation.as_stack(stack, data.table.of_instances)
    settings = PatchSettings(
        patch,
        seen,
        normalization,
        changes_of(patch, common_spacing(images)[0], augmentation, normalization),
        sampling=options.sampling,
        engine="native" if augmentation.engine == "auto" else augmentation.engine,
        transforms=tuple(transforms),
        anywhere=anywhere_of(stack),
    )
    batching = Batching(batch_size, worker_count(options.workers), options.seed)
    examples = [*bordered(data.training, data.table, options), *data.validation]
    sources = read_sources(examples, data.table, options.memory, normalization=normalization)
    count = len(data.training)
    sources, normalization = settled_on(sources, count, words, data.table)
    settings = replace(settings, normalization=normalization)
    holdout = hold_out(sources[:count], sources[count:], options.validation_share, options.seed, options.held_fold)
    positions = validation_positions(holdout.validation, settings, _VALIDATION_PATCHES)
    return (
        training_batches(holdout.training, settings, batching),
        validation_batches(holdout.validation, settings, batching, positions),
    )
