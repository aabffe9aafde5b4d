"""What is checked before a bundle is used for the first time on a machine, and what versions say about it."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import keras
import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.files import read_array, read_bytes, write_bytes
from keras_unet3d.machine import folders, versions
from keras_unet3d.machine.compiled import compiled_network
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.volumes import from_array
from keras_unet3d.volumes.grey_values import measure, normalize
from keras_unet3d.zoo.archives import SUMS, check_sums
from keras_unet3d.zoo.cards import Card

TEST_INPUT, TEST_OUTPUT = "test_input.npy", "test_output.npy"
# Packages whose newer versions write what older ones may not read.
_DECISIVE = ("keras", "tensorflow")


def check_files(bundle: Path, needed: Sequence[str]) -> None:
    """Check the sums of all files of a bundle, or of those `needed` alone where it was proved with these versions.

    Raises:
        InputError: a file that is missing or changed.
    """
    if not _stamp(bundle).exists():
        check_sums(bundle)
        return
    for name in needed:
        check_sums(bundle, only=name)


def prove_once(bundle: Path, model: keras.Model, card: Card) -> None:
    """Replay the test of a bundle through `model`, unless that was done with these versions.

    Raises:
        InputError: another output than the stored one.
    """
    stamp = _stamp(bundle)
    if stamp.exists():
        return
    replay("model.keras", compiled_network(model), bundle, card, halo=False)
    # A home that cannot be written to: it is proved again next time.
    with suppress(InputError):
        write_bytes(stamp, b"")


def _stamp(bundle: Path) -> Path:
    decisive = [
        read_bytes(bundle / SUMS, "checksums") if (bundle / SUMS).is_file() else b"",
        repr(versions.package_versions()).encode(),
    ]
    name = hashlib.sha256(b"\n".join([os.fsencode(bundle.resolve()), *decisive])).hexdigest()
    return folders.proofs() / name


def replay(what: str, network: Callable, bundle: Path, card: Card, halo: bool) -> float:
    """Return the largest difference of a network's output to the stored one.

    Args:
        what: the network's name in messages.
        network: batch in, batch out.
        bundle, card: where it is from.
        halo: whether its output has the input's size also under "valid" padding.

    Raises:
        InputError: a difference beyond the card's tolerance, or a broken test.
    """
    architecture = card.spec.architecture
    raw = stored_input(bundle, card.spec)
    expected = _read_test(bundle / TEST_OUTPUT, card.spec.labels.num_classes)
    try:
        batch = prepared(raw[0], card.spec)
    except InputError as error:
        raise InputError(f"{bundle / TEST_INPUT}: {error}") from error
    if not halo:
        margin = architecture.geometry.margin
        expected = expected[(slice(None), *(slice(m, n - m) for m, n in zip(margin, expected.shape[1:4], strict=True)))]
    output = network(batch)
    difference = float(np.abs(output - expected).max()) if output.shape == expected.shape else float("inf")
    if not difference <= card.tolerance:
        raise InputError(
            f"{bundle}: expected {what} to give the stored test output within {card.tolerance:g}, found a "
            f"difference of {difference:g}; get the bundle again, or report the machine it was found on."
            + "".join(f" {sentence}" for sentence in skew(card))
        )
    return difference


def prepared(raw: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """Return a raw volume `(z, y, x, channels)` as the network's input, a batch of one."""
    return normalize(raw, measure(from_array(raw), spec.normalization), spec.normalization)[None]


def skew(card: Card) -> Iterator[str]:
    """Yield a sentence for every package that the model was made with a newer version of."""
    here = versions.package_versions()
    for package in _DECISIVE:
        made, installed = (_minor(software.get(package, "")) for software in (card.software, here))
        if made and installed and made > installed:
            yield (
                f"It was made with {package} {card.software[package]}, and {here[package]} is installed here: "
                f"pip install -U {package}."
            )


def _minor(version: object) -> tuple[int, int] | None:
    parts = str(version).split(".")[:2]
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(part.isdecimal() for part in parts) else None


def stored_input(bundle: Path, spec: ModelSpec) -> np.ndarray:
    """Return the raw volume of a bundle's test, `(1, z, y, x, channels)`; raises `InputError` where it is broken."""
    return _read_test(bundle / TEST_INPUT, spec.channels)


def _read_test(path: Path, channels: int) -> np.ndarray:
    array = read_array(path, "a stored test array")
    if array.ndim != 5 or len(array) != 1 or array.shape[4] != channels:
        raise InputError(f"{path}: expected shape (1, z, y, x, {channels}), found {array.shape}.")
    return array
