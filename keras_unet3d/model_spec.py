"""What must be known about a trained network to use it: written with it, read back with it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from keras_unet3d.choices import GREY_VALUES
from keras_unet3d.datasets import DataKeys
from keras_unet3d.fields import Validated, checked
from keras_unet3d.geometry import Geometry, Spacing, Triple, triple
from keras_unet3d.labels import LabelTable
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.segments.cells import USUAL, InstanceSettings
from keras_unet3d.segments.cleaning import ClassCleaning
from keras_unet3d.volumes.grey_values import Rescaling

# Sections have statistics of another shape, and are of all channels.
_OF_A_CHANNEL = [word for word in GREY_VALUES if word != "sections"]


@dataclass(frozen=True)
class ModelSpec(Validated):
    """A trained network's architecture and its meaning.

    Attributes:
        architecture: what `build_model` was asked for.
        labels: raw label values and names of the classes.
        normalization: of the grey values, see `volumes.grey_values`; several are for a channel each.
        patch: size (z, y, x) of the training patches.
        spacing: median voxel size (z, y, x) of the training volumes, in `unit`, None where unknown.
        unit: "mm", "um" or None.
        keys: names and axes in the training files.
        temperature: what the logits are divided by for probabilities that are as sure as they should be; labels are the same.
        cleaning: what is done to the pieces of a class in a label volume, where that was found to help.
        instances: how instances are cut, where the network was trained on some.
    """

    WHAT = "the description of a trained network"
    # A voxel size that got lost is not one that nobody knew.
    COMPLETE = True
    ADDED = ("temperature", "cleaning", "instances")

    architecture: Architecture
    labels: LabelTable
    normalization: tuple[Rescaling | str, ...] | Rescaling | str = checked(choices=GREY_VALUES)
    patch: Triple = checked(least=1)
    spacing: Spacing | None = None
    unit: str | None = None
    keys: DataKeys = DataKeys()
    temperature: float = 1.0
    cleaning: tuple[ClassCleaning, ...] = ()
    instances: InstanceSettings = InstanceSettings()

    def faults(self) -> Iterator[str]:
        if self.spacing is not None and not all(size > 0 for size in self.spacing):
            yield f"spacing: expected three numbers above 0 (z, y, x), found {self.spacing!r}."
        classes = self.architecture.num_classes
        if self.labels.num_classes != classes:
            yield f"labels: expected {classes} classes like the network's, found {self.labels.num_classes}."
        if self.labels.overlapping and not self.overlapping:
            yield "labels: expected a network with a sigmoid per class where classes overlap, found another one."
        if not self.temperature > 0:
            yield f"temperature: expected a number above 0, found {self.temperature}."
        if self.overlapping and (self.temperature != 1 or self.cleaning):
            yield "temperature: expected 1, and no cleaning, of a network whose classes may overlap."
        if isinstance(self.normalization, tuple):
            known = [one for one in self.normalization if isinstance(one, Rescaling) or one in _OF_A_CHANNEL]
            if not len(known) == len(self.normalization) == self.channels:
                yield (
                    f"normalization: expected one for all channels, or a rescaling, {' or '.join(_OF_A_CHANNEL)} for each of "
                    f"{self.channels}; found {len(self.normalization)}: {', '.join(map(str, self.normalization))}."
                )
        for step in self.cleaning:
            if self.labels.of_instances or step.value not in self.labels.values:
                yield f"cleaning: expected classes of {self.labels.shown()}, found {step.value}."

    @property
    def overlapping(self) -> bool:
        """Whether a voxel may have several classes, or none: there are no labels then."""
        return self.architecture.output == "sigmoid"

    @property
    def unsettled(self) -> "ModelSpec":
        """The same as it was before anything was fitted after the training."""
        return replace(self, temperature=1.0, cleaning=(), instances=USUAL.get(self.labels.target, InstanceSettings()))

    @property
    def geometry(self) -> Geometry:
        """What the network does to sizes."""
        return self.architecture.geometry

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return self.architecture.input_channels


# Voxels per axis of the patch that is assumed where nobody trained.
_PATCH_SIZE = 64


def untrained_spec(architecture: Architecture) -> ModelSpec:
    """Return what can be said of a network without its training: classes have numbers for values and names."""
    classes = range(architecture.num_classes)
    table = LabelTable(tuple(classes), tuple(map(str, classes)))
    return ModelSpec(architecture, table, "zscore", legal_sizes(architecture, (_PATCH_SIZE,) * 3))


def legal_sizes(architecture: Architecture, outputs: Triple) -> Triple:
    """Return a network's fixed input sizes, or where they are open the smallest for so many voxels of output."""
    geometry = architecture.geometry
    return triple(
        size or geometry.legal_at_least(2 * geometry.margin[axis] + output, axis)
        for axis, (size, output) in enumerate(zip(architecture.input_shape[:3], outputs, strict=True))
    )
