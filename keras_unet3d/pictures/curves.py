"""The course of a training as a picture."""

from pathlib import Path

from keras_unet3d.pictures import drawing


def draw_curves(rows: list[dict[str, float]], path: Path) -> None:
    """Draw loss and overlap over the epochs; a row holds the figures of one epoch, "val_" for validation."""
    epochs = range(1, len(rows) + 1)
    figure, axes = drawing.figure(1, 2, (9, 3.4))
    for axis, names in zip(axes[0], (("loss",), ("iou", "dice")), strict=True):
        for name, colour in zip(names, drawing.COLOURS, strict=False):
            axis.plot(epochs, [row[name] for row in rows], ".--", color=colour, alpha=0.6, label=f"{name}, training")
            axis.plot(epochs, [row[f"val_{name}"] for row in rows], ".-", color=colour, label=f"{name}, validation")
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    # The validation's first losses may be hundreds of times the last ones.
    axes[0][0].set_yscale("log" if min(min(row["loss"], row["val_loss"]) for row in rows) > 0 else "linear")
    axes[0][1].set_ylim(0, 1)
    drawing.save(figure, path)
