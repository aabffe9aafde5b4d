"""The page of slices that are worth annotating next."""

import json
import re

import numpy as np
import pytest

from keras_unet3d.datasets import DataKeys
from keras_unet3d.labels import LabelTable
from keras_unet3d.volumes import from_array
from keras_unet3d.workflows.annotate.painting import Painting, Slice
from keras_unet3d.workflows.report.suggested import suggestion_page

UNLABELLED = 9
SHAPE = (4, 8, 8)


def page_of(table=LabelTable((0, 5), ("glue", "cell")), raw=None, unsure=None, predicted=None) -> str:
    """Return the page of a volume with one labelled plane, z = 1, of which the planes z = 3 and x = 2 are suggested."""
    image = from_array(np.arange(256, dtype=np.float32).reshape(SHAPE), "a stack.h5")
    if raw is None:
        raw = np.full(SHAPE, UNLABELLED, np.uint8)
        raw[1] = 5
    painting = Painting("a.h5", None, DataKeys(), table, UNLABELLED, (Slice("z", 3), Slice("x", 2)))
    nothing = np.zeros(SHAPE)
    unsure, predicted = (nothing if given is None else given for given in (unsure, predicted))
    return suggestion_page(image, raw, painting, unsure, predicted.astype(int), [1.25, 0.5])


def rows_of(text: str) -> list[list[str]]:
    body = re.search(r'class="slices">.*?<tbody>(.*?)</tbody>', text, re.DOTALL).group(1)
    cells = (re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row) for row in re.findall("<tr>(.*?)</tr>", body, re.DOTALL))
    return [[re.sub("<.*?>", "", cell) for cell in row] for row in cells]


def scene_of_page(text: str) -> dict:
    viewer = json.loads(re.search(r'id="scenes">(.*?)</script>', text, re.DOTALL).group(1))
    assert viewer["over"] == "uncertainty"
    (scene,) = viewer["scenes"]
    return scene


def test_every_slice_has_its_rank_and_what_speaks_for_it():
    unsure, predicted = np.zeros(SHAPE), np.zeros(SHAPE)
    unsure[3], unsure[1] = 0.5, 1.0  # what is labelled does not count
    predicted[3, :2] = 1
    assert rows_of(page_of(unsure=unsure, predicted=predicted)) == [
        ["1", "z = 3", "1.25", "0.50", "100%", "2 away", "glue 75%, cell 25%"],
        ["2", "x = 2", "0.50", "0.17", "75%", "none", "glue 92%, cell 8%"],
    ]


def test_the_viewer_begins_where_the_first_slice_is_least_sure():
    unsure = np.zeros(SHAPE)
    unsure[3, 2, 5], unsure[2, 1, 2] = 0.7, 0.4
    unsure[1, 7, 2] = 0.9  # there it has a label
    text = page_of(unsure=unsure)
    scene = scene_of_page(text)
    assert scene["start"] == [3, 2, 5] and scene["labels"] and scene["sides"][0]["uncertainty"]
    assert re.findall(r'data-at="(.*?)"', text) == ["[3, 2, 5]", "[2, 1, 2]"]
    assert "25.0% of the voxels have a label so far" in text and "(0 glue, 5 cell; 9 is not labelled)" in text


def test_labels_of_instances_are_shown_as_objects():
    raw = np.full(SHAPE, UNLABELLED, np.uint16)
    raw[1] = 300
    scene = scene_of_page(page_of(LabelTable((0, 1), ("inside", "boundary"), target="boundaries"), raw))
    assert scene["objects"]


def test_of_a_large_volume_the_slices_are_found_in_what_is_shown(monkeypatch):
    monkeypatch.setattr("keras_unet3d.workflows.report.suggested.MOST_VOXELS", 64)
    unsure = np.zeros(SHAPE)
    unsure[3, 6, 5] = 0.7
    text = page_of(unsure=unsure)
    scene = scene_of_page(text)
    steps = scene["step"]
    assert np.prod(scene["shape"]) <= 64
    assert scene["start"] == [3 // steps[0], 6 // steps[1], 5 // steps[2]]
    assert "It is thinned for this page" in text and rows_of(text)[0][1] == "z = 3"


@pytest.mark.parametrize("share", [0, 1])
def test_only_what_is_predicted_is_named(share):
    assert rows_of(page_of(predicted=np.full(SHAPE, share)))[0][6] == f"{('glue', 'cell')[share]} 100%"
