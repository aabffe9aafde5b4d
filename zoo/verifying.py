"""Proves a bundle on this machine: every checksum, and the stored test input through every form of the network."""

from collections.abc import Iterator
from pathlib import Path

from keras_unet3d.errors import InputError
from keras_unet3d.fields import validated
from keras_unet3d.files import read_json
from keras_unet3d.machine import versions
from keras_unet3d.machine.compiled import compiled_network
from keras_unet3d.zoo.archives import check_sums
from keras_unet3d.zoo.cards import CARD, Card, read_card
from keras_unet3d.zoo.engines import served
from keras_unet3d.zoo.loading import NETWORK, bundle_folder, read_network
from keras_unet3d.zoo.serving import ONNX, onnx_session, saved_model_name
from keras_unet3d.zoo.trust import TEST_INPUT, TEST_OUTPUT, replay, skew


@validated
def verify(reference: str | Path) -> list[str]:
    """Check every checksum, replay the stored test input, and return what was found equal, a line each.

    A SavedModel runs for that: it is a program, of people you trust.

    Args:
        reference: a name, "name@version", or the folder or zip of a bundle.

    Raises:
        InputError: a file that is missing or changed, or an output that differs by more than the card allows.
    """
    with bundle_folder(reference) as bundle:
        return list(_verified(bundle))


def _verified(bundle: Path) -> Iterator[str]:
    count = check_sums(bundle)
    card = read_card(bundle)
    _check_files(bundle)
    yield f"{bundle}: {count} files have their checksums"
    yield from skew(card)
    for what, network, halo in _forms(bundle, card):
        difference = replay(what, network, bundle, card, halo)
        yield f"{what}: test output replayed, largest difference {difference:.1e} (allowed {card.tolerance:g})"


def _forms(bundle: Path, card: Card) -> Iterator[tuple]:
    """Yield name, network and whether it keeps its input's size, of every form that can run here."""
    yield NETWORK, compiled_network(read_network(bundle / NETWORK, card)), False
    archive = bundle / saved_model_name(card.name)
    if archive.is_file():
        yield "SavedModel", served(archive), True
    if (bundle / ONNX).is_file() and versions.is_installed("onnxruntime"):
        yield "ONNX", onnx_session(str(bundle / ONNX)), True


def _check_files(bundle: Path) -> None:
    listed = read_json(bundle / CARD, "the card of a model").get("files")
    if not isinstance(listed, dict):
        raise InputError(f"{bundle / CARD}: expected the list of files in 'files', found {listed!r}.")
    for needed in sorted({NETWORK, TEST_INPUT, TEST_OUTPUT, *listed}):
        if needed not in listed or not (bundle / needed).is_file():
            raise InputError(f"{bundle}: expected the file {needed}, found none; get the bundle again.")
