"""Proves a bundle on this machine: every checksum, and the stored test input through both forms of the network."""

from pathlib import Path

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.files import read_json
from keras_unet3d.prediction import compiled
from keras_unet3d.zoo.archives import check_sums
from keras_unet3d.zoo.engines import served
from keras_unet3d.zoo.exporting import TEST_INPUT, TEST_OUTPUT, prepared
from keras_unet3d.zoo.loading import NETWORK, bundle_folder, read_network
from keras_unet3d.zoo.registry import CARD, read_card


def verify(reference: str | Path) -> list[str]:
    """Check every checksum, replay the stored test input, and return what was found equal, a line each.

    Args:
        reference: a name, "name@version", or the folder or zip of a bundle.

    Raises:
        InputError: a file that is missing or changed, or an output that differs by more than the card allows.
    """
    with bundle_folder(reference) as bundle:
        return _verify(bundle)


def _verify(bundle: Path) -> list[str]:
    count = check_sums(bundle)
    card = read_card(bundle)
    _check_files(bundle, card.name)
    channels = card.model.architecture.input_shape[3]
    test_input = _read_test(bundle / TEST_INPUT, channels)
    expected = _read_test(bundle / TEST_OUTPUT, card.model.labels.num_classes)
    try:
        batch = prepared(test_input[0], card.model)
    except InputError as error:
        raise InputError(f"{bundle / TEST_INPUT}: {error}") from error
    margin = card.model.architecture.geometry.margin
    inner = (slice(None), *(slice(m, n - m) for m, n in zip(margin, expected.shape[1:4], strict=True)))
    lines = [f"{bundle}: {count} files have their checksums"]
    keras_output = compiled(read_network(bundle / NETWORK))(batch)
    served_output = served(bundle / f"{card.name}_saved_model.zip")(batch)
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
    listed = read_json(bundle / CARD, "the card of a model").get("files")
    if not isinstance(listed, dict):
        raise InputError(f"{bundle / CARD}: expected the list of files in 'files', found {listed!r}.")
    for needed in (NETWORK, f"{name}_saved_model.zip", TEST_INPUT, TEST_OUTPUT):
        if needed not in listed or not (bundle / needed).is_file():
            raise InputError(f"{bundle}: expected the file {needed}, found none; get the bundle again.")


def _read_test(path: Path, channels: int) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: expected a stored test array, found a broken one ({error}).") from error
    if not isinstance(array, np.ndarray) or array.ndim != 5 or len(array) != 1 or array.shape[4] != channels:
        raise InputError(
            f"{path}: expected shape (1, z, y, x, {channels}), found {getattr(array, 'shape', 'an archive')}."
        )
    return array
