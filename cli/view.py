"""`unet3d-cli view`."""

from typing import Any

import click

from keras_unet3d.cli.command import FILE, MODEL, Command, teaches
from keras_unet3d.errors import InputError
from keras_unet3d.machine import versions


@teaches(example="view runs/stack stack.h5")
@click.command("view", cls=Command)
@click.argument("words", nargs=-1, required=True, type=MODEL, metavar="[MODEL] VOLUME")
@click.option("--labels", type=FILE, metavar="FILE", help="Labels so far [default: those beside the image].")
def command(words, labels):
    """Show a volume and its labels in napari, to segment it, to paint on it and to train further.

    MODEL is as in predict, VOLUME a volume file or the word sample. The extra `napari` of this package has what it needs.
    """
    if len(words) > 2:
        raise click.UsageError(f"expected a volume, or a model and a volume; found {len(words)} words.")
    *models, volume = words
    refuse_without_napari()
    import napari

    window(volume, labels, *models)
    napari.run()


def refuse_without_napari() -> None:
    """Raise `InputError` where napari, or the Qt that it draws with, is not installed."""
    if not all(map(versions.is_installed, ("napari", "qtpy", "magicgui"))):
        raise InputError("view: expected the package napari, found none; run pip install 'keras-unet3d[napari]'.")


def window(volume: str, labels: str | None = None, model: str | None = None) -> tuple[Any, Any]:
    """Return a viewer with the layers of a volume, and the panel beside them.

    Raises:
        InputError: a volume, labels or a model that cannot be opened; no window is shown then.
    """
    from keras_unet3d.cli.background import Background
    from keras_unet3d.cli.napari_layers import layers_of
    from keras_unet3d.datasets import DataKeys, open_partly_labelled
    from keras_unet3d.workflows.annotate.session import specification

    background = Background()
    keys = background.call(specification, model).keys if model else DataKeys()
    image, label = open_partly_labelled(volume, keys, labels)
    layers = layers_of(image, label, image.path.name if image.path else image.name, keys)

    import napari

    from keras_unet3d.cli.napari_widget import Annotator

    viewer = napari.Viewer(title=f"{image.name}: keras-unet3d")
    panel = Annotator(viewer, model, background)
    viewer.window.add_dock_widget(panel, name="keras-unet3d")
    for voxels, told, kind in layers:
        layer = getattr(viewer, f"add_{kind}")(voxels, **told)
        if kind == "labels":
            panel.painted.value = layer
            if model:
                panel.prepare()
    return viewer, panel
