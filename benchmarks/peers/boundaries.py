"""pytorch-3dunet's side of benchmarks/boundaries.py: python benchmarks/peers/boundaries.py TRAIN TRAIN TEST RESULT.npy MINUTES

Its `UNet3D` (16 feature maps, 4 levels, group normalisation), BCE and Dice, Adam with its rate, and the transforms of its
example configurations: standardised, flips, quarter turns, rotation, elastic deformation, noise; boundaries by its own
`StandardLabelToBoundary`. One patch of 32x80x80 a step.
"""

import sys
import time
from pathlib import Path

import h5py
import numpy as np
import torch
from pytorch3dunet.augment import transforms
from pytorch3dunet.unet3d.losses import BCEDiceLoss
from pytorch3dunet.unet3d.model import UNet3D

PATCH = (32, 80, 80)


def main() -> None:
    """Train for so many minutes, and write the boundary probabilities of the third stack."""
    *training, test = (Path(word) for word in sys.argv[1:4])
    result, minutes = Path(sys.argv[4]), float(sys.argv[5])
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    stacks = [read(path) for path in training]
    model = UNet3D(1, 1, f_maps=16, num_levels=4)
    optimizer, loss = torch.optim.Adam(model.parameters(), 2e-4, weight_decay=1e-5), BCEDiceLoss()
    begun, steps = time.perf_counter(), 0
    while time.perf_counter() - begun < 60 * minutes:
        image, target = sample(stacks[rng.integers(len(stacks))], rng)
        optimizer.zero_grad()
        logits = model(image, return_logits=True)[1]
        loss(logits, target).backward()
        optimizer.step()
        steps += 1
    print(f"pytorch-3dunet: {sum(p.numel() for p in model.parameters()):,} parameters, {steps} steps", flush=True)
    np.save(result, predicted(model, read(test)[0])[0])


def predicted(model: torch.nn.Module, raw: np.ndarray) -> np.ndarray:
    """Return the probabilities of a stack, `(channels, z, y, x)`, in one pass."""
    pads = [(0, -size % 8) for size in raw.shape]
    with torch.inference_mode():
        x = torch.from_numpy(np.pad(raw, pads, mode="reflect").astype(np.float32))[None, None]
        probabilities = torch.sigmoid(model.eval()(x, return_logits=True)[1])[0].numpy()
    return probabilities[:, *(slice(0, size) for size in raw.shape)]


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return a standardised image and its labels."""
    with h5py.File(path) as file:
        raw, label = file["raw"][...].astype(np.float32), file["label"][...]
    return (raw - raw.mean()) / raw.std(), label


def sample(stack: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one augmented patch with its boundaries."""
    image, label = changed(stack, rng)
    target = transforms.StandardLabelToBoundary()(label)
    return tensor(image)[None, None], tensor(target).reshape(1, 1, *PATCH)


def changed(stack: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return one augmented patch with its labels."""
    start = [rng.integers(size - p + 1) for size, p in zip(stack[0].shape, PATCH, strict=True)]
    box = tuple(slice(a, a + p) for a, p in zip(start, PATCH, strict=True))
    seed = int(rng.integers(2**31))
    moves = (
        lambda state, order: transforms.RandomFlip(state),
        lambda state, order: transforms.RandomRotate90(state),
        lambda state, order: transforms.RandomRotate(
            state, axes=[(2, 1)], angle_spectrum=45, mode="reflect", order=order
        ),
        lambda state, order: transforms.ElasticDeformation(state, spline_order=3 if order else 0),
    )
    image, label = stack[0][box], stack[1][box]
    for move in moves:
        # The same draws for both.
        image, label = (move(np.random.RandomState(seed), order)(array) for array, order in ((image, 3), (label, 0)))
    return transforms.AdditiveGaussianNoise(np.random.RandomState(seed), scale=(0, 0.2))(image), label


def tensor(array: np.ndarray) -> torch.Tensor:
    """Return an array as a tensor of float32."""
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


if __name__ == "__main__":
    main()
