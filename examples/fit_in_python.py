"""Train, segment and measure from Python: python examples/fit_in_python.py [DATA [OUT]]

DATA is a volume with some labels, like `stack.h5`, or the word sample, the embedded data set. OUT is the run folder to make.
One minute of training shows what comes out; a good network takes longer.
"""

import sys

import numpy as np

import keras_unet3d
from keras_unet3d import FitSettings, Listener, zoo


def main(data: str = "sample", out: str = "runs/fit_in_python", settings: FitSettings = FitSettings(minutes=1)) -> dict:
    """Train on a volume, segment all of it, and return the table of its classes."""
    run = keras_unet3d.fit(data, out, settings=settings, listener=Listener(print))

    # The predictor knows how grey values are normalised, how large tiles may be, and what the labels mean.
    predictor = zoo.predictor(run.path)
    image = run.data.training[0].image  # opened, not read
    uncertainty = predictor.predict(image, "uncertainty")
    labels = predictor.predict(image)
    print(f"labels {labels.shape}, values {np.unique(labels).tolist()}")
    print(f"mean uncertainty {uncertainty.mean():.3f} of 1, where 0 is sure")

    table = keras_unet3d.measure(labels, image.array(), spacing=image.spacing)
    for value, volume in zip(table["label"], table["volume_voxels"], strict=True):
        print(f"label {value}: {volume} voxels")
    return table


if __name__ == "__main__":
    main(*sys.argv[1:])
