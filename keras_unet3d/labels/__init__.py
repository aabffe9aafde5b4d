"""What label values mean: raw values to classes and back, what a label volume holds, which slices are annotated.

Inside the package a label volume holds classes 0, 1, ... as uint8 and `UNLABELLED` where nobody said.
"""

from keras_unet3d.labels.borders import border_weights
from keras_unet3d.labels.class_volume import boundaries, class_volume
from keras_unet3d.labels.class_weights import check_class_weights, class_weights
from keras_unet3d.labels.inference import (
    doubtful_values,
    infer_table,
    infer_unlabelled,
    not_annotated,
    propose_table,
    table_faults,
    unknown_in,
    value_faults,
    with_groups,
)
from keras_unet3d.labels.regions import combined, parse_regions, region_table
from keras_unet3d.labels.slices import AnnotatedSlices, annotated_slices
from keras_unet3d.labels.survey import Survey, per_plane, survey
from keras_unet3d.labels.table import (
    MOST_CLASSES,
    UNLABELLED,
    LabelTable,
    parse_classes,
    shown_class,
    smallest_type,
)

__all__ = [
    "MOST_CLASSES",
    "UNLABELLED",
    "AnnotatedSlices",
    "LabelTable",
    "Survey",
    "annotated_slices",
    "border_weights",
    "boundaries",
    "check_class_weights",
    "class_volume",
    "class_weights",
    "combined",
    "doubtful_values",
    "infer_table",
    "infer_unlabelled",
    "not_annotated",
    "parse_classes",
    "parse_regions",
    "per_plane",
    "propose_table",
    "region_table",
    "shown_class",
    "smallest_type",
    "survey",
    "table_faults",
    "unknown_in",
    "value_faults",
    "with_groups",
]
