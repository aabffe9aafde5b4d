"""Proves a bundle on this machine: every checksum, and the stored test input through both forms of the network."""

import tempfile
from pathlib import Path

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.files import read_json
from keras_unet3d.prediction import compiled
from keras_unet3d.zoo.archives import check_sums, unzip
from keras_unet3d.zoo.exporting import TEST_INPUT, TEST_OUTPUT, prepared
from keras_unet3d.zoo.loading import NETWORK, read_network
from keras_unet3d.zoo.registry import CARD, find, read_card


def verify(reference: str | Path) -> list[str]:
    """Check every checksum, replay the stored test input, and return what was found equal, a line each.

    Args:
        reference: a name, "name@version", or the path of a bundle's folder.

    Raises:
        InputError: a file that is missing or changed, or an output that differs by more than the card allows.
    """
    bundle = find(reference)
    count = check_sums(bundle)
    card = read_card(bundle)
    _check_files(bundle, card.name)
    test_input = np.load(bundle / TEST_INPUT, allow_pickle=False)
    expected = np.load(bundle / TEST_OUTPUT, allow_pickle=False)
    batch = prepared(test_input[0], card.model)
    margin = card.model.architecture.geometry.margin
    inner = (slice(None), *(slice(m, n - m) for m, n in zip(margin, expected.shape[1:4], strict=True)))
    lines = [f"{bundle}: {count} files have their checksums"]
    keras_output = compiled(read_network(bundle / NETWORK))(batch)
    served_output = _serve(bundle / f"{card.name}_saved_model.zip", batch)
    for what, output, wanted in (
        (NETWORK, keras_output, expected[inner]),
        ("SavedModel", served_output, expected),
    ):
        difference = float(np.abs(output - wanted).max()) if output.shape == wanted.shape else float("inf")
        if not difference <= card.tolerance:
            raise InputError(
                f"{bundle}: expected {what} to give the stored test output within {card.tolerance:g}, found a "
                f"difference of {difference:g}; get the bundle again, or report the machine it was found on."
            )
        lines.append(f"{what}: test output replayed, largest difference {difference:.1e} (allowed {card.tolerance:g})")
    return lines


def _check_files(bundle: Path, name: str) -> None:
    listed = read_json(bundle / CARD, "the card of a model").get("files", {})
    for needed in (NETWORK, f"{name}_saved_model.zip", TEST_INPUT, TEST_OUTPUT):
        if needed not in listed or not (bundle / needed).is_file():
            raise InputError(f"{bundle}: expected the file {needed}, found none; get the bundle again.")


def _serve(archive: Path, batch: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        unzip(archive, Path(folder))
        # The loaded object must outlive the call: its variables go with it.
        loaded = tf.saved_model.load(folder)
        return loaded.signatures["serve"](volume=tf.constant(batch))["probabilities"].numpy()
