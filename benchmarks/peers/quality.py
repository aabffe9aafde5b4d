"""MONAI's side of benchmarks/quality.py: python benchmarks/peers/quality.py DATA HELD_OUT.json RESULT.json MINUTES ...

`UNet`, channels 16-32-64-128, two residual units, strided first convolution, AdamW, Dice and cross-entropy, and the
transforms of its tutorials: affine and grey values. Batches of 2 patches of 40x56x40, volumes cached in memory. The
learning rate falls to 0 at the last mark, by time.
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
RATE = 1e-3


def main() -> None:
    """Train, and write the Dice per class at every mark."""
    data, held_out, result = Path(sys.argv[1]), set(json.loads(Path(sys.argv[2]).read_text())), Path(sys.argv[3])
    minutes = [float(word) for word in sys.argv[4:]]
    torch.manual_seed(0)
    images = sorted((data / "imagesTr").glob("*.nii.gz"))
    volumes = {path: load(path, data) for path in images}
    training = [volumes[path] for path in images if str(path.resolve()) not in held_out]
    validation = [volumes[path] for path in images if str(path.resolve()) in held_out]
    model = UNet(3, 1, 3, channels=(16, 32, 64, 128), strides=(2, 2, 2), num_res_units=2)
    print(
        f"MONAI: {sum(p.numel() for p in model.parameters()):,} parameters, {len(training)} volumes, {len(validation)} held out"
    )
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=1e-4)
    loader = torch.utils.data.DataLoader(Endless(training), batch_size=2, num_workers=0)
    begun, marks = time.perf_counter(), {}
    away = 0.0
    for steps, (image, label) in enumerate(loader):
        passed = time.perf_counter() - begun - away
        for mark in minutes:
            if str(mark) not in marks and passed > 60 * mark:
                paused = time.perf_counter()
                marks[str(mark)] = dice(model, validation)
                away += time.perf_counter() - paused
                print(f"MONAI: {mark:g} minutes, {steps} steps, Dice {np.mean(marks[str(mark)]):.4f}", flush=True)
        if len(marks) == len(minutes):
            break
        for group in optimizer.param_groups:
            group["lr"] = RATE * max(1 - passed / (60 * max(minutes)), 0.0) ** 0.9
        optimizer.zero_grad()
        value = loss(model(image), label)
        value.backward()
        optimizer.step()
    result.write_text(json.dumps(marks))


def load(path: Path, data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return image, normalised, and labels, z y x with a channel in front."""
    image = np.asarray(nibabel.load(path).dataobj, np.float32).T[None]
    label = np.asarray(nibabel.load(data / "labelsTr" / path.name).dataobj).T[None]
    return (image - image.mean()) / image.std(), label.astype(np.float32)


class Endless(torch.utils.data.IterableDataset):
    """Random volumes, padded or cropped to the patch, and changed."""

    def __init__(self, volumes: list):
        self.volumes = volumes
        keys = ("image", "label")
        self.transform = transforms.Compose(
            [
                transforms.SpatialPadd(keys, PATCH),
                transforms.RandSpatialCropd(keys, PATCH, random_size=False),
                transforms.RandAffined(
                    keys,
                    prob=0.8,
                    rotate_range=(0.26, 0.26, 0.26),
                    scale_range=(0.15, 0.15, 0.15),
                    mode=("bilinear", "nearest"),
                    padding_mode="border",
                ),
                transforms.RandScaleIntensityd("image", 0.1, prob=0.5),
                transforms.RandShiftIntensityd("image", 0.1, prob=0.5),
                transforms.RandGaussianNoised("image", prob=0.2, std=0.1),
            ]
        )
        self.transform.set_random_state(0)

    def __iter__(self):
        rng = np.random.default_rng(0)
        while True:
            image, label = self.volumes[rng.integers(len(self.volumes))]
            sample = self.transform({"image": image, "label": label})
            yield sample["image"].as_tensor(), sample["label"].as_tensor()


@torch.no_grad()
def dice(model: torch.nn.Module, volumes: list) -> list[float]:
    """Return the Dice of both classes, averaged over the volumes, each in one pass."""
    model.eval()
    scores = []
    for image, label in volumes:
        pad = [(0, 0)] + [(0, -size % 8) for size in image.shape[1:]]
        predicted = model(torch.from_numpy(np.pad(image, pad, mode="reflect"))[None])[0].argmax(0).numpy()
        predicted = predicted[tuple(slice(0, size) for size in image.shape[1:])]
        scores.append([overlap(predicted == value, label[0] == value) for value in (1, 2)])
    model.train()
    return np.mean(scores, axis=0).tolist()


def overlap(one, other) -> float:
    """Return the Dice of two masks."""
    return float(2 * (one & other).sum() / max(one.sum() + other.sum(), 1))


if __name__ == "__main__":
    main()
