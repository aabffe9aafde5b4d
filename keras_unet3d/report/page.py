"""One page in one text, which asks nothing of the network: figures, words, charts and a viewer of volumes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_unet3d.files import read_text
from keras_unet3d.pictures.drawing import COLOURS
from keras_unet3d.report.scene import Scene

# What a difference may be: missing, too much, another class. They lie on grey values, and are told apart by everybody.
DIFFERENCES = ("#D55E00", "#56B4E9", "#F0E442")


@dataclass(frozen=True)
class Page:
    """What is on a page; what is empty is left out.

    Attributes:
        title: its heading.
        summary: a sentence or two below it.
        highlights: the figures to be seen first: what it is -> the figure, as text.
        words: what it is -> in words.
        charts: what `charts.curves` and `charts.histogram` return.
        table: of figures per epoch, a row each.
        figures: what `evaluate` returns; with "compared" also another network's.
        networks: the names of the networks.
        slices: that are worth annotating, the best one first: the name of each, where it is in the viewer, and what speaks for it.
        scenes: what the viewer shows.
        scene_note: what a reader should know of all of them.
        class_names: of the class numbers.
        background: the class number that is not painted at first; None for none.
        objects: charts of objects.
        times: what `charts.shares` returns.
        time_note: a sentence on them.
        settings: option -> its value.
        versions: package -> its version.
    """

    title: str
    summary: str = ""
    highlights: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    charts: Sequence[dict[str, Any]] = ()
    table: Sequence[Mapping[str, float]] = ()
    figures: Mapping[str, Any] | None = None
    networks: Sequence[str] = ()
    slices: Sequence[Mapping[str, Any]] = ()
    scenes: Sequence[Scene] = ()
    scene_note: str = ""
    class_names: Sequence[str] = ()
    background: int | None = None
    objects: Sequence[dict[str, Any]] = ()
    times: Sequence[dict[str, Any]] = ()
    time_note: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)


def html(page: Page) -> str:
    """Return the page as HTML; all names on it are escaped, as they are a stranger's text."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_own_text),
    )
    environment.filters |= {"figure": _figure, "signed": _signed, "seconds": _seconds}
    viewer = {
        "scenes": [scene.packed() for scene in page.scenes],
        "classes": [*page.class_names],
        "background": page.background,
        "colours": COLOURS,
        "differences": DIFFERENCES,
        "over": "uncertainty" if page.slices else "prediction",
    }
    volumes = _worst_first(page.figures["volumes"]) if page.figures else []
    return environment.get_template("page.html").render(
        page=page,
        viewer=viewer,
        volumes=volumes,
        style=_own_text("page.css"),
        script=_own_text("viewer.js"),
        colours=COLOURS,
        differences=DIFFERENCES,
    )


def _own_text(name: str) -> str:
    return read_text(Path(__file__).parent / name, "a part of the page")


def _worst_first(volumes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the volumes by their mean Dice; those without one last."""
    return sorted(volumes, key=lambda volume: 2 if volume["mean_dice"] is None else volume["mean_dice"])


def _figure(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else f"{value:{form}}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1%}"


def _seconds(value: float) -> str:
    if value < 60:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.1f} min" if value < 3600 else f"{value / 3600:.1f} h"
