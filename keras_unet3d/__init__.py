"""keras-unet3d: dense 3D segmentation from a few annotated slices.

Public names load on first use, so that `import keras_unet3d` stays free of TensorFlow.
"""

from pathlib import Path

from keras_unet3d.lazy import lazy_names

__version__ = "0.2.0"

# In a checkout the folders cli/ and zoo/ stand beside this one; in an installed wheel inside it.
_CHECKOUT = Path(__file__).resolve().parent.parent
if (_CHECKOUT / "setup.py").is_file() and (_CHECKOUT / "zoo" / "__init__.py").is_file():
    __path__.append(str(_CHECKOUT))

_HOMES = {
    # The network and what it is trained by.
    "build_model": "keras_unet3d.network.unet",
    "Architecture": "keras_unet3d.network.architecture",
    "Geometry": "keras_unet3d.geometry",
    "SampleWeightedSparseCrossentropy": "keras_unet3d.network.losses",
    "IoU": "keras_unet3d.network.metrics",
    "Dice": "keras_unet3d.network.metrics",
    # Data, and batches for a training loop of one's own.
    "open_data": "keras_unet3d.workflows.data",
    "LabelledData": "keras_unet3d.workflows.data",
    "LabelTable": "keras_unet3d.labels",
    "make_batches": "keras_unet3d.workflows.batches",
    "open_volume": "keras_unet3d.volumes",
    "Volume": "keras_unet3d.volumes",
    "phantom": "keras_unet3d.datasets.phantom",
    # The whole way, in one call each.
    "fit": "keras_unet3d.workflows.fit.run",
    "Run": "keras_unet3d.workflows.fit.run",
    "fit_folds": "keras_unet3d.workflows.fit.folds",
    "Folds": "keras_unet3d.workflows.fit.folds",
    "Start": "keras_unet3d.workflows.fit.start",
    "Teacher": "keras_unet3d.workflows.fit.teacher",
    "MlflowTracker": "keras_unet3d.training.trackers",
    "WandbTracker": "keras_unet3d.training.trackers",
    "predict": "keras_unet3d.workflows.predict.files",
    "Recipe": "keras_unet3d.workflows.predict.blocks",
    "predict_volume": "keras_unet3d.prediction.array_api",
    "Predictor": "keras_unet3d.prediction.predictor",
    "evaluate": "keras_unet3d.workflows.evaluate.run",
    "compare": "keras_unet3d.workflows.evaluate.compare",
    "measure": "keras_unet3d.workflows.measure",
    "make_report": "keras_unet3d.workflows.report.run",
    "evaluation_page": "keras_unet3d.workflows.report.evaluated",
    "Gallery": "keras_unet3d.report.scene",
    "check": "keras_unet3d.workflows.check.run",
    "suggest": "keras_unet3d.workflows.annotate.suggest",
    "Suggestion": "keras_unet3d.workflows.annotate.ranking",
    "merge": "keras_unet3d.workflows.annotate.merge",
    # Figures of arrays, and what is fitted to them.
    "surface_distances": "keras_unet3d.evaluation.surfaces",
    "surface_figures": "keras_unet3d.evaluation.surfaces",
    "Distances": "keras_unet3d.evaluation.surfaces",
    "fit_temperature": "keras_unet3d.evaluation.calibration",
    "choose_cleaning": "keras_unet3d.evaluation.choosing",
    "ClassCleaning": "keras_unet3d.segments.cleaning",
    # Cells apart.
    "instances": "keras_unet3d.segments.cells",
    "InstanceSettings": "keras_unet3d.segments.cells",
    # What can be said to them, and who hears of it.
    "FitSettings": "keras_unet3d.settings",
    "DataOptions": "keras_unet3d.settings",
    "NetworkOptions": "keras_unet3d.settings",
    "PatchOptions": "keras_unet3d.settings",
    "AugmentationOptions": "keras_unet3d.settings",
    "ScheduleOptions": "keras_unet3d.settings",
    "MachineOptions": "keras_unet3d.settings",
    "EngineSettings": "keras_unet3d.settings",
    "PredictSettings": "keras_unet3d.settings",
    "CleanSettings": "keras_unet3d.settings",
    "AugmentSettings": "keras_unet3d.augment.draw",
    "DataKeys": "keras_unet3d.datasets",
    "Listener": "keras_unet3d.listener",
    "InputError": "keras_unet3d.errors",
    # Models by name.
    "zoo": "keras_unet3d.zoo",
}
__all__ = ["__version__", *_HOMES]
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
