"""The colours of the classes, as people with each kind of colour blindness see them."""

from itertools import combinations

import numpy as np
import pytest

from keras_unet3d.pictures.drawing import COLOURS
from keras_unet3d.report.page import DIFFERENCES

# What is seen of linear RGB, Machado, Oliveira and Fernandes 2009 (doi:10.1109/TVCG.2009.113), severity 1.
SEEN = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1, 1.08883])


def lab(colour: str, seen) -> np.ndarray:
    """Return a colour in CIE L*a*b*, where two colours 2.3 apart are just told apart."""
    values = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.asarray(seen) @ linear, 0, 1) / WHITE
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", SEEN)
@pytest.mark.parametrize(("colours", "least"), [(COLOURS, 15), (DIFFERENCES, 30)], ids=["classes", "differences"])
def test_any_two_colours_are_told_apart(colours, least, kind):
    seen = [lab(colour, SEEN[kind]) for colour in colours]
    assert min(np.linalg.norm(one - other) for one, other in combinations(seen, 2)) > least


def test_white_and_black_are_as_far_apart_as_they_can_be():
    assert np.linalg.norm(lab("#ffffff", np.eye(3)) - lab("#000000", np.eye(3))) == pytest.approx(100, abs=0.1)
