"""What a network is built from, without Keras."""

from collections.abc import Iterator
from dataclasses import dataclass

from keras_unet3d.choices import BLOCKS, JOININGS, NETWORK_OUTPUTS, NORMALIZATIONS, ORDERS, PADDINGS, UPSAMPLINGS
from keras_unet3d.fields import MOST_SEED, Validated, checked
from keras_unet3d.geometry import MOST_CHANNELS, MOST_KERNEL, MOST_LEVELS, MOST_SIZE, Geometry, Triple

# Far more than anyone averages.
MOST_NETWORKS = 64


@dataclass(frozen=True)
class Architecture(Validated):
    """The arguments of `build_model`: validated when made, and enough to build the network again."""

    WHAT = "the architecture of a network"

    input_shape: tuple = (None, None, None, 1)
    num_classes: int = checked(2, least=1, most=MOST_CHANNELS)
    base_filters: int = checked(32, least=1, most=MOST_CHANNELS)
    depth: int = checked(4, least=1, most=MOST_LEVELS)
    padding: str = checked("same", PADDINGS)
    normalization: str = checked("batch", NORMALIZATIONS)
    block: str = checked("plain", BLOCKS)
    kernel_sizes: tuple[Triple, ...] | None = checked(None, least=1, most=MOST_KERNEL)
    pool_sizes: tuple[Triple, ...] | None = checked(None, least=1)
    upsampling: str = checked("transpose", UPSAMPLINGS)
    dropout: float = checked(0.0, least=0)
    l2: float = checked(0.0, least=0, most=1000)
    output: str = checked("probabilities", NETWORK_OUTPUTS)
    seed: int | None = checked(None, least=0, most=MOST_SEED)
    name: str = "unet3d"
    filters: tuple[int, ...] | None = checked(None, least=1, most=MOST_CHANNELS)
    networks: int = checked(1, least=1, most=MOST_NETWORKS)
    order: str = checked("conv-norm-relu", ORDERS)
    groups: int | None = checked(None, least=1, most=MOST_CHANNELS)
    epsilon: float = checked(1e-3, least=0, most=1)
    joining: str = checked("concatenate", JOININGS)
    first_filters: tuple[int, ...] | None = checked(None, least=1, most=MOST_CHANNELS)

    def __post_init__(self) -> None:
        super().__post_init__()
        geometry = self.geometry
        # The first convolution's channels, as the name says.
        first = self.base_filters if self.filters is None else self.channels(0)[0]
        decided = {"kernel_sizes": geometry.kernel_sizes, "pool_sizes": geometry.pool_sizes, "base_filters": first}
        for name, value in decided.items():
            object.__setattr__(self, name, value)
        geometry.check(self.input_shape[:3], "input_shape")

    def faults(self) -> Iterator[str]:
        sizes = [size for size in self.input_shape if size is not None]
        channels = self.input_shape[-1:]
        if len(self.input_shape) != 4 or None in channels or not all(type(size) is int and size > 0 for size in sizes):
            yield (
                "input_shape: expected (z, y, x, channels) of positive integers, the sizes may be None; found "
                f"{self.input_shape!r}."
            )
        elif max(sizes) > MOST_SIZE or channels[0] > MOST_CHANNELS:
            yield (
                f"input_shape: expected at most {MOST_SIZE} voxels along an axis, and {MOST_CHANNELS} channels; found "
                f"{self.input_shape!r}."
            )
        if self.networks > 1 and self.output != "probabilities":
            yield f"output: expected probabilities, which several networks are averaged by, found {self.output!r}."
        if self.joining == "add" and self.upsampling == "nearest":
            yield "joining: expected concatenate with `upsampling=nearest`, which keeps the channels from below; found add."
        if not self.dropout < 1:
            yield f"dropout: expected a share from 0 to below 1, found {self.dropout}."
        for field, levels, lengths in (
            ("kernel_sizes", self.depth, {self.depth}),
            ("pool_sizes", self.depth - 1, {self.depth - 1, self.depth}),
        ):
            triples = getattr(self, field)
            if triples is not None and len(triples) not in lengths:
                yield (
                    f"{field}: expected {levels} triples (z, y, x) of positive integers, one per level; found {triples!r}."
                )
        if self.kernel_sizes and any(size % 2 == 0 for kernel in self.kernel_sizes for size in kernel):
            yield f"kernel_sizes: expected odd sizes, found {self.kernel_sizes}."
        if self.filters is not None and len(self.filters) != self.depth:
            yield (
                f"filters: expected {self.depth} whole numbers of at least 1, one per level; found {self.filters!r}."
            )
        elif self.first_filters is not None and (self.filters is None or len(self.first_filters) != self.depth):
            yield (
                f"first_filters: expected {self.depth} whole numbers, one per level, beside as many `filters`; found "
                f"{self.first_filters!r}."
            )
        elif (widest := self.channels(self.depth - 1)[1]) > MOST_CHANNELS:
            yield (
                f"base_filters: expected at most {MOST_CHANNELS} channels on the lowest level, found {widest}; take less, "
                "or a smaller `depth`."
            )

    @property
    def geometry(self) -> Geometry:
        """What this network does to sizes."""
        kernels = ((3, 3, 3),) * self.depth if self.kernel_sizes is None else self.kernel_sizes
        # A triple for the bottom level, which has no pooling, may be given and is dropped.
        pools = ((2, 2, 2),) * (self.depth - 1) if self.pool_sizes is None else self.pool_sizes[: self.depth - 1]
        return Geometry(kernels, pools, self.padding, int(self.upsampling == "overlapping"))

    @property
    def input_channels(self) -> int:
        """Channels of the input."""
        return self.input_shape[3]

    def channels(self, level: int) -> tuple[int, int]:
        """Return the channels of the two convolutions of an analysis block; a synthesis block has the second's twice."""
        if self.filters is not None:
            return (self.first_filters or self.filters)[level], self.filters[level]
        return self.base_filters * 2**level, self.base_filters * 2 ** (level + 1)
