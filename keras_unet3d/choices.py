"""The words that a user chooses among, every list defined once; what a word does stands in the room that does it."""

# The network.
PADDINGS = ("same", "valid")
NORMALIZATIONS = ("batch", "instance", "group", "none")
ORDERS = ("conv-norm-relu", "norm-conv-relu")
BLOCKS = ("plain", "residual", "residual_se", "projected", "projected_scse")
UPSAMPLINGS = ("transpose", "interpolate", "nearest", "overlapping")
JOININGS = ("concatenate", "add")
NETWORK_OUTPUTS = ("probabilities", "logits", "sigmoid")

# What it learns from.
TARGETS = ("semantic", "boundaries", "cells")
GREY_VALUES = ("zscore", "sections", "none")
# What a fit can be asked for; what "percentile" and "ct" come to is a rescaling.
ASKED_GREY_VALUES = ("zscore", "percentile", "ct", "sections", "none")
ANCHORS = ("values", "percentiles", "deviation")
SAMPLINGS = ("classes", "voxels")
AUGMENTATION_ENGINES = ("elasticdeform", "native")
SECTIONS = ("auto", "yes", "no")
AUGMENT_ON = ("host", "device")

# How it is trained.
LOSSES = ("crossentropy", "crossentropy+dice")
OPTIMIZERS = ("muon", "adamw", "sgd")
DECAYS = ("polynomial", "cosine", "constant")
TRACKERS = ("mlflow", "wandb")
PRECISIONS = ("auto", "float32", "mixed_float16", "mixed_bfloat16")

# How it predicts.
MERGES = ("exact", "blend")
BORDERS = ("mirror", "edge")
# "classes" is for programs; people are offered the others.
OUTPUTS = ("labels", "classes", "masks", "probabilities", "logits", "uncertainty")
PREDICTION_ENGINES = ("keras", "savedmodel", "onnx", "openvino")
PREDICTION_PRECISIONS = ("float32", "bfloat16")
