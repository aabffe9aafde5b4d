"""The one place that touches process-wide state: kernels, precision, memory growth."""

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from keras_unet3d.errors import InputError

PRECISIONS = ("auto", "float32", "mixed_float16", "mixed_bfloat16")


def prefer_fast_cpu_kernels() -> None:
    """Switch TensorFlow's oneDNN kernels on unless the user decided, or TensorFlow is loaded already.

    They are off by default on CPUs without AVX-512 VNNI or AMX, where they are three times as fast.
    """
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def load_backend_quietly() -> None:
    """Import Keras and its backend without start-up notes; for the command line, whose error is one sentence.

    TensorFlow's are written by C++ code straight to file descriptor 2. If the import fails they are shown.
    """
    if "keras" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as notes:
        terminal = os.dup(2)
        os.dup2(notes.fileno(), 2)
        try:
            import keras  # noqa: F401
        except BaseException:
            notes.seek(0)
            os.write(terminal, notes.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def has_gpu() -> bool:
    """Return whether the Keras backend sees a GPU; TensorFlow's memory then grows as needed instead of all at once."""
    import keras

    backend = keras.backend.backend()
    return _GPUS[backend]() if backend in _GPUS else False


def _tensorflow_has_gpu() -> bool:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            # The device is in use already: its memory policy is the caller's.
            break
    return bool(gpus)


def _jax_has_gpu() -> bool:
    import jax

    return jax.default_backend() == "gpu"


def _torch_has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


_GPUS = {"tensorflow": _tensorflow_has_gpu, "jax": _jax_has_gpu, "torch": _torch_has_gpu}


def resolve_precision(precision: str) -> str:
    """Return the Keras dtype policy for one of `PRECISIONS`; "auto" is float16 on GPUs with tensor cores, else float32."""
    if precision != "auto":
        return precision
    return "mixed_float16" if _has_tensor_cores() else "float32"


def _has_tensor_cores() -> bool:
    """Return whether all GPUs multiply half precision in hardware of its own: NVIDIA's compute capability 7 or more."""
    import keras

    if not has_gpu():
        return False
    if keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability") for gpu in gpus]
    return all(capability is None or capability >= (7, 0) for capability in capabilities)


def available_memory() -> int | None:
    """Return the bytes of memory that a training may use: one GPU's where there is one, else what is free on the host."""
    return _gpu_memory() if has_gpu() else _host_memory()


def _gpu_memory() -> int | None:
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split()
        return min(int(mebibytes) for mebibytes in found) * 2**20
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _host_memory() -> int | None:
    """Return what Linux calls available, or what a container leaves of it; None on other systems."""
    try:
        with open("/proc/meminfo") as lines:
            available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
    try:
        with open("/sys/fs/cgroup/memory.max") as limit, open("/sys/fs/cgroup/memory.current") as used:
            return min(available, int(limit.read()) - int(used.read()))
    except (OSError, ValueError):
        return available


def resident_memory() -> int:
    """Return the bytes of memory that this process holds; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as lines:
            return int(lines.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of any backend means that memory ran out."""
    exhausted = type(error).__name__ in ("ResourceExhaustedError", "OutOfMemoryError", "MemoryError")
    return exhausted or "RESOURCE_EXHAUSTED" in str(error)


def devices() -> int:
    """Return the number of devices that a training is spread over unless the user says otherwise: all GPUs, or one."""
    return len(_device_names()) if has_gpu() else 1


def _device_names() -> list[str]:
    import keras

    backend = keras.backend.backend()
    return _DEVICES[backend](has_gpu()) if backend in _DEVICES else ["cpu:0"]


def _tensorflow_devices(gpu: bool) -> list[str]:
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices("GPU" if gpu else "CPU")]


def _jax_devices(gpu: bool) -> list[str]:
    import keras

    return keras.distribution.list_devices("gpu" if gpu else "cpu")


_DEVICES = {"tensorflow": _tensorflow_devices, "jax": _jax_devices}


@contextmanager
def spread_over(count: int) -> Iterator[None]:
    """Have what is built and trained within this spread over `count` devices of this host, each with a part of a batch.

    Raises:
        InputError: there are fewer devices.
    """
    if count == 1:
        yield
        return
    import keras

    names = _device_names()
    backend = keras.backend.backend()
    if len(names) < count or backend not in _SPREAD:
        raise InputError(f"devices: expected at most the {len(names)} of this host, found {count}; ask for fewer.")
    with _SPREAD[backend](names[:count]):
        yield


def accumulates_on_devices() -> bool:
    """Return whether gradients of several batches can be added on several devices."""
    import keras

    # Keras' optimisers choose between adding and applying within a condition, where MirroredStrategy cannot synchronise.
    return keras.backend.backend() != "tensorflow"


def _mirrored(names: list[str]):
    return _mirrored_strategy(tuple(names)).scope()


@functools.cache
def _mirrored_strategy(names: tuple[str, ...]):
    # A second one in the same process would take the first one's messages for its own.
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(names)


@contextmanager
def _data_parallel(names: list[str]) -> Iterator[None]:
    import keras

    former = keras.distribution.distribution()
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=names, auto_shard_dataset=False))
    try:
        yield
    finally:
        keras.distribution.set_distribution(former)


_SPREAD = {"tensorflow": _mirrored, "jax": _data_parallel}


def machine() -> dict[str, object]:
    """Return what of this machine decides how fast a run is, and how exactly another repeats it."""
    import platform

    import keras

    backend = keras.backend.backend()
    return {
        "backend": backend,
        "devices": _device_names(),
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "oneDNN": backend == "tensorflow" and os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "1",
    }


@contextmanager
def dtype_policy(policy: str) -> Iterator[None]:
    """Make `policy` Keras' global dtype policy, and restore the former one afterwards."""
    import keras

    former = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(former)


def compiled_for_host(function: Callable) -> Callable:
    """Return `function`, of arrays and dictionaries of them, compiled for the CPU: NumPy arrays in and out.

    XLA compiles it anew for every combination of shapes (0.3 s and more each).
    """
    import keras

    backend = keras.backend.backend()
    compiled = _COMPILERS[backend](function) if backend in _COMPILERS else function

    def call(*arguments):
        # A GPU has better to do, and what it made would have to come back.
        with keras.device("cpu:0"):
            found = compiled(*arguments)
        return keras.tree.map_structure(keras.ops.convert_to_numpy, found, none_is_leaf=False)

    return call


def _compiled_by_tensorflow(function: Callable) -> Callable:
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def _compiled_by_jax(function: Callable) -> Callable:
    import jax

    return jax.jit(function)


_COMPILERS = {"tensorflow": _compiled_by_tensorflow, "jax": _compiled_by_jax}


def can_fuse_normalization() -> bool:
    """Return whether `normalized_batch` exists on this backend."""
    import keras

    return keras.backend.backend() == "tensorflow"


def normalized_batch(x, gamma, beta, epsilon: float):
    """Return `x` `(batch, z, y, x, channels)` normalised over all but its channels, and mean and variance, float32.

    TensorFlow only: its fused operation knows images alone, so z and y are taken as one axis. Under replicas mean and
    variance are those of the whole batch.
    """
    import tensorflow as tf

    gamma, beta = (tf.convert_to_tensor(variable, tf.float32) for variable in (gamma, beta))
    if replicas() > 1:
        x32 = tf.cast(x, tf.float32)
        voxels = tf.cast(tf.size(x) / x.shape[-1], tf.float32)
        axes = tuple(range(len(x.shape) - 1))
        count, total = summed_over_replicas((voxels, tf.reduce_sum(x32, axes)))
        mean = total / count
        (squares,) = summed_over_replicas((tf.reduce_sum(tf.square(x32 - mean), axes),))
        variance = squares / count
        y = tf.nn.batch_normalization(x32, mean, variance, beta, gamma, epsilon)
        return tf.cast(y, x.dtype), mean, variance
    shape = tf.shape(x)
    flat = tf.reshape(x, (shape[0], -1, shape[3], x.shape[-1]))
    nothing = tf.constant([], tf.float32)
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=flat, scale=gamma, offset=beta, mean=nothing, variance=nothing, epsilon=epsilon, is_training=True
    )
    # The operation divides the squares by one less than their number.
    count = tf.cast(tf.size(x) / x.shape[-1], tf.float32)
    return tf.ensure_shape(tf.reshape(y, shape), x.shape), mean, variance * (count - 1) / count


def replicas() -> int:
    """Return over how many replicas the current computation is spread by `tf.distribute`."""
    # Without TensorFlow there are none; it is not loaded to find out.
    tf = sys.modules.get("tensorflow")
    context = tf.distribute.get_replica_context() if tf and hasattr(tf, "distribute") else None
    return context.num_replicas_in_sync if context else 1


def summed_over_replicas(values: tuple) -> tuple:
    """Return every value summed over the replicas; gradients pass through."""
    if replicas() == 1:
        return values
    import tensorflow as tf

    return tuple(tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, list(values)))


def loss_and_gradients(model) -> tuple[Callable, Callable]:
    """Return two functions of `(x, y, w)`, compiled for a compiled model: the loss in training, and the gradients of all trained weights."""
    import keras

    return _DIFFERENTIATED[keras.backend.backend()](model)


def _differentiated_by_tensorflow(model) -> tuple[Callable, Callable]:
    import tensorflow as tf

    def forward(x, y, w):
        return model.compute_loss(x, y, model(x, training=True), w)

    def gradients(x, y, w):
        with tf.GradientTape() as tape:
            value = forward(x, y, w)
        # Their sums are enough to have all of them computed.
        found = tape.gradient(value, model.trainable_variables)
        return tf.add_n([tf.reduce_sum(gradient) for gradient in found if gradient is not None])

    return tf.function(forward), tf.function(gradients)


def _differentiated_by_jax(model) -> tuple[Callable, Callable]:
    import jax

    fixed = [variable.value for variable in model.non_trainable_variables]
    trained = [variable.value for variable in model.trainable_variables]

    def value(variables, x, y, w):
        return model.compute_loss(x, y, model.stateless_call(variables, fixed, x, training=True)[0], w)

    forward, gradients = jax.jit(value), jax.jit(jax.grad(value))
    return (lambda x, y, w: forward(trained, x, y, w)), (lambda x, y, w: gradients(trained, x, y, w))


_DIFFERENTIATED = {"tensorflow": _differentiated_by_tensorflow, "jax": _differentiated_by_jax}


def is_installed(module: str) -> bool:
    """Return whether a module can be found; it is not imported."""
    from importlib.util import find_spec

    return find_spec(module) is not None


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide what a run computes."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("keras-unet3d", "tensorflow", "jax", "keras", "numpy", "elasticdeform", "scipy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
