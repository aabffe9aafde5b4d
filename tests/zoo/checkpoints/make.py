"""Makes the checkpoints beside this file with pytorch-3dunet 1.9.6 itself, and what it computes with them.

    pip install torch pytorch3dunet==1.9.6 && python tests/zoo/checkpoints/make.py

Random weights in steps of 1/64, so that they pack well. `expected.npz` holds, by name, an input (z, y, x, channels) and the
network's output; and a volume before and after their transforms of grey values.
"""

from pathlib import Path

import numpy as np
import torch
import yaml
from pytorch3dunet.augment.transforms import Normalize, PercentileNormalizer, Standardize
from pytorch3dunet.unet3d.model import get_model

HERE = Path(__file__).parent
SHAPE = (4, 8, 12)
ONE = {"in_channels": 1, "out_channels": 1, "final_sigmoid": True, "f_maps": 4, "num_levels": 2, "num_groups": 4}
STANDARDIZE = {"name": "Standardize"}
PERCENTILES = {"name": "PercentileNormalizer", "pmin": 5, "pmax": 99.0}
RANGE = {"name": "Normalize", "min_value": 10, "max_value": 200}

# Name -> the model of a configuration, and its transform of grey values.
VARIANTS = {
    "gcr": (ONE | {"name": "UNet3D", "layer_order": "gcr"}, STANDARDIZE),
    "cr": (
        ONE | {"name": "UNet3D", "layer_order": "cr", "f_maps": [4, 6], "out_channels": 3, "final_sigmoid": False},
        PERCENTILES,
    ),
    "cbr": (ONE | {"name": "UNet3D", "layer_order": "cbr", "in_channels": 2, "out_channels": 3}, RANGE),
    "bcr": (ONE | {"name": "UNet3D", "layer_order": "bcr", "upsample": "deconv", "conv_upscale": 1}, STANDARDIZE),
    "cgrd": (
        ONE | {"name": "UNet3D", "layer_order": "cgrd", "num_levels": 3, "f_maps": 2, "num_groups": 2},
        STANDARDIZE,
    ),
    "residual_gcr": (ONE | {"name": "ResidualUNet3D", "layer_order": "gcr", "f_maps": [2, 4, 8]}, STANDARDIZE),
    "residual_cbr": (ONE | {"name": "ResidualUNet3D", "layer_order": "cbr", "upsample": "deconv"}, STANDARDIZE),
    "se_gcr": (ONE | {"name": "ResidualUNetSE3D", "layer_order": "gcr"}, STANDARDIZE),
    "se_bcr": (ONE | {"name": "ResidualUNetSE3D", "layer_order": "bcr", "in_channels": 4}, STANDARDIZE),
    "se_cr": (ONE | {"name": "ResidualUNetSE3D", "layer_order": "cr"}, STANDARDIZE),
}
TRANSFORMS = {
    "standardize": Standardize(),
    "standardize_fixed": Standardize(mean=80.0, std=30.0),
    "standardize_channelwise": Standardize(channelwise=True),
    "percentiles": PercentileNormalizer(pmin=5, pmax=99.0),
    "percentiles_channelwise": PercentileNormalizer(pmin=1, pmax=99.6, channelwise=True),
    "range": Normalize(min_value=10, max_value=200),
    "range_norm01": Normalize(min_value=10, max_value=200, norm01=True),
    "range_of_the_volume": Normalize(),
}


def randomised(model, generator):
    """Give a network weights of which every one has a part in the output; statistics are above 0."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            scale = 0.3 if tensor.ndim > 1 else 0.5
            values = torch.round(torch.randn(tensor.shape, generator=generator) * scale * 64) / 64
            tensor.copy_(values.abs() + 0.5 if name.endswith("running_var") else values)
    return model.eval()


def main():
    generator, expected = torch.Generator().manual_seed(0), {}
    for name, (config, transform) in VARIANTS.items():
        model = randomised(get_model(config), generator)
        x = torch.randn((1, config["in_channels"], *SHAPE), generator=generator)
        with torch.no_grad():
            expected[f"{name}_input"] = x[0].permute(1, 2, 3, 0).numpy()
            expected[f"{name}_output"] = model(x)[0].permute(1, 2, 3, 0).numpy()
        state = {"model_state_dict": model.state_dict(), "num_epochs": 1, "best_eval_score": np.float64(0.5)}
        if name == "cr":
            # What the trainer keeps beside the network.
            optimizer = torch.optim.Adam(model.parameters())
            model(x).sum().backward()
            optimizer.step()
            state["optimizer_state_dict"] = optimizer.state_dict()
            state["model_state_dict"] = randomised(model, torch.Generator().manual_seed(1)).state_dict()
            with torch.no_grad():
                expected[f"{name}_output"] = model(x)[0].permute(1, 2, 3, 0).numpy()
        if name == "cbr":
            # As of a network in `DataParallel`.
            state["model_state_dict"] = {f"module.{key}": tensor for key, tensor in state["model_state_dict"].items()}
        if name == "se_cr":
            # As packages of bioimage.io have it.
            state = state["model_state_dict"]
        torch.save(state, HERE / f"{name}.pytorch")
        augmentations = [transform, {"name": "RandomFlip"}, {"name": "ToTensor", "expand_dims": True}]
        builder = {"name": "SliceBuilder", "patch_shape": [10, 16, 16], "stride_shape": [5, 8, 8]}
        loaders = {"train": {"slice_builder": builder, "transformer": {"raw": augmentations}}}
        (HERE / f"{name}.yml").write_text(yaml.safe_dump({"model": config, "loaders": loaders}, sort_keys=False))
    volume = np.random.default_rng(0).gamma(4.0, 20.0, (2, 5, 6, 7)).astype(np.float32)
    expected["grey_input"] = np.moveaxis(volume, 0, -1)
    for name, transform in TRANSFORMS.items():
        expected[f"grey_{name}"] = np.moveaxis(transform(volume), 0, -1).astype(np.float32)
    np.savez_compressed(HERE / "expected.npz", **expected)


if __name__ == "__main__":
    main()
