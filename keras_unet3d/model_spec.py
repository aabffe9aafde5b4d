"""What must be known about a trained network to use it: written with it, read back with it."""

from dataclasses import asdict, dataclass

from keras_unet3d.datasets import DataKeys
from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Triple
from keras_unet3d.labels import LabelTable
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.volumes.grey_values import NORMALIZERS


@dataclass(frozen=True)
class ModelSpec:
    """A trained network's architecture and its meaning.

    Attributes:
        architecture: what `build_model` was asked for.
        labels: raw label values and names of the classes.
        normalization: of the grey values, see `intensity`.
        patch: size (z, y, x) of the training patches.
        spacing: median voxel size (z, y, x) of the training volumes, in `unit`, None where unknown.
        unit: "mm", "um" or None.
        keys: names and axes in the training files.
    """

    architecture: Architecture
    labels: LabelTable
    normalization: str
    patch: Triple
    spacing: tuple[float, float, float] | None = None
    unit: str | None = None
    keys: DataKeys = DataKeys()

    def __post_init__(self):
        if not _are_positive(self.patch, int):
            raise InputError(f"patch: expected three whole numbers above 0 (z, y, x), found {self.patch!r}.")
        if self.spacing is not None and not _are_positive(self.spacing, int | float):
            raise InputError(f"spacing: expected three numbers above 0 (z, y, x), found {self.spacing!r}.")
        classes = self.architecture.num_classes
        if self.labels.num_classes != classes:
            raise InputError(f"labels: expected {classes} classes like the network's, found {self.labels.num_classes}.")
        if self.normalization not in NORMALIZERS:
            raise InputError(f"normalization: expected one of {', '.join(NORMALIZERS)}; found {self.normalization!r}.")

    def config(self) -> dict:
        """Return the specification as JSON-ready values."""
        return asdict(self) | {"architecture": self.architecture.config(), "labels": self.labels.config()}

    @classmethod
    def from_config(cls, config: dict, source: str) -> "ModelSpec":
        """Return the specification that `config` was made of; `source` is what messages call it.

        Raises:
            InputError: missing or unknown entries.
        """
        try:
            return cls(
                **config
                | {
                    "architecture": Architecture(**config["architecture"]),
                    "labels": LabelTable(**config["labels"]),
                    "patch": tuple(config["patch"]),
                    "spacing": config["spacing"] and tuple(config["spacing"]),
                    "keys": DataKeys(**config["keys"]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{source}: expected the description of a trained network, found a broken one ({error})."
            ) from error


def _are_positive(values, kind) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == 3
        and all(isinstance(value, kind) and not isinstance(value, bool) and value > 0 for value in values)
    )
