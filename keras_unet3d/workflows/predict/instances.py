"""Instances of a volume of any size: what the network says of it, kept on disk, is cut block by block."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_unet3d.geometry import Box, Triple, boxes_of
from keras_unet3d.listener import Listener
from keras_unet3d.prediction.predictor import Predictor
from keras_unet3d.segments.cells import Cut, Instances, evidence, voxel_edges
from keras_unet3d.segments.pieces import number_type
from keras_unet3d.settings import PredictSettings
from keras_unet3d.volumes import Volume
from keras_unet3d.volumes.grey_values import Statistics
from keras_unet3d.volumes.scratch import scratch

# Voxels per axis of a block: with what is around it, half a gigabyte.
BLOCK: Triple = (192, 192, 192)


def predicted_instances(
    predictor: Predictor,
    volume: Volume,
    settings: PredictSettings,
    beside: Path,
    *,
    statistics: Statistics | None = None,
    listener: Listener,
) -> Iterator[tuple[Box, np.ndarray]]:
    """Yield boxes of the volume with their instances, all of one type.

    Args:
        predictor: of boundaries or cells.
        volume: any size.
        settings: how it is predicted.
        beside: a file; what is too large for memory is kept on its disk.
        statistics: of the grey values, where they are known.
        listener: is told lines, and tiles done and tiles in all.
    """
    table, kind = predictor.spec.labels, number_type(volume.shape)
    channels = table.num_classes - 1 if table else 1
    with (
        scratch(beside, (*volume.shape, channels), np.dtype(np.uint8)) as certain,
        scratch(beside, volume.shape, kind) as numbers,
    ):
        said = predictor.uncalibrated.boxes(volume, "probabilities", settings, statistics=statistics, listener=listener)
        for box, values in said:
            certain("r+")[box] = evidence(values)
        cut = Cut(volume.shape, lambda box: certain("r")[box], voxel_edges(volume.spacing), predictor.spec.instances)
        boxes, pieces = [*boxes_of(volume.shape, BLOCK)], []
        for box in boxes:
            numbers("r+")[box], of_box = cut.pieces(box)
            pieces.append(of_box)
        contacts = [cut.contacts(box, lambda wider: numbers("r")[wider]) for box in boxes]
        found = Instances.of(
            pieces, contacts, predictor.spec.instances, lambda places: numbers("r").ravel()[places.astype(np.int64) - 1]
        )
        for box in boxes:
            yield box, found(numbers("r")[box])
