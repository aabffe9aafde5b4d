"""Curves and histograms as numbers that the page's template draws: nothing here is a picture yet."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_unet3d.pictures.drawing import COLOURS

# Size of a chart in its own units, and what its axes' words take of it.
WIDTH, HEIGHT = 440, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 38
_MOST_BINS = 30
# Values that span more than this factor are drawn over their logarithm.
_WIDE = 20


class _Axis:
    """From values to places between `begin` and `end`, and the values that are written beside it."""

    def __init__(self, low: float, high: float, begin: float, end: float, log: bool = False, whole: bool = False):
        from matplotlib.ticker import LogLocator, MaxNLocator

        self.log = log
        self.low, self.high = (low, high) if high > low else (low - 0.5, high + 0.5)
        self.begin, self.end = begin, end
        values = MaxNLocator(5, integer=whole, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)
        if log:
            values = LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)).tick_values(self.low, self.high)
        inside = [float(value) for value in values if self.low * 0.999 <= value <= self.high * 1.001]
        self.ticks = [{"at": self.at(value), "text": f"{round(value, 10):,g}"} for value in inside]

    def at(self, value: float) -> float:
        low, high, here = np.log([self.low, self.high, value]) if self.log else (self.low, self.high, value)
        return round(float(self.begin + (self.end - self.begin) * (here - low) / (high - low)), 1)


def curves(title: str, rows: Sequence[Mapping[str, float]], names: Sequence[str], best: float | None) -> dict[str, Any]:
    """Return lines over the epochs of what is in `rows` under each of `names`, in training and ("val_") in validation.

    Overlaps have an axis from 0 to 1; losses a logarithmic one where they are above 0. `best` is an epoch to be marked.
    """
    kinds = [(name, key, key != name) for name in names for key in (name, f"val_{name}")]
    values = [row[key] for row in rows for _, key, _ in kinds]
    is_loss = "loss" in names
    log = is_loss and min(values) > 0
    across = _Axis(rows[0]["epoch"], rows[-1]["epoch"], _LEFT, WIDTH - _RIGHT, whole=True)
    up = _Axis(min(values) if is_loss else 0.0, max(values) if is_loss else 1.0, HEIGHT - _BOTTOM, _TOP, log=log)
    lines = [
        {
            "name": f"{_NAMES[name]}, {'validation' if held_out else 'training'}",
            "points": [(across.at(row["epoch"]), up.at(row[key])) for row in rows],
            "colour": COLOURS[names.index(name)],
            "dashed": not held_out,
        }
        for name, key, held_out in kinds
    ]
    return _frame(title, "epoch", across, up) | {"lines": lines, "mark": None if best is None else across.at(best)}


_NAMES = {"loss": "loss", "iou": "IoU", "dice": "Dice"}


def histogram(title: str, across: str, series: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return bars of how often values occur, of one or two series side by side; values are above 0."""
    together = np.concatenate([*series.values()])
    low, high = float(together.min()), float(together.max())
    log = low > 0 and high > _WIDE * low
    count = int(np.clip(2 * np.sqrt(len(together)), 5, _MOST_BINS))
    # Where all are of one size, the bar stands in the middle of an axis that can be read.
    span = (low, high) if low < high else (0.5 * low, 1.5 * high)
    edges = np.geomspace(low, high, count + 1) if log else np.linspace(*span, count + 1)
    counts = {name: np.histogram(values, edges)[0] for name, values in series.items()}
    most = max(int(numbers.max()) for numbers in counts.values())
    x = _Axis(float(edges[0]), float(edges[-1]), _LEFT, WIDTH - _RIGHT, log=log)
    y = _Axis(0, most, HEIGHT - _BOTTOM, _TOP, whole=True)
    bars = []
    for number, (name, numbers) in enumerate(counts.items()):
        for left, right, height in zip(edges[:-1], edges[1:], numbers, strict=True):
            begin, end = x.at(left), x.at(right)
            wide = (end - begin) / len(counts)
            bar: dict[str, Any] = {"x": begin + number * wide, "y": y.at(height), "width": max(wide - 0.6, 0.6)}
            bars.append(bar | {"height": HEIGHT - _BOTTOM - bar["y"], "colour": COLOURS[number], "name": name})
    legend = [{"name": f"{name} ({len(series[name]):,})", "colour": COLOURS[i]} for i, name in enumerate(series)]
    return _frame(title, across, x, y) | {"bars": bars, "legend": legend}


def _frame(title: str, words: str, across: _Axis, up: _Axis) -> dict[str, Any]:
    frame: dict[str, Any] = {"left": _LEFT, "right": WIDTH - _RIGHT, "top": _TOP, "bottom": HEIGHT - _BOTTOM}
    frame |= {"title": title, "width": WIDTH, "height": HEIGHT, "across": words}
    # What a chart may have; most have one of them.
    parts: dict[str, Any] = {"lines": [], "bars": [], "legend": [], "mark": None}
    return frame | {"x_ticks": across.ticks, "y_ticks": up.ticks} | parts


def shares(seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return a bar per part of a whole: its name, seconds, share and colour."""
    whole = sum(seconds.values()) or 1.0
    return [
        {"name": name, "seconds": value, "share": value / whole, "colour": COLOURS[number % len(COLOURS)]}
        for number, (name, value) in enumerate(seconds.items())
    ]
