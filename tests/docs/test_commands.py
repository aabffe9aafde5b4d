"""Every command of the pages runs, on tiny volumes."""

import shlex
import shutil
from pathlib import Path

import pytest
from pages import GUIDES, PARSED_ONLY, commands_of, enter, made_tiny, name_of, paint, parse, run

PAGES_WITH_COMMANDS = [page for page in GUIDES if commands_of(page)]


# About 90 seconds of one core; .ci/run runs it.
@pytest.mark.long
@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=name_of)
def test_commands_run_one_after_the_other(page, shared, monkeypatch):
    folder, done = shared
    enter(folder, monkeypatch)
    for command in map(made_tiny, commands_of(page)):
        words = shlex.split(command)[1:]
        if set(words) & set(PARSED_ONLY):
            parse(words)
        elif command not in done:
            if words[0] == "suggest":
                # What an earlier page has painted there is not overwritten.
                shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
            run(words)
        done.add(command)
        if words[0] == "suggest":
            paint(Path(words[words.index("--out") + 1]))


def test_every_command_that_is_only_parsed_is_on_a_page():
    lines = [command for page in GUIDES for command in commands_of(page)]
    assert all(any(word in line for line in lines) for word in PARSED_ONLY)
