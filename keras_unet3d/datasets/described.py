"""Folders with a `dataset.json`: the layouts of the Medical Segmentation Decathlon and of nnU-Net."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from keras_unet3d.datasets.example import Case, DataKeys, Found, open_labels
from keras_unet3d.errors import InputError
from keras_unet3d.files import read_json
from keras_unet3d.volumes import FORMATS, Volume, open_volume, stacked, stem

DESCRIPTION = "dataset.json"


def find_described(folder: Path, keys: DataKeys) -> Found:
    """Return the cases of a folder with a `dataset.json`.

    Raises:
        InputError: a description that is broken, or of no volumes.
    """
    path = folder / DESCRIPTION
    described = read_json(path, "the description of a data set")
    find, modality = (_find_decathlon, "modality") if "training" in described else (_find_nnunet, "channel_names")
    channels = _channels(folder, described, modality)
    cases, faults = find(folder, described, keys, len(channels))
    if not cases and not faults:
        raise InputError(f"{path}: expected training volumes, found none.")
    regions, region_values = _regions(path, described)
    names = {} if regions else _label_names(path, described)
    # nnU-Net's word for unlabelled voxels.
    ignored = regions.pop("ignore", ()) or tuple(value for value, name in names.items() if name == "ignore")
    return Found(
        cases=tuple(cases),
        faults=faults,
        label_names={value: name for value, name in names.items() if name != "ignore"},
        unlabelled=ignored,
        regions=regions,
        region_values=region_values,
        annotated=_annotated(path, described),
        grey_values=_grey_values(channels),
    )


def _annotated(path: Path, described: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return which values were annotated in which files; no format has a word for it, and ours is "annotated"."""
    rules = described.get("annotated", {})
    if not isinstance(rules, dict) or not all(isinstance(values, list) and _whole(values) for values in rules.values()):
        raise InputError(
            f"{path}: expected patterns of file names with lists of label values in 'annotated', found {rules!r}."
        )
    return {str(pattern): tuple(values) for pattern, values in rules.items()}


def _regions(path: Path, described: dict[str, Any]) -> tuple[dict[str, tuple[int, ...]], tuple[int, ...]]:
    """Return classes that overlap, nnU-Net's regions, each with its raw values, and the values that predictions write.

    Its labels are regions where a name has a list of values; the background, 0, is none of them.
    """
    labels, order = described.get("labels", {}), described.get("regions_class_order", [])
    if not isinstance(labels, dict) or not any(isinstance(value, list) for value in labels.values()):
        return {}, ()
    regions = {str(name): tuple(value) if isinstance(value, list) else (value,) for name, value in labels.items()}
    if not all(values and _whole(values) for values in regions.values()):
        raise InputError(f"{path}: expected regions that are lists of whole numbers, found {labels!r}.")
    of_interest = {name: values for name, values in regions.items() if values != (0,)}
    count = len(of_interest) - ("ignore" in of_interest)
    if order and (not isinstance(order, list) or not _whole(order) or len(order) != count):
        raise InputError(f"{path}: expected a whole number per region in 'regions_class_order', found {order!r}.")
    return of_interest, tuple(order)


def _whole(values: Iterable[Any]) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def _label_names(path: Path, described: dict[str, Any]) -> dict[int, str]:
    """Return the name of every value: Decathlon maps value to name, nnU-Net name to value."""
    names: dict[int, str] = {}
    labels = described.get("labels", {})
    if not isinstance(labels, dict):
        raise InputError(f"{path}: expected the names of the labels in 'labels', found {labels!r}.")
    for key, value in labels.items():
        number, name = (key, value) if str(key).lstrip("-").isdigit() else (value, key)
        if not str(number).lstrip("-").isdigit():
            raise InputError(f"{path}: expected labels that are whole numbers with names, found {key!r}: {value!r}.")
        if int(number) in names or str(name) in names.values():
            raise InputError(f"{path}: expected every label and every name once, found {key!r}: {value!r} again.")
        names[int(number)] = str(name)
    return names


def _find_decathlon(
    folder: Path, described: dict[str, Any], keys: DataKeys, channels: int
) -> tuple[list[Case], tuple[str, ...]]:
    if not isinstance(described["training"], list):
        raise InputError(f"{folder / DESCRIPTION}: expected a list 'training', found {described['training']!r}.")
    cases, faults = [], []
    for item in described["training"]:
        if not isinstance(item, dict) or not all(isinstance(item.get(part), str) for part in ("image", "label")):
            faults.append(
                f"{folder / DESCRIPTION}: expected an image and a label per training entry, found {item!r}; correct it."
            )
            continue
        image, label = folder / item["image"], folder / item["label"]
        cases.append(
            Case(
                image.name,
                partial(_open_with_channels, image, keys, channels, folder / DESCRIPTION),
                partial(open_labels, open_volume, label, *keys.of(keys.label)),
            )
        )
    return cases, tuple(faults)


def _open_with_channels(path: Path, keys: DataKeys, channels: int, description: Path) -> Volume:
    try:
        image = open_volume(path, keys.raw, keys.axes or ("zyxc" if channels > 1 else None), keys.scene, keys.time)
    except InputError as error:
        if keys.axes or channels == 1:
            raise
        listed = f"'modality' in {description} lists {channels} channels"
        raise InputError(f"{str(error).rstrip('.')}; {listed}.") from error
    if image.channels != channels:
        raise InputError(
            f"{image.name}: expected {channels} channels, as 'modality' in {description} lists; found {image.channels}."
        )
    return image


def _find_nnunet(
    folder: Path, described: dict[str, Any], keys: DataKeys, channels: int
) -> tuple[list[Case], tuple[str, ...]]:
    ending = described.get("file_ending", ".nii.gz")
    if not isinstance(ending, str) or ending not in FORMATS:
        raise InputError(f"{folder / DESCRIPTION}: expected a file_ending of {', '.join(FORMATS)}; found {ending!r}.")
    labels = {stem(path): path for path in sorted((folder / "labelsTr").glob(f"[!.]*{ending}"))}
    images = {stem(path).rpartition("_")[0] for path in (folder / "imagesTr").glob(f"[!.]*_0000{ending}")}
    faults = tuple(
        f"{folder / 'labelsTr' / (case + ending)}: expected labels for the image in imagesTr, found no such file; add "
        "it, or take the image away."
        for case in sorted(images - set(labels))
    )
    cases = []
    for case, label in labels.items():
        files = [folder / "imagesTr" / f"{case}_{channel:04d}{ending}" for channel in range(channels)]
        cases.append(
            Case(
                case,
                partial(_open_stacked, files, keys),
                partial(open_labels, open_volume, label, *keys.of(keys.label)),
            )
        )
    return cases, faults


def _open_stacked(files: list[Path], keys: DataKeys) -> Volume:
    return stacked([open_volume(file, *keys.of(keys.raw)) for file in files], files[0].name)


def _channels(folder: Path, described: dict[str, Any], entry: str) -> list[str]:
    """Return the channels that the description lists under `entry`; one without a name where it does not say."""
    listed = described.get(entry, {"0": ""})
    if not isinstance(listed, dict | list) or not listed:
        raise InputError(f"{folder / DESCRIPTION}: expected the channels by name in {entry!r}, found {listed!r}.")
    return [str(name) for name in (listed.values() if isinstance(listed, dict) else listed)]


# What nnU-Net takes a channel of such a name to be, in any case of letters -> a word of `choices.ASKED_GREY_VALUES`.
_GREY_VALUES = {"ct": "ct", "nonorm": "none", "rescale_to_0_1": "percentile", "rgb_to_0_1": "percentile"}


def _grey_values(channels: list[str]) -> tuple[str, ...]:
    """Return how the grey values of every channel are normalised; nothing where it is as usual."""
    words = tuple(_GREY_VALUES.get(name.casefold(), "zscore") for name in channels)
    return () if set(words) == {"zscore"} else words
