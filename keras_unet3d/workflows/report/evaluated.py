"""The page of an evaluation, of one network or of two side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_unet3d.labels import LabelTable
from keras_unet3d.report.page import Page, html
from keras_unet3d.report.scene import Gallery, side_by_side
from keras_unet3d.words import plural
from keras_unet3d.workflows.report.scenes import object_charts


def evaluation_page(figures: Mapping[str, Any], galleries: Sequence[Gallery], table: LabelTable) -> str:
    """Return the page of what `evaluate` returned.

    Args:
        figures: of the first network; with "compared", as the command writes it, also of the second.
        galleries: of each network, which `evaluate` was given.
        table: what the labels mean.
    """
    networks, volumes = [gallery.network for gallery in galleries], figures["volumes"]
    scenes = galleries[0].scenes
    for gallery in galleries[1:]:
        scenes = side_by_side(scenes, gallery.scenes)
    shown = {"mean Dice": "mean_dice", "mean IoU": "mean_iou", "calibration error": "calibration_error"}
    results = [figures, *([figures["compared"]["figures"]] if "compared" in figures else [])]
    highlights = {
        name: " / ".join("–" if result[key] is None else f"{result[key]:.3f}" for result in results)
        for name, key in shown.items()
    }
    units = {volume["unit"] for volume in volumes}
    return html(
        Page(
            title=f"Evaluation of {' and '.join(networks)}",
            summary=f"{plural(len(volumes), 'volume')}, compared with the labels over the labelled voxels.",
            highlights=highlights,
            figures=figures,
            networks=networks,
            scenes=scenes,
            scene_note=f"Shown: {len(scenes)} of {plural(len(volumes), 'volume')}, those with the lowest Dice, the worst first.",
            class_names=table.shown_names,
            background=table.background,
            objects=object_charts(scenes, None if len(units) > 1 or units == {"voxels"} else units.pop()),
        )
    )
