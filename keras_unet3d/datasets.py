"""What the user calls DATA: which image, label and weight volumes belong together."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_unet3d import sample
from keras_unet3d.errors import InputError
from keras_unet3d.files import read_json
from keras_unet3d.volumes import FORMATS, Volume, from_array, open_volume, stacked, stem

SAMPLE = "sample"
_HDF5 = (".h5", ".hdf5")


@dataclass(frozen=True)
class Example:
    """An image with its labels, and with weights where there are some; shapes agree."""

    name: str
    image: Volume
    label: Volume
    weight: Volume | None = None

    @property
    def file(self) -> str:
        """What tells this example from any other: the path of its image."""
        return str(self.image.path.resolve()) if self.image.path else self.name

    def __post_init__(self):
        for volume in (self.label, self.weight):
            if volume is not None and volume.shape != self.image.shape:
                raise InputError(
                    f"{volume.name}: expected the shape of the image {self.image.name}, (z, y, x) = "
                    f"{self.image.shape}; found {volume.shape}; check that they belong together, and --axes."
                )


@dataclass(frozen=True)
class DataKeys:
    """Where in the files the volumes are: data set names in HDF5, order of the axes."""

    raw: str = "raw"
    label: str = "label"
    weight: str = "weight"
    axes: str | None = None


@dataclass(frozen=True)
class DataSet:
    """The examples that DATA names, and the names of label values where the data set declares them."""

    examples: tuple[Example, ...]
    label_names: dict[int, str]
    unlabelled: tuple[int, ...] = ()


def open_data(
    data: Sequence[str | Path],
    keys: DataKeys = DataKeys(),
    images: str | None = None,
    labels: str | None = None,
) -> DataSet:
    """Open every volume that `data`, or the pair of globs `images` and `labels`, names.

    Args:
        data: HDF5 files, folders of them, folders with a `dataset.json` (Medical Segmentation Decathlon or
            nnU-Net layout), or the word "sample".
        keys: names and axes in the files.
        images, labels: globs of as many files, matched in sorted order.

    Raises:
        InputError: anything missing, unreadable, or of shapes that differ.
    """
    sets = [_open_one(Path(path), keys) for path in data]
    if images or labels:
        sets.append(_open_globs(images, labels, keys))
    if not sets:
        raise InputError(
            "DATA: expected HDF5 files, a folder, --images and --labels, or the word sample; found none "
            "(--val takes every word up to the next option, so DATA goes before it)."
        )
    return DataSet(
        tuple(example for one in sets for example in one.examples),
        {value: name for one in sets for value, name in one.label_names.items()},
        tuple(value for one in sets for value in one.unlabelled),
    )


def _open_one(path: Path, keys: DataKeys) -> DataSet:
    if str(path) == SAMPLE:
        return _open_sample()
    if (path / "dataset.json").is_file():
        return _open_described(path, keys)
    if path.is_dir():
        return _open_folder(path, keys)
    if not path.exists():
        raise InputError(f"{path}: expected data, found no such file or folder; check the path.")
    if not path.name.lower().endswith(_HDF5):
        raise InputError(
            f"{path}: expected an HDF5 file that holds image and labels, found {path.suffix or 'no suffix'}; "
            "for other formats give --images GLOB and --labels GLOB."
        )
    return DataSet((_open_hdf5(path, keys),), {})


def _open_folder(folder: Path, keys: DataKeys) -> DataSet:
    files = sorted(file for file in folder.iterdir() if file.name.lower().endswith(_HDF5))
    if not files:
        raise InputError(
            f"{folder}: expected HDF5 files or a dataset.json, found neither; "
            "for pairs of other files give --images GLOB and --labels GLOB."
        )
    return DataSet(tuple(_open_hdf5(file, keys) for file in files), {})


def _open_hdf5(path: Path, keys: DataKeys) -> Example:
    image = open_volume(path, keys.raw, keys.axes)
    label = open_volume(path, keys.label, keys.axes)
    return Example(path.name, image, label, _optional_weight(path, keys))


def _optional_weight(path: Path, keys: DataKeys) -> Volume | None:
    import h5py

    with h5py.File(path, "r") as file:
        present = keys.weight in file
    # A weight under its default name is used where it is; one that was asked for by name must be there.
    return open_volume(path, keys.weight, keys.axes) if present or keys.weight != DataKeys.weight else None


def _open_sample() -> DataSet:
    phantom = sample.phantom()
    image = from_array(phantom.image, SAMPLE, phantom.spacing, "um")
    label = from_array(phantom.sparse, "sample labels", phantom.spacing, "um")
    return DataSet((Example(SAMPLE, image, label),), dict(enumerate(sample.NAMES)), (sample.UNLABELLED,))


def _open_globs(images: str | None, labels: str | None, keys: DataKeys) -> DataSet:
    if not images or not labels:
        raise InputError("--images and --labels: expected both, found one; give a glob for each.")
    found = {name: _glob(name, pattern) for name, pattern in (("--images", images), ("--labels", labels))}
    if len(found["--images"]) != len(found["--labels"]):
        raise InputError(
            f"--images and --labels: expected as many labels as images, found {len(found['--images'])} images and "
            f"{len(found['--labels'])} labels; correct the globs."
        )
    pairs = zip(found["--images"], found["--labels"], strict=True)
    return DataSet(tuple(_pair(image, label, keys) for image, label in pairs), {})


def _glob(option: str, pattern: str) -> list[Path]:
    files = sorted(Path(file) for file in glob.glob(pattern, recursive=True))
    if not files:
        raise InputError(f"{option} {pattern}: expected files, found none; quote the pattern and check the path.")
    return files


def _pair(image: Path, label: Path, keys: DataKeys, channels: int = 1) -> Example:
    axes = keys.axes or ("zyxc" if channels > 1 else None)
    return Example(image.name, open_volume(image, keys.raw, axes), open_volume(label, keys.label, axes))


# ---- folders with a dataset.json ---------------------------------------------------------------


def _open_described(folder: Path, keys: DataKeys) -> DataSet:
    path = folder / "dataset.json"
    described = read_json(path, "the description of a data set")
    opener = _open_decathlon if "training" in described else _open_nnunet
    examples = opener(folder, described, keys)
    if not examples:
        raise InputError(f"{path}: expected training volumes, found none.")
    names = _label_names(path, described)
    # nnU-Net's word for unlabelled voxels.
    ignored = tuple(value for value, name in names.items() if name == "ignore")
    return DataSet(tuple(examples), {value: name for value, name in names.items() if name != "ignore"}, ignored)


def _label_names(path: Path, described: dict) -> dict[int, str]:
    """Return the name of every value: Decathlon maps value to name, nnU-Net name to value."""
    names = {}
    labels = described.get("labels", {})
    if not isinstance(labels, dict):
        raise InputError(f"{path}: expected the names of the labels in 'labels', found {labels!r}.")
    for key, value in labels.items():
        number, name = (key, value) if str(key).lstrip("-").isdigit() else (value, key)
        if not str(number).lstrip("-").isdigit():
            raise InputError(f"{path}: expected labels that are whole numbers with names, found {key!r}: {value!r}.")
        names[int(number)] = str(name)
    return names


def _open_decathlon(folder: Path, described: dict, keys: DataKeys) -> list[Example]:
    channels = _number_of(folder, described, "modality")
    if not isinstance(described["training"], list):
        raise InputError(f"{folder / 'dataset.json'}: expected a list 'training', found {described['training']!r}.")
    examples = []
    for item in described["training"]:
        if not isinstance(item, dict) or not all(isinstance(item.get(part), str) for part in ("image", "label")):
            raise InputError(
                f"{folder / 'dataset.json'}: expected an image and a label per training entry, found {item!r}."
            )
        example = _pair(folder / item["image"], folder / item["label"], keys, channels)
        if example.image.channels != channels:
            raise InputError(
                f"{example.image.name}: expected {channels} channels, as 'modality' in {folder / 'dataset.json'} lists; "
                f"found {example.image.channels}."
            )
        examples.append(example)
    return examples


def _open_nnunet(folder: Path, described: dict, keys: DataKeys) -> list[Example]:
    ending = described.get("file_ending", ".nii.gz")
    if not isinstance(ending, str) or ending not in FORMATS:
        raise InputError(
            f"{folder / 'dataset.json'}: expected a file_ending of {', '.join(FORMATS)}; found {ending!r}."
        )
    channels = _number_of(folder, described, "channel_names")
    examples = []
    for label in sorted((folder / "labelsTr").glob(f"*{ending}")):
        case = stem(label)
        files = [folder / "imagesTr" / f"{case}_{channel:04d}{ending}" for channel in range(channels)]
        image = stacked([open_volume(file, keys.raw, keys.axes) for file in files], files[0].name)
        examples.append(Example(case, image, open_volume(label, keys.label, keys.axes)))
    return examples


def _number_of(folder: Path, described: dict, entry: str) -> int:
    """Return how many channels the description lists under `entry`; one where it does not say."""
    listed = described.get(entry, {"0": ""})
    if not isinstance(listed, dict | list) or not listed:
        raise InputError(f"{folder / 'dataset.json'}: expected the channels by name in {entry!r}, found {listed!r}.")
    return len(listed)
