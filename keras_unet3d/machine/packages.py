"""What installed packages demand of one another, and whether they have it."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """An installed package: its version, and what it demands, as its metadata have it."""

    version: str
    demands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Demand:
    """What a package demands of another: "zarr" and ">=3.0.8", and the version that is installed, None for none."""

    by: str
    package: str
    versions: str
    installed: str | None
    is_met: bool


def installed_packages() -> dict[str, Package]:
    """Return all installed packages by name; of one that is there twice the one that is imported."""
    from importlib.metadata import distributions

    from packaging.utils import canonicalize_name

    packages: dict[str, Package] = {}
    for found in distributions():
        # What is left of a package that was removed in part has neither.
        if (name := found.metadata["Name"]) and found.version:
            packages.setdefault(canonicalize_name(name), Package(found.version, tuple(found.requires or ())))
    return packages


def demands(packages: Mapping[str, Package], of: str, extras: Collection[str] = ()) -> list[Demand]:
    """Return what the package `of`, and all that it needs, demand of other packages.

    Of the optional parts `extras` what is installed counts, unless it is needed anyway.
    """
    found, waiting, seen = [], [of], {of}
    while waiting:
        by = waiting.pop()
        for demand in _demands_of(by, packages, extras if by == of else ()):
            found.append(demand)
            if demand.installed and demand.package not in seen:
                seen.add(demand.package)
                waiting.append(demand.package)
    # Several optional parts may demand the same.
    return [*dict.fromkeys(found)]


def _demands_of(by: str, packages: Mapping[str, Package], extras: Collection[str]) -> Iterator[Demand]:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    everything = []
    for text in packages[by].demands:
        with suppress(InvalidRequirement):  # pip would install no such package today, and some are older
            everything.append(Requirement(text))
    needed = [one for one in everything if not one.marker or one.marker.evaluate({"extra": ""})]
    names = {canonicalize_name(one.name) for one in needed}
    optional = [
        one
        for one in everything
        if (name := canonicalize_name(one.name)) in packages
        and name not in names
        and one.marker
        and any(one.marker.evaluate({"extra": extra}) for extra in extras)
    ]
    for one in needed + optional:
        name = canonicalize_name(one.name)
        version = packages[name].version if name in packages else None
        is_met = version is not None and one.specifier.contains(version, prereleases=True)
        yield Demand(by, name, str(one.specifier), version, is_met)
