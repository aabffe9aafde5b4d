"""keras-unet3d: dense 3D segmentation from a few annotated slices.

Public names load on first use, so that `import keras_unet3d` stays free of TensorFlow.
"""

from pathlib import Path

from keras_unet3d.lazy import lazy_names

__version__ = "0.1.0"

# In a checkout the folders cli/ and zoo/ stand beside this one; in an installed wheel inside it.
_CHECKOUT = Path(__file__).resolve().parent.parent
if (_CHECKOUT / "setup.py").is_file() and (_CHECKOUT / "zoo" / "__init__.py").is_file():
    __path__.append(str(_CHECKOUT))

_HOMES = {
    "build_model": "keras_unet3d.network.unet",
    "Architecture": "keras_unet3d.network.architecture",
    "SampleWeightedSparseCrossentropy": "keras_unet3d.network.losses",
    "IoU": "keras_unet3d.network.metrics",
    "Dice": "keras_unet3d.network.metrics",
    "FitSettings": "keras_unet3d.settings.fit",
    "InputError": "keras_unet3d.errors",
    "open_volume": "keras_unet3d.volumes",
    "predict_volume": "keras_unet3d.prediction.array_api",
    "check": "keras_unet3d.workflows.check.run",
    "fit": "keras_unet3d.workflows.fit.run",
    "predict": "keras_unet3d.workflows.predict.files",
    "evaluate": "keras_unet3d.workflows.evaluate",
    "suggest": "keras_unet3d.workflows.annotate.suggest",
    "merge": "keras_unet3d.workflows.annotate.merge",
}
__all__ = ["__version__", *_HOMES]
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
