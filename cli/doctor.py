"""`unet3d-cli doctor`."""

import click

from keras_unet3d.cli.command import Command, teaches
from keras_unet3d.cli.flags import with_flags
from keras_unet3d.cli.terminal import say
from keras_unet3d.errors import InputError, without_secrets
from keras_unet3d.files import as_json
from keras_unet3d.machine import kernels


@teaches(example="doctor")
@click.command("doctor", cls=Command)
@click.option("--json", "as_program", is_flag=True, help="Print one JSON object, for programs and for reports of bugs.")
def command(as_program):
    """Say what is installed, what works, and what to do about what does not."""
    backend_fault = _backend_fault()
    from keras_unet3d.workflows.doctor.checks import examine
    from keras_unet3d.workflows.doctor.facts import gather
    from keras_unet3d.workflows.doctor.run import in_json, in_words, table
    from keras_unet3d.zoo.registry import given_places

    facts = gather(backend_fault, given_places())
    findings = examine(facts)
    if not as_program:
        for line in in_words(findings):
            say(with_flags(line))
    # It is slow, and what is above helps meanwhile.
    times = [] if backend_fault else [_timed()]
    if as_program:
        say(as_json(in_json(facts, [*findings, *times])).rstrip())
        return
    for line in table(times):
        say(f"\n{with_flags(line).strip()}")


def _backend_fault() -> str:
    try:
        kernels.load_backend_quietly()
    except InputError as error:
        return str(error)
    except Exception as error:  # whatever a broken installation raises
        return without_secrets(f"{type(error).__name__}: {error}")
    return ""


def _timed():
    from keras_unet3d.workflows.doctor.run import timed
    from keras_unet3d.zoo.engines import NETWORKS

    return timed(NETWORKS)
