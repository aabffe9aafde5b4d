"""Charts as numbers: places of points and bars by hand."""

import numpy as np
import pytest

from keras_unet3d.report.charts import HEIGHT, WIDTH, curves, histogram, shares

ROWS = [
    {"epoch": 1, "loss": 1.0, "val_loss": 0.1, "iou": 0.0, "val_iou": 1.0},
    {"epoch": 3, "loss": 0.1, "val_loss": 0.01, "iou": 0.5, "val_iou": 0.25},
]


def test_curves_lie_where_their_values_are():
    chart = curves("Overlap", ROWS, ["iou"], best=2)
    training, validation = chart["lines"]
    left, right, top, bottom = (chart[side] for side in ("left", "right", "top", "bottom"))
    assert training["points"] == [(left, bottom), (right, (top + bottom) / 2)]
    assert validation["points"] == [(left, top), (right, bottom - (bottom - top) / 4)]
    assert chart["mark"] == (left + right) / 2
    assert [training["name"], validation["name"]] == ["IoU, training", "IoU, validation"]
    assert training["dashed"] and not validation["dashed"]
    assert [tick["text"] for tick in chart["y_ticks"]] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert 0 < left < right < WIDTH and 0 < top < bottom < HEIGHT


def test_losses_have_a_logarithmic_axis():
    chart = curves("Loss", ROWS, ["loss"], best=None)
    training, validation = chart["lines"]
    middle = (chart["top"] + chart["bottom"]) / 2
    assert [y for _, y in training["points"]] == pytest.approx([chart["top"], middle], abs=0.1)
    assert [y for _, y in validation["points"]] == pytest.approx([middle, chart["bottom"]], abs=0.1)
    below = [row | {"loss": -1.0} for row in ROWS]
    assert curves("Loss", below, ["loss"], best=None)["lines"][0]["points"][0][1] == chart["bottom"]


def test_one_epoch_is_a_curve_too():
    assert len(curves("Loss", ROWS[:1], ["loss"], best=1)["lines"][0]["points"]) == 1


def test_a_histogram_counts_its_values():
    chart = histogram("Sizes", "volume", {"labelled": np.array([1.0, 1, 1, 5]), "predicted": np.array([5.0, 5])})
    heights = [bar["height"] for bar in chart["bars"]]
    whole = chart["bottom"] - chart["top"]
    assert heights[0] == pytest.approx(whole, abs=0.1)
    assert [entry["name"] for entry in chart["legend"]] == ["labelled (4)", "predicted (2)"]
    assert sum(bar["height"] for bar in chart["bars"] if bar["name"] == "predicted") == pytest.approx(
        whole * 2 / 3, abs=0.2
    )


def test_shares_are_of_the_whole():
    assert [part["share"] for part in shares({"a": 3.0, "b": 1.0})] == [0.75, 0.25]
    assert shares({"a": 0.0})[0]["share"] == 0


def test_objects_of_one_size_stand_in_the_middle_of_an_axis_that_can_be_read():
    chart = histogram("Sizes", "voxels", {"predicted": np.array([645_196.0])})
    (bar,) = (bar for bar in chart["bars"] if bar["height"] > 0)
    assert bar["x"] + bar["width"] / 2 == pytest.approx((chart["left"] + chart["right"]) / 2, abs=1)
    texts = [tick["text"] for tick in chart["x_ticks"]]
    assert len(texts) == len(set(texts)) > 2
