"""The peers of predict.py: python predict_peers.py --side NAME --size 160 --tile 64 --overlap 0.25; without a side, their names."""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from train_peers import CLASSES, NETWORKS, same_network


def main() -> None:
    """Print the names, or the figures of one side, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--tile", type=int, default=64)
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    print(json.dumps(measure(options) if options.side else list(SIDES)))


def measure(options: argparse.Namespace) -> dict:
    """Return seconds, voxels per second and peak memory of one side."""
    import torch

    torch.manual_seed(0)
    make, layout = SIDES[options.side]
    model = torch.nn.Sequential(same_network(*NETWORKS[options.network]), torch.nn.Softmax(1)).eval()
    if layout == "channels_last":
        model = model.to(memory_format=torch.channels_last_3d)
    volume = np.random.default_rng(0).normal(size=(options.size,) * 3).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        predict = make(model, volume, options, Path(folder), layout)
        base = resident()
        times = []
        for _ in range(options.rounds):
            begun = time.perf_counter()
            predict()
            times.append(time.perf_counter() - begun)
    return {
        "seconds": min(times),
        "speed": volume.size / min(times),
        "peak": peak(),
        "base": base,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def resident() -> float:
    """Return the memory that this process holds, GB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**30


def peak() -> float:
    """Return the most memory that this process ever held, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def monai(model, volume, options, folder: Path, layout: str):
    """Return a call of MONAI's sliding window, Gaussian, one window at a time."""
    import torch
    from monai.inferers import sliding_window_inference

    x = torch.from_numpy(volume)[None, None]
    if layout == "channels_last":
        x = x.to(memory_format=torch.channels_last_3d)
    roi = (options.tile,) * 3
    return lambda: sliding_window_inference(x, roi, 1, model, overlap=options.overlap, mode="gaussian")


def pytorch_3dunet(model, volume, options, folder: Path, layout: str):
    """Return a call of pytorch-3dunet's predictor, from HDF5 to HDF5 as its users run it."""
    import h5py
    from pytorch3dunet.datasets.utils import get_test_loaders
    from pytorch3dunet.unet3d.config import TorchDevice
    from pytorch3dunet.unet3d.predictor import StandardPredictor

    with h5py.File(folder / "volume.h5", "w") as file:
        file["raw"] = volume
    stride = int(options.tile * (1 - options.overlap))
    config = {
        "device": TorchDevice.CPU,
        "loaders": {
            "dataset": "StandardHDF5Dataset",
            "batch_size": 1,
            "num_workers": 0,
            "raw_internal_path": "raw",
            "test": {
                "file_paths": [str(folder / "volume.h5")],
                "slice_builder": {
                    "name": "SliceBuilder",
                    "patch_shape": [options.tile] * 3,
                    "stride_shape": [stride] * 3,
                    "halo_shape": [0, 0, 0],
                },
                "transformer": {"raw": [{"name": "Standardize"}, {"name": "ToTensor", "expand_dims": True}]},
            },
        },
    }
    (folder / "out").mkdir()

    def predict():
        for loader in get_test_loaders(config):
            StandardPredictor(model, str(folder / "out"), CLASSES, TorchDevice.CPU)(loader)

    return predict


# Name -> how it predicts, memory layout.
SIDES = {
    "MONAI sliding window": (monai, "default"),
    "MONAI sliding window, channels_last_3d": (monai, "channels_last"),
    "pytorch-3dunet predictor": (pytorch_3dunet, "default"),
}


if __name__ == "__main__":
    main()
