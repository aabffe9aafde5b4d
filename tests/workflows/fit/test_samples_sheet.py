"""The sheet of augmented samples: drawn for any patch, with lines that follow the deformation."""

import numpy as np
import pytest
from helpers import tiny_settings, write_pair

from keras_unet3d import fit
from keras_unet3d.augment import native
from keras_unet3d.augment.draw import AugmentSettings, draw, generator
from keras_unet3d.pictures.slices import Change, draw_changes


@pytest.mark.parametrize("padding", [pytest.param("same", marks=pytest.mark.slow), "valid"])
def test_a_run_shows_its_samples(tmp_path, padding):
    size = {"same": 8, "valid": 18}[padding]
    settings = tiny_settings(augment=True, engine="native", padding=padding, patch=(size,) * 3)
    run = fit(write_pair(tmp_path / "a.h5"), tmp_path / "run", settings=settings)
    assert (run.path / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_the_sheet_is_drawn_with_flat_and_unlabelled_patches(tmp_path):
    drawn = draw(generator(0, 0), AugmentSettings(), (4, 6, 8))
    source = native.source_positions(drawn, (4, 6, 8))
    flat = np.zeros((4, 6, 8), np.float32)
    rows = [Change(flat, flat, np.full((4, 6, 8), classes), source, None) for classes in (-1, 1)]
    draw_changes(rows, tmp_path / "a.png", ["a", "b"])
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_source_positions_are_those_of_the_map():
    still = AugmentSettings(rotation=0, scaling=(1, 1), deformation=0)
    found = native.source_positions(draw(generator(0, 0), still, (3, 4, 5)), (3, 4, 5))
    np.testing.assert_allclose(found, np.indices((3, 4, 5)), atol=1e-5)
    shrunk = AugmentSettings(rotation=0, scaling=(0.5, 0.5), deformation=0)
    found = native.source_positions(draw(generator(0, 0), shrunk, (3, 4, 5)), (3, 4, 5))
    centre = np.array([1, 1.5, 2])[:, None, None, None]
    np.testing.assert_allclose(found, 2 * (np.indices((3, 4, 5)) - centre) + centre, atol=1e-4)
