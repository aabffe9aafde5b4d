"""How measures of objects are spread, as a picture."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_unet3d.pictures import drawing

# Values that span more than this factor are drawn over their logarithm.
_WIDE = 20
_MOST_BINS = 40


def draw_histograms(measures: Mapping[str, np.ndarray], cut: np.ndarray, path: Path) -> None:
    """Draw a histogram per measure.

    Args:
        measures: what is measured -> its value for every object; values that are not finite are left out.
        cut: which objects touch the border of the volume; they are drawn in another colour, as they may go on outside.
        path: of the PNG.
    """
    figure, axes = drawing.figure(1, len(measures), (4.2 * len(measures), 3.4))
    names = [f"{name} ({count:,})" for name, count in (("whole", (~cut).sum()), ("at the border", cut.sum()))]
    for axis, (title, values) in zip(axes[0], measures.items(), strict=True):
        known = np.isfinite(values)
        low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 1.0)
        is_wide = low > 0 and high > _WIDE * low
        count = int(np.clip(2 * np.sqrt(known.sum()), 5, _MOST_BINS))
        bins = np.geomspace(low, high, count + 1) if is_wide else np.histogram_bin_edges(values[known], count)
        colours = drawing.COLOURS[: len(names)]
        axis.hist([values[known & ~cut], values[known & cut]], bins, stacked=True, color=colours, label=names)
        axis.set_xscale("log" if is_wide else "linear")
        axis.set_xlabel(title)
        axis.yaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("objects")
    drawing.legend(figure, names)
    drawing.save(figure, path)
