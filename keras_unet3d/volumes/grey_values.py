"""Grey values to the network's range, by statistics of the volume itself."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add

import numpy as np

from keras_unet3d.choices import ANCHORS
from keras_unet3d.errors import InputError
from keras_unet3d.fields import Validated, checked
from keras_unet3d.geometry import Box
from keras_unet3d.volumes import Volume, in_threads
from keras_unet3d.volumes.percentiles import percentiles

# A section whose deviation is less than this share of the volume's holds nothing but one value.
_EMPTY = 1e-6


@dataclass(frozen=True)
class Rescaling(Validated):
    """Grey values to a range, along a straight line: how networks that come from elsewhere want them.

    Attributes:
        by: what `low` and `high` are: "values" (grey values), "percentiles" of the volume, or "deviation" (standard
            deviations above its mean).
        low, high: what becomes the first and the second number of `to`.
        to: the range.
        clip: whether what is beyond the range becomes its end.
        pooled: whether all channels are measured as one.
    """

    WHAT = "a rescaling of grey values"

    by: str = checked(choices=ANCHORS)
    low: float = 0.0
    high: float = 1.0
    to: tuple[float, float] = (0.0, 1.0)
    clip: bool = False
    pooled: bool = False

    def faults(self) -> Iterator[str]:
        if not self.low < self.high or not self.to[0] < self.to[1]:
            yield f"low: expected numbers below `high` and `to` in order, found {self.low} to {self.high} and {self.to}."
        if self.by == "percentiles" and not 0 <= self.low < self.high <= 100:
            yield f"low: expected percentiles from 0 to 100, found {self.low} and {self.high}."

    def in_words(self) -> str:
        """Return what is done, for people."""
        of = {"values": "", "percentiles": "percentiles ", "deviation": "mean and standard deviations "}[self.by]
        ends = ", and nothing is beyond these" if self.clip else ""
        return f"{of}{self.low:g} and {self.high:g} become {self.to[0]:g} and {self.to[1]:g}{ends}"


# A rescaling, or a word of `choices.GREY_VALUES`: one for all channels, or one for each (of which none is "sections").
Normalization = tuple[Rescaling | str, ...] | Rescaling | str


def in_words(how: Normalization) -> str:
    """Return what is done to grey values, for people."""
    if isinstance(how, tuple):
        return "; ".join(f"channel {number}: {in_words(one)}" for number, one in enumerate(how))
    return how.in_words() if isinstance(how, Rescaling) else _IN_WORDS[how]


_IN_WORDS = {
    "zscore": "mean 0, standard deviation 1 per volume and channel",
    "sections": "mean 0, standard deviation 1 per section and channel",
    "none": "as they are",
}


@dataclass(frozen=True)
class Statistics:
    """Mean, standard deviation, smallest and largest value per channel over a whole volume, in its own units.

    For the normalisation "sections" mean and standard deviation are those of every plane across z, `(z, 1, 1, channels)`;
    for a `Rescaling` they are the grey value that becomes 0, and how far from it the one is that becomes 1.
    """

    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def of_planes(self, planes: slice) -> "Statistics":
        """Return the statistics of some planes across z."""
        if np.ndim(self.mean) < 4:
            return self
        return replace(self, mean=self.mean[planes], std=self.std[planes])

    def of_channel(self, number: int) -> "Statistics":
        """Return the statistics of one channel."""
        return Statistics(*(values[..., number : number + 1] for values in vars(self).values()))


@dataclass(frozen=True)
class Moments:
    """What is known per channel of some voxels.

    Attributes:
        count: how many there are.
        broken: how many are no finite numbers; the rest means nothing then.
        mean: of them.
        squares: the sum of their squared differences to the mean.
        low, high: the smallest and largest value.
    """

    count: int
    broken: int
    mean: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __add__(self, other: "Moments") -> "Moments":
        """Return the moments of the voxels of both (Chan et al. 1979)."""
        count, apart = self.count + other.count, other.mean - self.mean
        share = other.count / count
        # Values that are too large to be squared are refused later, in a sentence.
        with np.errstate(over="ignore", invalid="ignore"):
            return Moments(
                count,
                self.broken + other.broken,
                self.mean + apart * share,
                self.squares + other.squares + apart**2 * (self.count * share),
                np.minimum(self.low, other.low),
                np.maximum(self.high, other.high),
            )


def measure(volume: Volume, how: Normalization = "zscore") -> Statistics:
    """Return the statistics of `volume` that the normalisation `how` needs, read in blocks.

    Raises:
        InputError: NaN or infinite voxels, or, except for "none" and a rescaling by values, a channel that is constant.
    """
    if isinstance(how, tuple):
        return _of_channels([measure(_channel(volume, number), one) for number, one in enumerate(how)])
    moments = _moments(volume)
    mean = moments.mean
    with np.errstate(over="ignore", invalid="ignore"):
        std = np.sqrt(moments.squares / moments.count)
    constant = std <= 1e-12 * np.maximum(np.abs(mean), 1e-30)
    if not np.isfinite(std).all():
        raise InputError(
            f"{volume.name}: expected grey values whose squares are finite, found values up to {np.max(moments.high):.3g}; "
            "scale them down, or leave the file out."
        )
    fixed = how == "none" or (isinstance(how, Rescaling) and how.by == "values")
    if not fixed and constant.any():
        raise InputError(
            f"{volume.name}: expected an image, found the constant value {float(mean[constant][0]):g} in "
            "every voxel of a channel; check the file, or leave it out."
        )
    if how == "sections":
        mean, std = _of_planes(volume, mean, std)
    if isinstance(how, Rescaling):
        mean, std = _line(volume, how, mean, std)
    return Statistics(mean, std, moments.low, moments.high)


def _channel(volume: Volume, number: int) -> Volume:
    return replace(volume, channels=1, read=lambda box: volume.read(box)[..., number : number + 1])


def _of_channels(parts: Sequence[Statistics]) -> Statistics:
    """Return the statistics of a volume from those of its channels."""
    return Statistics(*map(np.concatenate, zip(*(vars(part).values() for part in parts), strict=True)))


def _line(volume: Volume, how: Rescaling, mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return per channel the grey value that becomes 0, and its distance to the one that becomes 1."""
    if how.pooled:
        # The variance of all channels is the mean of their variances and the variance of their means.
        mean, std = np.full_like(mean, mean.mean()), np.full_like(std, np.sqrt((std**2).mean() + mean.var()))
    low, high = _ANCHORS[how.by](volume, how, mean, std)
    if (low == high).any():
        raise InputError(
            f"{volume.name}: expected grey values between two percentiles, found {float(low[low == high][0]):g} at both; check "
            "the file, or leave it out."
        )
    unit = (high - low) / (how.to[1] - how.to[0])
    return low - how.to[0] * unit, unit


def _percentiles(volume: Volume, how: Rescaling, mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two percentiles per channel of the voxels, without holding them all."""
    width = 1 if how.pooled else volume.channels
    values = percentiles(lambda: (block.reshape(-1, width) for _, block in volume.blocks()), (how.low, how.high))
    low, high = np.broadcast_to(values, (volume.channels, 2)).T
    return low, high


# What a rescaling goes by -> its two grey values per channel.
_ANCHORS: dict[str, Callable[[Volume, Rescaling, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "values": lambda volume, how, mean, std: (np.full_like(mean, how.low), np.full_like(mean, how.high)),
    "percentiles": _percentiles,
    "deviation": lambda volume, how, mean, std: (mean + how.low * std, mean + how.high * std),
}


def _of_planes(volume: Volume, mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of every plane across z, `(z, 1, 1, channels)`; `mean` and `std` are the volume's."""
    total, squares = np.zeros((2, volume.shape[0], volume.channels))
    for box, block in volume.blocks():
        voxels = block - mean
        total[box[0]] += voxels.sum(axis=(1, 2))
        squares[box[0]] += np.square(voxels).sum(axis=(1, 2))
    count = volume.shape[1] * volume.shape[2]
    off = total / count
    deviation = np.sqrt(np.maximum(squares / count - off**2, 0.0))
    # An empty section has nothing to be scaled by: it becomes 0 throughout.
    deviation = np.where(deviation < _EMPTY * std, std, deviation)
    return (mean + off)[:, None, None], deviation[:, None, None]


def _moments(volume: Volume) -> Moments:
    moments = reduce(add, in_threads(partial(_moments_of_box, volume), volume.boxes()))
    if moments.broken:
        raise InputError(
            f"{volume.name}: expected finite grey values, found NaN or infinity in {moments.broken} voxels; "
            "replace them, or leave the file out."
        )
    return moments


def _moments_of_box(volume: Volume, box: Box) -> Moments:
    return moments_of(volume.read(box).reshape(-1, volume.channels))


def moments_of(block: np.ndarray) -> Moments:
    """Return the moments of voxels `(voxels, channels)`, at least one."""
    broken = 0 if block.dtype.kind in "biu" else int((~np.isfinite(block)).any(axis=-1).sum())
    with np.errstate(over="ignore", invalid="ignore"):
        mean = block.mean(axis=0, dtype=np.float64)
        apart = np.subtract(block, mean, dtype=np.float64)
        squares = np.einsum("vc,vc->c", apart, apart)
    return Moments(
        len(block), broken, mean, squares, *(end(axis=0).astype(np.float64) for end in (block.min, block.max))
    )


def _zscore(voxels: np.ndarray, statistics: Statistics) -> np.ndarray:
    # Single precision takes half the memory and time, and is enough where the voxels themselves have no more digits.
    precision = np.result_type(voxels.dtype, np.float32)
    mean, std = (np.asarray(value, precision) for value in (statistics.mean, statistics.std))
    return np.divide(np.subtract(voxels, mean, dtype=precision), std, dtype=precision).astype(np.float32, copy=False)


def _none(voxels: np.ndarray, statistics: Statistics) -> np.ndarray:
    return voxels.astype(np.float32, copy=False)


NORMALIZERS: dict[str, Callable[[np.ndarray, Statistics], np.ndarray]] = {
    "zscore": _zscore,
    "sections": _zscore,
    "none": _none,
}


def normalized(volume: Volume, statistics: Statistics, how: Normalization = "zscore") -> Volume:
    """Return the same volume with normalised grey values, float32, whatever box of it is read; see `normalize`."""

    def read(box: Box) -> np.ndarray:
        return normalize(volume.read(box), statistics.of_planes(box[0]), how)

    return replace(volume, dtype=np.dtype(np.float32), read=read)


def normalize(voxels: np.ndarray, statistics: Statistics, how: Normalization = "zscore") -> np.ndarray:
    """Return float32 voxels `(z, y, x, channels)`, with the statistics of their planes.

    "zscore" is by mean and deviation per volume and channel, "sections" by those of every plane across z, where sections
    were stained or recorded one by one; "none" leaves them as they are. A `Rescaling` is one of its kind, and several of
    these are for a channel each.
    """
    if isinstance(how, tuple):
        channels = (normalize(voxels[..., n : n + 1], statistics.of_channel(n), one) for n, one in enumerate(how))
        return np.concatenate([*channels], axis=-1)
    if isinstance(how, Rescaling):
        scaled = _zscore(voxels, statistics)
        return scaled.clip(*how.to) if how.clip else scaled
    if how not in NORMALIZERS:
        raise InputError(f"normalization: expected one of {', '.join(NORMALIZERS)}; found {how!r}.")
    return NORMALIZERS[how](voxels, statistics)
