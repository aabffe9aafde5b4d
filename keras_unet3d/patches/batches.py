"""The chains that feed a training: samples made in parallel, in order, ahead of need; with or without TensorFlow.

On the TensorFlow backend a chain is a `tf.data.Dataset`, on any other a `keras.utils.PyDataset` of the same batches.
Where the device augments, a batch is a dictionary of regions and draws, see `augment.native.packed`.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_unet3d.augment import native
from keras_unet3d.machine import hosts
from keras_unet3d.patches.samples import PatchSettings, Sample, training_region, training_sample, validation_sample
from keras_unet3d.patches.source import Source

# Batches that are ready before they are asked for.
_AHEAD = 2
# A `tf.data.Dataset` or a `keras.utils.PyDataset`, which have no type in common.
Batches = Any
# Of TensorFlow, which is imported only on its own backend.
Tensor = Any


@dataclass
class Waiting:
    """Seconds that a training has spent waiting for its input."""

    seconds: float = 0.0
    since: float = field(default=0.0, repr=False)

    def begin(self) -> None:
        self.since = time.perf_counter()

    def end(self) -> None:
        self.seconds += time.perf_counter() - self.since


class UnderWay:
    """Samples that threads of TensorFlow are making: a process cannot end while they do."""

    def __init__(self) -> None:
        self._changed, self._count, self._ended = threading.Condition(), 0, False

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count what is within; raises `RuntimeError` after the end."""
        with self._changed:
            if self._ended:
                raise RuntimeError("nobody waits for samples any more")
            self._count += 1
        try:
            yield
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    def end(self) -> None:
        """Have no more made, and wait until those under way are done."""
        with self._changed:
            self._ended = True
            self._changed.wait_for(lambda: not self._count)


@dataclass(frozen=True)
class Chain:
    """How batches are made of samples.

    Attributes:
        sample: index -> arrays of one sample, a tuple or a dictionary; a pure function.
        stack: samples -> a batch.
        batch_size: samples per batch; the last of a finite chain may have fewer.
        workers: threads that make samples.
        count: number of samples, None for no end.
        first: number of the batch to begin with.
        together: batches that are stacked, and finished, as one, before they are handed out one by one.
        finish: is applied to what was stacked.
        under_way: counts the samples that are being made.
    """

    sample: Callable[[int], tuple | dict]
    stack: Callable[[Sequence], tuple | dict]
    batch_size: int
    workers: int
    count: int | None = None
    first: int = 0
    together: int = 1
    finish: Callable[[Any], Any] | None = None
    under_way: UnderWay = field(default_factory=UnderWay)


@dataclass(frozen=True)
class Batching:
    """How samples become batches.

    Attributes:
        batch_size: samples per batch.
        workers: threads that make them.
        seed: of the samples.
        on_device: whether batches are what `augment.layer.Augmentation` takes, to be augmented by whoever iterates.
        accumulate: batches whose gradients are added; their weights are then divided by their sum over all of these.
        class_weights: factors of the classes in that sum.
        part, parts: which of so many equal parts of every batch is made, from 0: that of one of several processes.
    """

    batch_size: int
    workers: int
    seed: int = 0
    on_device: bool = False
    accumulate: int = 1
    class_weights: Sequence[float] | None = None
    part: int = 0
    parts: int = 1

    @property
    def rows(self) -> int:
        """Samples of a batch that are made."""
        return self.batch_size // self.parts

    def index(self, made: int) -> int:
        """Return the index, among the samples of whole batches, of one of those that are made."""
        batch, row = divmod(made, self.rows)
        return batch * self.batch_size + self.part * self.rows + row


def training_batches(
    sources: list[Source],
    settings: PatchSettings,
    batching: Batching,
    first: int = 0,
    waiting: Waiting | None = None,
    under_way: UnderWay | None = None,
) -> Batches:
    """Return endless batches `(x, y, w)`, the same in the same order for any number of workers.

    Args:
        sources: what patches are taken from.
        settings: what a patch is.
        batching: how patches become batches.
        first: number of the batch to begin with.
        waiting: adds up how long the training waits for batches.
        under_way: counts the samples that are being made, and can end that.
    """
    seed, accumulate = batching.seed, batching.accumulate

    def augmented(made: int) -> Sample:
        return training_sample(sources, settings, seed, batching.index(made))

    def packed(made: int) -> dict[str, np.ndarray]:
        drawn, image, classes, weight = training_region(sources, settings, seed, batching.index(made))
        if weight is None and any(source.weight for source in sources):
            weight = np.ones(classes.shape, np.float32)
        return native.packed(drawn, image, classes, weight, complete=True)

    chain = Chain(
        packed if batching.on_device else augmented,
        native.stacked if batching.on_device else stacked,
        batching.rows,
        batching.workers,
        first=first,
        together=accumulate,
        finish=weights_of_sum(accumulate, batching.class_weights) if accumulate > 1 else None,
        under_way=under_way or UnderWay(),
    )
    return batches(chain, waiting)


def weights_of_sum(total: float, class_weights: Sequence[float] | None) -> Callable[[tuple], tuple]:
    """Return a function of batches `(x, y, w)` that scales w so that the class-weighted sum of it is `total`.

    Where several processes train together, the sum is that over the parts of all.
    """

    def scaled(batch: tuple) -> tuple:
        x, y, w = batch
        weights = w if class_weights is None else w * np.asarray(class_weights, np.float32)[y]
        actual = hosts.summed(weights.sum(dtype=np.float64))
        return x, y, (w * (total / actual if actual else 0.0)).astype(np.float32)

    return scaled


def validation_batches(
    sources: list[Source], settings: PatchSettings, batching: Batching, positions: Sequence
) -> Batches:
    """Return the finite batches `(x, y, w)` of the patches at `positions`, made once and kept in memory."""
    chain = Chain(
        lambda index: validation_sample(sources, settings, positions[index]),
        stacked,
        batching.batch_size,
        batching.workers,
        len(positions),
    )
    return batches(chain)


def batches(chain: Chain, waiting: Waiting | None = None) -> Batches:
    """Return the batches of a chain in the form that suits the Keras backend best; `waiting` adds up the time waited."""
    return _BATCHES[_backend()](chain, waiting)


def _backend() -> str:
    return "tensorflow" if keras.backend.backend() == "tensorflow" else "other"


def stacked(samples: Sequence[tuple]) -> tuple:
    """Return samples as a batch."""
    return tuple(np.stack(arrays) for arrays in zip(*samples, strict=True))


def _tf_data(chain: Chain, waiting: Waiting | None) -> Batches:
    import tensorflow as tf

    # The first sample tells the shapes and types of all.
    example: Any = chain.sample(0)
    names: list[Any] = list(example) if isinstance(example, dict) else list(range(len(example)))
    arrays = [example[name] for name in names]
    types = [array.dtype for array in arrays]
    shapes = [native.shape_of(name, array) for name, array in zip(names, arrays, strict=True)]

    def make(index: np.ndarray) -> list[np.ndarray]:
        with chain.under_way.one():
            sample: Any = chain.sample(int(index))
        return [sample[name] for name in names]

    def load(index: Tensor) -> dict[str, Tensor] | tuple[Tensor, ...]:
        arrays = tf.numpy_function(make, [index], types, stateful=False)
        # numpy_function loses the shapes; without them Keras could not check the weights against the labels.
        shaped = [tf.ensure_shape(part, shape) for part, shape in zip(arrays, shapes, strict=True)]
        return dict(zip(names, shaped, strict=True)) if isinstance(example, dict) else tuple(shaped)

    size = chain.batch_size * chain.together
    begun = chain.first // chain.together * size
    indices = tf.data.Dataset.counter(begun) if chain.count is None else tf.data.Dataset.range(chain.count)
    samples = indices.map(load, num_parallel_calls=chain.workers, deterministic=True)
    batches = samples.padded_batch(size) if isinstance(example, dict) else samples.batch(size)
    finish = chain.finish
    if finish is not None:

        def finished(*batch: Tensor) -> tuple[Tensor, ...]:
            arrays = tf.numpy_function(lambda *arrays: finish(arrays), batch, types, stateful=False)
            return tuple(tf.ensure_shape(part, (None, *shape)) for part, shape in zip(arrays, shapes, strict=True))

        batches = batches.map(finished)
    if chain.together > 1:
        batches = batches.unbatch().batch(chain.batch_size).skip(chain.first % chain.together)
    if chain.count is not None:
        return batches.cache().prefetch(_AHEAD)
    return _timed(batches.prefetch(_AHEAD), waiting) if waiting else batches.prefetch(_AHEAD)


def _timed(batches: Batches, waiting: Waiting) -> Batches:
    """Return the same `tf.data.Dataset`, telling `waiting` how long each batch was waited for.

    Keras fetches a batch inside its compiled step. A clock is read there, before the batch is asked for and as soon as it
    has come: `zip` asks its parts one after the other, in the thread that iterates.
    """
    import tensorflow as tf

    def clock(tell: Callable[[], None]) -> Tensor:
        def call() -> np.float32:
            tell()
            return np.float32(0)

        return tf.numpy_function(call, [], tf.float32, stateful=True)

    def ended(begun: Tensor, batch: Any) -> Any:
        with tf.control_dependencies([begun]), tf.control_dependencies([clock(waiting.end)]):
            return tf.nest.map_structure(tf.identity, batch)

    begun = tf.data.Dataset.counter().map(lambda _: clock(waiting.begin))
    options = tf.data.Options()
    # A buffer behind the clocks would do the waiting, where nobody measures it.
    options.experimental_optimization.inject_prefetch = False
    return tf.data.Dataset.zip((begun, batches)).map(ended).with_options(options)


class _PyBatches(keras.utils.PyDataset):
    """The batches of a chain without TensorFlow: threads of its own make samples ahead of need, in order."""

    def __init__(self, chain: Chain, waiting: Waiting | None):
        # Keras' own threads would hide how long a training waits.
        super().__init__(workers=1)
        self._chain, self._waiting = chain, waiting or Waiting()
        self._pool = ThreadPoolExecutor(chain.workers)
        # Stacks under way, in order: the number of the stack, and the futures of its samples.
        self._under_way: deque[tuple[int, list[Future]]] = deque()
        # Finished stacks by number: all of a finite chain, only the last of an endless one.
        self._kept: dict[int, Any] = {}

    @property
    def num_batches(self) -> int | None:
        chain = self._chain
        return None if chain.count is None else -(-chain.count // chain.batch_size)

    def __getitem__(self, index: int) -> Any:
        chain = self._chain
        number, part = divmod(index + chain.first, chain.together)
        if number not in self._kept:
            made = self._made(number)
            self._kept = {number: made} if chain.count is None else self._kept | {number: made}
        if chain.together == 1:
            return self._kept[number]
        rows = slice(part * chain.batch_size, (part + 1) * chain.batch_size)
        return tuple(array[rows] for array in self._kept[number])

    def _made(self, number: int) -> Any:
        self._send_for(number)
        _, futures = self._under_way.popleft()
        self._waiting.begin()
        samples = [future.result() for future in futures]
        self._waiting.end()
        stack = self._chain.stack(samples)
        return self._chain.finish(stack) if self._chain.finish else stack

    def _send_for(self, index: int) -> None:
        """Have stack number `index` made, and a few after it; work on any others is dropped."""
        if self._under_way and self._under_way[0][0] != index:
            for _, futures in self._under_way:
                for future in futures:
                    future.cancel()
            self._under_way.clear()
        last = index + _AHEAD if self.num_batches is None else min(index + _AHEAD, self.num_batches - 1)
        for number in range(index + len(self._under_way), last + 1):
            self._under_way.append((number, self._futures(number)))

    def _futures(self, number: int) -> list[Future]:
        size = self._chain.batch_size * self._chain.together
        end = (number + 1) * size if self._chain.count is None else min((number + 1) * size, self._chain.count)
        return [self._pool.submit(self._chain.sample, index) for index in range(number * size, end)]


_BATCHES = {"tensorflow": _tf_data, "other": _PyBatches}
