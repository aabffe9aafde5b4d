"""A command that is killed at any moment loses nothing, leaves nothing half, and the next one tidies up after it."""

import random
import shutil
from pathlib import Path

import pytest
from edge_commands import COMMANDS, content

pytestmark = pytest.mark.long


def _kept(place: Path, target: Path, earlier: Path) -> bool:
    """Return whether the target, or the earlier one that is brought back by the next call, is there."""
    hidden = (target.with_name(f".old.{target.name}"), target / ".earlier", target / ".moving")
    return target.exists() or any(path.exists() for path in hidden) or not earlier.exists()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("replaces", [False, True], ids=["new", "overwrite"])
def test_nothing_is_lost_and_the_next_call_tidies_up(name, replaces, together, world, tmp_path, request):
    moments = request.config.getoption("--moments")
    command, rng = COMMANDS[name], random.Random(0)
    place, whole, earlier = (tmp_path / name for name in ("place", "whole", "earlier"))
    words = command.words(world, place) + (["--overwrite"] if replaces else [])
    whole.mkdir()
    earlier.mkdir()
    together((command.before or command.words)(world, earlier))
    (first,) = together(command.words(world, whole))
    assert first["code"] == 0, first["out"]
    killed, events, seconds = 0, first["events"], first["seconds"]
    for number in range(moments // 2):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(earlier, place) if replaces else place.mkdir()
        if number % 2:
            (done,) = together(words, event=rng.randrange(1, events + 1))
        else:
            (done,) = together(words, after=rng.uniform(0, seconds))
        killed += done["code"] == -9
        target = place / command.target
        assert _kept(place, target, earlier if replaces else place / "nothing"), content(place)
        if target.exists():
            command.check(target)
        again = words if replaces or not target.exists() else [*words, "--overwrite"]
        (next_one,) = together(again)
        assert next_one["code"] == 0, next_one["out"]
        # What the first call had to prove the others know: they end sooner, and would be killed too late.
        events, seconds = min(events, next_one["events"]), min(seconds, next_one["seconds"])
        assert content(place) == content(whole)
        command.check(target)
    assert killed > moments // 4
