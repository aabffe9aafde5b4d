"""What all pictures share: colours, grey values, a figure without a screen, a legend, a file that is whole."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_unet3d.files import whole_file

# Colour-blind safe: seven of Okabe and Ito, and a purple, as their black and grey would be lost on an image. Where classes
# outnumber them they start again.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#6600CC")
# Classes in a legend; more of them would be of no use, because the colours repeat.
MOST_NAMED = 24


def legend(figure: Any, names: Sequence[str]) -> None:
    """Draw the colours of the classes below everything else; nothing without names."""
    from matplotlib.patches import Patch

    if names:
        named = enumerate(names[:MOST_NAMED])
        patches = [Patch(color=COLOURS[i % len(COLOURS)], label=name) for i, name in named]
        figure.legend(handles=patches, loc="outside lower center", ncols=min(len(names), 8), fontsize=9, frameon=False)


def grey(values: np.ndarray) -> np.ndarray:
    """Return grey values as colours `(..., 3)`, 0 to 1; the darkest and the brightest hundredth are clipped."""
    low, high = np.percentile(values, (1, 99))
    scaled = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    return np.repeat(scaled[..., None], 3, axis=-1)


def coloured(classes: np.ndarray) -> np.ndarray:
    """Return classes as colours `(..., 3)`; white for negative ones."""
    from matplotlib.colors import to_rgb

    colours = np.array([to_rgb(colour) for colour in COLOURS])
    return np.where(classes[..., None] < 0, 1.0, colours[classes % len(colours)])


def figure(
    rows: int, columns: int, size: tuple[float, float], heights: Sequence[float] | None = None
) -> tuple[Any, np.ndarray]:
    """Return a figure, `size` inches wide and high, and its axes, `(rows, columns)`; `heights` are those of the rows."""
    # Without pyplot there is no global state and no display is asked for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, height_ratios=heights)


def save(figure: Any, path: Path) -> None:
    """Write the figure as a PNG, whole or not at all."""
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=110)
