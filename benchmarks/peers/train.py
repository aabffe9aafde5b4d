"""Other libraries' side of benchmarks/train.py: python benchmarks/peers/train.py --side NAME --networks small --patch 64

Without a side it prints their names. Run by the PYTHON of the peers' environment, see benchmarks/README.md.
"""

import argparse
import json
import time

import numpy as np
from common import CLASSES, NETWORKS, peak


def main() -> None:
    """Print the names, or the figures of one side, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--networks", choices=NETWORKS, default="small")
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "auto"), default="cpu", help="auto: a GPU where there is one")
    parser.add_argument("--autocast", choices=KINDS, help="in place of the side's own")
    options = parser.parse_args()
    print(json.dumps(measure(options) if options.side else list(SIDES)))


def measure(options: argparse.Namespace) -> dict:
    """Return seconds of a step, peak memory, parameters and the share of the device's matrix rate of one side."""
    import torch

    build, layout, autocast = SIDES[options.side]
    autocast = options.autocast or autocast
    base, depth = NETWORKS[options.networks]
    device = "cuda" if options.device == "auto" and torch.cuda.is_available() else "cpu"
    kind = getattr(torch, KINDS[autocast])
    model, patch, batch = build(base, depth).to(device), (options.patch,) * 3, options.batch
    x, y = torch.randn(batch, 1, *patch, device=device), torch.randint(0, CLASSES, (batch, *patch), device=device)
    w = torch.ones(batch, *patch, device=device)
    scaler = torch.amp.GradScaler(device, enabled=kind == torch.float16)
    if layout == "channels_last":
        model, x = (part.to(memory_format=torch.channels_last_3d) for part in (model, x))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)

    def step():
        optimizer.zero_grad()
        with torch.autocast(device, kind, enabled=autocast != "none"):
            logits = model(x).float()
        crossentropy = (torch.nn.functional.cross_entropy(logits, y, reduction="none") * w).sum() / w.sum()
        p = logits.softmax(1)
        g = torch.nn.functional.one_hot(y, CLASSES).movedim(-1, 1)
        axes = (0, 2, 3, 4)
        dice = 2 * (p * g).sum(axes) / (p.sum(axes) + g.sum(axes))
        scaler.scale(crossentropy + 1 - dice.mean()).backward()
        scaler.step(optimizer)
        scaler.update()
        if device == "cuda":
            torch.cuda.synchronize()

    times = []
    for _ in range(2 + options.steps):
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    return {
        "step": float(np.median(times[2:])),
        "peak": peak(),
        "memory": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else peak(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def same_network(base: int, depth: int):
    """Return the network that ours is: plain blocks, batch normalisation, wide up-convolutions."""
    import torch
    from torch import nn

    def block(channels, first, second):
        parts = []
        for a, b in ((channels, first), (first, second)):
            parts += [nn.Conv3d(a, b, 3, padding=1), nn.BatchNorm3d(b), nn.ReLU(inplace=True)]
        return nn.Sequential(*parts)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.up, self.across = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
            channels = 1
            for level in range(depth):
                self.down.append(block(channels, base * 2**level, base * 2 ** (level + 1)))
                channels = base * 2 ** (level + 1)
            for level in reversed(range(depth - 1)):
                wide = base * 2 ** (level + 1)
                self.up.append(nn.ConvTranspose3d(channels, channels, 2, 2, bias=False))
                self.across.append(block(channels + wide, wide, wide))
                channels = wide
            self.logits = nn.Conv3d(channels, CLASSES, 1)

        def forward(self, x):
            skips = []
            for level, down in enumerate(self.down):
                x = down(x if level == 0 else nn.functional.max_pool3d(x, 2))
                skips.append(x)
            skips.pop()
            for up, across in zip(self.up, self.across, strict=True):
                x = across(torch.cat([skips.pop(), up(x)], 1))
            return self.logits(x)

    return Network()


def pytorch_3dunet(base: int, depth: int):
    """Return pytorch-3dunet's UNet3D with its defaults."""
    from pytorch3dunet.unet3d.model import UNet3D

    return UNet3D(1, CLASSES, f_maps=base, num_levels=depth, is_segmentation=False)


def monai_basic(base: int, depth: int):
    """Return MONAI's BasicUNet; it always has five levels, as narrow as ours at the top."""
    from monai.networks.nets import BasicUNet

    return BasicUNet(3, 1, CLASSES, features=(base, base, 2 * base, 4 * base, 8 * base, base))


def monai_unet(base: int, depth: int):
    """Return MONAI's UNet as its tutorials have it: strided first convolution, two residual units."""
    from monai.networks.nets import UNet

    return UNet(3, 1, CLASSES, tuple(base * 2**level for level in range(depth + 1)), (2,) * depth, num_res_units=2)


# Autocast -> type of torch.
KINDS = {"none": "float32", "float16": "float16", "bfloat16": "bfloat16"}
# Name -> network, memory layout, autocast.
SIDES = {
    "PyTorch, same network": (same_network, "default", "none"),
    "PyTorch, same network, channels_last_3d": (same_network, "channels_last", "none"),
    "PyTorch, same network, channels_last_3d, bfloat16": (same_network, "channels_last", "bfloat16"),
    "pytorch-3dunet UNet3D": (pytorch_3dunet, "default", "none"),
    "MONAI BasicUNet": (monai_basic, "default", "none"),
    "MONAI UNet (strided first convolution)": (monai_unet, "default", "none"),
}


if __name__ == "__main__":
    main()
