"""`doctor`: what is installed, what works, and what to do about what does not."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np

from keras_unet3d.errors import InputError
from keras_unet3d.words import plural
from keras_unet3d.workflows.doctor.checks import Finding
from keras_unet3d.workflows.doctor.facts import Facts

_PROBE = 64  # voxels per axis of the tile that engines are timed with
_HEADINGS = {"fault": "To mend", "advice": "Advice"}


def in_words(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the lines that a person reads: the verdict, what is wrong with the command that mends it, what is fine, what is optional."""
    by_severity: dict[str, list[Finding]] = {}
    for finding in findings:
        by_severity.setdefault(finding.severity, []).append(finding)
    yield _verdict(len(by_severity.get("fault", [])), len(by_severity.get("advice", [])))
    for severity, heading in _HEADINGS.items():
        if severity in by_severity:
            yield f"\n{heading}"
        for finding in by_severity.get(severity, []):
            yield f"  {finding.what}: {finding.state}"
            if finding.command:
                yield f"      {finding.command}"
    yield "\nFine"
    yield from table(by_severity.get("fine", []))
    if optional := by_severity.get("optional"):
        names = ", ".join(finding.what for finding in optional)
        yield f"\nOptional, and not installed (pip install 'keras-unet3d[NAME]'): {names}"


def _verdict(faults: int, advice: int) -> str:
    mend = f"{plural(faults, 'thing')} to mend" if faults else "nothing to mend"
    return f"{mend}, {plural(advice, 'piece')} of advice" if advice else mend


def table(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield a line per finding, the states below each other."""
    width = max((len(finding.what) for finding in findings), default=0)
    for finding in findings:
        yield f"  {finding.what:{width}}  {finding.state}"


def in_json(facts: Facts, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return what a program reads, or somebody who is told of a fault: facts about the machine, and the findings."""
    of_machine = ("versions", "system", "cores", "has_nvidia_driver", "folders", "machine")
    everything = asdict(facts)
    return {"machine": {name: everything[name] for name in of_machine}, "findings": [*map(asdict, findings)]}


def timed(engines: Mapping[tuple[str, str], Callable]) -> Finding:
    """Return how long the default network of a processor takes in every engine that works here.

    Args:
        engines: by name and precision; each makes a function of batches of a network.
    """
    from keras_unet3d.network.architecture import Architecture
    from keras_unet3d.network.unet import build

    network = build(Architecture(filters=(8, 32, 64, 128), depth=4, normalization="none", seed=0))
    tile = np.random.default_rng(0).normal(size=(1, *(_PROBE,) * 3, 1)).astype(np.float32)
    seconds = {}
    for name, make in engines.items():
        with suppress(InputError):
            seconds[" ".join(name)] = _fastest(make(network), tile)
    shown = ", ".join(f"{name} {fastest:.2f} s" for name, fastest in seconds.items())
    best = min(seconds, key=lambda name: seconds[name])
    state = f"{shown} for a tile of {_PROBE} x {_PROBE} x {_PROBE}; for large volumes `engine=auto` takes {best}, where that is proved on the volume"
    return Finding("prediction", state)


def _fastest(network: Callable, tile: np.ndarray) -> float:
    times = []
    for _ in range(4):
        begun = time.perf_counter()
        network(tile)
        times.append(time.perf_counter() - begun)
    return min(times)
