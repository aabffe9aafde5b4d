"""Seconds and peak memory of a training step: python benchmarks/train.py [--peers PYTHON] [--patch N] [--networks small paper]

Ours, the same network in PyTorch (`peers/train.py`), and the 3D U-Nets of pytorch-3dunet and MONAI as their users run them:
same patch, batch of one, three classes, cross-entropy and soft Dice. Networks: small, 3 levels and 16 filters; paper, 4
levels and 32. Every side is a process of its own, so that its peak memory is its own; the sides take turns, and the best of
the rounds counts. Beside ours, in the same process: its convolutions alone, forward and backward in one compiled function,
and the product of two float32 matrices of 2048.

With `--hosts 1 2` instead: a step on the JAX backend by one process and by two, as `fit --hosts` trains, each of them on a
core of its own, with the same batch of `--batch` patches for all of them together.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from peers.common import CLASSES, NETWORKS, peak

OURS = ("ours", "ours, bfloat16")


def main() -> None:
    """Print a table per network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["small"])
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--hosts", type=int, nargs="+", default=(), help="processes that train together, on JAX")
    parser.add_argument("--host", help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=4, help="patches of a step, with --hosts")
    parser.add_argument("--peers", metavar="PYTHON", help="of an environment with PyTorch, MONAI and pytorch-3dunet")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options)))
        return
    if options.host:
        print(json.dumps(measure_host(*options.host.split(), options)))
        return
    for network in options.networks:
        (report_hosts if options.hosts else report)(network, options)


def report_hosts(network: str, options: argparse.Namespace) -> None:
    """Have every number of processes take its turns, and print a line for each."""
    best: dict[int, float] = {}
    for _ in range(options.rounds):
        for count in options.hosts:
            best[count] = min(best.get(count, float("inf")), together(network, count, options))
    base, depth = NETWORKS[network]
    print(f"\n{network}: {depth} levels, {base} filters, batch of {options.batch} patches of {options.patch}^3, JAX\n")
    for count, step in best.items():
        print(
            f"{count} processes of a core each: {step:.2f} s a step, {best[options.hosts[0]] / step:.2f} times as fast"
        )


def together(network: str, count: int, options: argparse.Namespace) -> float:
    """Return the seconds of a step by so many processes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    size = ["--networks", network, "--patch", str(options.patch), "--steps", str(options.steps)]
    size += ["--batch", str(options.batch)]
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, *size, "--host", f"{address} {number}/{count}"],
            env=os.environ | {"KERAS_BACKEND": "jax"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(1, count + 1)
    ]
    printed = [process.communicate() for process in processes]
    if any(process.returncode for process in processes):
        sys.exit("\n".join(errors for _, errors in printed))
    return max(json.loads(out.splitlines()[-1]) for out, _ in printed)


def measure_host(address: str, host: str, options: argparse.Namespace) -> float:
    """Return the seconds of a step of one of several processes, each on a core of its own."""
    number, count = map(int, host.split("/"))
    # Before JAX counts the cores.
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[number - 1]})
    from keras_unet3d.machine import devices, hosts
    from keras_unet3d.network.architecture import Architecture
    from keras_unet3d.network.unet import build
    from keras_unet3d.training.loop import compiled_network
    from keras_unet3d.training.schedule import Schedule

    if count > 1:
        hosts.join(address, host)
    base, depth = NETWORKS[options.networks[0]]
    patch = (options.patch,) * 3
    with devices.spread_over(devices.device_count()):
        model = build(Architecture((*patch, 1), CLASSES, base, depth, seed=0))
        trained = compiled_network(model, Schedule(1, 1000, 1e-3, "crossentropy+dice"))
        x, y, w = batch(patch, options.batch // count)
        return seconds(lambda: trained.train_on_batch(x, y, sample_weight=w), options.steps)


def report(network: str, options: argparse.Namespace) -> None:
    """Run all sides in turns and print their table."""
    sides = {side: [sys.executable, __file__, "--side", side] for side in OURS}
    if options.peers:
        program = str(Path(__file__).parent / "peers" / "train.py")
        names = json.loads(subprocess.run([options.peers, program], capture_output=True, check=True, text=True).stdout)
        sides |= {name: [options.peers, program, "--side", name] for name in names}
    rounds: dict[str, list[dict]] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side, command in sides.items():
            size = ["--networks", network, "--patch", str(options.patch), "--steps", str(options.steps)]
            printed = subprocess.run([*command, *size], capture_output=True, check=True, text=True).stdout
            rounds[side].append(json.loads(printed.splitlines()[-1]))
    best = {side: min(results, key=lambda result: result["step"]) for side, results in rounds.items()}
    base, depth = NETWORKS[network]
    print(f"\n{network}: {depth} levels, {base} filters, patch {options.patch}^3, batch 1\n")
    print("| | step, s | ours over it | peak memory, GB | parameters |\n| --- | --- | --- | --- | --- |")
    for side, one in best.items():
        ratio = best["ours"]["step"] / one["step"]
        print(f"| {side} | {one['step']:.3f} | {ratio:.2f} | {one['peak']:.2f} | {one['parameters']:,} |")
    for side in OURS:
        one = best[side]
        print(
            f"\n{side}: {one['step'] / one['convolutions']:.2f} times its convolutions alone ({one['convolutions']:.3f} s); "
            f"{one['gflops']:.0f} GFLOP/s of convolutions, {one['gflops'] / one['matrix']:.2f} of the float32 matrix product "
            f"({one['matrix']:.0f})"
        )


def measure(side: str, options: argparse.Namespace) -> dict:
    """Return the figures of one of our sides."""
    import keras

    from keras_unet3d.machine import kernels, precision
    from keras_unet3d.machine.compiled import compiled_for_host
    from keras_unet3d.network.architecture import Architecture
    from keras_unet3d.network.costs import step_costs
    from keras_unet3d.network.unet import build
    from keras_unet3d.training.loop import compiled_network
    from keras_unet3d.training.schedule import Schedule

    kernels.prefer_fast_cpu_kernels()
    base, depth = NETWORKS[options.networks[0]]
    patch = (options.patch,) * 3
    policy = "mixed_bfloat16" if side.endswith("bfloat16") else "float32"
    architecture = Architecture((*patch, 1), CLASSES, base, depth, seed=0)
    with precision.dtype_policy(policy):
        model = build(architecture)
    trained = compiled_network(model, Schedule(1, 1000, 1e-3, "crossentropy+dice"))
    x, y, w = batch(patch)
    step = seconds(lambda: trained.train_on_batch(x, y, sample_weight=w), options.steps)
    # Before anything else takes memory.
    most = peak()
    matrix = keras.random.normal((2048, 2048), seed=0)
    product = compiled_for_host(lambda one: keras.ops.matmul(one, one)[0, 0])
    return {
        "step": step,
        "peak": most,
        "parameters": model.count_params(),
        "convolutions": seconds(convolutions(model, policy), options.steps),
        "gflops": step_costs(architecture, patch, 1, policy).flops / step / 1e9,
        "matrix": 2 * 2048**3 / seconds(lambda: product(matrix), 10) / 1e9,
    }


def batch(patch: tuple, count: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y, w of patches of noise."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, *patch, 1)).astype(np.float32)
    return x, rng.integers(0, CLASSES, (count, *patch)).astype(np.int32), np.ones((count, *patch), np.float32)


def seconds(call: Callable[[], object], count: int) -> float:
    """Return the median time of a call, after two."""
    times = []
    for _ in range(2 + count):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return float(np.median(times[2:]))


def convolutions(model, policy: str) -> Callable[[], object]:
    """Return a function that runs all convolutions of `model`, forward and backward, on features of their own."""
    import tensorflow as tf

    layers = [layer for layer in model.layers if "Conv3D" in type(layer).__name__]
    features = [
        [tf.random.normal((1, *tensor.shape[1:]), dtype=layer.compute_dtype) for tensor in (layer.input, layer.output)]
        for layer in layers
    ]

    @tf.function
    def run(features):
        outputs, gradients = [], []
        tapes = []
        for number, (layer, (x, _)) in enumerate(zip(layers, features, strict=True)):
            with tf.GradientTape() as tape:
                # The first has no input to pass a gradient to.
                if number:
                    tape.watch(x)
                outputs.append(layer(x))
            tapes.append(tape)
        for number in reversed(range(len(layers))):
            x, gradient = features[number]
            wanted = [x] * bool(number) + layers[number].trainable_weights
            gradients += tapes[number].gradient(outputs[number], wanted, gradient)
        # One value of each is enough to have all of it computed.
        return tf.add_n([tf.cast(tf.reshape(tensor, [-1])[0], tf.float32) for tensor in outputs + gradients])

    return lambda: run(features).numpy()


if __name__ == "__main__":
    main()
