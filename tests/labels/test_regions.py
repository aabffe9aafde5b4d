"""Classes that overlap, and what the background of partly labelled volumes may be: tables and class volumes by hand."""

import numpy as np
import pytest
from helpers import says

from keras_unet3d import InputError
from keras_unet3d.labels import UNLABELLED, LabelTable, class_volume, parse_regions, region_table, with_groups
from keras_unet3d.labels.regions import combined
from keras_unet3d.volumes import from_array

# Nothing, edema, core, enhancing core, and not labelled.
RAW = np.array([0, 1, 2, 3, 9], np.uint8).reshape(1, 1, 5)


def brain(**changes):
    return region_table({"core": (2, 3), "whole": (1, 2, 3), "enhancing": (3,)}, unlabelled=(9,), **changes)


def test_the_largest_region_comes_first_and_writes_what_no_later_one_has():
    table = brain()
    assert table.names == ("whole", "core", "enhancing")
    assert table.values == (1, 2, 3)
    assert (table.num_classes, table.num_labels, table.raw_values) == (3, 4, (0, 1, 2, 3))
    assert table.meanings.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert table.shown() == "whole = 1 + 2 + 3, core = 2 + 3, enhancing = 3"


def test_an_order_that_is_given_is_kept():
    table = brain(written=(2, 1, 3))
    assert (table.names, table.values) == (("core", "whole", "enhancing"), (2, 1, 3))


def test_regions_are_read_as_labels_and_written_as_values():
    table = brain()
    labels = class_volume(from_array(RAW), table).array()[..., 0]
    assert labels.tolist() == [[[0, 1, 2, 3, UNLABELLED]]]
    numbers = table.as_classes(labels)
    assert numbers.tolist() == [[[0, 1, 2, 3, UNLABELLED]]]
    assert table.to_values(numbers[..., :4]).tolist() == [[[0, 1, 2, 3]]]
    # Masks that no labels have: the last one that holds is written.
    masks = np.array([[False, False, False], [False, True, False], [True, False, True]])
    assert table.to_values(table.painted(masks)).tolist() == [0, 2, 3]


def test_a_table_of_regions_survives_a_round_trip():
    assert LabelTable.from_config(brain().config(), "here") == brain()


def test_masks_are_one_label_for_every_combination():
    masks = np.array([[0, 0], [255, 0], [0, 1], [1, 1], [7, 0]], np.uint8).reshape(1, 1, 5, 2)
    table = region_table(parse_regions("whole,core"), unlabelled=(7,))
    assert table.by_channel and table.values == () and table.unlabelled == (UNLABELLED,)
    volume = combined(from_array(masks), 2, (7,))
    assert class_volume(volume, table).array().ravel().tolist() == [0, 1, 2, 3, UNLABELLED]
    assert table.meanings.tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]


def test_other_channels_than_regions_are_refused():
    with pytest.raises(InputError, match=says("expected a channel for each of the 3 regions, found 2")):
        combined(from_array(np.zeros((2, 2, 2, 2), np.uint8)), 3)


@pytest.mark.parametrize(
    "text, words",
    [
        ("whole=1+2,whole=2", "expected every name once, found 'whole' again"),
        ("whole=1+2,core", "expected label values for all of them or for none"),
        ("whole=one", "expected names with the label values that they are made of"),
        ("=1", "expected names with the label values that they are made of"),
        ("a,b,c,d,e,f,g", "expected at most 6 channels, found 7"),
    ],
)
def test_a_text_of_regions_that_is_none_is_refused(text, words):
    with pytest.raises(InputError, match=says("regions: ", words)):
        parse_regions(text)


def test_background_where_one_class_was_looked_for_may_be_any_of_the_others():
    table = LabelTable((0, 5, 7, 8), ("background", "a", "b", "c"), (9,))
    table = with_groups(table, [(0, 5), None, (7, 8), (0, 5, 7, 8), (5,)])
    # (0, 5) and (5,) say the same; nothing is open where all were looked for.
    assert table.partial == ((0, 2, 3), (0, 1))
    assert table.label_names == ("background", "a", "b", "c", "background or b or c", "background or a")
    raw = from_array(np.array([0, 5, 9, 0]).reshape(1, 1, 4).astype(np.uint8))
    assert class_volume(raw, table, (0, 5)).array().ravel().tolist() == [4, 1, UNLABELLED, 4]
    assert class_volume(raw, table, (7, 8)).array().ravel().tolist() == [5, 1, UNLABELLED, 5]
    assert class_volume(raw, table).array().ravel().tolist() == [0, 1, UNLABELLED, 0]
    assert table.meanings[4:].tolist() == [[-1, 0, -1, -1], [-1, -1, 0, 0]]
    assert table.as_classes(np.array([0, 3, 4, 5], np.uint8)).tolist() == [0, 3, UNLABELLED, UNLABELLED]
