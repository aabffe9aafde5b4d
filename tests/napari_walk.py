"""The whole way in a window of napari, a program of its own: python napari_walk.py STACK RUN."""

import sys
import time
from pathlib import Path

import h5py
import numpy as np
from helpers import UNLABELLED, VALUES

from keras_unet3d.cli import view


def main(stack: str, run: str) -> None:
    from qtpy.QtWidgets import QApplication

    from keras_unet3d.cli import napari_widget

    viewer, panel = view.window(stack, None, run)
    new = Path(stack).with_name("new.h5")

    def wait():
        until = time.time() + 120
        while time.time() < until:
            QApplication.processEvents()
            time.sleep(0.01)
            if panel.buttons["Segment"].enabled:
                return
        raise AssertionError(panel.said.native.toPlainText())

    def press(text):
        panel.buttons[text].changed.emit(True)
        wait()

    wait()
    layer = panel.painted.value
    assert [layer.name for layer in viewer.layers] == ["stack.h5", "stack.h5 labels"]
    assert tuple(layer.scale) == (2.0, 1.0, 1.0)
    np.testing.assert_array_equal(np.ravel(layer.colormap.map(UNLABELLED)), (0, 0, 0, 0))
    press("Segment")
    assert set(np.unique(viewer.layers["stack.h5 segmented"].data)) <= set(VALUES)
    press("Suggest slices")
    plane = panel.suggested.value
    axis = "zyx".index(plane.axis)
    assert viewer.dims.order[0] == axis and viewer.dims.current_step[axis] == plane.index
    assert str(layer.mode) == "paint"
    layer.paint((8, 8, 8), 5)
    assert layer.data[8, 8, 8] == 5
    napari_widget.ask_for_file = lambda *_, **__: str(new)
    press("Save labels ...")
    with h5py.File(new) as file:
        np.testing.assert_array_equal(file["label"][:], layer.data)
    words = []
    napari_widget.train = lambda given, say, begun: words.extend(given)
    press("Train further")
    assert words[words.index("--from") + 1] == run and words[-1] == str(new.with_name("new-run1"))
    assert panel.model.value == str(new.with_name("new-run1"))
    viewer.close()
    print("walked")


if __name__ == "__main__":
    main(*sys.argv[1:])
