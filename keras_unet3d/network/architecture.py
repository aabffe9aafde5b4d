"""What a network is built from: validated when made, and enough to build it again. Free of Keras."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from keras_unet3d.errors import InputError, did_you_mean
from keras_unet3d.geometry import Geometry, Triple

PADDINGS = ("same", "valid")
NORMALIZATIONS = ("batch", "instance", "group", "none")
BLOCKS = ("plain", "residual", "residual_se")
UPSAMPLINGS = ("transpose", "interpolate")
OUTPUTS = ("probabilities", "logits")


@dataclass(frozen=True)
class Architecture:
    """What `build_model` was asked for: validated when made, and enough to build the network again."""

    input_shape: tuple = (None, None, None, 1)
    num_classes: int = 2
    base_filters: int = 32
    depth: int = 4
    padding: str = "same"
    normalization: str = "batch"
    block: str = "plain"
    kernel_sizes: tuple[Triple, ...] | None = None
    pool_sizes: tuple[Triple, ...] | None = None
    upsampling: str = "transpose"
    dropout: float = 0.0
    l2: float = 0.0
    output: str = "probabilities"
    seed: int | None = None
    name: str = "unet3d"
    filters: tuple[int, ...] | None = None

    def __post_init__(self):
        _check_input_shape(self.input_shape)
        for field, least in (("num_classes", 1), ("base_filters", 1), ("depth", 1)):
            _check_integer(field, getattr(self, field), least)
        for field, known in (
            ("padding", PADDINGS),
            ("normalization", NORMALIZATIONS),
            ("block", BLOCKS),
            ("upsampling", UPSAMPLINGS),
            ("output", OUTPUTS),
        ):
            _check_choice(field, getattr(self, field), known)
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout: expected a share from 0 to below 1, found {self.dropout}.")
        if self.l2 < 0:
            raise InputError(f"l2: expected 0 or more, found {self.l2}.")
        if self.seed is not None:
            _check_integer("seed", self.seed, 0)
        kernels = _triples("kernel_sizes", self.kernel_sizes, 3, self.depth)
        pools = _triples("pool_sizes", self.pool_sizes, 2, self.depth - 1)
        if any(size % 2 == 0 for kernel in kernels for size in kernel):
            raise InputError(f"kernel_sizes: expected odd sizes, found {kernels}.")
        freeze = object.__setattr__
        freeze(self, "input_shape", tuple(self.input_shape))
        freeze(self, "kernel_sizes", kernels)
        freeze(self, "pool_sizes", pools)
        if self.filters is not None:
            freeze(self, "filters", _per_level(self.filters, self.depth))
            # The first convolution's, as the name says.
            freeze(self, "base_filters", self.filters[0])
        self.geometry.check(self.input_shape[:3], "input_shape")

    @property
    def geometry(self) -> Geometry:
        """What this network does to sizes."""
        return Geometry(self.kernel_sizes, self.pool_sizes, self.padding)

    def channels(self, level: int) -> tuple[int, int]:
        """Return the channels of the two convolutions of an analysis block; a synthesis block has the second's twice."""
        if self.filters is not None:
            return self.filters[level], self.filters[level]
        return self.base_filters * 2**level, self.base_filters * 2 ** (level + 1)

    def config(self) -> dict:
        """Return the arguments of `build_model` as JSON-ready values."""
        return asdict(self)


def _check_input_shape(shape) -> None:
    good = (
        isinstance(shape, Sequence)
        and len(shape) == 4
        and all(size is None or _is_integer(size, 1) for size in shape[:3])
        and _is_integer(shape[3], 1)
    )
    if not good:
        raise InputError(
            f"input_shape: expected (z, y, x, channels) of positive integers, the sizes may be None; found {shape!r}."
        )


def _is_integer(value, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_integer(field: str, value, least: int) -> None:
    if not _is_integer(value, least):
        raise InputError(f"{field}: expected a whole number of at least {least}, found {value!r}.")


def _check_choice(field: str, value, known) -> None:
    if value not in known:
        raise InputError(
            f"{field}: expected one of {', '.join(known)}; found {value!r}.{did_you_mean(str(value), known)}"
        )


def _per_level(filters, depth: int) -> tuple[int, ...]:
    good = isinstance(filters, Sequence) and len(filters) == depth and all(_is_integer(each, 1) for each in filters)
    if not good:
        raise InputError(f"filters: expected {depth} whole numbers of at least 1, one per level; found {filters!r}.")
    return tuple(filters)


def _triples(field: str, given, default: int, levels: int) -> tuple[Triple, ...]:
    """Return one triple per level; a further one, for the bottom level's absent pooling, is dropped."""
    if given is None:
        return ((default,) * 3,) * levels
    triples = tuple(tuple(triple) if isinstance(triple, Sequence) else triple for triple in given)
    lengths = {levels, levels + 1} if field == "pool_sizes" else {levels}
    if len(triples) not in lengths or not all(_is_triple(triple) for triple in triples):
        raise InputError(
            f"{field}: expected {levels} triples (z, y, x) of positive integers, one per level; found {given!r}."
        )
    return triples[:levels]


def _is_triple(value) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(_is_integer(size, 1) for size in value)
