"""What the user calls DATA: which image, label and weight volumes belong together."""

from keras_unet3d.datasets.annotated import annotated_in, parse_annotated
from keras_unet3d.datasets.example import Case, DataKeys, DataSet, Declared, Example, Found, misfits, on_voxels_of
from keras_unet3d.datasets.finding import (
    CELLS,
    EMBEDDED,
    SAMPLE,
    agreed,
    find_data,
    joined,
    open_examples,
    open_partly_labelled,
)
from keras_unet3d.datasets.pairing import Globs, find_images, find_pairs

__all__ = [
    "CELLS",
    "EMBEDDED",
    "SAMPLE",
    "Case",
    "DataKeys",
    "DataSet",
    "Declared",
    "Example",
    "Found",
    "Globs",
    "agreed",
    "annotated_in",
    "find_data",
    "find_images",
    "find_pairs",
    "joined",
    "misfits",
    "on_voxels_of",
    "open_examples",
    "open_partly_labelled",
    "parse_annotated",
]
