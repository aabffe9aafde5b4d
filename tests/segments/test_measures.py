"""The table of objects: by hand, against known areas, and against scikit-image."""

import numpy as np
import pytest
from helpers import says
from skimage.measure import marching_cubes, mesh_surface_area, regionprops_table

from keras_unet3d.errors import InputError
from keras_unet3d.listener import Listener
from keras_unet3d.segments import measures
from keras_unet3d.segments.measures import object_table
from keras_unet3d.volumes import from_array, volume


def table_of(labels, image=None, spacing=None, unit="um", **options):
    grey = None if image is None else from_array(image, "image")
    return object_table(from_array(labels, "labels", spacing, unit), grey, **options)


def random_objects(dtype=np.uint64):
    """A volume of sparse labels up to 2 ** 60 in bodies of a few voxels, and an image of two channels."""
    rng = np.random.default_rng(0)
    values = np.append(0, rng.integers(1, np.iinfo(dtype).max // 16, 40)).astype(dtype)
    coarse = rng.integers(0, len(values), (5, 6, 7))
    labels = values[coarse.repeat(3, 0).repeat(3, 1).repeat(2, 2)]
    labels[rng.random(labels.shape) < 0.2] = 0
    return labels, rng.integers(0, 2**16, (*labels.shape, 2)).astype(np.uint16)


# ---- by hand ---------------------------------------------------------------------------------------


def test_two_objects_by_hand():
    labels = np.zeros((4, 5, 6), np.uint16)
    labels[1:3, 2, 1:4] = 700
    labels[3, 4, 5] = 9
    image = np.arange(labels.size, dtype=np.uint8).reshape(labels.shape)
    table = table_of(labels, image, (2.0, 0.5, 1.0))
    assert table["label"].tolist() == [9, 700]
    assert table["volume_voxels"].tolist() == [1, 6] and table["volume_um3"].tolist() == [1, 6]
    assert [table[f"centroid_{axis}_voxels"].tolist() for axis in "zyx"] == [[3, 1.5], [4, 2], [5, 2]]
    assert [table[f"centroid_{axis}_um"].tolist() for axis in "zyx"] == [[6, 3], [2, 1], [5, 2]]
    assert [table[f"box_{axis}_start"].tolist() for axis in "zyx"] == [[3, 1], [4, 2], [5, 1]]
    assert [table[f"box_{axis}_stop"].tolist() for axis in "zyx"] == [[4, 3], [5, 3], [6, 4]]
    assert table["touches_border"].tolist() == [True, False]
    # 700 is at 43, 44, 45 and a plane of 30 voxels on; 9 is the last voxel.
    assert table["intensity_mean"].tolist() == [119, 59]
    assert (table["intensity_min"].tolist(), table["intensity_max"].tolist()) == ([119, 43], [119, 75])
    np.testing.assert_allclose(table["equivalent_diameter_um"], np.cbrt(6 * np.array([1, 6]) / np.pi))


def test_the_order_of_the_columns():
    assert list(table_of(np.ones((1, 1, 1), np.uint8), np.zeros((1, 1, 1, 2)), (1, 1, 1), "µm")) == [
        *("label", "volume_voxels", "volume_um3"),
        *("centroid_z_voxels", "centroid_y_voxels", "centroid_x_voxels"),
        *("centroid_z_um", "centroid_y_um", "centroid_x_um"),
        *("box_z_start", "box_y_start", "box_x_start", "box_z_stop", "box_y_stop", "box_x_stop"),
        *("surface_um2", "equivalent_diameter_um", "sphericity", "touches_border"),
        *("intensity_0_mean", "intensity_0_min", "intensity_0_max"),
        *("intensity_1_mean", "intensity_1_min", "intensity_1_max"),
    ]


def test_without_a_voxel_size_everything_is_in_voxels():
    table = table_of(np.ones((2, 2, 2), bool))
    assert table["volume_voxels"].tolist() == [8] and table["centroid_z_voxels"].tolist() == [0.5]
    assert {"surface_voxels2", "equivalent_diameter_voxels"} < set(table)
    assert not [name for name in table if "um" in name.split("_")[-1] or "voxels3" in name]
    assert "surface_units2" in table_of(np.ones((2, 2, 2), np.uint8), spacing=(1, 1, 1), unit=None)


def test_another_background_and_values_of_any_kind():
    labels = np.array([[[-1, -1, 0, 5]]], np.int16)
    assert table_of(labels)["label"].tolist() == [-1, 5]
    assert table_of(labels, background=-1)["label"].tolist() == [0, 5]
    assert table_of(labels, background=2**40)["volume_voxels"].tolist() == [2, 1, 1]
    assert table_of(labels.astype(np.float32))["label"].dtype == np.int64
    large = np.array([[[0, 2**63 + 1, 2**63 + 3]]], np.uint64)
    assert table_of(large)["label"].tolist() == [2**63 + 1, 2**63 + 3]


def test_pieces_of_one_label_are_one_object():
    labels = np.array([[[4, 0, 0, 0, 4]]])
    table = table_of(labels)
    assert (table["volume_voxels"].tolist(), table["centroid_x_voxels"].tolist()) == ([2], [2])


def test_grey_values_that_are_no_number_are_said():
    image = np.array([[[1.5, np.nan, 2.5, 3.5]]])
    table = table_of(np.array([[[1, 1, 2, 2]]]), image)
    np.testing.assert_array_equal(table["intensity_mean"], [np.nan, 3.0])
    np.testing.assert_array_equal(table["intensity_max"], [np.nan, 3.5])


def test_sums_of_integers_do_not_overflow():
    image = np.full((8, 64, 64), 2**32 - 1, np.uint32)
    assert table_of(np.ones(image.shape, np.uint8), image)["intensity_mean"].tolist() == [2**32 - 1]


# ---- blocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0), (4.0, 1.0, 1.0), (0.3, 0.5, 0.1)])
@pytest.mark.parametrize("size", [3, 7])
def test_blocks_give_exactly_the_table_of_the_whole_volume(spacing, size, monkeypatch):
    labels, image = random_objects()
    whole = table_of(labels, image, spacing)
    monkeypatch.setattr(volume, "_BLOCK", size)
    # Rows are put together after every block.
    monkeypatch.setattr(measures, "_WAITING", 1)
    by_blocks = table_of(labels, image, spacing)
    assert list(whole) == list(by_blocks) and len(whole["label"]) == 40
    for name, column in whole.items():
        np.testing.assert_array_equal(by_blocks[name], column, err_msg=name)
        assert by_blocks[name].dtype == column.dtype


def test_a_listener_hears_of_every_block(monkeypatch):
    monkeypatch.setattr(volume, "_BLOCK", 2)
    heard = []
    table_of(np.ones((2, 2, 5), np.uint8), listener=Listener(progress=lambda *said: heard.append(said)))
    assert heard == [(8, 20), (16, 20), (20, 20)]


# ---- against scikit-image --------------------------------------------------------------------------


def test_equal_to_regionprops():
    labels, image = random_objects(np.uint32)
    spacing = (2.0, 0.5, 0.7)
    wanted = ("label", "bbox", "intensity_mean", "intensity_min", "intensity_max")
    physical = ("area", "centroid", "equivalent_diameter_area")
    # scikit-image wants numbers without gaps.
    values, numbers = np.unique(labels, return_inverse=True)
    numbers = numbers.reshape(labels.shape)
    expected = regionprops_table(numbers, image, properties=wanted)
    expected |= regionprops_table(numbers, properties=physical, spacing=spacing)
    table = table_of(labels, image, spacing)
    np.testing.assert_array_equal(table["label"], values[expected["label"]])
    names = {"volume_um3": "area", "equivalent_diameter_um": "equivalent_diameter_area"}
    for i, axis in enumerate("zyx"):
        names |= {
            f"box_{axis}_start": f"bbox-{i}",
            f"box_{axis}_stop": f"bbox-{i + 3}",
            f"centroid_{axis}_um": f"centroid-{i}",
        }
    for channel in range(2):
        names |= {f"intensity_{channel}_{figure}": f"intensity_{figure}-{channel}" for figure in ("mean", "min", "max")}
    for ours, theirs in names.items():
        np.testing.assert_allclose(table[ours], expected[theirs], rtol=1e-12, err_msg=ours)


def test_the_surface_is_that_of_a_smooth_mesh():
    """A mesh of the voxels themselves is 9 % too large for a ball; one of the distances is right."""
    distance = np.sqrt(sum((axis - 14.3) ** 2 for axis in np.indices((30, 30, 30))))
    vertices, faces, *_ = marching_cubes(distance, 11.0)
    table = table_of((distance <= 11).astype(np.uint8))
    assert table["surface_voxels2"][0] == pytest.approx(mesh_surface_area(vertices, faces), rel=0.01)


# ---- surfaces that are known -----------------------------------------------------------------------


def ellipsoid(radii, spacing, centre=(0.3, 0.1, -0.2)):
    """Return the voxels of an ellipsoid, radii in the unit."""
    sizes = [int(np.ceil(radius / size)) + 2 for radius, size in zip(radii, spacing, strict=True)]
    along = [
        (np.arange(-n, n + 1) + c) * size / radius
        for n, c, size, radius in zip(sizes, centre, spacing, radii, strict=True)
    ]
    z, y, x = np.meshgrid(*along, indexing="ij")
    return (z**2 + y**2 + x**2 <= 1).astype(np.uint8)


def area_of(radii):
    """Return the surface of an ellipsoid by integration."""
    a, b, c = radii
    polar, turn = np.meshgrid(
        (np.arange(500) + 0.5) * np.pi / 500, (np.arange(1000) + 0.5) * np.pi / 500, indexing="ij"
    )
    sides = (b * c * np.sin(polar) * np.cos(turn), a * c * np.sin(polar) * np.sin(turn), a * b * np.cos(polar))
    return (np.sqrt(sum(side**2 for side in sides)) * np.sin(polar)).sum() * (np.pi / 500) ** 2


@pytest.mark.parametrize(
    ("spacing", "within"),
    [((1, 1, 1), 0.005), ((2, 1, 1), 0.008), ((4, 1, 1), 0.015), ((1, 2, 4), 0.02), ((0.284, 0.127, 0.127), 0.01)],
)
@pytest.mark.parametrize("radii", [(14, 14, 14), (24, 12, 12), (12, 24, 18)])
def test_the_surface_of_balls_and_ellipsoids(spacing, within, radii):
    radii = tuple(radius * min(spacing) for radius in radii)
    table = table_of(ellipsoid(radii, spacing), spacing=spacing)
    assert table["surface_um2"][0] == pytest.approx(area_of(radii), rel=within)
    if len(set(radii)) == 1:
        assert table["sphericity"][0] == pytest.approx(1, abs=0.015)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 1, 1), (4, 1, 1)])
def test_the_surface_of_a_box_along_the_axes_is_a_tenth_too_small(spacing):
    """The most that any orientation of a plane is off, and that the edges are rounded."""
    labels = np.zeros((30, 60, 60), np.uint8)
    labels[5:20, 10:50, 20:45] = 1
    z, y, x = np.array([15, 40, 25]) * spacing
    assert 0.87 < table_of(labels, spacing=spacing)["surface_um2"][0] / (2 * (z * y + z * x + y * x)) < 0.92


def test_a_plane_of_any_orientation_has_its_area():
    for spacing in ((1, 1, 1), (4, 1, 1), (1.5, 1, 1), (10, 1, 1)):
        steps, weights = measures._directions(spacing)
        normals = np.random.default_rng(0).normal(size=(2000, 3))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        area = np.abs(normals @ (steps * spacing).T) @ weights / np.prod(spacing)
        assert abs(area.mean() - 1) < 0.002 and area.std() < 0.022 and area.min() > 0.87 and area.max() < 1.04


def test_the_surface_is_the_same_in_the_mirror_and_along_other_axes():
    labels, _ = random_objects()
    surface = table_of(labels, spacing=(4, 2, 1))["surface_um2"]
    for other, spacing in ((labels[::-1, :, ::-1], (4, 2, 1)), (labels.transpose(2, 0, 1), (1, 4, 2))):
        np.testing.assert_allclose(table_of(other, spacing=spacing)["surface_um2"], surface, rtol=1e-6)


def test_touching_objects_have_a_surface_where_they_touch_and_at_the_border():
    whole = np.ones((8, 8, 8), np.uint8)
    apart = np.zeros((12, 12, 12), np.uint8)
    apart[2:10, 2:10, 2:10] = 1
    surface = table_of(whole)["surface_voxels2"]
    assert surface == table_of(apart)["surface_voxels2"]
    whole[4:] = 2
    halves = table_of(whole)["surface_voxels2"]
    assert halves[0] == pytest.approx(halves[1]) and halves[0] < surface < halves.sum()


def test_a_tiny_object_is_rounder_than_a_ball():
    """As `docs/evaluation.md` says: lines meet a voxel less often than its faces would have it."""
    assert 1.5 < table_of(np.ones((1, 1, 1), np.uint8))["sphericity"][0] < 1.7
    assert table_of(ellipsoid((5, 5, 5), (1, 1, 1)))["sphericity"][0] < 1.02


# ---- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "image", "words"),
    [
        (np.ones((2, 3, 4), int), np.zeros((2, 3, 5)), ("image: expected the shape of the labels", "(2, 3, 4)", "(2, 3, 5)")),
        (np.ones((2, 3, 4, 2), int), None, ("labels: expected one label per voxel", "2 channels", "not probabilities")),
        (np.full((2, 3, 4), 0.37), None, ("labels: expected labels that are whole numbers", "0.37", "probabilities")),
        (np.full((2, 3, 4), np.nan), None, ("labels: expected labels that are whole numbers", "nan")),
        (np.full((2, 3, 4), 1e300), None, ("labels: expected labels that are whole numbers", "1e+300")),
        (np.zeros((2, 3, 4), int), None, ("labels: expected objects", "only the background 0", "`background`")),
    ],
)  # fmt: skip
def test_refused(labels, image, words):
    with pytest.raises(InputError, match=says(*words)) as error:
        table_of(labels, image)
    assert "\n" not in str(error.value)
