"""What a user can say to a fit and to a prediction: one field per option, for Python and the command line alike.

A fit's options come in groups, of which `FitSettings` is made; a group can stand alone where a part of a fit is called.
"""

from keras_unet3d.settings.fit import (
    AugmentationOptions,
    DataOptions,
    FitSettings,
    MachineOptions,
    NetworkOptions,
    PatchOptions,
    ScheduleOptions,
)
from keras_unet3d.settings.predict import CleanSettings, EngineSettings, PredictSettings

__all__ = [
    "AugmentationOptions",
    "CleanSettings",
    "DataOptions",
    "EngineSettings",
    "FitSettings",
    "MachineOptions",
    "NetworkOptions",
    "PatchOptions",
    "PredictSettings",
    "ScheduleOptions",
]
