"""All that a GPU decides, in one run: python benchmarks/gpu.py [--peers PYTHON] [--patches 64 96 128] [--small]

On whatever device the Keras backend finds (`KERAS_BACKEND`): training steps of the paper's network (4 levels, 32 filters) in every
number format, with patches made on the host and on the device; prediction by tiles per call; and, with `--peers`, the same network
in PyTorch with autocast and channels last. Every row is a process of its own. A step is that of `fit --profile`, whose patches are
cut out of a volume of noise; its share is that of the product of two large matrices of the same format. "waiting" is the share of
the training in which the network waited for its patches. `--small` takes seconds on a processor: it shows that all of it runs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from peers.common import CLASSES, peak

# Number format -> Keras dtype policy, type of the matrices, and whether float32 may be multiplied as TF32.
FORMATS = {
    "float32": ("float32", "float32", False),
    "TF32": ("float32", "float32", True),
    "mixed_float16": ("mixed_float16", "float16", True),
    "mixed_bfloat16": ("mixed_bfloat16", "bfloat16", True),
}
PEER_FORMATS = {"float32": "none", "float16": "float16", "bfloat16": "bfloat16"}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", type=int, nargs="+", default=(64, 96, 128))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--peers", metavar="PYTHON", help="of an environment with PyTorch")
    parser.add_argument("--small", action="store_true", help="a small network and small patches")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.small:
        options.patches, options.steps = (16,), 3
    if options.row:
        row = json.loads(options.row)
        print(json.dumps(ROWS[row.pop("what")](options, **row)))
        return
    print(_row(options, "device")["name"])
    training(options)
    prediction(options)


def training(options: argparse.Namespace) -> None:
    """Print a row per patch, number format and place of the augmentation."""
    print(
        "\n| patch | format | augmented on | step, s | patches per s | share of the matrix rate | memory, GB | waiting |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for patch in options.patches:
        # A processor has no pooling in half precision.
        for name in ("float32", "mixed_bfloat16") if options.small else FORMATS:
            for place in ("host", "device"):
                print(
                    _shown(f"{patch}^3 | {name} | {place}", _row(options, "fit", patch=patch, name=name, place=place))
                )
        for name in PEER_FORMATS if options.peers else ():
            print(_shown(f"{patch}^3 | PyTorch {name} | -", _peer(options, patch, name)), flush=True)


def prediction(options: argparse.Namespace) -> None:
    """Print a row per number of tiles in a call."""
    print("\n| precision | tiles per call | million voxels per s | memory, GB |\n| --- | --- | --- | --- |")
    for precision in ("float32", "bfloat16"):
        for together in (1, 2) if options.small else (1, 2, 4, 8):
            found = _row(options, "predict", precision=precision, together=together)
            figures = f"{found['speed'] / 1e6:.2f} | {found['memory']:.2f}" if "speed" in found else found["failed"]
            print(f"| {precision} | {together} | {figures} |", flush=True)


def _shown(what: str, found: dict) -> str:
    if "failed" in found:
        return f"| {what} | {found['failed']} | | | | |"
    share, waiting = (f"{found[key]:.2f}" if key in found else "-" for key in ("share", "waiting"))
    figures = f"{found['step']:.3f} | {found['batch'] / found['step']:.2f} | {share} | {found['memory']:.2f}"
    return f"| {what} | {figures} | {waiting} |"


def _row(options: argparse.Namespace, what: str, **given) -> dict:
    words = ["--row", json.dumps({"what": what, **given}), "--batch", options.batch, "--steps", options.steps]
    return _json_of([sys.executable, __file__, *words, *(["--small"] if options.small else [])])


def _peer(options: argparse.Namespace, patch: int, name: str) -> dict:
    program = Path(__file__).parent / "peers" / "train.py"
    network = "small" if options.small else "paper"
    words = ["--side", "PyTorch, same network, channels_last_3d", "--patch", patch, "--networks", network]
    words += ["--batch", options.batch, "--device", "auto", "--autocast", PEER_FORMATS[name]]
    return _json_of([options.peers, program, *words]) | {"batch": options.batch}


def _json_of(command: list) -> dict:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        # A format or a size that this device does not take is a result, too.
        lines = done.stderr.strip().splitlines() or ["it failed"]
        errors = [line for line in lines if "Error" in line] or lines
        return {"failed": errors[-1].strip()[:200].replace("|", "/")}
    return json.loads(done.stdout.splitlines()[-1])


# ---- what a row measures, in a process of its own ------------------------------------------------


def device(options: argparse.Namespace) -> dict:
    """Return backend and device in words."""
    import keras

    from keras_unet3d.machine import devices

    return {
        "name": f"{keras.backend.backend()} {keras.__version__}: {', '.join(_device_names() or devices.device_names())}"
    }


def _device_names() -> list[str]:
    """Return what the maker calls the GPUs; nothing without nvidia-smi."""
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
    except (OSError, subprocess.CalledProcessError):
        return []


def fit(options: argparse.Namespace, patch: int, name: str, place: str) -> dict:
    """Return the figures of a short training."""
    import h5py

    import keras_unet3d
    from keras_unet3d.run_folder import RunFolder

    policy, kind, fast = FORMATS[name]
    _allow_tf32(fast)
    shape = (patch + 32,) * 3
    rng = np.random.default_rng(0)
    settings = keras_unet3d.FitSettings(
        patch=(patch,) * 3,
        batch_size=options.batch,
        **_network(options),
        precision=policy,
        augment_on=place,
        engine="native",
        epochs=1,
        steps_per_epoch=options.steps,
        validation_share=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "noise.h5"
        with h5py.File(data, "w") as file:
            file["raw"] = rng.integers(0, 255, shape, np.uint8)
            file["label"] = rng.integers(0, CLASSES, shape, np.uint8)
        run = keras_unet3d.fit(data, Path(folder) / "run", settings=settings, profile=True)
        profile = json.loads((run.path / "profile.json").read_text())
        waiting = RunFolder(run.path).read_config().input["waiting"]
    step = profile["seconds"]["step"]
    rate = _matrix_rate(kind, 256 if options.small else 8192)
    return {
        "step": step,
        "batch": options.batch,
        "share": profile["gflop"] / step / rate,
        "memory": _memory(),
        "waiting": waiting,
    }


def predict(options: argparse.Namespace, precision: str, together: int) -> dict:
    """Return voxels per second of a prediction."""
    import keras_unet3d
    from keras_unet3d.model_spec import untrained_spec
    from keras_unet3d.network.unet import architecture_of
    from keras_unet3d.volumes import from_array
    from keras_unet3d.zoo.engines import predictor_in

    model = keras_unet3d.build_model(num_classes=CLASSES, seed=0, **_network(options))
    predictor = predictor_in("keras", precision, "", model, untrained_spec(architecture_of(model)))
    tile, size = (16, 24) if options.small else (96, 256)
    volume = from_array(np.random.default_rng(0).normal(size=(size,) * 3).astype(np.float32))
    settings = keras_unet3d.PredictSettings(tile=(tile,) * 3, merge="blend", batch_size=together)
    times = []
    for _ in range(2):
        begun = time.perf_counter()
        predictor.predict(volume, "classes", settings)
        times.append(time.perf_counter() - begun)
    return {"speed": size**3 / min(times), "memory": _memory()}


def _network(options: argparse.Namespace) -> dict:
    return {"base_filters": 2, "depth": 2} if options.small else {"base_filters": 32, "depth": 4}


def _allow_tf32(allowed: bool) -> None:
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(allowed)
    elif keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "default" if allowed else "highest")


def _matrix_rate(kind: str, size: int) -> float:
    """Return GFLOP/s of the product of two matrices."""
    import keras

    matrix = keras.ops.cast(keras.random.normal((size, size), seed=0), kind)
    times = []
    for _ in range(6):
        begun = time.perf_counter()
        # What a device computes is waited for.
        float(keras.ops.matmul(matrix, matrix)[0, 0])
        times.append(time.perf_counter() - begun)
    return 2 * size**3 / min(times) / 1e9


def _memory() -> float:
    """Return the most memory that was taken, GB: of the GPU where there is one, else of the process."""
    import keras

    from keras_unet3d.machine import devices

    reader = _MEMORY.get(keras.backend.backend())
    return reader() / 2**30 if devices.has_gpu() and reader else peak()


def _tensorflow_memory() -> float:
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")["peak"]


def _jax_memory() -> float:
    import jax

    return jax.devices()[0].memory_stats()["peak_bytes_in_use"]


_MEMORY: dict[str, Callable[[], float]] = {"tensorflow": _tensorflow_memory, "jax": _jax_memory}
ROWS: dict[str, Callable[..., dict]] = {"device": device, "fit": fit, "predict": predict}

if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
