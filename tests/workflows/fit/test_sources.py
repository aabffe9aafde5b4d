"""The volumes of a fit: how many are held in memory, and that it makes no difference."""

import numpy as np
from helpers import tiny_settings, write_pair

from keras_unet3d import make_batches, open_data
from keras_unet3d.datasets import Example
from keras_unet3d.listener import Listener
from keras_unet3d.volumes import from_array, write_volume
from keras_unet3d.workflows.fit import sources


def an_example(size):
    image = from_array(np.zeros((size, 16, 16), np.float32))
    return Example(str(size), image, from_array(np.zeros((size, 16, 16), np.uint8)), None)


def test_the_smallest_volumes_are_held_until_the_memory_is_used_up():
    examples = [an_example(size) for size in (32, 8, 16)]
    # Five bytes a voxel: 40, 10 and 20 KiB.
    for most, held in (
        (70, [True, True, True]),
        (69, [False, True, True]),
        (10, [False, True, False]),
        (0, [False] * 3),
    ):
        assert sources.held_in_memory(examples, most / 2**20) == held


def test_volumes_beyond_the_memory_are_read_crop_by_crop_and_make_the_same_batches(tmp_path):
    for seed, name in enumerate(("a.h5", "b.h5")):
        write_pair(tmp_path / name, seed)
    data = open_data(tmp_path, options=tiny_settings())
    held, read = (make_batches(data, (8, 8, 8), memory=memory, seed=3, workers=1) for memory in (1.0, 0.0))
    for one, other in zip(held, read, strict=True):
        for batch, same in zip(one.take(3), other.take(3), strict=True):
            for array, again in zip(batch, same, strict=True):
                np.testing.assert_array_equal(array, again)
    said = []
    for memory in (1.0, 0.0):
        sources.read_sources(data.examples, data.table, memory, Listener(said.append))
    assert said[0] == "memory: holding 2 volumes, 0 MB"
    assert said[1].startswith("memory: holding 0 of 2 volumes, 0 MB; the others, 0 MB, are read crop by crop")
    assert "`memory=1` would hold all; now 0 GB" in said[1]


def test_what_is_compressed_and_not_held_is_unpacked_once(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (16, 16, 16)).astype(np.uint8)
    label = (image > 100).astype(np.uint8)
    for name, array in (("image.nii.gz", image), ("label.nii.gz", label)):
        write_volume(tmp_path / name, array, from_array(array))
    files = {"images": str(tmp_path / "image.nii.gz"), "labels": str(tmp_path / "label.nii.gz")}
    data, said = open_data(**files), []
    (held,) = sources.read_sources(data.examples, data.table, 1.0)
    (source,) = sources.read_sources(data.examples, data.table, 0.0, Listener(said.append), beside=tmp_path / "run")
    assert said[1] == f"unpacking what is compressed and not held in memory, 0 MB in {tmp_path} until the end"
    assert not source.in_memory and not source.image.packed and not source.classes.packed
    # The files themselves are not read any more.
    for path in (tmp_path / "image.nii.gz", tmp_path / "label.nii.gz"):
        path.unlink()
    np.testing.assert_array_equal(source.image.array(), held.image.array())
    np.testing.assert_array_equal(source.classes.array(), held.classes.array())
    np.testing.assert_array_equal(source.index.counts, held.index.counts)
