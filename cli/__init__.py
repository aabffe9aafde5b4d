"""The command line `unet3d-cli`: one file per command; it parses, calls a workflow and prints."""

import importlib
import logging
import sys
import traceback

import click

import keras_unet3d
from keras_unet3d.cli.flags import error_with_flags, with_flags
from keras_unet3d.cli.terminal import STOPPED, prepare_process, say
from keras_unet3d.errors import InputError, reason_of, without_secrets
from keras_unet3d.machine import hosts, kernels

# Heading -> command, which is a module's name, and the first line of its help, so that --help imports nothing.
_COMMANDS = {
    "From labelled slices to a network": {
        "check": "Read all data, name every fault, show what is annotated.",
        "fit": "Train a network on volumes with some labels.",
        "report": "Make the page of a run: curves, figures, volumes to look through.",
        "distill": "Train one network to say what an ensemble says.",
    },
    "From a network to results": {
        "predict": "Segment volumes with a trained network.",
        "evaluate": "Measure IoU and Dice on labelled volumes.",
        "measure": "Write a table of the objects of a label volume: volumes, surfaces, grey values.",
    },
    "Annotating where it helps": {
        "suggest": "Say which slices to annotate next, and write them to paint on.",
        "merge": "Put painted slices into a label volume.",
        "view": "Show a volume in napari, to segment it, to paint on it and to train further.",
    },
    "Models for others": {
        "export": "Write a run's network as a bundle for the zoo.",
        "zoo": "List, show, verify, install and publish models by name.",
    },
    "This machine": {
        "doctor": "Say what is installed, what works, and what to do about what does not.",
    },
}


class _Lazy(click.Group):
    """Imports a command's module only when it is called."""

    def list_commands(self, context):
        return [name for commands in _COMMANDS.values() for name in commands]

    def get_command(self, context, name):
        if name not in self.list_commands(context):
            return None
        return importlib.import_module(f"keras_unet3d.cli.{name}").command

    def format_commands(self, context, formatter):
        width = max(map(len, self.list_commands(context)))
        for heading, commands in _COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:<{width}}", what) for name, what in commands.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(keras_unet3d.__version__, prog_name="unet3d-cli")
def unet3d_cli():
    """Dense 3D segmentation from a few annotated slices.

    \b
    Begin with:   unet3d-cli fit sample --out runs/first
    Then:         unet3d-cli COMMAND --help, which begins with an example

    Exit codes: 0 done; 2 the call or the input was wrong; 1 anything else. Add --debug anywhere for a traceback.

    \b
    Have bash complete words by the tabulator:
      eval "$(_UNET3D_CLI_COMPLETE=bash_source unet3d-cli)"
    (zsh_source for zsh; for fish: _UNET3D_CLI_COMPLETE=fish_source unet3d-cli | source)
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the entry point of `unet3d-cli` and `python -m keras_unet3d.cli`."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    prepare_process()
    kernels.prefer_fast_cpu_kernels()
    # tifffile logs what it finds broken; the sentence that follows says it better.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
    # Of connections that are still open when the process ends, to stores of data.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
    # Augmentation is compiled for each of a few sizes, as meant; TensorFlow warns of it.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        sys.exit(unet3d_cli.main(arguments, prog_name="unet3d-cli", standalone_mode=False))
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        say(error.format_message())
        sys.exit(error.exit_code)
    except click.UsageError as error:
        named = [word for word in arguments[:1] if word in unet3d_cli.list_commands(None)]
        command = error.ctx.command_path if error.ctx else " ".join(["unet3d-cli", *named])
        _fail(f"{error.format_message()} See {command} --help.", error.exit_code, debug)
    except STOPPED as stop:
        _fail(f"stopped{f'; {stop}' if str(stop) else ''}.", 1, debug=False)
    except InputError as error:
        _fail(error_with_flags(str(error)), 2, debug)
    except BrokenPipeError:
        # Whoever read the output has enough of it.
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}expected a path that can be read or written, found {reason_of(error)}.", 2, debug)
    except Exception as error:
        _fail(f"{type(error).__name__}: {with_flags(str(error))} (add --debug for the traceback)", 1, debug)


def _fail(sentence: str, code: int, debug: bool) -> None:
    if debug:
        sys.stderr.write(without_secrets(traceback.format_exc()))
    say(f"unet3d-cli: {without_secrets(sentence)}", err=True)
    hosts.leave(code)
