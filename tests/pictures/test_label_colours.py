"""Names and colours of classes as other programs read them, by hand."""

import pytest

from keras_unet3d.pictures.label_colours import class_colours, fiji, itk_snap, slicer, write_label_colours

# The first three colours of the pictures: #0072B2, #E69F00, #009E73.
CLASSES = class_colours((7, 40, 2), ("cell", 'thick "wall"', "background"), 2)


def test_a_label_description_of_itk_snap():
    assert itk_snap(CLASSES).decode().splitlines() == [
        "# ITK-SNAP label description: value, red, green, blue, opacity, visible, mesh, name",
        '0 0 0 0 0 0 0 "Clear Label"',
        '7 0 114 178 1 1 1 "cell"',
        "40 230 159 0 1 1 1 \"thick 'wall'\"",
        '2 0 158 115 0 0 0 "background"',
    ]
    assert "Clear Label" not in itk_snap(class_colours((0, 1), ("background", "cell"), 0)).decode()


def test_a_colour_table_of_slicer():
    assert slicer(CLASSES).decode().splitlines() == [
        "# Color table: value, name, red, green, blue, alpha",
        "7 cell 0 114 178 255",
        "40 thick_'wall' 230 159 0 255",
        "2 background 0 158 115 0",
    ]


def test_a_look_up_table_of_fiji():
    table = fiji(CLASSES)
    assert len(table) == 768
    assert [(place, value) for place, value in enumerate(table) if value] == [
        (40, 230),
        (256 + 7, 114),
        (256 + 40, 159),
        (512 + 7, 178),
    ]


@pytest.mark.parametrize(
    ("values", "suffixes"),
    [((0, 255), [".label.txt", ".ctbl", ".lut"]), ((0, 256), [".label.txt", ".ctbl"]), ((-1, 1), [])],
)
def test_a_file_without_room_for_all_values_is_not_written(tmp_path, values, suffixes):
    written = write_label_colours(tmp_path / "my.stack", class_colours(values, ("a", "b"), None))
    assert written == [tmp_path / f"my.stack{suffix}" for suffix in suffixes]
    assert sorted(tmp_path.iterdir()) == sorted(written)


def test_colours_start_again_where_classes_outnumber_them():
    many = class_colours(range(9), [str(number) for number in range(9)], None)
    assert many[8].rgb == many[0].rgb and all(one.visible for one in many)
