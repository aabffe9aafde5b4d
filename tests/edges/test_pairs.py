"""Of two commands that are started together at the same place one wins, and the other is told."""

import pytest
from edge_commands import COMMANDS, content

pytestmark = pytest.mark.long

PAIRS = {name: (command.words, command.target, command.check) for name, command in COMMANDS.items()}
PAIRS["suggest"] = (
    lambda world, place: ["suggest", world / "run", world / "a.h5", "--out", place / "s", "--count", "2"],
    "s",
    lambda path: None,
)
PAIRS["evaluate"] = (
    lambda world, place: ["evaluate", world / "run", world / "a.h5", "--json", place / "e.json"],
    "e.json",
    lambda path: None,
)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", PAIRS)
def test_one_wins_and_the_other_is_told(name, overwrite, together, world, tmp_path):
    words_of, target, check = PAIRS[name]
    whole = tmp_path / "whole"
    whole.mkdir()
    (alone,) = together(words_of(world, whole))
    assert alone["code"] == 0, alone["out"]
    for number in range(2):
        place = tmp_path / f"place{number}"
        place.mkdir()
        words = words_of(world, place) + (["--overwrite"] if overwrite else [])
        both = together(words, words)
        codes = sorted(call["code"] for call in both)
        assert codes[0] == 0, both
        for call in both:
            if call["code"]:
                assert call["code"] == 2
                told = "expected a place that nobody else writes to, found process", "exists already"
                assert any(sentence in call["out"] for sentence in told), call["out"]
            elif codes == [0, 0]:
                # One came when the other was done: it may replace it, or has found the very same.
                assert overwrite or name == "install", both
        check(place / target)
        assert content(place) == content(whole)
