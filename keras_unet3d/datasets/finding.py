"""From the words of DATA to cases, and from cases to opened examples."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from keras_unet3d.choices import TARGETS
from keras_unet3d.datasets.cells import UNLABELLED as NOT_PAINTED
from keras_unet3d.datasets.cells import touching_cells
from keras_unet3d.datasets.described import DESCRIPTION, find_described
from keras_unet3d.datasets.example import Case, DataKeys, DataSet, Declared, Example, Found, on_voxels_of, open_labels
from keras_unet3d.datasets.pairing import Globs, find_pairs
from keras_unet3d.datasets.phantom import NAMES, UNLABELLED, Phantom, phantom
from keras_unet3d.errors import InputError, refuse
from keras_unet3d.places import Place, Url, place
from keras_unet3d.volumes import (
    FORMATS,
    SEVERAL,
    MissingKey,
    Volume,
    file_and_key,
    from_array,
    is_volume_name,
    open_inside,
    open_volume,
    volume_format,
)
from keras_unet3d.words import some

SAMPLE, CELLS = "sample", "cells"


def open_examples(data: Sequence[str | Path], keys: DataKeys = DataKeys(), globs: Globs = Globs()) -> DataSet:
    """Open every volume that `data` or `globs` names.

    Args:
        data: HDF5 or Zarr volumes, URLs of Zarr, folders of them, folders with a `dataset.json` (Medical Segmentation Decathlon or
            nnU-Net layout), or a word of `EMBEDDED`.
        keys: names and axes in the files.
        globs: patterns of other files.

    Raises:
        InputError: anything missing, unreadable, or that does not fit together; the first of all faults.
    """
    sources = [find_data(path, keys) for path in data]
    if globs:
        sources.append(find_pairs(globs, keys))
    whole = joined(sources)
    refuse(whole.faults)
    return DataSet(examples=tuple(case.opened() for case in whole.cases), **vars(whole.declared()))


def joined(sources: Sequence[Found]) -> Found:
    """Return the cases of all `sources`, and what they declare together.

    Raises:
        InputError: nothing found, or as `agreed`.
    """
    if not sources:
        raise InputError(
            "DATA: expected HDF5 or Zarr volumes, a folder, `images` and `labels`, or a word, sample or cells; found none."
        )
    return Found(
        cases=tuple(case for source in sources for case in source.cases),
        faults=tuple(fault for source in sources for fault in source.faults),
        **vars(agreed(sources)),
    )


def agreed(declaring: Sequence[Declared]) -> Declared:
    """Return what all data sets declare together.

    Raises:
        InputError: a label value that means one thing here and another there.
    """
    targets = list(dict.fromkeys(source.target for source in declaring if source.target))
    if len(targets) > 1:
        raise InputError(
            f"DATA: expected data sets whose labels are of one kind, found {some(targets)}; fit them apart."
        )
    meanings: dict[int, str] = {}
    for source in declaring:
        for value, name in (*source.label_names.items(), *((value, "unlabelled") for value in source.unlabelled)):
            if meanings.setdefault(value, name) != name:
                raise InputError(
                    f"DATA: expected data sets that agree on their labels, found {value} to mean {meanings[value]!r} "
                    f"in one and {name!r} in another; fit them apart."
                )
    with_regions = [source for source in declaring if source.regions]
    if any(
        (source.regions, source.region_values) != (with_regions[0].regions, with_regions[0].region_values)
        for source in with_regions
    ):
        raise InputError("DATA: expected data sets of the same regions, found others; fit them apart.")
    return Declared(
        label_names={value: name for source in declaring for value, name in source.label_names.items()},
        unlabelled=tuple(dict.fromkeys(value for source in declaring for value in source.unlabelled)),
        target=targets[0] if targets else None,
        regions=with_regions[0].regions if with_regions else {},
        region_values=with_regions[0].region_values if with_regions else (),
        annotated={pattern: values for source in declaring for pattern, values in source.annotated.items()},
        grey_values=_agreed_grey_values(declaring),
    )


def _agreed_grey_values(declaring: Sequence[Declared]) -> tuple[str, ...]:
    """Return the normalisation of every channel that all who declare one do; nothing where they do not agree."""
    declared = {source.grey_values for source in declaring if source.grey_values}
    return declared.pop() if len(declared) == 1 else ()


def find_data(path: str | Path, keys: DataKeys) -> Found:
    """Return the cases of one word of DATA; see `open_examples`."""
    path = place(path)
    if isinstance(path, Url):
        return _find_in_store(path, keys)
    if str(path) in EMBEDDED:
        if path.exists():
            raise InputError(
                f"{path}: expected one meaning, found the embedded data set of that name and a file or folder here; write the "
                "whole path of the latter, or rename it."
            )
        return EMBEDDED[str(path)]()
    if (path / DESCRIPTION).is_file():
        return find_described(path, keys)
    if _holds_several(path):
        return Found(cases=(_case(path, keys),))
    if path.is_dir():
        return _find_in_folder(path, keys)
    if file_and_key(path)[1]:
        raise InputError(
            f"{path}: expected a file with image and labels, found the name of one volume in it; give both by `images` and "
            "`labels`."
        )
    if not path.exists():
        raise InputError(f"{path}: expected data, found no such file or folder; check the path.")
    if not path.name.lower().endswith(SEVERAL):
        raise InputError(
            f"{path}: expected an HDF5 or Zarr volume that holds image and labels, found {path.suffix or 'no suffix'}; "
            "for other formats give `images=GLOB` and `labels=GLOB`."
        )
    return Found(cases=(_case(path, keys),))


def _holds_several(path: Path) -> bool:
    # A folder may be a volume itself.
    return path.name.lower().endswith(SEVERAL) and FORMATS[volume_format(path)].is_at(path)


def _sample() -> Found:
    return _embedded(SAMPLE, phantom(), dict(enumerate(NAMES)), UNLABELLED, TARGETS[0])


def _cells() -> Found:
    return _embedded(CELLS, touching_cells(), {}, NOT_PAINTED, "cells")


def _embedded(name: str, stack: Phantom, names: dict[int, str], unlabelled: int, target: str) -> Found:
    image, label = (
        partial(from_array, array, of, stack.spacing, "um")
        for array, of in ((stack.image, name), (stack.sparse, f"{name} labels"))
    )
    return Found(cases=(Case(name, image, label),), label_names=names, unlabelled=(unlabelled,), target=target)


# Word of DATA -> what is embedded in the package.
EMBEDDED: dict[str, Callable[[], Found]] = {SAMPLE: _sample, CELLS: _cells}


def _find_in_folder(folder: Path, keys: DataKeys) -> Found:
    # Hidden files are the file manager's, or are being written.
    files = sorted(file for file in folder.glob("[!.]*") if file.name.lower().endswith(SEVERAL))
    if not files:
        raise InputError(
            f"{folder}: expected HDF5 or Zarr volumes or a dataset.json, found neither; "
            "for pairs of other files, or of folders of slices, give `images=GLOB` and `labels=GLOB`."
        )
    return Found(cases=tuple(_case(file, keys) for file in files))


def _find_in_store(url: Url, keys: DataKeys) -> Found:
    """Return the case of a volume, or those of all Zarr volumes in a folder of a store."""
    if is_volume_name(url):
        return Found(cases=(_case(url, keys),))
    volumes = [inside for inside in url.iterdir() if inside.name.lower().endswith(".zarr") and inside.name[0] != "."]
    if not volumes:
        raise InputError(
            f"{url}: expected a Zarr volume ending in .zarr, or a folder of such, found none; check the URL."
        )
    return Found(cases=tuple(_case(volume, keys) for volume in volumes))


def _case(path: Place, keys: DataKeys) -> Case:
    # A weight under its default name may be missing; one that the user named must exist.
    find_weight = _open_optional if keys.weight == DataKeys.weight else partial(open_labels, open_inside)
    return Case(
        path.name,
        partial(open_volume, path, *keys.of(keys.raw)),
        partial(open_labels, open_inside, path, keys.label, keys.axes),
        partial(find_weight, path, keys.weight, keys.axes),
    )


def _open_optional(path: Place, key: str, axes: str | None) -> Volume | None:
    try:
        return open_labels(open_inside, path, key, axes)
    except MissingKey:
        return None


def open_partly_labelled(path: str | Path, keys: DataKeys, labels: str | Path | None) -> tuple[Volume, Volume | None]:
    """Return an image and its labels, as far as somebody made any.

    Args:
        path: a volume file, or a word of `EMBEDDED`.
        keys: names and axes in the files.
        labels: a file of labels; None takes those beside the image in HDF5 or Zarr, if it has any.

    Raises:
        InputError: a file that is missing or broken, or labels that do not fit the image.
    """
    if str(path) in EMBEDDED and labels is None:
        example = EMBEDDED[str(path)]().cases[0].opened()
        return example.image, example.label
    image, label = open_volume(path, *keys.of(keys.raw)), None
    if labels is not None:
        label = open_labels(open_volume, place(labels), *keys.of(keys.label))
    elif place(path).name.lower().endswith(SEVERAL):
        label = _open_optional(place(path), keys.label, keys.axes)
    if label is not None:
        label = on_voxels_of(image, label)
        Example(image.name, image, label)
    return image, label
