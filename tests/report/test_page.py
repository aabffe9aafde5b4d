"""A page's text: everything on it, nothing from elsewhere, and no name of a stranger that is more than text."""

import re

import numpy as np
import pytest

from keras_unet3d.report.page import Page, html
from keras_unet3d.report.scene import Scene, Side

NASTY = "</script><img src=x onerror=alert(1)>&\"'"
ESCAPED = "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&amp;&#34;&#39;"


def mean(value: float) -> dict:
    return {"mean": value, "low": value - 0.01, "high": value + 0.01, "count": 2}


def a_class(dice: float) -> dict:
    return {
        "iou": dice - 0.1, "dice": dice, "sensitivity": 0.611, "precision": 0.622, "volume_error": -0.033,
        "hausdorff_95": 4.56, "surface_distance": 1.23, "surface_dice": 0.777,
    }  # fmt: skip


def result(dice: float, *volumes: tuple[str, float]) -> dict:
    per_volume = {
        "mean_dice": mean(dice),
        "mean_iou": mean(dice),
        "classes": {"cell": {"dice": mean(dice)}, "none": {"dice": None}},
    }
    return {
        "classes": {"cell": a_class(dice), "none": None},
        "mean_dice": dice,
        "mean_iou": dice - 0.1,
        "calibration_error": 0.0123,
        "per_volume": per_volume,
        "volumes": [
            {"file": file, "classes": {"cell": a_class(of), "none": None}, "mean_dice": of, "calibration_error": 0.02}
            | {"unit": "um", "tolerance": 1.0, "dense": True}
            for file, of in volumes
        ],
    }


def test_all_figures_are_on_the_page_and_the_worst_volume_comes_first():
    text = html(Page("A run", figures=result(0.851, ("good.h5", 0.901), ("bad.h5", 0.402)), networks=["run"]))
    for shown in (
        "0.851",
        "0.751",
        "0.611",
        "0.622",
        "-3.3%",
        "4.56",
        "1.23",
        "0.777",
        "[0.841, 0.861]",
        "0.0123",
        "0.901",
        "0.402",
    ):
        assert shown in text
    assert text.index("bad.h5") < text.index("good.h5")
    assert text.count("in neither labels nor prediction") == 3


def test_two_networks_and_their_difference():
    first, second = (result(dice, ("a.h5", dice)) for dice in (0.8, 0.7))
    difference = {"mean_dice": {**mean(0.1), "p": 0.031}, "classes": {"cell": {**mean(0.1), "p": 0.031}, "none": None}}
    figures = first | {"compared": {"model": "two", "figures": second, "difference": difference}}
    text = html(Page("Both", figures=figures, networks=["one", "two"]))
    assert "+0.1000" in text and "+0.0900 to +0.1100" in text and "0.031" in text and "Dice of two" in text


def test_names_are_text_whatever_they_are():
    array = np.zeros((1, 2, 3), np.uint8)
    scenes = [Scene(NASTY, array, array, (Side(NASTY, array),), note=NASTY)]
    page = Page(
        NASTY, NASTY, {NASTY: NASTY}, {NASTY: NASTY}, figures=result(0.8, (NASTY, 0.8)), networks=[NASTY], scenes=scenes,
        scene_note=NASTY, class_names=[NASTY], time_note=NASTY, settings={NASTY: NASTY}, versions={NASTY: NASTY},
    )  # fmt: skip
    text = html(page)
    assert NASTY not in text and "<img" not in text
    assert text.count(ESCAPED) >= 12
    # Within the data of the viewer, too: a script ends where its text says so.
    assert re.findall(r"<(/?script)", text) == ["script", "/script"] * 2


def test_a_page_asks_nothing_of_the_network():
    array = np.zeros((1, 2, 3), np.uint8)
    text = html(Page("A run", scenes=[Scene("a", array, array, (Side("run", array),))], class_names=["none", "cell"]))
    assert not re.search(r"https?:|//[a-z]|@import|url\(|\bsrc=|<link", text.replace("// ", ""))
    assert "default-src 'none'" in text


@pytest.mark.parametrize(
    "part",
    [
        "The volumes",
        "The course of the training",
        "How good it is",
        "The objects",
        "What was done",
        "Where the time went",
    ],
)
def test_what_there_is_nothing_of_is_left_out(part):
    assert part not in html(Page("Empty"))


def test_epochs_are_a_table_and_seconds_read_well():
    rows = [{"epoch": 1.0, "val_loss": 0.123456}]
    times = [
        {"name": name, "seconds": value, "share": 0.25, "colour": "#000"}
        for name, value in (("a", 2.0), ("b", 30.0), ("c", 90.0), ("d", 5400.0))
    ]
    text = html(Page("A run", charts=[], table=rows, times=times))
    assert "a: 2 s (25 %)" in text and "b: 30 s" in text and "c: 1.5 min" in text and "d: 1.5 h" in text
