"""The readers on the project's real volumes; skipped where those are not at hand."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from keras_unet3d.datasets import open_examples
from keras_unet3d.labels import boundaries, class_volume, infer_table, survey
from keras_unet3d.volumes import open_volume, write_volume

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real volumes of ../shared/data are not on this machine"),
]


def test_hippocampus_is_read_as_described():
    data = open_examples([DATA / "hippocampus"])
    assert len(data.examples) == 208
    assert data.label_names == {0: "background", 1: "Anterior", 2: "Posterior"}
    counts = {example.name: survey(example.label).counts for example in data.examples}
    assert {value for found in counts.values() for value in found} == {0, 1, 2}
    assert infer_table(counts, declared=data.label_names).values == (0, 1, 2)
    assert {example.image.spacing for example in data.examples} == {(1, 1, 1)}


def test_a_prediction_has_the_scans_affine_and_place(tmp_path):
    scan = next((DATA / "hippocampus" / "imagesTr").glob("*.nii.gz"))
    label = DATA / "hippocampus" / "labelsTr" / scan.name
    written = tmp_path / "labels.nii.gz"
    write_volume(written, open_volume(label).array()[..., 0], open_volume(scan))
    np.testing.assert_array_equal(nibabel.load(written).affine, nibabel.load(scan).affine)
    np.testing.assert_array_equal(np.asarray(nibabel.load(written).dataobj), np.asarray(nibabel.load(label).dataobj))


def test_ovules_have_their_voxel_size_and_boundaries():
    data = open_examples([DATA / "ovules"])
    assert [example.image.shape for example in data.examples] == [(100, 100, 100), (100, 100, 100), (32, 128, 128)]
    np.testing.assert_allclose(data.examples[0].image.spacing, (0.2837, 0.1268, 0.1268), atol=1e-4)
    example = data.examples[2]
    table = infer_table({example.name: survey(example.label).counts}, target="boundaries")
    classes = class_volume(example.label, table).array()[..., 0]
    np.testing.assert_array_equal(classes, boundaries(example.label.array()[..., 0]))
    assert 0.1 < classes.mean() < 0.3
