"""What all commands share: help that teaches, words that the shell completes, --quiet, --json, and how they stop."""

import json
import shlex

import click
import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from helpers import UNLABELLED, write_pair
from pages import parse

from keras_unet3d.cli import unet3d_cli
from keras_unet3d.cli.command import HEADINGS, Command, Working
from keras_unet3d.cli.options import figures_file
from keras_unet3d.cli.terminal import live, step_in_words


def _all_commands():
    for name in unet3d_cli.list_commands(None):
        command = unet3d_cli.get_command(None, name)
        parts = getattr(command, "commands", None)
        yield from ((f"{name} {part}", parts[part]) for part in parts) if parts else [(name, command)]


COMMANDS = dict(_all_commands())
TINY = "--epochs 1 --steps-per-epoch 1 --patch 8 8 8 --batch-size 1 --base-filters 2 --depth 2 --no-augment --workers 1"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pair(tmp_path / "a.h5")


def run(line):
    return CliRunner().invoke(unet3d_cli, shlex.split(line))


# ---- help ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_parses(name):
    command = COMMANDS[name]
    assert isinstance(command, Command)
    words = shlex.split(command.example)
    assert words[:1] == ["unet3d-cli"] and " ".join(words[1:]).startswith(name)
    parse(words[1:])
    assert f"\nExample:\n  {command.example}\n" in run(f"{name} --help").output


@pytest.mark.parametrize("name", COMMANDS)
def test_what_matters_most_comes_first_and_every_option_once(name):
    command = COMMANDS[name]
    context = click.Context(command, info_name=name)
    given = {param.name: param for param in command.get_params(context) if isinstance(param, click.Option)}
    assert set(command.first) <= set(given)
    shown = run(f"{name} --help").output.split("\nExample:\n")[1]
    headings = [line[:-1] for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == [heading for heading in HEADINGS if heading in headings]
    assert bool(command.first) == ("Most used" in headings)
    rows = [line.split()[0] for line in shown.splitlines() if line.startswith("  -")]
    assert sorted(row.rstrip(",") for row in rows) == sorted(param.opts[0] for param in given.values())


def test_options_of_a_fit_stand_in_their_groups():
    shown = run("fit --help").output
    places = [shown.index(f"\n{heading}:\n") for heading in HEADINGS[:6]]
    assert places == sorted(places)
    for option, heading in (("--val ", "Data and labels"), ("--dropout", "Network"), ("--flips", "Augmentation")):
        assert shown.index(f"\n{heading}:\n") < shown.index(f"  {option}") < shown.index("\nMachine:\n")


# ---- what the shell completes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("pre", ["plain,predict"]),
        ("predict hip", ["plain,hippocampus-mri", "file,hip"]),
        ("predict runs/fi", ["file,runs/fi"]),
        ("fit --target ''", ["plain,semantic", "plain,boundaries", "plain,cells"]),
        ("evaluate m x --js", ["plain,--json"]),
        ("fit x --out r", ["file,r"]),
    ],
)
def test_the_shell_completes_commands_names_files_and_choices(monkeypatch, capsys, words, offered):
    monkeypatch.setenv("_UNET3D_CLI_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"unet3d-cli {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
    monkeypatch.delenv("KERAS_UNET3D_ZOO", raising=False)
    with pytest.raises(SystemExit):
        unet3d_cli.main([], prog_name="unet3d-cli", standalone_mode=False)
    assert capsys.readouterr().out.split() == offered


# ---- quiet, and JSON -----------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_a_quiet_command_says_nothing_but_faults():
    done = run(f"fit a.h5 --out r --unlabelled {UNLABELLED} {TINY} --quiet")
    assert (done.exit_code, done.output) == (0, "")


@pytest.mark.usefixtures("here")
def test_json_is_an_object_a_line():
    done = run(f"fit a.h5 --out r --unlabelled {UNLABELLED} {TINY} --json")
    events = [json.loads(line) for line in done.output.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "phase" and kinds[-1] == "done"
    (epoch,) = (event for event in events if event["event"] == "epoch")
    assert epoch["epoch"] == 1 and epoch["val_iou"] >= 0 and epoch["loss"] > 0
    (progress,) = (event for event in events if event["event"] == "progress")
    assert (progress["done"], progress["of"], progress["step"], progress["steps"]) == (1, 1, 1, 1)
    assert [event["phase"] for event in events if event["event"] == "phase"] == [
        "reading the data",
        "training",
        "looking at the best network",
    ]
    assert any(event.get("text", "").startswith("data: ") for event in events)

    done = run("predict r a.h5 --out out.h5 --json")
    events = [json.loads(line) for line in done.output.splitlines()]
    assert {"event": "volume", "input": "a.h5", "output": "out.h5"} in events
    assert h5py.File("out.h5")["label"].shape == (16, 16, 16)


@pytest.mark.usefixtures("here")
def test_a_fault_is_the_last_line_of_json():
    done = run("predict nothing a.h5 --out out.h5 --json")
    event = json.loads(done.stdout.splitlines()[-1])
    assert event["event"] == "error"
    assert event["text"].startswith("nothing: expected a run folder, a bundle or the name of a model")


@pytest.mark.usefixtures("here")
def test_figures_alone_go_to_the_standard_output():
    done = run(f"check a.h5 --unlabelled {UNLABELLED} --json -")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["faults"] == []


def test_progress_is_not_told_at_every_step(capsys):
    with click.Context(Working("any")) as context:
        context.meta["keras_unet3d.output"] = "json"
        with live("counting") as listener:
            for done in range(1, 1001):
                listener.progress(done, 1000)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("done") for line in lines] == [None, 1, 1000]


# ---- how a command stops -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["words", "json"])
def test_a_stopped_command_says_what_is_kept(capsys, mode):
    command = Working("any", callback=_stop)
    command.stopped = "nothing was written"
    with click.Context(command) as context:
        context.meta["keras_unet3d.output"] = mode
        with pytest.raises(click.Abort, match="nothing was written"):
            command.invoke(context)
    said = {"words": "", "json": '{"event": "error", "text": "stopped; nothing was written"}\n'}
    assert capsys.readouterr().out == said[mode]


def _stop():
    raise KeyboardInterrupt


def test_a_step_in_words():
    step = {
        "epoch": 3,
        "epochs": 20,
        "step": 41,
        "steps": 100,
        "loss": np.float32(0.4234),
        "iou": 0.7,
        "waiting": 0.021,
    }
    assert step_in_words(step) == "epoch 3/20, step 41/100, loss 0.423, IoU 0.700, input wait 2%"


def test_only_figures_go_to_the_standard_output(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with figures_file("-", False) as write:
        write({"mean_dice": 0.5})
    assert json.loads(capsys.readouterr().out) == {"mean_dice": 0.5}
    with figures_file("-", False, "--report", ".html") as write:
        write("<p>a page</p>")
    assert (capsys.readouterr().out, (tmp_path / "-").read_text()) == ("", "<p>a page</p>")


def test_of_several_processes_the_first_alone_speaks_json(monkeypatch, capsys):
    monkeypatch.setattr("keras_unet3d.cli.terminal.hosts.leads", lambda: False)
    command = Working("any", callback=lambda: None)
    with click.Context(command) as context:
        context.meta["keras_unet3d.output"] = "json"
        command.invoke(context)
        with live("counting") as listener:
            listener.say("a line")
    assert capsys.readouterr().out == ""
