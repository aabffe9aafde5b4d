"""The panel in napari: choose a model, segment, paint the suggested slices, save them, train further.

What happens on a button is in `workflows/annotate/session.py`; here are only windows, layers and threads.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Optional

import numpy as np
from magicgui.widgets import ComboBox, Container, FloatSpinBox, ProgressBar, PushButton, TextEdit, create_widget
from magicgui.widgets import show_file_dialog as ask_for_file
from napari.layers import Image, Labels
from napari.qt.threading import create_worker
from napari.utils.colormaps import DirectLabelColormap, label_colormap
from napari.utils.notifications import show_error
from napari.viewer import Viewer
from superqt.utils import ensure_main_thread

from keras_unet3d.cli.background import Background, train
from keras_unet3d.cli.napari_layers import placed, volume_of
from keras_unet3d.cli.next_steps import fit_words
from keras_unet3d.datasets import DataKeys
from keras_unet3d.errors import InputError
from keras_unet3d.geometry import AXES
from keras_unet3d.labels import LabelTable
from keras_unet3d.listener import Listener
from keras_unet3d.pictures.label_colours import class_colours
from keras_unet3d.volumes import Volume, from_array
from keras_unet3d.workflows.annotate.painting import Painting, Slice
from keras_unet3d.workflows.annotate.session import (
    free_run,
    labels_to_paint,
    new_instance,
    next_slices,
    save_painted,
    segmented,
)

# What a layer that is painted on remembers in its metadata: what may be painted, and the value that means "not labelled".
_MEANING = "keras-unet3d meaning"
_SUGGESTED = 5  # slices
_BRUSH = 5  # voxels


class Annotator(Container):
    """The panel; `viewer` is napari's, `model` a run folder, a bundle or a name to begin with."""

    def __init__(self, viewer: Viewer, model: str | None = None, background: Background | None = None):
        from keras_unet3d import zoo

        self._viewer, self._background = viewer, background or Background()
        self._saved: Path | None = None
        # Ends what is being done.
        self._end: Callable[[], None] = self._background.end
        self._models = [*([model] if model else []), *(card.name for card in zoo.list_models())]
        self.image: Any = create_widget(label="image", annotation=Image)
        self.painted: Any = create_widget(label="labels", annotation=Optional[Labels])  # noqa: UP045 - magicgui asks for it
        self.model = ComboBox(label="model", choices=lambda _: self._models)
        self.suggested = ComboBox(label="slices", choices=[])
        self.minutes = FloatSpinBox(label="minutes", value=10.0, min=0.1, max=10_000.0)
        self.progress = ProgressBar(label="", value=0, max=100)
        self.said = TextEdit(label="")
        self.said.native.setReadOnly(True)
        actions = {
            "Another model ...": self._choose_model,
            "Segment": self._segment,
            "Suggest slices": self._suggest,
            "Paint": self._paint,
            "Save labels ...": self._save,
            "Train further": self._train,
        }
        self.buttons = {text: PushButton(text=text) for text in actions}
        for button, action in zip(self.buttons.values(), actions.values(), strict=True):
            button.changed.connect(partial(self._try, action))
        self.stop = PushButton(text="Stop", enabled=False)
        self.stop.changed.connect(lambda: self._end())
        self.suggested.changed.connect(self._jump)
        another, segment, suggest, paint, save, further = self.buttons.values()
        rows = [self.image, self.painted, self.model, another, segment, suggest, self.suggested, paint, save]
        super().__init__(widgets=[*rows, self.minutes, further, self.stop, self.progress, self.said])
        # Nothing goes on without its window.
        self.native.destroyed.connect(lambda: self._end())

    # ---- what the buttons do -----------------------------------------------------------------------

    def _choose_model(self) -> None:
        chosen = ask_for_file("d", "A run folder or a bundle", parent=self.native)
        if chosen:
            self._add_model(str(chosen))

    def _add_model(self, model: str) -> None:
        self._models = [model, *(known for known in self._models if known != model)]
        self.model.reset_choices()
        self.model.value = model

    def _segment(self) -> None:
        image, _ = self._chosen_image()
        name = f"{self.image.value.name} segmented"

        def show(result: tuple[np.ndarray, LabelTable]) -> None:
            labels, table = result
            if name in self._viewer.layers:
                self._viewer.layers.remove(name)
            colours = _colours(table, 0 if table.of_instances else table.unseen)
            shown = self._viewer.add_labels(
                labels.astype(np.int64), **placed(image, name), colormap=colours, opacity=0.4
            )
            if self.painted.value is not None:
                # Beneath what is painted.
                layers = self._viewer.layers
                layers.move(layers.index(shown), layers.index(self.painted.value))

        self._ask("segmenting", segmented, _sent(image), then=show)

    def _paint(self) -> None:
        self.prepare(self._take_up_brush)

    def prepare(self, then: Callable[[], None] = lambda: None) -> None:
        """Have a layer of labels to paint on, in the colours of what the model knows, and then do something."""
        image, _ = self._chosen_image()
        name, layer = f"{self.image.value.name} labels", self.painted.value

        def show(result: tuple[np.ndarray, LabelTable, int]) -> None:
            labels, table, unlabelled = result
            if layer is None:
                self.painted.value = self._viewer.add_labels(labels, **placed(image, name))
            else:
                layer.data = labels
            self._mean(self.painted.value, table, unlabelled)
            then()

        if layer is not None and _MEANING in layer.metadata:
            then()
        else:
            label = None if layer is None else from_array(np.asarray(layer.data), layer.name)
            self._ask("preparing the labels", labels_to_paint, _sent(image), label, then=show)

    def _mean(self, layer: Any, table: LabelTable, unlabelled: int) -> None:
        """Show a layer of labels in the colours of what they mean, and say it."""
        layer.colormap = _colours(table, unlabelled)
        layer.metadata[_MEANING] = table, unlabelled
        layer.selected_label = new_instance(layer.data, unlabelled) if table.of_instances else table.values[0]
        said = "a number for every instance" if table.of_instances else table.shown()
        self._say(f"paint {said}; the eraser makes voxels unlabelled again ({unlabelled})")

    def _take_up_brush(self) -> None:
        layer = self.painted.value
        self._viewer.layers.selection.active = layer
        layer.brush_size, layer.mode = _BRUSH, "paint"

    def _suggest(self) -> None:
        self.prepare(self._rank)

    def _rank(self) -> None:
        layer = self.painted.value
        _, unlabelled = layer.metadata[_MEANING]
        labelled = np.asarray(layer.data) != unlabelled

        def show(slices: list[Slice]) -> None:
            self.suggested.choices = [(f"{plane.axis} = {plane.index}", plane) for plane in slices]
            self._jump(slices[0])
            self._take_up_brush()

        image, _ = self._chosen_image()
        self._ask("looking for slices", next_slices, _sent(image), labelled, _SUGGESTED, then=show)

    def _jump(self, plane: Slice | None) -> None:
        """Show a slice, across whose axis the slider then moves."""
        if plane is not None:
            axis, dims = AXES.index(plane.axis), self._viewer.dims
            dims.ndisplay = 2
            dims.order = (axis, *(other for other in range(3) if other != axis))
            dims.set_point(axis, plane.index * self.image.value.scale[axis])
            self._viewer.reset_view()

    def _save(self) -> None:
        path = self._asked_path()
        if path:
            self._work("saving", self._writer(path), lambda _: self._say(f"saved: {path}"))

    def _train(self) -> None:
        path = self._saved or self._asked_path()
        if path is None:
            return
        write, model, minutes = self._writer(path), self.model.value, self.minutes.value
        # The training may need the memory of the GPU.
        self._background.end()

        def work(listener: Listener) -> Path:
            painting, run = write(listener), free_run(path)
            further = ["--from", model, "--minutes", f"{minutes:g}", "--out", str(run)]
            train([*fit_words(painting, painting.volume, str(path)), *further], listener.say, self._begun)
            return run

        self._work("training", work, lambda run: self._add_model(str(run)))

    # ---- what they share ---------------------------------------------------------------------------

    def _chosen_image(self) -> tuple[Volume, DataKeys]:
        if self.image.value is None:
            raise InputError("image: expected an image layer, found none; open a volume first.")
        return volume_of(self.image.value)

    def _asked_path(self) -> Path | None:
        chosen = ask_for_file("w", "A label volume", start_path="labels.h5", parent=self.native)
        return Path(chosen) if chosen else None

    def _writer(self, path: Path) -> Callable[[Listener], Painting]:
        """Return what writes the painted labels, in a thread, and returns what they belong to."""
        (image, keys), layer = self._chosen_image(), self.painted.value
        if layer is None or _MEANING not in layer.metadata:
            raise InputError("labels: expected a layer that was painted on, found none; press Paint first.")

        def write(listener: Listener) -> Painting:
            table, unlabelled = layer.metadata[_MEANING]
            painting = save_painted(path, np.asarray(layer.data), image, table, unlabelled, keys)
            self._saved = path
            return painting

        return write

    def _ask(self, what: str, function: Callable, *arguments: object, then: Callable[[Any], None]) -> None:
        """Have the chosen model do something in the background, and then something with the result."""
        model = self.model.value
        self._end = self._background.end
        self._work(what, lambda listener: self._background.call(function, model, *arguments, listener=listener), then)
        self.stop.enabled = True

    def _work(self, what: str, function: Callable[[Listener], Any], then: Callable[[Any], None]) -> None:
        """Run a function in a thread, its lines and its progress shown, and then what is done with its result."""
        self._say(f"{what} ...")
        self._busy(True)
        # Finished comes after the result, which may begin more work.
        done = {"returned": [lambda _: self._busy(False), then], "errored": [lambda _: self._busy(False), self._failed]}
        create_worker(function, Listener(self._say, self._show_progress), _connect=done)

    def _busy(self, busy: bool) -> None:
        for button in self.buttons.values():
            button.enabled = not busy
        self.stop.enabled = False
        self.progress.value = 0

    @ensure_main_thread
    def _begun(self, process: Any) -> None:
        self._end, self.stop.enabled = process.terminate, True

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except InputError as error:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        sentence = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        self._say(sentence)
        show_error(sentence)

    @ensure_main_thread
    def _say(self, line: str) -> None:
        self.said.native.append(line)

    @ensure_main_thread
    def _show_progress(self, done: int, of: int) -> None:
        self.progress.value = round(100 * done / of)


def _sent(image: Volume) -> Volume:
    """Return an image as it can be sent to another process: its voxels, without its file."""
    return from_array(image.array(), image.name, image.spacing, image.unit)


def _colours(table: LabelTable, unseen: int | None) -> Any:
    """Return the colours of labels in which the value `unseen` is transparent: those of our pictures, for instances napari's."""
    if table.of_instances:
        return label_colormap(background_value=unseen)
    colours = {one.value: f"#{bytes(one.rgb).hex()}" for one in class_colours(table.values, table.names, None)}
    hidden = {} if unseen is None else {unseen: "transparent"}
    # The eraser paints the background value.
    return DirectLabelColormap(color_dict={None: "transparent"} | colours | hidden, background_value=unseen or 0)
