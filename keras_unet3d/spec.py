"""What must be known about a trained network to use it: written with it, read back with it."""

from dataclasses import asdict, dataclass

from keras_unet3d.architecture import Architecture
from keras_unet3d.datasets import DataKeys
from keras_unet3d.errors import InputError
from keras_unet3d.geometry import Triple
from keras_unet3d.labels import LabelTable


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
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{source}: expected the description of a trained network, found a broken one ({error})."
            ) from error
