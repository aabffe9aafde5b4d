"""What a fit can be told: one field per option, for Python, the command line and `--config` alike."""

import math
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import Field, dataclass, field, fields

from keras_unet3d.augment import ENGINES
from keras_unet3d.augment.draw import AugmentSettings
from keras_unet3d.errors import InputError, did_you_mean
from keras_unet3d.geometry import AXES, Triple
from keras_unet3d.labels import MOST_CLASSES, TARGETS, check_class_weights, parse_classes
from keras_unet3d.runtime import PRECISIONS
from keras_unet3d.sampling import SAMPLINGS

# Name -> largest learning rate where none is given.
OPTIMIZERS = {"adamw": 2e-3, "sgd": 1e-2}
DECAYS = ("polynomial", "cosine", "constant")
LOSSES = ("crossentropy", "crossentropy+dice")
AUGMENT_ON = ("host", "device")


def _option(default, text: str, choices: Iterable[str] = (), least: float | None = None):
    return field(default=default, metadata={"help": text, "choices": tuple(choices), "least": least})


@dataclass(frozen=True)
class FitSettings:
    """Settings of `fit`; the command line's options have these names, and `config.json` keeps them.

    None means: chosen by the data and the machine, and printed.
    """

    patch: Triple | None = _option(None, "Size of the training patches, voxels z y x.", least=1)
    batch_size: int | None = _option(None, "Patches per step, on all devices [default: 2 per device].", least=1)
    epochs: int | None = _option(None, "Epochs [default: 20].", least=1)
    steps_per_epoch: int | None = _option(None, "Steps per epoch [default: 100].", least=1)
    num_classes: int | None = _option(None, "Labels are 0 to N-1 [default: the values found].", least=2)
    classes: str | None = _option(None, "Label values and names, like 0=background,7=cell [default: the values found].")
    unlabelled: tuple[int, ...] = _option(
        (), "Raw label value that means unlabelled; may be repeated [default: what is obvious, and said]."
    )
    target: str = _option("semantic", "Classes, or the boundaries between instance labels.", TARGETS)
    raw_key: str = _option("raw", "Data set of the image in HDF5 or Zarr.")
    label_key: str = _option("label", "Data set of the labels in HDF5 or Zarr.")
    weight_key: str = _option("weight", "Data set of voxel weights in HDF5 or Zarr, used where it is present.")
    axes: str | None = _option(None, "Order of the file's axes, e.g. czyx; needed where there are four.")
    base_filters: int | None = _option(
        None, "Channels of the first convolution, doubled as in the paper [default: --filters].", least=1
    )
    filters: str | None = _option(
        None, "Channels per level, like 8,32,64,128, in the place of --base-filters [default: chosen]."
    )
    depth: int | None = _option(None, "Resolution steps of the network [default: 4, or those of --filters].", least=1)
    padding: str = _option("same", "Padding of the convolutions; valid is the paper's.", ("same", "valid"))
    normalization: str = _option("batch", "Normalisation layers.", ("batch", "instance", "group", "none"))
    block: str = _option("plain", "Kind of convolution block.", ("plain", "residual", "residual_se"))
    dropout: float = _option(0.0, "Share of activations dropped after each block.", least=0)
    loss: str = _option("crossentropy+dice", "What is minimised, over labelled voxels.", LOSSES)
    class_weights: str | None = _option(
        None, "Per class, like background=0.5,cell=3; or balanced: every class has the same influence, as in the paper."
    )
    optimizer: str = _option("adamw", "AdamW, or SGD with momentum 0.99, as the paper's.", OPTIMIZERS)
    learning_rate: float | None = _option(None, "Its largest value [default: 0.002 for adamw, 0.01 for sgd].", least=0)
    decay: str = _option("polynomial", "Of the learning rate over all epochs.", DECAYS)
    warmup: int = _option(0, "Steps over which the learning rate rises.", least=0)
    clip: float = _option(0.0, "Largest norm of a gradient; 0 for none.", least=0)
    ema: float = _option(0.0, "Keep a running mean of the weights, like 0.99, and validate that; 0 for none.", least=0)
    accumulate: int = _option(1, "Batches whose gradients make one change of the weights.", least=1)
    early_stop: int | None = _option(None, "Stop after so many epochs without a better IoU [default: never].", least=1)
    deep_supervision: bool = _option(False, "Train the lower levels on the labels as well.")
    freeze_encoder: int = _option(0, "First epochs that leave the analysis path as it is; with --from.", least=0)
    sampling: str = _option("classes", "Patch centres: every class alike often, or every labelled voxel.", SAMPLINGS)
    augment: bool = _option(True, "Rotate, scale, deform and change grey values of every patch.")
    engine: str = _option(
        "auto",
        "What deforms the patches: elasticdeform, or native, which is many times as fast and linear instead of cubic; "
        "auto takes elasticdeform where it costs less than a tenth of a step.",
        ("auto", *ENGINES),
    )
    augment_on: str = _option("host", "Where: in threads of the host, or on the device that trains.", AUGMENT_ON)
    rotation: float = _option(15.0, "Largest rotation about each axis, degrees.", least=0)
    grid_spacing: float = _option(
        32.0, "Distance of the deformation's control points, voxels along the finest axis.", least=2
    )
    deformation: float | None = _option(
        None,
        "Standard deviation of their displacements, voxels along the finest axis [default: a twentieth of the patch's "
        "shortest side, at most 4].",
        least=0,
    )
    flips: str | None = _option(None, "Axes along which patches may be mirrored, like yx [default: none].")
    precision: str = _option("auto", "Number format; auto is mixed_float16 on a GPU, else float32.", PRECISIONS)
    validation_share: float = _option(
        0.2, "Share of volumes, or of a volume's annotated slices, held out where no --val is given; 0 for none."
    )
    memory: float = _option(1.0, "Volumes are held in memory up to so many GB; others are read crop by crop.", least=0)
    devices: int | None = _option(None, "GPUs to train on [default: all].", least=1)
    workers: int | None = _option(None, "Threads that make samples [default: one per core].", least=1)
    seed: int = _option(0, "Of initial weights, split and samples.", least=0)

    def __post_init__(self):
        hints = typing.get_type_hints(FitSettings)
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, list):
                value = tuple(value)
                object.__setattr__(self, each.name, value)
            _check(each, hints[each.name], value)
        if not 0 <= self.validation_share < 1:
            raise InputError(
                f"validation_share: expected a share of at least 0 and below 1, found {self.validation_share}."
            )
        if self.classes is not None:
            both = set(parse_classes(self.classes)) & set(self.unlabelled)
            if both:
                raise InputError(f"classes: expected values that are not unlabelled too, found {min(both)} in both.")
            if self.num_classes is not None or self.target == "boundaries":
                other = "num_classes" if self.num_classes is not None else "target=boundaries"
                raise InputError(f"classes: expected to be given alone, found {other} too; leave one of them out.")
        if self.num_classes is not None and self.num_classes > MOST_CLASSES:
            raise InputError(f"num_classes: expected at most {MOST_CLASSES}, found {self.num_classes}.")
        if self.flips is not None and (not set(self.flips) <= set(AXES) or len(set(self.flips)) < len(self.flips)):
            raise InputError(f"flips: expected some of the axes z, y and x, each once, like yx; found {self.flips!r}.")
        if self.filters is not None:
            depth = len(parse_filters(self.filters))
            if self.base_filters is not None:
                raise InputError(
                    "filters: expected to be given without base_filters, found both; leave one of them out."
                )
            if self.depth not in (None, depth):
                raise InputError(f"filters: expected {self.depth} numbers, one per level, found {depth}.")
        if self.ema >= 1:
            raise InputError(f"ema: expected a share of at least 0 and below 1, found {self.ema}.")
        if self.ema and self.freeze_encoder:
            raise InputError("ema: expected 0 with freeze_encoder, found more; leave one of the two out.")
        if self.accumulate > 1 and self.augment_on == "device":
            raise InputError("accumulate: expected 1 with augment_on=device, found more; leave one of the two out.")
        # What it refuses is refused before anything is read.
        self.changes()
        if self.augment_on == "device" and self.engine == "elasticdeform":
            raise InputError("engine: expected native or auto with augment_on=device, found elasticdeform.")
        if self.class_weights is not None:
            check_class_weights(self.class_weights)

    def changes(self, voxel: float | None = None) -> AugmentSettings:
        """Return how strongly patches are changed; `voxel` is the length that distances are given in."""
        return AugmentSettings(
            rotation=self.rotation,
            grid_spacing=self.grid_spacing,
            deformation=min(4.0, self.grid_spacing / 2) if self.deformation is None else self.deformation,
            voxel=voxel,
            flips=tuple(AXES.index(axis) for axis in self.flips or ""),
        )

    @classmethod
    def from_config(cls, config: dict, source: str) -> "FitSettings":
        """Return the settings in `config`, whose keys are option names; unknown ones are refused."""
        known = [each.name for each in fields(cls)]
        for key in config:
            if key not in known:
                raise InputError(
                    f"{source}: expected names of options of fit, found {key!r}.{did_you_mean(key, known)}"
                )
        return cls(**config)


def parse_filters(text: str) -> tuple[int, ...]:
    """Return the channels per level in a text like 8,32,64,128."""
    try:
        filters = tuple(int(part) for part in text.split(","))
    except ValueError:
        filters = ()
    if not filters or min(filters) < 1:
        raise InputError(f"filters: expected whole numbers of at least 1, like 8,32,64,128; found {text!r}.")
    return filters


def _is_whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# What a value of each type of field looks like, and what it is called.
_KINDS: dict[object, tuple[Callable[[object], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (_is_whole, "a whole number"),
    float: (lambda value: (_is_whole(value) or isinstance(value, float)) and math.isfinite(value), "a finite number"),
    str: (lambda value: isinstance(value, str), "a text"),
    Triple: (
        lambda value: isinstance(value, tuple) and len(value) == 3 and all(map(_is_whole, value)),
        "three whole numbers (z, y, x)",
    ),
    tuple[int, ...]: (lambda value: isinstance(value, tuple) and all(map(_is_whole, value)), "a list of whole numbers"),
}


def plain_type(hint):
    """Return a field's type without "or None"."""
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _check(each: Field, hint, value) -> None:
    """Raise `InputError` where `value` is not what the field is for."""
    if value is None and isinstance(hint, types.UnionType):
        return
    is_kind, kind = _KINDS[plain_type(hint)]
    choices, least = each.metadata["choices"], each.metadata["least"]
    if not is_kind(value):
        raise InputError(f"{each.name}: expected {kind}, found {value!r}.")
    if choices and value not in choices:
        close = did_you_mean(value, choices)
        raise InputError(f"{each.name}: expected one of {', '.join(choices)}; found {value!r}.{close}")
    if least is not None and min(value if isinstance(value, tuple) else (value,)) < least:
        raise InputError(f"{each.name}: expected a number of at least {least}, found {value!r}.")
