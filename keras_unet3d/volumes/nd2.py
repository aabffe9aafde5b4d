"""ND2 of Nikon's microscopes: memory-mapped plane by plane; positions are its scenes."""

from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.geometry import Box
from keras_unet3d.volumes.reading import by_planes, package, refuse_hollow
from keras_unet3d.volumes.scenes import Scene, volume_of
from keras_unet3d.volumes.volume import Volume

# Bytes that one byte of zlib can stand for, and a little.
_MOST_PACKED = 1100


def open_nd2(
    path: Path, key: str | None, axes: str | None, scene: str | None = None, time: int | None = None
) -> Volume:
    nd2 = package(path, "nd2", "nd2")
    with nd2.ND2File(path) as file:
        scenes = [_scene(path, file, position) for position in range(file.sizes.get("P", 1))]
    return volume_of(path, scenes, scene, time)


def _scene(path: Path, file: Any, position: int) -> Scene:
    sizes = {axis.lower(): size for axis, size in file.sizes.items() if axis != "P"}
    size = file.voxel_size()
    # A plane of the file has all channels; which of the planes is where.
    numbers = {tuple(where.get(axis, 0) for axis in "PTZ"): number for number, where in enumerate(file.loop_indices)}

    def read(time: int, index: Box) -> np.ndarray:
        import nd2

        with nd2.ND2File(path) as opened:

            def plane(z: int, c: int) -> np.ndarray:
                frame = opened.read_frame(numbers[position, time, z])
                return frame[c] if "c" in sizes else frame

            shape = tuple(sizes.get(axis, 1) for axis in "zcyx")
            return by_planes(shape, plane)(index)

    packed = file.attributes.compressionType is not None
    # What is missing would be zeros, which train and predict without a word.
    refuse_hollow(path, file.nbytes, [path.stat().st_size], _MOST_PACKED if packed else 1)
    calibrated = all(file.metadata.channels[0].volume.axesCalibrated)
    return Scene("", sizes, file.dtype, read, (size.z, size.y, size.x) if calibrated else None, packed)
