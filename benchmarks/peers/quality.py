"""MONAI's side of benchmarks/quality.py: python benchmarks/peers/quality.py TRAINING TEST RESULT.json MINUTES SEED

`UNet`, channels 16-32-64-128, two residual units, strided first convolution, with the best recipe for it that we know: AdamW
from 2e-3 to 0 by time, Dice and cross-entropy without the background, affine maps with probability 0.5 (15 degrees, 20 %), noise,
scale and shift of grey values. Batches of 2 patches of 40x56x40, volumes cached in memory; nothing is held out.
"""

import json
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import torch
from monai import transforms
from monai.losses import DiceCELoss
from monai.networks.nets import UNet

PATCH = (40, 56, 40)
RATE = 2e-3
CLASSES = (1, 2)


def main() -> None:
    """Train, and write Dice per volume and class and over all voxels together."""
    training, test, result = (Path(word) for word in sys.argv[1:4])
    seconds, seed = 60 * float(sys.argv[4]), int(sys.argv[5])
    torch.manual_seed(seed)
    torch.backends.mkldnn.enabled = True
    model = UNet(3, 1, 3, channels=(16, 32, 64, 128), strides=(2, 2, 2), num_res_units=2)
    model = model.to(memory_format=torch.channels_last_3d)
    loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=1e-4)
    loader = torch.utils.data.DataLoader(Endless(volumes_of(training), seed), batch_size=2, num_workers=0)
    begun = time.perf_counter()
    steps = 0
    for image, label in loader:
        passed = (time.perf_counter() - begun) / seconds
        if passed >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - passed) ** 0.9
        optimizer.zero_grad()
        value = loss(model(image.to(memory_format=torch.channels_last_3d)), label)
        value.backward()
        optimizer.step()
        steps += 1
    figures = dice(model, volumes_of(test))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"MONAI: {parameters:,} parameters, {steps} steps, Dice {np.mean(figures['per_volume']):.4f}", flush=True)
    result.write_text(json.dumps(figures))


def volumes_of(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return images, normalised, and labels, z y x with a channel in front."""
    volumes = []
    for entry in json.loads((folder / "dataset.json").read_text())["training"]:
        image = np.asarray(nibabel.load(folder / entry["image"]).dataobj, np.float32).T[None]
        label = np.asarray(nibabel.load(folder / entry["label"]).dataobj).T[None]
        volumes.append(((image - image.mean()) / image.std(), label.astype(np.float32)))
    return volumes


class Endless(torch.utils.data.IterableDataset):
    """Random volumes, padded or cropped to the patch, and changed."""

    def __init__(self, volumes: list, seed: int):
        self.volumes, self.seed = volumes, seed
        keys = ("image", "label")
        self.transform = transforms.Compose(
            [
                transforms.SpatialPadd(keys, PATCH),
                transforms.RandSpatialCropd(keys, PATCH, random_size=False),
                transforms.RandAffined(
                    keys,
                    prob=0.5,
                    rotate_range=(0.26, 0.26, 0.26),
                    scale_range=(0.2, 0.2, 0.2),
                    mode=("bilinear", "nearest"),
                    padding_mode="border",
                ),
                transforms.RandScaleIntensityd("image", 0.1, prob=0.5),
                transforms.RandShiftIntensityd("image", 0.1, prob=0.5),
                transforms.RandGaussianNoised("image", prob=0.2, std=0.1),
            ]
        )
        self.transform.set_random_state(seed)

    def __iter__(self):
        rng = np.random.default_rng(self.seed)
        while True:
            image, label = self.volumes[rng.integers(len(self.volumes))]
            sample = self.transform({"image": image, "label": label})
            yield sample["image"].as_tensor(), sample["label"].as_tensor()


@torch.no_grad()
def dice(model: torch.nn.Module, volumes: list) -> dict:
    """Return Dice per volume and class, each volume in one pass, and over all voxels together."""
    model.eval()
    counts = []
    for image, label in volumes:
        pad = [(0, 0)] + [(0, -size % 8) for size in image.shape[1:]]
        predicted = model(torch.from_numpy(np.pad(image, pad, mode="reflect"))[None])[0].argmax(0).numpy()
        predicted = predicted[tuple(slice(0, size) for size in image.shape[1:])]
        masks = [(predicted == value, label[0] == value) for value in CLASSES]
        counts.append([[(one & other).sum(), one.sum() + other.sum()] for one, other in masks])
    both, sizes = np.moveaxis(np.array(counts, float), -1, 0)
    return {"per_volume": (2 * both / sizes).tolist(), "pooled": (2 * both.sum(0) / sizes.sum(0)).tolist()}


if __name__ == "__main__":
    main()
