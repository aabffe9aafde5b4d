"""pytorch-3dunet's side of benchmarks/nuclei.py: python benchmarks/peers/nuclei.py TRAIN TEST RESULT.npy MINUTES [RATE]

The network, loss and transforms of `boundaries.py`, with two channels: foreground, and boundaries by its own
`StandardLabelToBoundary`; in bfloat16 with channels last, which is its fastest here, and at a rate made for few minutes (its own is
2e-4) that falls to zero. The foreground is cut by PlantSeg's distance-transform watershed: seeds at the peaks of the smoothed
distance from boundaries, flooded over the boundary probabilities.
"""

import sys
import time
from pathlib import Path

import boundaries as common
import numpy as np
import torch
from pytorch3dunet.augment import transforms
from pytorch3dunet.unet3d.losses import BCEDiceLoss
from pytorch3dunet.unet3d.model import UNet3D
from scipy import ndimage
from skimage.segmentation import watershed

SMOOTHING, LEAST, THRESHOLD = 2.0, 50, 0.5
RATE = 1e-3


def main() -> None:
    """Train for so many minutes, and write the instances of the test stack."""
    train, test, result = (Path(word) for word in sys.argv[1:4])
    minutes = float(sys.argv[4])
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    stack = common.read(train)
    rate = float(sys.argv[5]) if len(sys.argv) > 5 else RATE
    model = UNet3D(1, 2, f_maps=16, num_levels=4).to(memory_format=torch.channels_last_3d)
    optimizer, loss = torch.optim.Adam(model.parameters(), rate, weight_decay=1e-5), BCEDiceLoss()
    begun, steps = time.perf_counter(), 0
    to_boundary = transforms.StandardLabelToBoundary()
    while (done := (time.perf_counter() - begun) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 + np.cos(np.pi * done)) / 2
        image, label = common.changed(stack, rng)
        target = np.concatenate([label[None] > 0, to_boundary(label).reshape(1, *label.shape) > 0])
        optimizer.zero_grad()
        patch = common.tensor(image)[None, None].to(memory_format=torch.channels_last_3d)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(patch, return_logits=True)[1]
        loss(logits.float(), common.tensor(target)[None]).backward()
        optimizer.step()
        steps += 1
    print(f"pytorch-3dunet: {sum(p.numel() for p in model.parameters()):,} parameters, {steps} steps", flush=True)
    np.save(result, cut(*common.predicted(model, common.read(test)[0])))


def cut(foreground: np.ndarray, boundary: np.ndarray) -> np.ndarray:
    """Return the instances of probabilities `(z, y, x)`."""
    inside = foreground > 0.5
    distance = ndimage.distance_transform_edt(inside & (boundary < THRESHOLD))
    smooth = ndimage.gaussian_filter(distance, SMOOTHING)
    peaks = (smooth == ndimage.maximum_filter(smooth, 5)) & (distance > 0)
    seeds, _ = ndimage.label(peaks, np.ones((3, 3, 3)))
    cells = watershed(boundary - 0.01 * smooth / max(float(smooth.max()), 1e-6), seeds, mask=inside)
    sizes = np.bincount(cells.ravel())
    cells[sizes[cells] < LEAST] = 0
    return cells


if __name__ == "__main__":
    main()
