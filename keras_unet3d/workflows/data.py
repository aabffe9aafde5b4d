"""`open_data`: DATA opened, and one label table for all of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from keras_unet3d.datasets import (
    DataSet,
    Declared,
    Example,
    Globs,
    agreed,
    annotated_in,
    open_examples,
    parse_annotated,
)
from keras_unet3d.errors import InputError, expect, kind_of, refuse, shortened
from keras_unet3d.labels import (
    LabelTable,
    Survey,
    combined,
    doubtful_values,
    infer_unlabelled,
    not_annotated,
    parse_classes,
    parse_regions,
    propose_table,
    region_table,
    survey,
    table_faults,
    with_groups,
)
from keras_unet3d.listener import SILENT, Listener
from keras_unet3d.settings import DataOptions
from keras_unet3d.volumes import Volume
from keras_unet3d.words import by, plural


@dataclass(frozen=True)
class LabelledData:
    """Volumes with labels, and what the labels mean.

    Attributes:
        training: the examples to learn from, each an image with its labels and perhaps weights, read crop by crop.
        validation: those that were given for validation; empty where a part of `training` is to be held out.
        table: raw label values and names of the classes.
        options: how the files were read, and how much is to be held out.
        grey_values: how a `dataset.json` wants those of every channel normalised; empty where it says nothing special.
    """

    training: tuple[Example, ...]
    validation: tuple[Example, ...]
    table: LabelTable
    options: DataOptions
    grey_values: tuple[str, ...] = ()

    @property
    def examples(self) -> tuple[Example, ...]:
        """All examples."""
        return self.training + self.validation

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.table.num_classes

    @property
    def meanings(self) -> list[list[int]] | None:
        """What every label of `make_batches` says of every class, for loss and metrics; None where label n is class n."""
        return None if self.table.plain else self.table.meanings.tolist()

    def in_words(self) -> str:
        """Return what it is, for the user to recognise: volumes, pairs of files, classes."""
        first, count = self.training[0], len(self.training)
        image = first.image
        spacing = f", voxel {by(image.spacing, 'g')} {image.unit}" if image.spacing else ""
        lines = [
            f"data: {plural(count, 'volume')}, first {by(image.shape)} (z y x), "
            f"{plural(image.channels, 'channel')}{spacing}"
        ]
        if first.label.path != image.path:
            files = [(example.image.path, example.label.path) for example in self.training[:3]]
            pairs = ", ".join(f"{raw.name} + {label.name}" for raw, label in files if raw and label)
            lines.append(f"pairs: {pairs}{', ...' if count > 3 else ''}")
        partly = sum(example.annotated is not None for example in self.training)
        if partly:
            lines.append(f"annotated: some classes only in {partly} of {plural(count, 'volume')}")
        unlabelled = f"; unlabelled: {', '.join(map(str, self.table.unlabelled))}" if self.table.unlabelled else ""
        return "\n".join([*lines, f"classes: {self.table.shown()}{unlabelled}"])


def open_data(
    data: str | Path | Sequence[str | Path] = (),
    *,
    val: str | Path | Sequence[str | Path] = (),
    images: str | None = None,
    labels: str | None = None,
    weights: str | None = None,
    options: DataOptions = DataOptions(),
    listener: Listener = SILENT,
) -> LabelledData:
    """Open DATA as `fit` takes it, and settle what its labels mean; voxels are read later, crop by crop.

    Args:
        data: HDF5 or Zarr volumes, folders of them, folders with a `dataset.json`, or "sample"; one or several.
        val: further data, for validation.
        images, labels, weights: globs of image, label and weight files, instead of or beside `data`.
        options: names and axes in the files, and what label values mean; what is left open is inferred, and said.
        listener: is told what was inferred.

    Raises:
        InputError: a `ValueError`: a file that is missing or broken, labels that do not fit their image or that are in
            no table, a volume that is given twice.
    """
    expect("options", options, DataOptions)
    expect("listener", listener, Listener, "Listener(print) prints the lines")
    training = open_examples(listed(data), options.keys, Globs(images, labels, weights))
    validation = open_examples(listed(val), options.keys) if listed(val) else DataSet(examples=())
    refuse(twice([example.image for example in (*training.examples, *validation.examples)]))
    declared = agreed([training, validation])
    count, examples = len(training.examples), (*training.examples, *validation.examples)
    examples = tuple(labelled_examples(examples, declared, options))
    table = _label_table(examples, count, declared, options, listener)
    return LabelledData(examples[:count], examples[count:], table, options, declared.grey_values)


def labelled_examples(examples: Sequence[Example], declared: Declared, options: DataOptions) -> list[Example]:
    """Return the examples with what is said of their labels: which values were annotated, and what their channels mean.

    Raises:
        InputError: patterns that fit no file, or labels of other channels.
    """
    rules = annotated_in(declared.annotated | parse_annotated(options.annotated), examples)
    examples = [replace(example, annotated=values) for example, values in zip(examples, rules, strict=True)]
    regions = parse_regions(options.regions) if options.regions else declared.regions
    if regions and not all(regions.values()):
        masks = [combined(example.label, len(regions), options.unlabelled) for example in examples]
        examples = [replace(example, label=label) for example, label in zip(examples, masks, strict=True)]
    return examples


def listed(data: str | Path | Sequence[str | Path]) -> list[str | Path]:
    """Return one path or several as a list."""
    paths = [data] if isinstance(data, str | Path) else data
    if not isinstance(paths, list | tuple) or not all(isinstance(path, str | Path) and str(path) for path in paths):
        if hasattr(data, "dtype"):
            raise InputError(
                f"DATA: expected a path or a list of paths, found {kind_of(data)}; write arrays to a file, or give them to "
                "keras.Model.fit."
            )
        raise InputError(f"DATA: expected a path or a list of paths, found {shortened(repr(data))}.")
    return [*paths]


def twice(images: Sequence[Volume]) -> Iterator[str]:
    """Yield a sentence for every volume that occurs again: it would be weighted double, or validate itself."""
    seen = set()
    for image in images:
        # The path may be written in two ways; in HDF5 and Zarr the rest of the name is the data set.
        which = (image.path.resolve(), image.name.removeprefix(str(image.path))) if image.path else image.name
        if which in seen:
            yield f"{image.name}: expected every volume once, found it twice; leave one out."
        seen.add(which)


def other_channels(images: Sequence[Volume]) -> Iterator[str]:
    """Yield a sentence for every volume with other channels than most."""
    channels = [image.channels for image in images]
    usual = max(channels, key=channels.count, default=1)
    like = next((image.name for image in images if image.channels == usual), "")
    for image in images:
        if image.channels != usual:
            yield (
                f"{image.name}: expected {usual} channels like {like}, found {image.channels}; "
                "leave the file out, or check `axes`."
            )


def _label_table(
    examples: Sequence[Example], count: int, declared: Declared, options: DataOptions, listener: Listener
) -> LabelTable:
    """Return the label table of the training volumes, the first `count`; what validation holds must be in it."""
    surveys = [survey(example.label) for example in examples]
    table = proposed_table(surveys[:count], declared, options, listener)
    table = with_groups(table, [example.annotated for example in examples])
    refuse(table_faults(table, {held.name: held.counts for held in surveys}))
    for example, held in zip(examples, surveys, strict=True):
        refuse(not_annotated(example.label.name, held.counts, table, example.annotated))
    return table


def proposed_table(
    surveys: Sequence[Survey], declared: Declared, options: DataOptions, listener: Listener = SILENT
) -> LabelTable:
    """Return the table that the surveyed volumes and the declarations suggest, and say what was inferred.

    What the user declares wins over what the data set declares, which wins over the values that the volumes hold.
    """
    unlabelled = tuple(dict.fromkeys((*options.unlabelled, *declared.unlabelled)))
    if options.regions:
        return region_table(parse_regions(options.regions), (), unlabelled)
    if declared.regions and not options.classes:
        return region_table(declared.regions, declared.region_values, unlabelled)
    target = declared.target if declared.target and options.target == DataOptions.target else options.target
    names = parse_classes(options.classes) if options.classes else declared.label_names
    if not (names or unlabelled or options.num_classes or target != "semantic"):
        unlabelled, why = infer_unlabelled(surveys)
        if unlabelled:
            listener.say(f"unlabelled: {unlabelled[0]}, {why} (if that is wrong, declare the values by `classes`)")
    counts = {held.name: held.counts for held in surveys}
    table = propose_table(counts, options.num_classes, unlabelled, target, names, options.background)
    for doubt in () if names else doubtful_values(surveys, table):
        listener.say(doubt)
    return table
