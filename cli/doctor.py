"""`unet3d-cli doctor`."""

import click

from keras_unet3d.cli.command import Command, teaches
from keras_unet3d.cli.flags import with_flags
from keras_unet3d.cli.terminal import say
from keras_unet3d.machine import kernels


@teaches(example="doctor")
@click.command("doctor", cls=Command)
def command():
    """Say what is installed, what works, and what to do about what does not."""
    kernels.load_backend_quietly()
    from keras_unet3d.workflows.doctor import doctor
    from keras_unet3d.zoo.engines import NETWORKS

    for finding in doctor(NETWORKS):
        say(with_flags(str(finding)))
