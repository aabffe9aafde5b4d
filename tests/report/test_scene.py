"""Volumes for a page: thinned, packed, and the worst of them kept."""

import base64
import gzip

import numpy as np
import pytest

from keras_unet3d.report.scene import Gallery, Scene, Side, in_bytes, packed, recoloured, side_by_side, thinning


def scene(name: str, network: str = "one") -> Scene:
    array = np.zeros((2, 3, 4), np.uint8)
    return Scene(name, array, array, (Side(network, array),))


def test_what_is_packed_comes_back():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    read = np.frombuffer(gzip.decompress(base64.b64decode(packed(array.transpose(2, 1, 0)))), np.uint8)
    np.testing.assert_array_equal(read.reshape(4, 3, 2), array.transpose(2, 1, 0))
    assert packed(array) == packed(array.copy()) and packed(None) is None


@pytest.mark.parametrize(
    ("shape", "spacing", "most", "step"),
    [
        ((10, 10, 10), None, 1000, (1, 1, 1)),
        ((10, 10, 10), None, 500, (2, 1, 1)),
        # Sections that are far apart are kept, and pixels left out.
        ((10, 100, 100), (5.0, 1.0, 1.0), 10 * 50 * 50, (1, 2, 2)),
        ((1, 100, 100), (1.0, 9.0, 9.0), 2500, (1, 2, 2)),
    ],
)
def test_a_large_volume_is_thinned_along_its_finest_axes(shape, spacing, most, step):
    assert thinning(shape, spacing, most) == step


def test_grey_values_become_bytes_between_the_darkest_and_brightest_hundredth():
    image = np.arange(101, dtype=np.float32)
    assert in_bytes(image)[[0, 1, 50, 99, 100]].tolist() == [0, 0, 128, 255, 255]
    assert in_bytes(np.full(5, 7.0)).tolist() == [0] * 5


def test_objects_have_seven_colours_and_none_has_the_first():
    assert recoloured(np.array([0, 1, 6, 7, 300])).tolist() == [0, 2, 7, 1, 7]


def test_the_worst_volumes_are_kept():
    gallery = Gallery("one", most=2)
    for name, score in (("a", 0.8), ("none", None), ("b", 0.3), ("c", 0.9), ("d", 0.5)):
        gallery.offer(name, score, lambda name=name: scene(name))
    assert [kept.name for kept in gallery.scenes] == ["b", "d"]


def test_a_second_network_is_shown_on_the_volumes_of_the_first():
    first, second = Gallery("one", most=2), Gallery("two", most=2, only=["a", "b"])
    for name, one, two in (("a", 0.1, 0.9), ("b", 0.2, 0.8), ("c", 0.3, 0.1)):
        first.offer(name, one, lambda name=name: scene(name))
        second.offer(name, two, lambda name=name: scene(name, "two"))
    together = side_by_side(first.scenes, second.scenes)
    assert [(each.name, [side.name for side in each.sides]) for each in together] == [
        ("a", ["one", "two"]),
        ("b", ["one", "two"]),
    ]
