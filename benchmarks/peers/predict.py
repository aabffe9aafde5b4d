"""Other libraries' side of benchmarks/predict.py: python benchmarks/peers/predict.py --side NAME --size 160 --tile 64

Without a side it prints their names. The network of `peers/train.py` with a softmax, one tile at a time, over a volume of noise, by MONAI's sliding window or nnU-Net's predictor (Gaussian, in memory) or by pytorch-3dunet's predictor (HDF5 to HDF5 in a
temporary folder, reading and writing included; no halo, overlaps overwritten, patches read in the same process so that
its memory counts). `--filters` and `--depth` replace those of `--network`. One JSON object: seconds of the best round
after one tile to warm up, voxels of the volume per second, the most memory that the process held (GB of 2^30 bytes) and
how much before the first tile, and the overlaps of neighbours that the side really used, as parts of a tile: the last
tile of an axis is moved back into the volume. A side that cannot be imported is null. What the libraries print goes to
stderr.
"""

import argparse
import contextlib
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from common import CLASSES, NETWORKS, peak, resident
from train import same_network


def main() -> None:
    """Print the names, or the figures of one side, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--filters", type=int, help="of the first level, in place of the network's")
    parser.add_argument("--depth", type=int, help="levels, in place of the network's")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--tile", type=int, default=64)
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    if options.tile > options.size:
        parser.error("the tile must fit into the volume")
    if not 0 <= options.overlap < 1:
        parser.error("the overlap must be at least 0 and less than 1")
    if not options.side:
        print(json.dumps(list(SIDES)))
        return
    with contextlib.redirect_stdout(sys.stderr):
        result = figures(options)
    print(json.dumps(result))


def figures(options: argparse.Namespace) -> dict | None:
    """Return the figures of one side, or nothing if its library cannot be imported."""
    try:
        return measure(options)
    except ImportError as error:
        print(f"{options.side}: {error}")
        return None


def measure(options: argparse.Namespace) -> dict:
    """Return seconds, voxels per second and peak memory of one side."""
    import torch

    torch.manual_seed(0)
    make, layout = SIDES[options.side]
    filters, depth = NETWORKS[options.network]
    network = same_network(options.filters or filters, options.depth or depth)
    model = torch.nn.Sequential(network, torch.nn.Softmax(1)).eval()
    if layout != "default":
        model = model.to(memory_format=torch.channels_last_3d)
    volume = np.random.default_rng(0).normal(size=(options.size,) * 3).astype(np.float32)
    one_tile = volume[(slice(options.tile),) * 3]
    with tempfile.TemporaryDirectory() as warm_folder, tempfile.TemporaryDirectory() as folder:
        warm_up, _ = make(model, one_tile, options, Path(warm_folder), layout)
        predict, tiles = make(model, volume, options, Path(folder), layout)
        base = resident()
        warm_up()
        times = []
        for _ in range(options.rounds):
            begun = time.perf_counter()
            predict()
            times.append(time.perf_counter() - begun)
    speed, most = volume.size / min(times), peak()
    return {
        "seconds": min(times),
        "voxels_per_second": speed,
        "peak_gb": most,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "overlaps": overlaps(tiles, options.tile),
        # The names that predict.py reads.
        "speed": speed,
        "peak": most,
        "base": base,
        "tiles": in_words(tiles, options),
    }


def overlaps(tiles: list[tuple[slice, ...]], side: int) -> list[float]:
    """Return the different parts of a tile that neighbours along an axis share; all axes are alike."""
    starts = sorted({tile[-1].start for tile in tiles})
    return sorted({1 - (b - a) / side for a, b in itertools.pairwise(starts)})


def in_words(tiles: list[tuple[slice, ...]], options: argparse.Namespace) -> str:
    """Return tiles in words, as predict.py has ours."""
    times = len(tiles) * options.tile**3 / options.size**3
    sizes, count = " x ".join([str(options.tile)] * 3), "1 tile" if len(tiles) == 1 else f"{len(tiles)} tiles"
    return f"{count} of {sizes}, every voxel computed {times:.1f} times"


def monai(model, volume, options, folder: Path, layout: str):
    """Return a call of MONAI's sliding window, Gaussian, one window at a time, and its tiles."""
    import torch
    from monai.data.utils import dense_patch_slices
    from monai.inferers import sliding_window_inference
    from monai.inferers.utils import _get_scan_interval

    x = torch.from_numpy(np.ascontiguousarray(volume))[None, None]
    if layout != "default":
        x = x.to(memory_format=torch.channels_last_3d)
    roi = (options.tile,) * 3

    def predict():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=layout == "bfloat16"):
            sliding_window_inference(x, roi, 1, model, overlap=options.overlap, mode="gaussian")

    steps = _get_scan_interval(volume.shape, roi, 3, (options.overlap,) * 3)
    return predict, dense_patch_slices(volume.shape, roi, steps)


def pytorch_3dunet(model, volume, options, folder: Path, layout: str):
    """Return a call of pytorch-3dunet's predictor, from HDF5 to HDF5 as its users run it, and its tiles."""
    import h5py
    from pytorch3dunet.datasets.utils import get_test_loaders
    from pytorch3dunet.unet3d.config import TorchDevice
    from pytorch3dunet.unet3d.predictor import StandardPredictor

    with h5py.File(folder / "volume.h5", "w") as file:
        file["raw"] = volume
    stride = max(1, int(options.tile * (1 - options.overlap)))
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
                    # It refuses patches of less than 64.
                    "skip_shape_check": True,
                },
                "transformer": {"raw": [{"name": "Standardize"}, {"name": "ToTensor", "expand_dims": True}]},
            },
        },
    }
    (folder / "out").mkdir()

    def predict():
        for loader in get_test_loaders(config):
            StandardPredictor(model, str(folder / "out"), CLASSES, TorchDevice.CPU)(loader)

    return predict, next(get_test_loaders(config)).dataset.raw_slices


def nnunet(model, volume, options, folder: Path, layout: str):
    """Return a call of nnU-Net's predictor, Gaussian, without mirroring, and its tiles; nnU-Net's own overlap is a half.

    It enters autocast on GPUs alone, so that here the network does.
    """
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            if layout != "default":
                x = x.to(memory_format=torch.channels_last_3d)
            with torch.autocast("cpu", torch.bfloat16, enabled=layout == "bfloat16"):
                return self.inner(x).float()

    cpu = torch.device("cpu")
    predictor = nnUNetPredictor(1 - options.overlap, use_mirroring=False, device=cpu, allow_tqdm=False)
    predictor.network = Network()
    predictor.configuration_manager = SimpleNamespace(patch_size=[options.tile] * 3)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=CLASSES)
    x = torch.from_numpy(np.ascontiguousarray(volume))[None]
    tiles = [tile[1:] for tile in predictor._internal_get_sliding_window_slicers(volume.shape)]
    return lambda: predictor.predict_sliding_window_return_logits(x), tiles


# Name -> how it predicts, memory layout; "bfloat16" is with autocast and channels last, which pytorch-3dunet's cannot write.
SIDES = {
    "MONAI sliding_window_inference": (monai, "default"),
    "MONAI sliding_window_inference, channels_last_3d": (monai, "channels_last"),
    "MONAI sliding_window_inference, channels_last_3d, bfloat16": (monai, "bfloat16"),
    "nnU-Net predictor, channels_last_3d": (nnunet, "channels_last"),
    "nnU-Net predictor, channels_last_3d, bfloat16": (nnunet, "bfloat16"),
    "pytorch-3dunet predictor": (pytorch_3dunet, "default"),
    "pytorch-3dunet predictor, channels_last_3d": (pytorch_3dunet, "channels_last"),
}


if __name__ == "__main__":
    main()
